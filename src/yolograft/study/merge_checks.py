"""Whether studies can be merged: they are the same study with equal results, and which of them gives what.

The merged study keeps the looks of one source. A look uses a part of the error rate. The seeds that this source had not
planned are judged by the part that is left. The part that looks of another source have used at other seeds is subtracted as
well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from yolograft.errors import GraftError
from yolograft.language import tr
from yolograft.study import latency
from yolograft.study.engine import merged_plan
from yolograft.study.holdout import SCORES
from yolograft.study.plan import Plan
from yolograft.study.statistics import seeds_to_resolve
from yolograft.study.study import named_trials
from yolograft.study.trial import Failure, Result

__all__ = ["Source", "choose", "common_plan", "latency_file", "test_scores"]

_PATHS = ("data", "model")  # settings whose folder can differ between machines, if the content is equal


@dataclass(frozen=True, kw_only=True)
class Source:
    """What one source has: its plan, and of its trials, by arm and seed, the outcome, the curve and the folder of files.

    With several data sets, the name of an arm has its data set (see `Study.parts`).
    """

    where: Path
    plan: Plan
    outcomes: Mapping[tuple[str, int], Result | Failure]
    curves: Mapping[tuple[str, int], tuple[Mapping[str, float], ...]]
    folders: Mapping[tuple[str, int], Path]
    used: float = 0.0  # the part of the error rate that its looks have used


def common_plan(sources: Sequence[Source]) -> Plan:
    """Return the plan of the merged study; raises `GraftError` if the sources are not the same study."""
    first = max(sources, key=lambda one: len(one.plan.taken))  # the earliest of those with the most looks
    plan, seen = first.plan, 0.0
    for source in sources:
        if source is first:
            continue
        where = tr("The study '{where}'", where=first.where)
        other = replace(source.plan, settings=_moved(source.plan, first.plan))
        first.plan.compare(other.words())
        if other.margin != first.plan.margin:
            raise GraftError(tr("{where} has margin={margin}, and '{other}' has margin={second}.", where=where,
                                margin=first.plan.margin, other=source.where, second=other.margin))
        plan = merged_plan(replace(plan, looks=()), replace(other, looks=()), where)
        seen = max(seen, other.seen)
        if _looked_elsewhere(source.plan, plan):
            seen += source.used
    plan = replace(plan, seen=max(seen, first.plan.seen), hardware=_joined([one.plan.hardware for one in sources]),
                   registered=_registered([first, *(one for one in sources if one is not first)]))
    for source in sources:
        _check_trials(source, first, plan)
    if plan.splits is not None:
        return plan
    counts = [count for count in first.plan.looks or (len(first.plan.seeds),) if count >= seeds_to_resolve()]
    looks = tuple(dict.fromkeys([*counts, len(plan.seeds)]))
    if plan.race and len(looks) > 1:
        raise GraftError(tr("A race has one look, after the last seed of its plan, so it can only be merged with studies of "
                            "the same seeds: {seeds}.", seeds=", ".join(map(str, first.plan.seeds))))
    return replace(plan, looks=looks if len(looks) > 1 else ())


def _check_trials(source: Source, first: Source, plan: Plan) -> None:
    """Raise `GraftError` if the merged plan trains an arm with a seed in another way than the source did."""
    own = replace(source.plan, settings=_moved(source.plan, first.plan))
    planned = named_trials(plan)
    for which, trial in named_trials(own).items():
        if planned[which].key != trial.key:
            raise GraftError(tr("'{arm}' with seed {seed} is another trial in '{where}' than in '{first}': for example, its "
                                "seeds are on other splits. These studies cannot be merged.", arm=trial.arm,
                                seed=trial.seed, where=source.where, first=first.where))


def _looked_elsewhere(plan: Plan, merged: Plan) -> bool:
    """Whether verdicts of this plan were read over other seeds than those with which the merged plan starts."""
    return any(set(plan.seeds[:look.seeds]) != set(merged.seeds[:look.seeds]) for look in plan.taken)


def _moved(plan: Plan, first: Plan) -> dict[str, Any]:
    """Return a plan's settings, with the paths of the first plan where only the folder differs; contents are compared."""
    found = dict(plan.settings)
    for key in _PATHS:
        if _file_names(found[key]) == _file_names(first.settings[key]):
            found[key] = first.settings[key]
    return found


