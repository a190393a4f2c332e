"""Measure how the time of a training epoch grows with the number of images, their size, and the scale of the model.

    python benchmarks/growth.py data=NEU-DET.yaml [out=growth.jsonl] [figure=growth.svg]

Each point is one training from a model YAML in its own process, with `speed=stock` and with `speed=auto`. The benchmark
times the training part of the last epoch in wall seconds and in CPU seconds (of all threads, which other programs
hardly disturb). It leaves validation out, because that grows with another data set. It also records the start-up time,
which includes the label scan and auto's measurement, and the largest memory of the process. For more images, a text
file lists the training images several times. Along each axis the other two values stay as in `AXES`, so that all points
take minutes. The exponent is the slope of a straight line through the logarithms.

Each finished point is one line in `out` and does not run again. You can stop at any time and continue with the same
command.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path
from typing import Any

ARMS = ("stock", "auto")
# axis -> (label, fixed settings, points as (value on the axis, its settings)). Short trainings have two epochs, because the
# set-up of the operators would distort the time of the first.
AXES: dict[str, tuple[str, dict[str, Any], list[tuple[float, dict[str, Any]]]]] = {
    "pictures": ("images", {"model": "yolo11n.yaml", "imgsz": 96}, [
        (360, {"pictures": 360, "epochs": 2}), (1440, {"pictures": 1440, "epochs": 2}),
        (14400, {"pictures": 14400, "epochs": 1})]),
    "size": ("image side, pixels", {"model": "yolo11n.yaml", "pictures": 96, "epochs": 2},
             [(size, {"imgsz": size}) for size in (160, 320, 640)]),
    "scale": ("GFLOPs at 640, as published", {"pictures": 96, "imgsz": 160, "epochs": 2},
              [(flops, {"model": f"yolo11{scale}.yaml"}) for scale, flops in (("n", 6.5), ("s", 21.5), ("m", 68.0))]),
}
VALIDATION_IMAGES = 32


def write_data(data: str, pictures: int, folder: Path) -> Path:
    """Write a data YAML whose training set repeats the images of `data` up to a number, and return its path."""
    import yaml

    stock = yaml.safe_load(Path(data).read_text())
    root = Path(stock["path"])
    for split, count in (("train", pictures), ("val", VALIDATION_IMAGES)):
        found = sorted(path for path in (root / stock[split]).iterdir() if path.suffix in (".jpg", ".png"))
        spread = found[:: max(1, len(found) // count)]  # files are sorted by class: take all classes
        (folder / f"{split}.txt").write_text("\n".join(map(str, islice(cycle(spread), count))))
    file = folder / "data.yaml"
    file.write_text(yaml.safe_dump({"path": str(folder), "train": "train.txt", "val": "val.txt", "names": stock["names"]}))
    return file


def train(arm: str, data: str, point: dict[str, Any]) -> dict[str, Any]:
    """Train one point in this process, and return its seconds and its memory."""
    import yolograft

    model = yolograft.YOLO(point["model"])
    starts: list[tuple[float, float]] = []
    ends: list[tuple[float, float]] = []
    model.add_callback("on_train_epoch_start", lambda _: starts.append((time.perf_counter(), time.process_time())))
    model.add_callback("on_train_epoch_end", lambda _: ends.append((time.perf_counter(), time.process_time())))
    with tempfile.TemporaryDirectory() as folder:
        file = write_data(data, point["pictures"], Path(folder))
        called = time.perf_counter()
        model.train(data=str(file), imgsz=point["imgsz"], epochs=point["epochs"], batch=16, seed=0, device="cpu", workers=0,
                    plots=False, project=folder, speed=arm)
    choice = getattr(model.trainer, "choice", None)
    (wall, cpu), (wall_start, cpu_start) = ends[-1], starts[len(ends) - 1]
    return {"epoch": wall - wall_start, "cpu": cpu - cpu_start, "start": starts[0][0] - called,
            "chosen": choice.why if choice else "stock", "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def run_once(arm: str, data: str, point: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return the result of a point from `out`, or run it in a new process."""
    lines = [line for line in (out.read_text().splitlines() if out.is_file() else []) if line.endswith("}")]
    for line in map(json.loads, lines):  # skip a half-written line of a killed run
        if (line["arm"], line["point"]) == (arm, point):
            return line
    print(f"{arm:>6}  {point} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run([sys.executable, __file__, "--one", arm, data, json.dumps(point), str(answer)],
                              capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{arm} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        result = {"arm": arm, "point": point, "load": os.getloadavg()[0], **json.loads(answer.read_text())}
    with out.open("a") as file:
        file.write(json.dumps(result) + "\n")
    return result


def exponent(xs: list[float], ys: list[float]) -> float:
    """Return the slope of the least-squares line through the logarithms."""
    across, up = [math.log(x) for x in xs], [math.log(y) for y in ys]
    middle, level = sum(across) / len(across), sum(up) / len(up)
    return sum((a - middle) * (b - level) for a, b in zip(across, up, strict=True)) / sum((a - middle) ** 2 for a in across)


def draw(found: dict[str, dict[str, list[dict[str, Any]]]], file: Path) -> None:
    """Draw one log-log panel per axis."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams.update({"svg.hashsalt": "growth", "svg.fonttype": "none", "font.size": 9})
    from matplotlib import pyplot as plt

    figure, panels = plt.subplots(1, len(AXES), figsize=(9, 2.8), layout="constrained")
    for panel, (axis, (unit, _, points)) in zip(panels, AXES.items(), strict=True):
        xs = [x for x, _ in points]
        for arm, marker in zip(ARMS, "os", strict=True):
            ys = [one["epoch"] for one in found[axis][arm]]
            panel.loglog(xs, ys, marker=marker, label=f"{arm}, exponent {exponent(xs, ys):.2f}")
        panel.set_xticks(xs, [f"{x:g}" for x in xs])
        panel.minorticks_off()
        panel.set_xlabel(unit)
        panel.legend(frameon=False)
    panels[0].set_ylabel("seconds per epoch")
    figure.savefig(file, metadata={"Date": None})


def main(words: list[str]) -> None:
    """Measure, and print a table, draw the figure, and print one line of JSON."""
    given = {"data": "", "out": "growth.jsonl", "figure": "growth.svg", **dict(word.partition("=")[::2] for word in words)}
    if not given["data"] or len(given) > 3:
        sys.exit(__doc__)
    import torch
    import ultralytics

    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for axis, (_, fixed, points) in AXES.items():
        found[axis] = {arm: [] for arm in ARMS}
        for _, sets in points:
            for arm in ARMS:
                found[axis][arm].append(run_once(arm, given["data"], {**fixed, **sets}, Path(given["out"])))
    print("| axis | at | stock: epoch, s | CPU s | start-up, s | MiB | auto: epoch, s | CPU s | start-up, s | MiB |\n"
          "|---|---|---|---|---|---|---|---|---|---|")
    slopes = {}
    for axis, (unit, _, points) in AXES.items():
        xs = [x for x, _ in points]
        for number, x in enumerate(xs):
            cells = [f"{one['epoch']:.1f} | {one['cpu']:.1f} | {one['start']:.1f} | {one['mib']:.0f}"
                     for one in (found[axis][arm][number] for arm in ARMS)]
            print(f"| {axis} | {x:g} {unit} | {' | '.join(cells)} |")
        slopes[axis] = {arm: {clock: exponent(xs, [one[clock] for one in found[axis][arm]]) for clock in ("epoch", "cpu")}
                        for arm in ARMS}
        cells = [f"**{slopes[axis][arm]['epoch']:.2f}** | **{slopes[axis][arm]['cpu']:.2f}** | |" for arm in ARMS]
        print(f"| | **exponent** | {' | '.join(cells)} |")
    draw(found, Path(given["figure"]))
    print(json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__,
                      "ultralytics": ultralytics.__version__, "exponents": slopes,
                      "load": max(one["load"] for arms in found.values() for each in arms.values() for one in each)}))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        Path(sys.argv[5]).write_text(json.dumps(train(sys.argv[2], sys.argv[3], json.loads(sys.argv[4]))))
    else:
        main(sys.argv[1:])
