"""Process-wide settings that a training on a CPU changes and restores: glibc's malloc, and PyTorch's number of threads."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

__all__ = ["keep_freed_memory", "restore_threads"]

_active = 0  # number of `keep_freed_memory` blocks that are active
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h


@contextmanager
def keep_freed_memory() -> Iterator[None]:
    """Make glibc keep freed memory inside a `with` block. By default every step's maps cause 15,000 page faults.

    Afterwards, glibc's defaults or the values of `MALLOC_MMAP_MAX_` and `MALLOC_TRIM_THRESHOLD_` are set again, and unused
    memory is returned to the system. One difference remains: glibc stops its automatic adjustment of the thresholds once a
    program sets one of them, even to its default. Other C libraries are not changed.
    """
    global _active
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    _active += 1
    _set_malloc(libc, 0, 2**31 - 1)
    try:
        yield
    finally:
        _active -= 1
        if not _active:
            _set_malloc(libc, _from_environment("MALLOC_MMAP_MAX_", 65536),
                        _from_environment("MALLOC_TRIM_THRESHOLD_", 128 * 1024))
            libc.malloc_trim(0)  # type: ignore[union-attr]


def _set_malloc(libc: Any, mmap_max: int, trim_threshold: int) -> None:
    libc.mallopt(_M_MMAP_MAX, mmap_max)
    libc.mallopt(_M_TRIM_THRESHOLD, trim_threshold)


def _from_environment(name: str, default: int) -> int:
    value = os.environ.get(name, "")
    return int(value) if value.isdecimal() else default


@contextmanager
def restore_threads() -> Iterator[None]:
    """Restore PyTorch's number of threads at the end of a `with` block."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)
