"""Finished runs over each other: the command `compare`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolograft.cli.arguments import UsageError, parse_bool
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks, own_files
from yolograft.errors import GraftError
from yolograft.language import requested, tr

if TYPE_CHECKING:
    from yolograft.report.compare_page import PrCurves
    from yolograft.report.finished_run import FinishedRun

__all__ = ["commands", "run"]

_SEEDS = 6


def commands() -> list[Command]:
    """Return the description of the command."""
    return [_compare()]


def _compare() -> Command:
    return Command(
        name="compare", summary=tr("draw the curves of finished runs over each other, and say what differs between them"),
        usage="RUN RUN [RUN ...] [key=value ...]",
        arguments=[
            Argument("val", "False", tr("True validates weights/best.pt of each run, for the precision-recall curves")),
            Argument("data", "", tr("the data YAML for val=True; by default that of each run")),
            Argument("split", "val", tr("the split for val=True: val or test")),
            Argument("device", "cpu", tr("cpu, or the number of a GPU")),
            Argument("lang", "", tr("en or zh; by default both")),
            Argument("project", "runs/compare", tr("the folder for the results")),
            Argument("name", "compare", tr("the folder in it; a number is added if it exists")),
            *own_files()],
        example="yolograft compare runs/detect/a runs/detect/b val=True",
        notes=[tr("Two single runs do not show which model is better, because two seeds of one model differ as well. The "
                  "page says so, and how large such differences were in our study.")])


def run(words: Sequence[str]) -> int:
    """Write a page that compares finished runs, and print its path."""
    folders = [word for word in words if not word.startswith("-") and ("=" not in word or Path(word).is_dir())]
    arguments = _compare().read([word for word in words if word not in folders])
    wants_val = parse_bool("val", arguments["val"])
    if arguments["split"] not in ("val", "test"):
        raise UsageError(tr("split={text}: expected val or test.", text=arguments["split"]))
    from yolograft.report import compare_page, explain_words
    from yolograft.report.compare_words import TEXTS
    from yolograft.report.finished_run import read_runs
    from yolograft.report.words import Translator

    languages = [arguments["lang"]] if "lang" in arguments else ["en", "zh"]
    known = {**explain_words.TEXTS, **TEXTS}
    say, *_ = (Translator(language, known) for language in (requested(), *languages))  # all are checked before any work
    runs = read_runs(folders)
    classes = _classes(runs, arguments.get("data"))
    curves = None
    if wants_val:
        load_own_blocks(arguments)
        curves = _validate(runs, arguments)
    from yolograft.host.run_folder import new_folder

    folder = new_folder(arguments["project"], arguments["name"])
    pages = compare_page.write(runs, folder, classes=classes, curves=curves, command=_study(runs), languages=languages)
    for line in compare_page.headline(runs, classes, say).split("\n"):
        print(line)
    for name, reason in (curves.missing if curves is not None else {}).items():
        print(say("PR missing", run=name, reason=reason), file=sys.stderr)
    for page in pages:
        print(page)
    return 0


def _classes(runs: Sequence[FinishedRun], data: str | None) -> dict[str, list[str]]:
    """Return the classes of each run whose data YAML is on this machine."""
    from yolograft.data import data_yaml

    found = {}
    for one in runs:
        try:
            found[one.name] = list(data_yaml.read(data or one.data).names.values())
        except (GraftError, OSError):
            continue  # the data have moved; without val=True the page does not need them
    return {name: names for name, names in found.items() if names}


def _validate(runs: Sequence[FinishedRun], arguments: Mapping[str, str]) -> PrCurves:
    from yolograft.analysis.precision_recall import RECALLS, precision_recall
    from yolograft.analysis.validation import validate
    from yolograft.host.open import open_model
    from yolograft.report.compare_page import PrCurves

    precisions: dict[str, Any] = {}
    missing, sizes = dict[str, str](), []
    for one in runs:
        size = one.arguments.get("imgsz")
        imgsz = size if isinstance(size, int) else 640
        sizes.append(str(imgsz))
        if not one.best.is_file():
            missing[one.name] = tr("{file} does not exist.", file=one.best)
            continue
        print(tr("validating {file}", file=one.best), file=sys.stderr)
        try:
            found = validate(open_model(one.best), arguments.get("data") or one.data, imgsz=imgsz,
                             device=arguments["device"], split=arguments["split"])
        except GraftError as error:
            missing[one.name] = str(error)
            continue
        precisions[one.name] = precision_recall(found.detections).mean
    return PrCurves(recalls=RECALLS, precisions=precisions, split=arguments["split"], missing=missing,
                    imgsz=", ".join(dict.fromkeys(sizes)))


def _study(runs: Sequence[FinishedRun]) -> str:
    """Return the command of a study with the first run's settings, to compare blocks with."""
    from yolograft import shell

    first = runs[0].arguments
    kept = {key: first[key] for key in ("data", "model", "epochs", "imgsz", "batch") if first.get(key) is not None}
    return shell.command("study", *(f"{key}={value}" for key, value in kept.items()), "arms=none; se@8; aa",
                         f"seeds={_SEEDS}")
