"""Training as fast as a CPU allows: threads, bfloat16 and memory layout, chosen by what this machine is measured to do.

Stock Ultralytics trains on a CPU in float32, NCHW, with one thread fewer than there are (`select_device`). Here the
network's body runs in bfloat16 where that is measured to be faster, in the layout that oneDNN's convolutions like, on all
threads; weights, loss, box decoding and the optimiser's state stay float32. `speed=stock` switches all of it off.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `BaseModel.forward` runs the network through `self.predict`;
`Detect.forward` decodes boxes in `self._inference`; a checkpoint holds the averaged model (EMA) and never `trainer.model`,
so what is set on the latter's instance is not saved; `trainer.validate` evaluates the EMA.
"""

from __future__ import annotations

import copy
import os
import statistics
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Detect
from ultralytics.utils import LOGGER

from yolograft.errors import HostError, nearest

__all__ = ["MODES", "Choice", "begin", "check", "choose", "faster", "laid_out"]

MODES = ("auto", "stock")
_GAIN = 1.2  # times that bfloat16 must be faster than float32 to be chosen: what is near one might flip between two runs
_REPEATS = 3


@dataclass(frozen=True)
class Choice:
    """What a training uses, and why.

    Attributes:
        threads: of PyTorch.
        bfloat16: whether the network's body runs in it.
        channels_last: whether maps are laid out (B, H, W, C).
        why: in words, for the log.
    """

    threads: int
    bfloat16: bool
    channels_last: bool
    why: str


def check(mode: str) -> str:
    """Return the mode; raises `HostError` for one that is not known."""
    if mode not in MODES:
        raise HostError(f"speed={mode} is not known: auto, or stock for exactly Ultralytics' own.{nearest(mode, MODES)}")
    return mode


def choose(model: nn.Module, imgsz: int, batch: int) -> Choice:
    """Choose for a model that is about to be trained on this machine's CPU; the model is left as it is.

    Args:
        model: an Ultralytics task model.
        imgsz: side of the pictures in pixels.
        batch: pictures in a batch.
    """
    given = os.environ.get("OMP_NUM_THREADS", "")  # which Ultralytics sets to 1 where it is not set: 1 means nothing
    threads = int(given) if given.isdecimal() and int(given) > 1 else _cores()
    if not isinstance(_head(model), Detect):
        return Choice(threads, False, True, f"float32, since {type(_head(model)).__name__} does not decode boxes from maps")
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return Choice(threads, False, True, "float32, since this CPU has no bfloat16")
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        plain, half = _measured(model, imgsz, min(batch, 4))
    finally:
        torch.set_num_threads(before)
    told = f"measured {plain / half:.2f}x as fast as float32 on this CPU"
    if half * _GAIN > plain:
        return Choice(threads, False, True, f"float32, since bfloat16 is {told}")
    return Choice(threads, True, True, f"bfloat16, {told}")


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _measured(model: nn.Module, imgsz: int, batch: int) -> tuple[float, float]:
    """Return the seconds of a step forward and back in float32 and in bfloat16, interleaved; medians."""
    twin = copy.deepcopy(model).float().train()
    for parameter in twin.parameters():
        parameter.requires_grad_(parameter.is_floating_point())
    laid_out(twin)
    with torch.random.fork_rng(devices=[]):
        pictures = torch.rand(batch, 3, imgsz, imgsz).to(memory_format=torch.channels_last)
        taken: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(_REPEATS + 1):  # the first warms up
            for half in (False, True):
                begun = time.perf_counter()
                with faster(twin, half):
                    outputs = twin(pictures)
                sum(value.float().mean() for value in _tensors(outputs) if value.requires_grad).backward()  # type: ignore[union-attr]
                if repeat:
                    taken[half].append(time.perf_counter() - begun)
    return statistics.median(taken[False]), statistics.median(taken[True])


def begin(trainer: Any) -> None:
    """Choose for a trainer whose network is built, apply it to `trainer.model`, and say what was chosen."""
    kept: Choice | None = getattr(trainer, "kept", None)  # what an interrupted run had chosen
    choice = kept or choose(trainer.model, int(trainer.args.imgsz), int(trainer.batch_size))
    torch.set_num_threads(choice.threads)
    if choice.channels_last:
        laid_out(trainer.model)
    trainer.choice = choice
    LOGGER.info(f"yolograft: {choice.why}; {choice.threads} threads, channels_last (speed=stock: as Ultralytics alone)")


def laid_out(model: nn.Module) -> nn.Module:
    """Lay a model's weights out channels-last, in place; returns it."""
    return model.to(memory_format=torch.channels_last)


@contextmanager
def faster(model: nn.Module, half: bool = True) -> Iterator[None]:
    """Let a model run its body in bfloat16 meanwhile, and give its outputs and decode its boxes in float32.

    Gradients arrive in float32, as the weights are. The model's class and state are untouched.
    """
    if not half:
        yield
        return
    head: Any = _head(model)
    predict, infer = model.predict, getattr(head, "_inference", None)

    def predicted(*args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", torch.bfloat16):
            return _float(predict(*args, **kwargs))  # type: ignore[operator]

    def inferred(maps: Any, *args: Any, **kwargs: Any) -> Any:
        with torch.autocast("cpu", enabled=False):  # a box in bfloat16 is off by up to a pixel in 256
            return infer(_float(maps), *args, **kwargs)  # type: ignore[misc]

    vars(model)["predict"] = predicted
    if infer is not None:
        vars(head)["_inference"] = inferred
    try:
        yield
    finally:
        del vars(model)["predict"]
        if infer is not None:
            del vars(head)["_inference"]


def _head(model: nn.Module) -> nn.Module:
    layers: Any = model.model
    head: nn.Module = layers[-1]
    return head


def _float(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.float() if value.dtype == torch.bfloat16 else value
    if isinstance(value, dict):
        return {key: _float(item) for key, item in value.items()}
    return type(value)(map(_float, value)) if isinstance(value, (list, tuple)) else value


def _tensors(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in _tensors(item)]
