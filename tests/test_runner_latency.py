"""The networks that a study's latency is measured with, on the installed Ultralytics."""

from pathlib import Path

import pytest
import torch

from yolograft.analysis import profile
from yolograft.analysis.timing import OtherPrograms
from yolograft.attach import grafts
from yolograft.errors import GraftError
from yolograft.runner import latency
from yolograft.runner.train import spell
from yolograft.study.latency import Protocol
from yolograft.study.trial import Trial

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


def trial(data: Path, graft: str = "none", control: str = "", **settings: object) -> Trial:
    return Trial(arm="x", graft=spell(graft), control=control, host="ultralytics",
                 settings={"model": "yolo11n.yaml", "data": str(data), "imgsz": 32, "device": "cpu", **settings})


def test_networks_have_the_classes_of_the_data_their_blocks_and_swaps(tiny_set: Path) -> None:
    bare = latency.build(trial(tiny_set))
    assert bare.model[-1].nc == 2
    assert not grafts(bare)
    count = profile.count_parameters
    assert len(grafts(latency.build(trial(tiny_set, "se@8")))) == 1
    assert count(latency.build(trial(tiny_set, control="aa"))) == count(bare)
    plain = latency.build(trial(tiny_set, "se@8", "params"))
    assert {type(block).__name__ for block in grafts(plain).values()} == {"Plain"}
    swapped = latency.build(trial(tiny_set, swap="dysample@Upsample"))
    assert count(swapped) > count(bare)


def test_all_networks_run_in_every_turn(tiny_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latency, "_SECONDS", 0.0)
    threads = torch.get_num_threads()
    turns, facts = latency.time_networks([trial(tiny_set), trial(tiny_set, "se@8"), trial(tiny_set, "cbam@8", imgsz=64)])
    protocol = Protocol(**facts)
    assert len(turns) == protocol.repeats == 10
    assert all(len(turn) == 3 and min(turn) > 0 for turn in turns)
    assert (protocol.batch, protocol.imgsz, protocol.precision, protocol.nms) == (1, 32, "float32", False)
    assert protocol.device.startswith("cpu, ")
    assert 0 <= protocol.busy <= 1
    assert torch.get_num_threads() == threads


def test_without_the_data_there_is_no_latency(tmp_path: Path) -> None:
    with pytest.raises(GraftError):
        latency.time_networks([trial(tmp_path / "nowhere.yaml")])


def test_other_programs_are_measured_without_this_one() -> None:
    with OtherPrograms() as others:
        for _ in range(300_000):
            pass
    assert 0 <= others.share <= 1
    seconds = iter([(100.0, 100.0, 50.0), (104.0, 106.0, 51.0)])  # 4 busy, 6 idle, 1 of the busy ones its own
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("yolograft.analysis.timing._cpu_seconds", lambda: next(seconds))
        with OtherPrograms() as others:
            pass
    assert others.share == pytest.approx(0.3)
