"""A study continues from its exported records on another machine."""

import runpy
from pathlib import Path

from yolograft.study import Study, run
from yolograft.study.plan import Plan, read_words

RECORDS = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "study_records.py"))
WORDS = {"model": "yolo11n.pt", "data": "steel", "arms": "none; se@8", "host": "yolograft.study.dummy", "epochs": 2}


def trained(folder: Path) -> list[str]:
    return [line for file in folder.rglob("finished") for line in file.read_text().split()]


def test_a_restored_study_keeps_its_results_and_trains_the_rest(tmp_path: Path) -> None:
    first, records, second = tmp_path / "first", tmp_path / "records", tmp_path / "second"
    before = run(Plan.of({**WORDS, "seeds": "0,1"}), first)
    assert len(trained(first)) == 4
    assert RECORDS["export"](first, records) == 4
    assert str(tmp_path) not in (records / "trials.jsonl").read_text() + (records / "plan.yaml").read_text()
    assert RECORDS["restore"](records, second) == 4
    after = run(Plan.of({**read_words(second / "plan.yaml"), "seeds": "0,1,2"}), second)
    assert len(trained(second)) == 2, "only the trials of the new seed"
    assert {arm: {seed: by[seed] for seed in (0, 1)} for arm, by in after.scores().items()} == before.scores()
    assert [row.by_epoch("mAP50-95") for row in Study.load(second).rows[:4]] == [
        row.by_epoch("mAP50-95") for row in Study.load(first).rows]
