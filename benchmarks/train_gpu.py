"""How long a study takes on one GPU, beside stock training one after another, and beside what the GPU could do at best.

    python benchmarks/train_gpu.py data=NEU-DET.yaml model=yolo11n.pt

Four parts, each in processes of its own, which fit into ten minutes together where the study does:

1. the rate of the device: a plain matrix product in half precision, from which follows the floor, the seconds that the
   networks' operations would take at that rate (a forward pass, twice that for the backward pass, one forward pass for
   each validation picture; blocks, loss, augmentation and everything else left out);
2. stock Ultralytics: one trial of `stock_epochs`, from the start of its process. What all trials would take one after
   another is *extrapolated*: start-up, plus epochs times the median epoch after the first, times trials;
3. where a step's time goes, stock's way and the fast one in turns, with the device waited for after each part; medians
   over turns of medians. Waiting makes the sum longer than a step is in a training, where the parts overlap;
4. the study: arms x seeds in the fast way, `per_gpu` trials at a time, timed as a whole. If it has not ended after `limit`
   seconds it is stopped, and its time extrapolated from the epochs that are done.

Without a GPU it runs on the CPU, says so, and what it prints says nothing about GPUs.

Arguments: data, model, imgsz=224, batch=16, epochs=100, fraction=1.0 (of the training pictures), seeds=6 (0: no study),
arms="none; se@8; cbam@8; eca@8", speed=graphed (the study's, and the step's; resident without a GPU), per_gpu=8,
stock_epochs=4, steps=30, turns=3, validations=2 (0: none), limit=420, out= (a file for the numbers, as JSON)
"""

from __future__ import annotations

import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

NUMBERS = {"imgsz": 224, "batch": 16, "epochs": 100, "seeds": 6, "per_gpu": 8, "stock_epochs": 4, "steps": 30,
           "turns": 3, "validations": 2, "limit": 420}
DEFAULTS = {"data": "", "model": "yolo11n.pt", "fraction": "1.0", "arms": "none; se@8; cbam@8; eca@8", "speed": "",
            "out": "", **{key: str(value) for key, value in NUMBERS.items()}}
PARTS = ("loader", "to device", "forward", "loss", "backward", "optimiser", "average")


