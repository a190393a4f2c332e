"""A study in the terminal: its folder, the warnings before it starts, its progress and results, and how it stops."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolograft import shell
from yolograft.errors import GraftError, SpecError
from yolograft.language import tr
from yolograft.modules.plugin import load_own
from yolograft.study import engine, holdout, latency
from yolograft.study.data_sets import read_data
from yolograft.study.foresight import foresee, sentences
from yolograft.study.images import image_intervals
from yolograft.study.plan import Plan, read_record, read_words, train_arguments
from yolograft.study.progress import Lines, LiveView, status
from yolograft.study.study import Study
from yolograft.study.verdict import Verdict, printed, spoken

__all__ = ["choose_folder", "run", "sigterm_as_interrupt"]

_PROJECT = Path("runs/study")


def run(file: str | None, words: Mapping[str, str], location: Mapping[str, str], options: Mapping[str, str]) -> int:
    """Run or continue a study, and print its progress and verdicts.

    Args:
        file: a plan, or None. If a study wrote this plan, that study continues in its folder.
        words: the plan's keys from the command line; they override those of the file.
        location: `name` and `project`: the study's folder is PROJECT/NAME.
        options: the options of `engine.run`, as text.

    Returns:
        The exit code: 1 if a trial failed, 130 if the user stopped the study, and 0 otherwise.

    Raises:
        GraftError: the plan or an option is invalid. No file has changed.
    """
    run_options = _parse_options(options)
    score_test, foresee_only = run_options.pop("test", False), run_options.pop("plan", False)
    measures_latency = run_options.pop("latency", True)
    from_file: dict[str, Any] = dict(read_words(Path(file))) if file else {}
    merged = {**from_file, **words}
    for key in ("modules", "blocks"):
        if merged.get(key):
            own = load_own({key: merged[key]})
            print("\n".join(map(str, own)))
            merged[key] = ",".join(str(one.file) for one in own)  # the trials run in other folders
    folder = choose_folder(file, merged, location)
    print(tr("Study {folder}: checking the data, the model and each arm ...", folder=folder), flush=True)
    requested = Plan.of(merged, folder)
    if score_test:
        holdout.check(requested)
    if foresee_only:
        return _foresee(requested, folder, run_options.get("storage"))
    plan = engine.begin(requested, folder)
    print(tr("{arms} arms x {seeds} seeds{sets} = {trials} trials; verdicts compare {metric} with the baseline "
             "'{baseline}'.", arms=len(plan.arms), seeds=len(plan.seeds), trials=len(plan.trials()), metric=plan.metric,
             baseline=plan.baseline, sets=tr(" x {count} data sets", count=len(plan.parts)) if len(plan.parts) > 1 else ""))
    _print_warnings(plan, requested.notes)
    try:
        with sigterm_as_interrupt():
            if sys.stdout.isatty():
                with LiveView() as view:
                    study = engine.run(requested, folder, view=view, **run_options)
            else:
                study = engine.run(requested, folder, view=Lines(), **run_options)
    except KeyboardInterrupt:
        command = shell.command("study", folder / "plan.yaml", *_storage_words(run_options))
        print(tr("\nStopped. All finished trials are saved. Continue with: {command}", command=command), file=sys.stderr)
        return 130
    if measures_latency:
        _measure_latency(study)
    print(status(folder, storage=run_options.get("storage")), end="")
    for part in study.parts:
        where = f" [{part.plan.dataset}]" if len(study.parts) > 1 else ""
        intervals = image_intervals(part)
        for verdict in part.verdicts():
            interval = intervals.get(verdict.arm)
            images = tr(" 95% interval over seeds and validation images: {low:+.4f} to {high:+.4f}.",
                        low=printed(interval[0]), high=printed(interval[1])) if interval else ""
            print(f"{verdict.arm}{where}: {spoken(verdict.word, verdict.margin)}. {verdict.why()}{images}")
    if score_test:
        _score_test_split(study)
    command = shell.command("report", folder, *_storage_words(run_options))
    print(tr("Write the report, one page with tables and figures:\n  {command}", command=command))
    return 1 if study.failures() else 0


def _print_warnings(plan: Plan, notes: Sequence[str]) -> None:
    """Print what the user can still change before the first trial: notes on the arms, and warnings."""
    for note in notes:
        print(note)
    for warning in [*engine.host_warnings(plan), *engine.power_warnings(plan)]:
        print(tr("WARNING: {warning}", warning=warning), flush=True)


def _foresee(plan: Plan, folder: Path, storage: str | None) -> int:
    """Print what a plan can find and exclude, and the warnings of a study's start; runs and writes nothing."""
    pilot: list[Verdict] = []
    notes = plan.notes
    if (folder / "plan.yaml").exists():
        plan = engine.begin(plan, folder)
        if storage is not None or (folder / "study.db").exists():
            pilot = Study.load(folder, storage=storage).verdicts()
    for line in sentences(plan, foresee(plan, pilot)):
        print(line)
    _print_warnings(plan, notes)
    return 0


