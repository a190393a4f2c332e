"""How the time of a training epoch grows: with the pictures, with their size, and with the model's scale.

    python benchmarks/growth.py data=NEU-DET.yaml [out=growth.jsonl] [figure=growth.svg]

Each point is trained in a process of its own, at Ultralytics' speed (stock) and at yolograft's (auto), from a model YAML.
What is timed is the training part of the last epoch, without its validation, which grows with another set, in wall and in
CPU seconds (all threads: what else the machine does hardly touches them); beside it the seconds until the first epoch
begins, which hold the label scan and auto's measuring, and the process's largest memory.
More pictures are the list of the training pictures over and over, in a text file. Along one axis the other two stay where
`AXES` says, so that all of it takes minutes; the exponent is the slope of a straight line through the logarithms.

Every finished point is a line of `out`, and is not run again: stop it at any time, and go on with the same command.
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
# axis -> (its unit, what stays, the points: the value on the axis, and what it sets). Two epochs where the first one's
# set-up of the operators would show.
AXES: dict[str, tuple[str, dict[str, Any], list[tuple[float, dict[str, Any]]]]] = {
    "pictures": ("pictures", {"model": "yolo11n.yaml", "imgsz": 96}, [
        (360, {"pictures": 360, "epochs": 2}), (1440, {"pictures": 1440, "epochs": 2}),
        (14400, {"pictures": 14400, "epochs": 1})]),
    "size": ("pixels a side", {"model": "yolo11n.yaml", "pictures": 96, "epochs": 2},
             [(size, {"imgsz": size}) for size in (160, 320, 640)]),
    "scale": ("GFLOPs at 640, as published", {"pictures": 96, "imgsz": 160, "epochs": 2},
              [(flops, {"model": f"yolo11{scale}.yaml"}) for scale, flops in (("n", 6.5), ("s", 21.5), ("m", 68.0))]),
}
VALIDATED = 32


def lists(data: str, pictures: int, folder: Path) -> Path:
    """Write a data YAML whose training set is the first pictures of another's, over and over; returns it."""
    import yaml

    stock = yaml.safe_load(Path(data).read_text())
    root = Path(stock["path"])
    for split, count in (("train", pictures), ("val", VALIDATED)):
        found = sorted(path for path in (root / stock[split]).iterdir() if path.suffix in (".jpg", ".png"))
        spread = found[:: max(1, len(found) // count)]  # all classes, also where few are taken
        (folder / f"{split}.txt").write_text("\n".join(map(str, islice(cycle(spread), count))))
    made = folder / "data.yaml"
    made.write_text(yaml.safe_dump({"path": str(folder), "train": "train.txt", "val": "val.txt", "names": stock["names"]}))
    return made


def train(arm: str, data: str, point: dict[str, Any]) -> dict[str, Any]:
    """Train one point in this process; returns its seconds and its memory."""
    import yolograft

    model = yolograft.YOLO(point["model"])
    began: list[tuple[float, float]] = []
    ended: list[tuple[float, float]] = []
    model.add_callback("on_train_epoch_start", lambda _: began.append((time.perf_counter(), time.process_time())))
    model.add_callback("on_train_epoch_end", lambda _: ended.append((time.perf_counter(), time.process_time())))
    with tempfile.TemporaryDirectory() as folder:
        made = lists(data, point["pictures"], Path(folder))
        begun = time.perf_counter()
        model.train(data=str(made), imgsz=point["imgsz"], epochs=point["epochs"], batch=16, seed=0, device="cpu", workers=0,
                    plots=False, project=folder, speed=arm)
    chosen = getattr(model.trainer, "choice", None)
    (wall, cpu), (since, used) = ended[-1], began[len(ended) - 1]
    return {"epoch": wall - since, "cpu": cpu - used, "start": began[0][0] - begun,
            "chosen": chosen.why if chosen else "stock", "mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def once(arm: str, data: str, point: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return what a point gave: from `out` where it is there, else by running it in a new process."""
    lines = [line for line in (out.read_text().splitlines() if out.is_file() else []) if line.endswith("}")]
    for line in map(json.loads, lines):  # a run killed while writing leaves half a line
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
    """Draw one log-log panel an axis."""
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
    panels[0].set_ylabel("seconds of an epoch")
    figure.savefig(file, metadata={"Date": None})


def main(words: list[str]) -> None:
    """Measure, and print a table, draw the figure, and print one line of JSON."""
    given = {"data": "", "out": "growth.jsonl", "figure": "growth.svg", **dict(word.partition("=")[::2] for word in words)}
    if not given["data"] or len(given) > 3:
        sys.exit(__doc__)
    import torch
    import ultralytics

    found: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for axis, (_, stays, points) in AXES.items():
        found[axis] = {arm: [] for arm in ARMS}
        for _, sets in points:
            for arm in ARMS:
                found[axis][arm].append(once(arm, given["data"], {**stays, **sets}, Path(given["out"])))
    print("| axis | at | stock: epoch, s | CPU s | begins after, s | MiB | auto: epoch, s | CPU s | after, s | MiB |\n"
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
