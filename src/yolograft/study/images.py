"""Paired bootstrap over validation images: a confidence interval of the mean difference for other validation sets.

A validation set is a sample, too. Its images are resampled with replacement, with the same resamples for every arm and
seed, and each arm's average precision is computed again from the stored detections of its trials (`images.npz`, see
`runner.evaluate`). The interval describes other validation sets of this size with the same trained networks. It does not
contain the variation between seeds. The interval over seeds describes other trainings on the same validation set.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from yolograft.analysis.average_precision import Detections, average_precision, resampled_weights
from yolograft.atomic import atomic_write
from yolograft.errors import DataError
from yolograft.language import tr
from yolograft.study.study import Study

__all__ = ["Detections", "average_precision", "image_intervals", "resampled_ap", "store_resampled_ap"]

FILE = "images.npz"
RESAMPLED = "drawn.npy"  # the stored result of `resampled_ap`
_RESAMPLES = 200
_METRICS = {"mAP50": slice(0, 1), "mAP50-95": slice(0, 10)}
_FORMULA = 2  # the version of `average_precision`; results of another one are computed again

Array = NDArray[np.float64]


def resampled_ap(file: Path, resamples: int = _RESAMPLES) -> tuple[str, Array]:
    """Return a hash of the image names of a trial, and its average precision as (resamples, IoU thresholds).

    Trials with the same number of images have the same resamples. A result that `store_resampled_ap` stored is reused.

    Raises:
        DataError: the file is broken.
    """
    with suppress(OSError, EOFError, ValueError, IndexError):  # no stored result, or a broken one: compute it
        stored = np.load(file.with_name(RESAMPLED)) if resamples == _RESAMPLES else None
        if stored is not None and stored["formula"] == _FORMULA and stored["size"] == file.stat().st_size:
            return str(stored["images"]), stored["values"]
    one = Detections.read(file)
    values = average_precision(one, resampled_weights(len(one.names), resamples))
    return hashlib.sha256("\0".join(one.names).encode()).hexdigest()[:20], values


def store_resampled_ap(folder: Path) -> None:
    """Store the result of `resampled_ap` in a trial's folder if its detections are there; raises `DataError` if broken."""
    file = folder / FILE
    if file.is_file():
        images, values = resampled_ap(file)
        # one record array: it is read four times faster than an archive of several arrays
        form = [("images", "U20"), ("formula", "i8"), ("size", "i8"), ("values", values.dtype, values.shape)]
        record = np.array((images, _FORMULA, file.stat().st_size, values), form)

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
