"""Merge the finished trials of one study that ran on several machines: `yolograft study merge A B ... OUT`.

A source is a study's folder, or exported records (`plan.yaml` and `trials.jsonl`, see benchmarks/study_records.py). All
sources must have the same settings, versions, data, weights and arms as spelled; seeds and arms can differ. The result is a
normal study folder. The sources are only read.

The result keeps the looks of one source. A look uses a part of the error rate. The seeds that this source had not planned
are judged by the part that is left. The part that looks of another source have used at other seeds is subtracted as well.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from filelock import FileLock, Timeout

from yolograft.errors import DataError, GraftError
from yolograft.language import tr
from yolograft.study.engine import merged_plan, take_looks
from yolograft.study.holdout import SCORES
from yolograft.study.plan import Plan
from yolograft.study.statistics import seeds_to_resolve
from yolograft.study.storage import Storage
from yolograft.study.study import Study, named_trials
from yolograft.study.trial import Failure, Result, Trial, write_json

__all__ = ["merge"]

_PATHS = ("data", "model")  # settings whose folder can differ between machines, if the content is equal


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What one source has: its plan, and of its trials, by arm and seed, the outcome, the curve and the folder of files.

    With several data sets, the name of an arm has its data set (see `Study.parts`).
    """

    where: Path
    plan: Plan
    outcomes: Mapping[tuple[str, int], Result | Failure]
    curves: Mapping[tuple[str, int], tuple[Mapping[str, float], ...]]
    folders: Mapping[tuple[str, int], Path]
    used: float = 0.0  # the part of the error rate that its looks have used


def merge(sources: Sequence[str | Path], out: str | Path) -> Study:
    """Merge studies of the same plan into the new folder `out`, and return the merged study.

    Raises:
        GraftError: a source is no study or is running, two sources are different studies or have different results for the
            same trial, or `out` is not new. Then nothing is written.
    """
    folder = Path(out)
    if folder.is_file() or (folder.is_dir() and any(folder.iterdir())):
        raise GraftError(tr("The folder '{folder}' exists and is not empty. Name a new folder for the merged study.",
                            folder=folder))
    if len(sources) < 2:
        raise GraftError(tr("Merging needs at least two studies. Expected: yolograft study merge A B OUT"))
    found = [_read(Path(source)) for source in sources]
    plan = _common_plan(found)
    chosen = _choose(found, plan)
    tested = _test_scores(found)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _made(folder) as part:
        _write(part, folder, plan, chosen)
        if tested is not None:
            shutil.copyfile(tested, part / tested.name)
    with closing(Storage(folder)) as storage:
        plan = take_looks(plan, folder, storage.rows())
        plan.write(folder / "plan.yaml")
        return Study(folder, plan, tuple(storage.rows()))


def _read(where: Path) -> _Source:
    plan = Plan.read(where / "plan.yaml", recorded=True)
    if (where / "trials.jsonl").is_file():
        return _read_records(where, plan)
    if not (where / "study.db").is_file():
        raise GraftError(tr("'{where}' cannot be merged: it has neither study.db nor trials.jsonl. Machines that share a "
                            "data base server share one study, which needs no merging.", where=where))
    for lock in where.glob("running*.lock"):
        try:
            with FileLock(lock, timeout=0):
                pass
        except Timeout:
            raise GraftError(tr("The study in '{where}' is running. Stop it, or wait for its end, before you merge it.",
                                where=where)) from None
    study = Study.load(where)
    outcomes: dict[tuple[str, int], Result | Failure] = {
        which: Failure(reason=reason) for which, reason in study.failures().items()}
    outcomes |= {(arm, seed): one for arm, by_seed in study.results.items() for seed, one in by_seed.items()}
    folders = {which: study.folder_of(row.key) for which, row in study.latest.items() if study.folder_of(row.key).is_dir()}
    return _Source(where=where, plan=plan, outcomes=outcomes, folders=folders, used=study.spent if study.taken else 0.0,
                   curves={which: row.curve for which, row in study.latest.items() if row.state == "complete"})


