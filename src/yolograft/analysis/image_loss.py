"""The validation loss of each image, for every task, from one run of Ultralytics' own validator.

The loss of an image is the training loss of a batch that has this image alone. Unlike average precision, every
image has a value of its own, and any change of the network changes it.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a validator calls `preprocess(batch)`, the network, `postprocess(preds)`
and `update_metrics(preds, batch)` for each batch. `AutoBackend` returns the network's outputs as a list, and calls `fuse()`
on the network. `network.loss(batch, preds)` returns the loss first; for one image it needs the first dimension of all
predictions cut to this image, and `batch_idx` 0. The loss reads its gains as attributes of `network.args`. In a batch,
`cls`, `bboxes` and `keypoints` have a row for each object, and `masks` one for each image unless `overlap_mask` is off.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace

from yolograft.analysis.average_precision import Detections
from yolograft.analysis.validation import RecordingValidator, run_validator
from yolograft.errors import HostError
from yolograft.language import tr

__all__ = ["Measured", "measure"]

_OF_OBJECTS = ("cls", "bboxes", "keypoints", "batch_idx")  # what a batch has a row of for each object


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one run over the validation images measures.

    Attributes:
        names: file names of the images, sorted.
        losses: the loss of each image, in the order of `names`.
        metrics: Ultralytics' metrics, such as `metrics/mAP50-95(B)`.
        detections: for a detection network, its detections in each image, in the same order; None for other tasks.
    """

    names: tuple[str, ...]
    losses: NDArray[np.float64]
    metrics: dict[str, float]
    detections: Detections | None


class _LossValidator(RecordingValidator):
    """Mixin for a stock validator of any task, which also records each image's loss. `measure` combines them."""

    network: Any  # that the validator runs

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.losses: dict[str, float] = {}

    def build_dataset(self, img_path: Any, *args: Any, **kwargs: Any) -> Any:
        """Build the data set of the split; for classification, always of all its images."""
        if self.args.task == "classify":  # type: ignore[attr-defined]
            return super(RecordingValidator, self).build_dataset(img_path)  # type: ignore[misc]
        return super().build_dataset(img_path, *args, **kwargs)

    def preprocess(self, batch: dict[str, Any]) -> dict[str, Any]:
        self.current: dict[str, Any] = super().preprocess(batch)  # type: ignore[misc]
        return self.current

    def postprocess(self, preds: Any) -> Any:
        outputs = tuple(preds) if isinstance(preds, list) and not _is_maps(preds) else preds
        for number, file in enumerate(self.current["im_file"]):
            one, alone = _of_image(self.current, number, self.args.overlap_mask), _cut(outputs, number)  # type: ignore[attr-defined]
            self.losses[str(file)] = float(self.network.loss(one, alone)[0].sum())
        return super().postprocess(preds)  # type: ignore[misc]

    def update_metrics(self, preds: Any, batch: dict[str, Any]) -> None:
        if self.args.task == "detect":  # type: ignore[attr-defined]
            super().update_metrics(preds, batch)
        else:  # only detections are recorded
            super(RecordingValidator, self).update_metrics(preds, batch)  # type: ignore[misc]


def _is_maps(preds: list[Any]) -> bool:
    """Return whether a list is one output, the head's feature maps, and not several outputs."""
    return all(isinstance(one, Tensor) and one.dim() == 4 for one in preds)


def _cut(value: Any, number: int) -> Any:
    """Return the predictions of one image of a batch, in the same nested structure."""
    if isinstance(value, Tensor):
        return value[number:number + 1] if value.dim() else value
    if isinstance(value, Mapping):
        return {key: _cut(one, number) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)([_cut(one, number) for one in value])
    return value


def _of_image(batch: Mapping[str, Any], number: int, overlap_mask: bool) -> dict[str, Any]:
    """Return the batch with one of its images alone."""
    if "batch_idx" not in batch:  # classification: one class for each image
        return {key: value[number:number + 1] for key, value in batch.items() if isinstance(value, Tensor)}
    device = batch["img"].device
    is_own = batch["batch_idx"].to(device) == number
    found: dict[str, Any] = {}
    for key, value in batch.items():
        if isinstance(value, Tensor):
            of_objects = key in _OF_OBJECTS or (key == "masks" and not overlap_mask)
            found[key] = value.to(device)[is_own] if of_objects else value[number:number + 1].to(device)
    found["batch_idx"] = torch.zeros_like(found["batch_idx"])
    return found


def measure(model: Any, data: str | Path, *, imgsz: int, batch: int = 16, device: str = "cpu", split: str = "val",
            limit: int | None = None, seed: int = 0) -> Measured:
    """Validate a network, and compute the loss of each image. The network is not changed: a copy of it runs.

    Args:
        model: an opened `YOLO` of any task with a loss.
        data: a data YAML, or the folder of a classification data set.
        imgsz: size of the images, in pixels.
        batch: images per batch.
        device: as in Ultralytics.
        split: `train`, `val` or `test`.
        limit: validate on this number of images of the split, drawn at random; None: on all.
        seed: of the random images.

    Raises:
        DataError: the data set or its split does not exist, or has no images.
        HostError: a classification network is to be validated on a part of the images.
    """
    network: Any = copy.deepcopy(model.model)
    stored = network.args if isinstance(network.args, Mapping) else vars(network.args)
    network.args = IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, **stored})
    network.criterion = None  # that of a trained network holds other arguments
    network.fuse = lambda *_, **__: network  # fusing removes the branches of an end-to-end head that its loss needs
    if model.task == "classify" and limit is not None:
        raise HostError(tr("A classification network is validated on all images of the split: leave the number of images "
                           "out."))
    stock = model.task_map[model.task]["validator"]
    cls = type(f"Loss{stock.__name__}", (_LossValidator, stock), {"network": network})
    validator = run_validator(cls, network, data, task=model.task, imgsz=imgsz, batch=batch, device=device, split=split,
                              limit=limit, seed=seed)
    files = sorted(validator.losses, key=lambda file: Path(file).name)
    return Measured(names=tuple(Path(file).name for file in files),
                    losses=np.array([validator.losses[file] for file in files]),
                    metrics={key: float(value) for key, value in validator.metrics.results_dict.items()},
                    detections=Detections.of(validator.arrays()) if model.task == "detect" else None)
