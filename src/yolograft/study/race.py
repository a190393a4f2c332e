"""Racing: early stopping of arms that cannot, or can hardly, get the verdict "helps".

After each seed an arm is stopped for one of two reasons:

1. *It cannot win* (curtailed sampling: Halperin et al. 1982; Lan, Simon and Halperin 1982). The p-value after the last
   seed has the lower bound 2 c / 2^n. Here n is the number of planned seeds, and c is the number of sign patterns of the
   differences so far whose sum is at least as large as the observed sum. The bound is reached if every later difference
   is large and positive. An arm is stopped if its bound, corrected by Holm over all arms, is above alpha. No verdict
   "helps" is lost by this rule.
2. *It can hardly win.* The one-sided upper confidence bound of the mean difference is below zero. The risk is divided
   evenly over the interim looks (Bonferroni), as in the races of Maron and Moore (1994), with Student's t bound instead
   of Hoeffding's. An arm with a true effect of at least zero is stopped by this rule with probability `risk` at most.

`verdict` takes the stopping into account: the joint max-T distribution of arms that were stopped early would be too narrow,
so the verdicts of a race use Holm's correction over all planned arms.
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
    """Return the smallest number of seeds with which an arm of a race can be significant after Holm's correction.

    >>> [seeds_to_race(arms) for arms in (1, 3, 10)]
    [6, 7, 9]
    """
    return statistics.seeds_to_resolve(alpha / max(1, arms))


def stopped(scores: Mapping[str, Mapping[int, float]], baseline: str, seeds: Sequence[int], *,
            alpha: float = 0.05, risk: float = _RISK) -> dict[str, int]:
    """Return the arms to stop, each with the number of pairs after which it is stopped.

    Args:
        scores: arm -> seed -> the metric (higher is better) of the finished runs.
        baseline: the arm that the others are compared with.
        seeds: all planned seeds, in the order in which they are run.
        alpha: family-wise error rate of the study.
        risk: largest probability that the second rule stops an arm whose true effect is not negative.
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
    """Return a lower bound of the sign-flip p-value over all planned seeds, given the differences of the first seeds."""
    if planned > statistics.EXACT:  # the final p-value is itself estimated from a sample
        return 0.0
    return 2.0 * statistics.as_large(values) / 2.0**planned


def _is_below(values: NDArray[np.float64], planned: int, risk: float) -> bool:
    n = len(values)
    if n < _FIRST or not risk or not values.any():
        return False
    looks = max(1, planned - _FIRST)  # after the last seed there is nothing left to stop
    reach = stats.t.ppf(1 - risk / looks, n - 1) * values.std(ddof=1) / np.sqrt(n)
    return bool(values.mean() + reach < 0)


def differences(scores: Mapping[str, Mapping[int, float]], baseline: str, arms: Sequence[str],
                seeds: Sequence[int]) -> NDArray[np.float64]:
    """Return an (arms, seeds) table of arm minus baseline; NaN if one run of the pair is missing."""
    base, nan = scores.get(baseline, {}), float("nan")
    rows = [[scores[arm].get(seed, nan) - base.get(seed, nan) for seed in seeds] for arm in arms]
    return np.asarray(rows, dtype=np.float64).reshape(len(arms), len(seeds))
