"""The trainer of a study's trials: seeded data, controls, a report after each epoch, and exact resumption.

Ultralytics' own resumption starts from averaged weights in half precision, with new random generators and without the
accumulated gradients, so it continues another run. This trainer writes everything that the next epoch depends on to one
file after each epoch, atomically. The random generators of each epoch are seeded by seed and epoch.

What this relies on in Ultralytics (8.3.0 to 8.4.x), besides what `sampler` does: the callbacks `on_pretrain_routine_end`
(everything is built, no epoch has run), `on_train_epoch_start`, `on_train_batch_start` and `on_fit_epoch_end` (the epoch's
checkpoints are written). The loop starts at `start_epoch` and steps the scheduler first. It calls `optimizer_step` when
`accumulate` batches have passed since the last step, which it counts in a local variable. It sets `accumulate` during
the warm-up of the learning rate, to 1 in the first batch. This trainer counts the steps too, and compares both counts
after each epoch. Importing Ultralytics sets OMP_NUM_THREADS=1, and its `select_device` sets PyTorch's number of threads.
"""

from __future__ import annotations

import pickle
import shutil
import time
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
import ultralytics
from torch import nn
from ultralytics.utils import LOGGER
from ultralytics.utils.torch_utils import init_seeds

from yolograft import attach, threads
from yolograft.atomic import atomic_write
from yolograft.errors import GraftError, HostError
from yolograft.host.pickle_check import check_pickle
from yolograft.host.pickled import open_pickle
from yolograft.host.trainer import grafted_trainer
from yolograft.host.unmoved_blocks import find_unmoved
from yolograft.language import tr
from yolograft.runner import controls
from yolograft.runner.metric_names import metric_name
from yolograft.runner.sampler import EpochSampler, SeededDataset
from yolograft.seeding import derive_seed

__all__ = ["BEST", "STATE", "TrialTrainer", "read_state", "trial_trainer"]

STATE = "state.pt"  # everything that the next epoch depends on
_FORMAT = 2  # version of STATE and of the data's order; a run of another version cannot be resumed
BEST = "best.pt"  # the checkpoint of the best epoch

Report = Callable[[int, Mapping[str, float]], None]


