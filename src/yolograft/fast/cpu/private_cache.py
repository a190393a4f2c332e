"""The user's cache folder, and which files in it may be loaded as code.

A library that is loaded runs code at once. So the folder must belong to the user, only the user may write to it, it is no
link, and the name of each library has the digest of its content. A file that does not fit its name is never loaded.
"""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

from yolograft.language import tr

__all__ = ["cache_folder", "find_library", "keep_library"]

_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


def cache_folder() -> Path:
    """Return the user's private cache folder. Creates it if it does not exist.

    Raises:
        OSError: it cannot be created, or another user could change what is in it.
    """
    variable = os.environ.get("XDG_CACHE_HOME")
    try:
        parent = Path(variable) if variable else Path.home() / ".cache"
    except RuntimeError as error:  # HOME is not set and the system's user list has no home folder
        raise OSError(tr("there is no home folder for the cache (set XDG_CACHE_HOME): {error}", error=error)) from error
    folder = parent / "yolograft"
    parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)
    _check_private(folder)
    return folder


def find_library(stem: str) -> Path | None:
    """Return the library in the cache whose name is `stem` and the digest of its content, or None.

    A file of that stem with another digest, a link, and a file that another user owns or may write are deleted.

    Raises:
        OSError: the folder is not private, or such a file cannot be deleted.
    """
    for file in sorted(cache_folder().glob(f"{stem}-*.so")):
        if _is_private_file(file) and file.name == _name(stem, file.read_bytes()):
            return file
        file.unlink(missing_ok=True)
    return None


def keep_library(stem: str, built: Path) -> Path:
    """Move a new library into the cache, under a name with its digest, and return its path. Raises `OSError`."""
    library = cache_folder() / _name(stem, built.read_bytes())
    built.chmod(0o700)  # a compiler follows the user's umask, which can let a group write
    os.replace(built, library)
    return library


def _name(stem: str, content: bytes) -> str:
    return f"{stem}-{hashlib.sha256(content).hexdigest()[:32]}.so"


def _check_private(folder: Path) -> None:
    """Raise `OSError` if a user other than this one could change files in the folder, now or through its parent."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise OSError(tr("the cache folder '{folder}' is a link or a file; delete it, or set XDG_CACHE_HOME", folder=folder))
    if not hasattr(os, "getuid"):  # Windows: the user's profile folder is private by its access list
        return
    if found.st_uid != os.getuid():
        raise OSError(tr("the cache folder '{folder}' belongs to another user; set XDG_CACHE_HOME to a folder of yours",
                         folder=folder))
    if found.st_mode & _OTHERS_WRITE:
        raise OSError(tr("other users can write to the cache folder '{folder}'; delete it, or set XDG_CACHE_HOME",
                         folder=folder))
    parent = folder.parent.stat()
    # in a folder that all may write, others can replace ours, unless it is sticky as /tmp
    if parent.st_mode & stat.S_IWOTH and not parent.st_mode & stat.S_ISVTX:
        raise OSError(tr("other users can write to '{folder}', so they could replace the cache in it; set XDG_CACHE_HOME to "
                         "a folder of yours", folder=folder.parent))
    if stat.S_IMODE(found.st_mode) != 0o700:
        folder.chmod(0o700)


def _is_private_file(file: Path) -> bool:
    found = file.lstat()
    is_own = not hasattr(os, "getuid") or found.st_uid == os.getuid()
    return stat.S_ISREG(found.st_mode) and is_own and not found.st_mode & _OTHERS_WRITE
