"""A file of the user that changes Ultralytics leaves it as it was, and its classes work in rows all the same."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from torch import nn
from ultralytics.nn import modules as stock_modules
from ultralytics.nn import tasks
from ultralytics.nn.modules import block
from ultralytics.utils import LOGGER

from yolograft import YOLO, modules
from yolograft.blocks import plugin as blocks_plugin
from yolograft.errors import BlockError
from yolograft.modelyaml import catalog
from yolograft.modules import plugin

CLASS = """
import ultralytics
import ultralytics.nn.tasks as tasks
from torch import nn
from ultralytics.nn.modules import C2f, C3k2, Conv, block


class {name}(nn.Module):
    def __init__(self, c1, c2):
        super().__init__()
        self.cv = nn.Conv2d(c1, c2, 1)

    def forward(self, x):
        return self.cv(x)


def parse(d, ch, verbose=True):
    raise RuntimeError
"""
CHANGES = {  # what public files do, and the name in the message
    "setattr(tasks, '{name}', {name})": "{name}",
    "setattr(ultralytics.nn.tasks, '{name}', {name})": "{name}",
    "ultralytics.nn.tasks.{name} = ultralytics.nn.modules.{name} = {name}": "{name}",
    "tasks.parse_model = parse": "parse_model",
    "import ultralytics.nn.tasks as t\nt.__dict__['parse_model'] = parse": "parse_model",
    "vars(tasks).update({name}={name})": "{name}",
    "block.Bottleneck = {name}": "Bottleneck",
    "tasks.C3k2 = {name}": "C3k2",
    "tasks.C3k2 = tasks.C2f": "C3k2",
    "C2f.forward = lambda self, x: x": "C2f.forward",
    "C2f.extra = lambda self, x: x": "C2f.extra",
    "Conv.default_act = nn.ReLU()": "Conv.default_act",
}
BASE = next(path for path in catalog.packaged_files() if path.name == "yolo11.yaml").read_text("utf-8")
pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


@pytest.fixture
def write(tmp_path: Path, request: pytest.FixtureRequest) -> Callable[..., tuple[Path, str]]:
    """Return a function that writes a file with a class and a change, and returns the file and the name of the class."""
    number = list(CHANGES).index(request.node.callspec.params["change"]) if hasattr(request.node, "callspec") else 99

    def write(change: str) -> tuple[Path, str]:
        name = f"Own{number}"
        file = tmp_path / f"changing_{number}_{len(change)}.py"
        file.write_text(CLASS.format(name=name) + change.format(name=name) + "\n", encoding="utf-8")
        return file, name

    return write


def snapshot() -> dict[str, object]:
    owners = {"tasks": tasks, "block": block, "modules": stock_modules, "C2f": block.C2f, "Conv": stock_modules.Conv}
    return {f"{key}.{name}": value for key, owner in owners.items() for name, value in vars(owner).items()
            if name != "__builtins__"}


@pytest.mark.parametrize("change", CHANGES)
def test_ultralytics_is_stock_after_the_import(
        change: str, write: Callable[..., tuple[Path, str]], tmp_path: Path, fresh_registry: None,
        caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    before = snapshot()
    file, name = write(change)
    plugin.load_file(file)
    after = snapshot()
    assert {key for key in {*before, *after} if before.get(key) is not after.get(key)} == set()
    (line,) = {one.removeprefix("WARNING ⚠️ ") for one in caplog.messages if "This was undone" in one}
    assert CHANGES[change].format(name=name) in line
    assert f"modules={file}" in line
    assert "This was undone" in line
    assert ("swap=" in line) == (change in ("block.Bottleneck = {name}", "tasks.C3k2 = {name}"))
    text = BASE.replace("SPPF, [1024, 5]", f"{name}, [1024]")
    model_yaml = tmp_path / "yolo11n-own.yaml"
    model_yaml.write_text(text, encoding="utf-8")
    assert type(YOLO(model_yaml).model.model[9]).__name__ == name
    assert not modules.has_own("C3k2")


def test_a_class_that_a_file_only_imports_and_sets_is_a_module(tmp_path: Path, fresh_registry: None) -> None:
    (tmp_path / "imported_net.py").write_text(CLASS.format(name="Imported"), encoding="utf-8")
    file = tmp_path / "only_sets.py"
    file.write_text(f"import sys\nsys.path.insert(0, {str(tmp_path)!r})\nfrom imported_net import Imported\n"
                    "import ultralytics.nn.tasks\nsetattr(ultralytics.nn.tasks, 'Imported', Imported)\n", encoding="utf-8")
    plugin.load_file(file)
    assert modules.has_own("Imported")
    assert not hasattr(tasks, "Imported")


def test_a_file_of_blocks_and_a_file_that_fails_leave_it_too(
        write: Callable[..., tuple[Path, str]], tmp_path: Path, fresh_registry: None) -> None:
    stock = tasks.parse_model
    file, _ = write("tasks.parse_model = parse")
    blocks_plugin.load_plugin(file)
    assert tasks.parse_model is stock
    failing = tmp_path / "failing_file.py"
    failing.write_text(file.read_text("utf-8") + "raise ValueError('no')\n", encoding="utf-8")
    with pytest.raises(BlockError, match="no"):
        plugin.load_file(failing)
    assert tasks.parse_model is stock


def test_a_file_that_changes_nothing_says_nothing(
        write: Callable[..., tuple[Path, str]], fresh_registry: None, caplog: pytest.LogCaptureFixture,
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LOGGER, "propagate", True)
    plugin.load_file(write("")[0])
    assert not [one for one in caplog.messages if "This was undone" in one]


def test_parsed_rows_are_those_of_stock(write: Callable[..., tuple[Path, str]], fresh_registry: None) -> None:
    plugin.load_file(write("tasks.C3k2 = {name}\ntasks.parse_model = parse")[0])
    network = tasks.DetectionModel({**yaml.safe_load(BASE), "scale": "n"}, verbose=False)
    assert isinstance(network, nn.Module)
    assert type(network.model[2]) is block.C3k2
    assert "ultralytics.nn.tasks" in sys.modules