def _file_names(value: Any) -> list[str]:
    return [PurePath(str(one).replace("\\", "/")).name for one in (value if isinstance(value, (list, tuple)) else [value])]


def _joined(descriptions: Sequence[Mapping[str, str]]) -> dict[str, str]:
    keys = dict.fromkeys(key for one in descriptions for key in one)
    return {key: "; ".join(dict.fromkeys(one[key] for one in descriptions if key in one)) for key in keys}


def _registered(sources: Sequence[Source]) -> dict[str, Any]:
    """Return the entry of the register: that of the first source, with the least error rate that any source had left."""
    known = [one.plan.registered for one in sources if one.plan.registered]
    if not known:
        return {}
    return {**known[0], "alpha": min(one["alpha"] for one in known), "earlier": max(one["earlier"] for one in known)}


def choose(sources: Sequence[Source], plan: Plan) -> dict[tuple[str, int], Source]:
    """Return the source of each trial, with a result if any has one; raises `GraftError` if two results differ."""
    chosen: dict[tuple[str, int], Source] = {}
    for which in named_trials(plan):
        having = [one for one in sources if isinstance(one.outcomes.get(which), Result)]
        for other in having[1:]:
            _compare(having[0], other, which)
        having += [one for one in sources if which in one.outcomes]
        having += sorted((one for one in sources if which in one.folders),
                         key=lambda one: -_progress(one.folders[which]))  # interrupted: the one that is further on
        if having:
            chosen[which] = having[0]
    return chosen


def test_scores(sources: Sequence[Source]) -> Path | None:
    """Return the file of the scores on the held-out test split, which is scored once; raises `GraftError` if two differ."""
    files = [source.where / SCORES for source in sources if (source.where / SCORES).is_file()]
    for other in files[1:]:
        if other.read_bytes() != files[0].read_bytes():
            raise GraftError(tr("'{one}' and '{other}' have both scored the held-out test split, with different scores. It "
                                "is scored once, so these studies cannot be merged.", one=files[0], other=other))
    return files[0] if files else None


def latency_file(sources: Sequence[Source], plan: Plan) -> tuple[Path | None, str]:
    """Return the file of latencies of all arms of the merged plan, or None, and a sentence for the user about it.

    Latencies of two machines cannot be compared, so they are never mixed: the first file with all arms is taken whole.
    """
    found = {source.where / latency.FILE: known for source in sources if (known := latency.read(source.where)) is not None}
    whole = [file for file, known in found.items() if known.covers(plan)]
    if not whole:
        return None, tr("No source has measured the latency of all arms of the merged study. It is measured when the study "
                        "continues.") if found else ""
    device = found[whole[0]].protocol.device
    others = [str(file) for file in whole[1:] if found[file] != found[whole[0]]]
    if not others:
        return whole[0], tr("The latency is that of '{file}', measured on: {device}.", file=whole[0], device=device)
    return whole[0], tr("The latency is that of '{file}', measured on: {device}. Latencies of two measurements are not "
                        "mixed: {others} is left out.", file=whole[0], device=device, others=", ".join(others))


def _compare(one: Source, other: Source, which: tuple[str, int]) -> None:
    first, second = one.outcomes[which], other.outcomes[which]
    assert isinstance(first, Result)
    assert isinstance(second, Result)
    for name, value in first.metrics.items():
        if second.metrics.get(name) != value:
            raise GraftError(tr("'{arm}' with seed {seed} has two results: {metric} is {first!r} in '{one}' and {second!r} "
                                "in '{other}'. Equal trials must have equal results. Find out which machine trained "
                                "otherwise, and merge without its study.", arm=which[0], seed=which[1], metric=name,
                                first=value, one=one.where, second=second.metrics.get(name), other=other.where))


def _progress(folder: Path) -> int:
    file = folder / "epochs.jsonl"
    return file.stat().st_size if file.is_file() else 0
