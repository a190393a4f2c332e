"""Paired bootstrap over validation images: a confidence interval of the mean difference for other validation sets.

A validation set is a sample, too. Its images are resampled with replacement, with the same resamples for every arm and
seed, and each arm's average precision is computed again from the stored detections of its trials (`images.npz`, see
`runner.evaluate`). The interval describes other validation sets of this size with the same trained networks. It does not
contain the variation between seeds. The interval over seeds describes other trainings on the same validation set.
"""

from __future__ import annotations

import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolograft.atomic import atomic_write
from yolograft.errors import DataError
from yolograft.language import tr
from yolograft.study.study import Study

__all__ = ["Detections", "average_precision", "image_intervals", "resampled_ap", "store_resampled_ap"]

FILE = "images.npz"
RESAMPLED = "drawn.npy"  # the stored result of `resampled_ap`, which takes minutes to compute for many trials
_RESAMPLES = 200
_METRICS = {"mAP50": slice(0, 1), "mAP50-95": slice(0, 10)}
_GRID = np.linspace(0, 1, 101)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """The detections of one trial's network in all validation images.

    Attributes:
        names: file names of the images.
        image, kind, correct: for each detection, in order of decreasing confidence: index of its image, its class, and
            whether it is a true positive at each IoU threshold 0.50, 0.55 ... 0.95.
        truths: (images, classes) number of ground-truth objects.
    """

    names: tuple[str, ...]
    image: NDArray[np.int64]
    kind: NDArray[np.int64]
    correct: NDArray[np.bool_]
    truths: NDArray[np.int64]

    @classmethod
    def read(cls, file: Path) -> Detections:
        """Read a trial's file; raises `DataError` if it does not exist or is broken."""
        try:
            with np.load(file) as stored:
                found, truths = stored["detections"], stored["truths"]
                names, correct = tuple(map(str, stored["names"])), stored["correct"].astype(bool)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(tr("'{file}' is not a readable file of detections: {error}", file=file, error=error)) from error
        order = np.argsort(-found[:, 5], kind="stable")
        classes = int(max(found[:, 6].max(initial=-1), truths[:, 1].max(initial=-1))) + 1
        counts = np.zeros((len(names), classes), np.int64)
        np.add.at(counts, (truths[:, 0].astype(int), truths[:, 1].astype(int)), 1)
        # sorted by name, so that an image has the same index in all trials
        rank = np.empty(len(names), np.int64)
        rank[np.argsort(names, kind="stable")] = np.arange(len(names))
        back = np.argsort(rank)
        return cls(tuple(np.array(names)[back]), rank[found[order, 0].astype(int)], found[order, 6].astype(int),
                   correct[order], counts[back])


def average_precision(one: Detections, weights: Array) -> Array:
    """Compute the mean average precision of each resample, in which image i counts weights[resample, i] times.

    As in Ultralytics and COCO: the precision envelope is interpolated at 101 recall values, and the result is averaged
    over the classes that have objects.

    Returns:
        (resamples, IoU thresholds) array.
    """
    totals = weights @ one.truths  # (resamples, classes)
    sums = np.zeros((len(weights), one.correct.shape[1]))
    for kind in range(one.truths.shape[1]):
        of_class = one.kind == kind
        hits, mass = one.correct[of_class], weights[:, one.image[of_class]]
        mass_so_far = np.cumsum(mass, axis=1)
        for overlap in range(hits.shape[1]):
            at = np.flatnonzero(hits[:, overlap])  # recall grows only at true positives
            hits_so_far = np.cumsum(mass[:, at], axis=1)
            sums[:, overlap] += _areas(hits_so_far, mass_so_far[:, at], mass_so_far[:, -1:], totals[:, kind])
    classes = (totals > 0).sum(axis=1)
    return sums / np.maximum(classes, 1)[:, None]


