"""The register of studies: which studies of the same data and host this user has looked at, and what they have spent.

An arm that does nothing gets a word in 5% of studies. Who tries ten arms in ten folders therefore finds something in every
third try. With the register, `status` and the report name the earlier studies of the same data and host, and give a second
verdict beside that of the study alone. For it, the studies share one error rate, as in alpha investing (Foster and Stine
2008): a study may spend what the earlier ones have left, and a study that gives a word restores the full rate. So the
probability of a wrong word before the first right one is at most 5%, over all studies together.

The register is one small file of this user. `register=False` in a plan, or YOLOGRAFT_REGISTER=off, leaves a study out, and
YOLOGRAFT_REGISTER=FILE names another file. A study that has given no word and had no look is not in it.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from filelock import FileLock

from yolograft.atomic import atomic_write
from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["Entry", "enter", "find", "left", "path", "read"]

_TIMEOUT = 30.0  # seconds to wait for another process that writes the register


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One study in the register.

    Attributes:
        id: identifies the study, also if its folder moves.
        folder: where it was at its last look.
        data, model: hashes, or names where there is no file.
        spent: the part of the error rate that its looks have used.
        found: whether it gave the word helps or hurts to an arm that is no control.
    """

    id: str
    folder: str
    data: str
    model: str
    spent: float = 0.0
    found: bool = False


def path() -> Path | None:
    """Return the register's file, or None if it is switched off."""
    name = os.environ.get("YOLOGRAFT_REGISTER", "")
    if name.lower() in ("off", "0", "false"):
        return None
    if name:
        return Path(name)
    home = os.environ.get("APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME", "")
    return (Path(home) if home else Path.home() / ".config") / "yolograft" / "studies.json"


def read(file: Path) -> list[Entry]:
    """Return the studies in a register, oldest first; raises `DataError` if the file is broken."""
    if not file.is_file():
        return []
    try:
        return [Entry(**one) for one in json.loads(file.read_text(encoding="utf-8"))]
    except (OSError, ValueError, TypeError) as error:
        raise DataError(tr("The register of studies '{file}' cannot be read: {error}. Move it away, or switch it off with "
                           "YOLOGRAFT_REGISTER=off.", file=file, error=error)) from error


def left(earlier: Sequence[Entry], alpha: float) -> float:
    """Return the error rate that the earlier studies of the same data and host have left to the next one.

    >>> one = Entry(id="1", folder="a", data="d", model="m", spent=0.031)
    >>> round(left([one], 0.05), 3)
    0.019
    """
    used = 0.0
    for entry in earlier:
        used = 0.0 if entry.found else used + entry.spent
    return max(0.0, alpha - used)


def find(file: Path, entry: Entry) -> list[Entry]:
    """Return the earlier studies of the same data and model as this one, whether it is in the register or not."""
    entries = read(file)
    place = next((at for at, one in enumerate(entries) if one.id == entry.id), len(entries))
    return [one for one in entries[:place] if (one.data, one.model) == (entry.data, entry.model)]


def check(file: Path) -> None:
    """Raise `DataError` if the register cannot be written, as in a home folder that is read-only."""
    with _locked(file):
        pass


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_name(f"{file.name}.lock"), timeout=_TIMEOUT):
            yield
    except OSError as error:  # also the timeout of the lock
        raise DataError(tr("The register of studies '{file}' cannot be written: {error}. Name another file with "
                           "YOLOGRAFT_REGISTER=FILE, or switch it off with YOLOGRAFT_REGISTER=off.", file=file,
                           error=error)) from error


def enter(file: Path, entry: Entry) -> None:
    """Add a study to the register, or replace its entry; raises `DataError` if it cannot be written."""
    with _locked(file):
        entries = read(file)
        place = next((at for at, one in enumerate(entries) if one.id == entry.id), len(entries))
        text = json.dumps([asdict(one) for one in (*entries[:place], entry, *entries[place + 1:])], indent=1)
        atomic_write(file, lambda part: part.write_text(text, encoding="utf-8"))
