"""Checkpoints of forks: the command `adopt`."""

from __future__ import annotations

from collections.abc import Sequence

from yolograft.cli.arguments import UsageError, parse_bool, parse_pairs, with_defaults
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks
from yolograft.language import tr

__all__ = ["commands", "run"]


def commands() -> list[Command]:
    """Return the description of the command."""
    return [_adopt()]


def _adopt() -> Command:
    return Command(
        name="adopt", usage="FORK.pt to=FILE [key=value ...]",
        summary=tr("make a checkpoint of yolograft from that of a changed copy of Ultralytics, without running its code"),
        arguments=[Argument("to", "", tr("the new checkpoint, .pt or .safetensors")),
                   Argument("model", "", tr("the fork's model YAML; by default the one in the checkpoint")),
                   Argument("blocks", "", tr("the fork's Python file of its blocks")),
                   Argument("force", "", tr("True writes the checkpoint even if tensors do not fit"))],
        example="yolograft adopt fork-best.pt to=best.pt model=my-yolo11.yaml")


def run(words: Sequence[str]) -> int:
    """Write a checkpoint of ours from that of a fork, and print what was matched."""
    files = [word for word in words if "=" not in word and not word.startswith("-")]
    pairs = parse_pairs(word for word in words if word not in files)
    files += [pairs.pop("source")] if "source" in pairs else []
    arguments = with_defaults("adopt", pairs, _adopt().defaults())
    if len(files) != 1 or "to" not in arguments:
        raise UsageError(tr("'adopt' needs the fork's checkpoint and a file to write. Expected: yolograft adopt FORK.pt "
                            "to=best.pt [model=ITS.yaml] [blocks=FILE.py]"))
    load_own_blocks(arguments)
    from yolograft.host.adopt import adopt

    print(adopt(files[0], arguments["to"], model=arguments.get("model"),
                force=parse_bool("force", arguments.get("force", "False"))))
    return 0
