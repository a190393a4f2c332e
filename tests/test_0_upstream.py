"""The canary: does the installed Ultralytics and PyTorch still have what we need?

It is the first test file by name, so that it runs before all others, or beside them in the first worker process of
pytest-xdist. `conftest.py` lists its failures before those of all other tests, which they may explain.

One test for every entry of `yolograft.upstream`. The tests below them keep that list complete: they read the code.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
from ultralytics.engine.model import Model
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.models.yolo.detect import DetectionTrainer, DetectionValidator
from ultralytics.nn.tasks import DetectionModel

from yolograft.upstream import INTERNALS, Internal, problem

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "yolograft"
FILES = sorted(SOURCE.rglob("*.py"))
INSTALLED = {"ultralytics": ultralytics.__version__, "torch": torch.__version__}
STOCK = (DetectionTrainer, DetectionValidator, DetectionModel, Model)
# Imports of torch that need an entry: private modules, and those whose contents PyTorch does not document as stable.
INTERNAL_TORCH = ("torch.utils._", "torch.utils.flop_counter", "torch.overrides", "torch.autograd.function")


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda one: f"{one.name} {one.kind}")
def test_the_installed_version_has(internal: Internal) -> None:
    version = INSTALLED[internal.package]
    if not internal.applies(version):
        pytest.skip(f"{internal.package} {version} is older than {internal.since}")
    assert not problem(internal), problem(internal)


# A failure says what moved, in which version, and where to look.


def entry(name: str) -> Internal:
    (found,) = (one for one in INTERNALS if one.name == name)
    return found


def test_an_attribute_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(BaseTrainer, "_close_dataloader_mosaic")
    told = problem(entry("ultralytics.engine.trainer:BaseTrainer._close_dataloader_mosaic"))
    assert told.startswith("ultralytics.engine.trainer:BaseTrainer._close_dataloader_mosaic does not exist in ultralytics "
                           f"{ultralytics.__version__}. Look at src/yolograft/runner/trainer.py")


def test_a_parameter_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def get_model(self: Any, cfg: Any = None, verbose: bool = True) -> None:
        """Without `weights`."""

    monkeypatch.setattr(DetectionTrainer, "get_model", get_model)
    assert "has no parameter weights in ultralytics" in problem(entry(
        "ultralytics.models.yolo.detect:DetectionTrainer.get_model"))


def test_a_line_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def _do_train(self: Any) -> None:
        """Another loop."""

    monkeypatch.setattr(BaseTrainer, "_do_train", _do_train)
    assert "no longer contains 'self.run_callbacks(\"on_train_start\")'" in problem(entry(
        "ultralytics.engine.trainer:BaseTrainer._do_train"))


def test_a_line_of_which_versions_have_either_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def postprocess(self: Any, preds: Any) -> None:
        """Without NMS."""

    monkeypatch.setattr(DetectionValidator, "postprocess", postprocess)
    assert "contains none of 'nms.non_max_suppression('" in problem(entry(
        "ultralytics.models.yolo.detect:DetectionValidator.postprocess"))


def test_an_attribute_of_instances_that_is_gone_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class ModelEMA:
        """Without `ema`."""

    monkeypatch.setattr("ultralytics.utils.torch_utils.ModelEMA", ModelEMA)
    assert "no longer sets self.ema in ultralytics" in problem(entry("ultralytics.utils.torch_utils:ModelEMA"))


def test_an_inherited_attribute_is_found() -> None:
    name = "ultralytics.models.yolo.detect:DetectionTrainer._setup_train"
    assert not problem(dataclasses.replace(entry("ultralytics.engine.trainer:BaseTrainer._setup_train"), name=name))


def test_older_versions_are_not_asked_for_what_came_later() -> None:
    later = entry("ultralytics.engine.trainer:BaseTrainer._handle_nan_recovery")
    assert (later.applies("8.3.0"), later.applies("8.4.0"), later.applies("8.4.190")) == (False, True, True)
    assert entry("ultralytics.engine.trainer:BaseTrainer._do_train").applies("8.3.0")


# The list is complete: every import, patch and override of the code has an entry that names its file.


def name_of(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def listed(file: str, kind: str = "") -> set[str]:
    """Return the full names that the list has for a file, dotted."""
    return {place.replace(":", ".") for one in INTERNALS if file in one.files and kind in one.kind
            for place in one.name.split(" or ")}


def covered(full: str, names: set[str]) -> bool:
    return any(name == full or name.startswith(f"{full}.") for name in names)


def imports(tree: ast.AST) -> Iterator[str]:
    """Give the full names that a file imports of Ultralytics, and of PyTorch's internals."""
    for node in ast.walk(tree):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [
            f"{node.module}.{alias.name}" for alias in node.names] if isinstance(node, ast.ImportFrom) else []
        yield from (name for name in names if name.split(".")[0] == "ultralytics" or name.startswith(INTERNAL_TORCH))


