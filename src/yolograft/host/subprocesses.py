"""Trainings that Ultralytics starts in processes of their own, as its tuner does: made to start ours instead.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `engine/tuner.py` and `engine/trainer.py` (for several data sets)
build a command such as `[yolo, train, key=value, ...]` and run it with `subprocess.run`, where `subprocess` is a
global of that module. A stock `yolo train` would refuse the graft; so for the time of the call that name stands for
the same module with another `run`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from ultralytics.engine import trainer, tuner

from yolograft.patch import patched

__all__ = ["command", "launching"]


def command(stock: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Return the command of yolograft for one that starts `yolo train`; any other is returned as it is."""
    words = [str(word) for word in stock]
    if "train" not in words or any("=" in word for word in words[: words.index("train")]):
        return words
    rest = words[words.index("train"):]
    given = {word.partition("=")[0] for word in rest}
    return [sys.executable, "-m", "yolograft", *rest, *(word for word in extra if word.partition("=")[0] not in given)]


class _Subprocess:
    """The module `subprocess`, but for `run`."""

    def __init__(self, extra: Sequence[str]) -> None:
        self._extra = extra

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def run(self, args: Any, **kwargs: Any) -> Any:
        return subprocess.run(command(args, self._extra) if isinstance(args, (list, tuple)) else args, **kwargs)


def launching(**extra: str | None) -> AbstractContextManager[None]:
    """Start the trainings that Ultralytics launches inside as ours, with these further arguments."""
    words = [f"{key}={value}" for key, value in extra.items() if value is not None]
    return patched(*((module, "subprocess", _Subprocess(words)) for module in (tuner, trainer)
                     if hasattr(module, "subprocess")))
