"""The paper kit: the command `paper`."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from yolograft.cli.arguments import UsageError
from yolograft.cli.command import Argument, Command
from yolograft.language import LANGUAGES, tr

__all__ = ["commands", "run"]


def commands() -> list[Command]:
    """Return the description of the command."""
    return [_paper()]


def _paper() -> Command:
    return Command(
        name="paper", summary=tr("write the table, the sentences and the figures of a study for a paper"),
        usage="runs/study/NAME [key=value ...]",
        arguments=[
            Argument("formats", "", tr("formats of the table, as in formats=tex,docx; by default tex, md, csv, and docx "
                                       "if python-docx is installed")),
            Argument("lang", "", tr("en or zh; by default both")),
            Argument("out", "", tr("the folder to write to; by default the folder `paper` of the study")),
            Argument("storage", "", tr("URL of the data base server, if the study uses one"))],
        example="yolograft paper runs/study/NAME formats=tex,docx",
        notes=[tr("Only an arm that is shown to help is bold, and the footnote of the table says why. A file that you have "
                  "edited is kept: the new one is written beside it.")])


def run(words: Sequence[str]) -> int:
    """Write the paper kit of a study and print the paths of its files."""
    if not words or "=" in words[0]:
        raise UsageError(tr("'{command}' needs the study's folder first, as in: {example}", command="paper",
                            example=_paper().example))
    arguments = _paper().read(words[1:])
    from yolograft.report.paper import write

    formats = [name.strip() for name in arguments["formats"].split(",")] if "formats" in arguments else None
    languages = [arguments["lang"]] if "lang" in arguments else LANGUAGES
    written = write(words[0], arguments.get("out"), languages=languages, formats=formats, storage=arguments.get("storage"))
    for edited, new in written.kept:
        print(tr("'{edited}' has been edited and is kept. The new one: {new}", edited=edited, new=new), file=sys.stderr)
    for note in written.notes:
        print(note, file=sys.stderr)
    for path in written.files:
        print(path)
    return 0
