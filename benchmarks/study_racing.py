"""Compare racing with a full grid: how many runs it saves, and how many verdicts differ.

    python benchmarks/study_racing.py [--studies 400]
    python benchmarks/study_racing.py --recorded docs/results/neu-det-se docs/results/neu-det-aa runs/study/NAME

Simulated studies have arms with typical effects: most do nothing, some help, some hurt. `--recorded` replays the runs
of finished studies instead, from a study's folder or from a published one with plan.yaml and tables/trials.csv. The
replay takes the recorded seeds in random orders, and also draws seeds from them with replacement, with pairs and
effects unchanged. A study's own folder also has learning curves, which show how well fewer epochs would have ranked its
arms.
"""

from __future__ import annotations

import argparse
import csv
import platform
import time
from pathlib import Path

import numpy as np

from yolograft.study import Study, statistics
from yolograft.study.plan import read_words
from yolograft.study.race import seeds_to_race, stopped
from yolograft.study.verdict import Word, adjust, choose


def race(table):
    """Return the part of a full table (arms x seeds) that a race runs (NaN elsewhere), and which arms it stopped."""
    arms, seeds = table.shape
    seen, out = np.full(table.shape, np.nan), {}
    for seed in range(seeds):
        for arm in range(arms):
            if str(arm) not in out:
                seen[arm, seed] = table[arm, seed]
        scores = {str(arm): {s: v for s, v in enumerate(row) if not np.isnan(v)} for arm, row in enumerate(seen)}
        out = stopped({"none": dict.fromkeys(range(seeds), 0.0), **scores}, "none", range(seeds))
        if len(out) == arms:
            break
    return seen, [str(arm) in out for arm in range(arms)]


def compare(tables):
    """Print the runs and winners of full grids (max-T adjustment) and races (Holm adjustment) on the same tables."""
    runs, arms, losers = np.zeros(2), 0, 0
    winners = {"both": 0, "grid alone": 0, "race alone": 0}
    studies = lost = 0
    for table in tables:
        studies, arms = studies + 1, arms + len(table)
        seen, out = race(table)
        used = ~np.isnan(seen)
        runs += table.size + table.shape[1], used.sum() + used.any(axis=0).sum()
        full = [choose(table.shape[1], table[i].mean(), p) for i, p in enumerate(statistics.max_t(table))]
        grid = {i for i, word in enumerate(full) if word is Word.HELPS}
        losers += full.count(Word.HURTS)
        raced = {i for i, p in enumerate(adjust(seen, out)[2])
                 if choose(int(used[i].sum()), np.nanmean(seen[i]), p, stopped=out[i]) is Word.HELPS}
        holm = statistics.holm([statistics.sign_flip(row) if row.mean() > 0 else 1.0 for row in table])
        lost += len({i for i, p in enumerate(holm) if p <= 0.05} - raced)
        winners["both"] += len(grid & raced)
        winners["grid alone"] += len(grid - raced)
        winners["race alone"] += len(raced - grid)
    saved = 100 * (1 - runs[1] / runs[0])
    print(f"    runs {runs[0] / studies:.1f} -> {runs[1] / studies:.1f} a study: {saved:.0f}% saved; winners found by both "
          f"{winners['both']}, only by the grid {winners['grid alone']}, only by the race {winners['race alone']}; "
          f"lost by stopping {lost}; the verdict 'helps' differs in "
          f"{100 * (winners['grid alone'] + winners['race alone']) / arms:.1f}% of {arms} verdicts; 'hurts' in the grid "
          f"(a race has no such verdict) {losers}; {studies} studies", flush=True)


def compare_simulated(studies):
    print("Simulated: each arm's effect is 0 (60%), or +/- 1 to 3 standard deviations of the paired difference (20% each)")
    for arms, seeds in ((3, 8), (3, 10), (8, 9), (8, 12), (23, 12)):
        rng = np.random.default_rng([arms, seeds])
        print(f"  {arms} arms, {seeds} seeds")
        compare(draw(rng, arms, seeds) for _ in range(studies))
    print("Simulated: no arm has an effect")
    for arms, seeds in ((3, 8), (8, 9), (23, 12)):
        rng = np.random.default_rng([arms, seeds, 1])
        print(f"  {arms} arms, {seeds} seeds")
        compare(draw(rng, arms, seeds, real=0) for _ in range(studies))


def draw(rng, arms, seeds, real=0.4):
    sizes = rng.uniform(1, 3, arms) * rng.choice([-1, 1], arms) * (rng.random(arms) < real)
    noise = rng.normal(size=(arms + 1, seeds)) / np.sqrt(2)
    return noise[1:] - noise[0] + sizes[:, None]


def read_differences(folder):
    """Return the arms and their differences from the baseline (arms x seeds), of a study or of its published tables."""
    if (folder / "tables" / "trials.csv").is_file():
        plan, scores = read_words(folder / "plan.yaml"), {}
        with (folder / "tables" / "trials.csv").open(encoding="utf-8") as file:
            for row in csv.DictReader(file):
                if row["state"] == "complete":
                    scores.setdefault(row["arm"], {})[int(row["seed"])] = float(row[plan["metric"]])
        baseline = plan["baseline"]
    else:
        study = Study.load(folder)
        scores, baseline = study.scores(), study.plan.baseline
    base = scores.pop(baseline)
    seeds = sorted(set(base).intersection(*scores.values()))
    return list(scores), np.array([[by[seed] - base[seed] for seed in seeds] for by in scores.values()])


def compare_recorded(folder, studies):
    names, table = read_differences(folder)
    arms, seeds = table.shape
    print(f"Replayed: {folder}, {seeds} recorded seeds of {', '.join(names)}; mean differences over their standard "
          f"deviations: {', '.join(f'{row.mean() / row.std(ddof=1):+.2f}' for row in table)}")
    rng = np.random.default_rng(0)
    if seeds >= seeds_to_race(arms):
        print(f"  the {seeds} seeds in random orders")
        compare(table[:, rng.permutation(seeds)] for _ in range(studies))
    else:
        print(f"  no race with these seeds: {arms} arms need {seeds_to_race(arms)} seeds")
    for length in (8, 10, 12):
        print(f"  {length} seeds drawn with replacement")
        compare(table[:, rng.integers(0, seeds, length)] for _ in range(studies))
    if (folder / "study.db").is_file():
        print("  fewer epochs: rank correlation of the arms' means with those of the full runs")
        for epoch, tau, share in Study.load(folder).fidelity():
            print(f"    epoch {epoch:>4} ({100 * share:3.0f}% of the cost)   Kendall's tau {tau:+.2f}")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--studies", type=int, default=400)
    options.add_argument("--recorded", type=Path, nargs="+", default=[])
    args = options.parse_args()
    start = time.perf_counter()
    print(f"{platform.platform()}, Python {platform.python_version()}")
    if not args.recorded:
        compare_simulated(args.studies)
    for folder in args.recorded:
        compare_recorded(folder, args.studies)
    print(f"{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