class TrialTrainer:
    """Mixin of all trainers of trials. `trial_trainer` combines it with a grafted trainer.

    Additional overrides: `control` (see `controls`), `folder` (for the state and the best checkpoint), `report` (called
    after each epoch), `state` (that of an interrupted run, or None), `seconds` (the time that this run had taken) and
    `config` (the YAML dict of the arm, or None for the rows of the model).
    """

    graft_text: str | None
    swap_text: str | None
    keeps_record = False  # the plan of the study has it
    _in_loop = False
    _accumulate = 1
    mosaic_closed = False

    def __init__(self, cfg: Any = None, overrides: dict[str, Any] | None = None, _callbacks: Any = None) -> None:
        overrides = dict(overrides or {})
        self.control: str = overrides.pop("control", "")
        self.folder: Path = overrides.pop("folder")
        self.report: Report = overrides.pop("report")
        self.state: dict[str, Any] | None = overrides.pop("state", None)
        self.seconds: float = overrides.pop("seconds", 0.0)
        self.config: dict[str, Any] | None = overrides.pop("config", None)
        self.frozen_params: list[nn.Parameter] = []
        self.batch_number = self.last_step = -1  # the current batch, and that of the last step, counted from epoch 0
        self.step_calls = self.steps = 0  # in this epoch: calls of optimizer_step, and steps that it made
        self.due_steps: list[int] = []  # the batches of this epoch after which a step is due
        self.started = time.monotonic()
        super().__init__(*(() if cfg is None else (cfg,)), overrides=overrides, _callbacks=_callbacks)  # type: ignore[call-arg]
        if self.state:
            self.acceleration.set_state(self.state.get("choice"))  # type: ignore[attr-defined]
        if number := (self.state or {}).get("threads") or threads.requested():  # before `speed` is applied
            torch.set_num_threads(number)
        for event, callback in (("on_pretrain_routine_end", TrialTrainer._restore),
                                ("on_train_epoch_start", TrialTrainer._begin_epoch),
                                ("on_train_batch_start", TrialTrainer._count_batch),
                                ("on_train_batch_end", TrialTrainer._count_due_steps),
                                ("on_train_epoch_end", TrialTrainer._check_steps),
                                ("on_fit_epoch_end", TrialTrainer._end_epoch)):
            self.add_callback(event, callback)  # type: ignore[attr-defined]

    @property
    def accumulate(self) -> int:
        """Batches per step. In the loop it is 0, so that `optimizer_step` is called after every batch and decides."""
        return 0 if self._in_loop else self._accumulate

    @accumulate.setter
    def accumulate(self, value: int) -> None:
        self._accumulate = value

    def get_model(self, cfg: Any = None, weights: Any = None, verbose: bool = True) -> nn.Module:
        """Build and graft the network, and apply the control.

        The rows of an arm's own YAML start from the baseline's network, which is built first, with the seed of the trial.
        """
        if self.config is not None:
            own = self.graft_text, self.swap_text
            self.graft_text = self.swap_text = "none"
            try:
                weights = super().get_model(cfg=cfg, weights=weights, verbose=False)  # type: ignore[misc]
            finally:
                self.graft_text, self.swap_text = own
            cfg = self.config
        network: nn.Module = super().get_model(cfg=cfg, weights=weights, verbose=verbose)  # type: ignore[misc]
        self.frozen_params = controls.apply(network, self.control, self.args.seed)  # type: ignore[attr-defined]
        return network

    def build_dataset(self, img_path: str, mode: str = "train", batch: int | None = None) -> Any:
        """Build the data set. That for training becomes a `SeededDataset`."""
        dataset = super().build_dataset(img_path, mode, batch)  # type: ignore[misc]
        if mode != "train":
            return dataset
        return SeededDataset(dataset, self.args.seed, shuffle=not getattr(dataset, "rect", False))  # type: ignore[attr-defined]

    def get_dataloader(self, dataset_path: str, batch_size: int = 16, rank: int = 0, mode: str = "train") -> Any:
        """Build the loader. That for training gets an `EpochSampler`."""
        loader = super().get_dataloader(dataset_path, batch_size=batch_size, rank=rank, mode=mode)  # type: ignore[misc]
        if mode == "train":
            self.epoch_sampler = EpochSampler(len(loader.dataset))
            loader.batch_sampler.sampler.sampler = self.epoch_sampler
            loader.reset()
        return loader

    def _build_train_pipeline(self) -> None:
        if self._in_loop:  # out of memory: 8.4 would halve the batch size of this arm only
            raise MemoryError(f"out of memory with batch={self.batch_size * 2}")  # type: ignore[attr-defined]
        super()._build_train_pipeline()  # type: ignore[misc]

    def _close_dataloader_mosaic(self) -> None:
        super()._close_dataloader_mosaic()  # type: ignore[misc]
        self.mosaic_closed = True
        self.epoch_sampler.next_epoch = getattr(self, "epoch", 0)  # the loader restarts and drops its prepared batches

    def _handle_nan_recovery(self, epoch: int) -> bool:
        return False  # 8.4 would retry from a checkpoint and hide the failure; `report` raises an error for NaN

    def optimizer_step(self) -> None:
        """Make a step if enough batches have passed since the last one. It does not change what a control freezes."""
        self.step_calls += 1
        if self.batch_number - self.last_step < self._accumulate:
            return
        for parameter in self.frozen_params:
            parameter.grad = None
        if self.frozen_params:  # gradients of 0 would change the rounding of the gradient norm
            for block in attach.grafts(self.model).values():  # type: ignore[attr-defined]
                for parameter in block.parameters():
                    if parameter.grad is not None and not parameter.grad.any():
                        parameter.grad = None
        super().optimizer_step()  # type: ignore[misc]
        self.last_step = self.batch_number
        self.steps += 1

    def final_eval(self) -> None:
        """Do nothing: `evaluate` does the final validation, which can be repeated if it is interrupted."""

    # Callbacks. `trainer` is this TrialTrainer.

    @staticmethod
    def _restore(trainer: Any) -> None:
        if trainer.acceleration.choice is None and trainer.device.type == "cpu":  # else the selected speed has logged it
            LOGGER.info(tr("yolograft: speed={mode}, {threads} threads", mode=trainer.acceleration.mode,
                           threads=torch.get_num_threads()))
        state = trainer.state
        if state is None:
            trainer.csv.unlink(missing_ok=True)  # from a run that was killed in its first epoch; 8.3.0 would append to it
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
        trainer.last_step = state["stepped"]
        atomic_write(trainer.csv, lambda part: part.write_text(state["csv"]))
        if trainer.box_loss is not None:
            trainer.box_loss.mean = state["box_loss_mean"]
        if state["loss_updates"] is not None:  # YOLO26's loss changes its weights after each epoch
            trainer.model.criterion = trainer.model.init_criterion()
            trainer.model.criterion.updates = state["loss_updates"] - 1
            trainer.model.criterion.update()
        if state["mosaic_closed"]:  # the loop closes it if epoch == ... in 8.3.0, >= in 8.4
            trainer._close_dataloader_mosaic()
        trainer.epoch_sampler.next_epoch = trainer.start_epoch
        trainer.train_loader.reset()

    @staticmethod
    def _begin_epoch(trainer: Any) -> None:
        init_seeds(derive_seed("epoch", trainer.args.seed, trainer.epoch) % 2**32, deterministic=trainer.args.deterministic)
        trainer.batch_number = trainer.epoch * len(trainer.train_loader) - 1
        trainer._in_loop, trainer.step_calls, trainer.steps, trainer.due_steps = True, 0, 0, []
        trainer.previous_step = trainer.last_step
        if trainer.state is not None:
            for name, parameter in trainer.model.named_parameters():
                gradient = trainer.state["gradients"].get(name)
                parameter.grad = None if gradient is None else gradient.to(parameter)
            trainer.state = None

    @staticmethod
    def _count_batch(trainer: Any) -> None:
        trainer.batch_number += 1

    @staticmethod
    def _count_due_steps(trainer: Any) -> None:
        """Record whether a step was due after this batch, by the `accumulate` that the loop may set in the warm-up."""
        last = trainer.due_steps[-1] if trainer.due_steps else trainer.previous_step
        if trainer.batch_number - last >= trainer._accumulate:
            trainer.due_steps.append(trainer.batch_number)
        warms_up = round(min(trainer.args.warmup_epochs, trainer.epochs - 1) * len(trainer.train_loader)) > 0
        if trainer.batch_number == 0 and warms_up and trainer._accumulate != 1:
            raise _loop_error(tr("accumulate was {value}, not 1, in the first batch of the warm-up",
                                 value=trainer._accumulate))

    @staticmethod
    def _check_steps(trainer: Any) -> None:
        count = len(trainer.train_loader)
        if (trainer.step_calls, trainer.steps) != (count, len(trainer.due_steps)):
            raise _loop_error(tr("epoch {epoch} called optimizer_step {calls} times for {batches} batches, and made {steps} "
                                 "steps, but {due} were due", epoch=trainer.epoch + 1, calls=trainer.step_calls,
                                 batches=count, steps=trainer.steps, due=len(trainer.due_steps)))

    @staticmethod
    def _end_epoch(trainer: Any) -> None:
        losses = trainer.label_loss_items(trainer.tloss, prefix="train")
        metrics = {metric_name(key, trainer.args.task): float(value)
                   for key, value in {**trainer.metrics, **losses}.items()}
        metrics.pop("fitness", None)
        trainer.report(trainer.epoch + 1, metrics | {"fitness": float(trainer.fitness)})
        if trainer.best_fitness == trainer.fitness or not (trainer.folder / BEST).exists():
            atomic_write(trainer.folder / BEST, lambda part: shutil.copyfile(trainer.last, part))
        trainer.save_state()

    def save_state(self) -> None:
        """Write everything that the next epoch depends on."""
        this: Any = self  # the attributes below are those of the stock trainer
        criterion = getattr(this.model, "criterion", None)
        finished = this.stop or this.epoch + 1 >= this.epochs
        state = {
            "unmoved": find_unmoved(this.model, this.block_starts) if finished and not self.frozen_params else {},
            "format": _FORMAT, "threads": torch.get_num_threads(), "mosaic_closed": this.mosaic_closed,
            "choice": this.acceleration.get_state(),
            "epoch": this.epoch, "finished": finished,
            "seconds": this.seconds + time.monotonic() - this.started, "model": this.model.state_dict(),
            "ema": this.ema.ema.state_dict(), "updates": this.ema.updates,
            "optimizer": this.optimizer.state_dict(), "scaler": this.scaler.state_dict(),
            "best_fitness": this.best_fitness,
            "stopper": {key: getattr(this.stopper, key) for key in ("best_fitness", "best_epoch", "possible_stop")},
            "stepped": this.last_step, "csv": this.csv.read_text(), "loss_updates": getattr(criterion, "updates", None),
            "box_loss_mean": this.box_loss.mean if this.box_loss else None,
            "gradients": {name: parameter.grad for name, parameter in this.model.named_parameters()
                          if parameter.grad is not None},
        }
        atomic_write(this.folder / STATE, lambda part: torch.save(state, part))


