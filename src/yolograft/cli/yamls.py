"""Model YAML files: the commands `lint` and `yaml`."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from yolograft.atomic import atomic_write
from yolograft.cli.arguments import UsageError
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks, swap_argument
from yolograft.language import tr

if TYPE_CHECKING:
    from yolograft.modelyaml.findings import Report

__all__ = ["commands", "lint", "write_yaml"]


def commands() -> list[Command]:
    """Return the descriptions of this group's commands."""
    return [_lint(), _yaml()]


def _lint() -> Command:
    return Command(
        name="lint", summary=tr("find the errors of manual edits in model YAML files; exit code 1 for errors"),
        usage="MODEL.yaml [MORE.yaml ...] [blocks=FILE.py]",
        arguments=[Argument("blocks", "", tr("a Python file that defines your own blocks")),
                   Argument("modules", "", tr("a Python file whose classes rows of the model YAML name"))],
        example="yolograft lint my-yolo11.yaml")


def _yaml() -> Command:
    return Command(
        name="yaml", summary=tr("write a graft as rows of a model YAML, or the YAML of a swap"),
        usage="graft=BLOCK@SITE [swap=MODULE@SITE] [key=value ...]",
        arguments=[Argument("model", "yolo11n.yaml", tr("a model YAML or a checkpoint")),
                   Argument("graft", "", tr("the blocks to add, as in graft=se@8")), swap_argument(),
                   Argument("to", "", tr("the new file; without it, the YAML is printed")),
                   Argument("blocks", "", tr("a Python file that defines your own blocks")),
                   Argument("modules", "", tr("a Python file whose classes rows of the model YAML name"))],
        example="yolograft yaml model=yolo11n.yaml graft=se@8 to=my-yolo11.yaml")


def lint(words: Sequence[str]) -> int:
    """Print what is wrong with model YAML files; returns 1 if one has an error, and 0 otherwise."""
    options = [word for word in words if "=" in word and not word.startswith("model=") and not Path(word).is_file()]
    files = [word.removeprefix("model=") for word in words if word not in options]
    arguments = _lint().read(options)
    if not files:
        raise UsageError(tr("'lint' needs a model YAML. Expected: {usage}", usage=f"yolograft lint {_lint().usage}"))
    load_own_blocks(arguments)
    reports = [_examine(file) for file in files]
    print("\n\n".join(map(str, reports)))
    return int(any(report.errors for report in reports))


def _examine(file: str) -> Report:
    """Examine a file. One that follows all rules is built as well, as `show` builds it, if no weights are missing for it."""
    from yolograft.errors import GraftError
    from yolograft.host.open import check_model
    from yolograft.modelyaml import lint, load, table
    from yolograft.modelyaml.findings import Finding
    from yolograft.modelyaml.torchvision_weights import find_download

    report = lint.examine(file)
    if not report.errors and not any(map(find_download, table.parse_rows(load.load(file)))):
        try:
            check_model(file)
        except GraftError as error:
            found = Finding(row=None, severity="error", what=str(error),
                            why=tr("The commands that build this model end with this error."),
                            fix=tr("Change the row or the line that it names."))
            return replace(report, findings=(*report.findings, found))
    return report


def write_yaml(words: Sequence[str]) -> int:
    """Print a graft as rows of a model YAML, or write it to a new file."""
    arguments = _yaml().read(words)
    if "graft" not in arguments and "swap" not in arguments:
        raise UsageError(tr("'yaml' needs a graft. Expected: {usage}", usage=_yaml().example))
    to = Path(arguments["to"]) if "to" in arguments else None
    if to is not None and to.exists():
        raise UsageError(tr("to={file} exists and is not overwritten. Name another file, or remove this one first.",
                            file=to))
    from yolograft.host.open import check_model
    from yolograft.modelyaml import load, writer

    load_own_blocks(arguments)
    config = load.load(arguments["model"])
    check_model(arguments["model"])
    if "swap" in arguments:
        from yolograft.host.swapped_yaml import swapped_yaml

        config = swapped_yaml(config, arguments["model"], arguments["swap"])
    graft = arguments.get("graft", "none")
    text = writer.dump(config, graft, arguments.get("swap", ""))
    if to is None:
        print(text, end="")
        return 0
    try:
        if os.path.lexists(to):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        atomic_write(to, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        raise UsageError(tr("to={file} cannot be written: {reason}.", file=to, reason=error.strerror)) from error
    what = ", ".join(arguments[key] for key in ("swap", "graft") if key in arguments)
    print(tr("{file}: '{graft}' as rows of {model}", file=to, graft=what, model=arguments["model"]))
    return 0
