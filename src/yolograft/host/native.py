"""Operators in C, built with the machine's own compiler when they are first needed and kept in the user's cache.

A build takes a second, once. Whoever uses one has another way to do the same, for machines without a compiler.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

__all__ = ["FAILURES", "built", "cache", "cpu", "missing"]

FAILURES = (OSError, subprocess.SubprocessError)  # what `built` raises
_FLAGS = ("-O3", "-march=native", "-fopenmp", "-shared", "-fPIC")


def built(source: Path, *flags: str) -> ctypes.CDLL:
    """Return the library that a C file makes, built for this very CPU.

    Args:
        source: the file.
        flags: of the compiler, beside the usual ones.

    Raises:
        OSError: there is no compiler, no room for the result, or it cannot be loaded.
        subprocess.SubprocessError: the compiler failed or hung.
    """
    compiler = shlex.split(os.environ.get("CC", "")) or [name for name in ("cc", "gcc", "clang") if shutil.which(name)][:1]
    if not compiler:
        raise OSError("no C compiler is installed (Debian, Ubuntu: apt install gcc)")
    # A home that several machines share keeps one for each kind of CPU.
    words = [source.read_text(encoding="utf-8"), platform.machine(), cpu(), *compiler, *_FLAGS, *flags]
    key = hashlib.sha256("\0".join(words).encode()).hexdigest()
    kept = cache() / f"{source.stem}-{key[:16]}.so"
    if not kept.is_file():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as folder:  # beside it, so that it can be moved into place at once
            fresh = Path(folder) / kept.name
            done = subprocess.run([*compiler, *_FLAGS, *flags, str(source), "-o", str(fresh), "-lm"],
                                  capture_output=True, text=True, timeout=120)
            if done.returncode:
                last = done.stderr.strip().splitlines()[-1:] or ["it does not say why"]
                raise OSError(f"{compiler[0]} cannot build it: {last[0]}")
            os.replace(fresh, kept)
    return ctypes.CDLL(str(kept))


def missing(library: Callable[[], object]) -> str:
    """Return why what builds a library cannot do it here, or nothing."""
    try:
        library()
    except FAILURES as error:
        return str(error)
    return ""


def cache() -> Path:
    """Return the folder for what can be made again, which may not be there yet."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "yolograft"


@functools.cache
def cpu() -> str:
    """Return what the CPU can do, as Linux tells it of x86; nothing elsewhere."""
    if platform.machine() not in ("x86_64", "AMD64"):
        return ""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("flags")), "")
