"""Measure the error rates, power and coverage of a study's verdicts by simulation.

    python benchmarks/study_calibration.py [--studies 4000] [--spread 0.01] [--shared 0.02]

A simulated study has one baseline and some arms, each run once per seed. A score is the effect of the seed, which is
the same in all arms, plus independent noise of each run. Null arms have the baseline's distribution. `helps` and
`either` (helps or hurts) count the studies that give this verdict to any null arm, and both may be at most 5%. The
simulation calls the same functions as a real study.
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


def verdicts(table):
    """Return the verdict for each arm of a table (arms x seeds) of differences from the baseline."""
    return [choose(table.shape[1], row.mean(), p) for p, row in zip(adjust(table)[2], table, strict=True)]


def differences(rng, draw, arms, seeds, effects=None):
    runs = draw(rng, (arms + 1, seeds))  # the effect of a seed is the same in all arms, so it cancels in the differences
    return runs[1:] - runs[0] + (0 if effects is None else np.asarray(effects)[:, None])


def percentage(count, total):
    low, high = stats.binomtest(count, total).proportion_ci()
    return f"{100 * count / total:5.1f}% ({100 * low:.1f} to {100 * high:.1f})"


def calibration(studies, rng):
    print(f"\nA/A: share of {studies} studies that give this verdict to any null arm (95% interval)")
    print(f"{'noise':<24} {'arms':>5} {'seeds':>5}   {'helps':<22}{'helps or hurts':<22}")
    for name, draw in NOISES.items():
        for arms, seeds in ((1, 6), (4, 6), (12, 6), (4, 10)):
            helps = either = 0
            for _ in range(studies):
                found = verdicts(differences(rng, draw, arms, seeds))
                helps += Word.HELPS in found
                either += Word.HELPS in found or Word.HURTS in found
            print(f"{name:<24} {arms:>5} {seeds:>5}   {percentage(helps, studies):<22}{percentage(either, studies):<22}",
                  flush=True)
    print("\nThe same for the two null arms, where the two other arms help (by three standard deviations)")
    for name, draw in NOISES.items():
        either = 0
        for _ in range(studies):
            found = verdicts(differences(rng, draw, 4, 6, [3, 3, 0, 0]))[2:]
            either += Word.HELPS in found or Word.HURTS in found
        print(f"{name:<24} {4:>5} {6:>5}   {'':<22}{percentage(either, studies):<22}", flush=True)


def power(studies, rng):
    print("\nPower: share of studies with the verdict 'helps' for an arm that helps, by its effect in standard deviations "
          "of the paired difference")
    effects = (0.5, 1, 1.5, 2, 3, 4)
    print(f"{'arms':>5} {'seeds':>5} " + "".join(f"{effect:>9}" for effect in effects) + "   80% power at, by `detectable`")
    for arms in (1, 4):
        for seeds in (6, 8, 10, 15):
            rates = []
            for effect in effects:
                sizes = [effect * np.sqrt(2)] + [0] * (arms - 1)
                tables = (differences(rng, NOISES["normal"], arms, seeds, sizes) for _ in range(studies // 4))
                rates.append(sum(verdicts(table)[0] is Word.HELPS for table in tables) / (studies // 4))
            cells = "".join(f"{100 * rate:8.0f}%" for rate in rates)
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
    print(f"\nGain from pairing, where a seed moves all arms by {shared} and each run by {spread} (standard deviations):")
    rng = np.random.default_rng(3)
    common = rng.normal(0, shared, 100_000)
    one, other = (common + rng.normal(0, spread, 100_000) for _ in range(2))
    print(f"  variance of the difference, unpaired over paired: {statistics.pairing_gain(one, other):.1f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--studies", type=int, default=4000)
    options.add_argument("--spread", type=float, default=0.01)
    options.add_argument("--shared", type=float, default=0.02)
    args = options.parse_args()
    start, rng = time.perf_counter(), np.random.default_rng(2024)
    print(f"{platform.platform()}, Python {platform.python_version()}, {args.studies} simulated studies per line")
    calibration(args.studies, rng)
    power(args.studies, rng)
    coverage(args.studies, rng)
    pairing(args.spread, args.shared)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
