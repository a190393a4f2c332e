"""EMA: efficient multi-scale attention.

Paper: Ouyang, He, Zhang, Luo, Guo, Zhan, Huang, "Efficient Multi-Scale Attention Module with Cross-Spatial
Learning", ICASSP 2023, arXiv:2305.13563.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import Mix
from yolograft.blocks._norm import GroupNorm
from yolograft.blocks._settings import check_divisor
from yolograft.blocks._vector import average

__all__ = ["EMA"]


@block("ema", aliases=("EMA", "EMAAttention", "EMA_Attention", "EMAModule", "EMABlock", "EfficientMultiScaleAttention"))
class EMA(nn.Module):
    """In each channel group, a 1x1 branch and a 3x3 branch weight each other's positions and give one spatial gate.

    For each channel group g:
    [h; w] = conv1x1 [avg_W g; avg_H g]; u = GN(g sigmoid(h) sigmoid(w)); v = conv3x3 g;
    m = softmax_C(avg u) v + softmax_C(avg v) u, one map per group; y = g sigmoid(m).
    The gate depends on the values of both branches, so no last layer can be set to zero. With `init="identity"` the
    block returns x + a (y - x) with a learnable scalar a that starts at 0.

    Shapes: (B, C, H, W) -> (B, C, H, W); `groups` must divide C.
    Parameters: 10 c^2 + 4 c with c = C / groups, and 1 for a.
    Operations: 18 C c + 12 C per pixel.

    Args:
        channels: C.
        groups: the paper's G, the number of groups, which share the layers; 8 in the authors' code for detection.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Ouyang et al., ICASSP 2023, arXiv:2305.13563", year=2023, kind="mixed",
                  use="popular in YOLO papers on small objects: coordinate attention with a 3x3 branch")

    def __init__(self, channels: int, *, groups: int = 8, init: str = "identity") -> None:
        super().__init__()
        check_divisor("ema", "groups", groups, channels)
        width = channels // groups
        self.groups = groups
        self.conv1 = nn.Conv2d(width, width, 1)
        self.conv3 = nn.Conv2d(width, width, 3, padding=1)
        self.norm = GroupNorm(width, width)
        self.mix = Mix("ema", init)

    def forward(self, x: Tensor) -> Tensor:
        """Scale the groups of x: (B, C, H, W) by one map each."""
        batch, channels, height, width = x.shape
        g = x.reshape(batch * self.groups, channels // self.groups, height, width)
        lines = self.conv1(torch.cat((average(g, 3), average(g, 2)), 2)[..., None]).sigmoid()
        u = self.norm(g * lines[:, :, :height] * lines[:, :, height:].transpose(2, 3))
        v = self.conv3(g)
        m = _cross_gate(u, v) + _cross_gate(v, u)
        gates = m.sigmoid().to(x.dtype).view(batch, self.groups, 1, height, width)
        return self.mix(x, (x.unflatten(1, (self.groups, -1)) * gates).flatten(1, 2))

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"groups={self.groups}"


def _cross_gate(weighting: Tensor, values: Tensor) -> Tensor:
    weights = average(weighting, 2, 3).softmax(1).to(values.dtype)
    return weights[:, None] @ values.flatten(2)
