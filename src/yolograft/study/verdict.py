"""The verdict: what a study may say of each arm against the baseline, in words, with the numbers behind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from yolograft.study import statistics

__all__ = ["Verdict", "Word", "judge"]


class Word(str, Enum):
    """The four things that a study may say."""

    HELPS = "helps"
    HURTS = "hurts"
    UNDECIDED = "no evidence either way"
    FEW = "too few runs to say"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What may be said of one arm against the baseline, by one metric.

    Attributes:
        arm: the arm's name.
        word: helps, hurts, no evidence either way, or too few runs to say.
        differences: arm minus baseline, by seed.
        mean: the mean difference.
        t_interval: Student's 95% interval of the mean difference, for this arm alone.
        bca_interval: the BCa bootstrap's.
        p: the exact sign-flip test's two-sided p-value, for this arm alone.
        p_holm: the same after Holm's correction over all arms of the study.
        p_adjusted: Westfall and Young's max-T over all arms: the one that the word rests on.
        better: the probability that a run with the arm beats its paired baseline, and its interval.
        detectable: the smallest true effect that this many seeds would have found four times in five.
    """

    arm: str
    word: Word
    differences: Mapping[int, float]
    mean: float
    t_interval: tuple[float, float]
    bca_interval: tuple[float, float]
    p: float
    p_holm: float
    p_adjusted: float
    better: tuple[float, float, float]
    detectable: float

    @property
    def seeds(self) -> int:
        """How many pairs the verdict rests on."""
        return len(self.differences)

    @property
    def spread(self) -> float:
        """The standard deviation of the paired differences."""
        return float(np.std(list(self.differences.values()), ddof=1)) if self.seeds > 1 else float("nan")

    def why(self) -> str:
        """Return one sentence that gives the reason for the word."""
        if self.word is Word.FEW:
            need = statistics.seeds_to_resolve()
            return (f"{self.seeds} paired seeds cannot reach p <= 0.05 whatever they show (the smallest "
                    f"possible p is {statistics.smallest_p(self.seeds):.2g}); at least {need} are needed.")
        low, high = self.t_interval
        text = (f"mean difference {self.mean:+.4f} (95% interval {low:+.4f} to {high:+.4f}), "
                f"adjusted p {self.p_adjusted:.3g}")
        if self.word is Word.UNDECIDED:
            return (f"{text}; true effects below {self.detectable:.4f} would usually be missed "
                    f"by {self.seeds} seeds.")
        return f"{text}, over {self.seeds} paired seeds."


def judge(scores: Mapping[str, Mapping[int, float]], baseline: str, *, alpha: float = 0.05) -> list[Verdict]:
    """Return a verdict on every arm but the baseline, in the order given.

    The words "helps" and "hurts" are said wrongly, of any arm of the whole study, with probability `alpha` at
    most: they rest on max-T p-values over all arms, those that were stopped early included.

    Args:
        scores: arm -> seed -> the metric (higher is better).
        baseline: the arm that the others are compared with.
        alpha: the error rate over the whole study.
    """
    arms = [arm for arm in scores if arm != baseline]
    seeds = sorted(scores.get(baseline, {}))
    table = differences(scores, baseline, arms, seeds)
    singles = [statistics.sign_flip(row) for row in table]
    joint, held = statistics.max_t(table), statistics.holm(singles)
    return [_verdict(arm, dict(_pairs(seeds, row)), len(arms), alpha, singles[i], float(held[i]),
                     float(joint[i]))
            for i, (arm, row) in enumerate(zip(arms, table, strict=True))]


def differences(scores: Mapping[str, Mapping[int, float]], baseline: str, arms: list[str],
                seeds: list[int]) -> NDArray[np.float64]:
    """Return arms x seeds: arm minus baseline, NaN where either was not run."""
    base, nan = scores.get(baseline, {}), float("nan")
    rows = [[scores[arm].get(seed, nan) - base.get(seed, nan) for seed in seeds] for arm in arms]
    return np.asarray(rows, dtype=np.float64).reshape(len(arms), len(seeds))


def _pairs(seeds: list[int], row: NDArray[np.float64]) -> list[tuple[int, float]]:
    return [(seed, float(value)) for seed, value in zip(seeds, row, strict=True) if not np.isnan(value)]


def _verdict(arm: str, pairs: dict[int, float], arms: int, alpha: float, p: float, p_holm: float,
             p_adjusted: float) -> Verdict:
    values = list(pairs.values())
    mean = float(np.mean(values)) if values else float("nan")
    if len(values) < statistics.seeds_to_resolve(alpha):
        word = Word.FEW
    elif p_adjusted > alpha:
        word = Word.UNDECIDED
    else:
        word = Word.HELPS if mean > 0 else Word.HURTS
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    return Verdict(
        arm=arm, word=word, differences=pairs, mean=mean, p=p, p_holm=p_holm, p_adjusted=p_adjusted,
        t_interval=statistics.t_interval(values), bca_interval=statistics.bca_interval(values),
        better=statistics.improvement(values),
        detectable=statistics.detectable(spread, len(values), arms=arms, alpha=alpha),
    )
