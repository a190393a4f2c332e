"""Measure where the time of a training epoch on a CPU goes, at yolograft's speed or at Ultralytics' own.

    python benchmarks/train_profile.py data=NEU-DET.yaml model=yolo11n.pt [speed=bfloat16] [epochs=6]

Each part is the wall time of the function calls that do it, summed over an epoch of one training. The table shows
medians over all epochs except the first, which fills the cache. `other` is the rest of the epoch. The timing costs some
microseconds per call, and an epoch has about a hundred calls.

Arguments: data, model, graft=none, imgsz=224, batch=16, fraction=0.25 (of the training images), epochs=6, speed=auto
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
import ultralytics

import yolograft

DEFAULTS = {"data": "", "model": "yolo11n.pt", "graft": "none", "imgsz": "224", "batch": "16", "fraction": "0.25",
            "epochs": "6", "speed": "auto"}
TRAINING = ("loader", "preprocessing", "network forward", "loss and assignment", "backward pass",
            "gradient clipping, optimizer, EMA")
VALIDATION = ("validation: network forward", "validation: loss", "validation: NMS", "validation: matching to labels",
              "validation: average precision")


class Clock:
    """The seconds of each part, in the present epoch and in the finished ones."""

    def __init__(self) -> None:
        self.current: dict[str, float] = defaultdict(float)
        self.epochs: list[dict[str, float]] = []
        self.validating = False

    def time_method(self, owner: Any, name: str, part: str, validation_part: str = "") -> None:
        """Add a method's time to `part`, or to `validation_part` while the trainer validates."""
        stock: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **settings: Any) -> Any:
            start = time.perf_counter()
            try:
                return stock(*args, **settings)
            finally:
                self.current[validation_part if self.validating and validation_part else part] += time.perf_counter() - start

        setattr(owner, name, timed)


class TimedLoss:
    """A model's loss that records its time."""

    def __init__(self, stock: Any, clock: Clock) -> None:
        self.stock = stock
        clock.time_method(self, "stock", "loss and assignment", "validation: loss")

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self.stock(*args, **settings)


def profile(args: dict[str, str]) -> list[dict[str, float]]:
    """Train, and return the seconds of each epoch by part."""
    clock, start_of = Clock(), dict[str, float]()
    model: Any = yolograft.YOLO(args["model"])

    def start_training(trainer: Any) -> None:
        clock.time_method(trainer, "preprocess_batch", "preprocessing")
        clock.time_method(trainer, "optimizer_step", "gradient clipping, optimizer, EMA")
        clock.time_method(trainer, "save_model", "saving checkpoints")
        validate = trainer.validate

        def timed_validate() -> Any:
            clock.validating, start = True, time.perf_counter()
            try:
                return validate()
            finally:
                clock.current["validation"] += time.perf_counter() - start
                clock.validating = False

        trainer.validate = timed_validate
        clock.time_method(type(trainer.model), "predict", "network forward", "validation: network forward")
        init = type(trainer.model).init_criterion
        type(trainer.model).init_criterion = lambda network: TimedLoss(init(network), clock)
        clock.time_method(type(trainer.validator), "postprocess", "validation: NMS")
        clock.time_method(type(trainer.validator), "update_metrics", "validation: matching to labels")
        clock.time_method(type(trainer.validator), "get_stats", "validation: average precision")
        clock.time_method(torch.Tensor, "backward", "backward pass")

    def start_epoch(trainer: Any) -> None:
        clock.current.clear()
        start_of["epoch"] = start_of["batch"] = time.perf_counter()

    def start_batch(trainer: Any) -> None:
        clock.current["loader"] += time.perf_counter() - start_of["batch"]

    def end_batch(trainer: Any) -> None:
        start_of["batch"] = time.perf_counter()

    def end_epoch(trainer: Any) -> None:
        clock.current["training"] = time.perf_counter() - start_of["epoch"]

    def end_saving(trainer: Any) -> None:  # the last step of an epoch
        clock.epochs.append({**clock.current, "epoch": time.perf_counter() - start_of["epoch"]})

    for event, callback in (("on_train_start", start_training), ("on_train_epoch_start", start_epoch),
                            ("on_train_batch_start", start_batch), ("on_train_batch_end", end_batch),
                            ("on_train_epoch_end", end_epoch), ("on_model_save", end_saving)):
        model.add_callback(event, callback)
    with tempfile.TemporaryDirectory() as folder:
        model.train(data=args["data"], graft=args["graft"], speed=args["speed"], epochs=int(args["epochs"]),
                    imgsz=int(args["imgsz"]), batch=int(args["batch"]), fraction=float(args["fraction"]), device="cpu",
                    workers=0, plots=False, project=folder)
    print(f"yolograft: {model.trainer.acceleration.choice}")
    return clock.epochs


def main(words: list[str]) -> None:
    """Train, and print a table and one line of JSON."""
    args = dict(word.partition("=")[::2] for word in words)
    if set(args) - set(DEFAULTS) or not args.get("data"):
        sys.exit(__doc__)
    args = {**DEFAULTS, **args}
    if int(args["epochs"]) < 2:
        sys.exit("epochs must be 2 or more, because the first epoch does not count.")
    epochs = profile(args)[1:]
    found = {part: statistics.median(epoch.get(part, 0.0) for epoch in epochs) for part in epochs[0]}
    training_rest = found["training"] - sum(found.get(part, 0.0) for part in TRAINING)
    validation_rest = found["validation"] - sum(found.get(part, 0.0) for part in VALIDATION)
    print(f"\n{'epoch':<34}{found['epoch']:>8.3f} s")
    for title, parts, rest in (("training", TRAINING, training_rest), ("validation", VALIDATION, validation_rest)):
        print(f"{title:<34}{found[title]:>8.3f} s")
        for part in parts:
            print(f"  {part.removeprefix('validation: '):<32}{found.get(part, 0.0):>8.3f} s")
        print(f"  {'other':<32}{rest:>8.3f} s")
    print(f"{'saving checkpoints':<34}{found['saving checkpoints']:>8.3f} s")
    print(json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__,
                      "ultralytics": ultralytics.__version__, "load": os.getloadavg()[0], "run": args, "seconds": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
