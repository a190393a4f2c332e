"""How much faster a CPU trains with speed=auto than stock Ultralytics does, and whether the accuracy is the same.

    python benchmarks/train_cpu.py data=NEU-DET.yaml model=yolo11n.pt                       # the ratio
    python benchmarks/train_cpu.py data=NEU-DET.yaml model=yolo11n.pt seeds=6 epochs=20     # and the paired accuracies

An epoch is its training and its validation, from `on_train_epoch_start` to `on_fit_epoch_end`. Each run is a process of
its own; stock and fast take turns, so that what else the machine does meets both, and the ratio is formed within a turn.
CPU seconds (user + system, all threads) stand beside wall seconds: they tell work saved from cores used. Epochs during
which others took more than a twentieth of a core do not count, unless a run has no other; how many do not is said. Every
finished run is a line of `out`, and is not run again for the same arguments: stop it at any time, and go on with the same
command.

Arguments: data, model, graft=none, imgsz=224, batch=16, fraction=0.25 (of the training pictures), epochs=4, seeds=0 (pairs
for the accuracy), part=1.0 (of the training pictures, for the accuracy), repeats=3 (turns for the ratio; 0 for the accuracy
alone), speed=auto (of the fast arm; `bfloat16` where the machine is too busy to choose), out=train_cpu.jsonl
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
_OTHERS = 0.05
DEFAULTS = {"data": "", "model": "yolo11n.pt", "graft": "none", "imgsz": "224", "batch": "16", "fraction": "0.25",
            "epochs": "4", "seeds": "0", "part": "1.0", "repeats": "3", "speed": "auto", "out": "train_cpu.jsonl"}


def train(arm: str, run: dict[str, Any]) -> dict[str, Any]:
    """Train in this process; returns the seconds of each epoch and the last validation."""
    import torch
    import ultralytics

    import yolograft

    if arm == "stock" and run["graft"] == "none":
        model: Any = ultralytics.YOLO(run["model"])
        own: dict[str, Any] = {}
    else:  # a graft needs yolograft on both sides: speed=stock, which is stock to the bit
        model = yolograft.YOLO(run["model"])
        own = {"graft": run["graft"], "speed": "stock" if arm == "stock" else run["speed"]}
    begun: list[tuple[float, float, float]] = []
    epochs: list[tuple[float, float, float]] = []
    model.add_callback("on_train_epoch_start", lambda trainer: begun.append(clocks()))

    def ended(trainer: Any) -> None:
        if begun:  # the evaluation after the last epoch ends here as well, and is no epoch
            wall, cpu, busy = (now - then for now, then in zip(clocks(), begun.pop(), strict=True))
            epochs.append((wall, cpu, max(0.0, busy - cpu) / wall))

    model.add_callback("on_fit_epoch_end", ended)
    with tempfile.TemporaryDirectory() as folder:
        metrics = model.train(data=run["data"], epochs=run["epochs"], imgsz=run["imgsz"], batch=run["batch"],
                              fraction=run["fraction"], seed=run["seed"], device="cpu", workers=0, plots=False,
                              project=folder, **own)
    chosen = getattr(model.trainer, "choice", None)
    wall, cpu, others = (list(one) for one in zip(*epochs, strict=True))
    return {"wall": wall, "cpu": cpu, "others": others,
            # Ultralytics' last evaluation sets PyTorch's threads back, so that they say nothing of a fast training
            "threads": chosen.threads if chosen else torch.get_num_threads(),
            "chosen": chosen.why if chosen else "stock", "map50": metrics.box.map50, "map": metrics.box.map}


def clocks() -> tuple[float, float, float]:
    """Return the wall's seconds, this process' CPU seconds, and those of the whole machine, as far as Linux tells them."""
    busy = 0.0
    if Path("/proc/stat").is_file():
        user, nice, system, _, _, *interrupts = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9])
        busy = (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")
    return time.perf_counter(), time.process_time(), busy


def once(arm: str, run: dict[str, Any], out: Path) -> dict[str, Any]:
    """Return what a run gave: from `out` where it is there, else by running it in a new process."""
    key = hashlib.sha256(json.dumps([arm, run], sort_keys=True).encode()).hexdigest()[:16]
    lines = out.read_text().splitlines() if out.is_file() else []
    for line in map(json.loads, filter(_whole, lines)):
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


def _whole(line: str) -> bool:
    return line.startswith("{") and line.endswith("}")  # a run killed while writing leaves half a line


def turns(run: dict[str, Any], count: int, seeds: bool, out: Path) -> list[dict[str, dict[str, Any]]]:
    """Return `count` pairs of runs; which of the two goes first alternates."""
    pairs = []
    for number in range(count):
        this = {**run, "turn": 0 if seeds else number, "seed": number if seeds else 0}
        pairs.append({arm: once(arm, this, out) for arm in (ARMS if number % 2 == 0 else ARMS[::-1])})
    return pairs


def ratios(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return seconds of an epoch and their ratios, each the median over turns of the median over undisturbed epochs."""
    found: dict[str, Any] = {}
    for clock in ("wall", "cpu"):
        each = [{arm: statistics.median(undisturbed(pair[arm], clock)) for arm in ARMS} for pair in pairs]
        quotients = [one["stock"] / one["fast"] for one in each]
        found[clock] = {**{arm: statistics.median(one[arm] for one in each) for arm in ARMS},
                        "ratio": statistics.median(quotients), "lowest": min(quotients), "highest": max(quotients)}
    return found


