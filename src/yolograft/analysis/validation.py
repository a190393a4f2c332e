"""Validation of a detection network by Ultralytics' own validator, which also records the detections in each image.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a detection validator gets a batch's detections, after non-maximum
suppression, in `update_metrics(preds, batch)`: rows x1, y1, x2, y2, confidence, class in 8.3, and a dict of them in 8.4.
It calls `_process_batch` to match them with the truths: in 8.3 for images with both detections and truths, in 8.4 for all
images. `build_dataset(img_path, mode, batch)` makes the data set of a folder or a text file of image paths. With `rect`, its
`batch_shapes[batch[i]]` is the shape of image i, and all images of a batch have the same. A validator that is called with
`model=network` fuses this network in place.
"""

from __future__ import annotations

import copy
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from ultralytics import utils
from ultralytics.data import dataset as stock_dataset
from ultralytics.models.rtdetr.val import RTDETRValidator
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.nn.tasks import RTDETRDetectionModel
from ultralytics.utils import LOGGER, ops
from ultralytics.utils.metrics import compute_ap

from yolograft.analysis.average_precision import IOU_THRESHOLDS, Detections
from yolograft.atomic import atomic_write
from yolograft.errors import DataError, HostError
from yolograft.fast.cpu.nms import patch_nms
from yolograft.host.data_download import check_download
from yolograft.host.label_cache import safe_label_cache
from yolograft.host.unasked import nothing_unasked
from yolograft.language import tr
from yolograft.patch import patched
from yolograft.sites import is_yolo, network_of

__all__ = ["RecordingValidator", "Validated", "class_metrics", "quiet", "run_validator", "validate", "validating"]


@dataclass(frozen=True, kw_only=True)
class Validated:
    """The result of one validation.

    Attributes:
        metrics: precision, recall, mAP50, mAP50-95 and fitness.
        classes: the same four (precision, recall, AP50, AP50-95) by the name of the class; NaN without objects.
        detections: the detections and ground truths in each image.
        files: the path of each image, in the order of `detections.names`.
    """

    metrics: dict[str, float]
    classes: dict[str, dict[str, float]]
    detections: Detections
    files: tuple[str, ...]


