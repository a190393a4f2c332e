"""Measure the error rates, power and coverage of a study's verdicts by simulation.

    nice -n 10 python benchmarks/study_calibration.py [--studies 4000] [--seed 2024] [--out results.md] [--processes 1]

A simulated study has one baseline and some arms, each run once per seed. A score is the effect of the seed, which is the
same in all arms, plus independent noise of each run with standard deviation 1 / sqrt(2), so that a paired difference has 1.
Null arms have the baseline's mean. A row counts the studies that give a word (helps or hurts) to any null arm, which may
happen in 5% at most. The rows are what people do with a study. The simulation calls the functions that judge a real study.
Thresholds were chosen with other seeds than that of the published table. A finished row is stored beside the table (.json)
and not repeated by a second call.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path

import numpy as np
from scipy import stats

from yolograft.study import register, statistics
from yolograft.study import splits as resampled
from yolograft.study.sequential import spend
from yolograft.study.verdict import ALPHA, MARGIN, Word, decide

WORDS = (Word.HELPS, Word.HURTS)
NOISES = {
    "normal": lambda rng, shape: rng.normal(0, 1, shape),
    "heavy tails (t3)": lambda rng, shape: rng.standard_t(3, shape) / np.sqrt(3),
    "skewed (exponential)": lambda rng, shape: rng.exponential(1, shape) - 1,
    "seeds of unequal spread": lambda rng, shape: rng.normal(0, 1, shape) * rng.uniform(0.2, 2, (1, shape[1])),
}
SD = 0.0096  # of a paired difference in mAP50-95 in docs/results, after 8 epochs


def table(rng, arms, seeds, noise="normal", effects=0.0, quiet=1.0):
    """Return differences (arms, seeds) from a common baseline, whose noise is multiplied by `quiet`."""
    runs = NOISES[noise](rng, (arms + 1, seeds)) / np.sqrt(2)
    return runs[1:] - quiet * runs[0] + np.broadcast_to(effects, arms)[:, None]


def looks(seeds, spent, arms):
    return [(count, range(arms), budget) for count, budget in zip(seeds, spent, strict=True)]


def found(differences, plan, rows=None, **more):
    """Whether any of these rows gets a word."""
    decisions = decide(differences, plan, words_only=True, **more)
    return any(decisions[row].word in WORDS for row in (range(len(differences)) if rows is None else rows))


def old_rule(differences):
    """Whether the rule of version 0.1.0 gives a word: step-down max-T at 5%, as if nothing else had been looked at."""
    return bool((statistics.max_t(differences) <= ALPHA).any()) and differences.shape[1] >= 6


def added_seeds(rng, arms):
    data = table(rng, arms, 12)
    old = any(old_rule(data[:, :count]) for count in (6, 8, 10, 12))
    return old, found(data, looks((6, 8, 10, 12), [ALPHA] * 4, arms))  # the plan had 6 seeds and one look


def every_seed(rng, arms, planned):
    counts = tuple(range(6, 13))
    data = table(rng, arms, 12)
    old = any(old_rule(data[:, :count]) for count in counts)
    return old, found(data, looks(counts, spend(counts) if planned else [ALPHA] * len(counts), arms))


def planned_looks(rng, arms, effects=0.0):
    data, counts = table(rng, arms, 12, effects=effects), (6, 8, 10, 12)
    return any(old_rule(data[:, :count]) for count in counts), found(data, looks(counts, spend(counts), arms))


def one_after_another(rng, seeds):
    data = table(rng, 10, seeds)
    return any(old_rule(data[arm:arm + 1]) for arm in range(10)), \
        found(data, [(seeds, [arm], ALPHA) for arm in range(10)])


def new_folders(rng, seeds, count=10):
    old = new = False
    past: list[register.Entry] = []
    for number in range(count):
        data = table(rng, 1, seeds)
        old = old or old_rule(data)
        (decision,) = decide(data, [(seeds, [0], register.left(past, ALPHA))], words_only=True)
        past.append(register.Entry(id=str(number), folder="", data="d", model="m", spent=decision.used,
                                   found=decision.word in WORDS))
        new = new or decision.word in WORDS
    return old, new


def metric_afterwards(rng, arms, seeds):
    shared = table(rng, arms, seeds)
    metrics = [np.sqrt(0.5) * shared + np.sqrt(0.5) * table(rng, arms, seeds) for _ in range(4)]
    return any(map(old_rule, metrics)), found(metrics[0], looks((seeds,), (ALPHA,), arms))


def failures(rng, arms, seeds):
    runs = NOISES["normal"](rng, (arms + 1, seeds)) / np.sqrt(2)
    data = runs[1:] - runs[0]
    data[0, runs[1] < stats.norm.ppf(0.2, scale=np.sqrt(0.5))] = np.nan
    alone = [row[~np.isnan(row)] for row in data]
    old = old_rule(data) if arms > 1 else len(alone[0]) >= 6 and old_rule(alone[0][None])
    return old, found(data, looks((seeds,), (ALPHA,), arms))


def skewed(rng, arms, seeds, quiet):
    data = table(rng, arms, seeds, "skewed (exponential)", quiet=quiet)
    return old_rule(data), found(data, looks((seeds,), (ALPHA,), arms))


def noise_of(rng, noise, arms, seeds, effects=0.0, rows=None):
    data = table(rng, arms, seeds, noise, effects)
    old = bool((statistics.max_t(data)[slice(None) if rows is None else list(rows)] <= ALPHA).any())
    return old, found(data, looks((seeds,), (ALPHA,), arms), rows)


def controls(rng, arms, seeds):
    """Three copies of the baseline: the arms are compared with the mean of all four, and each copy with the others."""
    runs = rng.normal(0, np.sqrt(0.5), (arms + 4, seeds))
    pool = runs[:4]
    data = np.concatenate([runs[4:] - pool.mean(0), *((pool[place] - np.delete(pool, place, 0).mean(0))[None]
                                                      for place in (1, 2, 3))])
    return False, found(data, looks((seeds,), (ALPHA,), arms + 3), copies=range(arms, arms + 3))


def equivalence(rng, arms, seeds, effect):
    """Whether any arm with this true effect, in mAP50-95, is said to differ by no more than the margin."""
    data = SD * table(rng, arms, seeds) + effect
    return False, any(one.word is Word.EQUIVALENT for one in decide(data, looks((seeds,), (ALPHA,), arms), margin=MARGIN))


def copies_power(rng, copies, seeds, effect=1.0):
    """Whether an arm helps, compared with the mean of the baseline and its copies; four arms, three without effect."""
    runs = rng.normal(0, np.sqrt(0.5), (4 + copies, seeds))
    pool = runs[:copies]
    rows = [runs[copies:] - pool.mean(0)]
    rows[0][0] += effect
    if copies > 1:
        rows += [(pool[place] - np.delete(pool, place, 0).mean(0))[None] for place in range(1, copies)]
    data = np.concatenate(rows)
    decisions = decide(data, looks((seeds,), (ALPHA,), len(data)),
                       copies=range(4, 3 + copies) if copies > 2 else [], words_only=True)
    return False, decisions[0].word is Word.HELPS


def helps(rng, arms, counts, effect):
    """Whether an arm with this effect helps, by the old rule with all seeds, and by planned looks."""
    data = table(rng, arms, counts[-1], effects=[effect] + [0] * (arms - 1))
    old = bool(statistics.max_t(data)[0] <= ALPHA and data[0].mean() > 0)
    return old, decide(data, looks(counts, spend(counts), arms), words_only=True)[0].word is Word.HELPS


IMAGES, VAL = 200, 40  # of a simulated data set


def split_runs(rng, arms, count, each, parts, effects=0.0, noise="normal"):
    """Return differences (arms, count x each) of a study over splits of a data set that is really split.

    Args:
        rng: the random generator.
        arms, count, each: numbers of arms, of splits, and of seeds on each split.
        parts: the variance that comes from the images that are validated on, from those that are trained on, and from the
            training itself. Two splits share a fifth of the first and four fifths of the second.
        effects: of the arms.
        noise: of the influence of an image, and of a training.
    """
    draw, (by_val, by_train, by_seed) = NOISES[noise], np.sqrt(parts)
    shown, trained = (draw(rng, (arms + 1, IMAGES)) / np.sqrt(2) for _ in range(2))
    orders = [rng.permutation(IMAGES) for _ in range(count)]
    val = np.stack([shown[:, order[:VAL]].sum(1) / np.sqrt(VAL) for order in orders], axis=1)
    train = np.stack([trained[:, order[VAL:]].sum(1) / np.sqrt(IMAGES - VAL) for order in orders], axis=1)
    runs = draw(rng, (arms + 1, count * each)) / np.sqrt(2)
    found = np.tile(by_val * val + by_train * train, each) + by_seed * runs  # seed i is on split i modulo the splits
    return found[1:] - found[0] + np.broadcast_to(effects, arms)[:, None]


def over_splits(rng, arms, count, each, parts, effects=0.0, noise="normal", rows=None):
    """Whether a row gets a word: by the sign-flip test, as if splits were seeds, and by the corrected t-test."""
    splits = resampled.Splits(count=count, train=IMAGES - VAL, val=VAL)
    data = split_runs(rng, arms, count, each, parts, effects, noise)
    flipped = statistics.max_t(data)[slice(None) if rows is None else list(rows)]
    decisions = resampled.decide(data, splits, ALPHA)
    return bool((flipped <= ALPHA).any()), any(decisions[row].word in WORDS for row in rows or range(arms))


def over_data_sets(rng, arms, sets, seeds, effects=0.0, rows=None, planned=()):
    """Whether a row gets a word: with one study for each data set, and with all of them in one study."""
    counts = planned or (seeds,)
    shape = np.broadcast_to(effects, (sets, arms))
    data = np.concatenate([(1 + place) * table(rng, arms, seeds, effects=shape[place]) for place in range(sets)])
    groups = [range(place * arms, (place + 1) * arms) for place in range(sets)]
    chosen = list(range(len(data)) if rows is None else rows)
    alone = [statistics.max_t(data[list(group)]) for group in groups]
    return bool((np.concatenate(alone)[chosen] <= ALPHA).any()), found(
        data, looks(counts, spend(counts), len(data)), chosen, groups=groups)


def enough_sets(rng, sets, seeds, helped):
    """Whether an arm that helps by 1.5 SD on `helped` of the data sets, and not on the others, is said to help on more."""
    effects = [1.5 if place < helped else 0.0 for place in range(sets)]
    data = np.concatenate([table(rng, 1, seeds, effects=effect) for effect in effects])
    plan = [(seeds, range(sets), ALPHA)]
    groups = [[place] for place in range(sets)]
    words = [one.word is Word.HELPS for one in decide(data, plan, groups=groups, words_only=True)]
    alone = [statistics.max_t(row[None])[0] <= ALPHA and row.mean() > 0 for row in data]
    return sum(alone) > helped, sum(words) > helped


def coverage(rng, arms, seeds):
    """Whether a true difference is outside its interval: Student's of any arm alone, and the simultaneous ones."""
    effects = rng.normal(0, 2, arms)
    data = table(rng, arms, seeds, effects=effects)
    alone = any(not low <= effect <= high for (low, high), effect in
                zip(map(statistics.t_interval, data), effects, strict=True))
    decisions = decide(data, looks((seeds,), (ALPHA,), arms))
    return alone, any(not one.interval[0] <= effect <= one.interval[1]
                      for one, effect in zip(decisions, effects, strict=True))


