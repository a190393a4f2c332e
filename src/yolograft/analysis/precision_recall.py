"""The precision-recall curve of a detection network, from recorded detections. NumPy only.

The precision at a recall is the highest precision at this recall or above, as in Pascal VOC (Everingham et al. 2010) and
COCO. The curve of all classes is the mean of the curves of the classes that have objects.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolograft.analysis.average_precision import Detections

__all__ = ["RECALLS", "PrecisionRecall", "precision_recall"]

RECALLS = np.linspace(0, 1, 1001)

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class PrecisionRecall:
    """Precision at the recalls of `RECALLS`, at an IoU threshold of 0.5.

    Attributes:
        mean: (recalls,) the mean over the classes with objects.
        classes: number of a class -> (recalls,) its curve.
    """

    mean: Array
    classes: dict[int, Array]


def precision_recall(found: Detections) -> PrecisionRecall:
    """Return the curves at an IoU threshold of 0.5, for the classes that have objects. Without objects, precision is 0."""
    curves = {}
    for kind in sorted(set(found.truth_kind.tolist())):
        objects = int((found.truth_kind == kind).sum())
        correct = found.correct[found.kind == kind, 0].astype(np.float64)  # by decreasing confidence
        curves[kind] = _curve(correct, objects)
    mean = np.mean(list(curves.values()), axis=0) if curves else np.zeros(len(RECALLS))
    return PrecisionRecall(mean=mean, classes=curves)


def _curve(correct: Array, objects: int) -> Array:
    if not correct.size:
        return np.zeros(len(RECALLS))
    hits = np.cumsum(correct)
    recall, precision = hits / objects, hits / np.arange(1, len(correct) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, RECALLS - 1e-9, side="left")  # the first detection that reaches the recall
    return np.where(place < len(recall), envelope[np.minimum(place, len(recall) - 1)], 0.0)
