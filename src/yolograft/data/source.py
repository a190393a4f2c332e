"""The source of a data set: a folder, or a zip file, which is checked and unpacked into a temporary folder."""

from __future__ import annotations

import lzma
import shutil
import stat
import struct
import tempfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from yolograft.data.text import decode, usual_encoding
from yolograft.errors import DataError, nearest
from yolograft.language import tr

__all__ = ["open_source"]

_MAX_BYTES = 200 * 2**30  # bytes, unpacked: the limit for one zip file
# errors of the standard library for a damaged file, which depend on the position of the damage
_UNPACK_ERRORS = (zipfile.BadZipFile, OSError, EOFError, NotImplementedError, RuntimeError, ValueError, OverflowError,
                  IndexError, struct.error, zlib.error, lzma.LZMAError)
_MAX_NAME = 1000  # characters of a member's path
_MAX_DEPTH = 50  # folders
_SHOWN = 100  # characters of a name in a message
_IS_UTF8 = 0x800  # flag of a zip member: its name is UTF-8
_MAX_RATIO = 400  # limit for unpacked size / packed size; images and XML stay far below it


@contextmanager
def open_source(source: str | Path, hint: str = "") -> Iterator[Path]:
    """Yield the folder with the data set of `source`. The folder of a zip file is removed when the context ends.

    Args:
        source: a folder or a zip file.
        hint: where to download the set, for the message if `source` does not exist.

    Raises:
        DataError: `source` does not exist, or the zip file is damaged or unsafe.
    """
    path = Path(source)
    if path.is_dir():
        yield path
        return
    if not path.is_file():
        beside = [other.name for other in path.parent.glob("*")]
        raise DataError(tr("'{path}' does not exist.{nearest}", path=path, nearest=nearest(path.name, beside))
                        + (f" {hint}" if hint else ""))
    if path.suffix.lower() in (".json", ".xml", ".txt", ".yaml", ".yml"):
        raise DataError(tr("'{path}' is one file of a data set. Name the folder that contains it and the images.",
                           path=path))
    if not zipfile.is_zipfile(path):
        raise DataError(tr("'{path}' is neither a folder nor a zip file. Unpack it and name the folder.", path=path))
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
            _decode_names(members)
            total = sum(member.file_size for member in members)
            if total > min(_MAX_BYTES, _MAX_RATIO * max(path.stat().st_size, 1)):
                raise DataError(tr("'{path}' would unpack to {size} MiB, too much for a zip file of images of its size. If "
                                   "you trust it, unpack it yourself and name the folder.", path=path,
                                   size=f"{total / 2**20:,.0f}"))
            # many file systems take `A.png` and `a.png` for one file
            names = Counter(member.filename.casefold() for member in members)
            twice = [name for name, count in names.items() if count > 1]
            if twice:
                raise DataError(tr("'{path}' contains '{name}' twice (upper and lower case count as equal), so the right "
                                   "one is unknown. Unpack it yourself and name the folder.", path=path,
                                   name=twice[0][:_SHOWN]))
            for member in members:
                _check_member(path, member)
            for member in members:
                archive.extract(member, folder)
    except _UNPACK_ERRORS as error:
        if isinstance(error, DataError):
            raise
        raise DataError(tr("'{path}' cannot be unpacked: {reason}", path=path, reason=error)) from error


def _check_member(path: Path, member: zipfile.ZipInfo) -> None:
    """Raise `DataError` if a member is no plain file or folder below the folder to unpack into."""
    name = PurePosixPath(member.filename.replace("\\", "/"))
    if name.is_absolute() or ".." in name.parts or ":" in "".join(name.parts[:1]):
        raise DataError(tr("'{path}' contains '{name}', a path outside the folder to unpack into.", path=path,
                           name=member.filename[:_SHOWN]))
    if stat.S_IFMT(member.external_attr >> 16) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DataError(tr("'{path}' contains '{name}', which is a link or a device and not a file.", path=path,
                           name=member.filename[:_SHOWN]))
    if "\0" in member.orig_filename or len(member.filename) > _MAX_NAME or len(name.parts) > _MAX_DEPTH:
        raise DataError(tr("'{path}' contains '{name}', a name that no file should have.", path=path,
                           name=member.filename[:_SHOWN]))


def _decode_names(members: list[zipfile.ZipInfo]) -> None:
    """Decode the names of a zip file that Windows wrote in its own encoding. Python reads such names as code page 437."""
    named = [member for member in members if not member.flag_bits & _IS_UTF8 and not member.filename.isascii()]
    usual = usual_encoding(member.filename.encode("cp437", "replace") for member in named)
    for member in named:
        member.filename = decode(member.filename.encode("cp437", "replace"), usual=usual)[0]
