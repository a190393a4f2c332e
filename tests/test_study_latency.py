"""Latency of a study: which networks are equal, when it is measured, what is stored, and that trials do not measure it."""

import json
from pathlib import Path

import pytest
from generated_studies import make

from yolograft.cli import main
from yolograft.errors import GraftError
from yolograft.report.page import protocol
from yolograft.report.summary import Summary
from yolograft.report.words import Translator
from yolograft.study import Study, dummy, latency

ARMS = "none; se@8; gate1(se@8); params(se@8); se@8 lr0=0.1; se@8 imgsz=320; aa(2)"


def test_equal_networks_are_one_network(tmp_path: Path) -> None:
    study = make(tmp_path / "s", ARMS)
    groups = latency.equal_networks(study.plan)
    assert groups == [("none", "aa", "aa2"), ("se@8", "gate1(se@8)", "se@8 lr0=0.1"), ("params(se@8)",), ("se@8 imgsz=320",)]
    found = latency.read(study.folder)
    assert found is not None
    assert [one.arms for one in found.networks] == groups
    assert found.fps("aa") == found.fps("none") != found.fps("se@8")
    assert found.ratio("aa", "none") is None, "a network is not compared with itself"
    middle, low, high = found.ratio("se@8", "none") or (0, 0, 0)
    assert low <= middle <= high
    assert middle == pytest.approx(1.1, abs=0.02)


def test_a_measurement_is_due_once_all_trials_have_ended(tmp_path: Path) -> None:
    assert not latency.is_due(make(tmp_path / "half", "none; se@8", done=5, old=True))
    study = make(tmp_path / "s", "none; se@8; se@8 fail=error", old=True)
    assert latency.is_due(study)
    latency.measure(study)
    assert not latency.is_due(study)
    more = make(tmp_path / "more", "none; se@8; cbam@8", old=True)
    assert latency.is_due(Study(study.folder, more.plan, more.rows)), "an arm was added"


def test_a_machine_that_others_use_is_said_to_be_busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns, facts = dummy.time_networks([])
    busy = {**facts, "busy": 0.4}
    monkeypatch.setattr(dummy, "time_networks", lambda trials: ([[0.01] * len(trials) for _ in turns], busy))
    study = make(tmp_path / "s", "none; se@8")
    found = latency.read(study.folder)
    assert found is not None
    assert found.protocol.is_busy
    assert "used 40% of its CPU" in " ".join(protocol(Summary(study), Translator("en")))


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"protocol": 3, "networks": []}', '{"protocol": {}, "networks": []}'])
def test_a_damaged_file_is_one_error(tmp_path: Path, text: str) -> None:
    study = make(tmp_path / "s", "none; se@8", old=True)
    (study.folder / latency.FILE).write_text(text)
    with pytest.raises(GraftError, match=r"latency\.json' cannot be read"):
        latency.read(study.folder)


def test_the_command_measures_once_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["study", "data=d", "model=yolo11n.pt", "arms=none; se@8; aa", "seeds=1", "epochs=1",
             "host=yolograft.study.dummy", "name=s"]
    assert main([*words, "latency=False"]) == 0
    file = Path("runs/study/s") / latency.FILE
    assert not file.exists()
    assert main(words) == 0
    assert "Measuring the latency of 2 networks" in capsys.readouterr().out
    before = file.read_bytes()
    assert main(words) == 0
    assert "Measuring" not in capsys.readouterr().out
    assert file.read_bytes() == before
    assert all("latency_ms" not in json.loads(one.read_text())["costs"] for one in tmp_path.rglob("result.json"))
    assert main([*words, "latency=maybe"]) == 2


def test_a_host_that_cannot_build_a_network_leaves_latency_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(trials: object) -> None:
        raise GraftError("the data are gone")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(dummy, "time_networks", refuse)
    assert main(["study", "data=d", "model=yolo11n.pt", "arms=none; se@8", "seeds=1", "epochs=1",
                 "host=yolograft.study.dummy", "name=s"]) == 0
    assert "The latency was not measured: the data are gone" in capsys.readouterr().out
    monkeypatch.delattr(dummy, "time_networks")
    study = make(tmp_path / "t", "none; se@8", old=True)
    assert not latency.is_due(study)
    with pytest.raises(GraftError, match="does not measure latency"):
        latency.measure(study)
