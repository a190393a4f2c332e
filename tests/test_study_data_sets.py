"""Several data sets in one study: trials, one error rate for all, and the partial conjunction."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from yolograft.cli.console import choose_folder
from yolograft.errors import GraftError
from yolograft.report import paper, write
from yolograft.study import Study, holdout, run, statistics, status
from yolograft.study.conjunction import combine
from yolograft.study.data_sets import join, labels, read_data
from yolograft.study.foresight import foresee, sentences
from yolograft.study.merge import merge
from yolograft.study.plan import Plan, read_words
from yolograft.study.population import population
from yolograft.study.verdict import ALPHA, Word, decide, judge, judge_sets

WORDS = {"model": "m.pt", "data": "steel,copper", "arms": "none; se@8; cbam@8", "host": "yolograft.study.dummy", "epochs": 1}


@pytest.fixture(autouse=True)
def register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "register.json"
    monkeypatch.setenv("YOLOGRAFT_REGISTER", str(file))
    return file


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two data sets, on one of which an arm helps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLOGRAFT_REGISTER", "off")
        return run(Plan.of({**WORDS, "arms": "none; se@8 effect=0.05; cbam@8", "seeds": 6, "only": "copper"}),
                   tmp_path_factory.mktemp("sets") / "s", workers=2)


def test_every_arm_is_trained_on_every_data_set_with_the_keys_of_studies_on_one(study: Study) -> None:
    words = {**WORDS, "arms": "none; se@8 effect=0.05; cbam@8", "seeds": 6, "only": "copper"}
    single = [Plan.of({**words, "data": name}).trials() for name in ("steel", "copper")]
    assert {trial.key for trial in study.plan.trials()} == {trial.key for trials in single for trial in trials}
    assert len(study.rows) == 36
    assert [one.settings["data"] for one in study.plan.trials()[:6]] == ["steel"] * 3 + ["copper"] * 3


def test_each_data_set_has_its_verdicts_and_the_reading_counts_them(study: Study) -> None:
    steel, copper = study.parts
    assert [[one.word for one in part.verdicts()] for part in (steel, copper)] == [
        [Word.UNDECIDED, Word.UNDECIDED], [Word.HELPS, Word.UNDECIDED]]
    assert [(one.arm, one.word) for one in study.verdicts()][2] == ("se@8 effect=0.05 [copper]", Word.HELPS)
    assert [one.sentence() for one in combine(study)] == [
        "se@8 effect=0.05: helps on at least 1 of 2 data sets (copper)",
        "cbam@8: no evidence of a change on any of the 2 data sets"]
    assert combine(copper) == combine(study)
    text = " ".join(status(study.folder).split())
    for part in ("complete; 36 of 36", "helps on at least 1 of 2 data sets (copper)", "se@8 effect=0.05 [copper]",
                 "on these 2 data sets"):
        assert part in text
    assert "on copper" in population(copper.plan)


def test_the_verdicts_are_those_of_one_table_of_all_data_sets(study: Study) -> None:
    rows = [list(one.differences.values()) for part in study.parts for one in part.verdicts()]
    adjusted = statistics.max_t(rows)
    assert [one.p_adjusted for one in study.verdicts()] == adjusted.tolist()
    alone = [judge(part.scores(), "none")[0].p_adjusted for part in study.parts]
    assert adjusted[0] >= alone[0]


def test_the_study_is_resumed_merged_and_reported(study: Study, tmp_path: Path) -> None:
    again = run(Plan.of(read_words(study.folder / "plan.yaml"), study.folder), study.folder)
    assert len(again.rows) == 36
    assert Study.load(study.folder).plan == study.plan
    with pytest.raises(GraftError, match="another study"):
        run(Plan.of({**WORDS, "data": "steel", "seeds": 6}), study.folder)
    other = run(Plan.of({**study.plan.words(), "seeds": "6,7"}), tmp_path / "other", workers=2)
    merged = merge([study.folder, other.folder], tmp_path / "merged")
    assert len(merged.rows) == 48
    assert merged.parts[1].scores()["none"] == {
        **study.parts[1].scores()["none"], **other.parts[1].scores()["none"]}
    pages = write(study.folder, tmp_path / "report", languages=["en"])
    assert [page.parent.name for page in pages] == ["steel", "copper"]
    for page in pages:
        assert "helps on at least 1 of 2 data sets (copper)" in page.read_text(encoding="utf-8")


def test_null_studies_seldom_get_a_word_on_any_data_set() -> None:
    rng, wrong, alone = np.random.default_rng(2), 0, 0
    for _ in range(300):
        tables = [rng.normal(size=(2, 7)) - rng.normal(size=(1, 7)) for _ in range(3)]
        found = decide(np.concatenate(tables), [(7, range(6), ALPHA)], words_only=True, groups=[[0, 1], [2, 3], [4, 5]])
        wrong += any(one.word in (Word.HELPS, Word.HURTS) for one in found)
        alone += any((statistics.max_t(table) <= ALPHA).any() for table in tables)
    assert wrong <= 300 * (ALPHA + 2 * np.sqrt(ALPHA / 300))
    assert alone > 2 * wrong, "one study for each data set would give wrong words more often"


def test_skewness_is_looked_at_on_each_data_set_alone() -> None:
    """Arms on two data sets do not correlate. Together they would look like arms with a quiet baseline."""
    rng = np.random.default_rng(8)
    for _ in range(20):
        tables = [(rng.normal(size=(2, 8)) - rng.exponential(size=(1, 8)) + 3) for _ in range(2)]
        plan = [(8, range(4), ALPHA)]
        found = decide(np.concatenate(tables), plan, words_only=True, groups=[[0, 1], [2, 3]])
        for place, table in enumerate(tables):
            (alone, _), both = decide(table, [(8, range(2), ALPHA)], words_only=True), found[2 * place]
            assert both.skewed <= alone.skewed


def test_a_look_is_complete_when_all_data_sets_are() -> None:
    rng = np.random.default_rng(1)
    scores = {name: {arm: {seed: float(rng.normal()) + 9 * (arm == "a") for seed in range(6)} for arm in ("none", "a")}
              for name in ("x", "y")}
    nothing: dict[str, list[tuple[str, int]]] = {"x": [], "y": []}
    found = judge_sets(scores, "none", failed=nothing, seeds=range(6))
    assert [one.word for one in (*found["x"], *found["y"])] == [Word.HELPS] * 2
    del scores["y"]["a"][5]
    found = judge_sets(scores, "none", failed=nothing, seeds=range(6))
    assert [one.word for one in (*found["x"], *found["y"])] == [Word.NONE] * 2
    found = judge_sets(scores, "none", failed={"x": [], "y": [("a", 5)]}, seeds=range(6))
    assert found["y"][0].failed == 1


def test_the_register_counts_a_study_for_each_of_its_data_sets(tmp_path: Path, register: Path) -> None:
    run(Plan.of({**WORDS, "seeds": 6}), tmp_path / "a", workers=2)
    entries = json.loads(register.read_text())
    assert [one["data"] for one in entries] == ["steel", "copper"]
    assert len({one["id"].partition(".")[0] for one in entries}) == 1
    alone = run(Plan.of({**WORDS, "data": "copper", "seeds": 6, "arms": "none; eca@8"}), tmp_path / "b", workers=2)
    assert alone.plan.registered["earlier"] == 1
    assert alone.plan.shared_alpha == pytest.approx(ALPHA - 2 / 64)
    both = run(Plan.of({**WORDS, "seeds": 6, "arms": "none; eca@8"}), tmp_path / "c", workers=2)
    assert both.plan.registered["earlier"] == 2
    assert both.plan.shared_alpha <= ALPHA - 2 / 64


@pytest.mark.parametrize(("more", "message"), [
    ({"race": True, "seeds": 10}, "race=True"), ({"splits": 5}, "splits="), ({"data": "steel,steel"}, "each data set once"),
    ({"data": "steel,,copper"}, "each data set once"), ({"arms": "none; se@8 data=steel"}, "its own data")])
def test_what_cannot_be_combined_is_refused_before_the_first_run(more: dict[str, Any], message: str) -> None:
    with pytest.raises(GraftError, match=message):
        Plan.of({**WORDS, **more})


def test_looks_and_a_margin_can_be_combined(tmp_path: Path) -> None:
    words = {**WORDS, "arms": "none; se@8", "effect": 0.2, "looks": "6,8", "noise": 0.001}
    found = run(Plan.of(words), tmp_path / "s", workers=2)
    assert found.needed == 8, "8 seeds: spending leaves nothing for a word after six"
    assert {one.word for one in found.verdicts()} == {Word.HELPS}
    with pytest.raises(GraftError, match="several data sets"):
        holdout.check(found.plan)


def test_names_of_data_sets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert labels(["a/x.yaml", "b/y.yaml"]) == ["x", "y"]
    assert labels(["a/x.yaml", "b/x.yaml"]) == ["a/x", "b/x"]
    assert read_data("a.yaml, b.yaml") == ["a.yaml", "b.yaml"]
    assert read_data(["a.yaml"]) == "a.yaml"
    assert read_data("a,b.yaml", recorded=True) == "a,b.yaml"
    monkeypatch.chdir(tmp_path)
    Path("one, two.yaml").write_text("names: [a]")
    assert read_data("one, two.yaml") == "one, two.yaml", "a file whose name has a comma is one data set"
    assert choose_folder(None, {"data": "a/x.yaml,b/y.yaml", "model": "yolo11n.pt"}, {}).name == "x-y-yolo11n"


def test_the_plan_counts_the_trainings_of_all_data_sets() -> None:
    plan = Plan.of({**WORDS, "seeds": 8})
    lines = sentences(plan, foresee(plan))
    assert lines[0] == "48 trainings: 3 arms, 8 seeds, 2 data set(s)."
    assert "8 seeds and 4 arms find" in "\n".join(lines)


def test_data_sets_with_the_same_content_are_refused() -> None:
    assert join([("a.yaml", {"data": "1", "model": "m"}), ("b.yaml", {"data": "2", "model": "m"})]) == {
        "data a.yaml": "1", "data b.yaml": "2", "model": "m"}
    with pytest.raises(GraftError, match=r"'a\.yaml' and 'b\.yaml' have the same images and labels"):
        join([("a.yaml", {"data": "1"}), ("b.yaml", {"data": "1"})])


def test_the_paper_kit_has_a_table_for_each_data_set(study: Study, tmp_path: Path) -> None:
    files = paper.write(study, tmp_path, languages=["en"], formats=["md"]).files
    tables = {file.parent.name: file.read_text(encoding="utf-8") for file in files if file.name == "table.md"}
    assert set(tables) == {"steel", "copper"}
    assert tables["steel"] != tables["copper"]
