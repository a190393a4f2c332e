"""The command `fold`: what it writes, what it refuses, and which blocks it chooses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from folding_hosts import settled
from torch import nn

from yolograft import YOLO, attach
from yolograft.analysis import fold as module
from yolograft.analysis.average_precision import Interval
from yolograft.analysis.constant_gate import Constant
from yolograft.analysis.fold import fold
from yolograft.analysis.gates import places
from yolograft.cli import main
from yolograft.host.models import graft_onto

pytestmark = [pytest.mark.usefixtures("one_thread"), pytest.mark.filterwarnings("default")]

# Stock Ultralytics in a process where yolograft cannot be imported
STOCK = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "yolograft":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Refuse())
import torch
from ultralytics import YOLO
model = YOLO(sys.argv[1])
image = torch.load(sys.argv[2])
with torch.no_grad():
    torch.save(model.model.float().eval()(image)[0], sys.argv[3])
model.predict(image, verbose=False)
"""


def checkpoint(folder: Path, graft: str, constant: bool = True) -> Path:
    network = graft_onto(settled("yolo11n.yaml", nc=2), graft)
    for block in attach.grafts(network).values():
        for parameter in block.parameters():
            nn.init.normal_(parameter, 0, 0.3)
        if constant:
            nn.init.zeros_(block.fc2.weight)
    network.names = {0: "dim", 1: "bright"}
    yolo = YOLO("yolo11n.yaml")
    yolo.model = network
    yolo.save(folder / "grafted.pt")
    return folder / "grafted.pt"