def _measure_latency(study: Study) -> None:
    """Measure the latency of all arms if the study is complete; a study whose latency cannot be measured goes without."""
    try:
        if not latency.is_due(study):
            return
        groups = latency.equal_networks(study.plan)
        print(tr("Measuring the latency of {networks} networks in turns ...", networks=len(groups)), flush=True)
        found = latency.measure(study)
    except GraftError as error:
        print(tr("WARNING: {warning}", warning=tr("The latency was not measured: {reason}", reason=error)))
        return
    if found.protocol.is_busy:
        busy = tr("Other programs used {share:.0f}% of the CPU while the latency was measured. Delete {file} and repeat the "
                  "command on an idle machine.", share=100 * found.protocol.busy, file=study.folder / latency.FILE)
        print(tr("WARNING: {warning}", warning=busy))


def _storage_words(options: Mapping[str, Any]) -> list[str]:
    storage = options.get("storage")
    if not storage:
        return []
    return [f"storage={storage}" if shell.hide_password(storage) == storage else "storage=URL"]


def _score_test_split(study: Study) -> None:
    earlier = holdout.read(study)
    result = holdout.score(study)
    verdict = result.verdict()
    if earlier is not None:
        print(tr("The held-out test split was scored before, for '{arm}'. It is scored once only; later arms do not "
                 "change the choice.", arm=result.arm))
    print(tr("On the held-out test split, {arm}, chosen among {among} arms by validation: {word}. {why}",
             arm=result.arm, among=result.among, word=spoken(verdict.word), why=verdict.why()))


def choose_folder(file: str | None, words: Mapping[str, Any], location: Mapping[str, str]) -> Path:
    """Return a study's folder: the folder of a plan that a study wrote, and PROJECT/NAME otherwise.

    The same words get the same folder, so that an interrupted command continues when it is repeated. A study with other
    data, another model or other settings gets a new folder.
    """
    if file and not location and any((Path(file).parent / name).exists() for name in ("study.db", "trials")):
        return Path(file).parent  # with a storage server there is no study.db
    project = Path(location.get("project", _PROJECT))
    if "name" in location:
        return project / location["name"]
    if file and Path(file).stem not in ("plan", "study"):
        return project / Path(file).stem
    data = read_data(words.get("data", "data"))
    names = [*(data if isinstance(data, list) else [data]), words.get("model", "model")]
    stem = "-".join(Path(str(name)).stem for name in names)
    number, candidate = 1, project / stem
    while (candidate / "plan.yaml").exists() and not _is_same_study(candidate, words):
        number += 1
        candidate = project / f"{stem}-{number}"
    return candidate


def _is_same_study(folder: Path, words: Mapping[str, Any]) -> bool:
    stored = read_record(folder / "plan.yaml")
    return train_arguments(stored) == train_arguments(words) and not any(
        key in words and words[key] != stored.get(key) for key in ("metric", "baseline", "host"))


def _parse_options(options: Mapping[str, str]) -> dict[str, Any]:
    parsed: dict[str, Any] = dict(options)
    for key in ("workers", "per_gpu"):
        if key in options:
            if not options[key].isdecimal() or not int(options[key]):
                raise SpecError(tr("{key}={value} must be a whole number of at least 1.", key=key, value=options[key]))
            parsed[key] = int(options[key])
    for key in ("retry", "test", "plan", "latency"):
        if key in options:
            if options[key].lower() not in ("true", "false"):
                raise SpecError(tr("{key}={value} must be True or False.", key=key, value=options[key]))
            parsed[key] = options[key].lower() == "true"
    return parsed


@contextmanager
def sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM, with which a job scheduler ends a job, as Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