def synchronize() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(work: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of some work, the device waited for."""
    work()
    times = []
    for _ in range(repeats):
        synchronize()
        begun = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - begun)
    return statistics.median(times)


def rate(run: dict[str, Any]) -> dict[str, Any]:
    """Return the operations a second of a plain matrix product in half precision, and those of a picture's forward pass."""
    import torch
    from ultralytics.utils.torch_utils import get_flops

    import yolograft

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, kind = (8192, torch.float16) if device == "cuda" else (512, torch.float32)
    a, b = (torch.rand(size, size, device=device, dtype=kind) for _ in range(2))
    seconds = timed(lambda: a @ b, 20)
    picture = 1e9 * get_flops(yolograft.YOLO(run["model"]).model, run["imgsz"])
    return {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "size": size, "kind": str(kind),
            "operations": 2 * size**3 / seconds, "picture": picture}


def options(run: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {"data": run["data"], "imgsz": run["imgsz"], "batch": run["batch"], "fraction": run["fraction"], "plots": False,
            "device": 0 if torch.cuda.is_available() else "cpu", "val": True}


def stock(run: dict[str, Any]) -> dict[str, Any]:
    """Train stock Ultralytics; returns when epochs began and ended, and how many pictures there are."""
    import ultralytics

    model: Any = ultralytics.YOLO(run["model"])
    begun: list[float] = []
    ended: list[float] = []  # the evaluation after the last epoch ends here as well
    model.add_callback("on_train_epoch_start", lambda trainer: begun.append(time.time()))
    model.add_callback("on_fit_epoch_end", lambda trainer: ended.append(time.time()))
    with tempfile.TemporaryDirectory() as folder:
        model.train(**options(run), epochs=run["stock_epochs"], project=folder)
    trainer = model.trainer
    return {"epochs": list(zip(begun, ended, strict=False)), "trained": len(trainer.train_loader.dataset),
            "validated": len(trainer.test_loader.dataset)}


def step(run: dict[str, Any]) -> dict[str, Any]:
    """Return the median seconds of each part of a training step, and of a validation, in one way."""
    import torch

    import yolograft
    from yolograft.fast.gpu import select as gpu_select

    model = yolograft.YOLO(run["model"])
    with tempfile.TemporaryDirectory() as folder:
        trainer: Any = model.task_map["detect"]["trainer"](overrides={
            **options(run), "model": run["model"], "epochs": 100, "project": folder, "speed": run["way"]})
        setup = trainer._setup_train
        setup(*((1,) if setup.__code__.co_argcount == 2 else ()))  # Ultralytics 8.3 asks how many GPUs there are
        trainer.epoch = 0
        times: dict[str, list[float]] = {part: [] for part in PARTS}
        half = gpu_select.autocast_dtype(trainer)
        with trainer.acceleration.training(trainer):
            network = trainer.model.train()
            batches, taken = iter(trainer.train_loader), 0
            while taken <= run["steps"]:
                marks = [time.perf_counter()]

                def mark(marks: list[float] = marks) -> None:
                    synchronize()
                    marks.append(time.perf_counter())

                batch = next(batches, None)
                if batch is None:
                    batches = iter(trainer.train_loader)
                    continue
                mark()
                with torch.autocast(trainer.device.type, half or torch.bfloat16, enabled=half is not None):
                    batch = trainer.preprocess_batch(batch)
                    mark()
                    outputs = network(batch["img"])
                    mark()
                    loss, trainer.loss_items = network.loss(batch, outputs)
                    loss = loss.sum()
                    mark()
                trainer.scaler.scale(loss).backward()
                mark()
                average, trainer.ema.update = trainer.ema.update, lambda model: None
                trainer.optimizer_step()
                trainer.ema.update = average
                mark()
                trainer.ema.update(network)
                mark()
                if taken:  # the first warms up
                    for part, begun, ended in zip(PARTS, marks[:-1], marks[1:], strict=True):
                        times[part].append(ended - begun)
                taken += 1
        trainer.loss = loss
        found = {part: statistics.median(taken) for part, taken in times.items()}
        if run["validations"]:
            found["validation"] = timed(trainer.validate, run["validations"])
        return {"parts": found}


def child(part: str, run: dict[str, Any]) -> dict[str, Any]:
    """Return what a part gives, run in a new process."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        begun = time.time()
        done = subprocess.run([sys.executable, __file__, "--one", part, json.dumps(run), str(answer)],
                              capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{part} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return {"begun": begun, "ended": time.time(), **json.loads(answer.read_text())}


def study(run: dict[str, Any], folder: Path, gpu: bool) -> dict[str, Any]:
    """Run the study as a user does; returns its seconds, and the trials and epochs that were done by then."""
    command = [sys.executable, "-m", "yolograft", "study", f"data={run['data']}", f"model={run['model']}",
               f"arms={run['arms']}", f"seeds={run['seeds']}", f"epochs={run['epochs']}", f"imgsz={run['imgsz']}",
               f"batch={run['batch']}", f"fraction={run['fraction']}", f"speed={run['way']}",
               f"project={folder}", "name=study", *([f"per_gpu={run['per_gpu']}"] if gpu else ["device=cpu"])]
    log, begun = folder / "log.txt", time.time()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        stopped = False
        while process.poll() is None:
            if not stopped and time.time() - begun > run["limit"]:
                process.send_signal(signal.SIGINT)  # as Ctrl-C does: it stops in good order
                stopped = True
            time.sleep(0.2)
    seconds = time.time() - begun
    if process.returncode and not stopped:
        sys.exit(f"the study failed:\n{log.read_text()[-4000:]}")
    trials = folder / "study" / "trials"
    epochs = sum(len(file.read_text().splitlines()) for file in trials.glob("*/epochs.jsonl"))
    return {"seconds": seconds, "stopped": stopped, "epochs": epochs, "trials": len(list(trials.glob("*/result.json"))),
            "failed": [json.loads(file.read_text())["reason"] for file in trials.glob("*/failure.json")]}


def report(found: dict[str, Any]) -> list[str]:
    """Return the lines that say what was measured."""
    run, best, one, whole = found["run"], found["rate"], found["stock"], found["study"]
    trials = run["trials"]
    start, end = one["epochs"][0][0] - one["begun"], one["ended"] - one["epochs"][-1][1]
    epochs = [ended - begun for begun, ended in one["epochs"]]
    epoch = statistics.median(epochs[1:] or epochs)
    alone = trials * (start + run["epochs"] * epoch + end)
    passes = 3 * one["trained"] + one["validated"]
    floor = trials * run["epochs"] * passes * best["picture"] / best["operations"]
    lines = [f"{trials} trials of {run['epochs']} epochs, {one['trained']} + {one['validated']} pictures at {run['imgsz']}, "
             f"batch {run['batch']}, {Path(run['model']).name}, on {best['device']}", "",
             f"{'floor':<34}{floor:>10.1f} s   {best['operations'] / 1e12:.2f} TFLOP/s in a matrix product of "
             f"{best['size']}, {best['kind']}; {best['picture'] / 1e9:.2f} GFLOP a picture",
             f"{'stock, one after another':<34}{alone:>10.1f} s   extrapolated from one trial: start {start:.1f} s, epoch "
             f"{epoch:.2f} s (median of {len(epochs[1:] or epochs)}), end {end:.1f} s"]
    if whole:
        done = whole["epochs"] / (trials * run["epochs"])
        taken = whole["seconds"] / done if whole["stopped"] and done else whole["seconds"]
        how = f"measured; {whole['trials']} of {trials} trials ended well"
        if whole["stopped"]:
            how = f"extrapolated: stopped after {whole['seconds']:.0f} s with {done:.0%} of its epochs done"
        lines += [f"{'study, speed=' + run['way']:<34}{taken:>10.1f} s   {how}",
                  f"{'stock / study':<34}{alone / taken:>10.1f}     study / floor: {taken / floor:.0f}"]
        lines += [f"failed: {reason}" for reason in whole["failed"]]
    lines += ["", f"{'a step, ms (each part waited for)':<34}" + "".join(f"{way:>12}" for way in found["steps"])]
    for part in (*PARTS, *(["validation"] if run["validations"] else [])):
        each = [statistics.median(turn["parts"][part] for turn in turns) for turns in found["steps"].values()]
        lines.append(f"  {part:<32}" + "".join(f"{1000 * seconds:>12.2f}" for seconds in each))
    return lines


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    given = dict(word.partition("=")[::2] for word in words)
    if unknown := set(given) - set(DEFAULTS):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Arguments: {', '.join(DEFAULTS)}")
    given = {**DEFAULTS, **given}
    if not given["data"]:
        sys.exit(__doc__)
    if given["speed"] == "stock":
        sys.exit("speed=stock is measured in any case: say resident or graphed, or nothing.")
    import torch
    import ultralytics

    gpu = torch.cuda.is_available()
    if not gpu:
        print("No GPU here: PyTorch finds no CUDA device. What follows is measured on the CPU, and says nothing of a GPU.")
    model = Path(given["model"])
    run: dict[str, Any] = {
        "data": str(Path(given["data"]).resolve()), "model": str(model.resolve()) if model.is_file() else given["model"],
        **{key: int(given[key]) for key in NUMBERS},
        "fraction": float(given["fraction"]), "arms": given["arms"],
        "way": given["speed"] or ("graphed" if gpu else "resident")}
    arms = [arm for arm in run["arms"].split(";") if arm.strip()]
    run["trials"] = (run["seeds"] or 6) * (len(arms) + ("none" not in [arm.strip() for arm in arms]))
    found: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__,
                             "ultralytics": ultralytics.__version__, "run": run}
    begun = time.time()
    for part in ("rate", "stock"):
        print(f"{part} ...", flush=True)
        found[part] = child(part, run)
    print("step ...", flush=True)
    found["steps"] = {"stock": [], run["way"]: []}
    for turn in range(run["turns"]):
        for way in list(found["steps"])[:: 1 if turn % 2 == 0 else -1]:
            found["steps"][way].append(child("step", {**run, "way": way}))
    found["study"] = None
    if run["seeds"]:
        print("study ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            found["study"] = study(run, Path(folder), gpu)
    found["load"] = os.getloadavg()[0]
    print("\n" + "\n".join(report(found)))
    print(f"{found['machine']}, torch {found['torch']}, Ultralytics {found['ultralytics']}; all of this took "
          f"{time.time() - begun:.0f} s; load {found['load']:.1f}")
    if not gpu:
        print("No GPU here: none of these numbers is a GPU's.")
    if given["out"]:
        Path(given["out"]).write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        work = {"rate": rate, "stock": stock, "step": step}[sys.argv[2]]
        Path(sys.argv[4]).write_text(json.dumps(work(json.loads(sys.argv[3]))))
    else:
        main(sys.argv[1:])
