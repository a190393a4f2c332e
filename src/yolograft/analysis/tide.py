"""TIDE: which kinds of error cost a detector how much average precision.

Bolya et al., TIDE: A General Toolbox for Identifying Object Detection Errors, ECCV 2020. A detection that matches no object
at an IoU of 0.5 has one error, the first of these that applies (IoU with the nearest object; t_f = 0.5, t_b = 0.1):

    localisation    t_b <= IoU < t_f with an object of its class
    classification  IoU >= t_f with an object of another class
    duplicate       IoU >= t_f with an object of its class, which a detection with more confidence has matched
    background      IoU < t_b with every object
    both            the rest: wrong class, and t_b <= IoU < t_f

An object without a match is `missed`, unless a localisation or a classification error covers it. The cost of a kind is
AP(errors of this kind fixed) - AP, at an IoU of 0.5. To fix an error of localisation or classification, its box or class
becomes that of the object; of several for one object, only the most confident is kept, and none if the object is matched
already. Other errors are fixed by removing the detection, or the missed object. Costs do not add up to 1 - AP, because
fixing one kind changes what the others cost. AP is that of Ultralytics, in which a perfect detector has 0.995.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from yolograft.analysis.average_precision import Detections, average_precision
from yolograft.analysis.matching import box_iou, match

__all__ = ["ERRORS", "Errors", "Tide", "find_errors", "fix", "tide"]

ERRORS = ("classification", "localisation", "both", "duplicate", "background", "missed")
_FOREGROUND, _BACKGROUND = 0.5, 0.1


@dataclass(frozen=True, kw_only=True)
class Errors:
    """The error of each detection and object.

    Attributes:
        matched: (detections,) index of the matched object, or -1.
        kind: (detections,) a name from `ERRORS`; "" for a matched detection.
        target: (detections,) index of the object that an error of localisation or classification is about, or -1.
        missed: (objects,) whether the object is missed.
    """

    matched: NDArray[np.int64]
    kind: NDArray[np.str_]
    target: NDArray[np.int64]
    missed: NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Tide:
    """The errors of a network, and what they cost.

    Attributes:
        ap: mean average precision at an IoU of 0.5, with the matching of this module.
        counts: error -> number of detections, or of missed objects.
        costs: error -> AP that would be gained without it.
        false_positives: AP that would be gained without any wrong detection.
        false_negatives: AP that would be gained without any unmatched object.
    """

    ap: float
    counts: dict[str, int]
    costs: dict[str, float]
    false_positives: float
    false_negatives: float


def tide(one: Detections) -> Tide:
    """Decompose the errors of a network. `one` has all its detections, of low confidence too."""
    errors = find_errors(one)
    base = _ap(fix(one, errors, ()))
    matched_objects = np.isin(np.arange(len(one.truth_image)), errors.matched)
    without_wrong = replace(errors, kind=np.where(errors.matched < 0, "background", ""))
    without_missed = replace(errors, missed=~matched_objects)
    return Tide(
        ap=base, counts={kind: int(errors.missed.sum() if kind == "missed" else (errors.kind == kind).sum())
                         for kind in ERRORS},
        costs={kind: _ap(fix(one, errors, (kind,))) - base for kind in ERRORS},
        false_positives=_ap(fix(one, without_wrong, ("background",))) - base,
        false_negatives=_ap(fix(one, without_missed, ("missed",))) - base)


def find_errors(one: Detections) -> Errors:
    """Return the error of each detection and object."""
    matched = match(one, _FOREGROUND)
    kind, target = np.full(len(matched), "", dtype="U16"), np.full(len(matched), -1)
    for image in range(len(one.names)):
        wrong = np.flatnonzero((one.image == image) & (matched < 0))
        truths = np.flatnonzero(one.truth_image == image)
        if not len(truths):
            kind[wrong] = "background"
            continue
        overlaps = box_iou(one.box[wrong], one.truth_box[truths])
        is_same = one.kind[wrong][:, None] == one.truth_kind[truths][None]
        for row, detection in enumerate(wrong):
            same, other = np.where(is_same[row], overlaps[row], -1), np.where(is_same[row], -1, overlaps[row])
            if _BACKGROUND <= same.max() < _FOREGROUND:
                kind[detection], target[detection] = "localisation", truths[same.argmax()]
            elif other.max() >= _FOREGROUND:
                kind[detection], target[detection] = "classification", truths[other.argmax()]
            elif same.max() >= _FOREGROUND:
                kind[detection] = "duplicate"
            else:
                kind[detection] = "background" if overlaps[row].max() < _BACKGROUND else "both"
    numbers = np.arange(len(one.truth_image))
    return Errors(matched=matched, kind=kind, target=target,
                  missed=~np.isin(numbers, matched) & ~np.isin(numbers, target))


def fix(one: Detections, errors: Errors, kinds: Collection[str]) -> Detections:
    """Return the detections and objects without the errors of these kinds; `correct` is (detections, 1)."""
    is_fixed = np.isin(errors.kind, list(kinds))
    correct, kind = errors.matched >= 0, one.kind.copy()
    done = set(errors.matched[correct].tolist())
    kept = np.ones(len(kind), bool)
    for detection in np.flatnonzero(is_fixed):  # in order of decreasing confidence
        truth = int(errors.target[detection])
        if truth < 0 or truth in done:
            kept[detection] = False
            continue
        done.add(truth)
        correct[detection], kind[detection] = True, one.truth_kind[truth]
    objects = ~errors.missed if "missed" in kinds else np.ones(len(errors.missed), bool)
    return replace(one, image=one.image[kept], kind=kind[kept], box=one.box[kept], confidence=one.confidence[kept],
                   correct=correct[kept][:, None], truth_image=one.truth_image[objects],
                   truth_kind=one.truth_kind[objects], truth_box=one.truth_box[objects])


def _ap(one: Detections) -> float:
    return float(average_precision(one, np.ones((1, len(one.names))))[0, 0])
