"""Which parts of a network give values that float16 cannot hold, and a callback that says so in a training.

The network runs in bfloat16, which has float32's range, and the largest magnitude of each operator's bfloat16 output is
compared with float16's largest number. What a block computes in float32 on purpose, such as a sum of squares, has the type
float32 here as in float16, and does not count. So the test needs neither a GPU nor kernels for float16 on the CPU.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a trainer has `amp`, `tloss` (the mean losses of the epoch), `metrics`
and `test_loader`, whose data set gives {"img": (3, H, W) uint8, ...}. `on_fit_epoch_end` runs after each validation.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from yolograft import attach
from yolograft.host.log import warn
from yolograft.language import tr
from yolograft.sites import rows

__all__ = ["LIMIT", "Peak", "asks_for_half", "first_overflow", "half_text", "overflow_text", "peaks", "say_overflow"]

LIMIT = 65504.0  # the largest finite number of float16


@dataclass(frozen=True, kw_only=True)
class Peak:
    """The largest value that float16 would have to hold in one part of a network.

    Attributes:
        part: the name of a row (`model.8`) or of a block (`model.8.graft.0`).
        block: whether it is a block that was grafted.
        operator: the operator that gave the value, such as `convolution`.
        magnitude: its absolute value; infinite if it is not finite.
    """

    part: str
    block: bool
    operator: str
    magnitude: float

    @property
    def overflows(self) -> bool:
        """Whether float16 turns the value into infinity."""
        return not self.magnitude <= LIMIT


class _PeakRecorder(TorchDispatchMode):
    """Records the largest magnitude of the 16-bit outputs of all operators, for each part of the network."""

    def __init__(self) -> None:
        super().__init__()
        self.stack: list[str] = []
        self.found: dict[str, tuple[float, str]] = {}
        self.overflowed: dict[str, None] = {}  # parts, in the order in which they overflowed

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # else newer versions of PyTorch wrap __torch_dispatch__ for the compiler

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run an operator and record its largest 16-bit value."""
        result = func(*args, **(kwargs or {}))
        if self.stack and func not in _COPIES:
            for leaf in tree_leaves(result):
                if isinstance(leaf, Tensor) and leaf.dtype in (torch.bfloat16, torch.float16) and leaf.numel():
                    self._record(float(leaf.detach().abs().amax()), func)
        return result

    def _record(self, magnitude: float, func: Any) -> None:
        magnitude = magnitude if magnitude == magnitude else float("inf")  # NaN
        part = self.stack[-1]
        if part not in self.found or magnitude > self.found[part][0]:
            self.found[part] = (magnitude, func._overloadpacket.__name__.strip("_"))
            if magnitude > LIMIT:
                self.overflowed.setdefault(part)


_COPIES = (torch.ops.aten.empty.memory_format, torch.ops.aten.empty_like.default, torch.ops.aten.new_empty.default,
           torch.ops.aten.empty_strided.default)  # their values are whatever was in the memory


def peaks(network: nn.Module, images: Tensor, *, autocast: bool = False) -> list[Peak]:
    """Return the largest 16-bit value of each row and each block of an Ultralytics network, in the order of the modules.

    Args:
        network: an Ultralytics task model. It is not changed.
        images: (B, 3, H, W) from 0 to 1.
        autocast: as in a training with AMP, where weights stay float32; otherwise as in an export with `half=True`.
    """
    recorder, carriers, order = _record(network, images, autocast)
    return [_peak(recorder, part, carriers) for part in sorted(recorder.found, key=order.index)]


def first_overflow(network: nn.Module, images: Tensor, *, autocast: bool = False) -> Peak | None:
    """Return the part whose values overflow float16 first in a forward pass, or None. Arguments as in `peaks`."""
    recorder, carriers, _ = _record(network, images, autocast)
    return next((_peak(recorder, part, carriers) for part in recorder.overflowed), None)


def _peak(recorder: _PeakRecorder, part: str, carriers: Mapping[str, nn.Module]) -> Peak:
    magnitude, operator = recorder.found[part]
    return Peak(part=part, block=part in carriers, operator=operator, magnitude=magnitude)


