"""How long each of yolograft's operators in C takes beside what PyTorch, torchvision and Ultralytics do instead.

    python benchmarks/cpu_operators.py [threads=N] [repeats=30] [data=NEU-DET.yaml model=yolo11n.pt epochs=3]

The two take turns in random order on the same numbers: those of a training step of YOLO11n at 224, batch 16, and of a
validation batch of 32, with six classes. The ratio is formed within a turn; milliseconds and ratios are medians, the
interval a bootstrap over turns. With `data`, suppression is measured as well: on the boxes that `model`, trained
on a quarter
of that set for `epochs`, gives for a batch of its validation pictures.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable
from typing import Any

import torch
import torchvision  # Ultralytics suppresses with it where it is loaded, and several times as slowly where not
import ultralytics
from torch import Tensor, nn
from torch.nn import functional as F
from ultralytics.cfg import get_cfg
from ultralytics.utils.loss import v8DetectionLoss

import yolograft
from yolograft.analysis.bench import _interval, _turns
from yolograft.fast.cpu import assigner_loss, batchnorm_silu, nms, upsample
from yolograft.fast.cpu.memory import keep_freed_memory
from yolograft.patch import patched

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

    return run(lambda: F.silu(norm(x))), run(lambda: batchnorm_silu.batch_norm_silu(x, norm))


def doubled() -> Pair:
    """The gradient of the last upsampling, half of a concatenated map's."""
    x, gradient = half(16, 128, 14, 14).requires_grad_(), half(16, 256, 28, 28)[:, :128]
    theirs, ours = F.interpolate(x, scale_factor=2.0), upsample.upsample_2x(x)
    return (lambda: torch.autograd.grad(theirs, x, gradient, retain_graph=True),
            lambda: torch.autograd.grad(ours, x, gradient, retain_graph=True))


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
    found = assigner_loss.compute_loss(criterion, preds, batch)
    if found is None:
        sys.exit("These boxes are left to Ultralytics: run it again.")
    batch["img"] = torch.empty(16, 0)
    return (lambda: torch.autograd.grad(assigner_loss._stock(criterion, preds, batch)[0].sum(), leaves),
            lambda: torch.autograd.grad(assigner_loss.compute_loss(criterion, preds, batch).sum(), leaves))  # type: ignore[union-attr]


def suppressed(data: str, model: str, epochs: int) -> Pair:
    """Non-maximum suppression of the first 32 validation pictures, of what a briefly trained model gives for them."""
    with tempfile.TemporaryDirectory() as folder:
        settings: dict[str, Any] = {"data": data, "imgsz": 224, "batch": 16, "workers": 0, "plots": False, "verbose": False,
                                    "project": folder, "name": "run", "device": "cpu", "seed": 0}
        trained = yolograft.YOLO(model)
        trained.train(epochs=epochs, fraction=0.25, val=False, **settings)
        seen: list[Tensor] = []
        stock = nms._stock_module.non_max_suppression

        def watched(prediction: Any, *args: Any, **others: Any) -> Any:
            maps = prediction[0] if isinstance(prediction, (list, tuple)) else prediction
            seen.append(maps.detach().clone())  # Ultralytics' way writes into it
            return stock(prediction, *args, **others)

        with patched((nms._stock_module, "non_max_suppression", watched)):
            trained.val(**{**settings, "batch": 32, "name": "val"})
    boxes = max(seen[1:] or seen, key=len).float().contiguous()
    asked: dict[str, Any] = {"conf_thres": 0.001, "iou_thres": 0.7, "multi_label": True, "max_det": 300}
    return (lambda: nms._stock(boxes.clone(), **asked),  # which writes into what it is given
            lambda: nms.non_max_suppression(boxes.clone(), **asked))


OPERATORS: dict[str, tuple[Any, Callable[[], Pair]]] = {
    "batch norm and SiLU": (batchnorm_silu, lambda: normalised(False)),
    "their gradients": (batchnorm_silu, lambda: normalised(True)),
    "upsampling's gradient": (upsample, doubled), "loss and its gradient": (assigner_loss, lost)}


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    given = dict(word.partition("=")[::2] for word in words)
    if set(given) - {"threads", "repeats", "data", "model", "epochs"}:
        sys.exit(__doc__)
    torch.set_num_threads(int(given.get("threads", os.cpu_count() or 1)))
    torch.manual_seed(0)
    with keep_freed_memory():
        measure(given)


def measure(given: dict[str, str]) -> None:
    """Measure each operator and print the results."""
    report: dict[str, Any] = {}
    operators = dict(OPERATORS)
    if data := given.get("data"):
        operators["suppression"] = (nms, lambda: suppressed(data, given.get("model", "yolo11n.pt"),
                                                                    int(given.get("epochs", 3))))
    print("| | theirs, ms | ours, ms | theirs / ours | 95% interval |\n|---|---|---|---|---|")
    for name, (module, made) in operators.items():
        if reason := module.KERNEL.unavailable_reason():
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
