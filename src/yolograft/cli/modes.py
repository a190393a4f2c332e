"""The modes of Ultralytics (train, val, predict, track, export, benchmark, tune), with grafts."""

from __future__ import annotations

from collections.abc import Sequence

from yolograft.cli.arguments import parse_pairs, rename

__all__ = ["MODES", "TASKS", "find_mode", "run"]

MODES = ("train", "val", "predict", "track", "export", "benchmark", "tune")
TASKS = ("detect", "segment", "classify", "pose", "obb", "semantic", "depth")


def find_mode(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the mode of a command and its arguments, or None if the command is no mode.

    As in `yolo`, the mode and the task can stand at the beginning in either order, or be arguments: `detect train ...`,
    `task=detect mode=train ...`.
    """
    mode, rest = "", []
    for number, word in enumerate(words):
        key, _, value = word.lstrip("-").partition("=")
        if key == "mode" and value in MODES:
            mode = mode or value
        elif number < 2 and word in MODES and not mode:
            mode = word
        elif number < 2 and word in TASKS:
            rest.append(f"task={word}")
        elif not number and "=" not in word:
            return None  # another command
        else:
            rest.append(word)
    return (mode, rest) if mode else None


def run(mode: str, words: Sequence[str]) -> int:
    """Run one mode of Ultralytics on a model that may be grafted."""
    pairs = rename(parse_pairs(words))
    from yolograft.host import commands
    from yolograft.host.log import go_on_without_reader

    go_on_without_reader()
    commands.run(mode, pairs)
    return 0
