"""Operators in C: compiled by the machine's own compiler on first use, and cached in the user's cache folder.

A build takes about a second, once per machine. Every operator has a fallback in PyTorch or Ultralytics for machines
without a compiler. `YOLOGRAFT_KERNELS=off` switches all operators in C off.
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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolograft.errors import HostError
from yolograft.language import tr

__all__ = ["BUILD_ERRORS", "Kernel", "cache_folder", "cpu_features", "load_library"]

BUILD_ERRORS = (OSError, subprocess.SubprocessError)  # after these errors of `load_library`, callers use the fallback
_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
_OPENMP = "-fopenmp"  # Apple's clang has no OpenMP: without it, a library computes the same on one thread
_SWITCH = "YOLOGRAFT_KERNELS"


@dataclass(eq=False, kw_only=True)
class Kernel:
    """A C file and the functions that Python calls in it. It is compiled and loaded on first use.

    Attributes:
        source: the C file.
        argtypes: the argument types of each function, as `ctypes` takes them.
        restype: the return type of all functions. None is void.
        flags: compiler flags, in addition to the usual ones.
        cpu_feature: a feature that the CPU must have, as `cpu_features` spells it. Empty: every CPU can run it.
    """

    source: Path
    argtypes: Mapping[str, Sequence[Any]]
    restype: Any = ctypes.c_int
    flags: tuple[str, ...] = ()
    cpu_feature: str = ""
    _library: ctypes.CDLL | None = field(default=None, init=False, repr=False)
    _reason: str | None = field(default=None, init=False, repr=False)  # None: `unavailable_reason` has not run yet

    def library(self) -> ctypes.CDLL:
        """Return the loaded library.

        Raises:
            HostError: this machine cannot build or run it (`unavailable_reason` tells why), or `YOLOGRAFT_KERNELS` has
                an unknown value.
        """
        if self._library is None and (reason := self.unavailable_reason()):
            raise HostError(tr("The C kernel {name} cannot run on this machine: {reason}.", name=self.source.name,
                               reason=reason))
        assert self._library is not None
        return self._library

    def unavailable_reason(self) -> str:
        """Return why this machine cannot build or run the kernel, or "". The first call builds and loads it.

        Raises:
            HostError: `YOLOGRAFT_KERNELS` has an unknown value.
        """
        if self._reason is None:
            self._reason = self._load()
        return self._reason

    def _load(self) -> str:
        if self.cpu_feature and self.cpu_feature not in cpu_features().split():
            return tr("this CPU has no {feature}", feature=self.cpu_feature.upper().replace("_", "-"))
        try:
            library = load_library(self.source, *self.flags)
        except BUILD_ERRORS as error:
            return str(error)
        for name, types in self.argtypes.items():
            function = getattr(library, name)
            function.argtypes, function.restype = list(types), self.restype
        self._library = library
        return ""


def load_library(source: Path, *flags: str) -> ctypes.CDLL:
    """Return the library of a C file, from the cache or newly compiled for this CPU.

    Args:
        source: the C file.
        flags: compiler flags, in addition to the usual ones.

    Raises:
        OSError: the operators are switched off, there is no compiler, the compiler failed, the disk is full, or the
            library cannot be loaded.
        subprocess.SubprocessError: the compiler did not finish in time.
        HostError: `YOLOGRAFT_KERNELS` has an unknown value.
    """
    switch = os.environ.get(_SWITCH, "")
    if switch == "off":
        raise OSError(tr("{switch}=off switches the operators in C off", switch=_SWITCH))
    if switch not in ("", "on"):
        raise HostError(tr("{name}={value} is not known: on, off.", name=_SWITCH, value=switch))
    compiler = _compiler()
    # Several machines may share a home folder: each kind of CPU and each compiler has a library of its own.
    words = [source.read_text(encoding="utf-8"), platform.machine(), cpu_features(), *compiler, _compiler_version(*compiler),
             *_FLAGS, _OPENMP, *flags]
    key = hashlib.sha256("\0".join(words).encode()).hexdigest()
    library = cache_folder() / f"{source.stem}-{key[:16]}.so"
    if library.is_file():
        try:
            return ctypes.CDLL(str(library))
        except OSError:  # an empty or damaged file: build it again
            library.unlink(missing_ok=True)
    _compile(source, library, [*compiler, *_FLAGS, *flags])
    return ctypes.CDLL(str(library))


def _compiler() -> list[str]:
    """Return the words of the command that compiles C. Raises OSError if there is no compiler."""
    command = os.environ.get("CC", "")
    try:
        words = shlex.split(command)
    except ValueError as error:
        raise OSError(tr("CC={command} cannot be split into words: {error}", command=command, error=error)) from error
    words = words or [name for name in ("cc", "gcc", "clang") if shutil.which(name)][:1]
    if not words:
        raise OSError(tr("no C compiler is installed (Debian, Ubuntu: apt install gcc)"))
    return words


@functools.cache
def _compiler_version(*compiler: str) -> str:
    """Return what the compiler prints as its version. Raises one of `BUILD_ERRORS` if it cannot be started."""
    return _run([*compiler, "--version"]).stdout


def _compile(source: Path, library: Path, command: list[str]) -> None:
    """Compile a C file, with OpenMP if the compiler has it. Raises one of `BUILD_ERRORS`."""
    with tempfile.TemporaryDirectory(dir=library.parent) as folder:  # on the same disk, so that os.replace is atomic
        built = Path(folder) / library.name
        for openmp in ([_OPENMP], []):
            done = _run([*command, *openmp, str(source), "-o", str(built), "-lm"])
            if not done.returncode:
                os.replace(built, library)
                return
    last = done.stderr.strip().splitlines()[-1:] or [tr("it prints no reason")]
    raise OSError(tr("{command} cannot build it: {last}", command=command[0], last=last[0]))


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    # a compiler may write in the encoding of another locale
    return subprocess.run(command, capture_output=True, text=True, encoding="utf-8", errors="replace", timeout=120)


def cache_folder() -> Path:
    """Return the user's cache folder. Creates it if it does not exist, and raises OSError if that is impossible."""
    variable = os.environ.get("XDG_CACHE_HOME")
    try:
        parent = Path(variable) if variable else Path.home() / ".cache"
    except RuntimeError as error:  # HOME is not set and the system's user list has no home folder
        raise OSError(tr("there is no home folder for the cache (set XDG_CACHE_HOME): {error}", error=error)) from error
    folder = parent / "yolograft"
    parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=0o700, exist_ok=True)  # libraries are loaded from it: no other user may write there
    return folder


@functools.cache
def cpu_features() -> str:
    """Return the CPU's features as Linux lists them ("flags" on x86, "Features" on ARM), or else the CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(("flags", "Features")))
    return next(found, f"{platform.processor()} {platform.machine()}")
