"""Verdicts: for each arm one word about its difference from the baseline, and the statistics behind it.

A word is given at a planned look only, and it stays: see `sequential`. The null hypothesis is that an arm and the baseline
are exchangeable, so that a difference of +d is as likely as -d. Runs that failed count against every word. Where the
differences themselves speak against the null hypothesis of symmetry, a word is withheld (see `doubt`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from yolograft.language import tr
from yolograft.study import splits as resampled
from yolograft.study import statistics
from yolograft.study.decision import Decision, Word, one_side
from yolograft.study.race import differences
from yolograft.study.sequential import Look, Reading, intervals, read
from yolograft.study.splits import Splits

__all__ = ["ALPHA", "MARGIN", "Decision", "Verdict", "Word", "adjust", "choose", "completed", "decide", "differences",
           "doubt", "judge", "judge_sets", "printed", "spoken"]

ALPHA = 0.05  # family-wise error rate of a study
MARGIN = 0.01  # mAP50-95; docs/study.md gives the reason
_SKEW, _SHARED = 0.35, 0.6  # see `doubt`

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """Statistics and verdict of one arm compared with the baseline, for one metric.

    Attributes:
        arm: the arm's name.
        word: the verdict.
        differences: arm minus baseline, by seed.
        mean: the mean difference.
        t_interval: Student's 95% confidence interval of the mean difference, of this arm alone.
        interval: 95% interval, simultaneous over all arms and looks. It excludes 0 exactly if the word is helps, hurts or
            differs. (-inf, inf) before the first look, and while no word is possible.
        narrow: the same at 90%. It lies within the margin if the word is EQUIVALENT (two one-sided tests at 5%).
        bca_interval: 95% BCa bootstrap interval of the mean difference.
        p: two-sided p-value of the paired sign-flip permutation test, not corrected for other arms.
        p_holm: `p` after Holm's correction over all arms of the study.
        p_adjusted: the p-value that determines the word: max-T (Westfall and Young) over all arms, or Holm's after a race.
        level: the word is given if `p_adjusted` is at most this; 0.05 without other looks.
        look: number of seeds of the look at which the word was given, or of the last look; 0 before the first.
        looks: number of looks until then.
        used: the part of the error rate that all looks so far have used.
        better: probability that a run of the arm is better than its paired baseline run, with its 95% interval.
        detectable: smallest true effect that this number of seeds detects with a power of 80%.
        margin: the largest difference that counts as none; None if the plan has no margin.
        posterior: probabilities that the mean difference is below -margin, within the margin and above it.
        failed: number of pairs without a difference, because a run failed.
        skew: skewness of the differences.
        reason: why there is no verdict.
        stopped: number of pairs after which the race stopped the arm; None if it was not stopped.
        splits: the splits of the images, with which all statistics are those of the corrected resampled t-test (see
            `splits`); None for one split.
    """

    arm: str
    word: Word
    differences: Mapping[int, float]
    mean: float
    t_interval: tuple[float, float]
    interval: tuple[float, float]
    narrow: tuple[float, float]
    bca_interval: tuple[float, float]
    p: float
    p_holm: float
    p_adjusted: float
    level: float
    look: int
    looks: int
    used: float
    better: tuple[float, float, float]
    detectable: float
    margin: float | None = None
    posterior: tuple[float, float, float] = (math.nan, math.nan, math.nan)
    failed: int = 0
    skew: float = math.nan
    reason: str = ""
    stopped: int | None = None
    splits: Splits | None = None

    @property
    def seeds(self) -> int:
        """Number of pairs."""
        return len(self.differences)

    @property
    def spread(self) -> float:
        """The standard deviation of the paired differences; with splits, of their means over the seeds of a split."""
        if self.splits is not None:
            if self.seeds != self.look:  # with a missing pair, the seeds of each split are not known here
                return float("nan")
            return float(resampled.means(np.array([list(self.differences.values())]), self.splits).std(ddof=1))
        return float(np.std(list(self.differences.values()), ddof=1)) if self.seeds > 1 else float("nan")

    @property
    def decided(self) -> bool:
        """Whether further seeds cannot change the word."""
        return self.word in (Word.HELPS, Word.HURTS, Word.DIFFERS, Word.EQUIVALENT)

    def why(self) -> str:
        """Return one sentence with the reason for the word."""
        if self.word is Word.FEW:
            need = statistics.seeds_to_resolve()
            return tr("{seeds} paired seeds cannot reach p <= 0.05 whatever they show (the smallest possible p is "
                      "{smallest:.2g}); at least {need} are needed.", seeds=self.seeds,
                      smallest=statistics.smallest_p(self.seeds), need=need)
        if self.stopped is not None:
            return tr("stopped after {seeds} paired seeds: it could not, or could hardly, have come out as helpful any more "
                      "(mean difference so far {mean:+.4f}).", seeds=self.stopped, mean=printed(self.mean))
        if self.word is Word.NONE:
            return self.reason
        percent, (low, high) = (90, self.narrow) if self.word is Word.EQUIVALENT else (95, self.interval)
        text = tr("mean difference {mean:+.4f} ({percent}% interval {low:+.4f} to {high:+.4f}), adjusted p {p:.3g}",
                  mean=printed(self.mean), percent=percent, low=printed(low), high=printed(high), p=self.p_adjusted)
        if self.looks > 1 or self.level < ALPHA:
            text = tr("{text} (level {level:.3g}, look {look} after {seeds} seeds)", text=text, level=self.level,
                      look=self.looks, seeds=self.look)
        if self.word is Word.UNDECIDED:
            return tr("{text}; true effects below {effect:.4f} would usually be missed by {seeds} seeds.", text=text,
                      effect=self.detectable, seeds=self.seeds)
        text = tr("{text}, over {seeds} paired seeds.", text=text, seeds=self.seeds) if self.splits is None else tr(
            "{text}, over {seeds} paired seeds on {splits} splits.", text=text, seeds=self.seeds, splits=self.splits.count)
        if self.word is Word.EQUIVALENT or self.margin is None:
            return text
        if -self.margin < self.narrow[0] and self.narrow[1] < self.margin:
            return tr("{text} The difference is not larger than {margin:g}.", text=text, margin=self.margin)
        if abs(self.mean) < self.detectable:
            return tr("{text} The effect is smaller than what these seeds usually find ({effect:.4f}): effects that are "
                      "found with low power are overestimated.", text=text, effect=self.detectable)
        return text


def printed(value: float) -> float:
    """Return a difference rounded to the four digits that are printed, without the minus sign of -0.0."""
    return round(value, 4) + 0.0 if math.isfinite(value) else value


def spoken(word: Word, margin: float | None = None) -> str:
    """Return the word of a verdict in the requested language. Files store the English one, `str(word)`."""
    if word is Word.EQUIVALENT:
        return tr("no difference larger than {margin:g}", margin=margin)
    return {Word.HELPS: tr("helps"), Word.HURTS: tr("hurts"), Word.DIFFERS: tr("differs"),
            Word.UNDECIDED: tr("no evidence either way"), Word.FEW: tr("too few runs to say"),
            Word.NONE: tr("no verdict")}[word]


def judge(scores: Mapping[str, Mapping[int, float]], baseline: str, *, alpha: float = ALPHA,
          stopped: Mapping[str, int] | None = None, seeds: Sequence[int] = (), looks: Sequence[Look] = (),
          failed: Collection[tuple[str, int]] | None = None, margin: float | None = None,
          controls: Collection[str] = (), copies: Collection[str] = (), splits: Splits | None = None) -> list[Verdict]:
    """Return a verdict on every arm except the baseline, in the order of `scores`.

    The p-values are adjusted over all arms, including arms that were stopped early. The family-wise error rate is therefore
    at most `alpha`: this is the probability that at least one arm without an effect gets the verdict "helps" or "hurts".

    Args:
        scores: arm -> seed -> the metric (higher is better).
        baseline: the arm that the others are compared with.
        alpha: family-wise error rate of the study.
        stopped: for a race, arm -> number of pairs after which it was stopped; None if the study was no race.
        seeds: all seeds in the order of the plan; by default all seeds of `scores`.
        looks: the looks, taken and planned; by default one over all seeds and arms.
        failed: the runs that failed; by default every run without a score. A look waits for all other runs.
        margin: the largest difference that counts as none; None for no such verdict.
        controls: the arms that are controls, which can only differ.
        copies: two or more copies of the baseline (controls `aa`). The other arms are compared with the mean of the baseline
            and its copies, and each copy with the mean of the others.
        splits: the splits of the images, with which the test is the corrected resampled t-test; None for one split.
    """
    return judge_sets({"": scores}, baseline, alpha=alpha, stopped=stopped, seeds=seeds, looks=looks,
                      failed=None if failed is None else {"": failed}, margin=margin, controls=controls, copies=copies,
                      splits=splits)[""]


def judge_sets(scores: Mapping[str, Mapping[str, Mapping[int, float]]], baseline: str, *, alpha: float = ALPHA,
               stopped: Mapping[str, int] | None = None, seeds: Sequence[int] = (), looks: Sequence[Look] = (),
               failed: Mapping[str, Collection[tuple[str, int]]] | None = None, margin: float | None = None,
               controls: Collection[str] = (), copies: Collection[str] = (),
               splits: Splits | None = None) -> dict[str, list[Verdict]]:
    """Return the verdicts of a study on several data sets, which share one error rate: data set -> verdicts, as `judge`.

    The arms on all data sets are tested together, with joint sign flips of a seed on all of them. So the probability of any
    wrong word, of any arm on any data set, is at most `alpha`.

    Args:
        scores: data set -> arm -> seed -> the metric.
        failed: data set -> the runs that failed.
        baseline, alpha, stopped, seeds, looks, margin, controls, copies, splits: as for `judge`, the same on all data sets.
    """
    arms = list(dict.fromkeys(arm for by_arm in scores.values() for arm in by_arm if arm != baseline))
    order = list(seeds) or sorted({seed for by_arm in scores.values() for by_seed in by_arm.values() for seed in by_seed})
    planned = list(looks) or [Look(seeds=len(order), arms=tuple(arms), spent=alpha)]
    rows = {(name, arm): row for row, (name, arm) in enumerate((name, arm) for name in scores for arm in arms)}
    groups = [[rows[name, arm] for arm in arms] for name in scores]
    table = np.concatenate([_table(by_arm, baseline, arms, order, copies) for by_arm in scores.values()])
    counted = [([rows[name, arm] for name in scores for arm in look.arms if arm in arms], look) for look in planned]
    out = stopped or {}
    ready = len(planned) * bool(order) if failed is None else min(completed(
        planned, {*((arm, seed) for arm, by_seed in by_arm.items() for seed in by_seed), *failed[name],
                  *((arm, seed) for arm in out for seed in order)}, [baseline, *copies], order)
        for name, by_arm in scores.items())
    if splits is not None:
        decisions = resampled.decide(table, splits, planned[-1].spent, margin) if ready else [
            Decision(word=Word.NONE) for _ in rows]
    else:
        decisions = decide(table, [(look.seeds, members, look.spent) for members, look in counted[:ready]],
                           stopped=None if stopped is None else [arm in out for arm in arms], margin=margin, groups=groups,
                           copies=[rows[name, arm] for name in scores for arm in copies] if len(copies) > 1 else [])
    pending = counted[ready][1] if ready < len(counted) else None
    return {name: [_verdict(arm, dict(_pairs(order, table[rows[name, arm]])), len(rows), decisions[rows[name, arm]], margin,
                            pending, planned, out.get(arm), arm in controls, splits) for arm in arms] for name in scores}


def completed(looks: Sequence[Look], ended: Collection[tuple[str, int]], bases: Sequence[str], seeds: Sequence[int]) -> int:
    """Return how many of the looks are complete: all runs (arm, seed) of their arms and of the baselines have ended."""
    for count, look in enumerate(looks):
        if not all((arm, seed) in ended for arm in (*look.arms, *bases) for seed in seeds[:look.seeds]):
            return count
    return len(looks)


def _table(scores: Mapping[str, Mapping[int, float]], baseline: str, arms: Sequence[str], seeds: Sequence[int],
           copies: Collection[str]) -> Array:
    """Return the differences (arms, seeds); with copies of the baseline, to the mean of the baseline and its copies."""
    if len(copies) < 2:
        return differences(scores, baseline, arms, seeds)
    pool = {name: {seed: scores[name].get(seed, math.nan) for seed in seeds} for name in (baseline, *copies)}
    found = []
    for arm in arms:
        others = [name for name in pool if name != arm]
        mean = {seed: float(np.mean([pool[name][seed] for name in others])) for seed in seeds}  # NaN if one is missing
        found.append(differences({arm: scores[arm], "": mean}, "", [arm], seeds))
    return np.concatenate(found) if found else np.empty((0, len(seeds)))


def decide(table: Array, looks: Sequence[tuple[int, Sequence[int], float]], *, stopped: Sequence[bool] | None = None,
           margin: float | None = None, copies: Collection[int] = (), groups: Sequence[Sequence[int]] = (),
           words_only: bool = False) -> list[Decision]:
    """Return the decision on each arm of a table of differences after these looks.

    A missing pair of a failed run counts against the word: as the arm's worst seed for "helps", and as its best for "hurts".

    Args:
        table: arm minus baseline, (arms, seeds), NaN where a run failed or was not run.
        looks: for each look its number of seeds, the rows of its arms, and the error rate that may be used up to it.
        stopped: for a race, which arms were stopped; None if the study was no race.
        margin: the largest difference that counts as none.
        copies: the rows of copies of the baseline, if there are several.
        groups: the rows of each data set; by default all are of one.
        words_only: leaves out the intervals, for simulations without a margin, which take half the time then.
    """
    decisions = [Decision(word=Word.NONE) for _ in table]
    if stopped is not None:
        before = 0.0
        for count, (seeds, rows, spent) in enumerate(looks, 1):
            level, before = spent - before, spent  # what is added to a finished race has nothing left
            outcome = _race(table[list(rows), :seeds], [stopped[row] for row in rows], level, seeds, count)
            for place, one in zip(rows, outcome, strict=True):
                if decisions[place].word not in (Word.HELPS, Word.HURTS):
                    decisions[place] = one
        return decisions
    tables = [table[list(rows), :seeds] for seeds, rows, _ in looks]
    budgets = [budget for _, _, budget in looks]
    low_tables = [statistics.filled(one, -1) for one in tables]
    lows = read(low_tables, budgets)
    incomplete = any(np.isnan(one).any() for one in tables)
    high_tables = [statistics.filled(one, 1) for one in tables] if incomplete else low_tables
    highs = read(high_tables, budgets) if incomplete else lows
    for count, ((seeds, rows, _), low, high) in enumerate(zip(looks, zip(low_tables, lows, strict=True),
                                                              zip(high_tables, highs, strict=True), strict=True), 1):
        both = (low,) if low is high or not incomplete else (low, high)
        reach = [[(-math.inf, math.inf)] * len(rows)] * 2
        if not words_only:
            inverted = [intervals(one, reading.flipped, (reading.level, 2 * reading.level)) for one, reading in both]
            reach = [[_hull(ends) for ends in zip(*of_level, strict=True)] for of_level in zip(*inverted, strict=True)]
        holm = statistics.holm(low[1].singles)
        crossing = min(low[1].adjusted.min(initial=1), high[1].adjusted.min(initial=1)) <= max(low[1].level, high[1].level)
        skews = np.zeros(len(rows))
        for group in (groups or [range(len(table))]) if crossing else []:
            mine = [place for place, row in enumerate(rows) if row in group]
            skews[mine] = doubt(tables[count - 1][mine], [at for at, place in enumerate(mine) if rows[place] in copies])
        for place, row in enumerate(rows):
            decisions[row] = _step(decisions[row], place, low, high, (reach[0][place], reach[1][place]), float(holm[place]),
                                   float(skews[place]), margin, seeds, count)
    return decisions


def _hull(ends: Sequence[tuple[float, float]]) -> tuple[float, float]:
    return min(low for low, _ in ends), max(high for _, high in ends)


def _step(before: Decision, place: int, low: tuple[Array, Reading], high: tuple[Array, Reading],
          reach: tuple[tuple[float, float], tuple[float, float]], holm: float, skew: float, margin: float | None,
          seeds: int, count: int) -> Decision:
    """Return the decision on an arm after one more look; a word that was given stays."""
    worst, best = float(low[0][place].mean()), float(high[0][place].mean())
    is_helpful = low[1].adjusted[place] <= low[1].level and worst > 0
    is_harmful = high[1].adjusted[place] <= high[1].level and best < 0
    side = 1 if is_helpful else -1
    is_doubtful = (is_helpful or is_harmful) and skew * side < 0
    interval, narrow = (_meet(old, new) for old, new in zip((before.interval, before.narrow), reach, strict=True))
    if before.word in (Word.HELPS, Word.HURTS):
        kept = before.word is Word.HELPS
        return Decision(word=before.word, mean=worst, p=before.p, p_holm=before.p_holm, p_adjusted=before.p_adjusted,
                        level=before.level, look=before.look, looks=before.looks, used=max(low[1].used, high[1].used),
                        interval=one_side(interval, 1 if kept else -1), narrow=one_side(narrow, 1 if kept else -1))
    reading = low[1] if worst + best >= 0 else high[1]
    word = Word.NONE
    if (is_helpful or is_harmful) and not is_doubtful:
        word = Word.HELPS if is_helpful else Word.HURTS
        interval, narrow = one_side(interval, side), one_side(narrow, side)
    else:
        if not is_doubtful:  # step-down can be clearer than the single-step interval, never the other way
            interval = min(interval[0], 0.0), max(interval[1], 0.0)
        if before.word is Word.EQUIVALENT or (margin is not None and -margin < narrow[0] and narrow[1] < margin):
            word = Word.EQUIVALENT
        elif reading.level < statistics.smallest_p(seeds):
            word = Word.FEW
        elif not is_doubtful:
            word = Word.UNDECIDED
    return Decision(word=word, mean=worst, interval=interval, narrow=narrow, p=float(reading.singles[place]), p_holm=holm,
                    p_adjusted=float(reading.adjusted[place]), level=reading.level, look=seeds, looks=count,
                    used=max(low[1].used, high[1].used), skewed=is_doubtful)


def _meet(one: tuple[float, float], other: tuple[float, float]) -> tuple[float, float]:
    """Return the intersection of two intervals: intervals of several looks hold together (Jennison and Turnbull 1989)."""
    low, high = max(one[0], other[0]), min(one[1], other[1])
    return (low, high) if low <= high else other


def doubt(table: Array, copies: Sequence[int] = ()) -> float:
    """Return the pooled skewness of the differences if they speak against exchangeable arms; 0 otherwise.

    If an arm and the baseline are exchangeable, the differences are symmetric, and since all arms share the baseline's
    noise, the differences of two arms have a correlation of 1/2. Long tails on one side together with arms that hardly
    correlate show a baseline that is quieter than the arms, and skewed arms. Most of such an arm's differences then have the
    sign opposite to the tail though their mean is 0, and a word in this direction is not to be trusted. One arm alone shows
    no correlation, so its skewness is only reported.

    Args:
        table: differences (arms, seeds).
        copies: the rows of copies of the baseline, which are left out; with k copies the correlation is 1 / (k + 2).
    """
    rows = np.delete(table, list(copies), axis=0)
    rows = rows[~np.isnan(rows).any(axis=1)] if rows.size else rows
    rows = rows[np.ptp(rows, axis=1) > 0] if rows.size else rows
    arms = len(rows)
    if arms < 2 or rows.shape[1] < 3:
        return 0.0
    apart = rows - rows.mean(axis=1, keepdims=True)
    apart /= np.sqrt((apart**2).sum(axis=1, keepdims=True))
    shared = float(((apart.sum(axis=0) ** 2).sum() - arms) / (arms * (arms - 1)))  # mean of the correlations
    skew = float(np.mean([statistics.skewness(row) for row in rows]))
    expected = 1 / (len(copies) + 2)
    return skew if abs(skew) > _SKEW and shared < _SHARED * expected else 0.0


def _race(table: Array, stopped: Sequence[bool], alpha: float, seeds: int, count: int) -> list[Decision]:
    """Return the decisions of a race, which has one look; Holm's correction does not depend on the stopping."""
    full = np.where(np.asarray(stopped, dtype=bool)[:, None], table, statistics.filled(table, -1))  # a failed run is a loss
    alone, holm, adjusted = adjust(full, stopped)
    found = []
    for place, row in enumerate(full):
        known = row[~np.isnan(row)]
        mean = float(known.mean()) if known.size else math.nan
        word = choose(known.size, mean, adjusted[place], alpha=alpha, stopped=stopped[place])
        if word is Word.HURTS and np.isnan(table[place]).any():  # only failed runs may have made it so
            word = Word.UNDECIDED
        ends = [(-math.inf, math.inf)] * 2
        if known.size:
            levels = alpha / len(table), 2 * alpha / len(table)
            ends = [one for (one,) in intervals(known[None], statistics.flip(known[None]), levels)]
        side = {Word.HELPS: 1, Word.HURTS: -1}.get(word, 0)
        interval, narrow = (one_side(one, side) if side else (min(one[0], 0.0), max(one[1], 0.0)) for one in ends)
        found.append(Decision(word=word, mean=mean, interval=interval, narrow=narrow, p=alone[place], p_holm=holm[place],
                              p_adjusted=adjusted[place], level=alpha, look=seeds, looks=count, used=alpha))
    return found


