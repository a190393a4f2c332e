"""A checkpoint that names a missing module never makes Ultralytics install a package, in any mode and process."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import ultralytics
from torch import nn
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn import tasks
from ultralytics.utils import checks

import yolograft
from yolograft import GraftError
from yolograft.cli import main
from yolograft.host import commands
from yolograft.host.checkpoint_guard import guard
from yolograft.host.trainer import grafted_trainer

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "workers": 0, "plots": False, "verbose": False, "epochs": 1}


def checkpoint(file: Path, module: str, name: str = "SE") -> Path:
    """Write a checkpoint of Ultralytics with a module of the class `name`, whose Python module does not exist afterwards."""
    created = [name for name in dict.fromkeys((module.partition(".")[0], module)) if name not in sys.modules]
    for one in created:
        sys.modules[one] = ModuleType(one)
    made = sys.modules[module]
    cls = type(name, (nn.Identity,), {"__module__": module, "__qualname__": name})
    setattr(made, name, cls)
    network = tasks.DetectionModel("yolo11n.yaml", verbose=False)
    network.model[8].extra = cls()
    network.args = {}
    try:
        torch.save({"model": network, "train_args": {}}, file)
    finally:
        delattr(made, name)
        for one in created:
            del sys.modules[one]
    return file


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("foreign") / "foreign.pt", "surely_not_installed_blocks")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The commands of all processes that this process would start. As on a machine with a connection."""
    found: list[str] = []

    class Recorded(subprocess.Popen):  # type: ignore[type-arg]
        def __init__(self, args: Any, *more: Any, **kwargs: Any) -> None:
            words = args if isinstance(args, str) else " ".join(map(str, args))
            if "install" in words:
                found.append(words)
                raise OSError("no process is started in this test")
            super().__init__(args, *more, **kwargs)

    monkeypatch.setattr(subprocess, "Popen", Recorded)
    for module in (checks, tasks):
        if hasattr(module, "ONLINE"):
            monkeypatch.setattr(module, "ONLINE", True)
    monkeypatch.setattr(checks, "AUTOINSTALL", True)
    return found


def test_stock_code_starts_pip(foreign: Path, started: list[str]) -> None:
    """So that the tests below can fail."""
    with pytest.raises(ModuleNotFoundError):
        ultralytics.YOLO(str(foreign))
    assert started
    assert "surely_not_installed_blocks" in started[0]


def _trainer(model: Path | str, data: Path, folder: Path, **more: Any) -> Any:
    cls = grafted_trainer(DetectionTrainer)
    return cls(overrides={"model": str(model), "data": str(data), "project": str(folder), **FAST, **more})


MODES: dict[str, Callable[[Path, Path, Path], Any]] = {
    "YOLO": lambda file, data, folder: yolograft.YOLO(file),
    "load": lambda file, data, folder: yolograft.YOLO("yolo11n.yaml").load(str(file)),
    "pretrained": lambda file, data, folder: _trainer("yolo11n.yaml", data, folder, pretrained=str(file)).train(),
    "trainer": lambda file, data, folder: _trainer(file, data, folder).train(),
    "resumed trainer": lambda file, data, folder: grafted_trainer(DetectionTrainer)(overrides={
        "model": str(file), "resume": str(file), "data": str(data), "project": str(folder)}),
    **{mode: lambda file, data, folder, mode=mode: commands.run(mode, {
        "model": str(file), **({"source": str(data)} if mode in ("predict", "track") else {"data": str(data)})})
       for mode in ("train", "val", "predict", "track", "export", "tune")},
}


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_installs_what_a_checkpoint_names(
        mode: str, foreign: Path, started: list[str], tiny_set: Path, tmp_path: Path,
        caplog: pytest.LogCaptureFixture) -> None:
    stock = tasks.torch_safe_load
    with pytest.raises(GraftError) as raised:
        MODES[mode](foreign, tiny_set, tmp_path)
    assert "surely_not_installed_blocks.SE" in str(raised.value)
    assert "modules=surely_not_installed_blocks.py" in str(raised.value)
    assert "\n" not in str(raised.value)
    assert started == []
    assert "AutoInstall will run" not in caplog.text
    assert tasks.torch_safe_load is stock, "the guard stays on"
    assert checks.AUTOINSTALL is True


