"""Statistics of paired runs: permutation tests, multiple-testing corrections, confidence intervals and power.

The *differences* of an arm are arm minus baseline, one number per seed. A table of differences has one row per arm and one
column per seed; NaN marks a missing pair. docs/study.md names the source of each method.
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
    "excludable",
    "filled",
    "flip",
    "holm",
    "improvement",
    "max_t",
    "pairing_gain",
    "posterior",
    "rank_correlation",
    "seeds_needed",
    "seeds_to_exclude",
    "seeds_to_resolve",
    "sign_flip",
    "sign_flips",
    "signs",
    "skewness",
    "smallest_p",
    "step_down",
    "t_interval",
]

Array = NDArray[np.float64]
EXACT = 16  # largest number of seeds with exact tests (all 2^n sign patterns); with more, 2^16 sampled patterns
_SIMULATED = 10  # largest number of seeds for which power is simulated
TIE = 1e-9  # tolerance for ties, relative to the root sum of squares: equal sums can differ by rounding


def smallest_p(seeds: int) -> float:
    """Return the smallest two-sided p-value that a sign-flip test with this number of seeds can have: 2 / 2^n.

    >>> smallest_p(3), smallest_p(6)
    (0.25, 0.03125)
    """
    return min(1.0, 2.0 ** (1 - seeds))


def seeds_to_resolve(alpha: float = 0.05) -> int:
    """Return the smallest number of seeds with which a sign-flip test can be significant at `alpha`.

    >>> seeds_to_resolve(0.05)
    6
    """
    return max(1, math.ceil(1 - math.log2(alpha) - 1e-12))


@lru_cache(maxsize=12)
def signs(n: int) -> Array:
    """Return sign patterns as (patterns, n), all ones first: all 2^n patterns, or 2^16 patterns of more than 16 seeds.

    Pattern i of n seeds starts with pattern i mod 2^k of k seeds, which `sequential` uses to follow a pattern from look to
    look. The 2^16 patterns of more than 16 seeds are all patterns of the first 16, each continued by random signs.
    """
    exact = min(n, EXACT)
    bits = np.arange(2**exact)[:, None] >> np.arange(exact)[None, :] & 1
    # a sampled p-value is valid if the sample contains the observed pattern (Phipson and Smyth 2010)
    sampled = [np.random.default_rng(seed).integers(0, 2, 2**exact) for seed in range(exact, n)]
    found = 1.0 - 2.0 * np.column_stack([bits, *sampled]).astype(np.float64)
    found[0] = 1.0
    return np.asarray(found, dtype=np.float64)


def flip(table: Array) -> Array:
    """Return the test statistic, (arms, patterns): |sum of the flipped differences| / root of their sum of squares.

    It is an increasing function of |Student's t| of the same differences, so both rank the patterns equally.
    """
    filled = np.nan_to_num(table, nan=0.0)
    scale = np.sqrt((filled**2).sum(axis=1))
    unit = np.divide(filled, scale[:, None], out=np.zeros_like(filled), where=scale[:, None] > 0)
    flipped = signs(table.shape[1]) @ unit.T
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
    """Return the two-sided p-value of the paired sign-flip permutation test (Fisher 1935): exact up to 16 seeds.

    The null hypothesis is that the differences are distributed symmetrically about 0.

    >>> sign_flip([0.01, 0.02, 0.01, 0.03, 0.02, 0.01])
    0.03125
    """
    return float(sign_flips(_finite(differences)[None, :])[0][0])


def as_large(differences: ArrayLike) -> int:
    """Count the sign patterns of these differences whose sum is at least as large as the observed sum.

    >>> as_large([0.02, 0.01, 0.03]), as_large([0.02, -0.01, 0.03])
    (1, 2)
    """
    row = _finite(differences)
    if not row.size:
        return 1
    slack = TIE * float(np.abs(row).sum())
    return int((signs(row.size) @ row >= row.sum() - slack).sum())


def max_t(differences: ArrayLike) -> Array:
    """Return p-values adjusted over all arms by Westfall and Young's step-down max-T procedure with joint sign flips.

    The sign of a seed is flipped in all arms at once. This keeps the correlation between the arms (they share the baseline)
    and the smallest possible p-value of 2 / 2^n for any number of arms. Arms can have different numbers of seeds.
    """
    return sign_flips(differences)[1]


def sign_flips(differences: ArrayLike) -> tuple[Array, Array]:
    """Return `sign_flip` of each arm and `max_t` of all arms, computed with the same sign flips."""
    table = _table(differences)
    if not table.size:
        return np.ones(len(table)), np.ones(len(table))
    flipped = flip(table)
    singles, adjusted = step_down(flipped)
    for arm in np.flatnonzero(np.isnan(table).any(axis=1)):  # an arm with missing pairs has fewer patterns
        singles[arm] = sign_flip(table[arm])
    return singles, adjusted


def step_down(flipped: Array) -> tuple[Array, Array]:
    """Return the p-value of each arm and its max-T adjusted one, from the statistics of all sign patterns (see `flip`)."""
    observed = flipped[:, 0]
    threshold = observed - TIE
    singles = (flipped >= threshold[:, None]).mean(axis=1)
    adjusted, best = np.empty(len(flipped)), np.zeros(flipped.shape[1])
    order = np.argsort(-observed, kind="stable")
    for arm in order[::-1]:  # step-down: compare each arm with the arms whose statistic is not larger
        np.maximum(best, flipped[arm], out=best)
        adjusted[arm] = (best >= threshold[arm]).mean()
    adjusted[order] = np.maximum.accumulate(adjusted[order])
    return singles, adjusted


def filled(table: Array, sign: int) -> Array:
    """Return the table with each missing pair as large a loss (-1) or win (1) as the largest difference of any arm."""
    if not np.isnan(table).any():
        return table
    worst = np.nanmax(np.abs(table)) if not np.isnan(table).all() else 0.0
    return np.where(np.isnan(table), sign * worst, table)


def holm(p_values: ArrayLike) -> Array:
    """Return p-values adjusted by the step-down procedure of Holm (1979).

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
    """Return Student's t confidence interval of the mean; (-inf, inf) for fewer than two values."""
    row = _finite(values)
    if row.size < 2:
        return -math.inf, math.inf
    half_width = float(stats.t.ppf(0.5 + level / 2, row.size - 1)) * float(row.std(ddof=1)) / math.sqrt(row.size)
    return float(row.mean()) - half_width, float(row.mean()) + half_width


