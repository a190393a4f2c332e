"""Interleaved timing: all functions run in each turn, so that other load on the machine affects all of them."""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence

__all__ = ["WARM_UP", "median_interval", "time_in_turns"]

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
