"""The command line: the table of commands, and `main`, which runs one of them.

Each module of this package owns one group of commands with its help text. Modules import PyTorch, NumPy and Ultralytics
inside their functions only, so that help, version and usage errors appear at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from yolograft import __version__
from yolograft.cli import adopt, completion, data, demo, models, modes, study, yamls
from yolograft.cli.arguments import UsageError
from yolograft.errors import GraftError, nearest

__all__ = ["main"]

HELP = f"""yolograft {__version__}: attention blocks at any site of any Ultralytics YOLO

{modes.HELP}
{models.HELP}
{yamls.HELP}
{adopt.HELP}
{data.HELP}
{demo.HELP}

{study.HELP}
{completion.HELP}

{modes.EXAMPLES}
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 for success, 1 if the command found a problem, 2 if it could not run, 130 if the user stopped it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except GraftError as error:
        print(f"yolograft: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        print(f"\nyolograft: stopped{f'; {stop}' if str(stop) else '.'}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe ended first, as in `yolograft sites ... | head`: no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0


def _run(words: list[str]) -> int:
    if not words or words[0] in ("help", "-h", "--help", "-help"):
        print(HELP)
        return 0
    if words[0] in ("version", "--version", "-V"):
        print(__version__)
        return 0
    command, rest = words[0], words[1:]
    if found := modes.find_mode(words):
        return modes.run(*found)
    if command not in COMMANDS:
        names = (*modes.MODES, *COMMANDS)
        raise UsageError(f"No command is named '{command}'.{nearest(command, names)} List them: yolograft --help")
    return COMMANDS[command](rest)


def _completion(words: Sequence[str]) -> int:
    return completion.run(words, (*modes.MODES, *COMMANDS))


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "sites": models.sites,
    "show": models.show,
    "blocks": models.blocks,
    "lint": yamls.lint,
    "yaml": yamls.write_yaml,
    "adopt": adopt.run,
    "data": data.run,
    "demo": demo.run,
    "study": study.run,
    "status": study.status,
    "bench": models.bench,
    "completion": _completion,
    "report": study.report,
}
