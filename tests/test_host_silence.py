"""What Ultralytics does in silence is said, each once, and nothing is said when all is well."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import yaml
from conftest import write_tiny_set
from torch import nn
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER

from yolograft import YOLO
from yolograft.attach import grafts
from yolograft.host import half_precision, run_record, used_images
from yolograft.host import yolo as yolo_module
from yolograft.host.class_names import compare_names, names_text, say_names
from yolograft.host.loaded_weights import weights_text
from yolograft.host.run_record import changed_text, hash_images
from yolograft.host.unmoved_blocks import copy_blocks, find_unmoved, say_unmoved, unmoved_text

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "nbs": 4, "workers": 0, "plots": False, "verbose": False, "mosaic": 0.5, "close_mosaic": 0,
        "speed": "stock", "epochs": 1}
STILL = {"optimizer": "SGD", "lr0": 0.0, "warmup_epochs": 0, "weight_decay": 0.0}


@pytest.fixture
def said() -> Iterator[list[str]]:
    """The texts of yolograft's own warnings in Ultralytics' log."""
    lines: list[str] = []

    def keep(record: Any) -> bool:
        if record.levelname == "WARNING" and "yolograft" in record.getMessage():
            lines.append(record.getMessage())
        return True

    LOGGER.addFilter(keep)
    yield lines
    LOGGER.removeFilter(keep)


def about(said: list[str], part: str) -> list[str]:
    return [line for line in said if part in line]


# In a whole training


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """A training without a fault: its data, its run and its warnings."""
    root = tmp_path_factory.mktemp("sound")
    data = write_tiny_set(root / "data")
    lines: list[str] = []

    def keep(record: Any) -> bool:
        lines.extend([record.getMessage()] if record.levelname == "WARNING" and "yolograft" in record.getMessage() else [])
        return True

    LOGGER.addFilter(keep)
    try:
        YOLO("yolo11n.yaml", graft="se@8").train(data=str(data), project=str(root), name="run", **FAST)
    finally:
        LOGGER.removeFilter(keep)
    return data, root / "run", lines


def test_a_sound_training_has_no_warning(sound: tuple[Path, Path, list[str]]) -> None:
    assert sound[2] == []


def test_a_training_names_invalid_labels_shared_images_and_blocks_that_did_not_change(
    tmp_path: Path, said: list[str],
) -> None:
    data = write_tiny_set(tmp_path)
    (tmp_path / "labels" / "train" / "1.txt").write_text("7 0.5 0.5 0.2 0.2\n")
    (tmp_path / "labels" / "train" / "2.txt").write_text("0 1.5 0.5 0.2 0.2\n")
    (tmp_path / "labels" / "train" / "3.txt").write_text("0 0.5 0.5 -0.2 0.2\n")
    (tmp_path / "labels" / "train" / "5.txt").write_text("0 0.5 0.5 0.2\n")
    shutil.copy(tmp_path / "images" / "train" / "4.png", tmp_path / "images" / "val" / "copy.png")
    YOLO("yolo11n.yaml", graft="se@8").train(data=str(data), project=str(tmp_path), name="run", **FAST, **STILL)
    (labels,) = about(said, "left out")
    assert "4 of the 12 images" in labels
    assert "the class 7 is not in names" in labels
    assert "1.5 is outside 0 to 1" in labels
    assert "-0.2 is outside 0 to 1" in labels
    (shared,) = about(said, "training images too")
    assert "1 of the 9 validation images are training images too: 4.png and copy.png" in shared
    (still,) = about(said, "did not change")
    assert "did not change in this training: 1 (model.8.graft.0: every parameter has its first value" in still
    assert len(said) == 3


def test_a_validation_names_classes_in_another_order(sound: tuple[Path, Path, list[str]], tmp_path: Path,
                                                     said: list[str]) -> None:
    data, run, _ = sound
    model = YOLO(run / "weights" / "best.pt")
    arguments = {"imgsz": 32, "plots": False, "workers": 0, "project": str(tmp_path)}
    model.val(data=str(data), **arguments)
    assert said == []
    other = tmp_path / "other.yaml"
    other.write_text(data.read_text().replace("[dim, bright]", "[bright, dim]"))
    model.val(data=str(other), **arguments)
    (line,) = said
    assert "the same classes in another order (class 0 is 'dim' in the model and 'bright' in the data" in line
    assert model.callbacks["on_val_batch_start"] == YOLO("yolo11n.yaml").callbacks["on_val_batch_start"]


def test_a_training_from_weights_of_another_order_says_so_unless_ultralytics_matches_the_names(
    sound: tuple[Path, Path, list[str]], tmp_path: Path, said: list[str],
) -> None:
    data, run, _ = sound
    other = tmp_path / "other.yaml"
    other.write_text(data.read_text().replace("[dim, bright]", "[bright, dim]"))
    has_remap = "cls_remap" in DEFAULT_CFG_DICT
    YOLO(run / "weights" / "best.pt").train(data=str(other), project=str(tmp_path), name="a", **FAST,
                                            **({"cls_remap": False} if has_remap else {}))
    (line,) = said
    assert "the same classes in another order" in line
    assert "The head starts with the weights of the wrong classes" in line


@pytest.mark.parametrize("change", ["nothing", "data", "version", "file"])
def test_a_resumed_training_says_what_has_changed(change: str, tmp_path: Path, said: list[str],
                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(Exception):
        pass

    def stop(trainer: object) -> None:
        raise Stop

    data = write_tiny_set(tmp_path)
    plugin = tmp_path / "own_gate.py"
    plugin.write_text("import torch\nfrom torch import nn\n\nclass OwnGate(nn.Module):\n    def __init__(self, channels):\n"
                      "        super().__init__()\n        self.gain = nn.Parameter(torch.ones(channels, 1, 1))\n\n"
                      "    def forward(self, x):\n        return x * self.gain\n")
    model = YOLO("yolo11n.yaml", graft="OwnGate@8", blocks=plugin)
    model.add_callback("on_model_save", stop)
    with pytest.raises(Stop):
        model.train(data=str(data), project=str(tmp_path), name="run", **{**FAST, "epochs": 2})
    record = tmp_path / "run" / "graft.yaml"
    started = yaml.safe_load(record.read_text())["started_with"]
    assert {"yolograft", "torch", "ultralytics", "data", "own_gate.py"} <= set(started)
    del said[:]
    if change == "data":
        (tmp_path / "labels" / "train" / "0.txt").write_text("1 0.5 0.5 0.375 0.375\n")
    if change == "version":
        monkeypatch.setattr(run_record, "__version__", "9.9.9")
    if change == "file":
        facts = yaml.safe_load(record.read_text())
        facts["started_with"]["own_gate.py"] = "0" * 20
        record.write_text(yaml.safe_dump(facts))
    YOLO(tmp_path / "run" / "weights" / "last.pt").train(resume=True)
    lines = about(said, "not as it began")
    expected = {"nothing": [], "data": ["data: "], "version": ["yolograft: 0"], "file": [f"own_gate.py: {'0' * 20} then"]}
    assert len(lines) == len(expected[change])
    assert all(part in line for part, line in zip(expected[change], lines, strict=True))
    assert yaml.safe_load(record.read_text())["started_with"]["data"] == started["data"], "the record is of the start"


# The parts


@pytest.mark.parametrize(("model", "data", "kind"), [
    (["a", "b"], {0: "a", 1: "b"}, ""),
    ({0: "a", 1: "b"}, {0: "b", 1: "a"}, "order"),
    ({0: "a", 1: "b"}, {0: "a", 1: "c"}, "other"),
    ({0: "a", 1: "b", 2: "c"}, {0: "x"}, "number"),
    ({0: "a", 1: "b", 2: "c"}, {0: "a", 1: "b"}, ""),  # the first classes of the model
    ({0: "0", 1: "1"}, {0: "a", 1: "b"}, ""),  # a model that was built from a YAML
    ({0: "a", 1: "b"}, {0: "class_0", 1: "class_1"}, ""),  # a data set without names
    (None, {0: "a"}, ""), ({0: "a"}, None, ""),
])
def test_class_names_are_compared(model: Any, data: Any, kind: str) -> None:
    assert compare_names(model, data) == kind
    assert bool(names_text(model, data, trains=False)) == bool(kind)
    assert bool(names_text(model, data, trains=True)) == (kind == "order"), "other classes have new class layers"


@pytest.mark.parametrize("facts", [{"training": True}, {"args": SimpleNamespace(single_cls=True)}, {"data": None}])
def test_a_validation_inside_a_training_or_of_one_class_is_not_compared(facts: dict[str, Any], said: list[str]) -> None:
    validator = SimpleNamespace(**{"training": False, "args": SimpleNamespace(single_cls=False), "names": {0: "a", 1: "b"},
                                   "data": {"names": {0: "b", 1: "a"}}, **facts})
    say_names(validator)
    assert said == []


def test_weights_that_did_not_load_are_named() -> None:
    host = YOLO("yolo11n.yaml", graft="se@8").model
    assert weights_text(host, YOLO("yolo11n.yaml").model, "a.pt") == ""
    other_classes = YOLO("yolo11n.yaml").model.__class__("yolo11n.yaml", nc=3, verbose=False)
    assert weights_text(host, other_classes, "a.pt") == "", "class layers of another shape are expected"
    text = weights_text(host, YOLO("yolo11s.yaml").model, "s.pt")
    assert "tensors of backbone and neck (" in text
    assert "were not loaded from s.pt" in text
    assert "model.0, model.1, model.2 and " in text
    assert "none of the" in weights_text(host, nn.Linear(2, 2), "line.pt")
    assert weights_text(host, {"model": 1}, "a.pt") == ""


def test_a_changed_architecture_is_named_when_little_is_left_of_it() -> None:
    host, wide = YOLO("yolo11n.yaml").model, YOLO("yolo11s.yaml").model
    assert "were not loaded" in weights_text(host, wide, "s.pt", moved=True)
    few = YOLO("yolo11n.yaml").model
    few.model[2] = nn.Identity()
    assert "were not loaded" in weights_text(host, few, "few.pt")
    assert weights_text(host, few, "few.pt", moved=True) == "", "rows that differ on purpose are listed in the log"


def test_weights_of_another_architecture_are_named_when_they_are_loaded(tmp_path: Path, said: list[str]) -> None:
    small = YOLO("yolo11s.yaml")
    small.save(tmp_path / "s.pt")
    YOLO("yolo11n.yaml").load(tmp_path / "s.pt")
    (line,) = said
    assert "were not loaded from" in line
    del said[:]
    own = YOLO("yolo11n.yaml")
    own.save(tmp_path / "n.pt")
    YOLO("yolo11n.yaml", graft="se@8").load(tmp_path / "n.pt")
    assert said == []


class Gate(nn.Module):
    """A gate that is 1 at birth, with a second parameter that does not act."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain, self.idle = nn.Parameter(torch.ones(channels, 1, 1)), nn.Parameter(torch.ones(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * self.gain


