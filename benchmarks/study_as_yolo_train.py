"""Compare trainings by a study's runner with stock `yolo train`: do both reach the same accuracy, with the same spread?

    python benchmarks/study_as_yolo_train.py DATA.yaml yolo11n.pt --work runs/as-yolo-train --out docs/results

A study trains by its own trainer, which seeds every epoch and can resume exactly. This benchmark trains a model
`--runs` times by this trainer, in the process that a study starts for each trial, and as many times by the command
`yolo train` of the installed Ultralytics, with the same arguments and other seeds. Both best checkpoints are evaluated by
the same function. The page has the means, the spreads, Welch's interval of the difference (1947), and two one-sided tests
(Schuirmann 1987) against the margin of a study.

`--once` does the next training only and exits with 3 if none is left, so that the benchmark can run in short stretches. What
is finished is in OUT/study-as-yolo-train.json and is not repeated.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from scipy import stats

from yolograft.atomic import atomic_write
from yolograft.runner.fingerprint import list_images, resolve_dataset
from yolograft.study.plan import Plan
from yolograft.study.trial import Result, read_json, write_json
from yolograft.study.verdict import MARGIN

NAME = "study-as-yolo-train"
SIDES = {"study": 0, "yolo train": 100}  # the first seed of each side: no seed is in both
METRICS = ("mAP50-95", "mAP50")
STOCK = "from ultralytics.cfg import entrypoint; entrypoint()"  # the command `yolo`


def train_by_study(arguments: dict[str, Any], seed: int, folder: Path) -> dict[str, float]:
    """Train one trial of a study without blocks, in the process that a study starts, and return its metrics."""
    plan = Plan.of({**arguments, "arms": "none", "seeds": [seed], "register": False})
    (trial,) = plan.trials()
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "trial.json", trial)
    with (folder / "log.txt").open("a") as log:
        worker = subprocess.Popen([sys.executable, "-m", "yolograft.study.worker", str(folder)], stdin=subprocess.PIPE,
                                  stdout=log, stderr=log)
        if worker.wait():  # `run` would close the standard input, and the worker ends with its parent
            sys.exit(f"The trial failed: see {folder / 'log.txt'}")
    result = read_json(Result, folder / "result.json")
    assert result is not None
    return {**{name: result.metrics[name] for name in METRICS}, **last_epoch(folder / "run" / "results.csv")}


def train_by_yolo(arguments: dict[str, Any], seed: int, folder: Path) -> dict[str, float]:
    """Train by the stock command, and return the metrics of its best checkpoint, evaluated as a study does."""
    words = [f"{key}={value}" for key, value in {**arguments, "seed": seed, "project": folder.resolve(), "name": "run",
                                                 "exist_ok": True, "plots": False}.items()]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log.txt").open("a") as log:
        subprocess.run([sys.executable, "-c", STOCK, "detect", "train", *words], stdout=log, stderr=log, check=True)
    from yolograft.runner.evaluate import evaluate

    metrics = evaluate(folder / "run" / "weights" / "best.pt", arguments, folder.resolve() / "evaluation")["metrics"]
    return {**{name: metrics[name] for name in METRICS}, **last_epoch(folder / "run" / "results.csv")}


def every_third(data: str, folder: Path) -> Path:
    """Write a data YAML with every third training image of another one, and return its path.

    The argument `fraction` takes the first images by name, which are two of six classes in NEU-DET.
    """
    dataset = resolve_dataset(data, "detect")
    folder.mkdir(parents=True, exist_ok=True)
    images = folder.resolve() / "every-third.txt"
    found = list_images(data, dataset, "train", "detect")[::3]
    images.write_text("".join(f"{path}\n" for path in found), encoding="utf-8")
    file = folder.resolve() / "every-third.yaml"
    file.write_text(yaml.safe_dump({"train": str(images), "val": str(dataset["val"]), "names": dict(dataset["names"])}))
    return file


def last_epoch(file: Path) -> dict[str, float]:
    """Return the mAP50-95 that Ultralytics itself wrote after the last epoch, by the averaged weights of that epoch."""
    *_, row = csv.DictReader(file.read_text().splitlines(), skipinitialspace=True)
    return {"last epoch": float(next(value for key, value in row.items() if key.strip() == "metrics/mAP50-95(B)"))}


def compare(study: list[float], stock: list[float], margin: float = MARGIN) -> dict[str, float]:
    """Return the difference of two independent samples: Welch's 95% interval and p, TOST's p, and the ratio of the SDs.

    >>> found = compare([1.0, 2.0, 3.0], [1.0, 2.0, 3.0], margin=5.0)
    >>> found["difference"], found["ratio"], found["p_tost"] < 0.05
    (0.0, 1.0, True)
    """
    one, other = np.asarray(study), np.asarray(stock)
    parts = one.var(ddof=1) / one.size, other.var(ddof=1) / other.size
    error = math.sqrt(sum(parts))
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / (one.size - 1) + parts[1] ** 2 / (other.size - 1))
    difference = float(one.mean() - other.mean())
    reach = float(stats.t.ppf(0.975, freedom)) * error
    ratio = float(one.std(ddof=1) / other.std(ddof=1))
    bounds = stats.f.ppf([0.975, 0.025], one.size - 1, other.size - 1)
    return {"difference": difference, "low": difference - reach, "high": difference + reach,
            "p": 2 * float(stats.t.sf(abs(difference) / error, freedom)),
            "p_tost": max(float(stats.t.sf((difference + margin) / error, freedom)),
                          float(stats.t.cdf((difference - margin) / error, freedom))),
            "ratio": ratio, "ratio_low": ratio / math.sqrt(bounds[0]), "ratio_high": ratio / math.sqrt(bounds[1])}


def page(record: dict[str, Any]) -> str:
    """Return the page of all finished trainings."""
    runs = record["runs"]
    sides = {side: [one for one in runs if one["side"] == side] for side in SIDES}
    counts = {side: len(found) for side, found in sides.items()}
    settings = ", ".join(f"{key}={value}" for key, value in record["arguments"].items() if key not in ("data", "model"))
    lines = ["# Does a study train as `yolo train` does?", ""]
    rows: list[str] = []
    if min(counts.values()) < 2:
        lines += ["Not enough trainings yet.", ""]
    else:
        for metric in (*METRICS, "last epoch"):
            values = [[one[metric] for one in found] for found in sides.values()]
            found = compare(*values)
            if metric == METRICS[0]:
                same = found["p_tost"] <= 0.05
                verdict = "no difference larger than" if same else "a difference larger than"
                lines += [f"{'Yes' if same else 'Open'}: {counts['study']} trainings by a study's runner and "
                          f"{counts['yolo train']} by stock `yolo train` differ by {found['difference']:+.4f} mAP50-95 (95% "
                          f"interval {found['low']:+.4f} to {found['high']:+.4f}, Welch). Two one-sided tests against "
                          f"{MARGIN}: p = {found['p_tost']:.2g}, so {verdict} {MARGIN} is "
                          f"{'shown' if same else 'not excluded'}. The standard deviations have the ratio "
                          f"{found['ratio']:.2f} ({found['ratio_low']:.2f} to {found['ratio_high']:.2f}).", ""]
            name = "mAP50-95 after the last epoch, written by Ultralytics" if metric == "last epoch" else metric
            cells = " | ".join(f"{np.mean(one):.4f} ± {np.std(one, ddof=1):.4f}" for one in values)
            rows.append(f"| {name} | {cells} | {found['difference']:+.4f} | {found['low']:+.4f} to {found['high']:+.4f} | "
                        f"{found['p']:.2g} | {found['p_tost']:.2g} | {found['ratio']:.2f} ({found['ratio_low']:.2f} to "
                        f"{found['ratio_high']:.2f}) |")
        lines += ["| mean ± standard deviation | study | `yolo train` | difference | 95% interval | p | p of TOST | "
                  "ratio of SDs (95%) |", "|---|---:|---:|---:|---:|---:|---:|---:|", *rows, ""]
    lines += [f"`{record['model']}` on {record['data']}, {settings}. Study: the trainer, process and evaluation of a "
              "study's trial without blocks. `yolo train`: the unmodified command of the installed Ultralytics with the "
              "same arguments. No seed is in both, and the runs are not paired. The first two rows are the best "
              "checkpoints, evaluated by the study's function; the last row is what Ultralytics itself wrote during the "
              "training.", "",
              "It shows this for one small setting. A study's trainer draws other random numbers and another order of the "
              "images, and Mosaic has as many partner images from the first image on as later, where a stock data set has "
              "none yet. It does not stop NMS at a time limit.", "",
              f"{record['machine']}. Each training, with its seed: [{NAME}.json]({NAME}.json). Again: "
              f"`python benchmarks/{Path(__file__).name} DATA.yaml MODEL --work FOLDER --out docs/results`.", ""]
    return "\n".join(lines)


def main() -> int:
    """Run what is missing, and write the record and the page after each training."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("data")
    options.add_argument("model")
    options.add_argument("--work", type=Path, required=True, help="folder for the trainings' own files")
    options.add_argument("--out", type=Path, required=True, help="folder for the page and its record")
    options.add_argument("--runs", type=int, default=10)
    options.add_argument("--epochs", type=int, default=6)
    options.add_argument("--once", action="store_true")
    args = options.parse_args()
    arguments: dict[str, Any] = {
        "data": str(every_third(args.data, args.work)), "model": args.model, "epochs": args.epochs, "imgsz": 96, "batch": 16,
        "nbs": 16, "warmup_epochs": 0, "close_mosaic": 1, "device": "cpu"}
    named = {**arguments, "data": f"every third training image of {Path(args.data).stem}",
             "model": Path(args.model).name}
    file = args.out / f"{NAME}.json"
    record = json.loads(file.read_text()) if file.exists() else {
        "arguments": named, "data": named["data"], "model": named["model"], "machine": machine(), "runs": []}
    if record["arguments"] != named:
        sys.exit(f"{file} is of other arguments: {record['arguments']}. Name another folder.")
    for number in range(args.runs):
        for side, first in SIDES.items():
            seed = first + number
            if any((one["side"], one["seed"]) == (side, seed) for one in record["runs"]):
                continue
            started = time.monotonic()
            train = train_by_study if side == "study" else train_by_yolo
            metrics = train(arguments, seed, args.work / f"{side.replace(' ', '-')}-{seed}")
            record["runs"].append({"side": side, "seed": seed, **metrics, "seconds": round(time.monotonic() - started, 1)})
            args.out.mkdir(parents=True, exist_ok=True)
            for path, text in ((file, json.dumps(record, indent=1) + "\n"), (args.out / f"{NAME}.md", page(record))):
                atomic_write(path, lambda part, text=text: part.write_text(text, encoding="utf-8"))
            print(f"{side}, seed {seed}: {metrics}", flush=True)
            if args.once:
                return 0
    return 3 if args.once else 0


def machine() -> str:
    """Return what trained: system, Python, PyTorch, Ultralytics and the number of cores."""
    import torch
    import ultralytics

    return (f"{platform.system()}, Python {platform.python_version()}, PyTorch {torch.__version__}, Ultralytics "
            f"{ultralytics.__version__}, {os.cpu_count()} CPU cores")


if __name__ == "__main__":
    sys.exit(main())
