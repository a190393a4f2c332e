"""Compare each of yolograft's C operators with the PyTorch, torchvision or Ultralytics code that it replaces.

    python benchmarks/cpu_operators.py [threads=N] [repeats=30] [data=NEU-DET.yaml model=yolo11n.pt epochs=3]

Both sides run on the same numbers: the maps of a YOLO11n training step at 224 pixels, batch 16, six classes. They take
turns in random order. A ratio is formed within a turn. Milliseconds and ratios are medians over turns, and the interval
is a bootstrap over turns.

With `data`, non-maximum suppression (NMS) is measured as well. `model` is trained on a quarter of that data set for
`epochs` epochs, with Ultralytics' own code (`speed=stock`), and its validation gives the boxes. One turn suppresses the
boxes of all validation pictures, in batches of 32.

With `threads=1` the times are CPU seconds, which other programs on the machine disturb less than wall seconds.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import torch
import torchvision  # Ultralytics' NMS uses it if it is imported, and is several times slower without it
import ultralytics
from torch import Tensor, nn
from torch.nn import functional as F
from ultralytics.cfg import get_cfg
from ultralytics.utils.loss import v8DetectionLoss

import yolograft
from yolograft.analysis.timing import median_interval, time_in_turns
from yolograft.fast.cpu import assigner_loss, batchnorm_silu, nms, upsample
from yolograft.fast.cpu.memory import keep_freed_memory, restore_threads
from yolograft.patch import patched

Pair = tuple[Callable[[], object], Callable[[], object]]  # the replaced code, the C operator


def random_map(*shape: int) -> Tensor:
    return torch.randn(shape).bfloat16().contiguous(memory_format=torch.channels_last)


def batchnorm_silu_pair(backward: bool) -> Pair:
    """Return both sides of batch norm and SiLU on a (16, 64, 56, 56) map, or of their gradients."""
    x, gradient, norm = random_map(16, 64, 56, 56).requires_grad_(), random_map(16, 64, 56, 56), nn.BatchNorm2d(64)

    def run(forward: Callable[[], Tensor]) -> Callable[[], object]:
        if not backward:
            return forward
        out = forward()
        return lambda: torch.autograd.grad(out, (x, norm.weight, norm.bias), gradient, retain_graph=True)

    return run(lambda: F.silu(norm(x))), run(lambda: batchnorm_silu.batch_norm_silu(x, norm))


def upsample_pair() -> Pair:
    """Return both sides of the last upsampling's gradient, which is one half of a concatenated map's gradient."""
    x, gradient = random_map(16, 128, 14, 14).requires_grad_(), random_map(16, 256, 28, 28)[:, :128]
    theirs, ours = F.interpolate(x, scale_factor=2.0), upsample.upsample_2x(x)
    return (lambda: torch.autograd.grad(theirs, x, gradient, retain_graph=True),
            lambda: torch.autograd.grad(ours, x, gradient, retain_graph=True))


def loss_pair() -> Pair:
    """Return both sides of the detection loss and its gradient, on random outputs with low scores and 40 random boxes."""
    model: Any = yolograft.YOLO("yolo11n.yaml").model.train()
    gives_dict = isinstance(model(torch.zeros(1, 3, 64, 64)), dict)  # Ultralytics 8.4 and later
    model.args, model.model[-1].nc, model.model[-1].no = get_cfg(), 6, 70
    criterion, shapes, boxes = v8DetectionLoss(model), [(28, 28), (14, 14), (7, 7)], 40
    maps = [torch.randn(16, 70, *shape) for shape in shapes]
    for scale in maps:
        scale[:, 64:] -= 2
    outputs = torch.cat([scale.flatten(2) for scale in maps], 2)
    preds: Any = maps
    leaves = maps
    if gives_dict:
        leaves = [part.clone() for part in outputs.split((64, 6), 1)]
        preds = {"boxes": leaves[0], "scores": leaves[1], "feats": maps}
    for leaf in leaves:
        leaf.requires_grad_()
    size = 0.1 + 0.4 * torch.rand(boxes, 2)
    batch = {"batch_idx": torch.arange(boxes).float() % 16, "cls": torch.randint(6, (boxes, 1)).float(),
             "bboxes": torch.cat((size / 2 + torch.rand(boxes, 2) * (1 - size), size), 1)}
    batch = {key: value[batch["batch_idx"].argsort()] for key, value in batch.items()}
    if assigner_loss.compute_loss(criterion, preds, batch) is None:
        sys.exit("The C operator does not support this batch of random boxes.")
    batch["img"] = torch.empty(16, 0)
    return (lambda: torch.autograd.grad(assigner_loss._stock(criterion, preds, batch)[0].sum(), leaves),
            lambda: torch.autograd.grad(assigner_loss.compute_loss(criterion, preds, batch).sum(), leaves))  # type: ignore[union-attr]


def nms_pair(data: str, model: str, epochs: int) -> Pair:
    """Return both sides of NMS on the boxes that a briefly trained model gives for all validation pictures."""
    settings: dict[str, Any] = {"data": data, "imgsz": 224, "workers": 0, "plots": False, "verbose": False, "device": "cpu"}
    batches: list[Tensor] = []

    def record(prediction: Any, *args: Any, **others: Any) -> Any:
        maps = prediction[0] if isinstance(prediction, (list, tuple)) else prediction
        batches.append(maps.detach().float().clone())  # Ultralytics writes into the original
        return nms._stock(prediction, *args, **others)

    with tempfile.TemporaryDirectory() as folder, restore_threads():  # Ultralytics sets the number of threads
        trained = yolograft.YOLO(model)
        trained.train(epochs=epochs, fraction=0.25, batch=16, seed=0, val=False, speed="stock", project=folder, name="run",
                      **settings)
        with patched((nms._stock_module, "non_max_suppression", record)):
            trained.val(batch=32, project=folder, name="val", **settings)
    arguments: dict[str, Any] = {"conf_thres": 0.001, "iou_thres": 0.7, "multi_label": True, "max_det": 300}
    # both sides get a copy, since Ultralytics writes into its input
    return (lambda: [nms._stock(maps.clone(), **arguments) for maps in batches],
            lambda: [nms.non_max_suppression(maps.clone(), **arguments) for maps in batches])


OPERATORS: dict[str, tuple[Any, Callable[[], Pair]]] = {
    "batch norm and SiLU": (batchnorm_silu, lambda: batchnorm_silu_pair(False)),
    "gradients of batch norm and SiLU": (batchnorm_silu, lambda: batchnorm_silu_pair(True)),
    "gradient of upsampling": (upsample, upsample_pair), "loss and its gradient": (assigner_loss, loss_pair)}


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    arguments = dict(word.partition("=")[::2] for word in words)
    if set(arguments) - {"threads", "repeats", "data", "model", "epochs"}:
        sys.exit(__doc__)
    torch.set_num_threads(int(arguments.get("threads", os.cpu_count() or 1)))
    torch.manual_seed(0)
    with keep_freed_memory():
        measure(arguments)


def measure(arguments: dict[str, str]) -> None:
    """Measure each operator and print the results."""
    report: dict[str, Any] = {}
    operators = dict(OPERATORS)
    if data := arguments.get("data"):
        operators["non-maximum suppression"] = (nms, lambda: nms_pair(data, arguments.get("model", "yolo11n.pt"),
                                                                      int(arguments.get("epochs", 3))))
    clock = time.process_time if torch.get_num_threads() == 1 else time.perf_counter
    print("| | replaced code, ms | C operator, ms | speedup | 95% interval |\n|---|---|---|---|---|")
    for name, (module, build_pair) in operators.items():
        if reason := module.KERNEL.unavailable_reason():
            print(f"| {name} | | | not available: {reason} | |")
            continue
        turns = time_in_turns(list(build_pair()), int(arguments.get("repeats", 30)), clock)
        ratios = [theirs / ours for theirs, ours in turns]
        low, high = median_interval(ratios)
        theirs, ours = (1000 * statistics.median(turn[side] for turn in turns) for side in (0, 1))
        report[name] = {"theirs": theirs, "ours": ours, "ratio": statistics.median(ratios), "low": low, "high": high}
        print(f"| {name} | {theirs:.2f} | {ours:.2f} | {report[name]['ratio']:.1f} | {low:.1f} to {high:.1f} |", flush=True)
    print(json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "threads": torch.get_num_threads(),
                      "torch": torch.__version__, "torchvision": torchvision.__version__,
                      "ultralytics": ultralytics.__version__, "load": os.getloadavg()[0], "measured": report}))


if __name__ == "__main__":
    main(sys.argv[1:])
