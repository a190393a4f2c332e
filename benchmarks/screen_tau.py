"""Does a screening predict a study? Kendall's tau between their rankings of the same places.

    python benchmarks/screen_tau.py runs/screen/NAME runs/study/NAME [--images N] [--json FILE]

The screening is the folder of `yolograft screen`; its finished trainings are used. The places of the study that it has not
measured are measured now. The study has the arm `none` and an arm for each place, with the same train arguments, as
`yolograft study arms="none; se@2; se@4; ..."` runs them.

A study with few seeds is noise itself, so its own agreement is printed too: tau between the means of one half of its seeds
and those of the other half, over all ways to halve them. A screening cannot be shown to predict more than the study
repeats. The F test says whether the places differ at all in the study (two-way analysis of variance, places and seeds).
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Iterable
from dataclasses import replace
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from yolograft.analysis.screen import Candidates, Screening
from yolograft.cli.screen import measured
from yolograft.study import Study
from yolograft.study.statistics import rank_correlation

DRAWS = 2000

Array = NDArray[np.float64]


def study_differences(study: Study, arms: Iterable[str]) -> tuple[list[str], list[int], Array]:
    """Return the arms and seeds of a study that are complete, and (arms, seeds) paired differences to its baseline."""
    scores = study.scores()
    base = scores[study.plan.baseline]
    seeds = [seed for seed in study.plan.seeds if seed in base and all(seed in scores[arm] for arm in arms)]
    return list(arms), seeds, np.array([[scores[arm][seed] - base[seed] for seed in seeds] for arm in arms])


def halves(differences: Array) -> list[float]:
    """Return tau between the arms' means of two halves of the seeds, for each way to halve them."""
    seeds = range(differences.shape[1])
    half = len(seeds) // 2
    found = []
    for first in combinations(seeds, half):
        for second in combinations([seed for seed in seeds if seed not in first], half):
            if first < second:
                found.append(rank_correlation(differences[:, first].mean(axis=1), differences[:, second].mean(axis=1)))
    return found


