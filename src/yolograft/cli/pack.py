"""Checkpoints without pickle: the commands `pack` and `unpack`."""

from __future__ import annotations

from collections.abc import Sequence

from yolograft.cli.arguments import UsageError, parse_bool
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks, own_files
from yolograft.language import tr

__all__ = ["commands", "pack", "unpack"]


def commands() -> list[Command]:
    """Return the descriptions of this group's commands."""
    return [_pack(), _unpack()]


def _arguments() -> list[Argument]:
    return [Argument("to", "", tr("the new file; by default beside the old one, with the other suffix")),
            Argument("overwrite", "False", tr("True replaces an existing file")), *own_files()]


def _pack() -> Command:
    return Command(
        name="pack", usage="MODEL.pt [to=FILE.safetensors]", arguments=_arguments(), example="yolograft pack best.pt",
        summary=tr("write a checkpoint as safetensors: a form that cannot run code when it is opened"))


def _unpack() -> Command:
    return Command(
        name="unpack", usage="MODEL.safetensors [to=FILE.pt]", arguments=_arguments(),
        example="yolograft unpack best.safetensors",
        summary=tr("write a safetensors file of 'yolograft pack' as a checkpoint that `yolo` opens"))


def pack(words: Sequence[str]) -> int:
    """Write a checkpoint as safetensors, and print the path."""
    return _run(_pack(), words)


def unpack(words: Sequence[str]) -> int:
    """Write a safetensors file as a checkpoint, and print the path."""
    return _run(_unpack(), words)


def _run(command: Command, words: Sequence[str]) -> int:
    files = [word for word in words if "=" not in word and not word.startswith("-")]
    arguments = command.read(word for word in words if word not in files)
    if len(files) != 1:
        raise UsageError(tr("'{command}' needs one file. Expected: {usage}", command=command.name,
                            usage=f"yolograft {command.name} {command.usage}"))
    overwrite = parse_bool("overwrite", arguments["overwrite"])
    load_own_blocks(arguments)
    from yolograft.host import pack as convert

    function = convert.pack if command.name == "pack" else convert.unpack
    print(function(files[0], arguments.get("to"), overwrite=overwrite))
    return 0
