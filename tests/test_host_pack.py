"""`pack` and `unpack`: a checkpoint as safetensors and back, with the same tensors and the same outputs."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics import YOLO as StockYOLO

from yolograft.cli import main
from yolograft.errors import HostError
from yolograft.host.checkpoint_guard import guard
from yolograft.host.pack import pack, unpack
from yolograft.host.yolo import YOLO

GOLDEN = Path(__file__).parent / "golden" / "0.1.0" / "grafted.pt"


def test_a_checkpoint_survives_both_ways(tmp_path: Path) -> None:
    packed = pack(GOLDEN, tmp_path / "a.safetensors")
    unpacked = unpack(packed)
    assert unpacked == tmp_path / "a.pt"
    first, second = (YOLO(file) for file in (GOLDEN, unpacked))
    assert str(first.graft) == str(second.graft) != "none"
    assert first.names == second.names
    ours, theirs = first.model.state_dict(), second.model.state_dict()
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key].float(), theirs[key].float()) for key in ours)
    with guard():
        stock: Any = StockYOLO(unpacked)  # what the command `yolo` does
    assert "Grafted" in type(stock.model).__name__


def test_the_commands_refuse_what_they_cannot_convert(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    packed = tmp_path / "a.safetensors"
    assert main(["pack", str(GOLDEN), f"to={packed}"]) == 0
    assert str(packed) in capsys.readouterr().out
    for words, says in ((["pack", str(GOLDEN), f"to={packed}"], "overwrite=True"),
                        (["unpack", str(GOLDEN)], "another suffix"),
                        (["unpack", str(packed), "to=x.onnx"], "suffix .pt"), (["pack"], "needs one file")):
        assert main(words) == 2
        assert says in capsys.readouterr().err
    assert main(["pack", str(GOLDEN), f"to={packed}", "overwrite=True"]) == 0


def test_values_that_are_not_finite_are_named(tmp_path: Path) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    packed = pack(GOLDEN, tmp_path / "a.safetensors")
    with safe_open(packed, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(packed)
    key = next(iter(tensors))
    save_file({**tensors, key: tensors[key] * float("nan")}, packed, metadata)
    with pytest.raises(HostError, match=f"{key} has values that are not finite"):
        unpack(packed)


def test_a_grafted_checkpoint_opens_with_safe_load() -> None:
    environment = {**os.environ, "ULTRALYTICS_SAFE_LOAD": "1"}
    done = subprocess.run([sys.executable, "-m", "yolograft", "show", f"model={GOLDEN}"], env=environment, text=True,
                          capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "grafted" in done.stdout