@pytest.mark.parametrize(("change", "reason"), [("nothing", "parameters"), ("frozen", "frozen"), ("idle", "output"),
                                                ("gain", None)])
def test_a_block_that_did_not_change_is_found(change: str, reason: str | None) -> None:
    from yolograft import blocks

    blocks.block("silence_gate")(Gate)
    blocks.block("silence_peaked")(Peaked)
    model = YOLO("yolo11n.yaml", graft="silence_gate@8 + silence_peaked@6").model
    starts = copy_blocks(model)
    (name,) = starts
    assert name == "model.8.graft.0", "the other block has no parameter that a training could change"
    block = grafts(model)[name]
    if change == "frozen":
        block.requires_grad_(False)
    elif change != "nothing":
        with torch.no_grad():
            getattr(block, change).mul_(1.5)
    found = find_unmoved(model, starts)
    assert found == ({name: reason} if reason else {})
    if reason:
        assert {"parameters": "the gradient was zero", "frozen": "are frozen", "output": "its output is that"}[reason] in \
            unmoved_text(found)


def test_a_control_that_freezes_blocks_is_no_reason_for_a_warning(said: list[str]) -> None:
    model = YOLO("yolo11n.yaml", graft="se@8").model
    trainer = SimpleNamespace(model=model, block_starts=copy_blocks(model), frozen_params=[nn.Parameter(torch.ones(1))])
    say_unmoved(trainer)
    assert (said, trainer.unmoved_blocks) == ([], {})
    trainer.frozen_params = []
    say_unmoved(trainer)
    assert len(said) == 1