def calls_patched(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and getattr(node.func, "id", getattr(node.func, "attr", "")) == "patched"


def patches(tree: ast.AST) -> Iterator[tuple[int, list[str]]]:
    """Give the line of every function that calls `patched`, and the attributes that it replaces: (owner, "name", value)."""
    for function in ast.walk(tree):
        if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)) and any(map(calls_patched, ast.walk(function))):
            yield function.lineno, [node.elts[1].value for node in ast.walk(function)
                                    if isinstance(node, ast.Tuple) and len(node.elts) == 3
                                    and isinstance(node.elts[1], ast.Constant) and isinstance(node.elts[1].value, str)]


def overrides(tree: ast.AST) -> Iterator[str]:
    """Give the methods, of classes that call `super()`, which a trainer, validator, model or `YOLO` of Ultralytics has."""
    for owner in ast.walk(tree):
        if not isinstance(owner, ast.ClassDef):
            continue
        calls = [node for node in ast.walk(owner) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "super"]
        for node in owner.body if calls else ():
            if isinstance(node, ast.FunctionDef) and not node.name.startswith("__") and any(
                    hasattr(stock, node.name) for stock in STOCK):
                yield node.name


TREES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in FILES}
TOUCHING = sorted(file for file, tree in TREES.items() if any(imports(tree)))
PATCHING = sorted(file for file, tree in TREES.items() if any(map(calls_patched, ast.walk(tree))))
WAY_OUT = "Add it to INTERNALS in src/yolograft/upstream.py, then run: python docs/make_upstream.py"


@pytest.mark.parametrize("file", TOUCHING)
def test_every_import_of_ultralytics_is_listed(file: str) -> None:
    names = listed(file)
    unlisted = [name for name in imports(TREES[file]) if not covered(
        "ultralytics.__version__" if name == "ultralytics" else name, names)]
    assert not unlisted, f"{file} imports {', '.join(unlisted)}. {WAY_OUT}"


@pytest.mark.parametrize("file", PATCHING)
def test_every_patch_is_listed(file: str) -> None:
    names = {name.rpartition(".")[2] for name in listed(file, "patched")} | {
        name for one in INTERNALS if file in one.files and one.kind == "patched" for name in one.attributes}
    for line, attributes in patches(TREES[file]):
        assert attributes, (f"{file}:{line} calls patched(...) without a literal (owner, \"name\", value) in the same "
                            "function, so that this test cannot read which attribute it replaces.")
        unlisted = set(attributes) - names
        assert not unlisted, f"{file}:{line} patches {', '.join(sorted(unlisted))}. {WAY_OUT}"


@pytest.mark.parametrize("file", TOUCHING)
def test_every_override_is_listed(file: str) -> None:
    names = {name.rpartition(".")[2] for name in listed(file, "overridden")}
    unlisted = set(overrides(TREES[file])) - names
    assert not unlisted, f"{file} overrides {', '.join(sorted(unlisted))}. {WAY_OUT}"


def test_every_call_of_patched_is_inside_a_function() -> None:
    for file in PATCHING:
        inside = {id(node) for function in ast.walk(TREES[file]) if isinstance(function, ast.FunctionDef)
                  for node in ast.walk(function)}
        assert all(id(node) in inside for node in ast.walk(TREES[file]) if calls_patched(node)), file


def test_the_laws_see_the_code() -> None:
    """So that none of the laws above passes because it reads nothing."""
    assert len(TOUCHING) >= 15
    assert len(PATCHING) >= 8
    assert sum(len(attributes) for file in PATCHING for _, attributes in patches(TREES[file])) >= 12
    assert len({name for file in TOUCHING for name in overrides(TREES[file])}) >= 15


@pytest.mark.parametrize("internal", INTERNALS, ids=lambda one: f"{one.name} {one.kind}")
def test_every_entry_is_whole(internal: Internal) -> None:
    for file in internal.files:
        assert (SOURCE / file).is_file(), f"{internal.name}: there is no src/yolograft/{file}. Change it in upstream.py."
    assert internal.why.endswith(".")
    assert internal.breaks.endswith(".")
    assert all(":" in place for place in internal.name.split(" or "))


def test_what_is_patched_or_overridden_still_is() -> None:
    for one in INTERNALS:
        leaves = set(one.attributes) or {re.split(r"[:.]", place)[-1] for place in one.name.split(" or ")}
        texts = [(SOURCE / file).read_text(encoding="utf-8") for file in one.files]
        assert one.kind == "relied on" or any(re.search(rf"\b{leaf}\b", text) for leaf in leaves for text in texts), (
            f"{one.name} is {one.kind} in none of {', '.join(one.files)}. Delete the entry, or change its files.")


def test_no_entry_is_there_twice() -> None:
    keys = [(one.name, one.kind) for one in INTERNALS]
    assert len(keys) == len(set(keys))


def test_the_page_is_up_to_date() -> None:
    script = runpy.run_path(str(ROOT / "docs" / "make_upstream.py"))
    assert (ROOT / "docs" / "upstream.md").read_text(encoding="utf-8") == script["page"](), (
        "run: python docs/make_upstream.py")