def read_state(folder: Path) -> dict[str, Any] | None:
    """Return the state of an interrupted run in a folder, or None if there is none that this version can resume.

    Raises:
        HostError: the file names or calls something that no state has, so that it could run code.
    """
    file = folder / STATE
    if not file.exists():
        return None
    try:
        opened = open_pickle(file, tensors=False)
        check_pickle(file, opened)  # a study's folder can come from another person
        state: Any = torch.load(file, map_location="cpu", weights_only=False)
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        if isinstance(error, GraftError) and zipfile.is_zipfile(file):
            raise  # it is whole, and `check_pickle` refuses it
        file.replace(file.with_name(f"{file.name}.damaged"))
        LOGGER.warning(tr("yolograft: {file} is damaged ({error}). The trial starts from the beginning; the damaged file "
                          "is kept as {name}.damaged.", file=file, error=str(error)[:200], name=file.name))
        return None
    if isinstance(state, dict) and state.get("format") == _FORMAT:
        return state
    LOGGER.warning(tr("yolograft: {file} was written by another version of yolograft. The trial starts from the "
                      "beginning.", file=file))
    return None


def _loop_error(difference: str) -> HostError:
    return HostError(tr("The training loop of Ultralytics {version} does not use trainer.accumulate as yolograft "
                        "expects: {difference}. A trial could not be resumed exactly. Compare BaseTrainer._do_train "
                        "in ultralytics/engine/trainer.py with yolograft/runner/trainer.py, or install Ultralytics "
                        "8.3.0 or 8.4.190.", version=ultralytics.__version__, difference=difference))


def trial_trainer(stock: type[Any]) -> type[Any]:
    """Return the subclass of a trainer class that trains the trials of a study.

    Raises:
        HostError: `stock` is not a class.
    """
    if not isinstance(stock, type):
        raise HostError(tr("{stock} is not a trainer class.", stock=stock))
    return type(f"Trial{stock.__name__}", (TrialTrainer, grafted_trainer(stock)), {"__doc__": TrialTrainer.__doc__})
