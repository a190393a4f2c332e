"""Studies over several splits of the images: the corrected resampled t-test (Nadeau and Bengio 2003).

The images of train and val are split again several times, and every arm is trained on each split, with one seed or several.
The differences of two splits are correlated, since their training sets share most images. If every pair of splits has the
correlation r, the variance of the mean of J differences is S^2 (1 / J + r / (1 - r)), where S^2 is their sample variance.
Nadeau and Bengio set r to the part of the images that is validated on, which makes r / (1 - r) = n_val / n_train. The test
is exact for normal differences with this correlation. Sign flips would not be: the differences share what all splits share.

The seeds of one split are independent trainings, so their differences are averaged first. The arms share the error rate by
Holm's procedure, and the simultaneous intervals by Bonferroni's, since neither assumes how the arms correlate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from yolograft.study import statistics
from yolograft.study.decision import Decision, Word, one_side

__all__ = ["Splits", "by_split", "decide", "detectable", "excludable", "interval", "means", "posterior", "splits_to_exclude"]

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Splits:
    """How often and how the images are split.

    Attributes:
        count: number of splits. The seed at place i of the plan trains on split i modulo `count`.
        seed: the seed of the splits, which is another one than those of the trainings.
        train, val: numbers of images for training and for validation in each split.
    """

    count: int
    seed: int = 0
    train: int = 0
    val: int = 0

    @property
    def ratio(self) -> float:
        """n_val / n_train, by which the correlation of the splits enlarges the variance."""
        return self.val / self.train if self.train else math.nan

    @property
    def factor(self) -> float:
        """The variance of the mean over the splits, in units of the sample variance."""
        return 1 / self.count + self.ratio

    @property
    def independent(self) -> float:
        """The number of independent splits that would give the same precision."""
        return 1 / self.factor


def means(table: Array, splits: Splits) -> Array:
    """Return the mean difference of each split, (arms, splits), of a table (arms, seeds)."""
    return np.stack([table[:, number::splits.count].mean(axis=1) for number in range(splits.count)], axis=1)


def by_split(table: Array, places: Sequence[int], splits: Splits) -> Array:
    """Return the means of the runs of each split, (splits, values), without NaN; of a split without values they are NaN.

    Args:
        table: (runs, values).
        places: the place of each run's seed in the plan.
        splits: the splits.
    """
    numbers = np.asarray(places, dtype=int) % splits.count
    found = np.full((splits.count, table.shape[1]), math.nan)
    for number in set(numbers.tolist()):
        own = table[numbers == number]
        known = ~np.isnan(own)
        with np.errstate(invalid="ignore"):
            found[number] = np.where(known, own, 0.0).sum(axis=0) / known.sum(axis=0)
    return found


def _error(row: Array, splits: Splits) -> float:
    return float(row.std(ddof=1)) * math.sqrt(splits.factor)


def _p(row: Array, splits: Splits) -> float:
    """Return the two-sided p-value of one arm, from its means of the splits."""
    error, mean = _error(row, splits), float(row.mean())
    if not error:
        return 0.0 if mean else 1.0
    return 2 * float(stats.t.sf(abs(mean) / error, splits.count - 1))


def interval(row: ArrayLike, splits: Splits, level: float = 0.95) -> tuple[float, float]:
    """Return the confidence interval of one arm's mean difference, from its means of the splits.

    >>> low, high = interval([0.01, 0.02, 0.03], Splits(count=3, train=80, val=20))
    >>> round(low, 4), round(high, 4)
    (-0.0129, 0.0529)
    """
    values = np.asarray(row, dtype=np.float64)
    if not np.isfinite(values).all() or level >= 1:
        return -math.inf, math.inf
    reach = float(stats.t.ppf(0.5 + level / 2, splits.count - 1)) * _error(values, splits)
    return float(values.mean()) - reach, float(values.mean()) + reach


def posterior(row: ArrayLike, splits: Splits, margin: float) -> tuple[float, float, float]:
    """Return the probabilities of a difference below -margin, within it and above it: the correlated Bayesian t-test.

    Corani and Benavoli (2015); with no correlation it is `statistics.posterior`.
    """
    values = np.asarray(row, dtype=np.float64)
    if not np.isfinite(values).all():
        return math.nan, math.nan, math.nan
    error, mean = _error(values, splits), float(values.mean())
    if not error:
        return float(mean < -margin), float(abs(mean) <= margin), float(mean > margin)
    low, high = (float(stats.t.cdf((bound - mean) / error, splits.count - 1)) for bound in (-margin, margin))
    return low, high - low, 1 - high


def decide(table: Array, splits: Splits, alpha: float, margin: float | None = None) -> list[Decision]:
    """Return the decision on each arm of a table of differences (arms, seeds), after all seeds.

    A pair with a failed run counts against the word, as in `verdict.decide`.
    """
    filled = [means(statistics.filled(table, sign), splits) for sign in (-1, 1)]
    if not len(table):
        return []
    alone = [[_p(row, splits) for row in one] for one in filled]
    adjusted = [statistics.holm(one) for one in alone]
    found = []
    for place in range(len(table)):
        worst, best = (float(one[place].mean()) for one in filled)
        side = 1 if adjusted[0][place] <= alpha and worst > 0 else -1 if adjusted[1][place] <= alpha and best < 0 else 0
        reading = 0 if worst + best >= 0 else 1
        whole, narrow = (_hull([interval(one[place], splits, 1 - level / len(table)) for one in filled])
                         for level in (alpha, 2 * alpha))
        if side:  # Holm's procedure can be clearer than Bonferroni's interval, never the other way
            word, whole, narrow = (Word.HELPS if side > 0 else Word.HURTS), one_side(whole, side), one_side(narrow, side)
        else:
            whole = min(whole[0], 0.0), max(whole[1], 0.0)
            is_same = alpha > 0 and margin is not None and -margin < narrow[0] and narrow[1] < margin
            word = Word.EQUIVALENT if is_same else Word.UNDECIDED if alpha > 0 else Word.FEW
        p = float(adjusted[reading][place])
        found.append(Decision(word=word, mean=worst, interval=whole, narrow=narrow, p=alone[reading][place], p_holm=p,
                              p_adjusted=p, level=alpha, look=table.shape[1], looks=1, used=alpha))
    return found


def _hull(ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in ends), max(high for _, high in ends)


def detectable(spread: float, splits: Splits, *, arms: int = 1, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest true effect that is found with probability `power`.

    Args:
        spread: the standard deviation of the splits' mean differences.
        splits: the splits.
        arms: number of arms, which share the error rate by Bonferroni's correction.
        alpha: family-wise error rate of the study.
        power: probability of finding an effect of this size.
    """
    if math.isnan(spread) or not alpha > 0:
        return math.inf
    freedom = splits.count - 1
    critical = float(stats.t.ppf(1 - alpha / arms / 2, freedom))
    shift = float(optimize.brentq(lambda one: stats.nct.sf(critical, freedom, one) - power, 0.0, 10 * critical + 40))
    return shift * spread * math.sqrt(splits.factor)


def excludable(spread: float, splits: Splits, *, arms: int = 1, alpha: float = 0.05, power: float = 0.8) -> float:
    """Return the smallest margin that two one-sided tests exclude with probability `power` if the true effect is 0."""
    if math.isnan(spread) or not alpha > 0:
        return math.inf
    freedom = splits.count - 1
    bounds = float(stats.t.ppf(1 - alpha / arms, freedom)), float(stats.t.ppf((1 + power) / 2, freedom))
    return spread * math.sqrt(splits.factor) * sum(bounds)


def splits_to_exclude(margin: float, spread: float, splits: Splits, *, arms: int = 1, alpha: float = 0.05,
                      most: int = 1000) -> int | None:
    """Return the number of splits for which `excludable` is at most `margin`; None if it is above `most`.

    The splits overlap, so more of them make the standard error never smaller than spread x sqrt(n_val / n_train).
    """
    low, high = 2, most

    def at(count: int) -> float:
        more = Splits(count=count, seed=splits.seed, train=splits.train, val=splits.val)
        return excludable(spread, more, arms=arms, alpha=alpha)

    if at(high) > margin:
        return None
    while low < high:
        middle = (low + high) // 2
        if at(middle) <= margin:
            high = middle
        else:
            low = middle + 1
    return low
