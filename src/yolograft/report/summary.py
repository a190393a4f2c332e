"""The numbers of a report, computed once from a study. Tables and figures only render them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from yolograft.errors import DataError
from yolograft.report import network
from yolograft.report.network import Network
from yolograft.study import Study, holdout, latency
from yolograft.study.images import FILE, coco_ap, image_intervals
from yolograft.study.latency import Latency
from yolograft.study.splits import by_split
from yolograft.study.statistics import pairing_gain, seeds_needed
from yolograft.study.verdict import Verdict, Word

__all__ = ["COSTS", "SIZES", "ArmRow", "Curve", "Gap", "Spread", "Summary"]

_SHOWN = ("mAP50-95", "mAP50", "precision", "recall", "accuracy", "fitness")
_MAX_ARMS = 24  # in a figure: more cannot be distinguished
_BANDS = 6  # arms in the figure of the curves; with more, only the arms that matter have bands, because bands overlap
_SAME = 5e-7  # two accuracies that differ by less are printed as the same number
COSTS = ("parameters", "gflops", "latency_ms")
_LATENCY = "latency_ms"
SIZES = ("small", "medium", "large")


@dataclass(frozen=True)
class Spread:
    """A mean over seeds with its 95% interval."""

    mean: float
    low: float
    high: float
    runs: int


@dataclass(frozen=True)
class Curve:
    """A metric by epoch: mean and 95% interval over the seeds that reached the epoch."""

    epochs: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


@dataclass(frozen=True)
class Gap:
    """The incomplete trials of an arm: failed seeds by reason, running seeds, and seeds that have not started."""

    arm: str
    failed: Mapping[str, tuple[int, ...]]
    running: tuple[int, ...]
    waiting: tuple[int, ...]


@dataclass(frozen=True)
class ArmRow:
    """One line of the report's main table."""

    name: str
    graft: str
    control: str
    metrics: Mapping[str, Spread]
    costs: Mapping[str, float]
    failed: int
    verdict: Verdict | None  # None for the baseline


