"""For every model YAML that the installed Ultralytics ships, and a block at every row: it builds, it starts as the host,
gradients reach the block, and it is saved and loaded. A sample by default; all of it with `pytest -m slow`.
"""

import copy
import io
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.utils import ROOT

from yolograft import checkpoint
from yolograft.attach import grafted, grafts
from yolograft.errors import GraftError
from yolograft.host import YOLO, models
from yolograft.sites import rows, sites

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings

FILES = sorted((ROOT / "cfg" / "models").rglob("*.yaml"), key=lambda path: path.name)
# files that this Ultralytics ships and cannot build or run by itself: test_the_list_of_what_cannot_run_is_right
UNRUNNABLE = {"yolo11-cls-resnet18.yaml"}
SAMPLE = random.Random(7).sample([path.name for path in FILES if path.name not in UNRUNNABLE], 9)
FAMILIES = ["yolov3.yaml", "yolov5.yaml", "yolov6.yaml", "yolov8.yaml", "yolov9t.yaml", "yolov10n.yaml", "yolo11.yaml",
            "yolo12.yaml", "yolo26.yaml", "rtdetr-l.yaml"]


def size_of(name: str) -> int:
    return 160 if "rtdetr" in name else 128 if "p6" in name or "p7" in name else 64


def build(name: str) -> nn.Module:
    """Build a task model of a shipped file at its smallest scale."""
    config = tasks.yaml_model_load(next(path for path in FILES if path.name == name))
    task = tasks.guess_model_task(config)
    kinds: dict[str, Any] = YOLO("yolo11n.yaml").task_map
    cls = kinds[task]["model"] if "rtdetr" not in name else tasks.RTDETRDetectionModel
    if "world" in name:
        cls = tasks.WorldModel
    if "yoloe" in name:
        cls = tasks.YOLOESegModel if "seg" in name else tasks.YOLOEModel
    torch.manual_seed(0)
    model: nn.Module = cls(config, verbose=False)
    for module in model.modules():  # settled batch norms, with which a change at a row is seen at the end
        if isinstance(module, nn.BatchNorm2d) and module.running_var is not None and module.running_mean is not None:
            module.running_var.uniform_(0.5, 1.5)
            module.running_mean.normal_(0, 0.1)
    return model.eval()


def tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in tensors(item)]


def places(model: nn.Module) -> list[int]:
    return [site["row"] for site in sites(model) if site["row"] is not None and site["channels"]]


def check_rows(name: str, chosen: random.Random | None) -> None:
    """Graft each row (or three of them) in turn on one host, and take it off again."""
    host = build(name)
    before = {key: value.clone() for key, value in host.state_dict().items()}
    picture = torch.rand(2, 3, size_of(name), size_of(name))
    with torch.no_grad():
        expected = tensors(host(picture))
    takers = places(host)
    assert takers, f"{name} has no row that takes a block"
    for index in takers if chosen is None else sorted(chosen.sample(takers, min(3, len(takers)))):
        models.graft_onto(host, f"se(ratio=4)@{index}")
        with torch.no_grad():
            assert all(torch.equal(a, b) for a, b in zip(tensors(host(picture)), expected, strict=True)), (name, index)
        (block,) = grafts(host).values()
        seen: list[Tensor] = []
        handle = block.register_forward_hook(lambda module, args, output, seen=seen: seen.append(output))
        outputs = [tensor for tensor in tensors(host(picture)) if tensor.is_floating_point() and tensor.requires_grad]
        handle.remove()
        assert len(seen) == 1, (name, index, "the block did not run once")
        sum((tensor.clamp(-1e4, 1e4) ** 2).mean() for tensor in outputs).backward()  # type: ignore[union-attr]
        gradients = [p.grad for p in block.parameters() if p.grad is not None]
        assert gradients, (name, index, "no gradient reached the block")
        assert all(torch.isfinite(gradient).all() for gradient in gradients), (name, index)
        for parameter in host.parameters():
            parameter.grad = None
        models.ungraft(host)
    after = host.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[key], after[key]) for key in before)
    head = rows(host)[-1].index
    if head not in takers:
        with pytest.raises(GraftError):
            models.graft_onto(host, f"se@{head}")


def check_saving(name: str, index: int, folder: Path) -> None:
    """A graft goes through a deep copy, a pickled checkpoint and one without pickle, and changes what comes out."""
    model = models.graft_onto(build(name), f"se(init=paper)@{index}")
    picture = torch.rand(1, 3, size_of(name), size_of(name))
    stream = io.BytesIO()
    torch.save(model, stream)
    stream.seek(0)
    opened: nn.Module = torch.load(stream, weights_only=False)
    bare = models.ungraft(copy.deepcopy(model))
    checkpoint.load(bare, checkpoint.save(model, folder / name))
    with torch.no_grad():
        expected = tensors(model(picture))
        for other in (opened, bare, copy.deepcopy(model)):
            assert all(torch.equal(a, b) for a, b in zip(tensors(other.eval()(picture)), expected, strict=True)), name
    assert str(grafted(opened)) == str(grafted(model)) == str(grafted(bare))


def changed(model: nn.Module, picture: Tensor, name: str) -> list[Tensor]:
    seen: list[Tensor] = []
    handle = model.get_submodule(name).register_forward_hook(lambda module, args, output: seen.append(output.clone()))
    with torch.no_grad():
        model(picture)
    handle.remove()
    return seen


@pytest.mark.parametrize("name", SAMPLE)
def test_three_rows_of_some_models(name: str, tmp_path: Path) -> None:
    generator = random.Random(name)
    check_rows(name, generator)
    check_saving(name, generator.choice(places(build(name))), tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", [path.name for path in FILES if path.name not in UNRUNNABLE])
def test_every_row_of_every_model(name: str, tmp_path: Path) -> None:
    check_rows(name, None)
    check_saving(name, places(build(name))[-1], tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(UNRUNNABLE & {path.name for path in FILES}))
def test_the_list_of_what_cannot_run_is_right(name: str) -> None:
    with pytest.raises(Exception):  # noqa: B017, PT011 (whatever Ultralytics raises, offline)
        build(name)(torch.rand(1, 3, 64, 64))


@pytest.mark.parametrize("name", [name for name in FAMILIES if name in {path.name for path in FILES}])
def test_a_fresh_gate_changes_the_features_at_its_site_and_identity_does_not(name: str) -> None:
    host = build(name)
    picture = torch.rand(1, 3, size_of(name), size_of(name))
    index = places(host)[-1]
    module = next(row.name for row in rows(host) if row.index == index)
    plain = changed(host, picture, module)[0]
    models.graft_onto(host, f"se@{index}")
    assert torch.equal(changed(host, picture, module)[0], plain)
    models.ungraft(host)
    models.graft_onto(host, f"se(init=paper)@{index}")
    ratio = changed(host, picture, module)[0].norm() / plain.norm()
    assert 0.2 < ratio < 0.8, f"a fresh sigmoid gate is about one half, not {ratio:.3f}"
    block = next(iter(grafts(host).values()))
    nn.init.constant_(block.fc2.weight, 0)  # type: ignore[union-attr, arg-type]
    nn.init.constant_(block.fc2.bias, -20)  # type: ignore[union-attr, arg-type]
    assert changed(host, picture, module)[0].abs().max() < 1e-3 * plain.abs().max()


def test_every_task_is_among_them() -> None:
    found = {tasks.guess_model_task(tasks.yaml_model_load(path)) for path in FILES}
    assert set(YOLO("yolo11n.yaml").task_map) <= found
