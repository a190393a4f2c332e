"""Final validation of a trained network: Ultralytics' metrics, the detections in each image, and the network's costs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from yolograft.analysis import profile
from yolograft.analysis.average_precision import Detections
from yolograft.analysis.explain import gate_health
from yolograft.analysis.size_ap import is_installed, size_ap
from yolograft.analysis.validation import RecordingValidator, class_metrics
from yolograft.atomic import atomic_write
from yolograft.fast.cpu.nms import patch_nms
from yolograft.host.box_loss import without_box_loss
from yolograft.host.yolo import YOLO
from yolograft.runner.metric_names import metric_name

__all__ = ["evaluate"]

def evaluate(weights: Path, settings: Mapping[str, Any], folder: Path, *, split: str = "val",
             threads: int | None = None) -> dict[str, Any]:
    """Validate a checkpoint on a split and write `folder/images.npz` (for the task `detect`).

    `analysis.average_precision` documents the arrays of this file.

    Args:
        weights: the checkpoint.
        settings: the trial's train arguments. Validation uses those that it has too, such as `imgsz`.
        folder: for images.npz and Ultralytics' own files.
        split: `val` or `test`.
        threads: PyTorch's number of threads. None keeps the present number.

    Returns:
        A dict with `metrics` (name -> value), `classes` (metric -> class -> value) and `costs` (parameters, gflops). On the
        split `val`, a detector has `sizes` and `objects` (size -> AP by COCO's rule, and number of objects) if the package
        `faster-coco-eval` is installed, and a grafted detector `gates`, the health of its blocks.
    """
    thread_count = threads or torch.get_num_threads()
    torch.set_num_threads(thread_count)
    model: Any = YOLO(weights)
    model.add_callback("on_val_start", lambda _: torch.set_num_threads(thread_count))  # Ultralytics has just changed it
    arguments = {key: settings[key] for key in ("data", "imgsz", "batch", "device", "workers", "conf", "iou", "max_det",
                                                "single_cls", "agnostic_nms", "rect") if settings.get(key) is not None}
    arguments = without_box_loss(arguments)
    costs = _count_costs(model.model, int(settings.get("imgsz") or 640))
    gates = _measure_gates(model, arguments) if model.task == "detect" and split == "val" else []
    stock = model.task_map[model.task]["validator"]
    validators: list[Any] = []

    def build_validator(*args: Any, **kwargs: Any) -> Any:
        cls = type(f"Recording{stock.__name__}", (RecordingValidator, stock), {}) if model.task == "detect" else stock
        validators.append(cls(*args, **kwargs))
        return validators[-1]

    with patch_nms():  # Ultralytics' own stops at a time limit, so the metrics would depend on the load of the machine
        metrics = model.val(validator=build_validator, **arguments, split=split, plots=False, verbose=False,
                            project=str(folder), name="run", exist_ok=True)
    if model.task == "detect":
        atomic_write(folder / "images.npz", validators[-1].write)
    named = {metric_name(key, model.task): float(value) for key, value in metrics.results_dict.items()}
    return {"metrics": named, "classes": class_metrics(metrics, model.names), "costs": costs,
            **(_by_size(folder / "images.npz") if model.task == "detect" and split == "val" else {}),
            **({"gates": gates} if gates else {})}


def _by_size(file: Path) -> dict[str, dict[str, float]]:
    """Return AP and number of objects by size, without sizes that no object has; empty without `faster-coco-eval`."""
    if not is_installed():
        return {}
    found = size_ap(Detections.read(file))
    sizes = {size: ap for size, ap in found.ap.items() if size != "all" and found.objects[size]}
    return {"sizes": sizes, "objects": {size: found.objects[size] for size in sizes}}


def _measure_gates(model: Any, arguments: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the health of the blocks on at most 64 images. The model is not changed."""
    return gate_health(model, arguments["data"], imgsz=int(arguments.get("imgsz") or 640),
                       device=str(arguments.get("device") or ("0" if torch.cuda.is_available() else "cpu")))


def _count_costs(model: nn.Module, imgsz: int) -> dict[str, float]:
    """Return what other programs cannot disturb. Latency is measured once for all arms: see `runner.latency`."""
    return {"parameters": profile.count_parameters(model), "gflops": profile.count_gflops(profile.fused_copy(model), imgsz)}
