"""Training as fast as one GPU allows: pictures that lie there, one launch where there were many, chosen by measurement.

`speed=resident` keeps the data set on the device (`resident`), on any device; on a GPU it also takes PyTorch's fused
optimiser, and averages the weights in one launch where Ultralytics did not yet. `speed=graphed` runs the network as a CUDA
graph as well (`graphs`). `speed=auto` on a GPU times some steps in each way, and leaves stock's only for one that is at
least 1.2 times as fast. Mixed precision and channels-last maps are stock's own there.

What this relies on in Ultralytics (8.3.0 to 8.4.x): at `on_pretrain_routine_end` the trainer has `train_loader`,
`test_loader`, `validator.dataloader`, `optimizer` and `ema`, and `_do_train` looks them up again; up to some 8.3.x
`ModelEMA.update` averages tensor by tensor, later ones keep their pairs in `_pairs`.
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
from yolograft.seeding import seeded_rng

__all__ = ["GAIN", "MODES", "begin", "check", "replace_loaders", "running", "wrapped"]

MODES = ("resident", "graphed")
_CPU_ALONE = ("float32", "bfloat16")
GAIN = 1.2  # times that another way must be faster than stock: what is near one might flip between two runs
_STEPS = 40  # that a pace is measured over, within
_SECONDS = 10.0
_FUSED = ("SGD", "Adam", "AdamW")


def check(mode: str, settings: Mapping[str, Any], *, here: bool = True) -> None:
    """Raise `HostError` if a way that was asked for by name cannot follow the train arguments, or not on this machine.

    Args:
        mode: any `speed`.
        settings: the train arguments.
        here: whether the training is to be on this machine.
    """
    device = str(settings.get("device")).lower()
    if device in ("none", ""):
        device = "0" if here and torch.cuda.is_available() else "cpu"
    if mode in _CPU_ALONE and device != "cpu":
        raise HostError(f"speed={mode} is a way to train on a CPU, and this training is on device={device}. Say "
                        f"speed=auto, {', '.join(MODES)} or stock there, or device=cpu.")
    if mode in _CPU_ALONE and (refused := wrapped(settings)):
        raise HostError(f"speed={mode} cannot be with {', '.join(refused)}. Leave that out, or say speed=stock.")
    if mode not in MODES:
        return
    if here and mode == "graphed" and not torch.cuda.is_available():
        raise HostError("speed=graphed needs a CUDA device, and PyTorch finds none here. Say speed=resident, or stock.")
    if refused := resident_dataset.unsupported(settings) + (_ungraphed(settings) if mode == "graphed" else []):
        raise HostError(f"speed={mode} cannot be with {', '.join(refused)}. Leave that out, or say speed=stock.")


def wrapped(settings: Mapping[str, Any], *more: str) -> list[str]:
    """Return the train arguments under which another module stands around the network: compiled, or beside its teacher.

    Those of `more` that are set come after them.
    """
    return [f"{key}={settings[key]}" for key in ("compile", "distill_model", *more) if settings.get(key)]


def _ungraphed(settings: Mapping[str, Any]) -> list[str]:
    """Return the train arguments under which a network is not run as a graph: wrapped, or in part not training."""
    return wrapped(settings, "freeze")


def begin(trainer: Any) -> None:
    """Choose for a trainer that is about to train, apply it, and say what was chosen; the way is in `trainer.way`.

    Raises:
        HostError: a way that was asked for by name cannot be gone.
    """
    asked, reason = trainer.speed, _refused(trainer)
    named = asked in MODES
    if named and reason:
        raise HostError(f"speed={asked} cannot be: {reason}. Say speed=stock, or auto on a GPU.")
    way, why = "stock", reason
    if not reason:
        trainer.pictures = resident_dataset.hold(trainer.train_loader.dataset, trainer.device)
        way, why = (asked, "as asked for") if named else _choose(trainer)
    if asked == "graphed" and (doubt := _doubts(trainer)):
        raise HostError(f"speed=graphed cannot be: the graph of this network cannot be believed, since {doubt}. "
                        "Say speed=resident.")
    trainer.way = way
    if way == "stock":
        trainer.pictures = None
        LOGGER.info(f"yolograft: the pictures stay in Ultralytics' loader: {why}")
        return
    size = trainer.pictures.table.numel() * 4 / 2**20
    LOGGER.info(f"yolograft: {way}, {len(trainer.pictures.sizes)} training pictures in {size:.0f} MiB on {trainer.device}: "
                f"{why} (speed=stock switches this off)")
    replace_loaders(trainer)
    if trainer.device.type == "cuda":
        fuse(trainer.optimizer)
    if not hasattr(trainer.ema, "_pairs"):
        average_at_once(trainer.ema)


def _refused(trainer: Any) -> str:
    if trainer.device.type not in ("cpu", "cuda"):
        return f"device={trainer.device} is neither a CPU nor a CUDA device"
    if trainer.speed == "graphed" and trainer.device.type != "cuda":
        return f"CUDA graphs need a CUDA device, and this is device={trainer.device}"
    if RANK != -1:
        return "the training runs on several GPUs"
    dataset = trainer.train_loader.dataset
    if found := resident_dataset.refusals(dataset, vars(trainer.args)):
        return f"pictures on the device cannot follow {', '.join(found)}"
    needed, free = resident_dataset.size_of(dataset), resident_dataset.free_memory(trainer.device)
    if needed > resident_dataset.SHARE * free:
        return (f"the pictures need {needed / 2**20:.0f} MiB, and may take {resident_dataset.SHARE:.0%} of the "
                f"{free / 2**20:.0f} MiB that are free on {trainer.device}")
    return ""


def replace_loaders(trainer: Any) -> None:
    """Put the loaders that give what is on the device in place of the trainer's."""
    if trainer.pictures is None:
        return
    stock = trainer.train_loader
    stock.iterator = None  # with which its worker processes end
    trainer.train_loader = resident_dataset.ResidentLoader(stock, trainer, trainer.pictures)
    free = resident_dataset.free_memory(trainer.device)
    if resident_dataset.size_of(trainer.test_loader.dataset) > resident_dataset.SHARE * free:
        LOGGER.info("yolograft: the validation pictures stay in the loader, for want of memory")
        return
    trainer.test_loader = cache.Kept(trainer.test_loader, lambda pictures: pictures.to(trainer.device), sys.maxsize)
    if getattr(trainer, "validator", None) is not None:
        trainer.validator.dataloader = trainer.test_loader


