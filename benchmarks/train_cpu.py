"""Measure how much faster `speed=auto` trains on a CPU than stock Ultralytics, and whether the accuracy is the same.

    python benchmarks/train_cpu.py data=NEU-DET.yaml model=yolo11n.pt                       # the speedup
    python benchmarks/train_cpu.py data=NEU-DET.yaml model=yolo11n.pt seeds=6 epochs=20     # and the paired accuracies

An epoch is its training and its validation, from `on_train_epoch_start` to `on_fit_epoch_end`. Each run has its own
process. Stock and fast runs take turns, so that other load on the machine affects both, and a ratio is formed within a
turn. The table also has CPU seconds (user + system, all threads), which show whether there is less work or only more
cores. An epoch does not count if other programs used more than 5% of a core during it, unless all epochs of that run
are like this. The benchmark prints how many epochs were disturbed. Each finished run is one line in `out` and does not
run again for the same arguments. You can stop at any time and continue with the same command.

Arguments: data, model, graft=none, imgsz=224, batch=16, fraction=0.25 (of the training images), epochs=4, seeds=0
(pairs for the accuracy), part=1.0 (of the training images, for the accuracy), repeats=3 (turns for the speedup; 0
measures only the accuracy), speed=auto (of the fast runs; `bfloat16` if the machine is too busy to choose),
out=train_cpu.jsonl
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ARMS = ("stock", "fast")
_OTHERS = 0.05  # cores that other programs may use during an epoch that counts
DEFAULTS = {"data": "", "model": "yolo11n.pt", "graft": "none", "imgsz": "224", "batch": "16", "fraction": "0.25",
            "epochs": "4", "seeds": "0", "part": "1.0", "repeats": "3", "speed": "auto", "out": "train_cpu.jsonl"}


def train(arm: str, run: dict[str, Any]) -> dict[str, Any]:
    """Train in this process, and return the seconds of each epoch and the metrics of the last validation."""
    import torch
    import ultralytics

    import yolograft

    if arm == "stock" and run["graft"] == "none":
        model: Any = ultralytics.YOLO(run["model"])
        extra: dict[str, Any] = {}
    else:  # a graft needs yolograft on both sides; speed=stock equals stock Ultralytics bit for bit
        model = yolograft.YOLO(run["model"])
        extra = {"graft": run["graft"], "speed": "stock" if arm == "stock" else run["speed"]}
    starts: list[tuple[float, float, float]] = []
    epochs: list[tuple[float, float, float]] = []
    model.add_callback("on_train_epoch_start", lambda trainer: starts.append(clocks()))

    def end_epoch(trainer: Any) -> None:
        if starts:  # the final evaluation after the last epoch also calls this
            wall, cpu, busy = (end - start for end, start in zip(clocks(), starts.pop(), strict=True))
            epochs.append((wall, cpu, max(0.0, busy - cpu) / wall))

    model.add_callback("on_fit_epoch_end", end_epoch)
    with tempfile.TemporaryDirectory() as folder:
        metrics = model.train(data=run["data"], epochs=run["epochs"], imgsz=run["imgsz"], batch=run["batch"],
                              fraction=run["fraction"], seed=run["seed"], device="cpu", workers=0, plots=False,
                              project=folder, **extra)
    choice = getattr(model.trainer, "choice", None)
    wall, cpu, others = (list(values) for values in zip(*epochs, strict=True))
    return {"wall": wall, "cpu": cpu, "others": others,
            # not PyTorch's present number of threads: the final evaluation has changed it
            "threads": choice.threads if choice else torch.get_num_threads(),
            "chosen": choice.why if choice else "stock", "map50": metrics.box.map50, "map": metrics.box.map}


def clocks() -> tuple[float, float, float]:
    """Return wall seconds, CPU seconds of this process, and CPU seconds of the whole machine (0 if not on Linux)."""
    busy = 0.0
    if Path("/proc/stat").is_file():
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), time.process_time(), busy


def run_once(arm: str, run: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return the result of a run from `out`, or run it in a new process."""
    key = hashlib.sha256(json.dumps([arm, run], sort_keys=True).encode()).hexdigest()[:16]
    lines = out.read_text().splitlines() if out.is_file() else []
    for line in map(json.loads, filter(_is_complete, lines)):
        if line["key"] == key:
            return line
    print(f"{arm:>6}  seed {run['seed']}  turn {run['turn']} ...", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        done = subprocess.run([sys.executable, __file__, "--one", arm, json.dumps(run), str(answer)],
                              capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{arm} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        result: dict[str, Any] = {"key": key, "arm": arm, "run": run, **json.loads(answer.read_text())}
    with out.open("a") as file:
        file.write(json.dumps(result) + "\n")
    return result


def _is_complete(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")  # a killed run may leave half a line


def run_pairs(run: dict[str, Any], count: int, seeds: bool, out: Path) -> list[dict[str, dict[str, Any]]]:
    """Return `count` pairs of runs. The first run of a pair alternates between stock and fast."""
    pairs = []
    for number in range(count):
        settings = {**run, "turn": 0 if seeds else number, "seed": number if seeds else 0}
        pairs.append({arm: run_once(arm, settings, out) for arm in (ARMS if number % 2 == 0 else ARMS[::-1])})
    return pairs


def ratios(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the seconds per epoch and their ratios: medians over turns of the medians over undisturbed epochs."""
    found: dict[str, Any] = {}
    for clock in ("wall", "cpu"):
        medians = [{arm: statistics.median(undisturbed(pair[arm], clock)) for arm in ARMS} for pair in pairs]
        quotients = [turn["stock"] / turn["fast"] for turn in medians]
        found[clock] = {**{arm: statistics.median(turn[arm] for turn in medians) for arm in ARMS},
                        "ratio": statistics.median(quotients), "lowest": min(quotients), "highest": max(quotients)}
    return found


def undisturbed(result: dict[str, Any], clock: str) -> list[float]:
    """Return a run's epochs during which other programs used less than `_OTHERS` of a core, or all if there are none."""
    quiet = [value for value, others in zip(result[clock], result["others"], strict=True) if others < _OTHERS]
    return quiet or result[clock]


def differences(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return the mean of fast - stock over seeds, its 95% t interval, and the standard deviation over seeds, per metric."""
    from scipy import stats

    found: dict[str, Any] = {}
    for metric in ("map50", "map"):
        values = [pair["fast"][metric] - pair["stock"][metric] for pair in pairs]
        mean = statistics.mean(values)
        half = float(stats.t.ppf(0.975, len(values) - 1)) * statistics.stdev(values) / len(values) ** 0.5
        found[metric] = {**{arm: statistics.mean(pair[arm][metric] for pair in pairs) for arm in ARMS}, "difference": mean,
                         "low": mean - half, "high": mean + half,
                         "seed_spread": statistics.stdev(pair["stock"][metric] for pair in pairs)}
    return found


def measure_speed(run: dict[str, Any], repeats: int, out: Path) -> dict[str, Any]:
    """Measure and print the seconds per epoch."""
    pairs = run_pairs(run, repeats, False, out)
    found = {"chosen": pairs[0]["fast"]["chosen"], "threads": {arm: pairs[0][arm]["threads"] for arm in ARMS},
             "epoch": ratios(pairs)}
    print(f"\n{'per epoch':<10}{'stock s':>10}{'fast s':>10}{'ratio':>8}   lowest-highest of {len(pairs)} turns")
    for clock, one in found["epoch"].items():
        print(f"{clock:<10}{one['stock']:>10.2f}{one['fast']:>10.2f}{one['ratio']:>8.2f}   "
              f"{one['lowest']:.2f}-{one['highest']:.2f}")
    shares = [others for pair in pairs for arm in ARMS for others in pair[arm]["others"]]
    print(f"{sum(others >= _OTHERS for others in shares)} of {len(shares)} epochs were disturbed by other programs")
    print(f"fast: {found['chosen']}; threads {found['threads']}; load of this machine now: {os.getloadavg()[0]:.1f}")
    return found


def measure_accuracy(run: dict[str, Any], seeds: int, out: Path) -> dict[str, Any]:
    """Measure and print the accuracies of pairs of runs."""
    pairs = run_pairs(run, seeds, True, out)
    found = differences(pairs)
    print(f"\n{'':<10}{'stock':>10}{'fast':>10}{'fast - stock':>15}   95% interval over {seeds} paired seeds")
    for metric, one in found.items():
        print(f"{metric:<10}{one['stock']:>10.4f}{one['fast']:>10.4f}{one['difference']:>+15.4f}   "
              f"{one['low']:+.4f} to {one['high']:+.4f}; standard deviation over stock's seeds {one['seed_spread']:.4f}")
        values = (pair["fast"][metric] - pair["stock"][metric] for pair in pairs)
        print(f"{'':<10}by seed: {', '.join(f'{value:+.4f}' for value in values)}")
    return found


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    args = dict(word.partition("=")[::2] for word in words)
    if unknown := set(args) - set(DEFAULTS):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Arguments: {', '.join(DEFAULTS)}")
    args = {**DEFAULTS, **args}
    if not args["data"]:
        sys.exit(__doc__)
    if args["seeds"] == "1" or not (int(args["repeats"]) or int(args["seeds"])):
        sys.exit("seeds must be 0, or 2 and more (one seed has no interval), and seeds and repeats must not both be 0.")
    import torch
    import ultralytics

    out = Path(args["out"])
    run = {"data": str(Path(args["data"]).resolve()), "model": args["model"], "graft": args["graft"],
           "speed": args["speed"], "fraction": float(args["fraction"]),
           **{key: int(args[key]) for key in ("imgsz", "batch", "epochs")}}
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__,
                              "ultralytics": ultralytics.__version__, "load": os.getloadavg()[0], "run": run}
    if int(args["repeats"]):
        report |= measure_speed(run, int(args["repeats"]), out)
    if int(args["seeds"]):
        report["accuracy"] = measure_accuracy({**run, "fraction": float(args["part"])}, int(args["seeds"]), out)
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        Path(sys.argv[4]).write_text(json.dumps(train(sys.argv[2], json.loads(sys.argv[3]))))
    else:
        main(sys.argv[1:])