def _read_records(where: Path, plan: Plan) -> _Source:
    """Read exported records; raises `DataError` if a line is broken, or holds a trial that the plan does not have."""
    planned = {trial.key: which for which, trial in named_trials(plan).items()}
    outcomes: dict[tuple[str, int], Result | Failure] = {}
    curves: dict[tuple[str, int], tuple[Mapping[str, float], ...]] = {}
    for number, line in enumerate((where / "trials.jsonl").read_text(encoding="utf-8").splitlines(), 1):
        try:
            one = json.loads(line)
            key, which = Trial(**one["trial"]).key, planned.get(one["key"])
            result, curve = Result(**one["result"]), tuple(one["epochs"])
        except (ValueError, TypeError, KeyError) as error:
            raise DataError(tr("Line {number} of '{file}' is broken: {error}", number=number, file=where / "trials.jsonl",
                               error=error)) from None
        if which is None or key != one["key"]:
            raise DataError(tr("Line {number} of '{file}' holds a trial that the plan beside it does not have.",
                               number=number, file=where / "trials.jsonl"))
        outcomes[which], curves[which] = result, curve
    return _Source(where=where, plan=plan, outcomes=outcomes, curves=curves, folders={},
                   used=max((look.spent for look in plan.taken), default=0.0))


def _common_plan(sources: Sequence[_Source]) -> Plan:
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


def _check_trials(source: _Source, first: _Source, plan: Plan) -> None:
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


def _registered(sources: Sequence[_Source]) -> dict[str, Any]:
    """Return the entry of the register: that of the first source, with the least error rate that any source had left."""
    known = [one.plan.registered for one in sources if one.plan.registered]
    if not known:
        return {}
    return {**known[0], "alpha": min(one["alpha"] for one in known), "earlier": max(one["earlier"] for one in known)}


def _choose(sources: Sequence[_Source], plan: Plan) -> dict[tuple[str, int], _Source]:
    """Return the source of each trial, with a result if any has one; raises `GraftError` if two results differ."""
    chosen: dict[tuple[str, int], _Source] = {}
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


def _test_scores(sources: Sequence[_Source]) -> Path | None:
    """Return the file of the scores on the held-out test split, which is scored once; raises `GraftError` if two differ."""
    files = [source.where / SCORES for source in sources if (source.where / SCORES).is_file()]
    for other in files[1:]:
        if other.read_bytes() != files[0].read_bytes():
            raise GraftError(tr("'{one}' and '{other}' have both scored the held-out test split, with different scores. It "
                                "is scored once, so these studies cannot be merged.", one=files[0], other=other))
    return files[0] if files else None


def _compare(one: _Source, other: _Source, which: tuple[str, int]) -> None:
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


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    """Give an empty folder that becomes `folder` at the end, or is removed after an exception."""
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".part", dir=folder.parent))
    try:
        yield part
        if folder.is_dir():
            folder.rmdir()  # empty, as `merge` has checked
        part.chmod(0o755)
        part.rename(folder)
    except OSError as error:
        raise GraftError(tr("The merged study cannot be written to '{folder}': {error}.", folder=folder,
                            error=error)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _write(folder: Path, out: Path, plan: Plan, chosen: Mapping[tuple[str, int], _Source]) -> None:
    """Write the study into `folder`, which will become `out`."""
    trials = named_trials(plan)
    for which, source in chosen.items():
        if which in source.folders:
            target = folder / "trials" / trials[which].key
            shutil.copytree(source.folders[which], target, ignore=shutil.ignore_patterns("lock", "trial.json"))
    plan.write(folder / "plan.yaml")
    ended = [which for which, source in chosen.items() if which in source.outcomes]
    with closing(Storage(folder, create=True)) as storage:
        by_key = {trials[which].key: which for which in ended}
        for row in storage.add(trials[which] for which in ended):
            which = by_key[row.key]
            storage.claim(row)
            outcome = chosen[which].outcomes[which]
            if isinstance(outcome, Result):
                outcome = _moved_result(outcome, folder / "trials" / row.key, out / "trials" / row.key)
            storage.finish(row, outcome, plan.metric, chosen[which].curves.get(which, ()))


def _moved_result(result: Result, part: Path, folder: Path) -> Result:
    """Return a result that names the copy of its checkpoint, and write it beside the copy; without it, it names none."""
    notes = {key: value for key, value in result.notes.items() if key != "checkpoint"}
    name = Path(result.notes.get("checkpoint", "")).name
    if name and (part / name).is_file():
        notes["checkpoint"] = str(folder.resolve() / name)
    result = replace(result, notes=notes)
    if part.is_dir():
        write_json(part / "result.json", result)
    return result
