"""Training as fast as a CPU allows: threads, bfloat16 and memory layout, chosen by what this machine is measured to do.

Stock Ultralytics trains on a CPU in float32, NCHW, with one thread fewer than there are (`select_device`). Here the
network's body runs in bfloat16, in the layout that oneDNN's convolutions like, on all threads, where that is measured to
be faster, with normalisation and activation as one operator (`norm_act`) where this machine can build it; weights, loss,
box decoding and the optimiser's state stay float32. `speed=stock` switches all of it off.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `BaseModel.forward` runs the network through `self.predict`;
`Detect.forward` decodes boxes in `self._inference`; a checkpoint holds the averaged model (EMA) and never `trainer.model`,
so what is set on the latter's instance is not saved; `trainer.validate` evaluates the EMA on what
`trainer.validator.dataloader` gives.
"""

from __future__ import annotations

import copy
import ctypes
import functools
import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import psutil
import torch
import ultralytics
from torch import Tensor, nn
from ultralytics.nn.modules import Detect
from ultralytics.utils import LOGGER

from yolograft import __version__
from yolograft.errors import HostError, nearest
from yolograft.fast import cache
from yolograft.fast.cpu import assigner_loss, batchnorm_silu, build, nms, upsample
from yolograft.fast.gpu import select as gpu_select
from yolograft.modelyaml.load import host_yaml
from yolograft.patch import patched
from yolograft.threads import share

__all__ = ["MODES", "Choice", "begin", "check", "choose", "dense", "evaluated", "faster", "keep_memory", "keep_threads",
           "laid_out", "stepping", "trained"]

MODES = ("auto", "stock", "float32", "bfloat16", *gpu_select.MODES)
_REPEATS = 3
_disturbed: dict[str, list[float]] = {}  # what was measured while others used the machine, by what was asked
_OTHERS = 0.25  # cores that others may use beyond those that are left to them, while what is measured is kept


@dataclass(frozen=True)
class Choice:
    """What a training uses, and why.

    Attributes:
        threads: of PyTorch.
        bfloat16: whether the network's body runs in it.
        channels_last: whether maps are laid out (B, H, W, C).
        why: in words, for the log.
        fused: whether normalisation and activation are one operator while training; with bfloat16 and channels_last.
    """

    threads: int
    bfloat16: bool
    channels_last: bool
    why: str
    fused: bool = False

    def __str__(self) -> str:
        layout = "channels_last" if self.channels_last else "NCHW"
        fused = ", batch norm and SiLU in one" if self.fused else ""
        return f"{'bfloat16' if self.bfloat16 else 'float32'}, {layout}{fused}, {self.threads} threads: {self.why}"


def check(mode: str) -> str:
    """Return the mode; raises `HostError` for one that is not known."""
    if mode not in MODES:
        raise HostError(f"speed={mode} is not known: {', '.join(MODES)}.{nearest(mode, MODES)}")
    return mode


def choose(model: nn.Module, imgsz: int, batch: int, mode: str = "auto") -> Choice:
    """Choose for a model that is about to be trained on this machine's CPU; the model is left as it is.

    `auto` measures a step in each way that this model and CPU can go and takes the fastest, or stock unless that is
    clearly slower. What it measured is kept: the next training of this host on this machine, whatever it carries, goes the
    same way, so that the same seed gives the same numbers.

    Args:
        model: an Ultralytics task model.
        imgsz: side of the pictures in pixels.
        batch: pictures in a batch.
        mode: one of `MODES`.

    Raises:
        HostError: bfloat16 is asked for where the model or the CPU cannot run it.
    """
    stock = Choice(torch.get_num_threads(), False, False, "as Ultralytics alone")
    if mode == "stock":
        return stock
    refused = ""
    if not isinstance(_head(model), Detect):
        refused = f"{type(_head(model)).__name__} does not decode boxes from maps"
    elif not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        refused = "this CPU has no bfloat16"
    if mode == "bfloat16" and refused:
        raise HostError(f"speed=bfloat16 cannot be: {refused}. Say speed=float32, or auto.")
    ways = [Choice(share(1), False, True, "as asked for")]
    if not refused and mode != "float32":
        apart = batchnorm_silu.refused()
        ways.append(Choice(share(1), True, True, f"as asked for{_apart(apart)}", fused=not apart))
    if mode != "auto":
        return ways[-1]
    seconds, when = _recalled(model, imgsz, min(batch, 4), [stock, *ways])
    taken = min(range(len(seconds)), key=lambda at: seconds[at])
    gains = [f"{'bfloat16' if way.bfloat16 else 'float32'} {seconds[0] / one:.2f}x"
             for way, one in zip(ways, seconds[1:], strict=True)]
    why = f"measured against stock's way{when}: {', '.join(gains)}"
    why += f"; no bfloat16, since {refused}" if refused else _apart(batchnorm_silu.refused())
    if taken == 0 or seconds[taken] * gpu_select.GAIN > seconds[0]:
        return replace(stock, why=f"{why}; too little to leave stock for")
    return replace(ways[taken - 1], why=why)


