"""The verdict: what a study may say of each arm against the baseline, in words, with the numbers behind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from yolograft.study import statistics
from yolograft.study.race import differences

__all__ = ["Verdict", "Word", "adjust", "choose", "differences", "judge"]


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
        p_adjusted: Westfall and Young's max-T over all arms, or Holm's if the study raced: what the word rests on.
        better: the probability that a run with the arm beats its paired baseline, and its interval.
        detectable: the smallest true effect that this many seeds would have found four times in five.
        stopped: the number of pairs after which racing gave the arm no more seeds; None if it had them all.
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
    stopped: int | None = None

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
        if self.stopped is not None:
            return (f"stopped after {self.stopped} paired seeds: it could not, or could hardly, have come out as helpful "
                    f"any more (mean difference so far {self.mean:+.4f}).")
        low, high = self.t_interval
        text = (f"mean difference {self.mean:+.4f} (95% interval {low:+.4f} to {high:+.4f}), "
                f"adjusted p {self.p_adjusted:.3g}")
        if self.word is Word.UNDECIDED:
            return (f"{text}; true effects below {self.detectable:.4f} would usually be missed "
                    f"by {self.seeds} seeds.")
        return f"{text}, over {self.seeds} paired seeds."


def judge(scores: Mapping[str, Mapping[int, float]], baseline: str, *, alpha: float = 0.05,
          stopped: Mapping[str, int] | None = None) -> list[Verdict]:
    """Return a verdict on every arm but the baseline, in the order given.

    The words "helps" and "hurts" are said wrongly, of any arm of the whole study, with probability `alpha` at
    most: they rest on p-values adjusted over all arms, those that were stopped early included.

    Args:
        scores: arm -> seed -> the metric (higher is better).
        baseline: the arm that the others are compared with.
        alpha: the error rate over the whole study.
        stopped: for a study that raced, the arms that were stopped, with the number of pairs after which each was.
    """
    arms = [arm for arm in scores if arm != baseline]
    seeds, gone = sorted(scores.get(baseline, {})), stopped or {}
    table = differences(scores, baseline, arms, seeds)
    singles, held, adjusted = adjust(table, None if stopped is None else [arm in gone for arm in arms])
    return [_verdict(arm, dict(_pairs(seeds, row)), len(arms), alpha, (singles[i], held[i], adjusted[i]), gone.get(arm))
            for i, (arm, row) in enumerate(zip(arms, table, strict=True))]


def adjust(table: NDArray[np.float64],
           stopped: Sequence[bool] | None = None) -> tuple[list[float], list[float], list[float]]:
    """Return each arm's sign-flip p-value, the same after Holm's correction, and the p-value that its word rests on.

    That is max-T's; or Holm's if the study raced (`stopped` is given). Flipping the few seeds of a stopped arm would
    show too little of what it might have shown; but a surviving arm's own p-value is that of a study without racing,
    so that Holm's correction over all arms, the stopped ones counted as lost, holds whatever the rule of stopping.
    """
    if stopped is not None:
        singles = [statistics.sign_flip(row) for row in table]
        raced = [1.0 if out else p for p, out in zip(singles, stopped, strict=True)]
        held = statistics.holm(raced).tolist()
        return singles, held, held
    alone, adjusted = statistics.sign_flips(table)
    return alone.tolist(), statistics.holm(alone).tolist(), adjusted.tolist()


def choose(seeds: int, mean: float, p_adjusted: float, *, alpha: float = 0.05, stopped: bool = False) -> Word:
    """Return the word for an arm with so many paired seeds, this mean difference and this adjusted p-value."""
    if stopped:
        return Word.UNDECIDED
    if seeds < statistics.seeds_to_resolve(alpha):
        return Word.FEW
    if p_adjusted > alpha:
        return Word.UNDECIDED
    return Word.HELPS if mean > 0 else Word.HURTS


def _pairs(seeds: list[int], row: NDArray[np.float64]) -> list[tuple[int, float]]:
    return [(seed, float(value)) for seed, value in zip(seeds, row, strict=True) if not np.isnan(value)]


def _verdict(arm: str, pairs: dict[int, float], arms: int, alpha: float, p_values: tuple[float, float, float],
             stopped: int | None) -> Verdict:
    values = list(pairs.values())
    mean = float(np.mean(values)) if values else float("nan")
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else float("nan")
    p, p_holm, p_adjusted = p_values
    return Verdict(
        arm=arm, word=choose(len(values), mean, p_adjusted, alpha=alpha, stopped=stopped is not None),
        differences=pairs, mean=mean, p=p, p_holm=p_holm, p_adjusted=p_adjusted, stopped=stopped,
        t_interval=statistics.t_interval(values), bca_interval=statistics.bca_interval(values),
        better=statistics.improvement(values),
        detectable=statistics.detectable(spread, len(values), arms=arms, alpha=alpha),
    )
