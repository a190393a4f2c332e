"""How well a constant per channel describes a block on given data: y = s x, or y = s x + b.

The constants are least squares over all positions of all images, from sums that each batch adds to. So they need no
knowledge of the block: a spatial gate that is 1 everywhere is a constant, and one that varies is not.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from yolograft.analysis.gates import Place, observed

__all__ = ["EXACT", "Constant", "FixedGate", "Observation", "identity", "observe_constants"]

EXACT = 1e-6  # relative error below which a block is a constant: float32 rounds by 6e-8


@dataclass(frozen=True, kw_only=True, eq=False)
class Constant:
    """What describes a block best: y = factor x + offset.

    Attributes:
        factor, offset: (C,) in float64.
        error: the largest root mean square of a channel's error, relative to the root mean square of the block's output.
        varies: along what the rest varies: `image` (the block is nearly a constant in each image), `position`, or "" if the
            error is below `EXACT`.
    """

    factor: Tensor
    offset: Tensor
    error: float
    varies: str

    @property
    def is_identity(self) -> bool:
        """Whether the block returns its input."""
        return bool(((self.factor - 1).abs() <= EXACT).all()) and not bool(self.offset.any())


def identity(channels: int) -> Constant:
    """Return the constant of a block that returns its input."""
    return Constant(factor=torch.ones(channels, dtype=torch.float64), offset=torch.zeros(channels, dtype=torch.float64),
                    error=0.0, varies="")


class FixedGate(nn.Module):
    """y = factor x + offset, channel by channel: takes the place of a block in order to compare networks."""

    factor: Tensor
    offset: Tensor

    def __init__(self, constant: Constant) -> None:
        super().__init__()
        self.register_buffer("factor", constant.factor.view(1, -1, 1, 1))
        self.register_buffer("offset", constant.offset.view(1, -1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Scale and shift x: (B, C, H, W)."""
        return x * self.factor.to(x) + self.offset.to(x)


class _Sums:
    """Sums per channel over everything that a block has seen."""

    def __init__(self, channels: int) -> None:
        self.count, self.within = 0, torch.zeros(channels, dtype=torch.float64)
        self.x, self.y, self.xx, self.xy, self.yy = (torch.zeros(channels, dtype=torch.float64) for _ in range(5))

    def add(self, x: Tensor, y: Tensor) -> None:
        x, y = x.double().flatten(2), y.double().flatten(2)
        self.count += x.shape[0] * x.shape[2]
        xx, xy, yy = x.square().sum(2), (x * y).sum(2), y.square().sum(2)
        self.within += (yy - xy.square() / xx.clamp(min=1e-300)).sum(0).cpu()  # error of one constant for each image
        for total, one in ((self.x, x.sum(2)), (self.y, y.sum(2)), (self.xx, xx), (self.xy, xy), (self.yy, yy)):
            total += one.sum(0).cpu()

    def merge(self, other: _Sums) -> None:
        self.count += other.count
        for name in ("within", "x", "y", "xx", "xy", "yy"):
            setattr(self, name, getattr(self, name) + getattr(other, name))

    def constant(self) -> Constant:
        size = float((self.yy.mean() / max(self.count, 1)) ** 0.5) or 1.0
        factor = torch.where(self.xx > 0, self.xy / self.xx.clamp(min=1e-300), 1.0)
        rest = self.yy - 2 * factor * self.xy + factor.square() * self.xx
        scaled = self._describe(factor, torch.zeros_like(factor), rest, size)
        if scaled.error <= EXACT:
            return scaled
        variance = (self.xx - self.x.square() / self.count).clamp(min=0)
        covariance = self.xy - self.x * self.y / self.count
        spread = self.yy - self.y.square() / self.count
        is_known = variance > 1e-6 * self.xx
        slope = torch.where(is_known, covariance / variance.clamp(min=1e-300), 1.0)
        # a channel that hardly varies has a slope of rounding errors: it takes that of the others where this fits
        usual = slope[is_known].median() if bool(is_known.any()) else torch.ones(())
        usual = torch.where((usual - 1).abs() <= EXACT, 1.0, usual)
        misfit = spread - 2 * usual * covariance + usual.square() * variance
        slope = torch.where(misfit <= self.count * (EXACT * size / 4) ** 2, usual, slope)
        shift = (self.y - slope * self.x) / self.count
        rest = spread - 2 * slope * covariance + slope.square() * variance
        shifted = self._describe(slope, shift, rest, size)
        return shifted if shifted.error <= EXACT else scaled

    def _describe(self, factor: Tensor, offset: Tensor, rest: Tensor, size: float) -> Constant:
        error = float((rest.clamp(min=0) / max(self.count, 1)).max().sqrt()) / size
        varies = "image" if self.within.clamp(min=0).sum() < 0.1 * rest.sum() else "position"
        snapped = torch.where((factor - 1).abs() <= EXACT, 1.0, factor)
        negligible = offset.abs() <= EXACT * size
        return Constant(factor=snapped, offset=torch.where(negligible, 0.0, offset), error=error,
                        varies="" if error <= EXACT else varies)


class Observation:
    """Collects the constants of blocks. `commit` counts what the network has run last; all other runs are ignored.

    Ultralytics also runs a network on uninitialised memory, to count its FLOPs and to warm up.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self._sums = {place: _Sums(place.channels) for place in places}
        self._pending: list[tuple[Place, _Sums]] = []

    def add(self, place: Place, x: Tensor, y: Tensor) -> None:
        """Add one call of a block, with its input and output (B, C, H, W)."""
        one = _Sums(place.channels)
        one.add(x, y)
        self._pending.append((place, one))

    def forget(self) -> None:
        """Ignore the calls since the last `commit`."""
        self._pending.clear()

    def commit(self) -> None:
        """Count the calls since the last `forget`."""
        for place, one in self._pending:
            self._sums[place].merge(one)
        self._pending.clear()

    def constants(self) -> dict[Place, Constant]:
        """Return the constant of each block; 1 for one that did not run."""
        return {place: one.constant() if one.count else identity(place.channels) for place, one in self._sums.items()}


@contextmanager
def observe_constants(network: nn.Module, places: Sequence[Place]) -> Iterator[Observation]:
    """Collect the constants of blocks inside this context, also those of copies of the network that are made inside."""
    observation = Observation(places)
    add, forget = observation.add, observation.forget
    handle = network.register_forward_pre_hook(lambda *_: forget())
    try:
        with observed(network, tuple(places), lambda place, x, y: add(place, x, y)):
            yield observation
    finally:
        handle.remove()
