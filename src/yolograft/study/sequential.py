"""Group-sequential tests over joint sign flips: several looks at a growing study share one error rate.

A *look* is a number of seeds after which verdicts are given. Under the null hypothesis all sign patterns of the seeds are
equally likely, given the sizes of the differences. The patterns of an earlier look are the beginnings of those of a later
one, so the part of all patterns that would have got a verdict by each look can be counted. Each look may raise this part to
its share of the error rate (alpha spending: Lan and DeMets 1983), and not above: the family-wise error rate over all looks
and arms is exact for up to 16 seeds, for planned looks and for added seeds or arms.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from yolograft.study import statistics

__all__ = ["Look", "Reading", "intervals", "read", "spend"]

Array = NDArray[np.float64]
_POWER = 4  # of the spending function


@dataclass(frozen=True, kw_only=True)
class Look:
    """A look: the number of seeds, the arms that are tested, and the error rate that all looks up to this one may use."""

    seeds: int
    arms: tuple[str, ...]
    spent: float


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The tests of one look.

    Attributes:
        level: an arm gets a verdict if its adjusted p-value is at most this nominal level; 0 if nothing is left to spend.
        used: part of all sign patterns that gets a verdict at this look or an earlier one.
        singles: p-value of each tested arm alone.
        adjusted: its max-T p-value over the arms of this look.
        flipped: the test statistics, (arms, patterns): see `statistics.flip`.
    """

    level: float
    used: float
    singles: Array
    adjusted: Array
    flipped: Array


def spend(looks: Sequence[int], alpha: float = 0.05) -> tuple[float, ...]:
    """Return the error rate that may be used up to each of the planned looks, the last one included.

    The power family of Kim and DeMets (1987), alpha t^4, where t is the part of the last look's seeds. Like O'Brien and
    Fleming's boundaries (1979), it spends little at the early looks, so that the last one is nearly as powerful as a study
    without looks (docs/results/study-calibration.md compares both).

    >>> [round(one, 4) for one in spend([6, 8, 10, 12])]
    [0.0031, 0.0099, 0.0241, 0.05]
    """
    return tuple(alpha * (seeds / looks[-1]) ** _POWER for seeds in looks)


def read(tables: Sequence[Array], spent: Sequence[float]) -> list[Reading]:
    """Return the tests of each look.

    Args:
        tables: for each look, the differences (arms, seeds) of its arms over its seeds, without missing pairs. The seeds of
            a look start with those of the look before.
        spent: the error rate that may be used up to each look, not decreasing.
    """
    readings: list[Reading] = []
    crossed = np.zeros(1, dtype=bool)  # the patterns that got a verdict at an earlier look
    for table, budget in zip(tables, spent, strict=True):
        flipped = statistics.flip(table)
        largest = flipped.max(axis=0, initial=0.0)
        crossed = np.tile(crossed, len(largest) // len(crossed))  # pattern i continues pattern i mod 2^k of k seeds
        first = not crossed.any()
        new = _crossing(largest, crossed, budget)
        level = budget if first else float((largest >= largest[new].min() - statistics.TIE).mean()) if new.any() else 0.0
        crossed = crossed | new
        singles, adjusted = statistics.step_down(flipped)
        readings.append(Reading(level=level, used=float(crossed.mean()), singles=singles, adjusted=adjusted,
                                flipped=flipped))
    return readings


def _crossing(largest: Array, crossed: NDArray[np.bool_], budget: float) -> NDArray[np.bool_]:
    """Return the patterns that get a verdict now: those with the largest statistics, as many as the budget has left."""
    left = math.floor(budget * len(largest) + 1e-9) - int(crossed.sum())
    free = np.sort(largest[~crossed])[::-1]
    if left <= 0:
        return np.zeros_like(crossed)
    bar = free[left] + statistics.TIE if left < len(free) else -math.inf  # ties with the first that is too many stay out
    return np.asarray((largest > bar) & ~crossed)


def intervals(table: Array, flipped: Array, levels: Sequence[float]) -> list[list[tuple[float, float]]]:
    """Return for each level a simultaneous confidence interval of each arm's mean difference: the inverted max-T test.

    The interval of an arm holds every shift that the single-step test does not reject if it is subtracted from the arm's
    differences. A pattern that flips the seeds of a set is at least as extreme as the observed one, exactly if the shift
    lies between the mean of this set and the mean of the other seeds, or if another arm's statistic is as large. Both
    conditions hold on an interval around the arm's mean, so the ends are order statistics over the patterns, without a
    search.

    Args:
        table: differences (arms, seeds), without missing pairs.
        flipped: `statistics.flip(table)`.
        levels: 0.05 for 95% intervals.
    """
    n, whole = table.shape[1], flipped.shape[1]
    half = whole // 2 if 0 < n <= statistics.EXACT else whole  # each other pattern is the negative of one of these
    patterns, flipped = statistics.signs(n)[:half], flipped[:, :half]
    outs = [math.floor(level * whole + 1e-9) * half // whole for level in levels]
    kept = patterns @ table.T  # sum of the seeds that are not flipped, minus that of the flipped ones
    plus = (n + patterns.sum(axis=1)) / 2
    others = _largest_of_others(flipped)
    found: list[list[tuple[float, float]]] = [[] for _ in levels]
    for row, signed, other in zip(table, kept.T, others, strict=True):
        mean, square = float(row.mean()), np.minimum(other**2, n)
        with np.errstate(divide="ignore", invalid="ignore"):
            one, rest = (row.sum() + signed) / 2 / plus, (row.sum() - signed) / 2 / (n - plus)
            reach = np.sqrt(square / (n - square) * ((row - mean) ** 2).sum() / n)
        one[(plus == 0) | (plus == n)] = math.nan  # the observed signs: as extreme as themselves for any shift
        never = np.isnan(one) | (square > n * (1 - 1e-12))
        low = np.where(never, -math.inf, np.minimum(np.minimum(one, rest), mean - reach))
        high = np.where(never, math.inf, np.maximum(np.maximum(one, rest), mean + reach))
        for out, ends in zip(outs, found, strict=True):
            ends.append((float(np.partition(low, out)[out]), float(-np.partition(-high, out)[out]))
                        if out < half else (mean, mean))
    return found


def _largest_of_others(flipped: Array) -> Array:
    """Return for each arm and pattern the largest statistic of the other arms; 0 without other arms."""
    if len(flipped) < 2:
        return np.zeros_like(flipped)
    first = flipped.argmax(axis=0)
    second = np.partition(flipped, -2, axis=0)[-2]
    return np.where(np.arange(len(flipped))[:, None] == first, second, flipped[first, np.arange(flipped.shape[1])])