def test_a_study_does_not_install_it_either(
        foreign: Path, started: list[str], tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"data={tiny_set}", f"model={foreign}", "arms=none; se@8", "seeds=2", "epochs=1", f"project={tmp_path}"]
    assert main(["study", *words]) == 2
    assert "surely_not_installed_blocks" in capsys.readouterr().err
    assert started == []


def test_the_checkpoint_of_a_fork_leads_to_adopt(tmp_path: Path, started: list[str]) -> None:
    for module in ("ultralytics.nn.modules.se", "ultralytics.nn.modules.conv"):
        file = checkpoint(tmp_path / "fork.pt", module, "OwnSE")
        words = rf"changed copy of Ultralytics: it needs {module}\.OwnSE.*yolograft adopt .*fork\.pt"
        with pytest.raises(GraftError, match=words):
            yolograft.YOLO(file)
    file = checkpoint(tmp_path / "old.pt", "models.common")
    with pytest.raises(GraftError, match="repository yolov5 or yolov7"):
        yolograft.YOLO(file)
    assert started == []


def test_a_class_of_a_script_is_explained_and_found_in_its_file(tmp_path: Path, fresh_registry: None) -> None:
    file = checkpoint(tmp_path / "script.pt", "__main__", "OwnSE")
    with pytest.raises(GraftError, match=r"needs __main__\.OwnSE.*modules=FILE\.py"):
        yolograft.YOLO(file)
    own = tmp_path / "own_script.py"
    own.write_text("from torch import nn\n\n\nclass OwnSE(nn.Identity):\n    pass\n", encoding="utf-8")
    model = yolograft.YOLO(file, modules=own)
    assert type(model.model.model[8].extra).__module__ == "own_script"
    assert not hasattr(sys.modules["__main__"], "OwnSE")


def test_a_file_beside_the_checkpoint_is_named_with_its_path(tmp_path: Path) -> None:
    file = checkpoint(tmp_path / "beside.pt", "surely_beside", "OwnSE")
    own = tmp_path / "surely_beside.py"
    own.write_text("class OwnSE: pass\n", encoding="utf-8")
    with pytest.raises(GraftError) as raised:
        yolograft.YOLO(file)
    assert f"modules={own} to the command" in str(raised.value)
    assert f"yolograft.YOLO('{file}', modules='{own}')" in str(raised.value)


def test_a_changed_file_and_a_missing_package_are_explained(tmp_path: Path, fresh_registry: None) -> None:
    file = checkpoint(tmp_path / "changed.pt", "surely_changed", "OwnSE")
    own = tmp_path / "surely_changed.py"
    own.write_text("from torch import nn\n\n\nclass Renamed(nn.Identity):\n    pass\n", encoding="utf-8")
    with pytest.raises(GraftError, match=r"needs surely_changed\.OwnSE, but .*surely_changed\.py has no such class"):
        yolograft.YOLO(file, modules=own)
    file = checkpoint(tmp_path / "package.pt", "surely_no_package.nets", "OwnSE")
    with pytest.raises(GraftError, match=r"Add the folder that contains surely_no_package to PYTHONPATH"):
        yolograft.YOLO(file)



def test_the_guard_changes_nothing_for_a_sound_checkpoint(weights: Path) -> None:
    with guard():
        ours = yolograft.YOLO(weights).model.state_dict()
    stock = ultralytics.YOLO(str(weights)).model.state_dict()
    assert ours.keys() == stock.keys()
    assert all(torch.equal(ours[key], value) for key, value in stock.items())
