"""Studies that ran on several machines are merged into one, and refused if they are not the same study."""

import json
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from yolograft.cli import main
from yolograft.errors import GraftError
from yolograft.study import Study, latency, run
from yolograft.study.merge import merge
from yolograft.study.plan import Plan, read_words
from yolograft.study.trial import Trial
from yolograft.study.verdict import ALPHA, Word

RECORDS = runpy.run_path(str(Path(__file__).parents[1] / "benchmarks" / "study_records.py"))
WORDS = {"model": "yolo11n.pt", "data": "steel", "arms": "none; se@8", "host": "yolograft.study.dummy", "epochs": 2}


@pytest.fixture(autouse=True)
def _register(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOGRAFT_REGISTER", str(tmp_path / "register.json"))


def study(folder: Path, seeds: str, **more: Any) -> Study:
    """Run a study with the dummy host."""
    return run(Plan.of({**WORDS, "seeds": seeds, **more}), folder, workers=2)


@pytest.fixture(scope="module")
def halves(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """Two studies of three seeds, and the records of the second one."""
    folder = tmp_path_factory.mktemp("halves")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("YOLOGRAFT_REGISTER", "off")
        study(folder / "a", "0,1,2", effect=0.05)
        study(folder / "b", "3,4,5", effect=0.05)
    RECORDS["export"](folder / "b", folder / "records")
    return folder / "a", folder / "b", folder / "records"


def copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to


def edit(file: Path, **more: Any) -> None:
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), **more}))


@pytest.mark.parametrize("form", ["folder", "records"])
def test_two_halves_give_the_whole_study(halves: tuple[Path, Path, Path], tmp_path: Path, form: str) -> None:
    first, second, records = halves
    merged = merge([first, second if form == "folder" else records], tmp_path / "out")
    whole = study(tmp_path / "whole", "6", effect=0.05, register=False)
    assert merged.scores() == whole.scores()
    assert [(one.word, one.p_adjusted, one.level) for one in merged.verdicts()] == [
        (one.word, one.p_adjusted, one.level) for one in whole.verdicts()] == [(Word.HELPS, 0.03125, ALPHA)]
    assert merged.plan.trials() == whole.plan.trials()
    assert {row.key: row.points for row in merged.rows} == {row.key: row.points for row in whole.rows}
    again = run(Plan.of(read_words(tmp_path / "out" / "plan.yaml")), tmp_path / "out")
    assert again.scores() == merged.scores()
    trained = [key for file in (tmp_path / "out").rglob("finished") for key in file.read_text().split()]
    assert len(trained) == (12 if form == "folder" else 6), "files are copied, and nothing is trained again"


def test_the_command_merges_and_its_study_continues(
        halves: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["study", "merge", str(halves[0]), str(halves[2]), str(tmp_path / "out")]) == 0
    assert "complete; 12 of 12" in capsys.readouterr().out
    assert main(["study", "merge", str(halves[0]), str(halves[1]), f"out={tmp_path / 'other'}"]) == 0
    assert main(["status", str(tmp_path / "other")]) == 0
    assert main(["study", str(tmp_path / "out" / "plan.yaml"), "seeds=7"]) == 0
    assert len(Study.load(tmp_path / "out").rows) == 14
    capsys.readouterr()
    assert main(["study", "merge", str(halves[0]), str(tmp_path / "out")]) == 2
    assert "at least two studies" in capsys.readouterr().err


