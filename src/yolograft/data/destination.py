"""The folder that a data set is written to. An older set there is replaced only when the new one is complete."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["check", "replace_folder"]

_SUFFIX = ".draft"  # of the temporary folder beside the destination
_OURS = {"images", "labels", "report.txt", ".DS_Store"}  # content of a data set that yolograft wrote, besides its YAML


def check(dest: Path, overwrite: bool) -> None:
    """Check that a data set may be written to `dest`.

    `overwrite` replaces only a data set. A folder with other files was probably named by mistake.

    Raises:
        DataError: `dest` exists and must not be replaced.
    """
    if not os.path.lexists(dest):
        return
    if not overwrite:
        raise DataError(tr("'{dest}' exists. Name another folder, or add overwrite=True to replace it.", dest=dest))
    if not dest.is_dir():
        raise DataError(tr("'{dest}' is not a folder, so it is not replaced. Name another path.", dest=dest))
    foreign = sorted(path.name for path in dest.iterdir() if path.name not in _OURS and path.suffix != ".yaml")
    if foreign:
        raise DataError(tr("'{dest}' contains '{name}', which is not part of a data set, so it is not replaced. Name "
                           "another folder, or remove this one yourself.", dest=dest, name=foreign[0]))


@contextmanager
def replace_folder(dest: Path, overwrite: bool) -> Iterator[Path]:
    """Yield an empty folder for a new data set. When the context ends without an error, the folder replaces `dest`.

    A process that is killed leaves its temporary folder. If that was between moving the old set away and moving the new one
    here, the next call restores the old set first.

    Raises:
        DataError: `dest` must not be replaced or cannot be written. `dest` is unchanged, and no temporary folder remains.
    """
    _restore(dest)
    check(dest, overwrite)
    temporary = None
    try:
        dest.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{dest.name}.", suffix=_SUFFIX, dir=dest.parent))
        draft, old = temporary / "new", temporary / "old"
        draft.mkdir()  # with normal permissions; those of mkdtemp are for the owner only
        yield draft
        if dest.exists():
            os.replace(dest, old)
        os.replace(draft, dest)
    except OSError as error:
        raise DataError(tr("'{dest}' cannot be written: {reason}", dest=dest, reason=error)) from error
    finally:
        if temporary is not None:
            if (temporary / "old").exists() and not dest.exists():
                os.replace(temporary / "old", dest)
            shutil.rmtree(temporary, ignore_errors=True)


def _restore(dest: Path) -> None:
    """Move the old set back that a killed process had moved away. Raises `DataError` if that is impossible."""
    if os.path.lexists(dest) or not dest.parent.is_dir():
        return
    for old in sorted(dest.parent.glob(f".{glob.escape(dest.name)}.*{_SUFFIX}/old")):
        try:
            os.replace(old, dest)
        except OSError as error:
            raise DataError(tr("'{dest}' cannot be written: {reason}", dest=dest, reason=error)) from error
        shutil.rmtree(old.parent, ignore_errors=True)
        return
