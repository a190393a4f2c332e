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
    """Weigh each value by how far it stands out from its channel: the inverse of its minimal energy (eq. 5).

    y = x sigmoid((x - mean)^2 / (4 (v + energy)) + 1/2), v = sum (x - mean)^2 / (H W - 1), per channel over H
    x W. A gate computed from the input alone cannot be 1 at birth: `init="identity"` adds one learnable
    scalar a = 0 and returns x + a (y - x). With `init="paper"` the block has no parameters.

    Shapes: (B, C, H, W) -> (B, C, H, W). Parameters: 1, or none with `init="paper"`. Operations: 9 C per
    pixel.

    Args:
        channels: C.
        energy: the paper's lambda, which keeps flat channels from dividing by zero.
        init: `identity` or `paper`.
    """

    about = About(paper="Yang et al., ICML 2021", year=2021, kind="mixed",
                  use="attention without parameters: three-dimensional weights from statistics alone")

    def __init__(self, channels: int, *, energy: float = 1e-4, init: str = "identity") -> None:
        super().__init__()
        check_number("simam", "energy", energy, minimum=1e-8)
        self.energy = energy
        self.mix = Mix("simam", init)

    def forward(self, x: Tensor) -> Tensor:
        """Weigh every value of x: (B, C, H, W)."""
        # squares overflow float16 from 256 on; the tiny term makes a single value have the variance 0 instead
        # of 0 / 0 without a branch on a traced size
        wide = torch.promote_types(x.dtype, torch.float32)
        distance = (x - average(x, 2, 3, keepdim=True)).to(wide).square()
        variance = distance.sum((2, 3), keepdim=True) / (x.shape[2] * x.shape[3] - 1 + 1e-12)
        gate = torch.sigmoid(distance / (4 * (variance + self.energy)) + 0.5)
        return self.mix(x, x * gate.to(x.dtype))

    def extra_repr(self) -> str:
        """Show the settings that no child shows."""
        return f"energy={self.energy:g}"
