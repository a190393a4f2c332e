"""How long each of yolograft's operators in C takes beside what PyTorch, torchvision and Ultralytics do instead.

    python benchmarks/cpu_operators.py [threads=N] [repeats=30]

The two take turns in random order on the same numbers: those of a training step of YOLO11n at 224, batch 16, and of a
validation batch of 32, with six classes. The ratio is formed within a turn; milliseconds and ratios are medians, the
interval a bootstrap over turns.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
import torchvision  # Ultralytics suppresses with it where it is loaded, and several times as slowly where not
import ultralytics
from torch import Tensor, nn
from torch.nn import functional as F
from ultralytics.cfg import get_cfg
from ultralytics.nn.modules.block import DFL
from ultralytics.utils.loss import v8DetectionLoss

import yolograft
from yolograft.host import assignment, expectation, norm_act, pixels, speed, suppression, upsample
from yolograft.inspect.bench import _interval, _turns

LAST = torch.channels_last
Pair = tuple[Callable[[], object], Callable[[], object]]  # theirs, ours


def half(*shape: int) -> Tensor:
    return torch.randn(shape).bfloat16().contiguous(memory_format=LAST)


def normalised(backward: bool) -> Pair:
    """Batch norm and SiLU of a map of the first stage."""
    x, gradient, norm = half(16, 64, 56, 56).requires_grad_(), half(16, 64, 56, 56), nn.BatchNorm2d(64)

    def run(forward: Callable[[], Tensor]) -> Callable[[], object]:
        if not backward:
            return forward
        out = forward()
        return lambda: torch.autograd.grad(out, (x, norm.weight, norm.bias), gradient, retain_graph=True)

    return run(lambda: F.silu(norm(x))), run(lambda: norm_act.norm_act(x, norm))


def doubled() -> Pair:
    """The gradient of the last upsampling, half of a concatenated map's."""
    x, gradient = half(16, 128, 14, 14).requires_grad_(), half(16, 256, 28, 28)[:, :128]
    theirs, ours = F.interpolate(x, scale_factor=2.0), upsample.doubled(x)
    return (lambda: torch.autograd.grad(theirs, x, gradient, retain_graph=True),
            lambda: torch.autograd.grad(ours, x, gradient, retain_graph=True))


def numbers() -> Pair:
    pictures = torch.randint(0, 256, (16, 3, 224, 224), dtype=torch.uint8)
    return (lambda: (pictures.float() / 255).contiguous(memory_format=LAST).bfloat16(), lambda: pixels.scaled(pictures))


def lost() -> Pair:
    """A detection loss and its gradient, of a head that has learned a little: boxes around their places, doubtful scores."""
    model: Any = yolograft.YOLO("yolo11n.yaml").model.train()
    in_dict = isinstance(model(torch.zeros(1, 3, 64, 64)), dict)  # as from 8.4 on
    model.args, model.model[-1].nc, model.model[-1].no = get_cfg(), 6, 70
    criterion, shapes, boxes = v8DetectionLoss(model), [(28, 28), (14, 14), (7, 7)], 40
    maps = [torch.randn(16, 70, *shape) for shape in shapes]
    for one in maps:
        one[:, 64:] -= 2
    whole = torch.cat([one.flatten(2) for one in maps], 2)
    preds: Any = maps
    leaves = maps
    if in_dict:
        leaves = [part.clone() for part in whole.split((64, 6), 1)]
        preds = {"boxes": leaves[0], "scores": leaves[1], "feats": maps}
    for leaf in leaves:
        leaf.requires_grad_()
    size = 0.1 + 0.4 * torch.rand(boxes, 2)
    batch = {"batch_idx": torch.arange(boxes).float() % 16, "cls": torch.randint(6, (boxes, 1)).float(),
             "bboxes": torch.cat((size / 2 + torch.rand(boxes, 2) * (1 - size), size), 1)}
    batch = {key: value[batch["batch_idx"].argsort()] for key, value in batch.items()}
    found = assignment.losses(criterion, preds, batch)
    if found is None:
        sys.exit("These boxes are left to Ultralytics: run it again.")
    batch["img"] = torch.empty(16, 0)
    return (lambda: torch.autograd.grad(assignment._stock(criterion, preds, batch)[0].sum(), leaves),
            lambda: torch.autograd.grad(assignment.losses(criterion, preds, batch).sum(), leaves))  # type: ignore[union-attr]


def expected() -> Pair:
    head, x = DFL(16), torch.randn(32, 64, 1344)
    return torch.no_grad()(lambda: expectation._stock(head, x)), lambda: expectation.expected(x.view(32, 4, 16, 1344))


def suppressed() -> Pair:
    boxes = torch.cat((256 * torch.rand(32, 2, 1344), 20 + 60 * torch.rand(32, 2, 1344), torch.rand(32, 6, 1344)), 1)
    settings: dict[str, Any] = {"conf_thres": 0.001, "iou_thres": 0.7, "multi_label": True, "max_det": 300}
    return (lambda: suppression._stock(boxes.clone(), **settings),  # which writes into what it is given
            lambda: suppression.suppressed(boxes.clone(), **settings))


OPERATORS: dict[str, tuple[Any, Callable[[], Pair]]] = {
    "batch norm and SiLU": (norm_act, lambda: normalised(False)), "their gradients": (norm_act, lambda: normalised(True)),
    "upsampling's gradient": (upsample, doubled), "pictures to numbers": (pixels, numbers),
    "loss and its gradient": (assignment, lost), "distances of sides": (expectation, expected),
    "suppression": (suppression, suppressed)}


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    given = dict(word.partition("=")[::2] for word in words)
    if set(given) - {"threads", "repeats"}:
        sys.exit(__doc__)
    torch.set_num_threads(int(given.get("threads", os.cpu_count() or 1)))
    torch.manual_seed(0)
    speed.keep_memory()
    report: dict[str, Any] = {}
    print("| | theirs, ms | ours, ms | theirs / ours | 95% interval |\n|---|---|---|---|---|")
    for name, (module, made) in OPERATORS.items():
        if reason := module.refused():
            print(f"| {name} | | | not here: {reason} | |")
            continue
        turns = _turns(list(made()), int(given.get("repeats", 30)))
        ratios = [theirs / ours for theirs, ours in turns]
        low, high = _interval(ratios)
        theirs, ours = (1000 * statistics.median(turn[at] for turn in turns) for at in (0, 1))
        report[name] = {"theirs": theirs, "ours": ours, "ratio": statistics.median(ratios), "low": low, "high": high}
        print(f"| {name} | {theirs:.2f} | {ours:.2f} | {report[name]['ratio']:.1f} | {low:.1f} to {high:.1f} |", flush=True)
    print(json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "threads": torch.get_num_threads(),
                      "torch": torch.__version__, "torchvision": torchvision.__version__,
                      "ultralytics": ultralytics.__version__, "load": os.getloadavg()[0], "measured": report}))


if __name__ == "__main__":
    main(sys.argv[1:])
