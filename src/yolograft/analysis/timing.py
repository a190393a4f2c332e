"""Interleaved timing: all functions run in each turn, so that other load on the machine affects all of them."""

from __future__ import annotations

import os
import random
import statistics
import time
from collections.abc import Callable, Sequence

import psutil

__all__ = ["WARM_UP", "OtherPrograms", "median_interval", "time_in_turns"]

WARM_UP = 3  # turns that are not counted
_RESAMPLES = 1000


def time_in_turns(runs: Sequence[Callable[[], object]], repeats: int,
                  clock: Callable[[], float] = time.perf_counter) -> list[list[float]]:
    """Return the seconds of each run in each turn, without the warm-up turns."""
    order = list(range(len(runs)))
    generator = random.Random(0)  # a random order, because a run is affected by the caches that the run before leaves
    turns = []
    for turn in range(WARM_UP + repeats):
        seconds = [0.0] * len(runs)
        generator.shuffle(order)
        for arm in order:
            started = clock()
            runs[arm]()
            seconds[arm] = clock() - started
        if turn >= WARM_UP:
            turns.append(seconds)
    return turns


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% bootstrap interval of the median."""
    generator = random.Random(0)
    medians = sorted(statistics.median(generator.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES) - 1]


class OtherPrograms:
    """The share of the machine's CPU time, 0 to 1, that all other programs use while this context is open.

    The load average would count what ran before, such as the last training of a study.
    """

    def __init__(self) -> None:
        self.share = 0.0

    def __enter__(self) -> OtherPrograms:
        self._start = _cpu_seconds()
        return self

    def __exit__(self, *error: object) -> None:
        busy, idle, own = (now - then for now, then in zip(_cpu_seconds(), self._start, strict=True))
        self.share = min(1.0, max(0.0, busy - own) / max(busy + idle, 1e-9))


def _cpu_seconds() -> tuple[float, float, float]:
    """Return the seconds of all CPUs that were busy and idle since the start of the machine, and those of this process."""
    times, own = psutil.cpu_times(), os.times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)  # `user` includes these
    return total - idle, idle, own.user + own.system
