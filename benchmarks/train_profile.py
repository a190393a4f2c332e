"""Where the seconds of a training epoch on a CPU go, at yolograft's speed or at Ultralytics' own.

    python benchmarks/train_profile.py data=NEU-DET.yaml model=yolo11n.pt [speed=bfloat16] [epochs=6]

Each part is timed by the wall around the call that does it, in one training, and added up over an epoch; the table gives
the medians over the epochs but the first, which reads what is kept. What is left of an epoch beside its parts is `all else`.
Timing costs some microseconds a call, of which there are a hundred in an epoch.

Arguments: data, model, graft=none, imgsz=224, batch=16, fraction=0.25 (of the training pictures), epochs=6, speed=auto
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
TRAINING = ("loader", "pictures to numbers", "network forward", "loss and assignment", "backward pass",
            "clipping, optimiser, averaging")
VALIDATION = ("validated: network forward", "validated: loss", "validated: suppression", "validated: matching to truth",
              "validated: average precision")


class Clock:
    """Seconds by part, of the epoch that runs, and of those that are over."""

    def __init__(self) -> None:
        self.now: dict[str, float] = defaultdict(float)
        self.epochs: list[dict[str, float]] = []
        self.validating = False

    def around(self, owner: Any, name: str, part: str, other: str = "") -> None:
        """Time a method: as `part`, or as `other` while the trainer validates."""
        stock: Callable[..., Any] = getattr(owner, name)

        def timed(*args: Any, **settings: Any) -> Any:
            begun = time.perf_counter()
            try:
                return stock(*args, **settings)
            finally:
                self.now[other if self.validating and other else part] += time.perf_counter() - begun

        setattr(owner, name, timed)


class Loss:
    """A model's loss, timed."""

    def __init__(self, stock: Any, clock: Clock) -> None:
        self.stock = stock
        clock.around(self, "stock", "loss and assignment", "validated: loss")

    def __call__(self, *args: Any, **settings: Any) -> Any:
        return self.stock(*args, **settings)


def profile(given: dict[str, str]) -> list[dict[str, float]]:
    """Train, and return the seconds of each epoch by part."""
    clock, begun = Clock(), dict[str, float]()
    model: Any = yolograft.YOLO(given["model"])

    def starts(trainer: Any) -> None:
        clock.around(trainer, "preprocess_batch", "pictures to numbers")
        clock.around(trainer, "optimizer_step", "clipping, optimiser, averaging")
        clock.around(trainer, "save_model", "checkpoints written")
        validate = trainer.validate

        def validated() -> Any:
            clock.validating, since = True, time.perf_counter()
            try:
                return validate()
            finally:
                clock.now["validation"] += time.perf_counter() - since
                clock.validating = False

        trainer.validate = validated
        clock.around(type(trainer.model), "predict", "network forward", "validated: network forward")
        init = type(trainer.model).init_criterion
        type(trainer.model).init_criterion = lambda network: Loss(init(network), clock)
        clock.around(type(trainer.validator), "postprocess", "validated: suppression")
        clock.around(type(trainer.validator), "update_metrics", "validated: matching to truth")
        clock.around(type(trainer.validator), "get_stats", "validated: average precision")
        clock.around(torch.Tensor, "backward", "backward pass")

    def epoch_starts(trainer: Any) -> None:
        clock.now.clear()
        begun["epoch"] = begun["batch"] = time.perf_counter()

    def batch_starts(trainer: Any) -> None:
        clock.now["loader"] += time.perf_counter() - begun["batch"]

    def batch_ends(trainer: Any) -> None:
        begun["batch"] = time.perf_counter()

    def epoch_ends(trainer: Any) -> None:
        clock.now["training"] = time.perf_counter() - begun["epoch"]

    def saved(trainer: Any) -> None:  # the last thing that an epoch does
        clock.epochs.append({**clock.now, "epoch": time.perf_counter() - begun["epoch"]})

    for event, called in (("on_train_start", starts), ("on_train_epoch_start", epoch_starts),
                          ("on_train_batch_start", batch_starts), ("on_train_batch_end", batch_ends),
                          ("on_train_epoch_end", epoch_ends), ("on_model_save", saved)):
        model.add_callback(event, called)
    with tempfile.TemporaryDirectory() as folder:
        model.train(data=given["data"], graft=given["graft"], speed=given["speed"], epochs=int(given["epochs"]),
                    imgsz=int(given["imgsz"]), batch=int(given["batch"]), fraction=float(given["fraction"]), device="cpu",
                    workers=0, plots=False, project=folder)
    print(f"yolograft: {model.trainer.acceleration.choice}")
    return clock.epochs


def main(words: list[str]) -> None:
    """Train, and print a table and one line of JSON."""
    given = dict(word.partition("=")[::2] for word in words)
    if set(given) - set(DEFAULTS) or not given.get("data"):
        sys.exit(__doc__)
    given = {**DEFAULTS, **given}
    if int(given["epochs"]) < 2:
        sys.exit("epochs must be 2 or more: the first one does not count.")
    epochs = profile(given)[1:]
    found = {part: statistics.median(epoch.get(part, 0.0) for epoch in epochs) for part in epochs[0]}
    rest = found["training"] - sum(found.get(part, 0.0) for part in TRAINING)
    other = found["validation"] - sum(found.get(part, 0.0) for part in VALIDATION)
    print(f"\n{'an epoch':<34}{found['epoch']:>8.3f} s")
    for title, parts, left in (("training", TRAINING, rest), ("validation", VALIDATION, other)):
        print(f"{title:<34}{found[title]:>8.3f} s")
        for part in parts:
            print(f"  {part.removeprefix('validated: '):<32}{found.get(part, 0.0):>8.3f} s")
        print(f"  {'all else':<32}{left:>8.3f} s")
    print(f"{'checkpoints written':<34}{found['checkpoints written']:>8.3f} s")
    print(json.dumps({"machine": f"{platform.machine()}, {os.cpu_count()} cores", "torch": torch.__version__,
                      "ultralytics": ultralytics.__version__, "load": os.getloadavg()[0], "run": given, "seconds": found}))


if __name__ == "__main__":
    main(sys.argv[1:])