def undisturbed(result: dict[str, Any], clock: str) -> list[float]:
    """Return a run's epochs during which others used less than `_OTHERS` of a core, or all where there is none."""
    alone = [value for value, others in zip(result[clock], result["others"], strict=True) if others < _OTHERS]
    return alone or result[clock]


def differences(pairs: list[dict[str, dict[str, Any]]]) -> dict[str, Any]:
    """Return, for each metric, the mean of fast - stock over seeds with its 95% t interval, and the spread over seeds."""
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


def timed(run: dict[str, Any], repeats: int, out: Path) -> dict[str, Any]:
    """Measure and print the seconds of an epoch."""
    pairs = turns(run, repeats, False, out)
    found = {"chosen": pairs[0]["fast"]["chosen"], "threads": {arm: pairs[0][arm]["threads"] for arm in ARMS},
             "epoch": ratios(pairs)}
    print(f"\n{'an epoch':<10}{'stock s':>10}{'fast s':>10}{'ratio':>8}   lowest-highest of {len(pairs)} turns")
    for clock, one in found["epoch"].items():
        print(f"{clock:<10}{one['stock']:>10.2f}{one['fast']:>10.2f}{one['ratio']:>8.2f}   "
              f"{one['lowest']:.2f}-{one['highest']:.2f}")
    took = [others for pair in pairs for arm in ARMS for others in pair[arm]["others"]]
    print(f"{sum(others >= _OTHERS for others in took)} of {len(took)} epochs were disturbed by others")
    print(f"fast: {found['chosen']}; threads {found['threads']}; other load on this machine now: {os.getloadavg()[0]:.1f}")
    return found


def compared(run: dict[str, Any], seeds: int, out: Path) -> dict[str, Any]:
    """Measure and print the accuracies of pairs of runs."""
    pairs = turns(run, seeds, True, out)
    found = differences(pairs)
    print(f"\n{'':<10}{'stock':>10}{'fast':>10}{'fast - stock':>15}   95% interval over {seeds} paired seeds")
    for metric, one in found.items():
        print(f"{metric:<10}{one['stock']:>10.4f}{one['fast']:>10.4f}{one['difference']:>+15.4f}   "
              f"{one['low']:+.4f} to {one['high']:+.4f}; stock's own seeds spread by {one['seed_spread']:.4f}")
        each = (pair["fast"][metric] - pair["stock"][metric] for pair in pairs)
        print(f"{'':<10}by seed: {', '.join(f'{value:+.4f}' for value in each)}")
    return found


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    given = dict(word.partition("=")[::2] for word in words)
    if unknown := set(given) - set(DEFAULTS):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Arguments: {', '.join(DEFAULTS)}")
    given = {**DEFAULTS, **given}
    if not given["data"]:
        sys.exit(__doc__)
    if given["seeds"] == "1" or not (int(given["repeats"]) or int(given["seeds"])):
        sys.exit("seeds=1 has no interval: seeds=0, or two and more; and one of seeds and repeats must be given.")
    import torch
    import ultralytics

    out = Path(given["out"])
    run = {"data": str(Path(given["data"]).resolve()), "model": given["model"], "graft": given["graft"],
           "speed": given["speed"], "fraction": float(given["fraction"]),
           **{key: int(given[key]) for key in ("imgsz", "batch", "epochs")}}
    report: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__,
                              "ultralytics": ultralytics.__version__, "load": os.getloadavg()[0], "run": run}
    if int(given["repeats"]):
        report |= timed(run, int(given["repeats"]), out)
    if int(given["seeds"]):
        report["accuracy"] = compared({**run, "fraction": float(given["part"])}, int(given["seeds"]), out)
    print(json.dumps(report))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        Path(sys.argv[4]).write_text(json.dumps(train(sys.argv[2], json.loads(sys.argv[3]))))
    else:
        main(sys.argv[1:])
