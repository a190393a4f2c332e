"""Studies over several splits of the images: the corrected resampled t-test, the plan, and what cannot be combined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from yolograft.errors import GraftError
from yolograft.report.summary import Summary
from yolograft.study import Study, holdout, run, statistics, status
from yolograft.study.foresight import foresee, sentences
from yolograft.study.plan import Plan, read_words
from yolograft.study.population import population
from yolograft.study.splits import Splits, decide, detectable, excludable, interval, means, posterior, splits_to_exclude
from yolograft.study.storage import Row
from yolograft.study.trial import Result
from yolograft.study.verdict import ALPHA, Word, judge

WORDS = {"model": "m.pt", "data": "steel", "arms": "none; se@8; cbam@8", "host": "yolograft.study.dummy", "epochs": 1,
         "splits": 5}
FIVE = Splits(count=5, train=80, val=20)


@pytest.fixture(autouse=True)
def _no_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOGRAFT_REGISTER", "off")


def correlated(rng: np.random.Generator, arms: int, splits: Splits, studies: int) -> Any:
    """Return normal differences (studies, arms, splits) with the correlation that Nadeau and Bengio assume."""
    share = splits.val / (splits.train + splits.val)
    common, own = (rng.normal(size=(studies, arms, count)) for count in (1, splits.count))
    return np.sqrt(share) * common + np.sqrt(1 - share) * own


@pytest.mark.parametrize("count", [3, 5, 10])
def test_the_p_value_is_uniform_if_the_correlation_is_the_assumed_one(count: int) -> None:
    splits = Splits(count=count, train=80, val=20)
    data = correlated(np.random.default_rng(10 + count), 1, splits, 1500)
    found = [decide(one, splits, ALPHA)[0].p for one in data]
    assert stats.kstest(found, "uniform").pvalue > 0.01
    plain = [stats.ttest_1samp(one[0], 0).pvalue for one in data]
    assert np.mean(np.array(plain) < ALPHA) > 0.08, "without the correction, splits would count as independent"


@pytest.mark.parametrize(("arms", "each"), [(1, 1), (4, 1), (4, 2)])
def test_null_studies_seldom_get_a_word_and_intervals_hold(arms: int, each: int) -> None:
    rng, wrong, outside = np.random.default_rng(7), 0, 0
    for one in correlated(rng, arms, FIVE, 400):
        runs = np.tile(one, each) + rng.normal(scale=0.1, size=(arms, 5 * each))
        decisions = decide(runs, FIVE, ALPHA)
        wrong += any(decision.word in (Word.HELPS, Word.HURTS) for decision in decisions)
        outside += any(not decision.interval[0] <= 0 <= decision.interval[1] for decision in decisions)
    assert wrong <= 400 * (ALPHA + 2 * np.sqrt(ALPHA / 400))
    assert outside == wrong, "word and interval agree"


def test_the_seeds_of_a_split_are_averaged_first() -> None:
    table = np.arange(10.0)[None]
    assert means(table, FIVE).tolist() == [[2.5, 3.5, 4.5, 5.5, 6.5]]
    (once,), (twice,) = decide(means(table, FIVE), FIVE, ALPHA), decide(table, FIVE, ALPHA)
    assert (once.p, once.interval) == (twice.p, twice.interval)


def test_the_test_of_one_arm_is_the_published_formula() -> None:
    row = np.array([0.01, 0.03, 0.02, 0.05, 0.01])
    t = row.mean() / np.sqrt((1 / 5 + 20 / 80) * row.var(ddof=1))
    (decision,) = decide(row[None], FIVE, ALPHA)
    assert decision.p == pytest.approx(2 * stats.t.sf(t, 4))
    low, _ = interval(row, FIVE, 1 - decision.p)
    assert low == pytest.approx(0, abs=1e-12), "the interval at this level ends at 0"
    assert sum(posterior(row, FIVE, 0.01)) == pytest.approx(1)
    without = Splits(count=5, train=80, val=0)  # no correlation
    assert posterior(row, without, 0.01) == pytest.approx(statistics.posterior(row, 0.01))
    assert interval(row, without) == pytest.approx(statistics.t_interval(row))


def test_power_and_margin_are_what_they_say() -> None:
    rng = np.random.default_rng(3)
    spread = np.sqrt(0.8)  # of the splits' means, given what they share
    effect, margin = detectable(spread, FIVE), excludable(spread, FIVE)
    data = correlated(rng, 1, FIVE, 1500)
    assert np.mean([decide(one + effect, FIVE, ALPHA)[0].word is Word.HELPS for one in data]) == pytest.approx(0.8, abs=0.03)
    same = np.mean([decide(one, FIVE, ALPHA, margin)[0].word is Word.EQUIVALENT for one in data])
    assert same == pytest.approx(0.8, abs=0.05)  # the formula is for a known spread
    assert splits_to_exclude(0.9 * spread, spread, FIVE) is None, "more splits of the same images cannot do better"
    count = splits_to_exclude(2.0 * spread, spread, FIVE)
    assert count is not None
    assert excludable(spread, Splits(count=count, train=80, val=20)) <= 2 * spread


def test_a_failed_run_counts_against_the_word() -> None:
    good = {"none": dict.fromkeys(range(5), 0.5), "a": {seed: 0.6 + 0.001 * seed for seed in range(5)}}
    (verdict,) = judge(good, "none", splits=FIVE, seeds=range(5))
    assert verdict.word is Word.HELPS
    del good["a"][3]
    (verdict,) = judge(good, "none", splits=FIVE, seeds=range(5))
    assert (verdict.word, verdict.failed) == (Word.NONE, 1)
    assert "failed run" in verdict.why()


def test_a_study_trains_all_arms_on_the_same_splits(tmp_path: Path) -> None:
    study = run(Plan.of({**WORDS, "seeds": 10, "split_seed": 4}), tmp_path / "s", workers=2)
    assert len(study.rows) == 30
    by_seed: dict[int, set[int]] = {}
    for trial in study.plan.trials():
        assert trial.settings["split"]["seed"] == 4
        by_seed.setdefault(trial.seed, set()).add(trial.settings["split"]["number"])
    assert by_seed == {seed: {seed % 5} for seed in range(10)}
    verdicts = study.verdicts()
    assert [one.splits for one in verdicts] == [Splits(count=5, seed=4, train=80, val=20)] * 2
    (alone,) = [one for one in judge(study.scores(), "none", splits=study.plan.splits) if one.arm == "se@8"]
    assert verdicts[0].p_adjusted == alone.p_adjusted
    assert verdicts[0].t_interval == interval(means(np.array([list(verdicts[0].differences.values())]), FIVE)[0], FIVE)
    text = status(tmp_path / "s")
    assert "5 splits into 80 and 20 images, split_seed=4" in " ".join(text.split())
    assert run(Plan.of(read_words(tmp_path / "s" / "plan.yaml")), tmp_path / "s").scores() == study.scores()
    for more, message in (({"seeds": 15}, "no arms or seeds"), ({"arms": "none; se@8; eca@8"}, "no arms or seeds"),
                          ({"splits": 10}, "splits: 5 recorded, 10 requested"),
                          ({"split_seed": 5}, "split_seed: 4 recorded, 5 requested")):
        with pytest.raises(GraftError, match=message):
            run(Plan.of({**WORDS, "seeds": 10, "split_seed": 4, **more}), tmp_path / "s")
    with pytest.raises(GraftError, match="test=True cannot be combined"):
        holdout.score(study)


@pytest.mark.parametrize(("more", "message"), [
    ({"looks": "5,10"}, "one look"), ({"seeds": "6..10"}, "one look"), ({"race": True, "seeds": 10}, "race=True"),
    ({"seeds": 6}, "equally many"), ({"splits": 2}, "at least 3"), ({"splits": "many"}, "at least 3"),
    ({"split_seed": -1}, "whole number"), ({"splits": None, "split_seed": 3}, "needs splits="),
    ({"fraction": 0.5}, "fraction=0.5"), ({"arms": "none; se@8 fraction=0.5"}, "its own fraction"),
    ({"arms": "none; se@8 data=copper"}, "its own data"), ({"data": "steel,copper"}, "several data sets")])
def test_what_cannot_be_combined_is_refused_before_the_first_run(more: dict[str, Any], message: str) -> None:
    with pytest.raises(GraftError, match=message):
        Plan.of({**WORDS, **more})


def test_intervals_of_single_classes_allow_for_the_images_that_splits_share(tmp_path: Path) -> None:
    plan = Plan.of({**WORDS, "arms": "none; se@8", "splits": 3, "seeds": 6})
    gains = [0.01, 0.02, 0.03, 0.03, 0.04, 0.05]  # the means of the three splits are 0.02, 0.03 and 0.04
    rows = []
    for number, trial in enumerate(plan.trials()):
        gain = gains[trial.seed] if trial.arm == "se@8" else 0.0
        classes = {"all": 0.5 + gain, "some": 0.5 + gain, "few": 0.5 + gain}
        for name, absent in (("some", (5,)), ("few", (2, 5))):
            if trial.seed in absent:
                del classes[name]
        result = Result(metrics={"mAP50-95": 0.5 + gain}, classes={"AP50-95": classes})
        rows.append(Row(id=number, number=number, key=trial.key, arm=trial.arm, seed=trial.seed, state="complete",
                        result=result))
    summary = Summary(Study(tmp_path, plan, tuple(rows)))
    # n_val / n_train is 20 / 80. Student's factors for 2 and 1 degrees of freedom are 4.302653 and 12.706205
    expected = {"all": (0.03, 4.302653 * 0.01 * (1 / 3 + 0.25) ** 0.5, 6),
                "some": (0.08 / 3, 4.302653 * 0.01 / 3 ** 0.5 * (1 / 3 + 0.25) ** 0.5, 5),
                "few": (0.025, 12.706205 * 0.01 / 2 ** 0.5 * (1 / 2 + 0.25) ** 0.5, 4)}
    for name, (mean, reach, runs) in expected.items():
        found = summary.classes["se@8"][name]
        assert (found.mean, found.low, found.high) == pytest.approx((mean, mean - reach, mean + reach), rel=1e-5), name
        assert found.runs == runs
    spread = summary.rows[1].metrics["mAP50-95"]
    assert (spread.low, spread.high) == pytest.approx((0.5 + 0.03 - expected["all"][1], 0.5 + 0.03 + expected["all"][1]))
    assert (spread.low - 0.5, spread.high - 0.5) == pytest.approx(summary.verdicts["se@8"].t_interval)


def test_the_plan_says_the_population_and_counts_the_trainings() -> None:
    plan = Plan.of({**WORDS, "seeds": 10})
    lines = sentences(plan, foresee(plan))
    assert lines[0].startswith("30 trainings")
    assert lines[1] == population(plan)
    assert "other splits of these images" in lines[1]
    assert any("5 splits into 80 and 20 images" in line for line in lines)
    one = Plan.of({**WORDS, "splits": None})
    assert "do not speak of other splits" in population(one)
    assert all("split" not in trial.settings for trial in one.trials()), "keys of studies with one split stay as they were"
