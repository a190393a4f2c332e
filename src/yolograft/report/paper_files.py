"""Files that a user may edit: written again only while they are as they were written.

A hidden file in the folder records the digest of each file that was written. A file with another content has been edited,
and is kept: the new content goes beside it, to `NAME.new.EXT`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from yolograft.atomic import atomic_write
from yolograft.errors import GraftError
from yolograft.language import tr

__all__ = ["RECORD", "Written", "write_files"]

RECORD = ".written.json"


@dataclass(frozen=True, kw_only=True)
class Written:
    """What was written.

    Attributes:
        files: the files that have the new content.
        kept: each edited file, and the file beside it that has the new content.
        notes: sentences for the user.
    """

    files: tuple[Path, ...]
    kept: tuple[tuple[Path, Path], ...] = ()
    notes: tuple[str, ...] = ()


def write_files(folder: Path, contents: Mapping[str, bytes]) -> Written:
    """Write files, and keep those that the user has edited.

    Args:
        folder: where to write. It is created.
        contents: path below the folder -> content.

    Raises:
        GraftError: the folder cannot be written.
    """
    files, kept = [], []
    try:
        record = _read(folder / RECORD)
        for name, content in contents.items():
            chosen = next(one for one in _names(name) if _is_ours(folder / one, record.get(one, ""), content))
            path = folder / chosen
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, content)
            record[chosen] = _digest(content)
            _write(folder / RECORD, json.dumps(record, indent=1).encode())
            files.append(path)
            if chosen != name:
                kept.append((folder / name, path))
    except OSError as error:
        raise GraftError(tr("The files cannot be written to '{folder}': {error}.", folder=folder, error=error)) from error
    return Written(files=tuple(files), kept=tuple(kept))


def _names(name: str) -> Iterator[str]:
    """Yield `table.tex`, `table.new.tex`, `table.new2.tex`, ..."""
    yield name
    path = Path(name)
    for number in count(1):
        yield str(path.with_name(f"{path.stem}.new{number if number > 1 else ''}{path.suffix}"))


def _is_ours(path: Path, recorded: str, content: bytes) -> bool:
    """Whether a file may be replaced: it does not exist, or its content is the one that was written, or the new one."""
    return not path.exists() or (path.is_file() and _digest(path.read_bytes()) in (recorded, _digest(content)))


def _write(path: Path, content: bytes) -> None:
    atomic_write(path, lambda part: part.write_bytes(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _read(path: Path) -> dict[str, str]:
    """Return the record; empty if it is missing or damaged, so that every other file counts as edited."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {str(key): str(value) for key, value in found.items()} if isinstance(found, dict) else {}