@dataclass(frozen=True)
class Summary:
    """The numbers of a study for its report."""

    study: Study
    cheaper: Study | None = None  # another study of the same arms, whose ranking is compared

    @property
    def metric(self) -> str:
        """The metric of the verdicts."""
        return self.study.plan.metric

    @property
    def baseline(self) -> str:
        """The name of the arm with which the others are compared."""
        return self.study.plan.baseline

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each arm but the baseline."""
        return {verdict.arm: verdict for verdict in self.study.verdicts()}

    @cached_property
    def test(self) -> holdout.Holdout | None:
        """The result on the held-out test split, if it was scored."""
        return holdout.read(self.study)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The plan's metric, then all other metrics of the trials."""
        given = {self.metric, *(name for by_seed in self.study.results.values() for result in by_seed.values()
                                for name in result.metrics)}
        return tuple(sorted(given, key=lambda name: (name != self.metric, _rank(name), name)))

    @cached_property
    def rows(self) -> list[ArmRow]:
        """One row for each arm: the baseline first, the controls last, the others in the order of the plan."""
        failed = Counter(arm for arm, _ in self.study.failures())
        arms = sorted(self.study.plan.arms, key=lambda arm: (arm.name != self.baseline, bool(arm.role)))
        return [ArmRow(arm.name, self.study.plan.spelled.get(arm.name, arm.graft), arm.role,
                       {metric: self._spread(scores[arm.name]) for metric, scores in self._scores.items()},
                       self._costs(arm.name), failed[arm.name], self.verdicts.get(arm.name)) for arm in arms]

    @cached_property
    def _scores(self) -> dict[str, dict[str, dict[int, float]]]:
        return {metric: self.study.scores(metric) for metric in self.metrics}

    def _costs(self, arm: str) -> dict[str, float]:
        results = list(self.study.results[arm].values())
        names = dict.fromkeys(name for result in results for name in result.costs if name != _LATENCY)
        costs = {name: float(np.mean([one.costs[name] for one in results if name in one.costs])) for name in names}
        timed = self.latency.of(arm) if self.latency is not None else None
        return costs if timed is None else {**costs, _LATENCY: timed.median}

    @cached_property
    def latency(self) -> Latency | None:
        """The latencies of the networks, measured once in turns; None if they were not measured."""
        return latency.read(self.study.folder)

    @property
    def has_old_latency(self) -> bool:
        """Whether the trials measured their own latency, as version 0.1.0 did, while others trained. It is not reported."""
        return any(_LATENCY in one.costs for by_seed in self.study.results.values() for one in by_seed.values())

    @cached_property
    def places(self) -> dict[str, int]:
        """Arm -> index of its row. Figures choose colours by it."""
        return {row.name: place for place, row in enumerate(self.rows)}

    @cached_property
    def controls(self) -> dict[str, str]:
        """Arm -> name of the control that it is; empty if it is none."""
        return {arm.name: arm.role for arm in self.study.plan.arms}

    @cached_property
    def shown(self) -> list[str]:
        """The arms in figures: all, or, if there are too many, the baseline and the arms with the smallest p."""
        if len(self.rows) <= _MAX_ARMS:
            return list(self.places)
        ranked = sorted(self.verdicts.values(),
                        key=lambda verdict: (verdict.seeds == 0, verdict.p_adjusted, -abs(verdict.mean)))
        names = {self.baseline, *(verdict.arm for verdict in ranked[:_MAX_ARMS - 1])}
        return [name for name in self.places if name in names]

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Arm -> the plan's metric by epoch, for the arms in figures."""
        return {arm: self._curve(runs) for arm, runs in self._runs.items()}

    @cached_property
    def curve_differences(self) -> dict[str, Curve]:
        """Arm -> paired difference to the baseline by epoch."""
        base, found = self._runs.get(self.baseline, {}), {}
        for arm, runs in self._runs.items():
            pairs = {seed: {epoch: value - base[seed][epoch] for epoch, value in run.items() if epoch in base[seed]}
                     for seed, run in runs.items() if seed in base}
            if arm != self.baseline and any(pairs.values()):
                found[arm] = self._curve(pairs)
        return found

    def _curve(self, runs: Mapping[int, Mapping[int, float]]) -> Curve:
        """Summarise runs: seed -> epoch -> value."""
        epochs = sorted({epoch for run in runs.values() for epoch in run})
        table = np.array([[run.get(epoch, math.nan) for epoch in epochs] for run in runs.values()])
        means, reach = self._bands(table.reshape(len(runs), len(epochs)), list(runs))
        return Curve(tuple(epochs), tuple(means.tolist()), tuple((means - reach).tolist()), tuple((means + reach).tolist()))

    def _spread(self, values: Mapping[int, float]) -> Spread:
        """Summarise the values of several seeds."""
        if not values:
            return Spread(math.nan, -math.inf, math.inf, 0)
        (mean,), (reach,) = self._bands(np.array(list(values.values()))[:, None], list(values))
        return Spread(float(mean), float(mean - reach), float(mean + reach), len(values))

    def _bands(self, table: NDArray[np.float64], seeds: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return mean and half width of the 95% interval of each column of a table (runs, values) of these seeds.

        With splits it is the interval of the corrected resampled t-test, like that of the verdicts (see `study.splits`).
        """
        plan = self.study.plan
        if plan.splits is None:
            return _bands(table)
        return _bands(by_split(table, [plan.seeds.index(seed) for seed in seeds], plan.splits), plan.splits.ratio)

    @cached_property
    def _runs(self) -> dict[str, dict[int, Mapping[int, float]]]:
        """Arm -> seed -> epoch -> the plan's metric, of complete trials."""
        found: dict[str, dict[int, Mapping[int, float]]] = {arm: {} for arm in self.shown}
        for (arm, seed), run in self.study.curves.items():
            if arm in found and run:
                found[arm][seed] = run
        return {arm: runs for arm, runs in found.items() if runs}

    @property
    def banded(self) -> list[str]:
        """The arms whose curves have bands."""
        return [arm for arm in self.curves if len(self.curves) <= _BANDS or arm == self.baseline
                or self.verdicts[arm].word in (Word.HELPS, Word.HURTS)]

    @cached_property
    def floor(self) -> tuple[float, float] | None:
        """The band of the copies of the baseline in the figure of the differences; None without one."""
        found = [self.verdicts[arm].interval for arm in self.shown if self.controls[arm] == "aa" and arm in self.verdicts]
        found = [(low, high) for low, high in found if math.isfinite(low) and math.isfinite(high)]
        return (min(low for low, _ in found), max(high for _, high in found)) if found else None

    @cached_property
    def gaps(self) -> list[Gap]:
        """The incomplete trials of each arm that has some."""
        found = []
        for name in self.places:
            failed: dict[str, tuple[int, ...]] = {}
            others: dict[str, list[int]] = {"running": [], "waiting": []}
            for seed in self.study.plan.seeds[:self.study.needed]:
                row = self.study.latest.get((name, seed))
                if row is not None and row.state == "failed" and row.reason:
                    failed[row.reason] = (*failed.get(row.reason, ()), seed)
                elif row is None or row.state != "complete":
                    others["running" if row is not None and row.state == "running" else "waiting"].append(seed)
            if failed or others["running"] or others["waiting"]:
                found.append(Gap(name, failed, tuple(others["running"]), tuple(others["waiting"])))
        return found

    @property
    def done(self) -> int:
        """Number of trials with a result."""
        return sum(len(by_seed) for by_seed in self.study.results.values())

    @property
    def planned(self) -> int:
        """Number of trials in the plan, without those that an early look has made needless."""
        return self.study.needed * len(self.study.plan.arms)

    @cached_property
    def class_metric(self) -> str | None:
        """The per-class metric of the heat map: that of the plan's metric, else another one, or None."""
        given = {name for by_seed in self.study.results.values() for one in by_seed.values() for name in one.classes}
        wanted = self.metric.replace("mAP", "AP")
        return wanted if wanted in given else min(given, default=None)

    @cached_property
    def classes(self) -> dict[str, dict[str, Spread]]:
        """Arm -> class -> average precision for the baseline, and its paired difference for the others."""
        metric = self.class_metric
        if metric is None:
            return {}
        return self._paired({arm: {seed: one.classes.get(metric, {}) for seed, one in by_seed.items()}
                             for arm, by_seed in self.study.results.items()})

    @cached_property
    def sizes(self) -> dict[str, dict[str, Spread]]:
        """Arm -> size of the objects -> AP for the baseline, and its paired difference for the others; may be empty."""
        found = self._paired({arm: {seed: {size: one.sizes[size] for size in SIZES if size in one.sizes}
                                    for seed, one in by_seed.items()} for arm, by_seed in self.study.results.items()})
        return {arm: by_size for arm, by_size in found.items() if by_size}

    @property
    def objects(self) -> Mapping[str, int]:
        """Size -> number of objects in the validation images."""
        return next((one.objects for by_seed in self.study.results.values() for one in by_seed.values() if one.objects), {})

    def _paired(self, values: Mapping[str, Mapping[int, Mapping[str, float]]]) -> dict[str, dict[str, Spread]]:
        """Summarise arm -> seed -> name -> value: the baseline's values, and the paired differences of the others."""
        base = values.get(self.baseline, {})
        names = list(dict.fromkeys(name for by_seed in values.values() for one in by_seed.values() for name in one))
        found: dict[str, dict[str, Spread]] = {}
        for arm in self.places:
            seeds = [seed for seed in values[arm] if seed in base]
            table = np.array([[values[arm][seed].get(name, math.nan)
                               - (0.0 if arm == self.baseline else base[seed].get(name, math.nan)) for name in names]
                              for seed in seeds])
            if table.size and not np.isnan(table).all():
                means, reach = self._bands(table, seeds)
                runs = (~np.isnan(table)).sum(axis=0)
                found[arm] = {name: Spread(float(mean), float(mean - wide), float(mean + wide), int(count))
                              for name, mean, wide, count in zip(names, means, reach, runs, strict=True)}
        return found

    @cached_property
    def drawn_costs(self) -> list[str]:
        """The costs that differ between arms, so that accuracy can be drawn against them."""
        rows = [row for row in self.rows if row.name in self.shown and row.metrics[self.metric].runs]
        return [cost for cost in COSTS if len({row.costs[cost] for row in rows if cost in row.costs}) > 1]

    def front(self, cost: str) -> list[str]:
        """Return the Pareto front of accuracy and cost, cheapest arm first.

        Empty if all arms cost the same or are equally accurate, or if one arm is the best in both: then there is no front.
        """
        known = sorted((row.costs[cost], -row.metrics[self.metric].mean, row.name) for row in self.rows
                       if cost in row.costs and row.metrics[self.metric].runs)
        front: list[str] = []
        best = math.inf
        for _, negative, name in known:
            if negative < best - _SAME:
                front.append(name)
                best = negative
        return front if len(front) > 1 else []

    def seeds_for(self, effect: float) -> int | None:
        """Return the number of seeds that detects a difference of `effect`, for the arms' largest standard deviation."""
        spreads = [verdict.spread for verdict in self.verdicts.values() if verdict.seeds > 1]
        worst = max(spreads, default=math.nan)
        if self.study.plan.splits is not None:  # more seeds alone do not make the variance of the splits smaller
            return None
        return None if math.isnan(worst) or worst < _SAME else seeds_needed(effect, worst, arms=len(self.verdicts))

    @cached_property
    def pairing(self) -> dict[str, float]:
        """Arm -> variance of its difference to the baseline without pairing, divided by that with pairing."""
        scores = self._scores[self.metric]
        base = scores.get(self.baseline, {})
        found = {}
        for arm, verdict in self.verdicts.items():
            shared = [seed for seed in verdict.differences if seed in base]
            if len(shared) > 2:
                found[arm] = pairing_gain([scores[arm][s] for s in shared], [base[s] for s in shared])
        return found

    @cached_property
    def over_images(self) -> dict[str, tuple[float, float]]:
        """Arm -> 95% bootstrap interval of its mean difference over validation images; empty if they cannot be read."""
        try:
            return image_intervals(self.study)
        except DataError:  # `gallery` reports the error in the section of the images
            return {}

    @cached_property
    def coco(self) -> dict[str, Spread]:
        """Arm -> mAP50-95 by COCO's rule, of the trials with stored detections; empty if these cannot be read."""
        found: dict[str, dict[int, float]] = {}
        try:
            for (arm, seed), row in self.study.latest.items():
                file = self.study.folder_of(row.key) / FILE
                if row.state == "complete" and file.is_file():
                    found.setdefault(arm, {})[seed] = float(coco_ap(file).mean())
        except DataError:  # `gallery` reports the error in the section of the images
            return {}
        return {arm: self._spread(values) for arm, values in found.items()}

    @cached_property
    def network(self) -> Network:
        """The model's rows, and the rows with blocks of each arm."""
        return network.of(self.study)

    @property
    def headline(self) -> dict[Word, list[str]]:
        """Verdict -> arms, without the controls."""
        arms = {row.name for row in self.rows if not row.control}
        return {word: [arm for arm, verdict in self.verdicts.items() if verdict.word is word and arm in arms]
                for word in Word}


def _rank(metric: str) -> int:
    return _SHOWN.index(metric) if metric in _SHOWN else len(_SHOWN)


def _bands(table: NDArray[np.float64], ratio: float = 0.0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return mean and half width of Student's 95% interval of each column, over the rows that have a value.

    Args:
        table: (runs or splits, values).
        ratio: n_val / n_train of splits that share images, 0 for independent rows.
    """
    counts = (~np.isnan(table)).sum(axis=0)
    filled = np.nan_to_num(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = filled.sum(axis=0) / counts
        squares = np.where(np.isnan(table), 0.0, filled - means) ** 2
        factors = {n: float(stats.t.ppf(0.975, n - 1)) if n > 1 else math.inf for n in set(counts.tolist())}
        spreads = np.sqrt(squares.sum(axis=0) / np.maximum(counts - 1, 1) * (1 / counts + ratio))
        reach = np.array([factors[n] for n in counts.tolist()]) * np.where(counts > 1, spreads, 1.0)
    return means, reach
