"""Overlap of boxes, and the matching of detections with ground-truth objects. NumPy only.

Detections are matched as COCO does: in order of decreasing confidence, each with the object of its class that it overlaps
most, among those that have no detection yet.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolograft.analysis.average_precision import Detections

__all__ = ["box_iou", "confident", "match"]


def box_iou(one: NDArray[Any], other: NDArray[Any]) -> NDArray[np.float64]:
    """Return the IoU of each pair of boxes x1, y1, x2, y2: (N, 4) and (M, 4) -> (N, M). Boxes without area have 0."""
    one, other = one.astype(np.float64), other.astype(np.float64)
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:4], other[None, :, 2:4])
    shared = np.prod(np.clip(high - low, 0, None), axis=2)
    areas = [np.prod(np.clip(each[:, 2:4] - each[:, :2], 0, None), axis=1) for each in (one, other)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def match(one: Detections, iou: float = 0.5) -> NDArray[np.int64]:
    """Match detections with objects.

    Args:
        one: the detections of a network, in order of decreasing confidence.
        iou: the smallest IoU of a match.

    Returns:
        (detections,) index of the matched object, or -1.
    """
    matched = np.full(len(one.image), -1)
    for image in range(len(one.names)):
        mine, truths = np.flatnonzero(one.image == image), np.flatnonzero(one.truth_image == image)
        if not len(mine) or not len(truths):
            continue
        overlaps = box_iou(one.box[mine], one.truth_box[truths])
        overlaps[one.kind[mine][:, None] != one.truth_kind[truths][None]] = -1
        for row, detection in enumerate(mine):
            best = int(overlaps[row].argmax())
            if overlaps[row, best] >= iou:
                matched[detection] = truths[best]
                overlaps[:, best] = -1
    return matched


def confident(one: Detections, conf: float) -> Detections:
    """Return the detections with a confidence of at least `conf`."""
    kept = one.confidence >= conf
    return replace(one, image=one.image[kept], kind=one.kind[kept], box=one.box[kept], confidence=one.confidence[kept],
                   correct=one.correct[kept])
