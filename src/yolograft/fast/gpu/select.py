"""Training as fast as one GPU allows: images that stay on the device, fewer kernel launches, selected by measurement.

`speed=resident` keeps the data set on the device (`resident_dataset`), on any device. On a GPU it also uses PyTorch's fused
optimizer, and averages the weights (EMA) in one launch where Ultralytics does not. `speed=graphed` also runs the network as
a CUDA graph (`cuda_graph`). `speed=auto` on a GPU times some steps in each mode, and leaves stock only for a mode that is at
least 1.2 times as fast. Mixed precision and the memory format are those of stock Ultralytics.

What this relies on in Ultralytics (8.3.0 to 8.4.x): at `on_pretrain_routine_end` the trainer has `train_loader`,
`test_loader`, `validator.dataloader`, `optimizer` and `ema`, and `_do_train` reads them again afterwards. Up to some 8.3.x
`ModelEMA.update` averages tensor by tensor; later versions keep their pairs of tensors in `_pairs`.
"""

from __future__ import annotations

import copy
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn
from ultralytics.utils import LOGGER, RANK

from yolograft.errors import HostError
from yolograft.fast import cache
from yolograft.fast.gpu import cuda_graph, resident_dataset
from yolograft.fast.gpu.resident_dataset import ResidentImages, ResidentLoader
from yolograft.fast.modes import GPU_MODES, MIN_SPEEDUP, wrapping_arguments
from yolograft.language import tr
from yolograft.patch import patched
from yolograft.seeding import seeded_rng

__all__ = ["autocast_dtype", "choose", "patch_ema", "patch_network", "replace_loaders",
           "ungraphable_arguments", "use_fused_optimizer"]

_STEPS = 40  # steps of a measurement, which ends earlier after _SECONDS
_SECONDS = 10.0
_FUSED = ("SGD", "Adam", "AdamW")


def ungraphable_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Return the train arguments that exclude a CUDA graph: they wrap the network or freeze a part of it."""
    return wrapping_arguments(settings, "freeze")


def choose(trainer: Any, mode: str) -> tuple[str, ResidentImages | None]:
    """Return "stock", "resident" or "graphed", and the images on the device unless it is "stock". Logs the reason.

    Args:
        trainer: one whose network and loaders exist, before its first step.
        mode: `speed`.

    Raises:
        HostError: a mode was set by name and cannot be used.
    """
    reason, is_named = _unavailable_reason(trainer, mode), mode in GPU_MODES
    if is_named and reason:
        raise HostError(tr("speed={mode} cannot be used: {reason}. Say speed=stock, or auto on a GPU.", mode=mode,
                           reason=reason))
    chosen, why, images = "stock", reason, None
    if not reason:
        images = resident_dataset.load_images(trainer.train_loader.dataset, trainer.device)
        chosen, why = (mode, tr("set by name")) if is_named else _choose_by_measurement(trainer, images)
    if mode == "graphed" and images is not None and (difference := _verify_capture(trainer, images)):
        raise HostError(tr("speed=graphed cannot be used: the CUDA graph of this network is not reliable, since "
                           "{difference}. Say speed=resident.", difference=difference))
    if chosen == "stock" or images is None:
        LOGGER.info(tr("yolograft: the images stay in Ultralytics' loader: {why}", why=why))
        return "stock", None
    size = images.table.numel() * 4 / 2**20
    LOGGER.info(tr("yolograft: {chosen}, {count} training images in {size:.0f} MiB on {device}: {why} (speed=stock "
                   "switches this off)", chosen=chosen, count=len(images.sizes), size=size, device=trainer.device,
                   why=why))
    return chosen, images


def _unavailable_reason(trainer: Any, mode: str) -> str:
    if trainer.device.type not in ("cpu", "cuda"):
        return tr("device={device} is neither a CPU nor a CUDA device", device=trainer.device)
    if mode == "graphed" and trainer.device.type != "cuda":
        return tr("CUDA graphs need a CUDA device, and this is device={device}", device=trainer.device)
    if RANK != -1:
        return tr("the training runs on several GPUs")
    dataset = trainer.train_loader.dataset
    if found := resident_dataset.unsupported(dataset, vars(trainer.args)):
        return tr("a resident data set does not support {found}", found=", ".join(found))
    needed, free = resident_dataset.required_bytes(dataset), resident_dataset.free_memory(trainer.device)
    if needed > resident_dataset.MEMORY_FRACTION * free:
        return tr("the images need {needed:.0f} MiB, and may take {fraction:.0%} of the {free:.0f} MiB that are free on "
                  "{device}", needed=needed / 2**20, fraction=resident_dataset.MEMORY_FRACTION, free=free / 2**20,
                  device=trainer.device)
    return ""


def replace_loaders(trainer: Any, images: ResidentImages) -> None:
    """Replace the trainer's loaders by loaders whose batches are on the device."""
    stock = trainer.train_loader
    stock.iterator = None  # ends its worker processes
    trainer.train_loader = ResidentLoader(stock, trainer, images)
    free = resident_dataset.free_memory(trainer.device)
    if resident_dataset.required_bytes(trainer.test_loader.dataset) > resident_dataset.MEMORY_FRACTION * free:
        LOGGER.info(tr("yolograft: the validation images stay in the loader: the device has too little free memory"))
        return
    trainer.test_loader = cache.CachedLoader(trainer.test_loader, lambda batch: batch.to(trainer.device), sys.maxsize)
    if getattr(trainer, "validator", None) is not None:
        trainer.validator.dataloader = trainer.test_loader


