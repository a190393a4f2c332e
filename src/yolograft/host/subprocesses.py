"""Make Ultralytics start `yolograft train` where it would start `yolo train` in a subprocess.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `engine/tuner.py` and `engine/trainer.py` (for several data sets)
build a command such as `[yolo, train, key=value, ...]` and run it with `subprocess.run`, where `subprocess` is a
global of that module. Stock `yolo train` rejects the argument `graft`, so `patch_subprocess` replaces this global.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from ultralytics.engine import trainer, tuner

from yolograft.patch import patched

__all__ = ["patch_subprocess", "yolograft_command"]


def yolograft_command(stock: Sequence[str], extra: Sequence[str]) -> list[str]:
    """Return the `yolograft train` command for a `yolo train` command; any other command is returned unchanged.

    Args:
        stock: the command that Ultralytics would run.
        extra: `key=value` arguments to add, unless the command has the key already. `iou`, the name of a box loss, replaces
            the threshold that every command has.
    """
    words = [str(word) for word in stock]
    if "train" not in words or any("=" in word for word in words[: words.index("train")]):
        return words
    names_loss = any(word.startswith("iou=") for word in extra)
    arguments = [word for word in words[words.index("train"):] if not (names_loss and word.startswith("iou="))]
    keys = {word.partition("=")[0] for word in arguments}
    added = (word for word in extra if word.partition("=")[0] not in keys)
    return [sys.executable, "-m", "yolograft", *arguments, *added]


class _SubprocessModule:
    """The module `subprocess` with another `run`, which starts yolograft."""

    def __init__(self, extra: Sequence[str]) -> None:
        self._extra = extra

    def __getattr__(self, name: str) -> Any:
        return getattr(subprocess, name)

    def run(self, args: Any, **kwargs: Any) -> Any:
        return subprocess.run(yolograft_command(args, self._extra) if isinstance(args, (list, tuple)) else args, **kwargs)


def patch_subprocess(**extra: str | None) -> AbstractContextManager[None]:
    """Inside this context, Ultralytics' subprocesses run `yolograft train`, with these extra arguments (None: left out)."""
    words = [f"{key}={value}" for key, value in extra.items() if value is not None]
    return patched(*((module, "subprocess", _SubprocessModule(words)) for module in (tuner, trainer)
                     if hasattr(module, "subprocess")))
