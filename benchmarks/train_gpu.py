"""Measure how long a study takes on one GPU, beside stock trainings one after another and a lower bound for this GPU.

    python benchmarks/train_gpu.py data=NEU-DET.yaml model=yolo11n.pt

There are four parts, each in its own processes. Together they take ten minutes, if the study does not take longer:

1. The rate of the device: a plain matrix product in half precision. The lower bound is the time of the networks' operations
   at that rate: a forward pass, twice that for the backward pass, and one forward pass per validation image. Blocks,
   loss and augmentation are left out.
2. Stock Ultralytics: one trial of `stock_epochs`, from the start of its process. The time of all trials one after another is
   *extrapolated*: (start-up + epochs * median epoch after the first + end) * trials.
3. The parts of a step, with stock and the fast mode in turns, as medians over turns of medians. The benchmark waits for the
   device after each part. So the sum is longer than a step in a training, where the parts overlap.
4. The study: arms x seeds in the fast mode, `per_gpu` trials at a time, timed as a whole. The benchmark stops it after
   `limit` seconds, and then extrapolates its time from the finished epochs.

Without a GPU it runs on the CPU and says so. Those numbers say nothing about GPUs.

Arguments: data, model, imgsz=224, batch=16, epochs=100, fraction=1.0 (of the training images), seeds=6 (0: no study),
arms="none; se@8; cbam@8; eca@8", speed=graphed (of the study and the step; resident without a GPU), per_gpu=8,
stock_epochs=4, steps=30, turns=3, validations=2 (0: none), limit=420, out= (a JSON file for the numbers)
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
PARTS = ("loader", "to device", "forward", "loss", "backward", "optimizer", "EMA")


def synchronize() -> None:
    """Wait for the GPU, if there is one."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def median_seconds(work: Callable[[], Any], repeats: int) -> float:
    """Return the median seconds of a function call, with the device's work finished."""
    work()
    times = []
    for _ in range(repeats):
        synchronize()
        start = time.perf_counter()
        work()
        synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def rate(run: dict[str, Any]) -> dict[str, Any]:
    """Return the operations per second of a plain matrix product, and the operations of one image's forward pass."""
    import torch
    from ultralytics.utils.torch_utils import get_flops

    import yolograft

    device = "cuda" if torch.cuda.is_available() else "cpu"
    size, dtype = (8192, torch.float16) if device == "cuda" else (512, torch.float32)
    a, b = (torch.rand(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = median_seconds(lambda: a @ b, 20)
    image = 1e9 * get_flops(yolograft.YOLO(run["model"]).model, run["imgsz"])
    return {"device": torch.cuda.get_device_name() if device == "cuda" else "cpu", "size": size, "kind": str(dtype),
            "operations": 2 * size**3 / seconds, "picture": image}


def train_arguments(run: dict[str, Any]) -> dict[str, Any]:
    """Return Ultralytics' train arguments for a run."""
    import torch

    return {"data": run["data"], "imgsz": run["imgsz"], "batch": run["batch"], "fraction": run["fraction"], "plots": False,
            "device": 0 if torch.cuda.is_available() else "cpu", "val": True}


def stock(run: dict[str, Any]) -> dict[str, Any]:
    """Train stock Ultralytics, and return the start and end of each epoch and the numbers of images."""
    import ultralytics

    model: Any = ultralytics.YOLO(run["model"])
    starts: list[float] = []
    ends: list[float] = []  # has one more entry: the final evaluation after the last epoch
    model.add_callback("on_train_epoch_start", lambda trainer: starts.append(time.time()))
    model.add_callback("on_fit_epoch_end", lambda trainer: ends.append(time.time()))
    with tempfile.TemporaryDirectory() as folder:
        model.train(**train_arguments(run), epochs=run["stock_epochs"], project=folder)
    trainer = model.trainer
    return {"epochs": list(zip(starts, ends, strict=False)), "trained": len(trainer.train_loader.dataset),
            "validated": len(trainer.test_loader.dataset)}


def step(run: dict[str, Any]) -> dict[str, Any]:
    """Return the median seconds of each part of a training step, and of a validation, in one speed mode."""
    import torch

    import yolograft
    from yolograft.fast.gpu import select as gpu_select

    model = yolograft.YOLO(run["model"])
    with tempfile.TemporaryDirectory() as folder:
        trainer: Any = model.task_map["detect"]["trainer"](overrides={
            **train_arguments(run), "model": run["model"], "epochs": 100, "project": folder, "speed": run["way"]})
        setup = trainer._setup_train
        setup(*((1,) if setup.__code__.co_argcount == 2 else ()))  # Ultralytics 8.3 asks how many GPUs there are
        trainer.epoch = 0
        times: dict[str, list[float]] = {part: [] for part in PARTS}
        half = gpu_select.autocast_dtype(trainer)
        with trainer.acceleration.training(trainer):
            network = trainer.model.train()
            batches, steps = iter(trainer.train_loader), 0
            while steps <= run["steps"]:
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
                update_ema, trainer.ema.update = trainer.ema.update, lambda model: None
                trainer.optimizer_step()
                trainer.ema.update = update_ema
                mark()
                trainer.ema.update(network)
                mark()
                if steps:  # the first step is the warm-up
                    for part, start, end in zip(PARTS, marks[:-1], marks[1:], strict=True):
                        times[part].append(end - start)
                steps += 1
        trainer.loss = loss
        found = {part: statistics.median(seconds) for part, seconds in times.items()}
        if run["validations"]:
            found["validation"] = median_seconds(trainer.validate, run["validations"])
        return {"parts": found}


def run_part(part: str, run: dict[str, Any]) -> dict[str, Any]:
    """Run one part in a new process, and return its result with its start and end time."""
    with tempfile.TemporaryDirectory() as folder:
        answer = Path(folder) / "answer.json"
        start = time.time()
        done = subprocess.run([sys.executable, __file__, "--one", part, json.dumps(run), str(answer)],
                              capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"{part} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
        return {"begun": start, "ended": time.time(), **json.loads(answer.read_text())}


def study(run: dict[str, Any], folder: Path, gpu: bool) -> dict[str, Any]:
    """Run the study with the command that a user types, and return its seconds and its finished trials and epochs."""
    command = [sys.executable, "-m", "yolograft", "study", f"data={run['data']}", f"model={run['model']}",
               f"arms={run['arms']}", f"seeds={run['seeds']}", f"epochs={run['epochs']}", f"imgsz={run['imgsz']}",
               f"batch={run['batch']}", f"fraction={run['fraction']}", f"speed={run['way']}",
               f"project={folder}", "name=study", *([f"per_gpu={run['per_gpu']}"] if gpu else ["device=cpu"])]
    log, start = folder / "log.txt", time.time()
    with log.open("w") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT)
        stopped = False
        while process.poll() is None:
            if not stopped and time.time() - start > run["limit"]:
                process.send_signal(signal.SIGINT)  # as Ctrl-C does: the study stops cleanly
                stopped = True
            time.sleep(0.2)
    seconds = time.time() - start
    if process.returncode and not stopped:
        sys.exit(f"the study failed:\n{log.read_text()[-4000:]}")
    trials = folder / "study" / "trials"
    epochs = sum(len(file.read_text().splitlines()) for file in trials.glob("*/epochs.jsonl"))
    return {"seconds": seconds, "stopped": stopped, "epochs": epochs, "trials": len(list(trials.glob("*/result.json"))),
            "failed": [json.loads(file.read_text())["reason"] for file in trials.glob("*/failure.json")]}


def report(found: dict[str, Any]) -> list[str]:
    """Return the lines of the printed report."""
    run, device, stock_run, study_run = found["run"], found["rate"], found["stock"], found["study"]
    trials = run["trials"]
    start = stock_run["epochs"][0][0] - stock_run["begun"]
    end = stock_run["ended"] - stock_run["epochs"][-1][1]
    epochs = [epoch_end - epoch_start for epoch_start, epoch_end in stock_run["epochs"]]
    epoch = statistics.median(epochs[1:] or epochs)
    one_by_one = trials * (start + run["epochs"] * epoch + end)
    passes = 3 * stock_run["trained"] + stock_run["validated"]
    lower_bound = trials * run["epochs"] * passes * device["picture"] / device["operations"]
    lines = [f"{trials} trials of {run['epochs']} epochs, {stock_run['trained']} + {stock_run['validated']} images at "
             f"{run['imgsz']}, batch {run['batch']}, {Path(run['model']).name}, on {device['device']}", "",
             f"{'lower bound':<34}{lower_bound:>10.1f} s   {device['operations'] / 1e12:.2f} TFLOP/s in a matrix product of "
             f"{device['size']}, {device['kind']}; {device['picture'] / 1e9:.2f} GFLOP per image",
             f"{'stock, one after another':<34}{one_by_one:>10.1f} s   extrapolated from one trial: start {start:.1f} s, "
             f"epoch {epoch:.2f} s (median of {len(epochs[1:] or epochs)}), end {end:.1f} s"]
    if study_run:
        done = study_run["epochs"] / (trials * run["epochs"])
        taken = study_run["seconds"] / done if study_run["stopped"] and done else study_run["seconds"]
        how = f"measured; {study_run['trials']} of {trials} trials finished"
        if study_run["stopped"]:
            how = f"extrapolated: stopped after {study_run['seconds']:.0f} s with {done:.0%} of its epochs done"
        lines += [f"{'study, speed=' + run['way']:<34}{taken:>10.1f} s   {how}",
                  f"{'stock / study':<34}{one_by_one / taken:>10.1f}     study / lower bound: {taken / lower_bound:.0f}"]
        lines += [f"failed: {reason}" for reason in study_run["failed"]]
    lines += ["", f"{'step, ms (waits after each part)':<34}" + "".join(f"{mode:>12}" for mode in found["steps"])]
    for part in (*PARTS, *(["validation"] if run["validations"] else [])):
        medians = [statistics.median(turn["parts"][part] for turn in turns) for turns in found["steps"].values()]
        lines.append(f"  {part:<32}" + "".join(f"{1000 * seconds:>12.2f}" for seconds in medians))
    return lines


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    args = dict(word.partition("=")[::2] for word in words)
    if unknown := set(args) - set(DEFAULTS):
        sys.exit(f"Unknown: {', '.join(sorted(unknown))}. Arguments: {', '.join(DEFAULTS)}")
    args = {**DEFAULTS, **args}
    if not args["data"]:
        sys.exit(__doc__)
    if args["speed"] == "stock":
        sys.exit("speed=stock is always measured. Set speed=resident or speed=graphed, or leave speed out.")
    import torch
    import ultralytics

    gpu = torch.cuda.is_available()
    if not gpu:
        print("No GPU: PyTorch finds no CUDA device. These numbers are measured on the CPU and say nothing about a GPU.")
    model = Path(args["model"])
    run: dict[str, Any] = {
        "data": str(Path(args["data"]).resolve()), "model": str(model.resolve()) if model.is_file() else args["model"],
        **{key: int(args[key]) for key in NUMBERS},
        "fraction": float(args["fraction"]), "arms": args["arms"],
        "way": args["speed"] or ("graphed" if gpu else "resident")}
    arms = [arm for arm in run["arms"].split(";") if arm.strip()]
    run["trials"] = (run["seeds"] or 6) * (len(arms) + ("none" not in [arm.strip() for arm in arms]))
    found: dict[str, Any] = {"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__,
                             "ultralytics": ultralytics.__version__, "run": run}
    start = time.time()
    for part in ("rate", "stock"):
        print(f"{part} ...", flush=True)
        found[part] = run_part(part, run)
    print("step ...", flush=True)
    found["steps"] = {"stock": [], run["way"]: []}
    for turn in range(run["turns"]):
        for mode in list(found["steps"])[:: 1 if turn % 2 == 0 else -1]:
            found["steps"][mode].append(run_part("step", {**run, "way": mode}))
    found["study"] = None
    if run["seeds"]:
        print("study ...", flush=True)
        with tempfile.TemporaryDirectory() as folder:
            found["study"] = study(run, Path(folder), gpu)
    found["load"] = os.getloadavg()[0]
    print("\n" + "\n".join(report(found)))
    print(f"{found['machine']}, torch {found['torch']}, Ultralytics {found['ultralytics']}; total time "
          f"{time.time() - start:.0f} s; load {found['load']:.1f}")
    if not gpu:
        print("No GPU: these numbers are from the CPU.")
    if args["out"]:
        Path(args["out"]).write_text(json.dumps(found))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        work = {"rate": rate, "stock": stock, "step": step}[sys.argv[2]]
        Path(sys.argv[4]).write_text(json.dumps(work(json.loads(sys.argv[3]))))
    else:
        main(sys.argv[1:])