def _apart(reason: str) -> str:
    return f"; batch norm and SiLU apart, since {reason}" if reason else ""


def _recalled(model: nn.Module, imgsz: int, batch: int, ways: Sequence[Choice]) -> tuple[list[float], str]:
    """Return what was measured when this was first asked on this machine, and words for where that is kept."""
    config = {key: value for key, value in host_yaml(dict(model.yaml)).items() if key != "yaml_file"}  # type: ignore[arg-type]
    asked = [build.cpu(), torch.__version__, ultralytics.__version__, __version__, json.dumps(config, default=str), imgsz,
             batch, *((way.threads, way.bfloat16, way.fused) for way in ways)]
    key = hashlib.sha256(repr(asked).encode()).hexdigest()
    if key in _disturbed:
        return _disturbed[key], " in this process, while others used the machine"
    try:
        file = build.cache() / f"speed-{key[:16]}.json"
    except OSError as error:
        seconds = _disturbed[key] = _measured(model, imgsz, batch, ways)
        return seconds, f" (not kept, {error.strerror or error}: the next training may go another way)"
    try:
        kept = [float(one) for one in json.loads(file.read_text(encoding="utf-8"))["seconds"]]
    except (OSError, ValueError, KeyError, TypeError):  # not measured yet, or no longer readable
        kept = []
    if len(kept) == len(ways) and all(one > 0 for one in kept):
        return kept, f" once (delete {file} to measure again)"
    begun = _clocks()
    seconds = _measured(model, imgsz, batch, ways)
    wall, own, busy = (now - then for now, then in zip(_clocks(), begun, strict=True))
    others, cores = max(0.0, busy - own) / wall, os.cpu_count() or 1
    if others + max(way.threads for way in ways) > cores + _OTHERS:
        _disturbed[key] = seconds  # in this process, at least, the same seed gives the same numbers
        return seconds, (f" (not kept, since others used {others:.1f} of {cores} cores: the next training may go another "
                         "way, unless it is told)")
    draft = file.with_suffix(f".{os.getpid()}")
    try:
        draft.write_text(json.dumps({"seconds": seconds, "ways": [str(way) for way in ways]}), encoding="utf-8")
        os.replace(draft, file)
    except OSError as error:
        return seconds, f" (not kept, {error.strerror}: the next training may go another way)"
    return seconds, ""


def _clocks() -> tuple[float, float, float]:
    """Return seconds: the wall's, those that this process has computed for, and those that all cores of the machine have."""
    times = psutil.cpu_times()._asdict()
    return time.perf_counter(), time.process_time(), sum(times[key] for key in ("user", "nice", "system") if key in times)


def _measured(model: nn.Module, imgsz: int, batch: int, ways: Sequence[Choice]) -> list[float]:
    """Return the seconds that a step forward and back takes in each way, taking turns; medians."""
    threads, taken = torch.get_num_threads(), [list[float]() for _ in ways]
    twins = []
    for way in ways:
        twin = copy.deepcopy(model).float().train()
        for parameter in twin.parameters():
            parameter.requires_grad_(parameter.is_floating_point())
        twins.append(laid_out(twin) if way.channels_last else twin)
    try:
        with torch.random.fork_rng(devices=[]):
            pictures = torch.rand(batch, 3, imgsz, imgsz)
            for repeat in range(_REPEATS + 1):  # the first warms up
                for way, twin, times in zip(ways, twins, taken, strict=True):
                    torch.set_num_threads(way.threads)
                    given = pictures.to(memory_format=torch.channels_last) if way.channels_last else pictures
                    begun = time.perf_counter()
                    with faster(twin, way.bfloat16, way.fused):
                        outputs = twin(given)
                    sum(value.float().mean() for value in _tensors(outputs) if value.requires_grad).backward()  # type: ignore[union-attr]
                    if repeat:
                        times.append(time.perf_counter() - begun)
    finally:
        torch.set_num_threads(threads)
    return [statistics.median(times) for times in taken]


