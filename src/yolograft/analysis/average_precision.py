"""Average precision from stored detections, for resampled validation images. NumPy only.

    images.npz    names (I,)             file names of the images        shapes (I, 2)  their heights and widths, in pixels
                  detections (N, 7)      image index, x1, y1, x2, y2 (pixels of the original image), confidence, class
                  correct (N, 10)        whether the detection is correct at the IoU thresholds 0.50, 0.55 ... 0.95
                  truths (M, 6)          image index, class, x1, y1, x2, y2
                  line_to_zero ()        how the curve ends, see `Detections`; absent in files of older versions: true

A validation set is a sample. The bootstrap draws its images with replacement: in a resample, image i counts weights[i]
times. Two networks are compared on the same resamples, so the interval of `difference` is that of pairs. It describes
other validation sets of this size with the same networks, and not other trainings.
"""

from __future__ import annotations

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["IOU_THRESHOLDS", "Bootstrap", "Detections", "Differences", "Interval", "average_precision",
           "class_average_precision", "coco_average_precision", "difference", "resampled_weights"]

IOU_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
_GRID = np.linspace(0, 1, 101)
_COCO_DETECTIONS = 100  # in an image
# sum of 1 - recall over the grid points from a number on
_TAIL_SUMS = np.append(np.cumsum((1 - _GRID)[::-1])[::-1], 0.0)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """The detections of one network in all validation images.

    Attributes:
        names: file names of the images, sorted, so that an image has the same index for all networks.
        shapes: (images, 2) heights and widths in pixels.
        image, kind, box, confidence, correct: for each detection, in order of decreasing confidence: index of its image,
            its class, x1, y1, x2, y2 in pixels of the original image, its confidence, and whether it is a true positive
            at each IoU threshold 0.50, 0.55 ... 0.95.
        truth_image, truth_kind, truth_box: for each ground-truth object: index of its image, its class, its box.
        line_to_zero: whether the precision-recall curve goes from its last point in a line to precision 0 at recall 1,
            as in Ultralytics 8.3.0, or is 0 after its last point, as in newer versions.
    """

    names: tuple[str, ...]
    shapes: NDArray[np.int64]
    image: NDArray[np.int64]
    kind: NDArray[np.int64]
    box: NDArray[np.float32]
    confidence: NDArray[np.float32]
    correct: NDArray[np.bool_]
    truth_image: NDArray[np.int64]
    truth_kind: NDArray[np.int64]
    truth_box: NDArray[np.float32]
    line_to_zero: bool = True

    @classmethod
    def of(cls, arrays: Any) -> Detections:
        """Make the value from the arrays of an images.npz. The order of the images in them does not matter."""
        found, truths = np.asarray(arrays["detections"]), np.asarray(arrays["truths"])
        names, order = tuple(map(str, arrays["names"])), np.argsort(-found[:, 5], kind="stable")
        by_name = np.argsort(names, kind="stable")
        rank = np.empty(len(names), np.int64)
        rank[by_name] = np.arange(len(names))
        found = found[order]
        return cls(names=tuple(names[i] for i in by_name), shapes=np.asarray(arrays["shapes"], np.int64)[by_name],
                   image=rank[found[:, 0].astype(int)], kind=found[:, 6].astype(int), box=found[:, 1:5],
                   confidence=found[:, 5], correct=np.asarray(arrays["correct"]).astype(bool)[order],
                   truth_image=rank[truths[:, 0].astype(int)], truth_kind=truths[:, 1].astype(int), truth_box=truths[:, 2:6],
                   line_to_zero=bool(arrays["line_to_zero"]) if "line_to_zero" in arrays else True)

    @classmethod
    def read(cls, file: Path) -> Detections:
        """Read an images.npz; raises `DataError` if it does not exist or is broken."""
        try:
            with file.open("rb") as opened, np.load(opened) as stored:  # np.load leaves a broken file open
                return cls.of(stored)
        except (OSError, EOFError, KeyError, ValueError, IndexError, zipfile.BadZipFile) as error:
            raise DataError(tr("'{file}' is not a readable file of detections: {error}", file=file, error=error)) from error

    @property
    def truths(self) -> NDArray[np.int64]:
        """(images, classes) number of ground-truth objects."""
        classes = int(max(self.kind.max(initial=-1), self.truth_kind.max(initial=-1))) + 1
        counts = np.zeros((len(self.names), classes), np.int64)
        np.add.at(counts, (self.truth_image, self.truth_kind), 1)
        return counts


