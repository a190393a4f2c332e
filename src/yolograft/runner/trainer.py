"""The trainer of a trial: paired data, controls, a report after each epoch, and exact resumption after any interruption.

Ultralytics' own resumption starts from weights averaged and rounded to half precision, with fresh random generators and
no pending gradients: a different run. Here everything that the next epoch depends on is written after each epoch, in one
file that is there as a whole or not at all, and the next epoch draws from generators seeded by seed and epoch.

What this relies on in Ultralytics (8.3.0 to 8.4.x), beside what `pairing` does: the callbacks `on_pretrain_routine_end`
(all is built, nothing has run), `on_train_epoch_start`, `on_train_batch_start` and `on_fit_epoch_end` (the epoch's
checkpoints are written); the loop begins at `start_epoch`, steps the scheduler first, and calls `optimizer_step` when
`accumulate` batches have passed since the last time, which it counts in a variable of its own. It sets `accumulate` while
the learning rate warms up, and to 1 in the first batch. Steps are counted here too: after each epoch the two counts must
agree. Importing Ultralytics sets OMP_NUM_THREADS=1, and its `select_device` sets PyTorch's number of threads.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import ultralytics
from torch import nn
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import init_seeds

from yolograft import attach, threads
from yolograft.errors import HostError
from yolograft.host.trainer import grafted_trainer
from yolograft.runner import controls
from yolograft.runner.sampler import Epochs, Paired
from yolograft.seeding import derive_seed

__all__ = ["BEST", "STATE", "LessonTrainer", "lesson_trainer", "plain_name", "read_state", "replace"]

STATE = "state.pt"  # all that the next epoch depends on
_FORMAT = 2  # of STATE, and of the order of its training's data; a run of another format cannot go on
BEST = "best.pt"  # the checkpoint of the best epoch

Report = Callable[[int, Mapping[str, float]], None]


class LessonTrainer:
    """What the trainer of a trial does differently from a grafted one; mixed in by `lesson_trainer`.

    Its further overrides: `control` (see `controls`), `folder` (where state and best checkpoint go), `report` (called
    after each epoch), `state` (what an interrupted run left, or None) and `spent` (the seconds it had taken).
    """

    _looping = False
    _accumulate = 1
    mosaic_closed = False

    def __init__(self, cfg: Any = None, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        overrides = dict(overrides or {})
        self.control: str = overrides.pop("control", "")
        self.folder: Path = overrides.pop("folder")
        self.report: Report = overrides.pop("report")
        self.state: dict[str, Any] | None = overrides.pop("state", None)
        self.spent: float = overrides.pop("spent", 0.0)
        self.held: list[nn.Parameter] = []
        self.batches = self.stepped = -1
        self.calls = self.steps = 0  # of optimizer_step in this epoch, and the steps that it made
        self.due: list[int] = []  # the batches of this epoch after which a step is due
        self.begun = time.monotonic()
        super().__init__(*(() if cfg is None else (cfg,)), overrides=overrides, _callbacks=_callbacks)  # type: ignore[call-arg]
        if self.state:
            self.acceleration.set_state(self.state.get("choice"))  # type: ignore[attr-defined]
        if number := (self.state or {}).get("threads") or threads.asked():  # before `speed` chooses, which then sets its own
            torch.set_num_threads(number)
        for event, callback in (("on_pretrain_routine_end", LessonTrainer._restore),
                                ("on_train_epoch_start", LessonTrainer._begin_epoch),
                                ("on_train_batch_start", LessonTrainer._count),
                                ("on_train_batch_end", LessonTrainer._count_due),
                                ("on_train_epoch_end", LessonTrainer._check_steps),
                                ("on_fit_epoch_end", LessonTrainer._end_epoch)):
            self.add_callback(event, callback)  # type: ignore[attr-defined]

    @property
    def accumulate(self) -> int:
        """How many batches make a step; 0 in the loop, which then calls `optimizer_step` after each: that one counts."""
        return 0 if self._looping else self._accumulate

    @accumulate.setter
    def accumulate(self, value: int) -> None:
        self._accumulate = value

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> nn.Module:
        """Build and graft the network, and make it the control's."""
        network: nn.Module = super().get_model(cfg=cfg, weights=weights, verbose=verbose)  # type: ignore[misc]
        self.held = controls.apply(network, self.control, self.args.seed)  # type: ignore[attr-defined]
        return network

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """Build the data set; the one to train on is paired."""
        built = super().build_dataset(img_path, mode, batch)  # type: ignore[misc]
        if mode != "train":
            return built
        return Paired(built, self.args.seed, shuffle=not getattr(built, "rect", False))  # type: ignore[attr-defined]

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """Build the loader; the one to train with numbers its epochs."""
        loader = super().get_dataloader(dataset_path, batch_size=batch_size, rank=rank, mode=mode)  # type: ignore[misc]
        if mode == "train":
            self.order = Epochs(len(loader.dataset))
            loader.batch_sampler.sampler.sampler = self.order
            loader.reset()
        return loader

    def _build_train_pipeline(self) -> None:
        if self._looping:  # 8.4 halves the batch when memory runs out, which would make this arm another arm
            raise MemoryError(f"out of memory with batch={self.batch_size * 2}")  # type: ignore[attr-defined]
        super()._build_train_pipeline()  # type: ignore[misc]

    def _close_dataloader_mosaic(self) -> None:
        super()._close_dataloader_mosaic()  # type: ignore[misc]
        self.mosaic_closed = True
        self.order.next = getattr(self, "epoch", 0)  # the loader begins anew; what it had prepared is thrown away

    def _handle_nan_recovery(self, epoch: int) -> bool:
        return False  # 8.4 would go back and try again; a study wants to know: the report refuses what is not finite

    def optimizer_step(self) -> None:
        """Step if enough batches have passed, and leave alone what a control holds."""
        self.calls += 1
        if self.batches - self.stepped < self._accumulate:
            return
        for parameter in self.held:
            parameter.grad = None
        if self.held:  # what a gate at 1 cuts off has gradients of 0, which would change how the others' norm is rounded
            for block in attach.grafts(self.model).values():  # type: ignore[attr-defined]
                for parameter in block.parameters():
                    if parameter.grad is not None and not parameter.grad.any():
                        parameter.grad = None
        super().optimizer_step()  # type: ignore[misc]
        self.stepped = self.batches
        self.steps += 1

    def final_eval(self) -> None:
        """Leave the last evaluation to `evaluation`, which can be repeated if it is interrupted."""

    # The callbacks: `trainer` is the LessonTrainer itself.

    @staticmethod
    def _restore(trainer: Any) -> None:
        if trainer.acceleration.choice is None and trainer.device.type == "cpu":  # else `speed` has said how many there are
            LOGGER.info(f"yolograft: speed={trainer.acceleration.mode}, {torch.get_num_threads()} threads")
        state = trainer.state
        if state is None:
            trainer.csv.unlink(missing_ok=True)  # of a run that was killed in its first epoch; 8.3.0 would append to it
            return
        trainer.model.load_state_dict(state["model"])
        trainer.ema.ema.load_state_dict(state["ema"])
        trainer.ema.updates = state["updates"]
        trainer.optimizer.load_state_dict(state["optimizer"])
        trainer.scaler.load_state_dict(state["scaler"])
        trainer.best_fitness = state["best_fitness"]
        trainer.stopper.__dict__.update(state["stopper"])
        trainer.start_epoch = state["epoch"] + 1
        trainer.scheduler.last_epoch = trainer.start_epoch - 1
        trainer.stepped = state["stepped"]
        trainer.csv.write_text(state["csv"])
        if state["loss_updates"] is not None:  # YOLO26's loss shifts its weights from epoch to epoch
            trainer.model.criterion = trainer.model.init_criterion()
            trainer.model.criterion.updates = state["loss_updates"] - 1
            trainer.model.criterion.update()
        if state["mosaic_closed"]:  # when the loop closes it differs between versions: `==` in 8.3.0, `>=` in 8.4
            trainer._close_dataloader_mosaic()
        trainer.order.next = trainer.start_epoch
        trainer.train_loader.reset()

    @staticmethod
    def _begin_epoch(trainer: Any) -> None:
        init_seeds(derive_seed("epoch", trainer.args.seed, trainer.epoch) % 2**32, deterministic=trainer.args.deterministic)
        trainer.batches = trainer.epoch * len(trainer.train_loader) - 1
        trainer._looping, trainer.calls, trainer.steps, trainer.due = True, 0, 0, []
        trainer.before = trainer.stepped
        if trainer.state is not None:
            for name, parameter in trainer.model.named_parameters():
                gradient = trainer.state["gradients"].get(name)
                parameter.grad = None if gradient is None else gradient.to(parameter)
            trainer.state = None

    @staticmethod
    def _count(trainer: Any) -> None:
        trainer.batches += 1

    @staticmethod
    def _count_due(trainer: Any) -> None:
        """Note whether a step was due after this batch; `accumulate` is what the loop set it to in warm-up, if it did."""
        last = trainer.due[-1] if trainer.due else trainer.before
        if trainer.batches - last >= trainer._accumulate:
            trainer.due.append(trainer.batches)
        warms_up = round(min(trainer.args.warmup_epochs, trainer.epochs - 1) * len(trainer.train_loader)) > 0
        if trainer.batches == 0 and warms_up and trainer._accumulate != 1:
            raise _unlike(f"it left accumulate at {trainer._accumulate} in the first batch of the warm-up, where it is 1")

    @staticmethod
    def _check_steps(trainer: Any) -> None:
        count = len(trainer.train_loader)
        if (trainer.calls, trainer.steps) != (count, len(trainer.due)):
            raise _unlike(f"epoch {trainer.epoch + 1} called optimizer_step {trainer.calls} times for {count} batches, "
                          f"and made {trainer.steps} steps where {len(trainer.due)} were due")

    @staticmethod
    def _end_epoch(trainer: Any) -> None:
        losses = trainer.label_loss_items(trainer.tloss, prefix="train")
        numbers = {plain_name(key, trainer.args.task): float(value) for key, value in {**trainer.metrics, **losses}.items()}
        numbers.pop("fitness", None)
        trainer.report(trainer.epoch + 1, numbers | {"fitness": float(trainer.fitness)})
        if trainer.best_fitness == trainer.fitness or not (trainer.folder / BEST).exists():
            replace(trainer.folder / BEST, lambda part: shutil.copyfile(trainer.last, part))
        trainer.save_state()

    def save_state(self) -> None:
        """Write all that the next epoch depends on."""
        this: Any = self
        criterion = getattr(this.model, "criterion", None)
        state = {
            "format": _FORMAT, "threads": torch.get_num_threads(), "mosaic_closed": this.mosaic_closed,
            "choice": this.acceleration.get_state(),
            "epoch": this.epoch, "finished": this.stop or this.epoch + 1 >= this.epochs,
            "seconds": this.spent + time.monotonic() - this.begun, "model": this.model.state_dict(),
            "ema": this.ema.ema.state_dict(), "updates": this.ema.updates,
            "optimizer": this.optimizer.state_dict(), "scaler": this.scaler.state_dict(),
            "best_fitness": this.best_fitness,
            "stopper": {key: getattr(this.stopper, key) for key in ("best_fitness", "best_epoch", "possible_stop")},
            "stepped": this.stepped, "csv": this.csv.read_text(), "loss_updates": getattr(criterion, "updates", None),
            "gradients": {name: one.grad for name, one in this.model.named_parameters() if one.grad is not None},
        }
        replace(this.folder / STATE, lambda part: torch.save(state, part))