def test_the_hash_of_the_data_follows_images_labels_and_names(tmp_path: Path) -> None:
    write_tiny_set(tmp_path)
    images = sorted((tmp_path / "images" / "train").iterdir())
    names = {0: "a", 1: "b"}
    first = hash_images(images, names)
    moved = tmp_path / "moved"
    shutil.copytree(tmp_path / "images", moved / "images")
    shutil.copytree(tmp_path / "labels", moved / "labels")
    others = sorted((moved / "images" / "train").iterdir())
    assert hash_images(others, names) == first, "the folder does not count"
    assert hash_images(others, {0: "b", 1: "a"}) != first
    assert hash_images(others[1:], names) != first
    label = moved / "labels" / "train" / "0.txt"
    label.write_text("1" + label.read_text()[1:])
    assert hash_images(others, names) != first, "a label of the same length"


def test_what_changed_is_listed() -> None:
    assert changed_text({"torch": "2.2.0", "data": "a"}, {"torch": "2.2.0", "data": "a"}) == ""
    text = changed_text({"torch": "2.2.0", "data": "a"}, {"torch": "2.3.0", "data": "a", "own.py": "b"})
    assert "torch: 2.2.0 then, 2.3.0 now; own.py: - then, b now" in text


def test_a_broken_image_is_a_reason(tmp_path: Path) -> None:
    write_tiny_set(tmp_path)
    image = tmp_path / "images" / "train" / "0.png"
    assert used_images.invalid_reason(image, {0: "a", 1: "b"}) == "see the lines above"
    assert used_images.invalid_reason(image, {0: "a", 1: "b"}, read_image=False) == ""
    image.write_bytes(b"no image")
    assert used_images.invalid_reason(image, {0: "a", 1: "b"}) == "cannot be read as an image"
    label = tmp_path / "labels" / "train" / "0.txt"
    label.write_text(label.read_text() * 2)
    assert used_images.invalid_reason(image, {0: "a", 1: "b"}, read_image=False) == "", "Ultralytics drops the second line"


