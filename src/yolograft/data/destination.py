"""Where a data set goes: a new folder, or the place of an older set, which goes only when the new one is complete."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yolograft.errors import DataError

__all__ = ["check", "replaced"]

_OURS = {"images", "labels", "report.txt", ".DS_Store"}  # what a set that was written here holds, with its YAML


def check(dest: Path, overwrite: bool) -> None:
    """Raise `DataError` unless a set may be written at `dest`.

    Even `overwrite` replaces data sets alone: a folder that holds anything else was named by mistake.
    """
    if not os.path.lexists(dest):
        return
    if not overwrite:
        raise DataError(f"'{dest}' is there already. Name another folder, or say overwrite=True to replace it.")
    if not dest.is_dir():
        raise DataError(f"'{dest}' is no folder, so it is not replaced. Name another place.")
    foreign = sorted(path.name for path in dest.iterdir() if path.name not in _OURS and path.suffix != ".yaml")
    if foreign:
        raise DataError(f"'{dest}' holds '{foreign[0]}', which is no part of a data set, so it is not replaced. "
                        "Name another folder, or remove this one yourself.")


@contextmanager
def replaced(dest: Path, overwrite: bool) -> Iterator[Path]:
    """Give an empty folder to write a set into; it takes the place of `dest` if the context ends without an error.

    Raises:
        DataError: `dest` must not be replaced or cannot be written; then it is as it was, and nothing is left beside it.
    """
    check(dest, overwrite)
    room = None
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        room = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", dir=dest.parent))
        draft, old = room / "new", room / "old"
        draft.mkdir()  # with the usual permissions, which a temporary folder does not have
        yield draft
        if dest.exists():
            os.replace(dest, old)
        os.replace(draft, dest)
    except OSError as error:
        raise DataError(f"'{dest}' cannot be written: {error}") from error
    finally:
        if room is not None:
            if (room / "old").exists() and not dest.exists():
                os.replace(room / "old", dest)
            shutil.rmtree(room, ignore_errors=True)