@dataclass(frozen=True, kw_only=True)
class Interval:
    """A difference, and its percentile bootstrap interval."""

    estimate: float
    low: float
    high: float


def resampled_weights(images: int, resamples: int, seed: int = 0) -> Array:
    """Return how often each resample contains each image: (resamples, images), each row with the sum `images`."""
    return np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), resamples).astype(np.float64)


def average_precision(one: Detections, weights: Array) -> Array:
    """Compute the mean average precision of each resample, in which image i counts weights[resample, i] times.

    The mean is over the classes that have objects in the resample.

    Returns:
        (resamples, IoU thresholds) array.
    """
    values, has_objects = class_average_precision(one, weights)
    return values.sum(axis=1) / np.maximum(has_objects.sum(axis=1), 1)[:, None]


def class_average_precision(one: Detections, weights: Array) -> tuple[Array, NDArray[np.bool_]]:
    """Compute the average precision of each resample and class, as `compute_ap` of Ultralytics computes it.

    The precision envelope is interpolated at 101 recall values and integrated with the trapezoidal rule.

    Returns:
        (resamples, classes, IoU thresholds) array, 0 for a class without objects, and a (resamples, classes) array of
        whether the class has objects.
    """
    truths = one.truths
    totals = weights @ truths
    values = np.zeros((len(weights), truths.shape[1], one.correct.shape[1]))
    for kind in range(truths.shape[1]):
        of_class = np.flatnonzero(one.kind == kind)
        hits, image = one.correct[of_class], one.image[of_class]
        points = np.flatnonzero(hits.any(axis=1))  # recall grows only at true positives
        if not len(points):
            continue
        # counts[image, n]: the image's detections after the (n-1)-th point and up to the n-th
        counts = np.zeros((truths.shape[0], len(points) + 1))
        np.add.at(counts, (image, np.searchsorted(points, np.arange(len(of_class)))), 1)
        mass = np.cumsum(weights @ counts, axis=1)
        for threshold in range(hits.shape[1]):
            at = np.flatnonzero(hits[points, threshold])
            hits_so_far = np.cumsum(weights[:, image[points[at]]], axis=1)
            values[:, kind, threshold] = _areas(hits_so_far, mass[:, at], mass[:, -1], totals[:, kind], one.line_to_zero)
    return values, totals > 0


def coco_average_precision(one: Detections) -> Array:
    """Return the mean average precision at each IoU threshold by COCO's rule, from the same matches of boxes.

    COCO (Lin et al. 2014) takes the mean of the interpolated precision at 101 recall values, 0 beyond the last recall, and
    counts at most 100 detections in an image. Ultralytics integrates the curve and counts up to 300.

    Returns:
        (IoU thresholds,) array.
    """
    if not len(one.image):
        return np.zeros(len(IOU_THRESHOLDS))
    by_image = np.argsort(one.image, kind="stable")  # each image's detections in order of decreasing confidence
    starts = np.searchsorted(one.image[by_image], one.image[by_image], side="left")
    counted = np.zeros(len(one.image), dtype=bool)
    counted[by_image] = np.arange(len(by_image)) - starts < _COCO_DETECTIONS
    totals, found = one.truths.sum(axis=0), []
    for kind in np.flatnonzero(totals):
        hits = np.cumsum(one.correct[counted & (one.kind == kind)], axis=0)  # (detections, thresholds)
        precision = hits / np.arange(1, len(hits) + 1)[:, None]
        envelope = np.vstack([np.maximum.accumulate(precision[::-1], axis=0)[::-1], np.zeros(hits.shape[1])])
        recall = hits / totals[kind]
        found.append([envelope[np.searchsorted(recall[:, at], _GRID - 1e-9, side="left"), at].mean()
                      for at in range(hits.shape[1])])
    return np.mean(found, axis=0) if found else np.zeros(len(IOU_THRESHOLDS))