def adjust(table: Array, stopped: Sequence[bool]) -> tuple[list[float], list[float], list[float]]:
    """Return the p-values of each arm of a race: unadjusted, after Holm's correction, and the one that determines its word.

    After a race max-T would be invalid, since the stopped arms have few sign patterns and make the joint distribution too
    narrow. An arm that was not stopped has the same unadjusted p-value as without a race. Holm's correction, with p = 1 for
    stopped arms, is therefore valid for any stopping rule.
    """
    unadjusted = [statistics.sign_flip(row) for row in table]
    raced = [1.0 if out else p for p, out in zip(unadjusted, stopped, strict=True)]
    holm = statistics.holm(raced).tolist()
    return unadjusted, holm, holm


def choose(seeds: int, mean: float, p_adjusted: float, *, alpha: float = ALPHA, stopped: bool = False) -> Word:
    """Return the word for an arm of a race, given its number of paired seeds, mean difference and adjusted p-value."""
    if stopped:
        return Word.UNDECIDED
    if statistics.smallest_p(seeds) > alpha:
        return Word.FEW
    if p_adjusted > alpha:
        return Word.UNDECIDED
    return Word.HELPS if mean > 0 else Word.HURTS


def _pairs(seeds: Sequence[int], row: Array) -> list[tuple[int, float]]:
    return [(seed, float(value)) for seed, value in zip(seeds, row, strict=True) if not np.isnan(value)]


