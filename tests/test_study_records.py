"""A study continues from its exported records on another machine."""

import json
import runpy
from pathlib import Path

from generated_studies import make

from yolograft.report import write
from yolograft.study import Study, run
from yolograft.study.plan import Plan, read_words
from yolograft.study.trial import write_json

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


def test_records_give_the_page_again_without_the_study(tmp_path: Path) -> None:
    study = make(tmp_path / "s", "none; se@8 effect=0.05; aa")
    first = write(study, tmp_path / "first", languages=["en"])
    records = tmp_path / "records"
    for row in study.rows:
        folder = study.folder_of(row.key)
        folder.mkdir(parents=True)
        trial = next(one for one in study.plan.trials() if one.key == row.key)
        write_json(folder / "trial.json", trial)
        assert row.result is not None
        write_json(folder / "result.json", row.result)
        (folder / "epochs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in json.loads(row.points)))
    study.plan.write(study.folder / "plan.yaml")
    assert RECORDS["export"](study.folder, records) == 18
    assert RECORDS["report"](records) == 18
    for name in ("verdicts", "metrics", "classes", "sizes", "costs", "trials"):
        table = Path("tables") / f"{name}.csv"
        assert (records / table).read_bytes() == (first[0].parent / table).read_bytes()
    page = (records / "report.html").read_text(encoding="utf-8")
    assert page.count("<svg viewBox") == first[0].read_text(encoding="utf-8").count("<svg viewBox")
    (records / "trials.jsonl").unlink()
    assert RECORDS["from_table"](records) == 18
    assert RECORDS["report"](records, tmp_path / "again") == 18
    verdicts = Path("tables/verdicts.csv")
    assert (tmp_path / "again" / verdicts).read_bytes() == (records / verdicts).read_bytes()
    assert not (tmp_path / "again" / "tables" / "classes.csv").exists(), "a table without values is not written"
