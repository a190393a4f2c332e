"""Final validation of a trained network: Ultralytics' metrics, the detections in each image, and the network's costs.

    images.npz    names (I,)             file names of the images        shapes (I, 2)  their heights and widths, in pixels
                  detections (N, 7)      image index, x1, y1, x2, y2 (pixels of the original image), confidence, class
                  correct (N, 10)        whether the detection is correct at the IoU thresholds 0.50, 0.55 ... 0.95
                  truths (M, 6)          image index, class, x1, y1, x2, y2

What this relies on in Ultralytics (8.3.0 to 8.4.x): a detection validator gets a batch's detections, after non-maximum
suppression, in `update_metrics(preds, batch)`: rows x1, y1, x2, y2, confidence, class in 8.3, and a dict of them in 8.4.
It calls `_process_batch` to match them with the truths: in 8.3 for images with both detections and truths, in 8.4 for all
images.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from ultralytics.utils import ops

from yolograft.analysis import profile
from yolograft.atomic import atomic_write
from yolograft.host.box_loss import without_box_loss
from yolograft.host.yolo import YOLO
from yolograft.runner.metric_names import metric_name

__all__ = ["evaluate"]

_WARM_UP, _TIMED_RUNS = 5, 20  # forward passes; latency is the median of the timed ones
_IOU_THRESHOLDS = 10


class _RecordingValidator:
    """Mixin for a stock validator, which also records detections and truths. `evaluate` combines them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batch_matches: list[np.ndarray[Any, Any]] = []
        self.image_names: list[str] = []
        self.image_shapes: list[tuple[int, int]] = []
        self.tables: dict[str, list[np.ndarray[Any, Any]]] = {"detections": [], "correct": [], "truths": []}

    def _process_batch(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._process_batch(*args, **kwargs)  # type: ignore[misc]
        matches = result["tp"] if isinstance(result, dict) else result
        self.batch_matches.append(matches.cpu().numpy() if isinstance(matches, Tensor) else np.asarray(matches))
        return result

    def update_metrics(self, preds: Any, batch: dict[str, Any]) -> None:
        detections = [_detection_rows(pred) for pred in preds]  # before the validator rescales the boxes in place
        self.batch_matches = []
        super().update_metrics(preds, batch)  # type: ignore[misc]
        matches = iter(self.batch_matches)
        has_all_images = len(self.batch_matches) == len(preds)
        height, width = batch["img"].shape[2:]
        for number, rows in enumerate(detections):
            is_of_image = (batch["batch_idx"] == number).cpu()
            classes = batch["cls"].cpu()[is_of_image].reshape(-1, 1).float()
            shape, pad = batch["ori_shape"][number], batch["ratio_pad"][number]
            boxes = ops.xywh2xyxy(batch["bboxes"].cpu()[is_of_image].float()) * torch.tensor([width, height, width, height])
            has_matches = has_all_images or (len(rows) and len(classes))
            correct = next(matches) if has_matches else np.zeros((len(rows), _IOU_THRESHOLDS), bool)
            index = len(self.image_names)
            self.tables["detections"].append(
                _stack(index, ops.scale_boxes((height, width), rows[:, :4], shape, ratio_pad=pad), rows[:, 4:6]))
            boxes = ops.scale_boxes((height, width), boxes, shape, ratio_pad=pad) if len(boxes) else boxes
            self.tables["truths"].append(_stack(index, classes, boxes))
            self.tables["correct"].append(correct.astype(bool))
            self.image_names.append(Path(batch["im_file"][number]).name)
            self.image_shapes.append((int(shape[0]), int(shape[1])))

    def write(self, file: Path) -> None:
        """Write the recorded arrays to an .npz file."""
        joined: dict[str, Any] = {key: np.concatenate(tables) for key, tables in self.tables.items()}
        with file.open("wb") as opened:
            np.savez_compressed(opened, names=np.array(self.image_names), shapes=np.array(self.image_shapes, np.int32),
                                **joined)


def _detection_rows(pred: Any) -> Tensor:
    """Return one image's detections as a copy on the CPU: (N, 6) with x1, y1, x2, y2, confidence, class."""
    if isinstance(pred, dict):
        pred = torch.cat((pred["bboxes"], pred["conf"].reshape(-1, 1), pred["cls"].reshape(-1, 1)), 1)
    return pred[:, :6].detach().float().cpu().clone()


def _stack(image: int, *columns: Tensor) -> np.ndarray[Any, Any]:
    image_column = torch.full((len(columns[0]), 1), float(image))
    return torch.cat((image_column, *columns), 1).numpy().astype(np.float32)


def evaluate(weights: Path, settings: Mapping[str, Any], folder: Path, *, split: str = "val",
             threads: int | None = None) -> dict[str, Any]:
    """Validate a checkpoint on a split and write `folder/images.npz` (for the task `detect`).

    Args:
        weights: the checkpoint.
        settings: the trial's train arguments. Validation uses those that it has too, such as `imgsz`.
        folder: for images.npz and Ultralytics' own files.
        split: `val` or `test`.
        threads: PyTorch's number of threads. None keeps the present number.

    Returns:
        A dict with `metrics` (name -> value), `classes` (metric -> class -> value) and `costs` (parameters, gflops,
        latency_ms).
    """
    thread_count = threads or torch.get_num_threads()
    torch.set_num_threads(thread_count)
    model: Any = YOLO(weights)
    model.add_callback("on_val_start", lambda _: torch.set_num_threads(thread_count))  # Ultralytics has just changed it
    arguments = {key: settings[key] for key in ("data", "imgsz", "batch", "device", "workers", "conf", "iou", "max_det",
                                                "single_cls", "agnostic_nms", "rect") if settings.get(key) is not None}
    arguments = without_box_loss(arguments)
    costs = _measure_costs(model.model, int(settings.get("imgsz") or 640), settings.get("device"))
    stock = model.task_map[model.task]["validator"]
    validators: list[Any] = []

    def build_validator(*args: Any, **kwargs: Any) -> Any:
        cls = type(f"Recording{stock.__name__}", (_RecordingValidator, stock), {}) if model.task == "detect" else stock
        validators.append(cls(*args, **kwargs))
        return validators[-1]

    metrics = model.val(validator=build_validator, **arguments, split=split, plots=False, verbose=False,
                        project=str(folder), name="run", exist_ok=True)
    if model.task == "detect":
        atomic_write(folder / "images.npz", validators[-1].write)
    named = {metric_name(key, model.task): float(value) for key, value in metrics.results_dict.items()}
    return {"metrics": named, "classes": _class_metrics(metrics, model.names), "costs": costs}


def _class_metrics(metrics: Any, names: Mapping[int, str]) -> dict[str, dict[str, float]]:
    if not hasattr(metrics, "ap_class_index"):
        return {}
    keys = ("precision", "recall", "AP50", "AP50-95")
    values = {key: dict.fromkeys(names.values(), float("nan")) for key in keys}  # a class without objects has no AP
    for position, number in enumerate(metrics.ap_class_index):
        # the last four values are those of masks or poses, if the task has them, else of boxes
        for key, value in zip(keys, metrics.class_result(position)[-4:], strict=True):
            values[key][names[int(number)]] = float(value)
    return values


def _measure_costs(model: nn.Module, imgsz: int, device: Any) -> dict[str, float]:
    target = torch.device("cuda" if torch.cuda.is_available() and str(device) != "cpu" else "cpu")
    network: Any = profile.fused_copy(model)
    gflops = profile.count_gflops(network, imgsz)
    network = network.to(target)
    image = profile.dummy_images(network, imgsz)
    times = []
    with torch.no_grad():
        for _ in range(_WARM_UP + _TIMED_RUNS):
            started = time.perf_counter()
            network(image)
            if target.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - started)
    return {"parameters": profile.count_parameters(model), "gflops": gflops,
            "latency_ms": 1000 * statistics.median(times[_WARM_UP:])}
