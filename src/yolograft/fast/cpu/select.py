"""How to train on this machine's CPU: precision, memory format, fused operators and threads, selected by measurement.

Stock Ultralytics trains on a CPU in float32, NCHW, with one thread fewer than there are CPUs (`select_device`). The
alternatives are float32 or bfloat16 in the channels-last memory format, which suits oneDNN's convolutions, on all threads.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import torch
import ultralytics
from torch import Tensor, nn
from ultralytics.utils import LOGGER

from yolograft import __version__
from yolograft.atomic import atomic_write
from yolograft.errors import HostError
from yolograft.fast.cpu import batchnorm_silu, bf16, build
from yolograft.fast.cpu.private_cache import cache_folder
from yolograft.fast.modes import MIN_SPEEDUP
from yolograft.language import tr
from yolograft.modelyaml.load import host_yaml
from yolograft.threads import share

__all__ = ["Choice", "choose", "supported"]

_REPEATS = 3
_FREE_CORES = 0.25  # other processes may use this much more than the cores that a measurement leaves free
_disturbed: dict[str, list[float]] = {}  # measurements on a busy machine, by key: valid for this process only


@dataclass(frozen=True)
class Choice:
    """How a training runs on a CPU, and why.

    Attributes:
        threads: number of threads of PyTorch.
        bfloat16: whether the network's body runs in bfloat16.
        channels_last: whether weights and images have the channels-last memory format.
        why: the reason, for the log.
        fused: whether batch norm and SiLU are one operator. Needs bfloat16 and channels_last.
    """

    threads: int
    bfloat16: bool
    channels_last: bool
    why: str
    fused: bool = False

    def __str__(self) -> str:
        memory_format = "channels_last" if self.channels_last else "NCHW"
        fused = ", batch norm and SiLU in one" if self.fused else ""
        return f"{'bfloat16' if self.bfloat16 else 'float32'}, {memory_format}{fused}, {self.threads} threads"


def choose(model: nn.Module, imgsz: int, batch: int, mode: str = "auto") -> Choice:
    """Choose how to train a model on this machine's CPU. The model does not change.

    `auto` measures a training step of stock Ultralytics and of each alternative that this model and CPU support. It returns
    the fastest alternative, or stock if no alternative is clearly faster. The measurement is cached: later trainings of
    this host on this machine, with any graft, get the same choice, so that the same seed gives the same numbers.

    Args:
        model: an Ultralytics task model.
        imgsz: side of the images in pixels.
        batch: images per batch.
        mode: "auto", "stock", "float32" or "bfloat16".

    Raises:
        HostError: the mode is "bfloat16", and the model or the CPU does not support it.
    """
    stock = Choice(torch.get_num_threads(), False, False, tr("as stock Ultralytics"))
    if mode == "stock":
        return stock
    no_bfloat16 = bf16.unavailable_reason(model)
    if mode == "bfloat16" and no_bfloat16:
        raise HostError(tr("speed=bfloat16 cannot be used: {reason}. Say speed=float32, or auto.", reason=no_bfloat16))
    alternatives = [Choice(share(1), False, True, tr("set by name"))]
    if not no_bfloat16 and mode != "float32":
        unfused = batchnorm_silu.KERNEL.unavailable_reason()
        alternatives.append(Choice(share(1), True, True, tr("set by name") + _unfused_note(unfused), fused=not unfused))
    if mode != "auto":
        return alternatives[-1]
    seconds, note = _cached_measurement(model, imgsz, min(batch, 4), [stock, *alternatives])
    fastest = min(range(len(seconds)), key=lambda index: seconds[index])
    gains = [f"{'bfloat16' if one.bfloat16 else 'float32'} {seconds[0] / step:.2f}x"
             for one, step in zip(alternatives, seconds[1:], strict=True)]
    why = tr("speed compared with stock Ultralytics: {gains}{note}", gains=", ".join(gains), note=note)
    why += (tr("; no bfloat16, since {reason}", reason=no_bfloat16) if no_bfloat16
            else _unfused_note(batchnorm_silu.KERNEL.unavailable_reason()))
    if fastest == 0 or seconds[fastest] * MIN_SPEEDUP > seconds[0]:
        return replace(stock, why=tr("{why}; the gain over stock is too small", why=why))
    return replace(alternatives[fastest - 1], why=why)


def _unfused_note(reason: str) -> str:
    return tr("; batch norm and SiLU as two operators, since {reason}", reason=reason) if reason else ""


def supported(choice: Choice) -> Choice:
    """Return an interrupted training's choice, without the fused operator if this machine cannot run it.

    Batch norm and SiLU as two operators compute the same function, so the training continues in the same precision.
    """
    reason = batchnorm_silu.KERNEL.unavailable_reason() if choice.fused else ""
    if not reason:
        return choice
    LOGGER.info(tr("yolograft: the interrupted training ran batch norm and SiLU as one operator. This machine runs them as "
                   "two, since {reason}", reason=reason))
    return replace(choice, fused=False)


def _cached_measurement(model: nn.Module, imgsz: int, batch: int, choices: Sequence[Choice]) -> tuple[list[float], str]:
    """Return the seconds per step of each choice, measured once on this machine, and a note for the log."""
    config = {key: value for key, value in host_yaml(dict(model.yaml)).items() if key != "yaml_file"}  # type: ignore[arg-type]
    question = [build.cpu_features(), torch.__version__, ultralytics.__version__, __version__,
                json.dumps(config, default=str), imgsz, batch, *((one.threads, one.bfloat16, one.fused) for one in choices)]
    key = hashlib.sha256(repr(question).encode()).hexdigest()
    if key in _disturbed:
        return _disturbed[key], tr(" (measured in this process, while other processes used the machine)")
    try:
        file = cache_folder() / f"speed-{key[:16]}.json"
    except OSError as error:
        seconds = _disturbed[key] = _measure(model, imgsz, batch, choices)
        return seconds, _not_cached(error.strerror or str(error))
    cached = _read(file)
    if len(cached) == len(choices) and all(one > 0 for one in cached):
        return cached, tr(" (measured earlier; delete {file} to measure again)", file=file)
    started = _clocks()
    seconds = _measure(model, imgsz, batch, choices)
    wall, own, busy = (now - then for now, then in zip(_clocks(), started, strict=True))
    others, cores = max(0.0, busy - own) / wall, os.cpu_count() or 1
    if others + max(one.threads for one in choices) > cores + _FREE_CORES:
        _disturbed[key] = seconds  # so that the same seed gives the same numbers at least in this process
        return seconds, _not_cached(tr("since other processes used {used} of {cores} cores", used=f"{others:.1f}",
                                                cores=cores))
    text = json.dumps({"seconds": seconds, "ways": [str(one) for one in choices]})
    try:
        atomic_write(file, lambda part: part.write_text(text, encoding="utf-8"))
    except OSError as error:
        return seconds, _not_cached(error.strerror or str(error))
    return seconds, ""


def _read(file: Path) -> list[float]:
    """Return the seconds in a cache file, or an empty list if there is no readable file."""
    try:
        return [float(one) for one in json.loads(file.read_text(encoding="utf-8"))["seconds"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _not_cached(reason: str) -> str:
    return tr(" (not cached, {reason}: the next training may choose differently, unless you set speed by name)",
              reason=reason)


def _clocks() -> tuple[float, float, float]:
    """Return seconds: of the wall clock, of this process's CPU time, and of all processes' CPU time."""
    times = psutil.cpu_times()._asdict()
    return time.perf_counter(), time.process_time(), sum(times[key] for key in ("user", "nice", "system") if key in times)


def _measure(model: nn.Module, imgsz: int, batch: int, choices: Sequence[Choice]) -> list[float]:
    """Return the median seconds of a forward and backward pass for each choice. The choices take turns."""
    threads, times = torch.get_num_threads(), [list[float]() for _ in choices]
    copies = []
    for choice in choices:
        network = copy.deepcopy(model).float().train()
        for parameter in network.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        copies.append(bf16.to_channels_last(network) if choice.channels_last else network)
    try:
        with torch.random.fork_rng(devices=[]):
            images = torch.rand(batch, 3, imgsz, imgsz)
            for repeat in range(_REPEATS + 1):  # the first warms up
                for choice, network, own in zip(choices, copies, times, strict=True):
                    torch.set_num_threads(choice.threads)
                    x = bf16.images_to_channels_last(images) if choice.channels_last else images
                    started = time.perf_counter()
                    with bf16.bf16_body(network, choice.bfloat16, choice.fused):
                        outputs = network(x)
                    sum(value.float().mean() for value in _tensors(outputs) if value.requires_grad).backward()  # type: ignore[union-attr]
                    if repeat:
                        own.append(time.perf_counter() - started)
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(own) for own in times]


def _tensors(value: Any) -> list[Tensor]:
    """Return all tensors in a nested output."""
    if isinstance(value, Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, (list, tuple)) else ()
    return [tensor for item in items for tensor in _tensors(item)]
