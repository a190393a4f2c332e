"""SimAM: a simple, parameter-free attention module.

Paper: Yang, Zhang, Li, Xie, "SimAM: A Simple, Parameter-Free Attention Module for Convolutional Neural
Networks", ICML 2021 (PMLR 139).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import Mix
from yolograft.blocks._settings import check_number
from yolograft.blocks._vector import average

__all__ = ["SimAM"]


@block("simam", aliases=("SimAM", "Simam_module", "SimAMModule", "SimAMAttention"))
class SimAM(nn.Module):
    """Gate each value by its distance from the mean of its channel (the inverse of its minimal energy).

    y = x sigmoid((x - mean)^2 / (4 (v + energy)) + 1/2), v = sum (x - mean)^2 / (H W - 1), per channel over H x W (eq.
    5).
    The gate has no parameters, so it cannot start at 1. With `init="identity"` the block returns x + a (y - x) with a
    learnable scalar a that starts at 0.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 1, or none with `init="paper"`.
    Operations: 9 C per pixel.

    Args:
        channels: C.
        energy: the paper's lambda, so that a constant channel does not divide by zero.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Yang et al., ICML 2021", year=2021, kind="mixed",
                  use="attention without parameters: one weight per value, from statistics alone")

    def __init__(self, channels: int, *, energy: float = 1e-4, init: str = "identity") -> None:
        super().__init__()
        check_number("simam", "energy", energy, minimum=1e-8)
        self.energy = energy
        self.mix = Mix("simam", init)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh every value of x: (B, C, H, W)."""
        # squares of 256 and more overflow float16. 1e-12 gives a map of one pixel the variance 0, not 0 / 0, without a
        # branch on a size, which a trace would fix
        wide = torch.promote_types(x.dtype, torch.float32)
        distance = (x - average(x, 2, 3, keepdim=True)).to(wide).square()
        variance = distance.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1 + 1e-12)
        gate = torch.sigmoid(distance / (4 * (variance + self.energy)) + 0.5)
        return self.mix(x, x * gate.to(x.dtype))

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"energy={self.energy:g}"
