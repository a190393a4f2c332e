"""A study from the command line: its words, its folder, what is said before it begins, and how it is stopped."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from yolograft.errors import SpecError
from yolograft.study import engine, holdout
from yolograft.study.images import image_intervals
from yolograft.study.plan import Plan, read_words, train_arguments
from yolograft.study.progress import Lines, LiveView, status
from yolograft.study.study import Study

__all__ = ["place", "run"]

_PROJECT = Path("runs/study")


def run(file: str | None, words: Mapping[str, str], where: Mapping[str, str], how: Mapping[str, str]) -> int:
    """Run a study from a plan's file, from words, or from both (the words win); returns the exit code.

    Args:
        file: a plan; if an earlier run wrote it, that study goes on, in its folder.
        words: the plan's keys as the command line gives them.
        where: `name` and `project`: the folder is PROJECT/NAME.
        how: what `engine.run` takes, as text.

    Raises:
        GraftError: something cannot be used; what is on disk stays as it was.
    """
    options = _options(how)
    test = options.pop("test", False)
    written: dict[str, Any] = dict(read_words(Path(file))) if file else {}
    asked = {**written, **words}
    folder = place(file, asked, where)
    print(f"Study {folder}: checking the data, the model and each arm ...", flush=True)
    asked_plan = Plan.of(asked)
    plan = engine.begin(asked_plan, folder)
    print(f"{len(plan.arms)} arms x {len(plan.seeds)} seeds = {len(plan.trials())} trials; the verdict is on {plan.metric}, "
          f"against '{plan.baseline}'.")
    for warning in [*engine.host_warnings(plan), *engine.power_warnings(plan)]:
        print(f"WARNING: {warning}", flush=True)
    try:
        with _stoppable():
            if sys.stdout.isatty():
                with LiveView() as view:
                    study = engine.run(asked_plan, folder, view=view, **options)
            else:
                study = engine.run(asked_plan, folder, view=Lines(), **options)
    except KeyboardInterrupt:
        print(f"\nStopped; nothing is lost. Go on: yolograft study {folder / 'plan.yaml'}"
              + (" storage=URL" if options.get("storage") else ""), file=sys.stderr)
        return 130
    print(status(folder, storage=options.get("storage")), end="")
    images = image_intervals(study)
    for verdict in study.verdicts():
        over = images.get(verdict.arm)
        print(f"{verdict.arm}: {verdict.word}. {verdict.why()}"
              + (f" Over validation images of this kind: {over[0]:+.4f} to {over[1]:+.4f}." if over else ""))
    if test:
        _test(study)
    return 1 if study.failures() else 0


def _test(study: Study) -> None:
    earlier = holdout.read(study)
    found = holdout.score(study)
    verdict = found.verdict()
    if earlier is not None:
        print(f"The held-out test split was scored already, for '{found.arm}'; later arms do not reopen it.")
    print(f"On the held-out test split, {found.arm}, chosen among {found.among} arms by validation: {verdict.word}. "
          f"{verdict.why()}")


def place(file: str | None, words: Mapping[str, Any], where: Mapping[str, str]) -> Path:
    """Return a study's folder: that of a plan which a run has written, else PROJECT/NAME.

    The same words get the same folder, so that a command that was interrupted goes on when it is repeated; a
    study on other data, with another model, or with other settings gets a name of its own.
    """
    if file and not where and any((Path(file).parent / name).exists() for name in ("study.db", "trials")):
        return Path(file).parent  # a server's study has no study.db
    project = Path(where.get("project", _PROJECT))
    if "name" in where:
        return project / where["name"]
    if file and Path(file).stem not in ("plan", "study"):
        return project / Path(file).stem
    stem = "-".join(Path(str(words.get(key, key))).stem for key in ("data", "model"))
    number, candidate = 1, project / stem
    while (candidate / "plan.yaml").exists() and not _same(candidate, words):
        number += 1
        candidate = project / f"{stem}-{number}"
    return candidate


def _same(folder: Path, words: Mapping[str, Any]) -> bool:
    there = read_words(folder / "plan.yaml")
    own = ("metric", "baseline", "host")
    return train_arguments(there) == train_arguments(words) and not any(
        key in words and words[key] != there.get(key) for key in own)


def _options(how: Mapping[str, str]) -> dict[str, Any]:
    found: dict[str, Any] = dict(how)
    for key in ("workers", "per_gpu"):
        if key in found:
            if not found[key].isdecimal() or not int(found[key]):
                raise SpecError(f"{key}={found[key]} must be a whole number of at least 1.")
            found[key] = int(found[key])
    for key in ("retry", "test"):
        if key in found:
            if found[key].lower() not in ("true", "false"):
                raise SpecError(f"{key}={found[key]} must be True or False.")
            found[key] = found[key].lower() == "true"
    return found


@contextmanager
def _stoppable() -> Iterator[None]:
    """Let a polite request to end, as from a job scheduler, be what Ctrl-C is."""

    def stop(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