def test_constant_blocks_are_folded_into_a_stock_checkpoint(tmp_path: Path, tiny_set: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    file = checkpoint(tmp_path, "se@8,p4")
    assert main(["fold", f"model={file}", f"data={tiny_set}", "imgsz=64", "repeats=2", f"project={tmp_path / 'runs'}",
                 "name=mine", "tolerance=0"]) == 0
    printed = capsys.readouterr().out
    written = tmp_path / "runs" / "mine" / "weights" / "best.pt"
    record = json.loads((tmp_path / "runs" / "mine" / "fold.json").read_text(encoding="utf-8"))
    assert [one["result"] for one in record["places"]] == ["exact", "exact"]
    assert record["graft"] == "none"
    assert record["needs_yolograft"] is False
    assert record["algebra_error"] < 1e-10
    assert record["output_error"] < 1e-4
    assert record["parameters"][1] < record["parameters"][0]
    assert record["latency"]["low"] <= record["latency"]["ratio"] <= record["latency"]["high"]
    assert "folded exactly" in printed
    assert "stock Ultralytics checkpoint" in printed
    image = torch.rand(1, 3, 64, 64)
    torch.save(image, tmp_path / "image.pt")
    (tmp_path / "stock.py").write_text(STOCK)
    subprocess.run([sys.executable, str(tmp_path / "stock.py"), str(written), str(tmp_path / "image.pt"),
                    str(tmp_path / "out.pt")], check=True, cwd=tmp_path, env={**os.environ, "YOLO_AUTOINSTALL": "False"})
    with torch.no_grad():
        expected = YOLO(file).model.float().eval()(image)[0]
    torch.testing.assert_close(torch.load(tmp_path / "out.pt"), expected, rtol=1e-3, atol=1e-2)


def test_blocks_that_cannot_be_folded_stay_in_a_grafted_checkpoint(tmp_path: Path, tiny_set: Path) -> None:
    file = checkpoint(tmp_path, "se@8,2.m.0.cv2")
    result = fold(str(file), str(tiny_set), imgsz=64, repeats=1, project=str(tmp_path), tolerance=0)
    kept, folded = result.places
    assert (kept.place, kept.result) == ("2.m.0.cv2", "kept")
    assert "the sum in 2.m.0" in kept.reason
    assert (folded.place, folded.result, folded.replaced_by) == ("8", "exact", "constant")
    assert result.graft == "se@2.m.0.cv2"
    assert "carries the other blocks" in str(result)
    reopened = YOLO(result.weights)
    assert str(reopened.graft).endswith("@2.m.0.cv2")
    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(reopened.model.float().eval()(image)[0], YOLO(file).model.float().eval()(image)[0],
                                   rtol=1e-3, atol=1e-2)


def test_nothing_is_written_if_nothing_can_be_folded(tmp_path: Path, tiny_set: Path) -> None:
    file = checkpoint(tmp_path, "se@8", constant=False)
    result = fold(str(file), str(tiny_set), imgsz=64, repeats=1, project=str(tmp_path / "runs"), tolerance=0)
    assert [(one.result, one.varies) for one in result.places] == [("kept", "image")]
    assert result.places[0].reason == "it varies from image to image"
    assert not (tmp_path / "runs").exists()
    assert "No block could be folded" in str(result)


def test_a_run_never_overwrites_another(tmp_path: Path, tiny_set: Path) -> None:
    file = checkpoint(tmp_path, "se@8")
    first, second = (fold(str(file), str(tiny_set), imgsz=64, repeats=1, project=str(tmp_path), name="run").weights
                     for _ in range(2))
    assert Path(first).parent.parent.name == "run"
    assert first != second


@pytest.mark.parametrize(("words", "message"), [
    (["data=x.yaml"], "needs model=CHECKPOINT"),
    (["model=yolo11n.yaml", "data=coco8.yaml"], "carries no blocks"),
    (["model=missing.pt", "data=coco8.yaml"], "cannot be"),
    (["model={grafted}", "data=missing.yaml"], "missing.yaml"),
    (["model={grafted}"], "fold needs data="),
    (["model={grafted}", "data=x.yaml", "tolerance=2"], "Expected a number from 0 to 1"),
    (["model={grafted}", "data=x.yaml", "tolerance=much"], "tolerance=much is not a number"),
    (["model={grafted}", "data=x.yaml", "split=train"], "expected val or test"),
    (["model={grafted}", "data=x.yaml", "tolerence=0.1"], "tolerance"),
])
def test_a_mistake_is_one_message(tmp_path: Path, words: list[str], message: str, capsys: pytest.CaptureFixture[str],
                                  monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = checkpoint(tmp_path, "se@8") if any("{grafted}" in word for word in words) else tmp_path
    before = sorted(tmp_path.rglob("*"))
    assert main(["fold", *(word.format(grafted=file) for word in words)]) == 2
    assert message in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


class _Prescribed:
    """A validation whose change of mAP50-95 is a sum over the blocks that were replaced."""

    seed = 0

    def __init__(self, losses: dict[str, float], network: Any) -> None:
        self.losses, self.names = losses, {f"{name}.graft.0": name.removeprefix("model.") for name, _ in
                                          network.named_modules()}

    def run(self, network: Any) -> tuple[dict[str, float], Any]:
        replaced = [self.names[name] for name, block in attach.grafts(network).items()
                    if type(block).__name__ == "FixedGate"]
        return {}, sum(self.losses[name] for name in replaced)


def choose(monkeypatch: pytest.MonkeyPatch, losses: dict[str, float], tolerance: float) -> dict[str, Any]:
    network = graft_onto(settled("yolo11n.yaml"), f"se@{','.join(losses)}")
    constants = {place: Constant(factor=torch.full((place.channels,), 0.9).double(), error=0.1, varies="image",
                                 offset=torch.zeros(place.channels).double()) for place in places(network)}
    monkeypatch.setattr(module, "difference", lambda after, before, seed: Interval(
        estimate=-after, low=-after - 0.001, high=-after + 0.001))
    search = module._Search(network, constants, _Prescribed(losses, network), np.zeros(1), tolerance)  # type: ignore[arg-type]
    chosen, results = search.choose()
    assert {place.name for place in chosen} == {one.place for one in results if one.result != "kept"}
    return {one.place: one for one in results}


def test_blocks_are_chosen_by_the_loss_at_the_lower_end_of_its_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    found = choose(monkeypatch, {"6": 0.0, "8": 0.0045, "10": 0.02, "2.m.0.cv2": 0.001}, 0.005)
    assert {name: one.result for name, one in found.items()} == {
        "2.m.0.cv2": "tolerance", "6": "tolerance", "8": "kept", "10": "kept"}
    assert found["2.m.0.cv2"].replaced_by == "one", "its constant cannot be folded"
    assert found["6"].replaced_by == "constant"
    assert "can exceed the tolerance 0.005" in found["8"].reason


def test_blocks_are_tested_together_and_the_worst_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    found = choose(monkeypatch, {"4": 0.001, "6": 0.002, "8": 0.003}, 0.005)
    assert {name: one.result for name, one in found.items()} == {"4": "tolerance", "6": "tolerance", "8": "kept"}
    assert "together" in found["8"].reason