def _verdict(arm: str, pairs: dict[int, float], arms: int, decision: Decision, margin: float | None, pending: Look | None,
             looks: Sequence[Look], stopped: int | None, is_control: bool, splits: Splits | None) -> Verdict:
    values = list(pairs.values())
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else math.nan
    failed = max(0, decision.look - len(values)) if stopped is None else 0
    word, reason = _explained(decision, len(values), failed, pending, looks, stopped is not None, splits)
    if is_control and word in (Word.HELPS, Word.HURTS):
        word = Word.DIFFERS
    found = Verdict(
        arm=arm, word=word, reason=reason, differences=pairs, mean=float(np.mean(values)) if values else math.nan,
        p=decision.p, p_holm=decision.p_holm, p_adjusted=decision.p_adjusted, level=decision.level, look=decision.look,
        looks=decision.looks, used=decision.used, interval=decision.interval, narrow=decision.narrow, stopped=stopped,
        margin=margin, failed=failed, t_interval=statistics.t_interval(values), bca_interval=statistics.bca_interval(values),
        better=statistics.improvement(values), skew=statistics.skewness(values),
        posterior=statistics.posterior(values, margin) if margin is not None else (math.nan, math.nan, math.nan),
        detectable=statistics.detectable(spread, len(values), arms=arms),
    )
    return found if splits is None else _over_splits(found, splits, arms, is_complete=len(values) == looks[-1].seeds)


