"""Modules of the user's file in Python and in the commands, and checkpoints whose file is gone."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from yolograft import YOLO, GraftError, modules
from yolograft.cli import main
from yolograft.errors import HostError
from yolograft.modelyaml import catalog
from yolograft.modules import plugin

FILE = """
from torch import nn


class {name}(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.cv = nn.Conv2d(c1, c2, 1)

    def forward(self, x):
        return self.cv(x)
"""
BASE = next(path for path in catalog.packaged_files() if path.name == "yolo11.yaml").read_text("utf-8")
FAST: dict[str, Any] = {"imgsz": 32, "batch": 4, "workers": 0, "plots": False, "epochs": 1, "device": "cpu",
                        "speed": "stock", "val": False}
pytestmark = [pytest.mark.filterwarnings("default"),  # Ultralytics' own warnings
              pytest.mark.usefixtures("fresh_registry", "one_thread")]


def write(folder: Path, name: str) -> tuple[Path, Path]:
    """Write a file with the class `name`, and a model YAML whose row 9 is this class."""
    file, model = folder / f"file_of_{name.lower()}.py", folder / f"yolo11n-{name.lower()}.yaml"
    file.write_text(FILE.format(name=name), encoding="utf-8")
    model.write_text(BASE.replace("SPPF, [1024, 5]", f"{name}, [1024]"), encoding="utf-8")
    return file, model


def forget(file: Path, name: str) -> None:
    """Make this process as one that never saw the file."""
    sys.modules.pop(file.stem)
    sys.path[:] = [folder for folder in sys.path if folder != str(file.parent)]
    plugin._LOADED.pop(file.stem, None)
    for registry in (modules._MODULES, modules._ALIASES):
        for key in [key for key in registry if key.lower() == name.lower()]:
            del registry[key]  # type: ignore[attr-defined]


def test_python_takes_the_file_and_the_training_keeps_the_module(tmp_path: Path, tiny_set: Path, weights: Path) -> None:
    file, yaml_file = write(tmp_path, "Keep")
    with pytest.raises(GraftError, match="'Keep'"):
        YOLO(yaml_file)
    model = YOLO(yaml_file, modules=file)
    assert type(model.model.model[9]).__name__ == "Keep"
    model.train(data=str(tiny_set), pretrained=str(weights), project=str(tmp_path), name="run", **FAST)
    last = tmp_path / "run/weights/last.pt"
    forget(file, "Keep")
    opened = YOLO(last, modules=str(file))
    assert type(opened.model.model[9]).__module__ == file.stem
    # the rows before the module start from the checkpoint's weights: one epoch moves them little
    start = YOLO(weights).model.state_dict()["model.0.conv.weight"]
    assert torch.allclose(opened.model.state_dict()["model.0.conv.weight"].float(), start.float(), atol=0.05)


def test_train_loads_the_file_before_the_swap(tmp_path: Path) -> None:
    file, _ = write(tmp_path, "Swapped")
    with pytest.raises(GraftError, match=r"Swapped.* 16x\d+x\d+"):
        YOLO("yolo11n.yaml").train(swap="Swapped@0", modules=str(file), data="coco8.yaml")
    assert modules.has_own("Swapped")


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("graft", ["none", "se@8"])
def test_a_checkpoint_whose_file_is_gone_says_so_in_one_line(
        graft: str, suffix: str, tmp_path: Path, tiny_set: Path, capsys: pytest.CaptureFixture[str],
        monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"Gone{graft[:2]}{suffix[1:]}"
    file, yaml_file = write(tmp_path, name)
    model = YOLO(yaml_file, modules=file, graft=graft)
    checkpoint = tmp_path / "elsewhere" / f"gone{suffix}"
    checkpoint.parent.mkdir()
    if suffix == ".pt":
        model.save(str(checkpoint))
    else:
        model.model.pt_path = str(checkpoint.with_suffix(".pt"))
        checkpoint = Path(model.export(format="safetensors"))
    forget(file, name)
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(GraftError) as raised:
        YOLO(checkpoint)
    texts = [str(raised.value)]
    for words in (["val", f"data={tiny_set}"], ["predict", f"source={tiny_set.parent / 'images/val'}"],
                  ["export", "format=torchscript"], ["train", "resume=True"], ["train", f"data={tiny_set}"]):
        capsys.readouterr()
        assert main([words[0], f"model={checkpoint}", *words[1:]]) == 2
        texts.append(capsys.readouterr().err.strip().splitlines()[-1])
    for text in texts:
        assert f"modules={file.name}" in text
        assert name in text
        assert "blocks=" not in text
        assert "\n" not in text
    assert main(["predict", f"model={checkpoint}", f"modules={file}", f"source={tiny_set.parent / 'images/val'}",
                 "imgsz=32", "device=cpu"]) == 0


def test_cfg_can_be_the_model_yaml(tmp_path: Path, tiny_set: Path, weights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file, yaml_file = write(tmp_path, "OfCfg")
    monkeypatch.chdir(tmp_path)
    words = [f"{key}={value}" for key, value in FAST.items()]
    assert main(["train", f"model={weights}", f"cfg={yaml_file}", f"modules={file}", f"data={tiny_set}",
                 f"project={tmp_path}", "name=cfg", *words]) == 0
    assert type(YOLO(tmp_path / "cfg/weights/last.pt").model.model[9]).__name__ == "OfCfg"
    with pytest.raises(HostError, match=r"In Python.*YOLO\('.*ofcfg\.yaml'\)\.train\(pretrained='.*yolo11n"):
        YOLO(weights, modules=file).train(cfg=str(yaml_file), data=str(tiny_set))