Row = tuple[str, Callable[[np.random.Generator], tuple[bool, bool]]]


def _parts(parts):
    names = ("val images", "train images", "seeds")
    return ", ".join(f"{100 * part:.0f}% from {name}" for part, name in zip(parts, names, strict=True))


def _rows() -> dict[str, list[Row]]:
    people: list[Row] = []
    beyond: list[Row] = []
    for arms in (1, 4):
        people.append((f"6 seeds, then +2 up to 12 while nothing shows; {arms} arm(s)", lambda r, a=arms: added_seeds(r, a)))
    for arms in (1, 4):
        people.append((f"a look after every seed from 6 to 12, not planned; {arms} arm(s)",
                       lambda r, a=arms: every_seed(r, a, planned=False)))
        people.append((f"the same, planned (seeds=6..12); {arms} arm(s)", lambda r, a=arms: every_seed(r, a, planned=True)))
        people.append((f"planned looks=6,8,10,12; {arms} arm(s)", lambda r, a=arms: planned_looks(r, a)))
    for seeds in (6, 8):
        people.append((f"ten arms one after another in one study; {seeds} seeds",
                       lambda r, s=seeds: one_after_another(r, s)))
    for seeds in (6, 8):
        people.append((f"ten arms in ten folders, counted together; {seeds} seeds",
                       lambda r, s=seeds: new_folders(r, s)))
    for arms, seeds in ((1, 6), (4, 8)):
        people.append((f"the metric picked among four afterwards; {arms} arm(s), {seeds} seeds",
                       lambda r, a=arms, s=seeds: metric_afterwards(r, a, s)))
    for arms, seeds in ((1, 8), (1, 10), (4, 8), (4, 10)):
        people.append((f"an arm's worst fifth of runs fails; {arms} arm(s), {seeds} seeds",
                       lambda r, a=arms, s=seeds: failures(r, a, s)))
    for arms, seeds, quiet in (
            (4, 6, 0.0), (4, 8, 0.0), (4, 10, 0.0), (4, 12, 0.0), (4, 8, 0.3), (4, 12, 0.3), (4, 8, 0.5), (4, 12, 0.5),
            (1, 6, 0.0), (1, 8, 0.0), (1, 12, 0.0)):
        name = f"skewed differences with mean 0, the baseline's noise {quiet:g} times as large; {arms} arm(s), {seeds} seeds"
        (people if quiet < 0.5 and arms > 1 else beyond).append(
            (name, lambda r, a=arms, s=seeds, q=quiet: skewed(r, a, s, q)))
    plain: list[Row] = []
    for noise in NOISES:
        for arms, seeds in ((1, 6), (4, 6), (12, 6), (4, 10)):
            plain.append((f"{noise}; {arms} arm(s), {seeds} seeds",
                          lambda r, n=noise, a=arms, s=seeds: noise_of(r, n, a, s)))
        plain.append((f"{noise}; two arms that help by 3, two null arms; 8 seeds",
                      lambda r, n=noise: noise_of(r, n, 4, 8, [3, 3, 0, 0], (2, 3))))
    plain.append(("normal; two arms that help by 3, two null arms; looks=6,8,10,12", _partial))
    plain.append(("normal; 3 copies of the baseline, 3 null arms; 8 seeds", lambda r: controls(r, 3, 8)))
    same: list[Row] = [
        (f"true difference {effect:g}, margin 0.01; {arms} arm(s), {seeds} seeds",
         lambda r, a=arms, s=seeds, e=effect: equivalence(r, a, s, e))
        for arms, seeds, effect in ((1, 10, 0.01), (4, 10, 0.01), (1, 10, 0.0), (4, 10, 0.0), (4, 16, 0.0))]
    power: list[Row] = [(f"effect {effect:g} SD; {arms} arm(s), 12 seeds, looks=6,8,10,12",
                         lambda r, a=arms, e=effect: helps(r, a, (6, 8, 10, 12), e))
                        for arms in (1, 4) for effect in (0.5, 1, 1.5)]
    power += [(f"effect {effect:g} SD; {arms} arm(s), {seeds} seeds, one look",
               lambda r, a=arms, s=seeds, e=effect: helps(r, a, (s,), e))
              for arms in (1, 4) for seeds in (6, 8, 10, 12) for effect in (1, 1.5, 2)]
    power += [(f"effect 1 SD; 4 arms, 8 seeds, {copies} run(s) of the baseline per seed",
               lambda r, c=copies: copies_power(r, c, 8)) for copies in (1, 3, 4)]
    cover: list[Row] = [(f"{arms} arm(s), {seeds} seeds", lambda r, a=arms, s=seeds: coverage(r, a, s))
                        for arms, seeds in ((1, 6), (4, 6), (1, 10), (4, 10))]
    splits: list[Row] = [(f"{noise}; variance {_parts(parts)}; {arms} arm(s), {count} splits, {each} seed(s) on each",
                          lambda r, a=arms, c=count, e=each, n=noise, p=parts: over_splits(r, a, c, e, p, noise=n))
                         for noise in ("normal", "heavy tails (t3)", "skewed (exponential)")
                         for parts in ((1, 0, 0), (0.45, 0.05, 0.5))
                         for arms, count, each in ((1, 5, 1), (4, 5, 1), (4, 10, 1), (4, 5, 3))]
    splits.append(("normal; two arms that help by 3, two null arms; 10 splits, 1 seed on each",
                   lambda r: over_splits(r, 4, 10, 1, (0.45, 0.05, 0.5), [3, 3, 0, 0], rows=(2, 3))))
    usual = (0.45, 0.05, 0.5)
    powered: list[Row] = [
        (f"effect {effect:g} SD; variance {_parts(usual)}; {arms} arm(s), {count} splits, {each} seed(s) on each",
         lambda r, e=effect, a=arms, c=count, m=each: over_splits(r, a, c, m, usual, [e] + [0] * (a - 1), rows=(0,)))
        for effect in (1, 2) for arms, count, each in ((1, 5, 1), (1, 10, 1), (4, 10, 1), (4, 5, 3), (4, 10, 3))]
    unseen: list[Row] = [
        (f"normal; variance {_parts(parts)}; 4 arms, {count} splits, {each} seed(s) on each",
         lambda r, c=count, m=each, p=parts: over_splits(r, 4, c, m, p))
        for parts in ((0.4, 0.2, 0.4), (1 / 3, 1 / 3, 1 / 3)) for count, each in ((5, 1), (10, 1), (5, 3))]
    sets: list[Row] = [(f"{arms} arm(s) on {count} data sets, {seeds} seeds{f', looks={planned}' if planned else ''}",
                        lambda r, a=arms, c=count, s=seeds, p=planned: over_data_sets(r, a, c, s, planned=p))
                       for arms, count, seeds, planned in ((1, 2, 6, ()), (1, 3, 8, ()), (4, 2, 8, ()), (4, 3, 10, ()),
                                                           (4, 3, 12, (6, 8, 10, 12)))]
    sets.append(("4 arms that help by 3 on one of 3 data sets; a word on the others; 8 seeds",
                 lambda r: over_data_sets(r, 4, 3, 8, [[3] * 4, [0] * 4, [0] * 4], rows=range(4, 12))))
    sets += [(f"said to help on more data sets than it does: 1 arm helps on {helped} of 3; 8 seeds",
              lambda r, h=helped: enough_sets(r, 3, 8, h)) for helped in (0, 1, 2)]
    shown: list[Row] = [
        (f"power: effect {effect:g} SD on each of {count} data sets, a word on the first; {arms} arm(s), 8 seeds",
         lambda r, e=effect, a=arms, c=count: over_data_sets(r, a, c, 8, [[e] + [0] * (a - 1)] * c, rows=(0,)))
        for effect in (1, 1.5) for arms, count in ((1, 2), (1, 3), (4, 3))]
    return {
        "Splits: studies with a word for a null arm (old rule: the sign-flip test, as if splits were seeds)": splits,
        "Splits: what the correction does not see, much variance from the images that are trained on": unseen,
        "Splits: power, studies with a word for the arm with the effect (old rule: one that is wrong, as above)": powered,
        "Data sets: studies with a word for a null arm on any data set (old rule: a study for each data set)": sets,
        "Data sets: power, studies with a word for the arm with the effect (old rule: as above)": shown,
        "What people do: studies with a word for a null arm": people,
        "What the rule does not see: skewed arms whose baseline is hardly quieter, and skewed differences of one arm":
            beyond,
        "Planned studies of other noises: the same": plain,
        "Power: studies in which the arm with the effect helps (old rule: the same seeds, one look)": power,
        "No difference larger than 0.01: studies that say so of any arm (true difference 0.01: an error)": same,
        "Simultaneous 95% intervals: studies in which any true difference is outside (old rule: Student's, each alone)":
            cover,
    }