def _over_splits(verdict: Verdict, splits: Splits, arms: int, *, is_complete: bool) -> Verdict:
    """Return a verdict with the descriptive statistics of the corrected test; without them while a pair is missing."""
    nan = math.nan
    if not is_complete:
        return replace(verdict, splits=splits, t_interval=(-math.inf, math.inf), bca_interval=(-math.inf, math.inf),
                       posterior=(nan, nan, nan), detectable=math.inf)
    (row,) = resampled.means(np.array([list(verdict.differences.values())]), splits)
    alone = resampled.interval(row, splits)
    return replace(
        verdict, splits=splits, t_interval=alone, bca_interval=alone,  # a bootstrap would ignore the correlation
        posterior=(nan, nan, nan) if verdict.margin is None else resampled.posterior(row, splits, verdict.margin),
        better=statistics.improvement(row, size=splits.independent),
        detectable=resampled.detectable(float(row.std(ddof=1)), splits, arms=arms))


def _explained(decision: Decision, seeds: int, failed: int, pending: Look | None, looks: Sequence[Look],
               is_stopped: bool, splits: Splits | None) -> tuple[Word, str]:
    """Return the word of a decision, and the reason where there is no verdict."""
    word = decision.word
    if is_stopped or word in (Word.HELPS, Word.HURTS):
        return (Word.UNDECIDED if is_stopped else word), ""
    if splits is None and looks[-1].seeds < statistics.seeds_to_resolve():
        return Word.FEW, ""
    if word is Word.EQUIVALENT:
        return word, ""
    if pending is not None:
        if not decision.look:
            return Word.NONE, tr("the first planned look is after {seeds} seeds.", seeds=pending.seeds)
        return Word.NONE, tr("undecided at the look after {seeds} seeds; the next planned look is after {next} seeds.",
                             seeds=decision.look, next=pending.seeds)
    if decision.skewed:
        return Word.NONE, tr("the differences are skewed and the baseline varies less than the arms, so the sign-flip test "
                             "is not valid here (adjusted p {p:.3g}). Look at the single seeds, or run more.",
                             p=decision.p_adjusted)
    if failed:
        return Word.NONE, tr("{failed} of {seeds} pairs have a failed run, and counted as losses (or as wins) they leave no "
                             "verdict. retry=True runs them again.", failed=failed, seeds=failed + seeds)
    if word is Word.FEW and splits is not None:
        return Word.NONE, tr("earlier studies of the same data have used the error rate.")
    if word is Word.FEW:
        return Word.NONE, tr("earlier looks or studies have used the error rate: {level:.2g} of it is left, and {seeds} "
                             "seeds cannot reach a smaller p than {smallest:.2g}. A look after {need} seeds could give "
                             "a verdict.",
                             level=decision.level, seeds=decision.look, smallest=statistics.smallest_p(decision.look),
                             need=statistics.seeds_to_resolve(decision.level) if decision.level else "-")
    return word, ""