def read_state(folder: Path) -> dict[str, Any] | None:
    """Return what an interrupted run left in a folder, or None if there is nothing with which this version can go on."""
    file = folder / STATE
    if not file.exists():
        return None
    state: dict[str, Any] = torch.load(file, map_location="cpu", weights_only=False)
    if state.get("format") == _FORMAT:
        return state
    LOGGER.warning(f"yolograft: {file} was written by another version of yolograft. The trial starts again.")
    return None


def _unlike(what: str) -> HostError:
    return HostError(f"The training loop of Ultralytics {ultralytics.__version__} does not use trainer.accumulate as "
                     f"yolograft expects: {what}. A trial could not be resumed exactly. Compare BaseTrainer._do_train in "
                     "ultralytics/engine/trainer.py with yolograft/runner/trainer.py, or install Ultralytics 8.3.0 or "
                     "8.4.190.")


def replace(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` make a file that appears as a whole or not at all."""
    part = path.with_suffix(".part")
    write(part)
    with part.open("r+b") as file:  # Windows syncs only what is open for writing
        os.fsync(file.fileno())
    os.replace(part, path)


def plain_name(key: str, task: str) -> str:
    """Return Ultralytics' name of a metric as a study calls it: the task's own plainly, a mask's or pose's box apart.

    >>> plain_name("metrics/mAP50-95(B)", "detect"), plain_name("metrics/mAP50-95(B)", "segment")
    ('mAP50-95', 'box mAP50-95')
    """
    name = key.removeprefix("metrics/")
    if name == "accuracy_top1":
        return "accuracy"
    for suffix, own in (("(B)", task not in ("segment", "pose")), ("(M)", True), ("(P)", True)):
        if name.endswith(suffix):
            return name.removesuffix(suffix) if own else f"box {name.removesuffix(suffix)}"
    return name


def lesson_trainer(stock: type[Any]) -> type[Any]:
    """Return the kind of a trainer class that trains a study's trials."""
    if not isinstance(stock, type):
        raise HostError(f"{stock} is no trainer class.")
    return type(f"Lesson{stock.__name__}", (LessonTrainer, grafted_trainer(stock)), {"__doc__": LessonTrainer.__doc__})
