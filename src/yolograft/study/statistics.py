"""What may be said of paired runs: tests, intervals, corrections and power. Numbers in, numbers out.

An arm's *differences* are arm minus baseline, one number per seed; in a table of differences each row is an
arm, each column a seed, and NaN marks a pair that was not run. docs/study.md names each method's source.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

__all__ = [
    "EXACT",
    "as_large",
    "bca_interval",
    "detectable",
    "holm",
    "improvement",
    "max_t",
    "pairing_gain",
    "rank_correlation",
    "seeds_needed",
    "seeds_to_resolve",
    "sign_flip",
    "sign_flips",
    "smallest_p",
    "t_interval",
]

Array = NDArray[np.float64]
EXACT = 16  # seeds up to which each of the 2^n sign patterns is visited; beyond, a fixed sample of as many
_SIMULATED = 10  # seeds up to which power is simulated
_TIE = 1e-9  # so close, in root sums of squares, two patterns tie in real arithmetic, and must in floating point


def smallest_p(seeds: int) -> float:
    """Return the smallest two-sided p-value that a sign-flip test of so many seeds can reach: 2 / 2^n.

    >>> smallest_p(3), smallest_p(6)
    (0.25, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - seeds))


def seeds_to_resolve(alpha: float = 0.05) -> int:
    """Return the number of seeds below which no result whatever is significant at `alpha`.

    >>> seeds_to_resolve(0.05)
    6
    """
    return max(1, math.ceil(1 - math.log2(alpha) - 1e-12))


@lru_cache(maxsize=8)
def _signs(n: int) -> Array:
    """Return patterns x n signs whose first row is all ones: all 2^n, or a fixed sample of 2^16 of them."""
    if n <= EXACT:
        bits = np.arange(2**n)[:, None] >> np.arange(n)[None, :] & 1
        return np.asarray(1.0 - 2.0 * bits, dtype=np.float64)
    # that the observed pattern belongs to it keeps a sampled p-value valid (Phipson and Smyth 2010)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], size=(2**EXACT, n))
    signs[0] = 1.0
    return signs


def _statistics(table: Array) -> Array:
    """Return arms x patterns: |sum of flipped differences| over their root sum of squares.

    It grows with Student's t of the same differences, so both order the patterns alike.
    """
    filled = np.nan_to_num(table, nan=0.0)
    scale = np.sqrt((filled**2).sum(axis=1))
    unit = np.divide(filled, scale[:, None], out=np.zeros_like(filled), where=scale[:, None] > 0)
    flipped = _signs(table.shape[1]) @ unit.T
    return np.ascontiguousarray(np.abs(flipped, out=flipped).T)


def _table(differences: ArrayLike) -> Array:
    table = np.atleast_2d(np.asarray(differences, dtype=np.float64))
    if np.isinf(table).any():
        raise ValueError("A difference between two runs must be finite.")
    return table


def _finite(differences: ArrayLike) -> Array:
    row = _table(differences)[0]
    return row[~np.isnan(row)]


def sign_flip(differences: ArrayLike) -> float:
    """Return the two-sided p-value of differences symmetric about 0 (Fisher 1935): exact up to 16 seeds.

    >>> sign_flip([0.01, 0.02, 0.01, 0.03, 0.02, 0.01])
    0.03125
    """
    return float(sign_flips(_finite(differences)[None, :])[0][0])


def as_large(differences: ArrayLike) -> int:
    """Return how many sign patterns of these differences have a sum at least as large as they have themselves.

    >>> as_large([0.02, 0.01, 0.03]), as_large([0.02, -0.01, 0.03])
    (1, 2)
    """
    row = _finite(differences)
    if not row.size:
        return 1
    slack = _TIE * float(np.abs(row).sum())
    return int((_signs(row.size) @ row >= row.sum() - slack).sum())


def max_t(differences: ArrayLike) -> Array:
    """Return p-values adjusted over all arms by Westfall and Young's step-down max-T on joint sign flips.

    A seed's sign is flipped in all arms at once, which keeps the arms' correlation (they share the baseline)
    and the resolution of 2 / 2^n, however many arms there are. Arms may have different numbers of seeds.
    """
    return sign_flips(differences)[1]


def sign_flips(differences: ArrayLike) -> tuple[Array, Array]:
    """Return `sign_flip` of each arm, and `max_t` of all, by flipping once."""
    table = _table(differences)
    if not table.size:
        return np.ones(len(table)), np.ones(len(table))
    flipped = _statistics(table)
    observed = flipped[:, 0]
    line = observed - _TIE
    singles = (flipped >= line[:, None]).mean(axis=1)
    for arm in np.flatnonzero(np.isnan(table).any(axis=1)):  # fewer seeds have patterns of their own
        singles[arm] = sign_flip(table[arm])
    adjusted, best = np.empty(len(table)), np.zeros(flipped.shape[1])
    order = np.argsort(-observed, kind="stable")
    for arm in order[::-1]:  # each competes with those that are no clearer
        np.maximum(best, flipped[arm], out=best)
        adjusted[arm] = (best >= line[arm]).mean()
    adjusted[order] = np.maximum.accumulate(adjusted[order])
    return singles, adjusted


def holm(p_values: ArrayLike) -> Array:
    """Return p-values adjusted by Holm's step-down form of Bonferroni (1979).

    >>> holm([0.01, 0.04, 0.03]).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, steps)
    return adjusted


def t_interval(values: ArrayLike, level: float = 0.95) -> tuple[float, float]:
    """Return Student's interval of the mean; (-inf, inf) from fewer than two values."""
    row = _finite(values)
    if row.size < 2:
        return -math.inf, math.inf
    reach = float(stats.t.ppf(0.5 + level / 2, row.size - 1)) * float(row.std(ddof=1)) / math.sqrt(row.size)
    return float(row.mean()) - reach, float(row.mean()) + reach


