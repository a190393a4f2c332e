"""The numbers that a report shows, computed once from a study: what tables and figures then only render."""

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
from yolograft.study import Study, holdout
from yolograft.study.images import image_intervals
from yolograft.study.statistics import pairing_gain, seeds_needed, t_interval
from yolograft.study.verdict import Verdict, Word

__all__ = ["COSTS", "ArmRow", "Curve", "Gap", "Spread", "Summary"]

_SHOWN = ("mAP50-95", "mAP50", "precision", "recall", "accuracy", "fitness")
_MOST = 24  # arms that a figure can show and a reader tell apart
COSTS = ("parameters", "gflops", "latency_ms")


@dataclass(frozen=True)
class Spread:
    """A mean over seeds with its 95% interval."""

    mean: float
    low: float
    high: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Summarise the values of several seeds."""
        return cls(float(np.mean(values)) if values else math.nan, *t_interval(values), len(values))


@dataclass(frozen=True)
class Curve:
    """A number by epoch: mean and 95% interval over the seeds that reached it."""

    epochs: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]

    @classmethod
    def of(cls, runs: Sequence[Mapping[int, float]]) -> Curve:
        """Summarise several runs, each epoch -> number."""
        epochs = sorted({epoch for run in runs for epoch in run})
        table = np.array([[run.get(epoch, math.nan) for epoch in epochs] for run in runs]).reshape(len(runs), len(epochs))
        means, reach = _bands(table)
        return cls(tuple(epochs), tuple(means.tolist()), tuple((means - reach).tolist()), tuple((means + reach).tolist()))


@dataclass(frozen=True)
class Gap:
    """What an arm lacks: the seeds that failed, by their reason, and those that have not ended."""

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
    """A study's numbers, as the report shows them."""

    study: Study
    cheaper: Study | None = None  # of the same arms, which this one tells how far to believe

    @property
    def metric(self) -> str:
        """The metric that the verdicts are about."""
        return self.study.plan.metric

    @property
    def baseline(self) -> str:
        """The name of the arm that the others are compared with."""
        return self.study.plan.baseline

    @cached_property
    def verdicts(self) -> dict[str, Verdict]:
        """The verdict on each arm but the baseline."""
        return {verdict.arm: verdict for verdict in self.study.verdicts()}

    @cached_property
    def test(self) -> holdout.Holdout | None:
        """What the held-out test split said, if it was scored."""
        return holdout.read(self.study)

    @cached_property
    def metrics(self) -> tuple[str, ...]:
        """The plan's metric, and then whatever else any trial gave."""
        given = {self.metric, *(name for by_seed in self.study.results.values() for result in by_seed.values()
                                for name in result.metrics)}
        return tuple(sorted(given, key=lambda name: (name != self.metric, _rank(name), name)))

    @cached_property
    def rows(self) -> list[ArmRow]:
        """One row for each arm: the baseline first, the controls last, the others as planned."""
        failed = Counter(arm for arm, _ in self.study.failures())
        arms = sorted(self.study.plan.arms, key=lambda arm: (arm.name != self.baseline, bool(arm.role)))
        return [ArmRow(arm.name, self.study.plan.spelled.get(arm.name, arm.graft), arm.role,
                       {metric: Spread.of(list(scores[arm.name].values())) for metric, scores in self._scores.items()},
                       self._costs(arm.name), failed[arm.name], self.verdicts.get(arm.name)) for arm in arms]

    @cached_property
    def _scores(self) -> dict[str, dict[str, dict[int, float]]]:
        return {metric: self.study.scores(metric) for metric in self.metrics}

    def _costs(self, arm: str) -> dict[str, float]:
        results = list(self.study.results[arm].values())
        names = dict.fromkeys(name for result in results for name in result.costs)
        return {name: float(np.mean([one.costs[name] for one in results if name in one.costs])) for name in names}

    @cached_property
    def places(self) -> dict[str, int]:
        """Arm -> its place among the rows, by which figures choose its colour."""
        return {row.name: place for place, row in enumerate(self.rows)}

    @cached_property
    def shown(self) -> list[str]:
        """The arms that figures show: all, or, where they are too many, the baseline and the clearest."""
        if len(self.rows) <= _MOST:
            return list(self.places)
        clearest = sorted(self.verdicts.values(), key=lambda one: (one.seeds == 0, one.p_adjusted, -abs(one.mean)))
        kept = {self.baseline, *(verdict.arm for verdict in clearest[:_MOST - 1])}
        return [name for name in self.places if name in kept]

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Arm -> the plan's metric by epoch, for the arms that figures show."""
        return {arm: Curve.of(list(runs.values())) for arm, runs in self._runs.items()}

    @cached_property
    def curve_differences(self) -> dict[str, Curve]:
        """Arm -> its paired difference to the baseline by epoch."""
        base, found = self._runs.get(self.baseline, {}), {}
        for arm, runs in self._runs.items():
            pairs = [{epoch: value - base[seed][epoch] for epoch, value in run.items() if epoch in base[seed]}
                     for seed, run in runs.items() if seed in base]
            if arm != self.baseline and any(pairs):
                found[arm] = Curve.of(pairs)
        return found

    @cached_property
    def _runs(self) -> dict[str, dict[int, Mapping[int, float]]]:
        """Arm -> seed -> epoch -> the plan's metric, of complete trials."""
        found: dict[str, dict[int, Mapping[int, float]]] = {arm: {} for arm in self.shown}
        for (arm, seed), run in self.study.curves.items():
            if arm in found and run:
                found[arm][seed] = run
        return {arm: runs for arm, runs in found.items() if runs}

    @cached_property
    def gaps(self) -> list[Gap]:
        """What is missing of the plan, arm by arm."""
        found = []
        for name in self.places:
            failed: dict[str, tuple[int, ...]] = {}
            others: dict[str, list[int]] = {"running": [], "waiting": []}
            for seed in self.study.plan.seeds:
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
        """How many trials have a result."""
        return sum(len(by_seed) for by_seed in self.study.results.values())

    @property
    def planned(self) -> int:
        """How many trials the plan asks for."""
        return len(self.study.plan.arms) * len(self.study.plan.seeds)

    @cached_property
    def class_metric(self) -> str | None:
        """The per-class metric that the heat map shows: the one closest to the plan's, or None."""
        given = {name for by_seed in self.study.results.values() for one in by_seed.values() for name in one.classes}
        wanted = self.metric.replace("mAP", "AP")
        return wanted if wanted in given else min(given, default=None)

    @cached_property
    def classes(self) -> dict[str, dict[str, Spread]]:
        """Arm -> class -> average precision for the baseline, and its paired difference for the others."""
        metric = self.class_metric
        if metric is None:
            return {}
        values = {arm: {seed: one.classes.get(metric, {}) for seed, one in by_seed.items()}
                  for arm, by_seed in self.study.results.items()}
        base = values.get(self.baseline, {})
        names = list(dict.fromkeys(name for by_seed in values.values() for one in by_seed.values() for name in one))
        found: dict[str, dict[str, Spread]] = {}
        for arm in self.places:
            table = np.array([[one.get(name, math.nan) - (0.0 if arm == self.baseline else base[seed].get(name, math.nan))
                               for name in names] for seed, one in values[arm].items() if seed in base])
            if table.size and not np.isnan(table).all():
                means, reach = _bands(table)
                runs = (~np.isnan(table)).sum(axis=0)
                found[arm] = {name: Spread(float(mean), float(mean - wide), float(mean + wide), int(count))
                              for name, mean, wide, count in zip(names, means, reach, runs, strict=True)}
        return found

    def front(self, cost: str) -> list[str]:
        """Return the arms that no other beats in both accuracy and cost: the Pareto front, cheapest first."""
        known = sorted((row.costs[cost], -row.metrics[self.metric].mean, row.name) for row in self.rows
                       if cost in row.costs and row.metrics[self.metric].runs)
        front: list[str] = []
        best = math.inf
        for _, negative, name in known:
            if negative < best:
                front.append(name)
                best = negative
        return front

    def seeds_for(self, effect: float) -> int | None:
        """Return how many seeds would find a difference of `effect`, by the widest spread seen."""
        spreads = [verdict.spread for verdict in self.verdicts.values() if verdict.seeds > 1]
        worst = max(spreads, default=math.nan)
        return None if math.isnan(worst) else seeds_needed(effect, worst, arms=len(self.verdicts))

    @cached_property
    def pairing(self) -> dict[str, float]:
        """Arm -> how many times smaller pairing makes the variance of its difference to the baseline."""
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
        """Arm -> the 95% interval of its mean difference over drawn validation images; empty if they cannot be read."""
        try:
            return image_intervals(self.study)
        except DataError:  # `gallery` says what is wrong with the file, where the page would show its pictures
            return {}

    @cached_property
    def network(self) -> Network:
        """The model's rows and where each arm's blocks are."""
        return network.of(self.study)

    @property
    def headline(self) -> dict[Word, list[str]]:
        """The arms by what may be said of them, without the controls that nobody would ship."""
        arms = {row.name for row in self.rows if not row.control}
        return {word: [arm for arm, verdict in self.verdicts.items() if verdict.word is word and arm in arms]
                for word in Word}

    def total(self, cost: str) -> float:
        """Return a cost summed over all finished trials."""
        return sum(result.costs.get(cost, 0.0) for by_seed in self.study.results.values()
                   for result in by_seed.values())


def _rank(metric: str) -> int:
    return _SHOWN.index(metric) if metric in _SHOWN else len(_SHOWN)


def _bands(table: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return each column's mean over the runs that have it, and how far its 95% interval reaches (`t_interval`)."""
    counts = (~np.isnan(table)).sum(axis=0)
    filled = np.nan_to_num(table)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = filled.sum(axis=0) / counts
        squares = np.where(np.isnan(table), 0.0, filled - means) ** 2
        factors = {n: float(stats.t.ppf(0.975, n - 1)) if n > 1 else math.inf for n in set(counts.tolist())}
        spreads = np.sqrt(squares.sum(axis=0) / np.maximum(counts - 1, 1) / counts)
        reach = np.array([factors[n] for n in counts.tolist()]) * np.where(counts > 1, spreads, 1.0)
    return means, reach