def _partial(rng):
    data, counts = table(rng, 4, 12, effects=[3, 3, 0, 0]), (6, 8, 10, 12)
    return False, found(data, looks(counts, spend(counts), 4), (2, 3))


def percentage(count: int, total: int) -> str:
    return f"{100 * count / total:.1f} ± {200 * np.sqrt(max(count, 1) * (total - count)) / total**1.5:.1f}%"


def _simulate(title: str, name: str, seed: int, studies: int) -> list[int]:
    rng = np.random.default_rng([seed, *name.encode()])
    simulate = dict(_rows()[title])[name]
    return [int(one) for one in np.sum([simulate(rng) for _ in range(studies)], axis=0)]


def _text(rows, tasks, done, studies, seed) -> str:
    """Return the page with the rows that are finished."""
    keys = {(title, name): key for key, (title, name, *_) in tasks.items()}
    lines = ["# Calibration of the verdicts", "",
             f"`python benchmarks/study_calibration.py --studies {studies} --seed {seed}`: {studies:,} simulated studies in "
             "each row, with the functions that judge a real study; ± two standard errors. Effects are in standard "
             f"deviations of a paired difference. {platform.system()}, Python {platform.python_version()}, NumPy "
             f"{np.__version__}. *Old rule*: version 0.1.0, which took every look as the only one."]
    for title, names in rows.items():
        found = [(name, done[keys[title, name]]) for name in names if keys[title, name] in done]
        if found:
            lines += ["", f"## {title}", "", "| | old rule | today |", "|---|---:|---:|"]
        for name, (old, new) in found:
            lines.append(f"| {name} | {percentage(old, studies) if old else ''} | {percentage(new, studies)} |")
    return "\n".join([*lines, ""])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--studies", type=int, default=4000)
    options.add_argument("--seed", type=int, default=2024)
    options.add_argument("--only", default="", help="rows whose text contains this")
    options.add_argument("--processes", type=int, default=1)
    options.add_argument("--out", type=Path)
    args = options.parse_args()
    store = args.out.with_suffix(".json") if args.out else None
    done: dict[str, list[int]] = json.loads(store.read_text()) if store and store.exists() else {}
    begun = time.perf_counter()
    rows = {title: [name for name, _ in found if args.only in name] for title, found in _rows().items()}
    tasks = {f"{args.seed} {args.studies} {title} {name}": (title, name, args.seed, args.studies)
             for title, names in rows.items() for name in names}
    with ProcessPoolExecutor(args.processes) as pool:
        waiting = {pool.submit(_simulate, *task): key for key, task in tasks.items() if key not in done}
        for ended in as_completed(waiting):
            done[waiting[ended]] = ended.result()
            print(waiting[ended], done[waiting[ended]], flush=True)
            if store:
                store.write_text(json.dumps(done, indent=1))
                args.out.write_text(_text(rows, tasks, done, args.studies, args.seed), encoding="utf-8")
    print(f"{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