def permutation_p(first: Array, second: Array, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of tau for exchangeable places: over all orders of up to 7 places, else random ones."""
    observed = abs(rank_correlation(first, second))
    orders: Iterable[Any] = permutations(range(len(first))) if len(first) < 8 else (
        rng.permutation(len(first)) for _ in range(DRAWS))
    taus = [abs(rank_correlation(first, second[list(order)])) for order in orders]
    extra = 0 if len(first) < 8 else 1  # a random sample of orders counts the observed one
    return (sum(tau >= observed - 1e-12 for tau in taus) + extra) / (len(taus) + extra)


def interval(screen: Array, differences: Array, rng: np.random.Generator) -> tuple[float, float]:
    """Return a 95% percentile bootstrap interval of tau: the places and the study's seeds are drawn again."""
    places, seeds = differences.shape
    taus = []
    for _ in range(DRAWS):
        at, of = rng.integers(0, places, places), rng.integers(0, seeds, seeds)
        taus.append(rank_correlation(screen[at], differences[at][:, of].mean(axis=1)))
    finite = [tau for tau in taus if math.isfinite(tau)]
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def f_test(differences: Array) -> tuple[float, float]:
    """Return F and p of the places in a two-way analysis of variance without interaction (Fisher 1925)."""
    places, seeds = differences.shape
    residual = differences - differences.mean(axis=1, keepdims=True) - differences.mean(axis=0) + differences.mean()
    between = seeds * differences.mean(axis=1).var(ddof=1)
    within = (residual ** 2).sum() / ((places - 1) * (seeds - 1))
    f = float(between / within)
    return f, float(stats.f.sf(f, places - 1, (places - 1) * (seeds - 1)))


def compare(screening: Screening, study: Study) -> dict[str, Any]:
    """Return everything that is compared, as numbers for JSON."""
    rng = np.random.default_rng(0)
    values = {value.graft: value for value in screening.values}
    arms, seeds, differences = study_differences(study, sorted(values))
    if len(arms) < 3 or len(seeds) < 2:
        raise SystemExit(f"{len(arms)} places and {len(seeds)} complete seeds: at least 3 and 2 are needed")
    repeated = halves(differences)
    f, p = f_test(differences)
    found: dict[str, Any] = {
        "places": arms, "study_seeds": seeds, "screen_seeds": list(screening.seeds),
        "study_means": [round(float(mean), 5) for mean in differences.mean(axis=1)],
        "study_errors": [round(float(error), 5) for error in differences.std(axis=1, ddof=1) / math.sqrt(len(seeds))],
        "split_half": {"mean": float(np.mean(repeated)), "low": min(repeated), "high": max(repeated)},
        "f_test": {"F": f, "p": p}, "tau": {},
    }
    for signal in ("loss", "map"):
        screen = np.array([getattr(values[arm], signal).estimate for arm in arms])
        by_seed = np.array([getattr(values[arm], f"{signal}_by_seed") for arm in arms])
        low, high = interval(screen, differences, rng)
        between = [rank_correlation(by_seed[:, a], by_seed[:, b]) for a, b in combinations(range(by_seed.shape[1]), 2)]
        found["tau"][signal] = {
            "values": [float(value) for value in screen], "tau": rank_correlation(screen, differences.mean(axis=1)),
            "low": low, "high": high, "p": permutation_p(screen, differences.mean(axis=1), rng),
            "between_screen_seeds": float(np.mean(between)) if between else math.nan}
    return found


def text(found: dict[str, Any]) -> str:
    """Return the comparison as Markdown."""
    signals = list(found["tau"])
    lines = [f"{len(found['places'])} places; study: {len(found['study_seeds'])} seeds; screening: "
             f"{len(found['screen_seeds'])} seeds", "",
             "| arm | study: mean difference | standard error |" + "".join(f" screening: {one} |" for one in signals),
             "|---|---|---|" + "---|" * len(signals)]
    for number, arm in enumerate(found["places"]):
        cells = "".join(f" {found['tau'][one]['values'][number]:+.5f} |" for one in signals)
        lines.append(f"| `{arm}` | {found['study_means'][number]:+.4f} | {found['study_errors'][number]:.4f} |{cells}")
    half, f = found["split_half"], found["f_test"]
    lines += ["", f"The study with itself: split-half tau {half['mean']:+.2f} ({half['low']:+.2f} to {half['high']:+.2f} "
              f"over all halves). Do the places differ in it? F = {f['F']:.2f}, p = {f['p']:.3f}."]
    for one in signals:
        tau = found["tau"][one]
        lines.append(f"Screening by {one} against the study: tau-b {tau['tau']:+.2f} (95% interval {tau['low']:+.2f} to "
                     f"{tau['high']:+.2f}, permutation p = {tau['p']:.2f}); between two seeds of the screening "
                     f"{tau['between_screen_seeds']:+.2f}.")
    return "\n".join(lines)


def main() -> None:
    """Compare the two folders of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("screen", type=Path)
    parser.add_argument("study", type=Path)
    parser.add_argument("--images", type=int, help="number of validation images of the screening")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    screened, study = Study.load(arguments.screen), Study.load(arguments.study)
    trained = tuple(seed for seed in screened.plan.seeds if seed in screened.results[screened.plan.baseline])
    screened = replace(screened, plan=replace(screened.plan, seeds=trained))
    block, _, text_of_places = screened.plan.baseline.partition("@")
    arms = [arm.name for arm in study.plan.arms if arm.name.startswith(f"{block}@")]
    places = tuple(place for place in text_of_places.split(",") if f"{block}@{place}" in arms)
    screening = measured(screened, Candidates(block=block, places=places, left_out={}), arguments.images)
    found = compare(screening, study)
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(text(found))


if __name__ == "__main__":
    main()
