"""Precision-recall curves of checkpoints, by the rule of the installed Ultralytics.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `compute_ap(recall, precision)` returns the area under the curve, and
its points: precision and recall. `ap_per_class` of 8.3.0 returns curves only while it plots, so it is not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ultralytics.utils.metrics import compute_ap

from yolograft.analysis.average_precision import Detections
from yolograft.analysis.validation import validate, validating
from yolograft.errors import DataError
from yolograft.host.open import open_model
from yolograft.language import tr
from yolograft.sites import network_of

__all__ = ["PrecisionRecall", "measure", "precision_recall"]

_POINTS = 1000  # recall values, as in Ultralytics' figure


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """The precision-recall curve of one checkpoint at an IoU of 0.5.

    Attributes:
        recall: (1000,) recall values from 0 to 1.
        precision: (1000,) the mean precision over the classes with objects.
        ap50: the mean average precision, the area under the curve.
        classes: the names of the checkpoint's classes.
    """

    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    ap50: float
    classes: tuple[str, ...]


def measure(weights: Path, data: str | Path, *, imgsz: int) -> PrecisionRecall:
    """Validate a checkpoint on the validation images of a data YAML, and return its curve.

    Raises:
        GraftError: the checkpoint or the data cannot be used, or the checkpoint detects no boxes.
    """
    if not weights.is_file():
        raise DataError(tr("'{file}' does not exist, so this run has no precision-recall curve. Leave out val=True.",
                           file=weights))
    model = open_model(weights)
    with validating():
        detections = validate(model, data, imgsz=imgsz).detections
    names: Any = network_of(model).names
    return precision_recall(detections, tuple(str(names[key]) for key in sorted(names)))


def precision_recall(found: Detections, classes: tuple[str, ...]) -> PrecisionRecall:
    """Return the curve of recorded detections.

    Raises:
        DataError: the images have no objects.
    """
    if not len(found.truth_kind):
        raise DataError(tr("The validation images have no objects, so there is no precision-recall curve."))
    grid = np.linspace(0, 1, _POINTS)
    curves, areas = [], []
    for kind in np.unique(found.truth_kind):
        hits = found.correct[found.kind == kind, 0].astype(float)  # in order of decreasing confidence
        recall = hits.cumsum() / (found.truth_kind == kind).sum()
        area, precisions, recalls = compute_ap(recall, hits.cumsum() / np.arange(1, len(hits) + 1)) if len(hits) else (
            0.0, np.zeros(2), np.array([0.0, 1.0]))
        curves.append(np.interp(grid, recalls, precisions))
        areas.append(float(area))
    return PrecisionRecall(recall=grid, precision=np.mean(curves, axis=0), ap50=float(np.mean(areas)), classes=classes)
