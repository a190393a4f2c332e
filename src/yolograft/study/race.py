"""Racing: which arms need no further seeds, because they can hardly come out as helpful any more.

An arm is stopped only for futility, never for success, so stopping makes no false "helps" more likely: the
final test counts a stopped arm with the seeds that it has, among all the arms that were planned.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from scipy import stats

from yolograft.study.verdict import differences

__all__ = ["stopped"]

_FIRST = 3  # seeds before anybody is stopped
_RISK = 0.05  # how often an arm that helps at all may be stopped, over all looks together


def stopped(scores: Mapping[str, Mapping[int, float]], baseline: str, seeds: int, *,
            risk: float = _RISK) -> dict[str, int]:
    """Return the arms to stop, with the number of pairs after which each was.

    After each complete seed from the third on, an arm is stopped when the upper bound of its mean paired
    difference is below zero: Student's one-sided bound at level `risk` shared evenly over the looks
    (Bonferroni), as in Maron and Moore's races (1994) with a bound for means of near-normal differences
    instead of Hoeffding's. An arm whose true effect is at least zero is stopped with probability `risk` at
    most.
    """
    arms = [arm for arm in scores if arm != baseline]
    table = differences(scores, baseline, arms, sorted(scores.get(baseline, {})))
    looks = max(1, seeds - _FIRST)  # after the last seed there is nothing to save
    out: dict[str, int] = {}
    for arm, row in zip(arms, table, strict=True):
        values = row[~np.isnan(row)]
        for n in range(_FIRST, min(len(values), seeds - 1) + 1):
            seen = values[:n]
            reach = stats.t.ppf(1 - risk / looks, n - 1) * seen.std(ddof=1) / np.sqrt(n)
            if seen.mean() + reach < 0:
                out[arm] = n
                break
    return out