def test_a_trial_that_both_have_is_taken_once_if_the_results_are_equal(
        halves: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, _, records = halves
    other = copied(records, tmp_path / "records")
    lines = [json.loads(line) for line in (other / "trials.jsonl").read_text().splitlines()]
    plan = Plan.recorded({**read_words(other / "plan.yaml"), "seeds": [2, 3, 4, 5]})
    plan.write(other / "plan.yaml")
    (trial,) = [one for one in plan.trials() if (one.arm, one.seed) == ("se@8", 2)]
    score = Study.load(first).scores()["se@8"][2]
    line = {**lines[0], "key": trial.key, "trial": json.loads(json.dumps(trial.__dict__, default=dict))}
    for value, message in ((score, ""), (score + 1e-9, "two results")):
        line["trial"] = {key: found for key, found in line["trial"].items() if key in Trial.__dataclass_fields__}
        line["result"] = {"metrics": {**Study.load(first).results["se@8"][2].metrics, "mAP50-95": value}}
        (other / "trials.jsonl").write_text("".join(json.dumps(one) + "\n" for one in (*lines, line)))
        if not message:
            assert len(merge([first, other], tmp_path / "out").rows) == 12
            continue
        with pytest.raises(GraftError, match=message) as caught:
            merge([first, other], tmp_path / "conflict")
        assert repr(score) in str(caught.value)
        assert repr(value) in str(caught.value)
        assert not (tmp_path / "conflict").exists()


@pytest.mark.parametrize(("change", "message"), [
    ({"epochs": 3}, "epochs: 2 recorded, 3 requested"), ({"metric": "mAP50"}, "metric"), ({"baseline": "se@8"}, "baseline"),
    ({"margin": 0.02}, "margin"), ({"versions": {"dummy": "2"}}, "other versions"),
    ({"spelled": {"none": "none", "se@8": "se(ratio=8)@8"}}, "other defaults"),
    ({"fingerprints": {"none": {"data": "x"}, "se@8": {"data": "x"}}}, "other data or weights"),
    ({"data": "copper"}, "data: copper, but this study")])
def test_another_study_is_refused_and_nothing_is_written(
        halves: tuple[Path, Path, Path], tmp_path: Path, change: dict[str, Any], message: str) -> None:
    other = copied(halves[1], tmp_path / "other")
    edit(other / "plan.yaml", **change)
    for sources in ([halves[0], other], [other, halves[0]]):
        with pytest.raises(GraftError, match=message.partition(":")[0]) as caught:
            merge(sources, tmp_path / "out")
        assert sources[0] is other or message in str(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other"]


def test_what_cannot_be_merged_is_named(halves: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, second, records = halves
    full = copied(second, tmp_path / "full")
    for sources, out, message in (
            ([first, second], full, "not empty"), ([first], tmp_path / "out", "two studies"),
            ([first, tmp_path / "none"], tmp_path / "out", "does not exist")):
        with pytest.raises(GraftError, match=message):
            merge(sources, out)
    server = copied(records, tmp_path / "server")
    (server / "trials.jsonl").rename(server / "other")
    with pytest.raises(GraftError, match="has neither"):
        merge([first, server], tmp_path / "out")
    broken = copied(records, tmp_path / "broken")
    text = (records / "trials.jsonl").read_text()
    for content, message in ((text[:-20], "Line 6"), (text.replace('"seed": 4', '"seed": 9'), "does not have")):
        (broken / "trials.jsonl").write_text(content)
        with pytest.raises(GraftError, match=message):
            merge([first, broken], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_the_folder_of_the_data_can_differ_if_the_content_is_equal(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "set.yaml").write_text("names: [a]")
    study(tmp_path / "a", "0,1,2", data=str(tmp_path / "one" / "set.yaml"))
    study(tmp_path / "b", "3,4,5", data=str(tmp_path / "two" / "set.yaml"))
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert merged.plan.settings["data"] == str(tmp_path / "one" / "set.yaml")
    assert [len(by_seed) for by_seed in merged.scores().values()] == [6, 6]


def test_looks_at_other_seeds_are_paid_for(tmp_path: Path) -> None:
    """Each half gave its verdicts after six seeds, which used 2 of 64 sign patterns in each."""
    study(tmp_path / "a", "0,1,2,3,4,5")
    study(tmp_path / "b", "6,7,8,9,10,11")
    merged = merge([tmp_path / "a", tmp_path / "b"], tmp_path / "out")
    assert merged.plan.seen == pytest.approx(2 / 64)
    assert merged.plan.alpha == pytest.approx(ALPHA - 2 / 64)
    assert [(look.seeds, look.spent) for look in merged.plan.schedule] == [
        (6, ALPHA), (12, pytest.approx(ALPHA - 2 / 64))]
    (verdict,) = merged.verdicts()
    assert (verdict.looks, verdict.look, verdict.level) == (2, 12, 0)
    assert Plan.read(tmp_path / "out" / "plan.yaml", recorded=True) == merged.plan
    # merged with a pilot, which has given no word, the look is paid for once
    study(tmp_path / "pilot", "6,7,8,9")
    with_pilot = merge([tmp_path / "pilot", tmp_path / "a"], tmp_path / "second")
    assert (with_pilot.plan.seen, with_pilot.plan.seeds[:6]) == (0.0, (0, 1, 2, 3, 4, 5))
    assert [(look.seeds, look.spent) for look in with_pilot.plan.schedule] == [(6, ALPHA), (10, ALPHA)]
    assert with_pilot.verdicts()[0].used <= ALPHA


def test_an_interrupted_trial_keeps_its_state(halves: tuple[Path, Path, Path], tmp_path: Path) -> None:
    other = copied(halves[1], tmp_path / "other")
    edit(other / "plan.yaml", seeds=[3, 4, 5, 6])
    (trial,) = [one for one in Plan.read(other / "plan.yaml", recorded=True).trials() if (one.arm, one.seed) == ("none", 6)]
    interrupted = other / "trials" / trial.key
    interrupted.mkdir()
    (interrupted / "checkpoint.json").write_text('{"epoch": 1}')
    merged = merge([halves[0], copied(other, tmp_path / "third")], tmp_path / "out")
    assert not (merged.folder / "trials" / trial.key).exists(), "without an attempt in the storage, it is no trial"
    study_of_other = run(Plan.of(read_words(other / "plan.yaml")), other, budget=0.0001)
    assert len(study_of_other.rows) == 8
    merged = merge([halves[0], other], tmp_path / "again")
    assert (merged.folder / "trials" / trial.key / "checkpoint.json").exists()


def timed(folder: Path, device: str, *networks: str) -> None:
    """Write the latencies of networks, each the names of its arms, as measured on a device."""
    facts = {"batch": 1, "imgsz": 640, "device": device, "threads": 1, "precision": "float32", "fused": True, "nms": False,
             "warm_up": 3, "repeats": 2, "busy": 0.0, "torch": "0"}
    ms = [2.0 + len(device), 2.1]
    (folder / "latency.json").write_text(json.dumps(
        {"protocol": facts, "networks": [{"arms": names.split(), "ms": ms} for names in networks]}))


def test_the_latency_of_one_machine_is_taken_and_never_two(halves: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, second = (copied(folder, tmp_path / folder.name) for folder in (halves[0], halves[2]))
    told: list[str] = []

    def merged(name: str) -> Study:
        told.clear()
        return merge([first, second], tmp_path / name, tell=told.append)

    assert latency.read(merged("nothing").folder) is None
    assert told == []
    timed(second, "CPU 2", "se@8", "none")  # in another order than the plan's
    one = merged("one")
    assert latency.read(one.folder) == latency.read(second)
    assert not latency.is_due(one)
    assert told == [f"The latency is that of '{second / 'latency.json'}', measured on: CPU 2."]
    timed(first, "CPU 1", "none")  # not all arms
    assert latency.read(merged("covering").folder) == latency.read(second)
    timed(first, "GPU 1", "none", "se@8")
    assert latency.read(merged("both").folder) == latency.read(first)
    (line,) = told
    assert "measured on: GPU 1" in line
    assert line.endswith(f"{second / 'latency.json'} is left out.")
    shutil.copyfile(first / "latency.json", second / "latency.json")
    merged("equal")
    assert told == [f"The latency is that of '{first / 'latency.json'}', measured on: GPU 1."]
    for folder in (first, second):
        timed(folder, "CPU 1", "none")
    none = merged("none")
    assert latency.read(none.folder) is None
    assert latency.is_due(none)
    assert "No source has measured" in told[0]
    (second / "latency.json").write_text("{}")
    with pytest.raises(GraftError, match="cannot be read"):
        merged("damaged")
    assert not (tmp_path / "damaged").exists()


def test_the_scores_of_the_test_split_stay_and_are_not_two(halves: tuple[Path, Path, Path], tmp_path: Path) -> None:
    first, second = (copied(folder, tmp_path / folder.name) for folder in halves[:2])
    (first / "test.json").write_text("{}")
    merged = merge([first, second], tmp_path / "out")
    assert (merged.folder / "test.json").read_text() == "{}"
    (second / "test.json").write_text("[]")
    with pytest.raises(GraftError, match="both scored"):
        merge([first, second], tmp_path / "again")
    assert not (tmp_path / "again").exists()
