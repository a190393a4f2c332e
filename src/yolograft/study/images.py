"""Crossed bootstrap over seeds and validation images: an interval of the mean difference for other trainings and images.

Seeds and validation images are two samples, and every trained network is evaluated on every image. Both are resampled
with replacement, independently of each other (Owen and Eckles 2012), the same for the arm and the baseline. Each arm's
average precision is computed again from the stored detections of its trials (`images.npz`, see `runner.evaluate`). The
interval describes other trainings that are validated on other images of the same source. A bootstrap of few seeds is too
narrow, so the interval is Student's, with n - 1 degrees of freedom for n seeds, around the mean difference.
"""

from __future__ import annotations

import hashlib
import math
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from yolograft.analysis.average_precision import (
    Detections,
    average_precision,
    coco_average_precision,
    resampled_weights,
)
from yolograft.atomic import atomic_write
from yolograft.errors import DataError
from yolograft.language import tr
from yolograft.study.study import Study

__all__ = ["Detections", "average_precision", "coco_ap", "crossed_interval", "image_intervals", "resampled_ap",
           "store_resampled_ap"]

FILE = "images.npz"
RESAMPLED = "drawn.npy"  # the stored result of `resampled_ap`
_RESAMPLES = 200
_METRICS = {"mAP50": slice(0, 1), "mAP50-95": slice(0, 10)}
_FORMULA = 3  # the version of `average_precision`; results of another one are computed again

Array = NDArray[np.float64]
# file -> its time of change, and its average precision by COCO's rule, which stands beside the resamples that were read
_coco_of: dict[Path, tuple[int, Array]] = {}


def resampled_ap(file: Path, resamples: int = _RESAMPLES) -> tuple[str, Array]:
    """Return a hash of the image names of a trial, and its average precision as (resamples, IoU thresholds).

    Trials with the same number of images have the same resamples. A result that `store_resampled_ap` stored is reused.

    Raises:
        DataError: the file is broken.
    """
    stored = _stored(file) if resamples == _RESAMPLES else None
    if stored is not None:
        _coco_of[file] = file.stat().st_mtime_ns, stored["coco"]
        return str(stored["images"]), stored["values"]
    one = Detections.read(file)
    values = average_precision(one, resampled_weights(len(one.names), resamples))
    return hashlib.sha256("\0".join(one.names).encode()).hexdigest()[:20], values


def _stored(file: Path) -> NDArray[np.void] | None:
    """Return what `store_resampled_ap` stored for a trial; None if there is nothing, or it is broken or outdated."""
    with suppress(OSError, EOFError, ValueError, IndexError):
        stored: NDArray[np.void] = np.load(file.with_name(RESAMPLED))
        if stored["formula"] == _FORMULA and stored["size"] == file.stat().st_size:
            return stored
    return None


def coco_ap(file: Path) -> Array:
    """Return a trial's average precision by COCO's rule at each IoU threshold; raises `DataError` if the file is broken."""
    time, found = _coco_of.get(file, (0, None))
    if found is not None and time == file.stat().st_mtime_ns:
        return found
    stored = _stored(file)
    return stored["coco"] if stored is not None else coco_average_precision(Detections.read(file))


def store_resampled_ap(folder: Path) -> None:
    """Store the result of `resampled_ap` in a trial's folder if its detections are there; raises `DataError` if broken."""
    file = folder / FILE
    if file.is_file():
        images, values = resampled_ap(file)
        # one record array: it is read four times faster than an archive of several arrays
        form = [("images", "U20"), ("formula", "i8"), ("size", "i8"), ("values", values.dtype, values.shape),
                ("coco", "f8", values.shape[1:])]
        record = np.array((images, _FORMULA, file.stat().st_size, values, coco_ap(file)), form)

        def write(part: Path) -> None:
            with part.open("wb") as opened:  # an open file, since NumPy would add a suffix to a path
                np.save(opened, record)

        atomic_write(folder / RESAMPLED, write)


def image_intervals(study: Study, *, metric: str | None = None, resamples: int = _RESAMPLES,
                    level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Return arm -> interval of its mean difference from the baseline, over seeds and validation images.

    Empty for a metric that is no average precision, and for a study with splits. Arms with stored detections of fewer than
    two pairs are left out.

    Raises:
        DataError: a trial's file is broken, or two trials have different validation images.
    """
    name = metric or study.plan.metric
    if name not in _METRICS or study.plan.splits is not None:  # the splits have different validation images
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
    bases = [plan.baseline, *(plan.copies if len(plan.copies) > 1 else ())]
    found: dict[str, tuple[float, float]] = {}
    for arm in plan.arms:
        if arm.name == plan.baseline:
            continue
        others = [name for name in bases if name != arm.name]
        pairs = [means[arm.name, seed] - np.mean([means[name, seed] for name in others], axis=0) for seed in plan.seeds
                 if all((name, seed) in means for name in (arm.name, *others))]
        if len(pairs) > 1:
            found[arm.name] = crossed_interval(np.array(pairs), level)
    return found


def crossed_interval(pairs: Array, level: float = 0.95) -> tuple[float, float]:
    """Return the interval of the mean difference from the differences (seeds, resamples of the images) of one arm.

    Each resample of the images gets a resample of the seeds. The spread of their means, which misses the factor (n - 1) / n
    of the seeds' variance, gives the standard error of a Student's interval around the mean.
    """
    seeds, resamples = pairs.shape
    weights = np.random.default_rng(1).multinomial(seeds, np.full(seeds, 1 / seeds), resamples).T / seeds
    error = float((weights * pairs).sum(axis=0).std(ddof=1)) * math.sqrt(seeds / (seeds - 1))
    reach = float(stats.t.ppf(0.5 + level / 2, seeds - 1)) * error
    return float(pairs.mean()) - reach, float(pairs.mean()) + reach
