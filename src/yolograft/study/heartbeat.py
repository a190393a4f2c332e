"""The heartbeat of a trial's process: the CPU time that it uses. It finds a process that hangs or is stopped.

An epoch can take hours, so its duration cannot tell a slow trial from one that hangs. But a training that goes on always
uses the CPU, on a GPU as well, since the CPU starts each kernel and reads each image. A process that waits for a lock that
is never released, for a dead data loader or for a disconnected disk uses none, and neither does one that is stopped
(SIGSTOP). A process in an endless loop is not found.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil

__all__ = ["TIMEOUT", "Silence"]

TIMEOUT = 3600.0  # seconds; the default of `timeout=`
_INTERVAL = 5.0  # seconds between two measurements, and the longest time that one poll adds
_SHARE = 0.001  # of the CPU time of one core; idle threads that wake up now and then use a tenth of it


class Silence:
    """Measures for how long a process has reported no epoch and used practically no CPU time.

    Only the time between polls counts, with at most 5 s for each poll: if this process was suspended as well, as on a
    laptop that sleeps, the trial is not to blame. The clock is monotonic, so setting the time changes nothing.

    Args:
        process: the id of the process; its child processes count as well.
        epochs: the file that grows after each epoch.
        clock: returns seconds; for tests.
        interval: seconds between two measurements.
    """

    def __init__(self, process: int, epochs: Path, *, clock: Callable[[], float] = time.monotonic,
                 interval: float = _INTERVAL) -> None:
        self._process, self._epochs, self._clock, self._interval = process, epochs, clock, interval
        self._measured, self._used, self._size = clock(), 0.0, -1
        self.seconds = 0.0

    def poll(self) -> float:
        """Return the seconds of silence; call it more often than every 5 seconds."""
        passed = self._clock() - self._measured
        if passed < self._interval:
            return self.seconds
        used, size = _cpu_seconds(self._process), self._epochs.stat().st_size if self._epochs.exists() else -1
        # an ended child process takes its time with it, so less time is a sign of life too
        alive = used is None or size != self._size or abs(used - self._used) > _SHARE * passed
        self.seconds = 0.0 if alive else self.seconds + min(passed, _INTERVAL)
        self._measured, self._used, self._size = self._clock(), used or 0.0, size
        return self.seconds


def _cpu_seconds(process: int) -> float | None:
    """Return the CPU time of a process and its children; None if it cannot be measured, which never counts as silence."""
    try:
        root = psutil.Process(process)
        times = [one.cpu_times() for one in (root, *root.children(recursive=True))]
    except (psutil.Error, OSError):
        return None
    return sum(one.user + one.system for one in times)
