"""Finished runs side by side: the command `compare`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolograft.cli.arguments import UsageError, parse_bool, parse_positive_int
from yolograft.cli.command import Argument, Command
from yolograft.language import requested, tr

if TYPE_CHECKING:
    from yolograft.analysis.precision_recall import PrecisionRecall

__all__ = ["commands", "run"]


def commands() -> list[Command]:
    """Return the description of the command."""
    return [_compare()]


def _compare() -> Command:
    return Command(
        name="compare", summary=tr("draw the curves of finished runs side by side, and say what differs between them"),
        usage="runs/detect/A runs/detect/B [key=value ...]",
        arguments=[
            Argument("val", "False", tr("True validates best.pt of each run again, for precision-recall curves")),
            Argument("data", "", tr("a data YAML for val=True; by default that of the runs")),
            Argument("imgsz", "", tr("image size in pixels for val=True; by default that of each run")),
            Argument("unfinished", "False", tr("True takes runs that have not ended as they are")),
            Argument("lang", "", tr("en or zh; by default both")),
            Argument("project", "runs/compare", tr("the folder for the results")),
            Argument("name", "compare", tr("the folder in it; a number is added if it exists"))],
        example="yolograft compare runs/detect/train runs/detect/train2 val=True",
        notes=[tr("Single runs compare nothing: two runs of one configuration differ, too. yolograft study runs each "
                  "configuration with several seeds, and says whether one is better.")])


def run(words: Sequence[str]) -> int:
    """Write the page of a comparison to a new folder, and print what may be said and the paths of the pages."""
    place = next((at for at, word in enumerate(words) if "=" in word or word.startswith("--")), len(words))
    folders = words[:place]
    if not folders:
        raise UsageError(tr("'{command}' needs the folders of the runs first, as in: {example}", command="compare",
                            example=_compare().example))
    arguments = _compare().read(words[place:])
    again, unfinished = parse_bool("val", arguments["val"]), parse_bool("unfinished", arguments["unfinished"])
    imgsz = parse_positive_int("imgsz", arguments["imgsz"]) if "imgsz" in arguments else None
    if not again:
        idle = next((key for key in ("data", "imgsz") if key in arguments), None)
        if idle:
            raise UsageError(tr("{key}= has no effect without val=True.", key=idle))
    from yolograft.host.run_folder import new_folder
    from yolograft.report import compare_page, finished_runs
    from yolograft.report.words import LANGUAGES, Translator

    languages = [arguments["lang"]] if "lang" in arguments else list(LANGUAGES)
    for language in languages:
        Translator(language)  # an unknown language is an error before any work
    runs = finished_runs.read_all(folders, unfinished=unfinished)
    folder = new_folder(arguments["project"], arguments["name"])
    curves: dict[str, PrecisionRecall] = {}
    data = ""
    if again:
        from yolograft.report.compare_curves import measure_all

        curves, data = measure_all(runs, arguments.get("data"), imgsz)
    pages = compare_page.write(runs, Path(folder), curves=curves, data=data, languages=languages)
    for line in compare_page.verdict(runs, compare_page.translator(requested()), curves):
        print(line)
    for page in pages:
        print(page)
    return 0
