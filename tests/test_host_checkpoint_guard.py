"""A checkpoint that names a missing module never makes Ultralytics install a package, in any mode and process."""

from __future__ import annotations

import inspect
import shutil
import subprocess
import sys
from collections import defaultdict
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
from ultralytics.utils import checks, downloads, plotting

import yolograft
from yolograft import GraftError
from yolograft.cli import main
from yolograft.host import commands, yolo
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


# Generators, and methods that classes of Ultralytics add

GUARDED: tuple[tuple[Any, str], ...] = (
    (tasks, "torch_safe_load"), (checks, "AUTOINSTALL"), (checks, "check_pip_update_available"),
    (downloads, "get_github_assets"), (plotting, "check_font"))


def state() -> list[Any]:
    return [getattr(owner, name) for owner, name in GUARDED]


@pytest.fixture
def pictures(tiny_set: Path, tmp_path: Path) -> Path:
    """A folder with three images, which are predicted one by one."""
    for path in sorted((tiny_set.parent / "images" / "val").glob("*.png"))[:3]:
        shutil.copy(path, tmp_path)
    return tmp_path


@pytest.fixture
def predicting(monkeypatch: pytest.MonkeyPatch) -> yolograft.YOLO:
    monkeypatch.setattr(checks, "AUTOINSTALL", True)  # as in a program that imported Ultralytics first
    return yolograft.YOLO("yolo11n.yaml")


STREAMS: dict[str, Callable[[Any, Path, bool], Any]] = {
    "predict": lambda model, source, stream: model.predict(source, stream=stream, imgsz=32, verbose=False),
    "call": lambda model, source, stream: model(source, stream=stream, imgsz=32, verbose=False),
    "track": lambda model, source, stream: model.track(source, stream=stream, imgsz=32, verbose=False),
    "embed": lambda model, source, stream: model.embed(source, stream=stream, imgsz=32, verbose=False),
}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_runs_under_the_guard_and_the_users_code_does_not(
        name: str, predicting: yolograft.YOLO, pictures: Path) -> None:
    own, inside = state(), list[Any]()
    predicting.add_callback("on_predict_batch_start", lambda _: inside.append(state()))
    assert len(list(STREAMS[name](predicting, pictures, False))) == 3
    guarded, between = inside[0], []
    assert all(one != other for one, other in zip(own, guarded, strict=True))
    inside.clear()
    results = STREAMS[name](predicting, pictures, True)
    assert state() == own
    for _ in results:
        between.append(state())
    assert inside == [guarded] * len(inside)
    assert between == [own] * 3
    assert len(inside) >= 3
    assert state() == own


def test_a_stream_that_is_left_early_ends_its_generator(predicting: yolograft.YOLO, pictures: Path) -> None:
    own, ended = state(), list[Any]()

    def stock(*_: object, **__: object) -> Any:
        try:
            yield from range(3)
        finally:
            ended.append(state())

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ultralytics.engine.model.Model, "predict", stock)
        results = predicting.predict(pictures, stream=True)
        assert next(results) == 0
        results.close()
    assert len(ended) == 1
    assert ended[0] != own
    assert state() == own


def test_an_error_in_a_stream_is_explained_and_one_of_the_user_is_not_touched(
        predicting: yolograft.YOLO, pictures: Path) -> None:
    def user() -> None:
        for _ in predicting.predict(pictures, stream=True, imgsz=32, verbose=False):
            raise ModuleNotFoundError("of the user", name="surely_missing")

    with pytest.raises(ModuleNotFoundError, match="of the user"):
        user()

    def fail(_: object) -> None:
        raise ModuleNotFoundError("No module named 'surely_missing'", name="surely_missing")

    predicting.add_callback("on_predict_batch_start", fail)
    with pytest.raises(GraftError, match="needs the package surely_missing"):
        list(predicting.predict(pictures, stream=True, imgsz=32, verbose=False))


def public_methods(stock: type) -> set[str]:
    """Return the methods that a user can call on an object of a class of Ultralytics."""
    return {name for name, value in inspect.getmembers(stock, inspect.isfunction)
            if not name.startswith("_") and value.__module__.startswith("ultralytics.")}


@pytest.mark.parametrize("name", ["YOLO", "RTDETR", "YOLOWorld"])
def test_every_public_method_runs_under_the_guard(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also `set_classes` of YOLO-World, which downloads a text model, and what a later version adds."""
    stock = getattr(ultralytics, name)
    seen: list[Any] = []
    for one in public_methods(stock):
        monkeypatch.setattr(next(cls for cls in stock.__mro__ if one in vars(cls)), one,
                            lambda *_, **__: seen.append(state()) or [])
    ours = type(name, (yolo._GraftingModel, stock), {})
    own = state()
    for one in sorted(public_methods(stock)):
        instance = ours.__new__(ours)
        torch.nn.Module.__init__(instance)
        instance.__dict__.update(model=None, task="detect", overrides={}, callbacks=defaultdict(list), predictor=object(),
                                 ckpt={}, model_name="x", _file_graft=None, _file_swap=None)
        seen.clear()
        arguments = {"data": "yolo11n.yaml"} if one in ("train", "val", "tune", "benchmark") else {}
        if one == "export":  # it refuses what is no model, and has a test of its own
            continue
        getattr(instance, one)(**arguments)
        assert seen, one
        assert all(found[0] != own[0] for found in seen), one


@pytest.mark.parametrize("stem", ["x-world", "x-yoloe", "rtdetr-x"])
def test_a_file_with_the_name_of_another_family_is_opened_under_the_guard(stem: str, tmp_path: Path) -> None:
    """8.3 makes a YOLO-World object of such a file, whose own class opens it."""
    mark = tmp_path / "ran"

    class Runs:
        def __reduce__(self) -> Any:
            return Path.touch, (mark,)

    torch.save({"model": Runs(), "epoch": -1}, tmp_path / f"{stem}.pt")
    with pytest.raises(GraftError, match="is not opened"):
        yolograft.YOLO(tmp_path / f"{stem}.pt")
    assert not mark.exists()
