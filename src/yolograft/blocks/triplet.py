"""Triplet attention.

Paper: Misra, Nalamada, Arasanipalai, Hou, "Rotate to Attend: Convolutional Triplet Attention Module", WACV
2021, arXiv:2010.03045.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._settings import check_bool, check_choice, check_integer
from yolograft.blocks._vector import average

__all__ = ["Triplet"]


@block("triplet", aliases=("TripletAttention", "TripletAttn", "Triplet_Attention", "TripletAtt"))
class Triplet(nn.Module):
    """Scale each value by the average of three gates, one for each pair of the axes C, H and W.

    y = x (g_cw + g_hc + g_hw) / 3, g = sigmoid(BN(conv_kxk [max; avg])), with maximum and average over the third axis
    (eq. 2-3). The paper averages three scaled copies of x, which is the same value.
    With `init="identity"` the batch normalisations start at zero and the gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 3 (2 k^2 + 2).
    Operations: 9 C per pixel, and 4 k^2 per cell of each of the three planes.

    Args:
        channels: C.
        kernel_size: k, odd; 7 in the paper.
        spatial: whether to use the (H, W) branch (the opposite of the authors' `no_spatial`).
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Misra et al., WACV 2021, arXiv:2010.03045", year=2020, kind="mixed",
                  use="almost no parameters, but channels and positions interact; slow on CPUs")

    def __init__(
        self, channels: int, *, kernel_size: int = 7, spatial: bool = True, init: str = "identity"
    ) -> None:
        super().__init__()
        check_integer("triplet", "kernel_size", kernel_size, odd=True)
        check_bool("triplet", "spatial", spatial)
        check_choice("triplet", "init", init, INITS)
        self.init = init
        self.cw, self.hc = _plane(kernel_size), _plane(kernel_size)
        self.hw = _plane(kernel_size) if spatial else None
        if init == "identity":
            zero_init(*(module for module in self.modules() if isinstance(module, BatchNorm)))

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by the mean of (B, C, 1, W), (B, C, H, 1) and (B, 1, H, W)."""
        cw = gate(self.cw(torch.stack((x.amax(2), average(x, 2)), 1)), self.init).transpose(1, 2)
        hc = gate(self.hc(torch.stack((x.amax(3), average(x, 3)), 1).transpose(2, 3)), self.init)
        gates = cw + hc.transpose(1, 3)
        if self.hw is None:
            return x * (gates / 2)
        hw = gate(self.hw(torch.stack((x.amax(1), average(x, 1)), 1)), self.init)
        return x * ((gates + hw) / 3)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"init={self.init}"


def _plane(kernel_size: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False), BatchNorm(1))