def bca_interval(values: ArrayLike, level: float = 0.95, *, resamples: int = 9999) -> tuple[float, float]:
    """Return the bias-corrected and accelerated (BCa) bootstrap interval of the mean (Efron 1987), computed by scipy.

    With as few values as a study has seeds it is too narrow (docs/study.md gives the measured coverage). A report therefore
    shows it in addition to Student's interval, which it does not replace.
    """
    row = _finite(values)
    if row.size < 2:
        return -math.inf, math.inf
    if np.ptp(row) == 0:
        return float(row[0]), float(row[0])
    options: dict[str, Any] = {"confidence_level": level, "n_resamples": resamples, "method": "BCa"}
    options["rng" if _takes_rng() else "random_state"] = np.random.default_rng(0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # degenerate resamples give NaN; then the t interval below is used
        interval = stats.bootstrap((row,), np.mean, **options).confidence_interval
    low, high = float(interval.low), float(interval.high)
    return (low, high) if math.isfinite(low) and math.isfinite(high) else t_interval(row, level)


@lru_cache(maxsize=1)
def _takes_rng() -> bool:
    return tuple(map(int, scipy.__version__.split(".")[:2])) >= (1, 15)  # scipy 1.15 renamed `random_state` to `rng`


def posterior(differences: ArrayLike, margin: float) -> tuple[float, float, float]:
    """Return the posterior probabilities that the mean difference is below -margin, within the margin, and above it.

    The Bayesian t-test of Benavoli et al. (2017) with the margin as the region of practical equivalence. Its correlation is
    0, since every seed is a training of its own on the same data. Student's t posterior of the mean has n - 1 degrees of
    freedom.
    """
    row = _finite(differences)
    if row.size < 2:
        return math.nan, math.nan, math.nan
    scale = float(row.std(ddof=1)) / math.sqrt(row.size)
    if not scale:
        inside = abs(float(row.mean())) <= margin
        return float(not inside and row.mean() < 0), float(inside), float(not inside and row.mean() > 0)
    low, high = (float(stats.t.cdf((bound - row.mean()) / scale, row.size - 1)) for bound in (-margin, margin))
    return low, high - low, 1 - high


def skewness(differences: ArrayLike) -> float:
    """Return the adjusted Fisher-Pearson skewness G1 (Joanes and Gill 1998); NaN for fewer than three or equal values."""
    row = _finite(differences)
    if row.size < 3 or np.ptp(row) == 0:
        return math.nan
    apart, n = row - row.mean(), row.size
    return float((apart**3).mean() / (apart**2).mean() ** 1.5 * math.sqrt(n * (n - 1)) / (n - 2))


def improvement(differences: ArrayLike, level: float = 0.95, size: float | None = None) -> tuple[float, float, float]:
    """Return the probability of improvement P(arm > baseline) of a paired run, and its confidence interval.

    Bouthillier et al. (2021) recommend 0.75 as the threshold of a meaningful effect. A tie counts one half. The interval is
    Wilson's (1927) for a proportion, since a bootstrap interval of six equal outcomes would have width 0. `size` is the
    number of independent differences, if they are correlated.
    """
    row = _finite(differences)
    if not row.size:
        return math.nan, 0.0, 1.0
    share = float(((row > 0) + 0.5 * (row == 0)).mean())
    z = float(stats.norm.ppf(0.5 + level / 2))
    n = row.size if size is None else size
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half_width = z / (1 + z * z / n) * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    return share, max(0.0, centre - half_width), min(1.0, centre + half_width)


def _power(effect: float, spread: float, seeds: int, alpha: float) -> float:
    """Return the power of a two-sided paired t-test (Cohen 1988), which approximates that of the sign-flip test."""
    if seeds < 2 or smallest_p(seeds) > alpha:
        return 0.0
    critical = float(stats.t.ppf(1 - alpha / 2, seeds - 1))
    shift = effect / spread * math.sqrt(seeds)
    if shift > 37:  # scipy cannot evaluate the noncentral t here, and the power is already 1
        return 1.0
    upper = float(stats.nct.sf(critical, seeds - 1, shift))
    lower = float(stats.nct.cdf(-critical, seeds - 1, shift))
    return upper + (0.0 if math.isnan(lower) else lower)


@lru_cache(maxsize=64)
def _detectable(seeds: int, arms: int, alpha: float, power: float) -> float:
    """Return `detectable` in units of the standard deviation.

    Few seeds are simulated, since the sign-flip test then has less power than the t-test. In the simulation one arm has an
    effect and the others have none; all share the baseline, so their differences have a correlation of 1/2.
    """
    if seeds > _SIMULATED:
        share = max(alpha / arms, smallest_p(seeds))
        return float(optimize.brentq(lambda effect: _power(effect, 1.0, seeds, share) - power, 0.0, 1e4))
    studies = max(100, 2000 * 2**6 // 2**seeds // min(arms, 8))
    noise = np.random.default_rng(0).normal(size=(studies, arms + 1, seeds))
    null = (noise[:, 1:] - noise[:, :1]) / math.sqrt(2)
    half = signs(seeds)[: 2 ** (seeds - 1)]  # each other pattern is the negative of one of these

    def power_at(effect: float) -> float:
        table = null.copy()
        table[:, 0] += effect
        unit = table / np.sqrt((table**2).sum(axis=2, keepdims=True))
        flipped = np.abs(unit @ half.T)  # studies x arms x patterns
        p = (flipped.max(axis=1) >= flipped[:, 0, :1] - TIE).mean(axis=1)
        return float(((p <= alpha) & (table[:, 0].sum(axis=1) > 0)).mean())

    low, high = 0.0, 50.0
    if power_at(high) < power:
        return math.inf
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(middle) >= power else (middle, high)
    return high


def detectable(spread: float, seeds: int, *, arms: int = 1, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true effect that a study with this number of seeds detects with probability `power`.

    Args:
        spread: the standard deviation of the paired differences.
        seeds: number of pairs of each arm.
        arms: number of arms that share the error rate. Up to 10 seeds the max-T test itself is simulated. With more seeds
            the paired t-test with Bonferroni's correction is used, which is slightly conservative.
        alpha: family-wise error rate of the study.
        power: probability of detecting an effect of this size.
    """
    if seeds < 2 or smallest_p(seeds) > alpha or math.isnan(spread):
        return math.inf
    if spread <= 0:
        return 0.0
    return spread * _detectable(seeds, max(1, arms), alpha, power)


def seeds_needed(effect: float, spread: float, *, arms: int = 1, alpha: float = 0.05, power: float = 0.8,
                 most: int = 10_000) -> int | None:
    """Return the number of seeds that detects a true `effect` with probability `power`; None if it is above `most`."""
    if not effect > 0:
        return None
    low, high = seeds_to_resolve(alpha), most
    if detectable(spread, high, arms=arms, alpha=alpha, power=power) > effect:
        return None
    while low < high:  # bisection: detectable() decreases as the number of seeds increases
        middle = (low + high) // 2
        if detectable(spread, middle, arms=arms, alpha=alpha, power=power) <= effect:
            high = middle
        else:
            low = middle + 1
    return low


def excludable(spread: float, seeds: int, *, arms: int = 1, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest margin that two one-sided t-tests (Schuirmann 1987) exclude with probability `power` at effect 0.

    The arms share the error rate by Bonferroni's correction, which is slightly conservative.

    >>> round(excludable(0.0096, 10), 4)
    0.0098
    """
    if seeds < 2 or smallest_p(seeds) > 2 * alpha / arms or math.isnan(spread):
        return math.inf
    bounds = float(stats.t.ppf(1 - alpha / arms, seeds - 1)), float(stats.t.ppf((1 + power) / 2, seeds - 1))
    return spread / math.sqrt(seeds) * sum(bounds)


def seeds_to_exclude(margin: float, spread: float, *, arms: int = 1, alpha: float = 0.05, power: float = 0.8,
                     most: int = 10_000) -> int | None:
    """Return the number of seeds for which `excludable` is at most `margin`; None if it is above `most`.

    >>> seeds_to_exclude(0.01, 0.0096), seeds_to_exclude(0.005, 0.0096)
    (10, 34)
    """
    low, high = 2, most
    if excludable(spread, high, arms=arms, alpha=alpha, power=power) > margin:
        return None
    while low < high:
        middle = (low + high) // 2
        if excludable(spread, middle, arms=arms, alpha=alpha, power=power) <= margin:
            high = middle
        else:
            low = middle + 1
    return low


def rank_correlation(first: ArrayLike, second: ArrayLike) -> float:
    """Return Kendall's rank correlation tau-b (1945) of two lists of numbers; NaN if one list is constant."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # for a constant list scipy returns NaN and warns
        return float(stats.kendalltau(first, second).statistic)


def pairing_gain(arm: Sequence[float], baseline: Sequence[float]) -> float:
    """Return the variance of the unpaired difference divided by that of the paired one: the saving in seeds by pairing."""
    a, b = np.asarray(arm, dtype=np.float64), np.asarray(baseline, dtype=np.float64)
    paired = float((a - b).var(ddof=1))
    return float(a.var(ddof=1) + b.var(ddof=1)) / paired if paired > 0 else math.inf