def begin(trainer: Any) -> None:
    """Choose for a trainer whose network is built, apply it to `trainer.model`, and say what was chosen."""
    if around := gpu_select.wrapped(vars(trainer.args)):
        LOGGER.info(f"yolograft: trained as Ultralytics alone does, since another way cannot be with {', '.join(around)}")
        return
    kept: Choice | None = getattr(trainer, "kept", None)  # what an interrupted run had chosen
    choice = _runnable(kept) if kept else choose(
        trainer.model, int(trainer.args.imgsz), int(trainer.batch_size), trainer.speed)
    torch.set_num_threads(choice.threads)
    if choice.channels_last and _steps_on_last(trainer.optimizer):
        laid_out(trainer.model)
    trainer.choice = choice
    LOGGER.info(f"yolograft: {choice} (speed=stock switches this off)")


def _runnable(kept: Choice) -> Choice:
    """Return the choice of an interrupted run, without the fused operator if this machine cannot run it.

    Batch norm and SiLU as two operators compute the same function, so that the training goes on in the same precision.
    """
    reason = batchnorm_silu.refused() if kept.fused else ""
    if not reason:
        return kept
    LOGGER.info(f"yolograft: the interrupted training ran batch norm and SiLU as one operator. This machine runs them as "
                f"two, since {reason}")
    return replace(kept, fused=False)


_keeping = 0  # how many `keep_memory` are entered
_M_MMAP_MAX, _M_TRIM_THRESHOLD = -4, -1  # of glibc's malloc.h


@contextmanager
def keep_memory() -> Iterator[None]:
    """Make the C library (glibc) keep freed memory; otherwise every step's maps are new pages, 15,000 page faults a step.

    Afterwards glibc's defaults are set again, or what `MALLOC_MMAP_MAX_` and `MALLOC_TRIM_THRESHOLD_` say, and unused
    memory is returned. One thing differs from a process that never called it: setting one of the two values, even to its
    default, ends glibc's automatic adjustment of the thresholds.
    """
    global _keeping
    libc = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(libc, "mallopt"):
        yield
        return
    _keeping += 1
    _set_malloc(libc, 0, 2**31 - 1)
    try:
        yield
    finally:
        _keeping -= 1
        if not _keeping:
            _set_malloc(libc, _told("MALLOC_MMAP_MAX_", 65536), _told("MALLOC_TRIM_THRESHOLD_", 128 * 1024))
            libc.malloc_trim(0)  # type: ignore[union-attr]


def _set_malloc(libc: Any, mmap_max: int, trim_threshold: int) -> None:
    libc.mallopt(_M_MMAP_MAX, mmap_max)
    libc.mallopt(_M_TRIM_THRESHOLD, trim_threshold)


def _told(name: str, default: int) -> int:
    """Return a number from the environment, or the default."""
    given = os.environ.get(name, "")
    return int(given) if given.isdecimal() else default


@contextmanager
def keep_threads() -> Iterator[None]:
    """Give PyTorch its present number of threads again afterwards."""
    before = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def trained(trainer: Any) -> Iterator[None]:
    """Let a trainer's network learn meanwhile as it was chosen."""
    choice: Choice | None = trainer.choice
    if choice is None or not choice.channels_last:
        yield
        return
    with keep_memory(), faster(trainer.model, choice.bfloat16, choice.fused), assigner_loss.quicker():
        yield