# Half precision


class Peaked(nn.Module):
    """A block with a product that float16 cannot hold; its result is small again."""

    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * ((torch.ones_like(x) * 1e4) * 1e4 / 1e4 / 1e4)


def peaked() -> Any:
    from yolograft import blocks

    blocks.block("silence_peaked")(Peaked)
    return YOLO("yolo11n.yaml", graft="silence_peaked@6")


@pytest.mark.parametrize("arguments", [{"half": True}, {"quantize": 16}, {"quantize": "fp16"}])
def test_an_export_in_half_precision_names_the_block_that_overflows(arguments: dict[str, Any], said: list[str],
                                                                   monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yolo_module.StockYOLO, "export", lambda self, **kwargs: "done")
    peaked().export(format="torchscript", **arguments)
    (line,) = said
    assert "the block model.6.graft.0 gives values up to 9.96e+07" in line
    del said[:]
    peaked().export(format="torchscript")
    YOLO("yolo11n.yaml", graft="se@6").export(format="torchscript", **arguments)
    assert said == []


@pytest.mark.parametrize(("graft", "half", "count"), [("peaked", True, 1), ("peaked", False, 0), ("se", True, 0)])
def test_a_validation_in_half_precision_names_the_block_that_overflows(graft: str, half: bool, count: int,
                                                                      said: list[str]) -> None:
    model = peaked() if graft == "peaked" else YOLO("yolo11n.yaml", graft="se@6")
    image = torch.full((3, 64, 64), 128, dtype=torch.uint8)
    validator = SimpleNamespace(args=SimpleNamespace(half=half), dataloader=SimpleNamespace(dataset=[{"img": image}]))
    model._say_half(validator)
    model._say_half(validator)
    assert len(about(said, "the block model.6.graft.0")) == len(said) == count


def test_what_asks_for_half() -> None:
    assert not half_precision.asks_for_half({"half": False, "quantize": None})
    assert not half_precision.asks_for_half(SimpleNamespace(quantize=8))
    assert half_precision.asks_for_half(SimpleNamespace(half=True))


def test_only_the_first_process_says_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from yolograft.host.trainer import _is_first_process

    for rank, first in (("-1", True), ("0", True), ("1", False)):
        monkeypatch.setitem(os.environ, "RANK", rank)
        assert _is_first_process() == first