def fuse(optimizer: torch.optim.Optimizer) -> None:
    """Let an optimiser update all weights in one launch, where PyTorch has that for its kind."""
    if type(optimizer).__name__ not in _FUSED or not type(optimizer).__module__.startswith("torch."):
        return
    for group in optimizer.param_groups:
        group["fused"], group["foreach"] = True, False
    for weight, state in optimizer.state.items():
        if isinstance(state.get("step"), torch.Tensor):  # which otherwise counts on the host
            state["step"] = state["step"].to(weight.device, torch.float32)


def average_at_once(averaging: Any) -> None:
    """Let a `ModelEMA` average all weights in one launch."""
    pairs: list[tuple[list[Any], list[Any]]] = []

    def update(model: nn.Module) -> None:
        if not averaging.enabled:
            return
        averaging.updates += 1
        if not pairs:
            state, kept = getattr(model, "_orig_mod", model).state_dict(), averaging.ema.state_dict()
            names = [name for name, value in kept.items() if value.dtype.is_floating_point]
            pairs.append(([kept[name] for name in names], [state[name] for name in names]))
        torch._foreach_lerp_(*pairs[0], 1 - averaging.decay(averaging.updates))

    averaging.update = update


@contextmanager
def running(trainer: Any) -> Iterator[None]:
    """Let a trainer's network run in the way that was chosen meanwhile."""
    if getattr(trainer, "way", "stock") != "graphed":
        yield
        return
    with cuda_graph.graphed(trainer.model.train(), _shape(trainer), _half(trainer), torch.cuda.make_graphed_callables):
        yield


def _shape(trainer: Any) -> tuple[int, int, int, int]:
    side = int(trainer.args.imgsz)
    return int(trainer.train_loader.batch_size), 3, side, side


def _half(trainer: Any) -> torch.dtype | None:
    if not trainer.amp:
        return None
    return torch.bfloat16 if trainer.args.amp == "bf16" or trainer.device.type == "cpu" else torch.float16


def _resident(trainer: Any) -> resident_dataset.ResidentLoader:
    return resident_dataset.ResidentLoader(trainer.train_loader, trainer, trainer.pictures)


def _doubts(trainer: Any) -> str:
    if refused := _ungraphed(vars(trainer.args)):
        return f"there is {', '.join(refused)}"
    given = _resident(trainer).batches(0, 0)
    batches = [trainer.preprocess_batch(batch) for _, batch in zip(range(2), given, strict=False)]
    if len(batches) < 2 or batches[0]["img"].shape != batches[1]["img"].shape:
        return "an epoch has fewer than two whole batches"
    return cuda_graph.doubts(copy.deepcopy(trainer.model).train(), batches,
                             _half(trainer), torch.cuda.make_graphed_callables)


def _choose(trainer: Any) -> tuple[str, str]:
    """Time some steps in each way, and return the way to go and why."""
    devices = [trainer.device] if trainer.device.type == "cuda" else []
    with torch.random.fork_rng(devices=devices), seeded_rng("pace"):
        twin: Any = copy.deepcopy(trainer.model).train()
        # a loader of its own, so that the training's has given nothing yet
        batch = trainer.train_loader.batch_size
        stock = trainer.get_dataloader(trainer.data["train"], batch_size=batch, rank=-1, mode="train")
        paces = {"stock": _pace(trainer, twin, stock), "resident": _pace(trainer, twin, _resident(trainer))}
        doubt = _doubts(trainer) if trainer.device.type == "cuda" else "there is no CUDA device"
        if not doubt:
            with cuda_graph.graphed(twin, _shape(trainer), _half(trainer), torch.cuda.make_graphed_callables):
                paces["graphed"] = _pace(trainer, twin, _resident(trainer))
    way = min(paces, key=lambda one: paces[one])
    why = "a step took " + ", ".join(f"{1000 * pace:.1f} ms {name}" for name, pace in paces.items())
    why += f"; no graph, since {doubt}" if doubt else ""
    if way == "stock" or paces[way] * GAIN > paces["stock"]:
        return "stock", f"{why}; too little to leave stock for"
    return way, why


def _pace(trainer: Any, model: Any, loader: Any) -> float:
    """Return the seconds of a step, its batch, loss and gradients included, after the first."""
    half, begun, steps = _half(trainer), 0.0, -1
    wait = torch.cuda.synchronize if trainer.device.type == "cuda" else lambda: None
    with ExitStack() as stack:
        stack.enter_context(torch.autocast(trainer.device.type, half) if half else nullcontext())
        for batch in _again(loader):
            loss = model(trainer.preprocess_batch(batch))[0].sum()
            loss.backward()
            model.zero_grad()
            steps += 1
            wait()
            if steps == 0:
                begun = time.perf_counter()
            elif steps == _STEPS or time.perf_counter() - begun > _SECONDS:
                break
    return (time.perf_counter() - begun) / steps


def _again(loader: Any) -> Iterator[Any]:
    while True:
        yield from loader
