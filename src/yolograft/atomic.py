"""Atomic writes: a reader sees the whole new file or the old one, even if the writing process is killed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

__all__ = ["PARTS", "atomic_write"]

PARTS = ".*.part"  # matches the temporary files that a killed process leaves


def atomic_write(path: Path, write: Callable[[Path], object]) -> None:
    """Create or replace a file in one step.

    `write` gets the path of a temporary file in the target's folder. When it returns, the temporary file is flushed to
    the disk and renamed to `path`. Writers in other threads, processes and hosts use other temporary files.

    >>> atomic_write(Path("notes.txt"), lambda part: part.write_text("done"))  # doctest: +SKIP

    Args:
        path: the file to create or replace. Its folder must exist.
        write: called with the path of the temporary file, which it must create.

    Raises:
        OSError: the file cannot be written. The temporary file is removed and `path` is unchanged, as after any other
            error that `write` raises.
    """
    # random, since two hosts that share a folder can have the same process ids
    part = path.with_name(f".{path.name}.{os.urandom(4).hex()}.part")
    try:
        write(part)
        with part.open("r+b") as file:  # Windows refuses to flush a file that is open for reading only
            os.fsync(file.fileno())
        os.replace(part, path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
