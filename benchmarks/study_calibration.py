"""How often a study is wrong, and how often it finds what is there: the verdicts' error rates, power and coverage.

    python benchmarks/study_calibration.py [--studies 4000] [--spread 0.01] [--shared 0.02]

A simulated study has one baseline and some arms, each run once a seed: what the seed does to all arms alike, plus noise of
each run's own. Null arms have the baseline's distribution. `helps` and `either` (helps or hurts) count the studies that say
the word of any null arm; both may be at most 5%. The words come from the very functions that a study calls.
"""

from __future__ import annotations

import argparse
import platform
import time

import numpy as np
from scipy import stats

from yolograft.study import statistics
from yolograft.study.verdict import Word, adjust, choose

NOISES = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "heavy tails (t3)": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "skewed (exponential)": lambda rng, shape: rng.exponential(1, shape) - 1,
    "seeds of unequal spread": lambda rng, shape: rng.normal(0, 1, shape) * rng.uniform(0.2, 2, (1, shape[1])),
}


def words(table):
    return [choose(table.shape[1], row.mean(), p) for p, row in zip(adjust(table)[2], table, strict=True)]


def differences(rng, draw, arms, seeds, effects=None):
    runs = draw(rng, (arms + 1, seeds))  # what a seed does to all arms alike cancels in the differences
    return runs[1:] - runs[0] + (0 if effects is None else np.asarray(effects)[:, None])


def share(count, of):
    low, high = stats.binomtest(count, of).proportion_ci()
    return f"{100 * count / of:5.1f}% ({100 * low:.1f} to {100 * high:.1f})"


def calibration(studies, rng):
    print(f"\nA/A: studies of {studies} that say it of any null arm (95% interval)")
    print(f"{'noise':<24} {'arms':>5} {'seeds':>5}   {'helps':<22}{'helps or hurts':<22}")
    for name, draw in NOISES.items():
        for arms, seeds in ((1, 6), (4, 6), (12, 6), (4, 10)):
            helps = either = 0
            for _ in range(studies):
                said = words(differences(rng, draw, arms, seeds))
                helps += Word.HELPS in said
                either += Word.HELPS in said or Word.HURTS in said
            print(f"{name:<24} {arms:>5} {seeds:>5}   {share(helps, studies):<22}{share(either, studies):<22}", flush=True)
    print("\nThe same beside arms that do help (2 of 4, by three spreads): of the null arms alone")
    for name, draw in NOISES.items():
        either = 0
        for _ in range(studies):
            said = words(differences(rng, draw, 4, 6, [3, 3, 0, 0]))[2:]
            either += Word.HELPS in said or Word.HURTS in said
        print(f"{name:<24} {4:>5} {6:>5}   {'':<22}{share(either, studies):<22}", flush=True)


def power(studies, rng):
    print("\nPower: how often an arm that helps is said to help, by its effect in spreads of the paired difference")
    effects = (0.5, 1, 1.5, 2, 3, 4)
    print(f"{'arms':>5} {'seeds':>5} " + "".join(f"{effect:>9}" for effect in effects) + "   80% at, as `detectable` says")
    for arms in (1, 4):
        for seeds in (6, 8, 10, 15):
            found = []
            for effect in effects:
                sizes = [effect * np.sqrt(2)] + [0] * (arms - 1)
                tables = (differences(rng, NOISES["normal"], arms, seeds, sizes) for _ in range(studies // 4))
                found.append(sum(words(table)[0] is Word.HELPS for table in tables) / (studies // 4))
            cells = "".join(f"{100 * one:8.0f}%" for one in found)
            print(f"{arms:>5} {seeds:>5} {cells}   {statistics.detectable(1.0, seeds, arms=arms):.2f}", flush=True)


def coverage(studies, rng):
    print("\nCoverage of 95% intervals of the mean difference (true value 0)")
    print(f"{'noise':<24} {'seeds':>5}   {'Student':<10}{'BCa':<10}")
    for name in ("normal", "heavy tails (t3)"):
        for seeds in (6, 10, 20):
            inside = np.zeros(2)
            for _ in range(studies // 8):
                row = differences(rng, NOISES[name], 1, seeds)[0]
                intervals = (statistics.t_interval(row), statistics.bca_interval(row, resamples=999))
                for which, (low, high) in enumerate(intervals):
                    inside[which] += low <= 0 <= high
            student, bca = 100 * inside / (studies // 8)
            print(f"{name:<24} {seeds:>5}   {student:<10.1f}{bca:<10.1f}", flush=True)


def pairing(spread, shared):
    print(f"\nWhat pairing buys where a seed moves all arms by {shared} and each run by {spread} (standard deviations):")
    rng = np.random.default_rng(3)
    common = rng.normal(0, shared, 100_000)
    one, other = (common + rng.normal(0, spread, 100_000) for _ in range(2))
    print(f"  variance of the difference, unpaired over paired: {statistics.pairing_gain(one, other):.1f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--studies", type=int, default=4000)
    options.add_argument("--spread", type=float, default=0.01)
    options.add_argument("--shared", type=float, default=0.02)
    given = options.parse_args()
    begun, rng = time.perf_counter(), np.random.default_rng(2024)
    print(f"{platform.platform()}, Python {platform.python_version()}, {given.studies} simulated studies a line")
    calibration(given.studies, rng)
    power(given.studies, rng)
    coverage(given.studies, rng)
    pairing(given.spread, given.shared)
    print(f"\n{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
