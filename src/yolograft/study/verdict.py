"""Verdicts: for each arm one of four words about its difference from the baseline, and the statistics behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from yolograft.language import tr
from yolograft.study import statistics
from yolograft.study.race import differences

__all__ = ["Verdict", "Word", "adjust", "choose", "differences", "judge"]


class Word(str, Enum):
    """The four possible verdicts."""

    HELPS = "helps"
    HURTS = "hurts"
    UNDECIDED = "no evidence either way"
    FEW = "too few runs to say"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Statistics and verdict of one arm compared with the baseline, for one metric.

    Attributes:
        arm: the arm's name.
        word: helps, hurts, no evidence either way, or too few runs to say.
        differences: arm minus baseline, by seed.
        mean: the mean difference.
        t_interval: Student's 95% confidence interval of the mean difference, not corrected for other arms.
        bca_interval: 95% BCa bootstrap interval of the mean difference.
        p: two-sided p-value of the paired sign-flip permutation test, not corrected for other arms.
        p_holm: `p` after Holm's correction over all arms of the study.
        p_adjusted: the p-value that determines the word: max-T (Westfall and Young) over all arms, or Holm's after a race.
        better: probability that a run of the arm is better than its paired baseline run, with its 95% interval.
        detectable: smallest true effect that this number of seeds detects with a power of 80%.
        stopped: number of pairs after which the race stopped the arm; None if it was not stopped.
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
        """Number of pairs."""
        return len(self.differences)

    @property
    def spread(self) -> float:
        """The standard deviation of the paired differences."""
        return float(np.std(list(self.differences.values()), ddof=1)) if self.seeds > 1 else float("nan")

    def why(self) -> str:
        """Return one sentence with the reason for the word."""
        if self.word is Word.FEW:
            need = statistics.seeds_to_resolve()
            return tr("{seeds} paired seeds cannot reach p <= 0.05 whatever they show (the smallest possible p is "
                      "{smallest:.2g}); at least {need} are needed.", seeds=self.seeds,
                      smallest=statistics.smallest_p(self.seeds), need=need)
        if self.stopped is not None:
            return tr("stopped after {seeds} paired seeds: it could not, or could hardly, have come out as helpful any more "
                      "(mean difference so far {mean:+.4f}).", seeds=self.stopped, mean=self.mean)
        low, high = self.t_interval
        text = tr("mean difference {mean:+.4f} (95% interval {low:+.4f} to {high:+.4f}), adjusted p {p:.3g}", mean=self.mean,
                  low=low, high=high, p=self.p_adjusted)
        if self.word is Word.UNDECIDED:
            return tr("{text}; true effects below {effect:.4f} would usually be missed by {seeds} seeds.", text=text,
                      effect=self.detectable, seeds=self.seeds)
        return tr("{text}, over {seeds} paired seeds.", text=text, seeds=self.seeds)


def spoken(word: Word) -> str:
    """Return the word of a verdict in the requested language. Files store the English one, `str(word)`."""
    return {Word.HELPS: tr("helps"), Word.HURTS: tr("hurts"), Word.UNDECIDED: tr("no evidence either way"),
            Word.FEW: tr("too few runs to say")}[word]


def judge(scores: Mapping[str, Mapping[int, float]], baseline: str, *, alpha: float = 0.05,
          stopped: Mapping[str, int] | None = None) -> list[Verdict]:
    """Return a verdict on every arm except the baseline, in the order of `scores`.

    The p-values are adjusted over all arms, including arms that were stopped early. The family-wise error rate is therefore
    at most `alpha`: this is the probability that at least one arm without an effect gets the verdict "helps" or "hurts".

    Args:
        scores: arm -> seed -> the metric (higher is better).
        baseline: the arm that the others are compared with.
        alpha: family-wise error rate of the study.
        stopped: for a race, arm -> number of pairs after which it was stopped; None if the study was no race.
    """
    arms = [arm for arm in scores if arm != baseline]
    seeds, stopped_after = sorted(scores.get(baseline, {})), stopped or {}
    table = differences(scores, baseline, arms, seeds)
    unadjusted, holm, adjusted = adjust(table, None if stopped is None else [arm in stopped_after for arm in arms])
    return [_verdict(arm, dict(_pairs(seeds, row)), len(arms), alpha, (unadjusted[i], holm[i], adjusted[i]),
                     stopped_after.get(arm))
            for i, (arm, row) in enumerate(zip(arms, table, strict=True))]


def adjust(table: NDArray[np.float64],
           stopped: Sequence[bool] | None = None) -> tuple[list[float], list[float], list[float]]:
    """Return the p-values of each arm: unadjusted, after Holm's correction, and the one that determines its word.

    The last is max-T's, or Holm's after a race (`stopped` is not None). After a race max-T would be invalid, since the
    stopped arms have few sign patterns and make the joint distribution too narrow. An arm that was not stopped has the same
    unadjusted p-value as without a race. Holm's correction, with p = 1 for stopped arms, is therefore valid for any stopping
    rule.
    """
    if stopped is not None:
        unadjusted = [statistics.sign_flip(row) for row in table]
        raced = [1.0 if out else p for p, out in zip(unadjusted, stopped, strict=True)]
        holm = statistics.holm(raced).tolist()
        return unadjusted, holm, holm
    alone, adjusted = statistics.sign_flips(table)
    return alone.tolist(), statistics.holm(alone).tolist(), adjusted.tolist()


def choose(seeds: int, mean: float, p_adjusted: float, *, alpha: float = 0.05, stopped: bool = False) -> Word:
    """Return the word for an arm, given its number of paired seeds, mean difference and adjusted p-value."""
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
