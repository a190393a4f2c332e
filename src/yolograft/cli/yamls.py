"""Model YAML files: the commands `lint` and `yaml`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolograft.cli.arguments import UsageError, parse_pairs, with_defaults
from yolograft.cli.models import load_own_blocks

__all__ = ["HELP", "lint", "write_yaml"]

HELP = """\
  yolograft lint  my-yolo11.yaml [more.yaml ...]        finds errors of manual edits in model YAMLs; exit code 1 for errors
  yolograft yaml  model=yolo11n.yaml graft=se@8 [to=FILE]      writes the graft as rows of a model YAML"""


def lint(words: Sequence[str]) -> int:
    """Print what is wrong with model YAML files; returns 1 if one has an error, and 0 otherwise."""
    files = [word for word in words if not word.startswith("blocks=")]
    if not files:
        raise UsageError("'lint' needs a model YAML. Expected: yolograft lint MODEL.yaml [MORE.yaml ...] [blocks=FILE.py]")
    from yolograft.modelyaml import lint as linter

    for word in words:
        if word not in files:
            load_own_blocks({"blocks": word.partition("=")[2]})
    reports = [linter.examine(file.removeprefix("model=")) for file in files]
    print("\n\n".join(map(str, reports)))
    return int(any(report.errors for report in reports))


def write_yaml(words: Sequence[str]) -> int:
    """Print a graft as rows of a model YAML, or write it to a new file."""
    defaults = {"model": "yolo11n.yaml", "graft": "", "to": "", "blocks": ""}
    arguments = with_defaults("yaml", parse_pairs(words), defaults)
    if "graft" not in arguments:
        raise UsageError("'yaml' needs a graft. Expected: yolograft yaml model=yolo11n.yaml graft=se@8 [to=FILE]")
    to = Path(arguments["to"]) if "to" in arguments else None
    if to is not None and to.exists():
        raise UsageError(f"to={to} exists and is not overwritten. Name another file, or remove this one first.")
    from yolograft.modelyaml import load, writer

    load_own_blocks(arguments)
    text = writer.dump(load.load(arguments["model"]), arguments["graft"])
    if to is None:
        print(text, end="")
        return 0
    try:
        with to.open("x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise UsageError(f"to={to} cannot be written: {error.strerror}.") from error
    print(f"{to}: '{arguments['graft']}' as rows of {arguments['model']}")
    return 0
