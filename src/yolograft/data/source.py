"""Where a data set comes from: a folder as it is, or a zip file unpacked with care into a temporary one."""

from __future__ import annotations

import lzma
import shutil
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from yolograft.errors import DataError, nearest

__all__ = ["opened"]

_LARGEST = 200 * 2**30  # bytes unpacked; a set of pictures that is larger is not read from one zip file
# what the standard library raises, by where in the file the damage is
_BROKEN = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError,
           struct.error, zlib.error, lzma.LZMAError)
_DENSEST = 400  # times that pictures and XML may grow when unpacked, which real ones never do


@contextmanager
def opened(source: str | Path, hint: str = "") -> Iterator[Path]:
    """Give the folder that holds the set at `source`, for as long as the context lasts.

    Args:
        source: a folder or a zip file.
        hint: where to get the set, for the message when there is nothing.

    Raises:
        DataError: there is nothing, or the zip file is broken or unsafe.
    """
    path = Path(source)
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*")]
        raise DataError(f"'{path}' does not exist.{nearest(path.name, beside)}{f' {hint}' if hint else ''}")
    if not zipfile.is_zipfile(path):
        raise DataError(f"'{path}' is neither a folder nor a zip file. Unpack it and name the folder.")
    folder = Path(tempfile.mkdtemp(prefix="yolograft-"))
    try:
        _unpack(path, folder)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _unpack(path: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            total = sum(member.file_size for member in members)
            if total > min(_LARGEST, _DENSEST * max(path.stat().st_size, 1)):
                raise DataError(f"'{path}' would unpack to {total / 2**20:,.0f} MiB, which no set of pictures of its size "
                                "does. Unpack it yourself if you trust it, and name the folder.")
            twice = [name for name, count in Counter(member.filename for member in members).items() if count > 1]
            if twice:
                raise DataError(f"'{path}' holds '{twice[0]}' twice; which is meant is unclear. Unpack it yourself, and "
                                "name the folder.")
            for member in members:
                name = PurePosixPath(member.filename.replace("\\", "/"))
                if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
                    raise DataError(f"'{path}' holds '{member.filename}', which points out of the folder to unpack it in.")
                archive.extract(member, folder)
    except _BROKEN as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"'{path}' cannot be unpacked: {error}") from error