def _areas(hits_so_far: Array, mass_so_far: Array, mass: Array, total: Array, line_to_zero: bool) -> Array:
    """Return the area under the precision-recall curve of each resample.

    Args:
        hits_so_far: (resamples, true positives) weight of the true positives up to each one.
        mass_so_far: (resamples, true positives) weight of the detections up to each true positive.
        mass: (resamples,) weight of all detections.
        total: (resamples,) weight of the ground-truth objects.
        line_to_zero: see `Detections`.
    """
    if not hits_so_far.shape[1]:
        return np.zeros(len(hits_so_far))
    precision = np.divide(hits_so_far, mass_so_far, out=np.zeros_like(hits_so_far), where=mass_so_far > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    recall = hits_so_far / np.maximum(total, 1e-12)[:, None]
    # The curve has the precision of the next true positive at each recall below that point's recall. This is where
    # NumPy's `interp` puts a grid point that equals a recall, too.
    below = np.searchsorted(_GRID, recall.ravel(), side="left").reshape(recall.shape)
    steps = np.diff(below, axis=1, prepend=0)
    sums = (envelope * steps).sum(axis=1) - envelope[:, 0] / 2  # the grid's first point has half the weight
    if line_to_zero:
        end, last = hits_so_far[:, -1] / np.maximum(mass, 1e-12), recall[:, -1]
        sums += np.where(last < 1, end * _TAIL_SUMS[below[:, -1]] / np.maximum(1 - last, 1e-12), 0)
    return np.where(hits_so_far[:, -1] > 0, sums / (len(_GRID) - 1), 0)


@dataclass(frozen=True, kw_only=True)
class Differences:
    """The differences between two networks: of mAP50-95, and of AP50-95 by class (its number)."""

    mean: Interval
    classes: dict[int, Interval]


class Bootstrap:
    """Compares networks with one network on the same resamples of the images, which are computed once.

    Args:
        before: the detections of the network that the others are compared with.
        resamples: number of bootstrap resamples.
        seed: of the resamples.
        level: of the intervals.
    """

    def __init__(self, before: Detections, *, resamples: int = 1000, seed: int = 0, level: float = 0.95) -> None:
        images = len(before.names)
        # the first row is the data set itself
        self._weights = np.vstack((np.ones((1, images)), resampled_weights(images, resamples, seed)))
        self._names, self._level = before.names, level
        self._before = self._values(before)

    def difference(self, after: Detections) -> Differences:
        """Return a network's differences to `before`. A class's interval is that of the resamples with objects of it.

        Raises:
            DataError: the two have different images.
        """
        if after.names != self._names:
            raise DataError(tr("The two networks were validated on different images: {count} and {other}.",
                               count=len(after.names), other=len(self._names)))
        (mean, classes), (mean_before, classes_before) = self._values(after), self._before
        kinds = [kind for kind in classes_before if np.isfinite(classes_before[kind][0]) and kind in classes]
        return Differences(mean=self._interval(mean - mean_before),
                           classes={kind: self._interval(classes[kind] - classes_before[kind]) for kind in kinds})

    def _values(self, one: Detections) -> tuple[Array, dict[int, Array]]:
        values, has_objects = class_average_precision(one, self._weights)
        mean = values.mean(axis=2).sum(axis=1) / np.maximum(has_objects.sum(axis=1), 1)
        return mean, {kind: np.where(has_objects[:, kind], values[:, kind].mean(axis=1), np.nan)
                      for kind in range(values.shape[1])}

    def _interval(self, values: Array) -> Interval:
        drawn = values[1:][np.isfinite(values[1:])]
        tail = 0.5 - self._level / 2
        low, high = np.quantile(drawn, [tail, 1 - tail]) if len(drawn) else (np.nan, np.nan)
        return Interval(estimate=float(values[0]), low=float(low), high=float(high))


def difference(after: Detections, before: Detections, *, resamples: int = 1000, seed: int = 0) -> Interval:
    """Return the difference of mAP50-95 between two networks, with its paired 95% bootstrap interval over the images.

    Args:
        after, before: the networks' detections in the same images.
        resamples: number of bootstrap resamples.
        seed: of the resamples.

    Raises:
        DataError: the two have different images.
    """
    return Bootstrap(before, resamples=resamples, seed=seed).difference(after).mean
