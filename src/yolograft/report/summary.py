"""The numbers that a report shows, computed once from a study: what tables and figures then only render."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from yolograft.study import Study
from yolograft.study.statistics import pairing_gain, seeds_needed, t_interval
from yolograft.study.verdict import Verdict, Word

__all__ = ["ArmRow", "Curve", "Spread", "Summary"]

_SHOWN = ("mAP50-95", "mAP50", "precision", "recall", "accuracy", "fitness")
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
    """A metric by epoch: mean and 95% interval over the seeds that reached it."""

    epochs: tuple[int, ...]
    means: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]


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
    def metrics(self) -> tuple[str, ...]:
        """The plan's metric, and then whatever else any trial gave."""
        given = {self.metric, *(name for by_seed in self.study.results.values() for result in by_seed.values()
                                for name in result.metrics)}
        return tuple(sorted(given, key=lambda name: (name != self.metric, _rank(name), name)))

    @cached_property
    def rows(self) -> list[ArmRow]:
        """One row for each arm: the baseline first, then the others as planned."""
        failed = [arm for arm, _ in self.study.failures()]
        arms = sorted(self.study.plan.arms, key=lambda arm: arm.name != self.baseline)
        return [ArmRow(arm.name, self.study.plan.spelled.get(arm.name, arm.graft), arm.control,
                       {metric: self._spread(arm.name, metric) for metric in self.metrics},
                       self._costs(arm.name), failed.count(arm.name), self.verdicts.get(arm.name)) for arm in arms]

    def _spread(self, arm: str, metric: str) -> Spread:
        return Spread.of(list(self.study.scores(metric)[arm].values()))

    def _costs(self, arm: str) -> dict[str, float]:
        results = list(self.study.results[arm].values())
        names = dict.fromkeys(name for result in results for name in result.costs)
        return {name: float(np.mean([one.costs[name] for one in results if name in one.costs])) for name in names}

    @cached_property
    def curves(self) -> dict[str, Curve]:
        """Arm -> the plan's metric by epoch."""
        found = {}
        for arm in self.study.plan.arms:
            by_epoch: dict[int, list[float]] = {}
            for (name, _), row in self.study.latest.items():
                for point in row.curve if name == arm.name and row.state == "complete" else ():
                    if self.metric in point:
                        by_epoch.setdefault(int(point["epoch"]), []).append(point[self.metric])
            if by_epoch:
                spreads = [Spread.of(by_epoch[epoch]) for epoch in sorted(by_epoch)]
                found[arm.name] = Curve(tuple(sorted(by_epoch)), tuple(one.mean for one in spreads),
                                        tuple(one.low for one in spreads), tuple(one.high for one in spreads))
        return found

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
        for arm, by_seed in values.items():
            found[arm] = {}
            for name in names:
                reference = {seed: 0.0 if arm == self.baseline else base.get(seed, {}).get(name, math.nan)
                             for seed in by_seed}
                raw = [one.get(name, math.nan) - reference[seed] for seed, one in by_seed.items()]
                found[arm][name] = Spread.of([value for value in raw if not math.isnan(value)])
        return {arm: spreads for arm, spreads in found.items() if any(one.runs for one in spreads.values())}

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
        scores = self.study.scores()
        base = scores.get(self.baseline, {})
        found = {}
        for arm, verdict in self.verdicts.items():
            shared = [seed for seed in verdict.differences if seed in base]
            if len(shared) > 2:
                found[arm] = pairing_gain([scores[arm][s] for s in shared], [base[s] for s in shared])
        return found

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