def _record(network: nn.Module, images: Tensor, autocast: bool) -> tuple[_PeakRecorder, dict[str, nn.Module], list[str]]:
    copied = copy.deepcopy(network).eval()
    copied = copied.float() if autocast else copied.to(torch.bfloat16)
    device = next(copied.parameters()).device
    images = images.to(device, torch.float32 if autocast else torch.bfloat16)
    recorder = _PeakRecorder()
    context = torch.autocast(device.type, dtype=torch.bfloat16) if autocast else nullcontext()
    with torch.no_grad(), _parts_on(copied, recorder.stack), context, recorder:
        copied(images)
    return recorder, attach.grafts(copied), [name for name, _ in copied.named_modules()]


def say_overflow(trainer: Any) -> None:
    """Callback of `on_fit_epoch_end`: warn once if an epoch with AMP failed because values overflowed float16.

    An epoch has failed if its losses are not finite or all its metrics are 0. Then the network runs once more, on one
    validation image.
    """
    if not getattr(trainer, "amp", False) or getattr(trainer, "has_said_overflow", False) or not _has_failed(trainer):
        return
    model = getattr(trainer.model, "module", trainer.model)
    image = trainer.test_loader.dataset[0]["img"]
    peak = first_overflow(model, image[None].float() / 255, autocast=True)
    if peak is not None:
        trainer.has_said_overflow = True
        warn(overflow_text(peak))


def _has_failed(trainer: Any) -> bool:
    losses = torch.as_tensor(trainer.tloss if trainer.tloss is not None else 0.0)
    metrics = [float(value) for key, value in (trainer.metrics or {}).items() if key.startswith("metrics/")]
    return not bool(losses.isfinite().all()) or (bool(metrics) and not any(metrics))


def overflow_text(peak: Peak) -> str:
    """Return one line that says which part overflows float16, and what helps."""
    part = tr("the block {part}", part=peak.part) if peak.block else tr("the layer {part}", part=peak.part)
    return tr("the losses or metrics of this epoch are unusable because {part} gives values up to {magnitude} (in "
              "{operator}), and float16 ends at 65504. Train with amp=False.", part=part, magnitude=f"{peak.magnitude:.3g}",
              operator=peak.operator)


def asks_for_half(arguments: Any) -> bool:
    """Return whether arguments, a mapping or those of a validator, ask for float16: `half`, or newer `quantize=16`."""
    values = arguments if isinstance(arguments, Mapping) else vars(arguments)
    return values.get("half") is True or str(values.get("quantize")).lower() in ("16", "fp16")


def half_text(network: nn.Module, images: Tensor) -> str:
    """Return a warning if a part of a network gives values that float16 cannot hold, or "". Arguments as in `peaks`."""
    try:
        over = [peak for peak in peaks(network, images) if peak.overflows]
    except (RuntimeError, TypeError):  # an operator without a kernel for bfloat16, or another kind of input
        return ""
    if not over:
        return ""
    largest = max(over, key=lambda peak: (peak.block, peak.magnitude))
    part = tr("the block {part}", part=largest.part) if largest.block else tr("the layer {part}", part=largest.part)
    return tr("in half precision {part} gives values up to {magnitude} (in {operator}), and float16 ends at 65504: the "
              "results are wrong. Leave half=True out.", part=part, magnitude=f"{largest.magnitude:.3g}",
              operator=largest.operator)


@contextmanager
def _parts_on(network: nn.Module, stack: list[str]) -> Iterator[None]:
    """Keep the name of the innermost row or block that is running on top of a stack."""
    names = [*(row.name for row in rows(network)), *attach.grafts(network)]
    handles = []
    for name in names:
        module = network.get_submodule(name)

        def enter(*_: Any, name: str = name) -> None:
            stack.append(name)

        def leave(*_: Any) -> None:
            stack.pop()

        handles += [module.register_forward_pre_hook(enter, prepend=True), module.register_forward_hook(leave)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