class RecordingValidator:
    """Mixin for a stock detection validator, which also records detections and truths."""

    limit: int | None = None  # number of images, drawn with `seed`; None: all
    is_shuffled = False  # whether images of the same shape come in random order, from `seed`
    seed = 0
    on_batch: Callable[[Mapping[str, Any]], object] | None = None  # called with each batch after the network ran

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batch_matches: list[np.ndarray[Any, Any]] = []
        self.image_files: list[str] = []
        self.image_shapes: list[tuple[int, int]] = []
        self.tables: dict[str, list[np.ndarray[Any, Any]]] = {"detections": [], "correct": [], "truths": []}

    def build_dataset(self, img_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the data set of the split, or of `limit` images of it."""
        full: Any = super().build_dataset(img_path, *args, **kwargs)  # type: ignore[misc]
        files = full.im_files
        if self.limit is None or self.limit >= len(files):
            return full
        chosen = np.sort(np.random.default_rng(self.seed).choice(len(files), self.limit, replace=False))
        listing: Path = self.save_dir / "images.txt"  # type: ignore[attr-defined]
        listing.write_text("".join(f"{Path(files[i]).resolve()}\n" for i in chosen), encoding="utf-8")
        with patched((stock_dataset, "save_dataset_cache_file", _keep_label_cache)):
            return super().build_dataset(str(listing), *args, **kwargs)  # type: ignore[misc]

    def get_dataloader(self, *args: Any, **kwargs: Any) -> Any:
        """Build the data loader. Images of the same shape can change places in its order."""
        loader: Any = super().get_dataloader(*args, **kwargs)  # type: ignore[misc]
        if not self.is_shuffled:
            return loader
        dataset = loader.dataset
        shapes = dataset.batch_shapes[dataset.batch] if dataset.rect else np.zeros((len(dataset), 2))
        order = np.arange(len(dataset))
        for shape in np.unique(shapes, axis=0):
            same = np.flatnonzero((shapes == shape).all(axis=1))
            order[same] = np.random.default_rng(self.seed).permutation(same)
        return DataLoader(dataset, batch_size=loader.batch_size, sampler=order.tolist(), collate_fn=dataset.collate_fn)

    def _process_batch(self, *args: Any, **kwargs: Any) -> Any:
        result = super()._process_batch(*args, **kwargs)  # type: ignore[misc]
        matches = result["tp"] if isinstance(result, dict) else result
        self.batch_matches.append(matches.cpu().numpy() if isinstance(matches, Tensor) else np.asarray(matches))
        return result

    def update_metrics(self, preds: Any, batch: dict[str, Any]) -> None:
        """Record the detections of a batch, and update the metrics."""
        if self.on_batch is not None:
            self.on_batch(batch)
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
            correct = next(matches) if has_matches else np.zeros((len(rows), len(IOU_THRESHOLDS)), bool)
            index = len(self.image_files)
            self.tables["detections"].append(
                _stack(index, ops.scale_boxes((height, width), rows[:, :4], shape, ratio_pad=pad), rows[:, 4:6]))
            boxes = ops.scale_boxes((height, width), boxes, shape, ratio_pad=pad) if len(boxes) else boxes
            self.tables["truths"].append(_stack(index, classes, boxes))
            self.tables["correct"].append(correct.astype(bool))
            self.image_files.append(str(batch["im_file"][number]))
            self.image_shapes.append((int(shape[0]), int(shape[1])))

    def arrays(self) -> dict[str, np.ndarray[Any, Any]]:
        """Return the recorded arrays, as `analysis.average_precision` documents them."""
        joined = {key: np.concatenate(tables) for key, tables in self.tables.items()}
        return {"names": np.array([Path(file).name for file in self.image_files]),
                "shapes": np.array(self.image_shapes, np.int32), **joined, "line_to_zero": np.array(_goes_in_line_to_zero())}

    def write(self, file: Path) -> None:
        """Write the recorded arrays to an .npz file, in one step."""
        def write(part: Path) -> None:
            with part.open("wb") as opened:
                np.savez_compressed(opened, **self.arrays())  # type: ignore[arg-type]

        atomic_write(file, write)


@cache
def _goes_in_line_to_zero() -> bool:
    """Return whether this version's precision-recall curve goes in a line to 0: 0.75 and not 0.5 for half of a step."""
    return float(compute_ap(np.array([0.5]), np.array([1.0]))[0]) > 0.6


def _keep_label_cache(prefix: str, path: Path, x: dict[str, Any], version: str) -> None:
    """Do not write the label cache of a part of the split: it would replace that of all images."""
    x["version"] = version


def _detection_rows(pred: Any) -> Tensor:
    """Return one image's detections as a copy on the CPU: (N, 6) with x1, y1, x2, y2, confidence, class."""
    if isinstance(pred, dict):
        pred = torch.cat((pred["bboxes"], pred["conf"].reshape(-1, 1), pred["cls"].reshape(-1, 1)), 1)
    return pred[:, :6].detach().float().cpu().clone()


def _stack(image: int, *columns: Tensor) -> np.ndarray[Any, Any]:
    image_column = torch.full((len(columns[0]), 1), float(image))
    return torch.cat((image_column, *columns), 1).numpy().astype(np.float32)


def validate(model: Any, data: str | Path, *, imgsz: int, batch: int = 16, device: str = "cpu", split: str = "val",
             limit: int | None = None, seed: int = 0,
             on_batch: Callable[[Mapping[str, Any]], object] | None = None) -> Validated:
    """Validate a detection network. It is not changed: a fused copy of it runs, with the hooks of its modules.

    The images come in random order, so that the next image in a batch is any image and not one of the same class.

    Args:
        model: an opened `YOLO`, or its network.
        data: a data YAML.
        imgsz: size of the images, in pixels.
        batch: images per batch.
        device: as in Ultralytics.
        split: `train`, `val` or `test`.
        limit: validate on this number of images of the split, drawn at random; None: on all.
        seed: of the random images.
        on_batch: called with each batch of images (from 0 to 1) and labels, after the network ran.

    Raises:
        HostError: the model is no detection network.
        DataError: the data YAML or its split does not exist, has no images, or would run its `download:` key.
    """
    network: Any = network_of(model)
    if getattr(network, "task", "detect") != "detect":
        raise HostError(tr("task={task}: only detection networks are validated with their detections.",
                           task=network.task))
    if is_yolo(model):
        stock = model.task_map[model.task]["validator"]
    else:
        stock = RTDETRValidator if isinstance(network, RTDETRDetectionModel) else DetectionValidator
    cls = type(f"Recording{stock.__name__}", (RecordingValidator, stock), {
        "is_shuffled": True, "on_batch": staticmethod(on_batch) if on_batch else None})
    validator = run_validator(cls, copy.deepcopy(network), data, task="detect", imgsz=imgsz, batch=batch, device=device,
                              split=split, limit=limit, seed=seed)
    detections = Detections.of(validator.arrays())
    by_name = sorted(validator.image_files, key=lambda file: Path(file).name)
    return Validated(metrics=_metrics(validator.metrics), classes=class_metrics(validator.metrics, network.names),
                     detections=detections, files=tuple(by_name))


def run_validator(cls: type[Any], network: Any, data: str | Path, *, task: str, imgsz: int, batch: int, device: str,
                  split: str, limit: int | None, seed: int) -> Any:
    """Run a validator of a class that has the mixin `RecordingValidator`, and return it. The network may be fused.

    Raises:
        HostError: `limit` is not positive.
        DataError: the data set or its split does not exist, or has no images.
    """
    if limit is not None and limit < 1:
        raise HostError(tr("{key}={text} is not a positive whole number.", key="limit", text=limit))
    check_download(data, split)
    own = getattr(network, "args", None)
    own = own if isinstance(own, Mapping) else vars(own) if own is not None else {}
    arguments = {"model": "", "data": str(data), "imgsz": imgsz, "batch": batch, "device": device, "split": split,
                 "rect": True, "plots": False, "verbose": False, "workers": 0, "mode": "val", "task": task,
                 "single_cls": bool(own.get("single_cls"))}
    threads = torch.get_num_threads()
    with tempfile.TemporaryDirectory() as folder, validating():
        validator = cls(args=arguments, save_dir=Path(folder))
        validator.limit, validator.seed = limit, seed
        validator.callbacks["on_val_start"].append(lambda _: torch.set_num_threads(threads))  # Ultralytics changed it
        try:
            validator(model=network)
        except (FileNotFoundError, RuntimeError) as error:
            if validator.dataloader is not None:
                raise
            raise DataError(tr("data={data}: the split '{split}' cannot be read: {error}", data=data, split=split,
                               error=error)) from error
        finally:
            torch.set_num_threads(threads)
    return validator


@contextmanager
def validating() -> Iterator[None]:
    """Inside this context, validators log warnings only, read label caches safely, and have no time limit for NMS.

    They download nothing unasked, such as a font.

    Ultralytics' own NMS stops at a time limit and drops boxes, so mAP would depend on the load of the machine.
    """
    with quiet(), nothing_unasked(), safe_label_cache(), patch_nms():
        yield


def _metrics(metrics: Any) -> dict[str, float]:
    return {key.removeprefix("metrics/").removesuffix("(B)"): float(value) for key, value in metrics.results_dict.items()}


def class_metrics(metrics: Any, names: Mapping[int, str]) -> dict[str, dict[str, float]]:
    """Return metric -> class -> value from Ultralytics' metrics; empty for a task without classes of objects."""
    if not hasattr(metrics, "ap_class_index"):
        return {}
    keys = ("precision", "recall", "AP50", "AP50-95")
    values = {key: dict.fromkeys(names.values(), float("nan")) for key in keys}  # a class without objects has no AP
    for position, number in enumerate(metrics.ap_class_index):
        # the last four values are those of masks or poses, if the task has them, else of boxes
        for key, value in zip(keys, metrics.class_result(position)[-4:], strict=True):
            values[key][names[int(number)]] = float(value)
    return values


@contextmanager
def quiet() -> Iterator[None]:
    """Inside this context, Ultralytics logs warnings only, and shows no progress bars."""
    level = LOGGER.level
    LOGGER.setLevel(logging.WARNING)
    try:
        # the progress bars of 8.3 read VERBOSE, those of 8.4 the log's level
        with patched((utils, "VERBOSE", False)), warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="'pin_memory'")  # 8.3 asks for it without a GPU, too
            yield
    finally:
        LOGGER.setLevel(level)
