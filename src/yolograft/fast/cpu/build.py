"""Operators in C: compiled by the machine's own compiler on first use, and cached in the user's cache folder.

A build takes about a second, once per machine. Every operator has a fallback in PyTorch or Ultralytics for machines
without a compiler. Only Linux on x86-64 builds by default, since the operators are tested there. `YOLOGRAFT_KERNELS=off`
switches all operators in C off, and `YOLOGRAFT_KERNELS=on` tries to build them on any platform.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import os
import platform
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolograft.errors import HostError
from yolograft.fast.cpu.private_cache import cache_folder, find_library, keep_library
from yolograft.language import tr

__all__ = ["BUILD_ERRORS", "Kernel", "cpu_features", "load_library"]

BUILD_ERRORS = (OSError, subprocess.SubprocessError)  # after these errors of `load_library`, callers use the fallback
_FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
_TESTED = (("Linux", "x86_64"), ("Linux", "amd64"))  # systems and machines whose results the tests compare with PyTorch
_OPENMP = "-fopenmp"  # Apple's clang has no OpenMP: without it, a library computes the same on one thread
_SWITCH = "YOLOGRAFT_KERNELS"
_TIMEOUT = 120.0  # seconds that a compiler may take; it needs about one
# A new library is loaded in another process first: one that crashes when it is loaded must not end a training.
_TRY = "import ctypes, sys; ctypes.CDLL(sys.argv[1])"


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
            try:
                function = getattr(library, name)
            except AttributeError:
                return tr("the library has no function {name}", name=name)
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
    if switch != "on" and (platform.system(), platform.machine().lower()) not in _TESTED:
        raise OSError(tr("the operators in C are tested on Linux with x86-64 only; {switch}=on tries them here",
                         switch=_SWITCH))
    compiler = _compiler()
    # Several machines may share a home folder: each kind of CPU and each compiler has a library of its own.
    words = [source.read_text(encoding="utf-8"), platform.machine(), cpu_features(), *compiler, _compiler_version(*compiler),
             *_FLAGS, _OPENMP, *flags]
    stem = f"{source.stem}-{hashlib.sha256(chr(0).join(words).encode()).hexdigest()[:16]}"
    if (library := find_library(stem)) is not None:
        return ctypes.CDLL(str(library))
    return ctypes.CDLL(str(_compile(source, stem, [*compiler, *_FLAGS, *flags])))


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


def _compile(source: Path, stem: str, command: list[str]) -> Path:
    """Compile a C file, with OpenMP if the compiler has it, and return the library in the cache.

    Two processes that build at the same time keep the same file, or two files with names of their own.
    Raises one of `BUILD_ERRORS`.
    """
    # on the disk of the cache, so that the library moves there in one step
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="build-") as folder:
        built = Path(folder) / f"{stem}.so"
        for openmp in ([_OPENMP], []):
            done = _run([*command, *openmp, str(source), "-o", str(built), "-lm"])
            if not done.returncode:
                break
        else:
            last = done.stderr.strip().splitlines()[-1:] or [tr("it prints no reason")]
            raise OSError(tr("{command} cannot build it: {last}", command=command[0], last=last[0]))
        if not built.is_file():
            raise OSError(tr("{command} wrote no library", command=command[0]))
        loaded = _run([sys.executable, "-I", "-S", "-c", _TRY, str(built)])
        if loaded.returncode:
            last = loaded.stderr.strip().splitlines()[-1:] or [tr("it ends the process that loads it")]
            raise OSError(tr("{command} wrote a library that cannot be loaded: {last}", command=command[0], last=last[0]))
        return keep_library(stem, built)


def _run(command: list[str]) -> subprocess.CompletedProcess[str]:
    """Run a command and return its result. Raises one of `BUILD_ERRORS` if it cannot be started or takes too long."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          encoding="utf-8", errors="replace",  # a compiler may write in the encoding of another locale
                          start_new_session=True) as process:
        try:
            out, err = process.communicate(timeout=_TIMEOUT)
        except BaseException:  # also Ctrl-C: a compiler must not go on alone, nor the processes that it started
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
            raise
    return subprocess.CompletedProcess(command, process.returncode, out, err)


@functools.cache
def cpu_features() -> str:
    """Return the CPU's features as Linux lists them ("flags" on x86, "Features" on ARM), or else the CPU's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    found = (line.partition(":")[2].strip() for line in lines if line.startswith(("flags", "Features")))
    return next(found, f"{platform.processor()} {platform.machine()}")
