"""Operators in C, built with the machine's own compiler when they are first needed and kept in the user's cache.

A build takes a second, once. Every operator has a fallback in PyTorch or Ultralytics for machines without a compiler.
`YOLOGRAFT_KERNELS=off` switches all operators in C off.
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

from yolograft.errors import HostError

__all__ = ["FAILURES", "built", "cache", "cpu", "missing"]

FAILURES = (OSError, subprocess.SubprocessError)  # what `built` raises where the fallback must be used
_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
_THREADED = "-fopenmp"  # which Apple's clang does not know: a library without it computes the same on one thread
_SWITCH = "YOLOGRAFT_KERNELS"


def built(source: Path, *flags: str) -> ctypes.CDLL:
    """Return the library of a C file, compiled for this CPU, or loaded from the cache.

    Args:
        source: the file.
        flags: of the compiler, beside the usual ones.

    Raises:
        OSError: the operators are switched off, there is no compiler, it failed, there is no room for the result, or the
            library cannot be loaded.
        subprocess.SubprocessError: the compiler hung.
        HostError: `YOLOGRAFT_KERNELS` has an unknown value.
    """
    switch = os.environ.get(_SWITCH, "")
    if switch == "off":
        raise OSError(f"{_SWITCH}=off switches the operators in C off")
    if switch not in ("", "on"):
        raise HostError(f"{_SWITCH}={switch} is not known: on, off.")
    compiler = _compiler()
    # A home folder that several machines share keeps one library for each kind of CPU and each compiler.
    words = [source.read_text(encoding="utf-8"), platform.machine(), cpu(), *compiler, _version(*compiler), *_FLAGS,
             _THREADED, *flags]
    key = hashlib.sha256("\0".join(words).encode()).hexdigest()
    kept = cache() / f"{source.stem}-{key[:16]}.so"
    if kept.is_file():
        try:
            return ctypes.CDLL(str(kept))
        except OSError:  # an empty or damaged file, which is built again
            kept.unlink(missing_ok=True)
    _compile(source, kept, [*compiler, *_FLAGS, *flags])
    return ctypes.CDLL(str(kept))


def _compiler() -> list[str]:
    """Return the words of the command that compiles C; raises OSError if there is none."""
    given = os.environ.get("CC", "")
    try:
        words = shlex.split(given)
    except ValueError as error:
        raise OSError(f"CC={given} cannot be split into words: {error}") from error
    words = words or [name for name in ("cc", "gcc", "clang") if shutil.which(name)][:1]
    if not words:
        raise OSError("no C compiler is installed (Debian, Ubuntu: apt install gcc)")
    return words


@functools.cache
def _version(*compiler: str) -> str:
    """Return what the compiler says of its version; raises one of `FAILURES` if it cannot be started."""
    return _run([*compiler, "--version"]).stdout


def _compile(source: Path, library: Path, command: list[str]) -> None:
    """Compile a C file, with OpenMP if the compiler has it; raises one of `FAILURES`."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:  # beside it, so that it is moved into place at once
        fresh = Path(folder) / library.name
        for threaded in ([_THREADED], []):
            done = _run([*command, *threaded, str(source), "-o", str(fresh), "-lm"])
            if not done.returncode:
                os.replace(fresh, library)
                return
    last = done.stderr.strip().splitlines()[-1:] or ["it does not say why"]
    raise OSError(f"{command[0]} cannot build it: {last[0]}")


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # a compiler may write in the encoding of another locale
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=120)


def missing(library: Callable[[], object]) -> str:
    """Return why a library cannot be built or loaded here, or "" if it can."""
    try:
        library()
    except FAILURES as error:
        return str(error)
    return ""


def cache() -> Path:
    """Return the user's cache folder, which is created if it does not exist; raises OSError if that is impossible."""
    given = os.environ.get("XDG_CACHE_HOME")
    try:
        parent = Path(given) if given else Path.home() / ".cache"
    except RuntimeError as error:  # neither HOME nor the list of users says where it is
        raise OSError(f"there is no home folder for the cache (set XDG_CACHE_HOME): {error}") from error
    folder = parent / "yolograft"
    parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)  # libraries are loaded from it: nobody else may write there
    return folder


@functools.cache
def cpu() -> str:
    """Return the CPU's features, as Linux lists them on x86 ("flags") and on ARM ("Features"), or else the CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(("flags", "Features")))
    return next(found, f"{platform.processor()} {platform.machine()}")
