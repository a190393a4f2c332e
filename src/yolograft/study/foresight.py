"""What a plan can find and exclude, said before its first run."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from yolograft.language import tr
from yolograft.study import splits, statistics
from yolograft.study.plan import Plan
from yolograft.study.population import population
from yolograft.study.verdict import Verdict

__all__ = ["PUBLISHED", "Foresight", "foresee", "pooled_spread", "sentences"]

PUBLISHED = 0.0096  # standard deviation of a paired difference in mAP50-95: docs/results, NEU-DET, YOLO11n, 8 epochs


@dataclass(frozen=True, kw_only=True)
class Foresight:
    """What a number of seeds and arms can find and exclude.

    Attributes:
        spread: standard deviation of a paired difference.
        pairs: number of differences from which it was estimated; 0 for the published one.
        detectable: the smallest true effect that is found with a power of 80%.
        excludable: the smallest margin within which an arm without effect is shown to lie, with a power of 80%.
        seeds: number of seeds (or of splits) that are needed to exclude differences larger than the plan's margin; None
            without a margin, or if no number is enough.
    """

    spread: float
    pairs: int
    detectable: float
    excludable: float
    seeds: int | None


def pooled_spread(verdicts: Sequence[Verdict]) -> tuple[float, int]:
    """Return the pooled standard deviation of the arms' differences, and their number; (nan, 0) without two pairs."""
    parts = [(verdict.spread**2 * (verdict.seeds - 1), verdict.seeds - 1) for verdict in verdicts if verdict.seeds > 1]
    freedom = sum(count for _, count in parts)
    if not freedom:
        return math.nan, 0
    return math.sqrt(sum(square for square, _ in parts) / freedom), freedom + len(parts)


def foresee(plan: Plan, verdicts: Sequence[Verdict] = ()) -> Foresight:
    """Return what a plan can find and exclude, by the spread of the runs so far, or by the published one."""
    spread, pairs = pooled_spread(verdicts)
    if not spread > 0:
        spread, pairs = PUBLISHED, 0
    arms, seeds = max(1, (len(plan.arms) - 1) * len(plan.parts)), len(plan.seeds)
    if plan.splits is not None:
        if not pairs:  # the published one is of single trainings, and the seeds of a split are averaged
            spread *= math.sqrt(plan.splits.count / seeds)
        return Foresight(spread=spread, pairs=pairs,
                         detectable=splits.detectable(spread, plan.splits, arms=arms, alpha=plan.alpha),
                         excludable=splits.excludable(spread, plan.splits, arms=arms, alpha=plan.alpha),
                         seeds=None if plan.margin is None else splits.splits_to_exclude(
                             plan.margin, spread, plan.splits, arms=arms, alpha=plan.alpha))
    return Foresight(spread=spread, pairs=pairs,
                     detectable=statistics.detectable(spread, seeds, arms=arms, alpha=plan.alpha),
                     excludable=statistics.excludable(spread, seeds, arms=arms, alpha=plan.alpha),
                     seeds=None if plan.margin is None else statistics.seeds_to_exclude(plan.margin, spread, arms=arms,
                                                                                        alpha=plan.alpha))


def sentences(plan: Plan, found: Foresight) -> list[str]:
    """Return the foresight in words."""
    arms, seeds = (len(plan.arms) - 1) * len(plan.parts), len(plan.seeds)
    source = tr("from {pairs} pairs of this study", pairs=found.pairs) if found.pairs else tr(
        "from our studies on NEU-DET with 8 epochs, for mAP50-95; two or three seeds of this study tell it better")
    lines = [tr("{trials} trainings: {arms} arms, {seeds} seeds, {sets} data set(s).", trials=len(plan.trials()),
                arms=len(plan.arms), seeds=seeds, sets=len(plan.parts)), population(plan)]
    if plan.splits is not None:
        return [*lines, *_split_sentences(plan, plan.splits, found, source)]
    lines += [tr("Standard deviation of a paired difference: {spread:.4f} ({source}).", spread=found.spread, source=source)]
    if math.isinf(found.detectable):
        lines.append(tr("{seeds} seeds cannot find any effect.", seeds=seeds))
    else:
        lines.append(tr("{seeds} seeds and {arms} arms find a true effect of {effect:.4f} {metric} in four of five studies, "
                        "and usually miss smaller ones.", seeds=seeds, arms=arms, effect=found.detectable,
                        metric=plan.metric))
    if not math.isinf(found.excludable):
        lines.append(tr("For an arm without effect they exclude differences larger than {margin:.4f} in four of "
                        "five studies.", margin=found.excludable))
    if plan.margin is not None:
        need = found.seeds
        lines.append(tr("The margin is {margin:g}: {need} seeds are needed to exclude larger differences.",
                        margin=plan.margin, need=need if need is not None else tr("more than 10000")))
    if len(plan.schedule) > 1:
        lines.append(tr("Looks, with the error rate that is spent up to each: {looks}.", looks="; ".join(
            tr("{seeds} seeds {spent:.2f}%", seeds=look.seeds, spent=100 * look.spent) for look in plan.schedule)))
    return lines


def _split_sentences(plan: Plan, planned: splits.Splits, found: Foresight, source: str) -> list[str]:
    lines = [tr("Standard deviation of a split's mean difference: {spread:.4f} ({source}).", spread=found.spread,
                source=source)]
    if not found.pairs:
        lines.append(tr("The splits add a variance of their own, which is not in it."))
    lines += [tr("{splits} splits into {train} and {val} images and {arms} arms find a true effect of {effect:.4f} {metric} "
                 "in four of five studies, and usually miss smaller ones.", splits=planned.count, train=planned.train,
                 val=planned.val, arms=len(plan.arms) - 1, effect=found.detectable, metric=plan.metric),
              tr("For an arm without effect they exclude differences larger than {margin:.4f} in four of five studies.",
                 margin=found.excludable)]
    if plan.margin is not None and found.seeds is not None:
        lines.append(tr("The margin is {margin:g}: {need} splits are needed to exclude larger differences.",
                        margin=plan.margin, need=found.seeds))
    elif plan.margin is not None:
        lines.append(tr("The margin is {margin:g}: no number of splits of these images can exclude larger differences, "
                        "since the splits overlap. More seeds on each split make the spread smaller.", margin=plan.margin))
    return lines
