"""The command line: the table of commands, and `main`, which runs one of them.

Each module of this package owns one group of commands with their descriptions, from which help and the check of arguments
are made. Modules import PyTorch, NumPy and Ultralytics inside their functions only, so that help, version and usage errors
appear at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from yolograft import __version__, system_errors
from yolograft.cli import (
    adopt,
    compare,
    completion,
    data,
    data_pages,
    demo,
    deploy,
    explain,
    fold,
    heatmap,
    mode_pages,
    models,
    modes,
    pack,
    paper,
    screen,
    study,
    yamls,
)
from yolograft.cli.arguments import UsageError, parse_bool
from yolograft.cli.command import Command
from yolograft.errors import GraftError, nearest
from yolograft.language import tr, wrap
from yolograft.shell import hide_secrets

__all__ = ["COMMANDS", "descriptions", "main", "overview"]

_HELP = ("--help", "-h", "-help")


def descriptions() -> dict[str, Command]:
    """Return the description of every command and mode by its name, such as `sites` or `data voc`."""
    return {command.name: command for _, commands in _groups() for command in commands}


def _groups() -> list[tuple[str, list[Command]]]:
    return [
        (tr("Train and use a model (all arguments of `yolo`, and graft=):"), mode_pages.commands(modes.MODES)),
        (tr("Look at models and blocks:"), models.commands()),
        (tr("Look inside a trained model:"), [*explain.commands(), *heatmap.commands(), *fold.commands(),
                                              *deploy.commands()]),
        (tr("Model YAML files, and checkpoints in other forms:"), [*yamls.commands(), *adopt.commands(), *pack.commands()]),
        (tr("Data sets:"), data_pages.commands(data._PATHS)),
        (tr("Find out whether a block helps:"), [*demo.commands(), *screen.commands(), *study.commands(),
                                                 *paper.commands(), *compare.commands()]),
        (tr("Shell:"), completion.commands()),
    ]


def overview() -> str:
    """Return the page of `yolograft --help`: every command with its summary."""
    lines = [tr("yolograft {version}: attention blocks at any site of any Ultralytics YOLO", version=__version__)]
    for heading, commands in _groups():
        lines += ["", heading]
        for command in commands:
            first, *rest = wrap(command.summary, 76)
            lines += [f"  {command.name:<16} {first}", *(f"{'':<19}{line}" for line in rest)]
    lines += ["", tr("Arguments, defaults and an example of one command: yolograft COMMAND --help"), "",
              tr("First steps:"),
              "  yolograft demo",
              "  yolograft data neu-det NEU-DET.zip datasets/NEU-DET",
              "  yolograft train model=yolo11n.pt graft=se@8 data=datasets/NEU-DET/NEU-DET.yaml epochs=100 imgsz=640",
              "  yolograft val model=runs/detect/train/weights/best.pt data=datasets/NEU-DET/NEU-DET.yaml"]
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Returns:
        The exit code: 0 for success, 1 if the command found a problem, 2 if it could not run, 130 if the user stopped it.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except GraftError as error:
        print(f"yolograft: {_without_passwords(str(error), words)}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:
        reason = str(stop)
        print(tr("\nyolograft: stopped; {reason}", reason=reason) if reason else
            tr("\nyolograft: stopped."), file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of a pipe ended first, as in `yolograft sites ... | head`: no error
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError, RuntimeError) as error:  # of the system; after the errors above, which are subclasses
        explained = system_errors.explain(error)
        if explained is None:
            raise
        print(f"yolograft: {explained}", file=sys.stderr)
        return 2


def _without_passwords(text: str, words: Sequence[str]) -> str:
    """Return an error's text without the passwords of data base URLs, which may be typed in a wrong place."""
    for word in words:
        key, scheme, _ = word.partition("://")
        if word.lstrip("-").startswith("storage=") or (scheme and "=" not in key):
            text = hide_secrets(text, word)
    return text


def _run(words: list[str]) -> int:
    if not words or words[0] in ("help", *_HELP):
        print(_help(words[1:]))
        return 0
    if words[0] in ("version", "--version", "-V"):
        print(__version__)
        return 0
    command, rest = words[0], words[1:]
    if any(word in _HELP for word in rest):
        asked = [word for word in words if word not in _HELP]
        mode = modes.find_mode(asked)
        print(_help([mode[0]] if mode else asked))
        return 0
    words = _read_trust(words)
    command, rest = words[0], words[1:]
    if found := modes.find_mode(words):
        return modes.run(*found)
    if command not in COMMANDS:
        raise _unknown(command)
    return COMMANDS[command](rest)


def _read_trust(words: list[str]) -> list[str]:
    """Take `trust=True`, which every command that opens a checkpoint has, from the words of a command."""
    pairs = [(word, word.lstrip("-").partition("=")) for word in words]
    for _, (key, _, value) in pairs:
        if key == "trust" and len(words) > 1 and parse_bool("trust", value or "True"):
            os.environ["YOLOGRAFT_TRUST"] = "1"  # for the processes of a study or of several GPUs as well
    return [word for word, (key, _, _) in pairs if key != "trust"] or words


def _help(words: Sequence[str]) -> str:
    """Return the page of the command that `words` begin with. `data` has a page for each kind of data."""
    if not words:
        return overview()
    pages = descriptions()
    name = " ".join(words[:2])
    if name in pages:
        return pages[name].help()
    if words[0] in pages:
        return pages[words[0]].help()
    kinds = [page.help() for name, page in pages.items() if name.startswith(f"{words[0]} ")]
    if not kinds:
        raise _unknown(words[0])
    return "\n\n\n".join(kinds)


def _unknown(command: str) -> UsageError:
    return UsageError(tr("No command is named '{command}'.{nearest} List them: yolograft --help", command=command,
                         nearest=nearest(command, (*modes.MODES, *COMMANDS))))


def _completion(words: Sequence[str]) -> int:
    return completion.run(words, (*modes.MODES, *COMMANDS))


COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "sites": models.sites,
    "show": models.show,
    "blocks": models.blocks,
    "modules": models.modules,
    "lint": yamls.lint,
    "yaml": yamls.write_yaml,
    "adopt": adopt.run,
    "pack": pack.pack,
    "unpack": pack.unpack,
    "data": data.run,
    "demo": demo.run,
    "study": study.run,
    "status": study.status,
    "screen": screen.run,
    "bench": models.bench,
    "heatmap": heatmap.run,
    "fold": fold.run,
    "deploy-check": deploy.run,
    "completion": _completion,
    "report": study.report,
    "paper": paper.run,
    "compare": compare.run,
    "explain": explain.run,
}
