"""How many CPU threads a process may use: the number that the user set, or an equal share of the available CPUs.

Importing Ultralytics sets `OMP_NUM_THREADS=1` in the process (where it is not set, or always in 8.3.0), which then looks
like a setting of the user. `yolograft/__init__.py` therefore imports this module first, so that the variable is recorded
before any other module of this package imports Ultralytics.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from yolograft.errors import HostError
from yolograft.language import tr

__all__ = ["SHARE", "requested", "share"]

SHARE = "YOLOGRAFT_THREADS"  # a study sets it in each trial's process, since Ultralytics can overwrite OMP_NUM_THREADS
_NAME = "OMP_NUM_THREADS"


def _initial_value() -> str:
    """Return the variable's value before Ultralytics was imported; empty if it was not set."""
    value = os.environ.get(_NAME, "")
    if value != "1" or "ultralytics" not in sys.modules:
        return value
    try:
        entries = Path("/proc/self/environ").read_bytes().split(b"\0")
    except OSError:  # not Linux: this 1 is Ultralytics' own more often than a user's
        return ""
    values = (entry.partition(b"=")[2] for entry in entries if entry.startswith(f"{_NAME}=".encode()))
    return next(values, b"").decode(errors="replace")


_START = _initial_value()


def requested() -> int | None:
    """Return the number of threads that a study gave this process, or that the user set in OMP_NUM_THREADS, or None.

    Raises:
        HostError: `YOLOGRAFT_THREADS` is not a positive whole number.
    """
    value = os.environ.get(SHARE, "")
    if value:
        if not value.isdecimal() or int(value) < 1:
            raise HostError(tr("{share}={value} is not a positive whole number.", share=SHARE, value=value))
        return int(value)
    value = os.environ.get(_NAME, "")
    if value == "1" and "ultralytics" in sys.modules:
        value = _START
    first = value.partition(",")[0].strip()  # "4,2" is 4 threads, and 2 in each for nested loops
    return int(first) if first.isdecimal() and int(first) > 0 else None


def share(processes: int) -> int:
    """Return the number of threads for each of several processes that run at a time on this machine.

    Args:
        processes: how many of them run at a time, at least 1.

    Returns:
        What `requested` returns; otherwise the CPUs that this process may use (its affinity mask) divided by
        `processes`, at least 1.
    """
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return requested() or max(1, cpus // processes)
