"""Boxes that change between two networks on the same images: objects found or lost, false alarms new or gone.

Two trainings of one network with different seeds change many boxes, too. So the numbers of a host and an arm mean something
only beside those of two seeds.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np

from yolograft.analysis.average_precision import Detections
from yolograft.analysis.matching import box_iou, confident, match
from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["STATES", "Flip", "Flips", "find_flips"]

STATES = ("hit", "miss", "false alarm", "none")  # of a box in one network; none: there is no such false alarm


@dataclass(frozen=True, kw_only=True)
class Flip:
    """One box with its states in two networks.

    Attributes:
        image: index of the image.
        kind: the class.
        box: x1, y1, x2, y2 in pixels: of the object, or of the false alarm.
        before, after: names from `STATES`.
        confidence: of the detections in the two networks; 0 where there is none.
    """

    image: int
    kind: int
    box: tuple[float, float, float, float]
    before: str
    after: str
    confidence: tuple[float, float]

    @property
    def is_change(self) -> bool:
        """Whether the states differ."""
        return self.before != self.after


@dataclass(frozen=True, kw_only=True)
class Flips:
    """All boxes of two networks.

    Attributes:
        boxes: each object and each false alarm once.
        conf, iou: the thresholds of a detection and of a hit.
    """

    boxes: tuple[Flip, ...]
    conf: float
    iou: float

    @property
    def counts(self) -> dict[tuple[str, str], int]:
        """(state before, state after) -> number of boxes."""
        return dict(Counter((one.before, one.after) for one in self.boxes))

    def count(self, before: str, after: str) -> int:
        """Return the number of boxes with these states."""
        return self.counts.get((before, after), 0)

    @property
    def changes(self) -> tuple[Flip, ...]:
        """The boxes whose states differ."""
        return tuple(one for one in self.boxes if one.is_change)


def find_flips(before: Detections, after: Detections, *, conf: float = 0.25, iou: float = 0.5) -> Flips:
    """Compare the detections of two networks.

    A false alarm of one network is that of the other if both have the same class and an IoU of at least `iou`.

    Args:
        before, after: the networks' detections in the same images.
        conf: the smallest confidence of a detection.
        iou: the smallest IoU of a detection with the object that it hits.

    Raises:
        DataError: the two have different images or objects.
    """
    if before.names != after.names or len(before.truth_image) != len(after.truth_image):
        raise DataError(tr("The two networks were validated on different images: {count} and {other}.",
                           count=len(before.names), other=len(after.names)))
    sides = [confident(one, conf) for one in (before, after)]
    order = [np.lexsort((*one.truth_box.T, one.truth_kind, one.truth_image)) for one in sides]  # the same objects
    found: list[Flip] = []
    matches = [match(one, iou) for one in sides]
    confidences = []
    for one, matched, truths in zip(sides, matches, order, strict=True):
        by_truth = np.zeros(len(truths))
        by_truth[matched[matched >= 0]] = one.confidence[matched >= 0]
        confidences.append(by_truth[truths])
    for number, truth in enumerate(order[0]):
        first, second = float(confidences[0][number]), float(confidences[1][number])
        found.append(Flip(image=int(before.truth_image[truth]), kind=int(before.truth_kind[truth]),
                          box=_corners(before.truth_box[truth]), before="hit" if first else "miss",
                          after="hit" if second else "miss", confidence=(first, second)))
    return Flips(boxes=(*found, *_false_alarms(sides, matches, iou)), conf=conf, iou=iou)


def _false_alarms(sides: list[Detections], matches: list[np.ndarray], iou: float) -> list[Flip]:
    before, after = sides
    found = []
    for image in range(len(before.names)):
        mine, theirs = (np.flatnonzero((one.image == image) & (matched < 0))
                        for one, matched in zip(sides, matches, strict=True))
        overlaps = box_iou(before.box[mine], after.box[theirs])
        overlaps[before.kind[mine][:, None] != after.kind[theirs][None]] = 0
        pairs = dict[int, int]()
        while overlaps.size and overlaps.max() >= iou:  # the largest overlap first, so that the order of the sides is free
            row, column = np.unravel_index(int(overlaps.argmax()), overlaps.shape)
            pairs[int(mine[row])] = int(theirs[column])
            overlaps[row], overlaps[:, column] = 0, 0
        for one in mine:
            other = pairs.get(int(one))
            found.append(Flip(image=image, kind=int(before.kind[one]), box=_corners(before.box[one]), before="false alarm",
                              after="none" if other is None else "false alarm",
                              confidence=(float(before.confidence[one]),
                                          0.0 if other is None else float(after.confidence[other]))))
        found += [Flip(image=image, kind=int(after.kind[one]), box=_corners(after.box[one]), before="none",
                       after="false alarm", confidence=(0.0, float(after.confidence[one])))
                  for one in theirs if int(one) not in pairs.values()]
    return found


def _corners(box: np.ndarray) -> tuple[float, float, float, float]:
    x1, y1, x2, y2 = map(float, box)
    return x1, y1, x2, y2