def use_fused_optimizer(optimizer: torch.optim.Optimizer) -> None:
    """Make an optimizer update all weights in one launch, if PyTorch has a fused version of it."""
    if type(optimizer).__name__ not in _FUSED or not type(optimizer).__module__.startswith("torch."):
        return
    for group in optimizer.param_groups:
        group["fused"], group["foreach"] = True, False
    for weight, state in optimizer.state.items():
        if isinstance(state.get("step"), torch.Tensor):  # the unfused version keeps this counter on the CPU
            state["step"] = state["step"].to(weight.device, torch.float32)


@contextmanager
def patch_ema(ema: Any) -> Iterator[None]:
    """Make a `ModelEMA` average all weights in one launch inside a `with` block."""
    pairs: list[tuple[list[Any], list[Any]]] = []

    def update(model: nn.Module) -> None:
        if not ema.enabled:
            return
        ema.updates += 1
        if not pairs:
            state, averages = getattr(model, "_orig_mod", model).state_dict(), ema.ema.state_dict()
            names = [name for name, value in averages.items() if value.dtype.is_floating_point]
            pairs.append(([averages[name] for name in names], [state[name] for name in names]))
        torch._foreach_lerp_(*pairs[0], 1 - ema.decay(ema.updates))

    with patched((ema, "update", update)):
        yield


@contextmanager
def patch_network(trainer: Any, mode: str) -> Iterator[None]:
    """Run a trainer's network as a CUDA graph inside a `with` block, if the mode is "graphed"."""
    if mode != "graphed":
        yield
        return
    with _graphed(trainer, trainer.model.train()):
        yield


def _graphed(trainer: Any, model: Any) -> Any:
    side = int(trainer.args.imgsz)
    shape = int(trainer.train_loader.batch_size), 3, side, side
    return cuda_graph.patch_predict(model, shape, autocast_dtype(trainer), torch.cuda.make_graphed_callables)


def autocast_dtype(trainer: Any) -> torch.dtype | None:
    """Return the data type of a trainer's mixed precision, or None for float32."""
    if not trainer.amp:
        return None
    return torch.bfloat16 if trainer.args.amp == "bf16" or trainer.device.type == "cpu" else torch.float16


def _verify_capture(trainer: Any, images: ResidentImages) -> str:
    if arguments := ungraphable_arguments(vars(trainer.args)):
        return tr("{arguments} excludes it", arguments=", ".join(arguments))
    given = ResidentLoader(trainer.train_loader, trainer, images).batches(0, 0)
    batches = [trainer.preprocess_batch(batch) for _, batch in zip(range(2), given, strict=False)]
    if len(batches) < 2 or batches[0]["img"].shape != batches[1]["img"].shape:
        return tr("an epoch has fewer than two full batches")
    return cuda_graph.verify_capture(copy.deepcopy(trainer.model).train(), batches,
                                     autocast_dtype(trainer), torch.cuda.make_graphed_callables)


def _choose_by_measurement(trainer: Any, images: ResidentImages) -> tuple[str, str]:
    """Time some steps in each mode. Returns the mode to use, and why."""
    devices = [trainer.device] if trainer.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), seeded_rng("pace"):
        trial: Any = copy.deepcopy(trainer.model).train()
        resident = ResidentLoader(trainer.train_loader, trainer, images)
        # another stock loader, since the training's own must start at its first batch
        batch = trainer.train_loader.batch_size
        stock = trainer.get_dataloader(trainer.data["train"], batch_size=batch, rank=-1, mode="train")
        seconds = {"stock": _step_seconds(trainer, trial, stock), "resident": _step_seconds(trainer, trial, resident)}
        reason = _verify_capture(trainer, images) if trainer.device.type == "cuda" else tr("there is no CUDA device")
        if not reason:
            with _graphed(trainer, trial):
                seconds["graphed"] = _step_seconds(trainer, trial, resident)
    chosen = min(seconds, key=lambda mode: seconds[mode])
    times = ", ".join(f"{1000 * value:.1f} ms {mode}" for mode, value in seconds.items())
    why = tr("a step took {times}", times=times)
    why += tr("; no CUDA graph, since {reason}", reason=reason) if reason else ""
    if chosen == "stock" or seconds[chosen] * MIN_SPEEDUP > seconds["stock"]:
        return "stock", tr("{why}; the gain over stock is too small", why=why)
    return chosen, why


def _step_seconds(trainer: Any, model: Any, loader: Any) -> float:
    """Return the mean seconds of a step with its batch, loss and gradients, without the first step."""
    dtype, started, steps = autocast_dtype(trainer), 0.0, -1
    synchronize = torch.cuda.synchronize if trainer.device.type == "cuda" else lambda: None
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(trainer.device.type, dtype) if dtype else nullcontext())
        for batch in _repeat(loader):
            loss = model(trainer.preprocess_batch(batch))[0].sum()
            loss.backward()
            model.zero_grad()
            steps += 1
            synchronize()
            if steps == 0:
                started = time.perf_counter()
            elif steps == _STEPS or time.perf_counter() - started > _SECONDS:
                break
    return (time.perf_counter() - started) / steps


def _repeat(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader
