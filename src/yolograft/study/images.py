"""How much of a difference may be owed to the pictures it was measured on: a paired bootstrap over validation images.

A validation set is a sample too. Its pictures are drawn again, with replacement, the same ones for every arm and seed,
and each arm's average precision is computed again from the detections that its trials kept (`images.npz`, see
`host.evaluation`): the spread of the mean difference is that of other validation sets of this size, for the networks as
they were trained. It stands beside the spread over seeds, which is that of other trainings judged on these very pictures.
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
from yolograft.study.study import Study

__all__ = ["Detections", "average_precision", "drawn", "image_intervals", "keep_drawn"]

FILE = "images.npz"
KEPT = "drawn.npy"  # beside it, what `drawn` gives, since a report of many trials would compute for minutes
_DRAWS = 200
_METRICS = {"mAP50": slice(0, 1), "mAP50-95": slice(0, 10)}
_GRID = np.linspace(0, 1, 101)

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Detections:
    """What one trial's network found in each validation image.

    Attributes:
        names: the images.
        image, kind, correct: per detection, the most confident first: its image, its class, and whether it is a hit at
            an overlap of 0.50, 0.55 ... 0.95.
        truths: images x classes: how many objects there are.
    """

    names: tuple[str, ...]
    image: NDArray[np.int64]
    kind: NDArray[np.int64]
    correct: NDArray[np.bool_]
    truths: NDArray[np.int64]

    @classmethod
    def read(cls, file: Path) -> Detections:
        """Read a trial's file; raises `DataError` if there is none, or it is broken."""
        try:
            with np.load(file) as stored:
                found, truths = stored["detections"], stored["truths"]
                names, correct = tuple(map(str, stored["names"])), stored["correct"].astype(bool)
        except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
            raise DataError(f"'{file}' does not say what was detected: {error}") from error
        order = np.argsort(-found[:, 5], kind="stable")
        classes = int(max(found[:, 6].max(initial=-1), truths[:, 1].max(initial=-1))) + 1
        counts = np.zeros((len(names), classes), np.int64)
        np.add.at(counts, (truths[:, 0].astype(int), truths[:, 1].astype(int)), 1)
        # by name, so that two trials number the same image alike
        place = np.empty(len(names), np.int64)
        place[np.argsort(names, kind="stable")] = np.arange(len(names))
        back = np.argsort(place)
        return cls(tuple(np.array(names)[back]), place[found[order, 0].astype(int)], found[order, 6].astype(int),
                   correct[order], counts[back])


def average_precision(one: Detections, weights: Array) -> Array:
    """Return draws x overlaps: the mean average precision when image i counts weights[draw, i] times.

    As Ultralytics (and COCO) do it: precision made to fall with recall, read at 101 recalls, averaged over the classes
    that have objects.
    """
    totals = weights @ one.truths  # draws x classes
    sums = np.zeros((len(weights), one.correct.shape[1]))
    for kind in range(one.truths.shape[1]):
        mine = one.kind == kind
        hits, mass = one.correct[mine], weights[:, one.image[mine]]
        seen = np.cumsum(mass, axis=1)
        for overlap in range(hits.shape[1]):
            at = np.flatnonzero(hits[:, overlap])  # only where recall grows does precision count
            right = np.cumsum(mass[:, at], axis=1)
            sums[:, overlap] += _areas(right, seen[:, at], seen[:, -1:], totals[:, kind])
    classes = (totals > 0).sum(axis=1)
    return sums / np.maximum(classes, 1)[:, None]


def _areas(right: Array, seen: Array, all_seen: Array, total: Array) -> Array:
    """Return each draw's area under precision over recall."""
    areas = np.zeros(len(right))
    if not right.shape[1]:
        return areas
    precision = np.divide(right, seen, out=np.zeros_like(right), where=seen > 0)
    falling = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    for draw in np.flatnonzero(total > 0):
        recall = right[draw] / total[draw]
        place = np.searchsorted(recall, _GRID, side="left")
        inside = place < len(recall)
        read = np.zeros(len(_GRID))
        read[inside] = falling[draw, place[inside]]
        last = recall[-1]
        if last < 1:  # from the last point straight down to no precision at full recall
            end = right[draw, -1] / max(all_seen[draw, 0], 1e-12)
            read[~inside] = end * (1 - _GRID[~inside]) / (1 - last)
        areas[draw] = (read[1:] + read[:-1]).sum() / 2 * (_GRID[1] - _GRID[0])
    return areas


def drawn(file: Path, draws: int = _DRAWS) -> tuple[str, Array]:
    """Return the images that a trial saw, as a hash of their names, and its average precision, draws x overlaps.

    Any two trials with as many images have the same ones drawn. What `keep_drawn` has left beside the file is taken.

    Raises:
        DataError: the file is broken.
    """
    with suppress(OSError, EOFError, ValueError, IndexError):  # what is not there or broken is computed
        if draws == _DRAWS and (stored := np.load(file.with_name(KEPT)))["size"] == file.stat().st_size:
            return str(stored["images"]), stored["values"]
    one = Detections.read(file)
    equal = np.full(len(one.names), 1 / len(one.names))
    weights = np.random.default_rng(0).multinomial(len(one.names), equal, draws).astype(np.float64)
    return hashlib.sha256("\0".join(one.names).encode()).hexdigest()[:20], average_precision(one, weights)


def keep_drawn(folder: Path) -> None:
    """Leave what `drawn` gives in a trial's folder, if it has kept its detections; raises `DataError` if broken."""
    file = folder / FILE
    if file.is_file():
        images, values = drawn(file)
        # one record: to read 10,000 archives of three arrays takes four times as long
        form = [("images", "U20"), ("size", "i8"), ("values", values.dtype, values.shape)]
        record = np.array((images, file.stat().st_size, values), form)

        def write(part: Path) -> None:
            with part.open("wb") as opened:  # given a path, NumPy would add a suffix to it
                np.save(opened, record)

        atomic_write(folder / KEPT, write)


def image_intervals(study: Study, *, metric: str | None = None, draws: int = _DRAWS,
                    level: float = 0.95) -> dict[str, tuple[float, float]]:
    """Return arm -> the percentile interval of its mean difference to the baseline over drawn validation images.

    Empty for metrics that are no average precision, and for arms whose trials kept no detections.

    Raises:
        DataError: a trial's file is broken, or two trials saw different images.
    """
    name = metric or study.plan.metric
    if name not in _METRICS:
        return {}
    files = {which: study.folder_of(row.key) / FILE for which, row in study.latest.items() if row.state == "complete"}
    means: dict[tuple[str, int], Array] = {}
    seen = ""
    for which, file in files.items():
        if not file.is_file():
            continue
        images, values = drawn(file, draws)
        if images != (seen := seen or images):
            raise DataError(f"'{file}' is about other images than the study's other trials.")
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
