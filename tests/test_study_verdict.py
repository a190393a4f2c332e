import numpy as np
import pytest
from scipy import stats

from yolograft.study import statistics
from yolograft.study.verdict import Word, decide, judge


def scores(*rows):
    return {f"arm{i}": dict(enumerate(row)) for i, row in enumerate(rows)}


BASE = [0.70, 0.71, 0.69, 0.70, 0.72, 0.70]


def shifted(by, noise=0.0005):
    return [b + by + noise * (-1) ** i for i, b in enumerate(BASE)]


@pytest.mark.parametrize(("by", "word"), [(0.02, Word.HELPS), (-0.02, Word.HURTS), (0.0, Word.UNDECIDED)])
def test_a_clear_difference_helps_or_hurts(by, word):
    (verdict,) = judge(scores(BASE, shifted(by)), "arm0")
    assert verdict.word is word
    assert str(word) == word.value
    assert verdict.mean == pytest.approx(by)
    assert verdict.seeds == 6


@pytest.mark.parametrize("seeds", [0, 1, 3, 5])
def test_fewer_than_six_seeds_are_always_too_few(seeds):
    (verdict,) = judge(scores(BASE[:seeds], shifted(0.3)[:seeds]), "arm0")
    assert verdict.word is Word.FEW
    assert "at least 6" in verdict.why()


def test_a_failed_run_counts_against_the_word_and_is_no_dropped_pair():
    table = scores([*BASE, *BASE], [*shifted(0.02), *shifted(0.02)])
    del table["arm0"][3]
    (verdict,) = judge(table, "arm0")
    assert verdict.seeds == 11
    assert 3 not in verdict.differences
    assert verdict.failed == 1
    assert verdict.word is Word.HELPS, "eleven large wins outweigh one loss of the same size"
    for seed in (4, 5, 6):
        del table["arm1"][seed]
    (verdict,) = judge(table, "arm0")
    assert verdict.word is Word.NONE
    assert "4 of 12 pairs have a failed run" in verdict.why()


def test_an_arm_identical_to_the_baseline_is_no_evidence():
    (verdict,) = judge(scores(BASE, BASE), "arm0")
    assert verdict.word is Word.UNDECIDED
    assert verdict.p == 1


def test_the_reason_names_the_numbers():
    helps, nothing = judge(scores(BASE, shifted(0.02), shifted(0.0, 0.01)), "arm0")
    assert "+0.0200" in helps.why()
    assert "would usually be missed by 6 seeds" in nothing.why()
    assert helps.spread < nothing.spread


def false_verdicts(rng, arms, seeds, draw, real=0, studies=1200):
    """Count the studies in which a null arm helps, and those in which a null arm helps or hurts."""
    helps = either = 0
    for _ in range(studies):
        shared = rng.normal(0, 0.02, seeds)  # effect of the seed on all arms
        base = shared + draw(rng, seeds)
        rows = [shared + draw(rng, seeds) + (0.05 if i < real else 0) for i in range(arms)]
        words = quick_words(np.array(rows) - base)[real:]
        helps += Word.HELPS in words
        either += any(word is not Word.UNDECIDED for word in words)
    return helps, either


def quick_words(table):
    """The rule of the verdict without the slow intervals; the next test checks that both agree."""
    return [one.word for one in decide(table, [(table.shape[1], range(len(table)), 0.05)])]


def test_the_quick_rule_equals_the_verdict():
    rng = np.random.default_rng(11)
    for _ in range(30):
        base, rows = rng.normal(0.7, 0.01, 6), rng.normal(0.71, 0.01, (3, 6))
        verdicts = [v.word for v in judge(scores(base, *rows), "arm0")]
        assert verdicts == quick_words(rows - base)


def test_a_study_flips_its_signs_once_for_all_arms(monkeypatch):
    flipped, real = [], statistics.flip
    monkeypatch.setattr(statistics, "flip", lambda table: flipped.append(table.shape) or real(table))
    judge(scores(*np.random.default_rng(3).normal(0.7, 0.01, (9, 6))), "arm0")
    assert flipped == [(8, 6)]


@pytest.mark.parametrize("draw", [
    pytest.param(lambda rng, n: rng.normal(0, 0.01, n), id="normal"),
    pytest.param(lambda rng, n: 0.01 * rng.standard_t(3, n), id="heavy tails"),
    pytest.param(lambda rng, n: rng.normal(0, 0.01, n) * rng.uniform(0.1, 3, n), id="unequal spreads"),
    pytest.param(lambda rng, n: rng.exponential(0.01, n), id="skewed"),
])
@pytest.mark.parametrize(("arms", "real"), [(1, 0), (4, 0), (4, 2)])
def test_the_family_wise_error_rate_is_at_most_five_percent(draw, arms, real):
    """Family-wise error rate, with and without arms that have an effect."""
    studies = 600
    helps, either = false_verdicts(np.random.default_rng(20), arms, 6, draw, real, studies)
    limit = stats.binom.ppf(0.9999, studies, 0.05)  # 99.99% quantile at a true rate of 5%
    assert either <= limit
    assert helps <= stats.binom.ppf(0.9999, studies, 0.025)


def test_a_large_effect_is_found_with_high_power():
    rng = np.random.default_rng(21)
    tables = (rng.normal(0.03, 0.01, (3, 6)) - rng.normal(0, 0.01, (1, 6)) for _ in range(200))
    found = sum(quick_words(table)[0] is Word.HELPS for table in tables)
    assert found > 150


def test_a_control_differs_and_never_helps():
    table = scores(BASE, shifted(0.02), shifted(0.02))
    helped, control = judge(table, "arm0", controls=["arm2"])
    assert helped.word is Word.HELPS
    assert control.word is Word.DIFFERS


def test_an_arm_close_to_the_baseline_has_no_difference_larger_than_the_margin():
    rng = np.random.default_rng(2)
    base = rng.normal(0.7, 0.01, 12)
    (verdict,) = judge(scores(base, base + rng.normal(0, 0.002, 12)), "arm0", margin=0.01)
    assert verdict.word is Word.EQUIVALENT
    assert "90% interval" in verdict.why()
    assert sum(verdict.posterior) == pytest.approx(1)
    assert verdict.posterior[1] > 0.95


def test_arms_are_compared_with_the_mean_of_all_copies_of_the_baseline():
    table = {"none": dict.fromkeys(range(6), 0.5), "se": dict.fromkeys(range(6), 0.6), "aa": dict.fromkeys(range(6), 0.4),
             "aa2": dict.fromkeys(range(6), 0.6)}
    by_arm = {one.arm: one for one in judge(table, "none", copies=["aa", "aa2"], controls=["aa", "aa2"])}
    assert by_arm["se"].mean == pytest.approx(0.1)
    assert by_arm["aa"].mean == pytest.approx(-0.15)
    del table["aa2"][3]
    assert judge(table, "none", copies=["aa", "aa2"])[0].seeds == 5, "a pair needs all copies"


def test_skewed_arms_beside_a_quiet_baseline_get_no_word_against_their_tail():
    rng = np.random.default_rng(5)
    wrong = kept = 0
    for _ in range(300):
        table = rng.exponential(1, (4, 10)) - 1
        decisions = decide(table, [(10, range(4), 0.05)])
        wrong += any(one.word is Word.HURTS for one in decisions)
        kept += any(one.skewed for one in decisions)
    assert wrong <= stats.binom.ppf(0.9999, 300, 0.05)
    assert kept > 20