def _areas(hits_so_far: Array, mass_so_far: Array, total_mass: Array, total: Array) -> Array:
    """Return the area under the precision-recall curve of each resample."""
    areas = np.zeros(len(hits_so_far))
    if not hits_so_far.shape[1]:
        return areas
    precision = np.divide(hits_so_far, mass_so_far, out=np.zeros_like(hits_so_far), where=mass_so_far > 0)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for resample in np.flatnonzero(total > 0):
        recall = hits_so_far[resample] / total[resample]
        index = np.searchsorted(recall, _GRID, side="left")
        inside = index < len(recall)
        precision_at = np.zeros(len(_GRID))
        precision_at[inside] = envelope[resample, index[inside]]
        last = recall[-1]
        if last < 1:  # linear from the last point to precision 0 at recall 1
            end = hits_so_far[resample, -1] / max(total_mass[resample, 0], 1e-12)
            precision_at[~inside] = end * (1 - _GRID[~inside]) / (1 - last)
        areas[resample] = (precision_at[1:] + precision_at[:-1]).sum() / 2 * (_GRID[1] - _GRID[0])
    return areas


def resampled_ap(file: Path, resamples: int = _RESAMPLES) -> tuple[str, Array]:
    """Return a hash of the image names of a trial, and its average precision as (resamples, IoU thresholds).

    Trials with the same number of images have the same resamples. A result that `store_resampled_ap` stored is reused.

    Raises:
        DataError: the file is broken.
    """
    with suppress(OSError, EOFError, ValueError, IndexError):  # no stored result, or a broken one: compute it
        if resamples == _RESAMPLES and (stored := np.load(file.with_name(RESAMPLED)))["size"] == file.stat().st_size:
            return str(stored["images"]), stored["values"]
    one = Detections.read(file)
    equal = np.full(len(one.names), 1 / len(one.names))
    weights = np.random.default_rng(0).multinomial(len(one.names), equal, resamples).astype(np.float64)
    return hashlib.sha256("\0".join(one.names).encode()).hexdigest()[:20], average_precision(one, weights)


def store_resampled_ap(folder: Path) -> None:
    """Store the result of `resampled_ap` in a trial's folder if its detections are there; raises `DataError` if broken."""
    file = folder / FILE
    if file.is_file():
        images, values = resampled_ap(file)
        # one record array: it is read four times faster than an archive of three arrays
        form = [("images", "U20"), ("size", "i8"), ("values", values.dtype, values.shape)]
        record = np.array((images, file.stat().st_size, values), form)

        def write(part: Path) -> None:
            with part.open("wb") as opened:  # an open file, since NumPy would add a suffix to a path
                np.save(opened, record)

        atomic_write(folder / RESAMPLED, write)


def image_intervals(study: Study, *, metric: str | None = None, resamples: int = _RESAMPLES,
                    level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Return arm -> percentile bootstrap interval of its mean difference from the baseline, over validation images.

    Empty for a metric that is no average precision. Arms without stored detections are left out.

    Raises:
        DataError: a trial's file is broken, or two trials have different validation images.
    """
    name = metric or study.plan.metric
    if name not in _METRICS:
        return {}
    files = {which: study.folder_of(row.key) / FILE for which, row in study.latest.items() if row.state == "complete"}
    means: dict[tuple[str, int], Array] = {}
    first = ""  # hash of the image names of the first trial
    for which, file in files.items():
        if not file.is_file():
            continue
        images, values = resampled_ap(file, resamples)
        if images != (first := first or images):
            raise DataError(tr("'{file}' has other images than the other trials of the study.", file=file))
        means[which] = values[:, _METRICS[name]].mean(axis=1)
    plan = study.plan
    found = {arm.name: _interval(means, arm.name, plan.baseline, plan.seeds, level)
             for arm in plan.arms if arm.name != plan.baseline}
    return {arm: interval for arm, interval in found.items() if interval is not None}


def _interval(means: Mapping[tuple[str, int], Array], arm: str, baseline: str, seeds: Sequence[int],
              level: float) -> tuple[float, float] | None:
    pairs = [means[arm, seed] - means[baseline, seed] for seed in seeds
             if (arm, seed) in means and (baseline, seed) in means]
    if not pairs:
        return None
    low, high = np.quantile(np.mean(pairs, axis=0), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)
