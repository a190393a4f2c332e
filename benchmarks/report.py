"""Measure how long a report takes as a study grows: 10, 100, 1,000 and 10,000 trials.

    python benchmarks/report.py [--trials 10 100 1000 10000] [--epochs 50] [--folder DIR]

The studies are synthetic and have the same content as real ones: learning curves of all epochs, metrics of six classes,
and in each trial's folder the detections in 360 images and the average precision of their bootstrap samples (hard links
to the same few files). Writing these studies into an SQLite storage is not part of the measured time. If `--folder` has
studies from an earlier run, they are used again.
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
IMAGES, DETECTIONS, VARIANTS = 360, 36_000, 6


def write_detections(path: Path, seed: int) -> None:
    """Write the detections of a trial in Ultralytics' format: 100 in each of 360 images."""
    rng = np.random.default_rng(seed)
    image = np.repeat(np.arange(IMAGES), DETECTIONS // IMAGES)
    corner, size = rng.uniform(0, 100, (DETECTIONS, 2)), rng.uniform(10, 100, (DETECTIONS, 2))
    score, label = rng.beta(0.3, 4, DETECTIONS), rng.integers(len(CLASSES), size=DETECTIONS)
    correct = ((rng.random(DETECTIONS) < 0.02 + 0.6 * score)[:, None]
               & (rng.random(DETECTIONS)[:, None] * 10 > np.arange(10)))
    truths = np.column_stack([np.sort(rng.integers(IMAGES, size=870)), rng.integers(len(CLASSES), size=870),
                              rng.uniform(0, 100, (870, 2)), rng.uniform(100, 200, (870, 2))])
    path.parent.mkdir(parents=True)
    np.savez_compressed(path, names=np.array([f"{i:04}.jpg" for i in range(IMAGES)]),
                        shapes=np.full((IMAGES, 2), 200, np.int32), correct=correct, truths=truths.astype(np.float32),
                        detections=np.column_stack([image, corner, corner + size, score, label]).astype(np.float32))
    store_resampled_ap(path.parent)


def write_study(folder: Path, trials: int, epochs: int) -> int:
    """Write a finished study of about `trials` trials, and return their exact number."""
    seeds = max(6, round(math.sqrt(trials)))
    arms = "; ".join(["none", *(f"se(ratio={2 + i})@8" for i in range(max(1, round(trials / seeds) - 1)))])
    plan = Plan.of({"data": "x", "model": "m", "arms": arms, "seeds": seeds, "epochs": epochs, "imgsz": 224,
                    "host": "yolograft.study.dummy"})
    folder.mkdir(parents=True)
    plan.write(folder / "plan.yaml")
    for variant in range(VARIANTS):
        write_detections(folder / f"variant{variant}" / FILE, variant)
    storage, rng = Storage(folder, create=True), np.random.default_rng(0)
    rows, attributes, values, steps, states = storage.add(plan.trials()), [], [], [], []
    for row in rows:
        final = float(0.35 + rng.normal(0, 0.01))
        curve = [{"epoch": epoch, **dict.fromkeys(("precision", "recall", "mAP50", "mAP50-95", "fitness"),
                                                  final * (1 - 0.9 ** epoch)),
                  **{f"{side}/{loss}": float(rng.random()) for side in ("train", "val") for loss in ("box_loss", "cls_loss",
                                                                                                 "dfl_loss")}}
                 for epoch in range(1, epochs + 1)]
        metrics = dict.fromkeys(("precision", "recall", "mAP50", "mAP50-95", "fitness"), final)
        by_class = {name: {label: float(rng.random()) for label in CLASSES}
                    for name in ("precision", "recall", "AP50", "AP50-95")}
        costs = {"seconds": 600.0, "epochs": epochs, "gflops": 6.4, "parameters": 2_600_000.0, "latency_ms": 2.0}
        result = {"metrics": metrics, "classes": by_class, "costs": costs, "notes": {}}
        attributes += [{"trial_id": row.id, "key": key, "value_json": text}
                       for name, value in (("result", result), ("curve", curve)) for key, text in _pieces(name, value)]
        values.append({"trial_id": row.id, "objective": 0, "value": final, "value_type": "FINITE"})
        steps += [{"trial_id": row.id, "step": int(point["epoch"]), "intermediate_value": point["mAP50-95"],
                   "intermediate_value_type": "FINITE"} for point in curve]
        states.append({"finished": row.id, "state": TrialState.COMPLETE, "at": datetime(2026, 1, 1)})
        trial_folder = folder / "trials" / row.key
        trial_folder.mkdir(parents=True)
        for name in (FILE, RESAMPLED):
            os.link(folder / f"variant{row.number % VARIANTS}" / name, trial_folder / name)
    # all trials in one transaction: a study writes them one by one, but that time is not measured here
    table = models.TrialModel.__table__
    with storage._rdb.engine.begin() as connection:
        connection.execute(insert(models.TrialUserAttributeModel.__table__), attributes)
        connection.execute(insert(models.TrialValueModel.__table__), values)
        connection.execute(insert(models.TrialIntermediateValueModel.__table__), steps)
        connection.execute(update(table).where(table.c.trial_id == bindparam("finished")).values(
            state=bindparam("state"), datetime_start=bindparam("at"), datetime_complete=bindparam("at")), states)
    storage.close()
    return len(plan.trials())


def main() -> None:
    """Write the studies, report on each, and print one line per study and the exponent of growth."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, nargs="+", default=[10, 100, 1000, 10_000])
    options.add_argument("--epochs", type=int, default=50)
    options.add_argument("--repeats", type=int, default=3)
    options.add_argument("--folder", type=Path)
    args = options.parse_args()
    root = args.folder or Path(tempfile.mkdtemp())
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}; {args.epochs} epochs, "
          f"medians of {args.repeats}")
    print(f"{'trials':>7} {'arms':>5} {'seeds':>6} {'read s':>8} {'report s':>9} {'total s':>11} {'range':>11} "
          f"{'MiB db':>9} {'MiB page':>9} {'MiB peak':>9}")  # the peak includes all earlier studies
    measured = []
    for size in args.trials:
        folder = root / f"of{size}"
        trials = len(Study.load(folder).plan.trials()) if folder.exists() else write_study(folder, size, args.epochs)
        times = []
        for repeat in range(args.repeats + 1):  # the first repeat is the warm-up: imports, fonts
            start = time.perf_counter()
            study = Study.load(folder)
            read = time.perf_counter()
            pages = write(study, folder / "report")
            if repeat:
                end = time.perf_counter()
                times.append((read - start, end - read, end - start))
            arms, seeds = len(study.plan.arms), len(study.plan.seeds)
            del study
            gc.collect()  # so that the peak is that of one report
        reading, writing, total = np.median(times, axis=0)
        low, high = min(run[2] for run in times), max(run[2] for run in times)
        stored = (folder / "study.db").stat().st_size / 2**20
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
        print(f"{trials:>7} {arms:>5} {seeds:>6} {reading:>8.2f} {writing:>9.2f} {total:>11.2f} {low:>5.2f}-{high:<5.2f} "
              f"{stored:>9.1f} {pages[0].stat().st_size / 2**20:>9.2f} {peak:>9.0f}", flush=True)
        measured.append((trials, total))
    if len(measured) > 1:
        (few, short), (many, long) = measured[-2:]
        power = math.log(long / short) / math.log(many / few)
        print(f"between the last two sizes, time grows as trials to the power {power:.2f}")
    if not args.folder:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