@contextmanager
def evaluated(trainer: Any) -> Iterator[None]:
    """Let a trainer evaluate a copy of its averaged model meanwhile, laid out and run as it was chosen.

    A copy, since the averaged model itself goes into the checkpoint.
    """
    choice: Choice | None = trainer.choice
    averaging = getattr(trainer, "ema", None)
    if choice is None or not choice.channels_last or averaging is None:
        yield
        return
    averaged, validator = averaging.ema, trainer.validator
    loader = validator.dataloader
    if trainer.twin is None:
        trainer.twin = laid_out(copy.deepcopy(averaged))
    else:
        trainer.twin.load_state_dict(averaged.state_dict())
    averaging.ema = trainer.twin
    kept: cache.Kept | None = trainer.batches_kept
    if kept is None or kept.loader is not loader:  # 8.4 builds another loader where memory ran out
        kept = trainer.batches_kept = cache.Kept(loader, dense)
    validator.dataloader = kept
    try:
        with faster(averaging.ema, choice.bfloat16, choice.fused), nms.quicker():
            yield
    finally:
        averaging.ema, validator.dataloader = averaged, loader


def dense(pictures: Tensor) -> Tensor:
    """Lay pictures (B, C, H, W) out channels-last. Autocast converts them to bfloat16 in the first convolution."""
    return pictures.contiguous(memory_format=torch.channels_last)


@contextmanager
def stepping(trainer: Any) -> Iterator[None]:
    """Let a trainer's optimiser step in one operator for all weights meanwhile, where that was chosen and it has one.

    A step of AdamW in PyTorch's own way on a CPU is a loop in Python over all weights. What a checkpoint says of the
    optimiser is the same either way.
    """
    choice: Choice | None = trainer.choice
    optimizer: Any = trainer.optimizer
    able = type(optimizer) in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW) and _at_once(type(optimizer).__name__)
    groups = [group for group in optimizer.param_groups
              if able and choice and choice.channels_last and group.get("fused", False) is None
              and all(_alike(weight, optimizer.state.get(weight, {})) for weight in group["params"])]
    for group in groups:
        group["fused"] = True
    try:
        yield
    finally:
        for group in groups:
            group["fused"] = None


def _steps_on_last(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether an optimiser can step on weights that lie channels-last, as not every version's MuSGD can."""
    if type(optimizer).__module__.startswith("torch."):
        return True
    groups = []
    for group in optimizer.param_groups:
        weight = nn.Parameter(torch.zeros(4, 4, 3, 3).contiguous(memory_format=torch.channels_last))
        weight.grad = torch.ones_like(weight)
        groups.append({**{key: value for key, value in group.items() if key != "params"}, "params": [weight]})
    try:
        type(optimizer)(groups).step()  # type: ignore[call-arg]
    except (RuntimeError, TypeError):
        return False
    return True


@functools.cache
def _at_once(name: str) -> bool:
    """Return whether PyTorch has an operator for the step of an optimiser of its own on a CPU, as from 2.4 on it has."""
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    optimizer = getattr(torch.optim, name)([weight], lr=0.1)
    optimizer.param_groups[0]["fused"] = True
    try:
        optimizer.step()
    except RuntimeError:
        return False
    return True


def _alike(weight: Tensor, state: dict[str, Any]) -> bool:
    """Return whether weight, gradient and state lie alike in memory, which PyTorch's operator takes for granted."""
    others = [weight.grad, *(value for value in state.values() if isinstance(value, Tensor) and value.dim())]
    return weight.dtype == torch.float32 and all(
        one is None or (one.dtype == weight.dtype and _strides(one) == _strides(weight)) for one in others)


def _strides(tensor: Tensor) -> list[int]:
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]


def laid_out(model: nn.Module) -> nn.Module:
    """Lay a model's weights out channels-last, in place; returns it."""
    return model.to(memory_format=torch.channels_last)


@contextmanager
def faster(model: nn.Module, half: bool = True, fused: bool = False) -> Iterator[None]:
    """Let a model run its body in bfloat16 meanwhile, and give its outputs and decode its boxes in float32.

    Gradients arrive in float32, as the weights are. The model's class and state are untouched.

    Args:
        model: an Ultralytics task model with a `Detect` head; channels-last, for speed.
        half: whether to do so at all.
        fused: whether to normalise and activate in one operator as well.
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

    decoding = [] if infer is None else [(head, "_inference", inferred)]
    with (patched((model, "predict", predicted), *decoding), batchnorm_silu.fused(model) if fused else nullcontext(),
          upsample.quicker(model)):
        yield


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