def bca_interval(values: ArrayLike, level: float = 0.95, *, resamples: int = 9999) -> tuple[float, float]:
    """Return the mean's bias-corrected and accelerated bootstrap interval (Efron 1987), by scipy.

    From so few values as seeds usually are it is too narrow (docs/study.md has the measured coverage): it
    stands beside Student's interval, not in its place.
    """
    row = _finite(values)
    if row.size < 2:
        return -math.inf, math.inf
    if np.ptp(row) == 0:
        return float(row[0]), float(row[0])
    options: dict[str, Any] = {"confidence_level": level, "n_resamples": resamples, "method": "BCa"}
    options["rng" if _takes_rng() else "random_state"] = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a degenerate resample is answered by the fallback below
        interval = stats.bootstrap((row,), np.mean, **options).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else t_interval(row, level)


@lru_cache(maxsize=1)
def _takes_rng() -> bool:
    return tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 15)  # which renamed `random_state`


def improvement(differences: ArrayLike, level: float = 0.95) -> tuple[float, float, float]:
    """Return the probability that a run with the arm beats its paired baseline, and its interval.

    Bouthillier et al. 2021, who ask for 0.75 before an effect is worth having; ties count one half. The
    interval is Wilson's (1927) for a proportion: a bootstrap of six pairs that agree would claim certainty.
    """
    row = _finite(differences)
    if not row.size:
        return math.nan, 0.0, 1.0
    share = float(((row > 0) + 0.5 * (row == 0)).mean())
    z = float(stats.norm.ppf(0.5 + level / 2))
    n = row.size
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    reach = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, max(0.0, centre - reach), min(1.0, centre + reach)


def _power(effect: float, spread: float, seeds: int, alpha: float) -> float:
    """Return a two-sided paired t-test's power (Cohen 1988): that of the sign-flip test is close to it."""
    if seeds < 2 or smallest_p(seeds) > alpha:
        return 0.0
    critical = float(stats.t.ppf(1 - alpha / 2, seeds - 1))
    shift = effect / spread * math.sqrt(seeds)
    if shift > 37:  # beyond what the noncentral t can be evaluated at; the power is 1 long before
        return 1.0
    upper = float(stats.nct.sf(critical, seeds - 1, shift))
    lower = float(stats.nct.cdf(-critical, seeds - 1, shift))
    return upper + (0.0 if math.isnan(lower) else lower)


@lru_cache(maxsize=64)
def _detectable(seeds: int, arms: int, alpha: float, power: float) -> float:
    """Return `detectable` in units of the spread. Few seeds are simulated: their sign flips have less power than t.

    One arm has the effect and the others none; all share the baseline, which correlates their differences by 1/2.
    """
    if seeds > _SIMULATED:
        share = max(alpha / arms, smallest_p(seeds))
        return float(optimize.brentq(lambda effect: _power(effect, 1.0, seeds, share) - power, 0.0, 1e4))
    studies = max(100, 2000 * 2**6 // 2**seeds // min(arms, 8))
    noise = np.random.default_rng(0).normal(size=(studies, arms + 1, seeds))
    null = (noise[:, 1:] - noise[:, :1]) / math.sqrt(2)
    signs = _signs(seeds)[: 2 ** (seeds - 1)]  # each of the others mirrors one of these

    def found(effect: float) -> float:
        table = null.copy()
        table[:, 0] += effect
        unit = table / np.sqrt((table**2).sum(axis=2, keepdims=True))
        flipped = np.abs(unit @ signs.T)  # studies x arms x patterns
        p = (flipped.max(axis=1) >= flipped[:, 0, :1] - _TIE).mean(axis=1)
        return float(((p <= alpha) & (table[:, 0].sum(axis=1) > 0)).mean())

    low, high = 0.0, 50.0
    if found(high) < power:
        return math.inf
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if found(middle) >= power else (middle, high)
    return high


def detectable(spread: float, seeds: int, *, arms: int = 1, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true effect that a study of so many seeds finds with probability `power`.

    Args:
        spread: the standard deviation of the paired differences.
        seeds: how many pairs each arm has.
        arms: how many arms share the error rate. Up to 10 seeds the study's own test is simulated; beyond, it is
            close to a paired t-test's at Bonferroni's share, a little more than max-T asks.
        alpha: the error rate over the whole study.
        power: how often a real effect of this size would be found.
    """
    if seeds < 2 or smallest_p(seeds) > alpha or math.isnan(spread):
        return math.inf
    if spread <= 0:
        return 0.0
    return spread * _detectable(seeds, max(1, arms), alpha, power)


def seeds_needed(effect: float, spread: float, *, arms: int = 1, alpha: float = 0.05, power: float = 0.8,
                 most: int = 10_000) -> int | None:
    """Return how many seeds find a true `effect` with probability `power`; None if more than `most`."""
    if not effect > 0:
        return None
    low, high = seeds_to_resolve(alpha), most
    if detectable(spread, high, arms=arms, alpha=alpha, power=power) > effect:
        return None
    while low < high:  # detectable() falls as seeds grow
        middle = (low + high) // 2
        if detectable(spread, middle, arms=arms, alpha=alpha, power=power) <= effect:
            high = middle
        else:
            low = middle + 1
    return low


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Return Kendall's tau-b (1945) of two lists of numbers; NaN where one is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a constant list is answered by NaN
        return float(stats.kendalltau(first, second).statistic)


def pairing_gain(arm: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the unpaired difference's variance over the paired one's: what pairing saves in seeds."""
    a, b = np.asarray(arm, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    paired = float((a - b).var(ddof=1))
    return float(a.var(ddof=1) + b.var(ddof=1)) / paired if paired > 0 else math.inf
