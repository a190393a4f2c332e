"""Atomic writes of the checkpoints of a training: `last.pt`, `best.pt` and `epochN.pt`.

Ultralytics writes them in place, so a process that is killed at the wrong moment, or a full disk, leaves half a `last.pt`,
or half a `best.pt` in the place of the best epoch so far.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from yolograft.atomic import atomic_write
from yolograft.patch import patched

__all__ = ["CheckpointPath", "atomic_save"]


class CheckpointPath(type(Path())):  # type: ignore[misc]  # the class of paths of this system
    """A path whose `write_bytes` is atomic. Paths that are made from it are of this class too."""

    def write_bytes(self, data: Any) -> int:
        """Write a file in one step, and return the number of bytes."""
        atomic_write(Path(self), lambda part: part.write_bytes(data))
        return len(data)


@contextmanager
def atomic_save() -> Iterator[None]:
    """Context manager: `torch.save` to a path is atomic."""
    stock = torch.save

    def save(obj: Any, f: Any, *arguments: Any, **more: Any) -> None:
        if isinstance(f, (str, Path)):
            atomic_write(Path(f), lambda part: stock(obj, part, *arguments, **more))
        else:
            stock(obj, f, *arguments, **more)

    with patched((torch, "save", save)):
        yield
