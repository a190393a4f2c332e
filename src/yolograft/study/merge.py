"""Merge the finished trials of one study that ran on several machines: `yolograft study merge A B ... OUT`.

A source is a study's folder, or exported records (`plan.yaml` and `trials.jsonl`, see benchmarks/study_records.py). All
sources must have the same settings, versions, data, weights and arms as spelled; seeds and arms can differ. The result is a
normal study folder. The sources are only read. `merge_checks` says what can be merged.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

from filelock import FileLock, Timeout

from yolograft.errors import DataError, GraftError
from yolograft.language import tr
from yolograft.study.engine import take_looks
from yolograft.study.merge_checks import Source, choose, common_plan, latency_file, test_scores
from yolograft.study.plan import Plan
from yolograft.study.storage import Storage
from yolograft.study.study import Study, named_trials
from yolograft.study.trial import Failure, Result, Trial, write_json

__all__ = ["merge"]


def merge(sources: Sequence[str | Path], out: str | Path, *, tell: Callable[[str], object] = lambda _: None) -> Study:
    """Merge studies of the same plan into the new folder `out`, and return the merged study.

    Args:
        sources: the folders of the studies.
        out: a folder that does not exist or is empty.
        tell: gets a sentence for the user about what was taken from one source only.

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
    plan = common_plan(found)
    chosen = choose(found, plan)
    tested = test_scores(found)
    measured, note = latency_file(found, plan)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _made(folder) as part:
        _write(part, folder, plan, chosen)
        for file in (tested, measured):
            if file is not None:
                shutil.copyfile(file, part / file.name)
    if note:
        tell(note)
    with closing(Storage(folder)) as storage:
        plan = take_looks(plan, folder, storage.rows())
        plan.write(folder / "plan.yaml")
        return Study(folder, plan, tuple(storage.rows()))


def _read(where: Path) -> Source:
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
    return Source(where=where, plan=plan, outcomes=outcomes, folders=folders, used=study.spent if study.taken else 0.0,
                   curves={which: row.curve for which, row in study.latest.items() if row.state == "complete"})


def _read_records(where: Path, plan: Plan) -> Source:
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
    return Source(where=where, plan=plan, outcomes=outcomes, curves=curves, folders={},
                   used=max((look.spent for look in plan.taken), default=0.0))


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


def _write(folder: Path, out: Path, plan: Plan, chosen: Mapping[tuple[str, int], Source]) -> None:
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
