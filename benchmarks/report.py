"""How long a report takes, and what its parts take, as a study grows: 10, 100, 1,000 and 10,000 trials.

    python benchmarks/report.py [--trials 10 100 1000 10000] [--epochs 50] [--folder DIR]

The studies are made up, but hold what real ones do: learning curves of all epochs, metrics of six classes, and in each
trial's folder the detections in 360 pictures (the same few files over and over, hard-linked) with the result of
`resampled_ap`. They are written as finished into an SQLite storage; that time is no part of the report's. Those
that lie in `--folder` from an earlier run are used again.
"""

from __future__ import annotations

import argparse
import gc
import math
import os
import platform
import resource
import shutil
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np
from optuna.storages._rdb import models
from optuna.trial import TrialState
from sqlalchemy import bindparam, insert, update

from yolograft.report import write
from yolograft.study import Study
from yolograft.study.images import FILE, RESAMPLED, store_resampled_ap
from yolograft.study.plan import Plan
from yolograft.study.storage import Storage, _pieces

CLASSES = ("crazing", "inclusion", "patches", "pitted_surface", "rolled-in_scale", "scratches")
IMAGES, FOUND, VARIANTS = 360, 36_000, 6


def detections(path: Path, seed: int) -> None:
    """Write the detections of a trial: 100 in each of 360 pictures, as Ultralytics gives them."""
    rng = np.random.default_rng(seed)
    picture = np.repeat(np.arange(IMAGES), FOUND // IMAGES)
    corner, size = rng.uniform(0, 100, (FOUND, 2)), rng.uniform(10, 100, (FOUND, 2))
    sure, kind = rng.beta(0.3, 4, FOUND), rng.integers(len(CLASSES), size=FOUND)
    hits = (rng.random(FOUND) < 0.02 + 0.6 * sure)[:, None] & (rng.random(FOUND)[:, None] * 10 > np.arange(10))
    truths = np.column_stack([np.sort(rng.integers(IMAGES, size=870)), rng.integers(len(CLASSES), size=870),
                              rng.uniform(0, 100, (870, 2)), rng.uniform(100, 200, (870, 2))])
    path.parent.mkdir(parents=True)
    np.savez_compressed(path, names=np.array([f"{i:04}.jpg" for i in range(IMAGES)]),
                        shapes=np.full((IMAGES, 2), 200, np.int32), correct=hits, truths=truths.astype(np.float32),
                        detections=np.column_stack([picture, corner, corner + size, sure, kind]).astype(np.float32))
    store_resampled_ap(path.parent)


def finished(folder: Path, trials: int, epochs: int) -> int:
    """Write a finished study of about as many trials; returns how many there are."""
    seeds = max(6, round(math.sqrt(trials)))
    arms = "; ".join(["none", *(f"se(ratio={2 + i})@8" for i in range(max(1, round(trials / seeds) - 1)))])
    plan = Plan.of({"data": "x", "model": "m", "arms": arms, "seeds": seeds, "epochs": epochs, "imgsz": 224,
                    "host": "yolograft.study.dummy"})
    folder.mkdir(parents=True)
    plan.write(folder / "plan.yaml")
    for variant in range(VARIANTS):
        detections(folder / f"variant{variant}" / FILE, variant)
    storage, rng = Storage(folder, create=True), np.random.default_rng(0)
    rows, notes, values, epochs_of, ended = storage.add(plan.trials()), [], [], [], []
    for row in rows:
        final = float(0.35 + rng.normal(0, 0.01))
        curve = [{"epoch": epoch, **dict.fromkeys(("precision", "recall", "mAP50", "mAP50-95", "fitness"),
                                                  final * (1 - 0.9 ** epoch)),
                  **{f"{side}/{loss}": float(rng.random()) for side in ("train", "val") for loss in ("box_loss", "cls_loss",
                                                                                                 "dfl_loss")}}
                 for epoch in range(1, epochs + 1)]
        metrics = dict.fromkeys(("precision", "recall", "mAP50", "mAP50-95", "fitness"), final)
        by_class = {name: {one: float(rng.random()) for one in CLASSES}
                    for name in ("precision", "recall", "AP50", "AP50-95")}
        costs = {"seconds": 600.0, "epochs": epochs, "gflops": 6.4, "parameters": 2_600_000.0, "latency_ms": 2.0}
        result = {"metrics": metrics, "classes": by_class, "costs": costs, "notes": {}}
        notes += [{"trial_id": row.id, "key": key, "value_json": text}
                  for name, value in (("result", result), ("curve", curve)) for key, text in _pieces(name, value)]
        values.append({"trial_id": row.id, "objective": 0, "value": final, "value_type": "FINITE"})
        epochs_of += [{"trial_id": row.id, "step": int(point["epoch"]), "intermediate_value": point["mAP50-95"],
                       "intermediate_value_type": "FINITE"} for point in curve]
        ended.append({"one": row.id, "state": TrialState.COMPLETE, "at": datetime(2026, 1, 1)})
        kept = folder / "trials" / row.key
        kept.mkdir(parents=True)
        for name in (FILE, RESAMPLED):
            os.link(folder / f"variant{row.number % VARIANTS}" / name, kept / name)
    # at once, where a study writes trial by trial: that is not what is measured here
    table = models.TrialModel.__table__
    with storage._rdb.engine.begin() as connection:
        connection.execute(insert(models.TrialUserAttributeModel.__table__), notes)
        connection.execute(insert(models.TrialValueModel.__table__), values)
        connection.execute(insert(models.TrialIntermediateValueModel.__table__), epochs_of)
        connection.execute(update(table).where(table.c.trial_id == bindparam("one")).values(
            state=bindparam("state"), datetime_start=bindparam("at"), datetime_complete=bindparam("at")), ended)
    storage.close()
    return len(plan.trials())


def main() -> None:
    """Make the studies, report on each, and print a line for it and the exponent of growth."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    options.add_argument("--epochs", type=int, default=50)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--folder", type=Path)
    given = options.parse_args()
    root = given.folder or Path(tempfile.mkdtemp())
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; {given.epochs} epochs, "
          f"medians of {given.repeats}")
    print(f"{'trials':>7} {'arms':>5} {'seeds':>6} {'read s':>8} {'report s':>9} {'together s':>11} {'range':>11} "
          f"{'MiB kept':>9} {'MiB page':>9} {'MiB peak':>9}")  # the peak is that of all so far
    seen = []
    for wanted in given.trials:
        folder = root / f"of{wanted}"
        trials = len(Study.load(folder).plan.trials()) if folder.exists() else finished(folder, wanted, given.epochs)
        taken = []
        for repeat in range(given.repeats + 1):  # the first warms up: imports, fonts
            begun = time.perf_counter()
            study = Study.load(folder)
            read = time.perf_counter()
            pages = write(study, folder / "report")
            if repeat:
                ended = time.perf_counter()
                taken.append((read - begun, ended - read, ended - begun))
            arms, seeds = len(study.plan.arms), len(study.plan.seeds)
            del study
            gc.collect()  # so that the peak is one report's
        reading, writing, together = np.median(taken, axis=0)
        low, *_, high = sorted(one[2] for one in taken)
        size, peak = (folder / "study.db").stat().st_size / 2**20, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"{trials:>7} {arms:>5} {seeds:>6} {reading:>8.2f} {writing:>9.2f} {together:>11.2f} {low:>5.2f}-{high:<5.2f} "
              f"{size:>9.1f} {pages[0].stat().st_size / 2**20:>9.2f} {peak:>9.0f}", flush=True)
        seen.append((trials, together))
    if len(seen) > 1:
        (few, short), (many, long) = seen[-2:]
        print(f"time grows as trials to the power {math.log(long / short) / math.log(many / few):.2f} between the last two")
    if not given.folder:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
