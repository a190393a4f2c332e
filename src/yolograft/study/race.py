"""Racing: which arms need no further seeds, because they cannot, or can hardly, come out as helpful any more.

An arm is stopped for one of two reasons, looked at after each seed:

1. *It cannot win.* Whatever the seeds to come show, its p-value after the last one is at least
   2 c / 2^n, where n is the number of planned seeds and c counts the sign patterns of its differences so far
   whose sum is no smaller than the observed one: all of them stay as extreme if every further difference is
   large and positive, each with its mirror image. Where these best cases, corrected by Holm over all arms,
   are above alpha for an arm, it cannot be said to help. This is curtailed sampling, and costs nothing: no
   verdict "helps" is lost. (Halperin et al. 1982 and Lan, Simon and Halperin 1982 on stopping when the end
   is decided.)
2. *It can hardly win.* The upper bound of its mean difference is below zero: Student's one-sided bound at a
   risk shared evenly over the looks (Bonferroni), as in Maron and Moore's races (1994) with a bound for means
   of near-normal differences instead of Hoeffding's. An arm whose true effect is at least zero is stopped so
   with probability `risk` at most.

What stopping does to the error rates is `verdict`'s business: arms that were stopped early would make the joint
max-T distribution too narrow, so a study that raced is judged by Holm's correction, over all arms it planned.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from yolograft.study import statistics

__all__ = ["differences", "seeds_to_race", "stopped"]

_FIRST = 3  # seeds before an arm is stopped by the bound, which needs a spread
_RISK = 0.05  # how often an arm that helps at all may be stopped by it, over all looks together


def seeds_to_race(arms: int, alpha: float = 0.05) -> int:
    """Return the number of seeds below which no arm of a race can be said to help: Holm's first step must be in reach.

    >>> [seeds_to_race(arms) for arms in (1, 3, 10)]
    [6, 7, 9]
    """
    return statistics.seeds_to_resolve(alpha / max(1, arms))


def stopped(scores: Mapping[str, Mapping[int, float]], baseline: str, seeds: Sequence[int], *,
            alpha: float = 0.05, risk: float = _RISK) -> dict[str, int]:
    """Return the arms to stop, with the number of pairs after which each was.

    Args:
        scores: arm -> seed -> the metric (higher is better), as far as they are known.
        baseline: the arm that the others are compared with.
        seeds: all that were planned, in the order in which they are run.
        alpha: the error rate of the study's verdicts.
        risk: how often an arm that helps at all may be stopped by the second rule.
    """
    arms = [arm for arm in scores if arm != baseline]
    rows = [row[~np.isnan(row)] for row in differences(scores, baseline, arms, seeds)]
    out: dict[int, int] = {}
    for look in range(min(len(seeds) - 1, max(map(len, rows), default=0)) + 1):
        best = [1.0 if at in out else _best_case(row[:look], len(seeds)) for at, row in enumerate(rows)]
        hopeless = statistics.holm(best) > alpha
        for at, row in enumerate(rows):
            if at not in out and len(row) >= look and (hopeless[at] or _is_below(row[:look], len(seeds), risk)):
                out[at] = look
    return {arms[at]: look for at, look in out.items()}


def _best_case(values: NDArray[np.float64], planned: int) -> float:
    """Return a bound below which the sign-flip p-value of all planned seeds cannot be, given the first ones."""
    if planned > statistics.EXACT:  # whose final p-value is itself sampled
        return 0.0
    return 2.0 * statistics.as_large(values) / 2.0**planned


def _is_below(values: NDArray[np.float64], planned: int, risk: float) -> bool:
    n = len(values)
    if n < _FIRST or not risk or not values.any():
        return False
    looks = max(1, planned - _FIRST)  # after the last seed there is nothing to save
    reach = stats.t.ppf(1 - risk / looks, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return bool(values.mean() + reach < 0)


def differences(scores: Mapping[str, Mapping[int, float]], baseline: str, arms: Sequence[str],
                seeds: Sequence[int]) -> NDArray[np.float64]:
    """Return arms x seeds: arm minus baseline, NaN where either was not run."""
    base, nan = scores.get(baseline, {}), float("nan")
    rows = [[scores[arm].get(seed, nan) - base.get(seed, nan) for seed in seeds] for arm in arms]
    return np.asarray(rows, dtype=np.float64).reshape(len(arms), len(seeds))
