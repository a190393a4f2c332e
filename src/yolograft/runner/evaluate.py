"""The last word on a trained network: Ultralytics' own validation, and each picture's detections beside it.

    images.npz    names (I,)             the pictures' file names        shapes (I, 2)  their heights and widths
                  detections (N, 7)      picture, x1, y1, x2, y2, confidence, class; boxes in the picture's own pixels
                  correct (N, 10)        whether it is a hit at an overlap (IoU) of 0.50, 0.55 ... 0.95
                  truths (M, 6)          picture, class, x1, y1, x2, y2

What this relies on in Ultralytics (8.3.0 to 8.4.x): a detection validator gets a batch's detections, after non-maximum
suppression, in `update_metrics(preds, batch)` (rows x1, y1, x2, y2, confidence, class in 8.3, a dict of them in 8.4),
and asks `_process_batch` for hits: in 8.3 for pictures with both detections and truths, in 8.4 for each.
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
from yolograft.host.yolo import YOLO
from yolograft.runner.trainer import plain_name, replace

__all__ = ["evaluate"]

_LOOKS = 20  # forward passes that latency is the median of


class _Recorder:
    """What a validator does beside its own work; mixed in by `evaluate`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.hits: list[np.ndarray[Any, Any]] = []
        self.seen_names: list[str] = []
        self.seen_shapes: list[tuple[int, int]] = []
        self.tables: dict[str, list[np.ndarray[Any, Any]]] = {"detections": [], "correct": [], "truths": []}

    def _process_batch(self, *args: Any, **kwargs: Any) -> Any:
        found = super()._process_batch(*args, **kwargs)  # type: ignore[misc]
        hits = found["tp"] if isinstance(found, dict) else found
        self.hits.append(hits.cpu().numpy() if isinstance(hits, Tensor) else np.asarray(hits))
        return found

    def update_metrics(self, preds: Any, batch: dict[str, Any]) -> None:
        tables = [_rows(pred) for pred in preds]  # before the validator moves the boxes
        self.hits = []
        super().update_metrics(preds, batch)  # type: ignore[misc]
        hits = iter(self.hits)
        all_asked = len(self.hits) == len(preds)
        height, width = batch["img"].shape[2:]
        for number, rows in enumerate(tables):
            mine = (batch["batch_idx"] == number).cpu()
            classes = batch["cls"].cpu()[mine].reshape(-1, 1).float()
            shape, pad = batch["ori_shape"][number], batch["ratio_pad"][number]
            boxes = ops.xywh2xyxy(batch["bboxes"].cpu()[mine].float()) * torch.tensor([width, height, width, height])
            asked = all_asked or (len(rows) and len(classes))
            correct = next(hits) if asked else np.zeros((len(rows), 10), bool)
            at = len(self.seen_names)
            self.tables["detections"].append(_stack(at, ops.scale_boxes((height, width), rows[:, :4], shape, ratio_pad=pad),
                                                    rows[:, 4:6]))
            boxes = ops.scale_boxes((height, width), boxes, shape, ratio_pad=pad) if len(boxes) else boxes
            self.tables["truths"].append(_stack(at, classes, boxes))
            self.tables["correct"].append(correct.astype(bool))
            self.seen_names.append(Path(batch["im_file"][number]).name)
            self.seen_shapes.append((int(shape[0]), int(shape[1])))

    def write(self, file: Path) -> None:
        """Write what was recorded."""
        joined: dict[str, Any] = {key: np.concatenate(tables) for key, tables in self.tables.items()}
        with file.open("wb") as opened:
            np.savez_compressed(opened, names=np.array(self.seen_names), shapes=np.array(self.seen_shapes, np.int32),
                                **joined)


def _rows(pred: Any) -> Tensor:
    if isinstance(pred, dict):
        pred = torch.cat((pred["bboxes"], pred["conf"].reshape(-1, 1), pred["cls"].reshape(-1, 1)), 1)
    return pred[:, :6].detach().float().cpu().clone()


def _stack(at: int, *columns: Tensor) -> np.ndarray[Any, Any]:
    number = torch.full((len(columns[0]), 1), float(at))
    return torch.cat((number, *columns), 1).numpy().astype(np.float32)


def evaluate(weights: Path, settings: Mapping[str, Any], folder: Path, *, split: str = "val",
             threads: int | None = None) -> dict[str, Any]:
    """Validate a checkpoint on a split, writing `folder/images.npz`, and return metrics, classes and costs.

    Args:
        weights: the checkpoint.
        settings: the trial's train arguments, of which validation takes its own.
        folder: where to write.
        split: `val` or `test`.
        threads: PyTorch's, by default as many as it has.
    """
    number = threads or torch.get_num_threads()
    torch.set_num_threads(number)
    model: Any = YOLO(weights)
    model.add_callback("on_val_start", lambda _: torch.set_num_threads(number))  # Ultralytics sets its own just before
    given = {key: settings[key] for key in ("data", "imgsz", "batch", "device", "workers", "conf", "iou", "max_det",
                                            "single_cls", "agnostic_nms", "rect") if settings.get(key) is not None}
    cost = _costs(model.model, int(settings.get("imgsz") or 640), settings.get("device"))
    stock = model.task_map[model.task]["validator"]
    kept: list[Any] = []

    def build(*args: Any, **kwargs: Any) -> Any:
        cls = type(f"Recording{stock.__name__}", (_Recorder, stock), {}) if model.task == "detect" else stock
        kept.append(cls(*args, **kwargs))
        return kept[-1]

    metrics = model.val(validator=build, **given, split=split, plots=False, verbose=False,
                        project=str(folder), name="run", exist_ok=True)
    if model.task == "detect":
        replace(folder / "images.npz", kept[-1].write)
    found = {plain_name(key, model.task): float(value) for key, value in metrics.results_dict.items()}
    return {"metrics": found, "classes": _classes(metrics, model.names), "costs": cost}


def _classes(metrics: Any, names: Mapping[int, str]) -> dict[str, dict[str, float]]:
    if not hasattr(metrics, "ap_class_index"):
        return {}
    keys = ("precision", "recall", "AP50", "AP50-95")
    found = {key: dict.fromkeys(names.values(), float("nan")) for key in keys}  # a class without objects has no AP
    for place, number in enumerate(metrics.ap_class_index):
        for key, value in zip(keys, metrics.class_result(place)[-4:], strict=True):  # the masks' or poses', if there are any
            found[key][names[int(number)]] = float(value)
    return found


def _costs(model: nn.Module, imgsz: int, device: Any) -> dict[str, float]:
    where = torch.device("cuda" if torch.cuda.is_available() and str(device) != "cpu" else "cpu")
    network: Any = profile.deployed(model)
    operations = profile.gflops(network, imgsz)
    network = network.to(where)
    picture = profile.pictures(network, imgsz)
    times = []
    with torch.no_grad():
        for _ in range(5 + _LOOKS):
            begun = time.perf_counter()
            network(picture)
            if where.type == "cuda":
                torch.cuda.synchronize()
            times.append(time.perf_counter() - begun)
    return {"parameters": profile.parameters(model), "gflops": operations, "latency_ms": 1000 * statistics.median(times[5:])}
