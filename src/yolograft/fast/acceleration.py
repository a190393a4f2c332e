"""Everything that makes a trainer faster, in one object: the requested mode, what was chosen, and its state.

On a CPU, the network's body runs in bfloat16 and channels-last on all threads where a measurement shows that this is
faster, with fused operators where this machine can build them; weights, loss, box decoding and optimizer state stay
float32 (`cpu.select`). On a GPU, see `gpu.select`. `speed=stock` switches all of it off.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a checkpoint holds the averaged model (EMA) and never `trainer.model`,
so attributes that are set on that object are not saved. `trainer.validate` evaluates the EMA on the batches of
`trainer.validator.dataloader`. `_do_train` builds the network, and then runs `on_pretrain_routine_end` and
`on_train_start`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import nn
from ultralytics.utils import LOGGER

from yolograft.errors import HostError
from yolograft.fast import cache
from yolograft.fast.cpu import assigner_loss, bf16, memory, nms, optimizer
from yolograft.fast.cpu import select as cpu_select
from yolograft.fast.cpu.select import Choice
from yolograft.fast.gpu import resident_dataset
from yolograft.fast.gpu import select as gpu_select
from yolograft.fast.modes import CPU_MODES, GPU_MODES, check_mode, wrapping_arguments
from yolograft.language import tr
from yolograft.patch import patched
from yolograft.threads import share

__all__ = ["Acceleration", "check"]


def check(mode: str, settings: Mapping[str, Any], *, is_local: bool = True) -> str:
    """Return a mode (`speed`) that this machine and the train arguments support.

    Args:
        mode: one of `MODES`.
        settings: the train arguments.
        is_local: whether the training will run on this machine.

    Raises:
        HostError: the mode is not known, or was set by name and is not supported.
    """
    check_mode(mode)
    device = str(settings.get("device")).lower()
    if device in ("none", ""):
        device = "0" if is_local and torch.cuda.is_available() else "cpu"
    if mode in CPU_MODES and device != "cpu":
        raise HostError(tr("speed={mode} is for a training on a CPU, and this training is on device={device}. Say "
                           "speed=auto, {gpu_modes} or stock there, or device=cpu.", mode=mode, device=device,
                           gpu_modes=", ".join(GPU_MODES)))
    arguments: list[str] = []
    if mode in CPU_MODES:
        arguments = wrapping_arguments(settings)
    elif mode in GPU_MODES:
        if is_local and mode == "graphed" and not torch.cuda.is_available():
            raise HostError(tr("speed=graphed needs a CUDA device, and PyTorch finds none on this machine. Say "
                               "speed=resident, or stock."))
        arguments = resident_dataset.unsupported_arguments(settings)
        arguments += gpu_select.ungraphable_arguments(settings) if mode == "graphed" else []
    if arguments:
        raise HostError(tr("speed={mode} does not support {arguments}. Leave that out, or say speed=stock.", mode=mode,
                           arguments=", ".join(arguments)))
    return mode


class Acceleration:
    """How one trainer trains faster. The trainer calls these methods; `begin` runs first.

    Attributes:
        mode: the requested mode, one of `MODES`.
        choice: what runs on a CPU; None before `begin`, on other devices, and in stock mode.
        gpu_mode: "stock", "resident" or "graphed".
        images: the training images on the device, or None.

    Args:
        mode: `speed`.
        settings: the train arguments.

    Raises:
        HostError: see `check`.
    """

    def __init__(self, mode: str, settings: Mapping[str, Any]) -> None:
        self.mode = check(mode, settings)
        self.choice: Choice | None = None
        self.gpu_mode = "stock"
        self.images: resident_dataset.ResidentImages | None = None
        self._restored: Choice | None = None
        self._ema_copy: nn.Module | None = None  # evaluated by `validation`
        self._validation_loader: cache.CachedLoader | None = None

    def get_state(self) -> tuple[Any, ...] | None:
        """Return the choice as a tuple, for a state file, or None if there is none."""
        return dataclasses.astuple(self.choice) if self.choice else None

    def set_state(self, state: Sequence[Any] | None) -> None:
        """Continue with an interrupted run's choice: a new measurement might choose differently, and change the results."""
        self._restored = Choice(*state) if state else None

    def begin(self, trainer: Any) -> None:
        """Choose how to train, apply it to the trainer, and log it. A callback of `on_pretrain_routine_end`.

        Raises:
            HostError: the mode was set by name and cannot be used.
        """
        if self.mode in GPU_MODES or (self.mode == "auto" and trainer.device.type == "cuda"):
            self._begin_on_gpu(trainer)
        elif self.mode != "stock" and trainer.device.type == "cpu":
            self._begin_on_cpu(trainer)

    def _begin_on_cpu(self, trainer: Any) -> None:
        if arguments := wrapping_arguments(vars(trainer.args)):
            LOGGER.info(tr("yolograft: this training has Ultralytics' own speed, because the faster ways to train do not "
                           "support {arguments}", arguments=", ".join(arguments)))
            return
        choice = cpu_select.supported(self._restored) if self._restored else cpu_select.choose(
            trainer.model, int(trainer.args.imgsz), int(trainer.batch_size), self.mode)
        torch.set_num_threads(choice.threads)
        if choice.channels_last and optimizer.supports_channels_last(trainer.optimizer):
            bf16.to_channels_last(trainer.model)
        self.choice = choice
        LOGGER.info(self._describe(choice))

    def _describe(self, choice: Choice) -> str:
        """Return the log's line about the speed."""
        precision = "bfloat16" if choice.bfloat16 else "float32"
        if not choice.channels_last:
            return tr("yolograft: this training has Ultralytics' own speed. yolograft timed its faster ways to train on "
                      "this CPU, and none was clearly faster. Details: {details}", details=choice.why)
        if self.mode in CPU_MODES:
            return tr("yolograft: this training runs in {precision} on {threads} threads, as speed={mode} asks. "
                      "speed=stock trains as Ultralytics alone does.", precision=precision, threads=choice.threads,
                      mode=self.mode)
        return tr("yolograft: this training is faster than with Ultralytics alone: it runs in {precision} on {threads} "
                  "threads of this CPU. speed=stock trains as Ultralytics alone does. Details: {details}",
                  precision=precision, threads=choice.threads, details=choice.why)

    def _begin_on_gpu(self, trainer: Any) -> None:
        self.gpu_mode, self.images = gpu_select.choose(trainer, self.mode)
        self.replace_loaders(trainer)
        if self.gpu_mode != "stock" and trainer.device.type == "cuda":
            gpu_select.use_fused_optimizer(trainer.optimizer)

    def replace_loaders(self, trainer: Any) -> None:
        """Replace the trainer's loaders if its images are on the device.

        Called again when 8.4 builds new loaders after running out of memory.
        """
        if self.images is not None:
            gpu_select.replace_loaders(trainer, self.images)

    def preprocess(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Return a preprocessed training batch with its images in the chosen memory format."""
        if self.choice and self.choice.channels_last:
            batch["img"] = bf16.images_to_channels_last(batch["img"])
        return batch

    @contextmanager
    def session(self, trainer: Any) -> Iterator[None]:
        """Surround one call of `_do_train`: enter `training` once the network exists, and restore everything at the end."""
        with ExitStack() as stack:
            stack.enter_context(memory.restore_threads())
            # the network does not exist before the stock method has built it
            trainer.add_callback("on_train_start", lambda trainer: stack.enter_context(self.training(trainer)))
            yield

    @contextmanager
    def training(self, trainer: Any) -> Iterator[None]:
        """Train the trainer's network in the chosen way inside a `with` block."""
        with ExitStack() as stack:
            if self.choice and self.choice.channels_last:
                stack.enter_context(memory.keep_freed_memory())
                stack.enter_context(bf16.bf16_body(trainer.model, self.choice.bfloat16, self.choice.fused))
                stack.enter_context(assigner_loss.patch_loss())
            stack.enter_context(gpu_select.patch_network(trainer, self.gpu_mode))
            if self.gpu_mode != "stock" and not hasattr(trainer.ema, "_pairs"):  # later versions average in one launch
                stack.enter_context(gpu_select.patch_ema(trainer.ema))
            if self.mode in ("auto", *CPU_MODES) and trainer.device.type == "cpu":
                stack.enter_context(cache.cache_images(trainer.train_loader.dataset, threads=share(1)))
            yield

    @contextmanager
    def optimizer_step(self, trainer: Any) -> Iterator[None]:
        """Use PyTorch's fused optimizer operator inside a `with` block, if channels-last was chosen."""
        if self.choice is None or not self.choice.channels_last:
            yield
            return
        with optimizer.fused_step(trainer.optimizer):
            yield

    @contextmanager
    def validation(self, trainer: Any) -> Iterator[None]:
        """Evaluate a copy of the averaged model (EMA) in the chosen way inside a `with` block.

        It is a copy because the averaged model itself goes into the checkpoint.
        """
        ema = getattr(trainer, "ema", None)
        if self.choice is None or not self.choice.channels_last or ema is None:
            yield
            return
        averaged, validator = ema.ema, trainer.validator
        loader = validator.dataloader
        if self._ema_copy is None:
            self._ema_copy = bf16.to_channels_last(copy.deepcopy(averaged))
        else:
            self._ema_copy.load_state_dict(averaged.state_dict())
        cached = self._validation_loader
        if cached is None or cached.loader is not loader:  # 8.4 builds another loader after running out of memory
            cached = self._validation_loader = cache.CachedLoader(loader, bf16.images_to_channels_last)
        with (patched((ema, "ema", self._ema_copy), (validator, "dataloader", cached)),
              bf16.bf16_body(self._ema_copy, self.choice.bfloat16, self.choice.fused), nms.patch_nms()):
            yield
