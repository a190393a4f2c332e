"""The faults that yolograft is tested against: what the user sees, what survives, and how to go on.

`docs/make_reliability.py` writes docs/reliability.md and its Chinese version from this table, and
`tests/test_reliability.py` checks that the pages are up to date, that each test exists, and that the quoted messages are
messages of yolograft. `FailingDisk` injects the errors of a disk.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolograft.patch import patched

__all__ = ["FAULTS", "FailingDisk", "Fault", "at_every_write"]

AREAS = {"study": ("Studies and screenings", "研究与筛选"), "train": ("Training", "训练"),
         "data": ("Conversion of data sets", "数据集转换"),
         "results": ("Reports, export and folding", "报告、导出与折叠"), "system": ("Machine and user", "机器与用户")}


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One fault.

    Attributes:
        area: a key of `AREAS`.
        name, sees, survives, resume: what happens, what the user sees, what survives, how to go on; English and Chinese.
        tests: the tests that cause it, as `file::function`; slow ones included.
    """

    area: str
    name: tuple[str, str]
    sees: tuple[str, str]
    survives: tuple[str, str]
    resume: tuple[str, str]
    tests: tuple[str, ...]


class FailingDisk:
    """Counts the writes below a folder, and lets one of them fail.

    A write is: a file that is opened for writing, a flush to the disk, a rename, or a new folder.

    Args:
        folder: only writes below it count.
        at: the number of the write that fails, from 0; None lets none fail. `then` says whether all later ones fail too.
        number: the error, such as `errno.ENOSPC`.
    """

    def __init__(self, folder: Path, at: int | None = None, number: int = errno.ENOSPC, *, then: bool = False) -> None:
        self.folder, self.at, self.number, self.then = str(folder.resolve()), at, number, then
        self.count, self.failed = 0, False

    def check(self, path: Any) -> None:
        """Count a write of `path`; raises `OSError` if it is the one that fails."""
        if not isinstance(path, (str, Path)) or not os.path.abspath(path).startswith(self.folder):
            return
        number, self.count = self.count, self.count + 1
        if self.at is not None and (number == self.at or (self.then and number > self.at)):
            self.failed = True
            raise OSError(self.number, os.strerror(self.number), str(path))

    @contextmanager
    def injected(self) -> Iterator[FailingDisk]:
        """Context manager: the disk fails."""
        opened, fsync, replace, mkdir = builtins.open, os.fsync, os.replace, os.mkdir

        def open_(file: Any, mode: str = "r", *arguments: Any, **more: Any) -> Any:
            if set(mode) & set("wax+"):
                self.check(file)
            return opened(file, mode, *arguments, **more)

        def fsync_(descriptor: Any) -> None:
            number = descriptor if isinstance(descriptor, int) else descriptor.fileno()
            link = Path(f"/proc/self/fd/{number}")
            self.check(os.readlink(link) if link.exists() else self.folder)
            fsync(descriptor)

        def replace_(source: Any, target: Any, **more: Any) -> None:
            self.check(target)
            replace(source, target, **more)

        def mkdir_(path: Any, *arguments: Any, **more: Any) -> None:
            if not os.path.isdir(path):  # an existing folder is no write
                self.check(path)
            mkdir(path, *arguments, **more)

        with patched((builtins, "open", open_), (io, "open", open_), (os, "fsync", fsync_), (os, "replace", replace_),
                     (os, "mkdir", mkdir_)):
            yield self


def at_every_write(folder: Path, act: Callable[[], Any], check: Callable[[BaseException], None], *,
                   number: int = errno.ENOSPC, prepare: Callable[[], Any] = lambda: None, most: int = 500) -> int:
    """Let each write of `act` below `folder` fail in turn, until one run makes all its writes; return their number.

    Args:
        folder: only writes below it count.
        act: what writes.
        check: called with the exception of each run that failed.
        number: the error, such as `errno.ENOSPC`.
        prepare: called before each run.
        most: more writes than this are an error of the test.
    """
    assert threading.current_thread() is threading.main_thread()
    for at in range(most):
        prepare()
        disk = FailingDisk(folder, at, number)
        try:
            with disk.injected():
                act()
        except BaseException as error:
            if not disk.failed:
                raise
            check(error)
        else:
            if not disk.failed:
                return at
    raise AssertionError(f"more than {most} writes")


FAULTS: tuple[Fault, ...] = ()
