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


@block("ema", aliases=("EMA", "EMAAttention", "EMA_Attention", "EMAModule"))
class EMA(nn.Module):
    """Per group of channels, a 1x1 branch over rows and columns and a 3x3 branch weigh each other's
    positions.

    With g = x's group: [h; w] = conv1x1 [avg_W g; avg_H g]; u = GN(g sigmoid(h) sigmoid(w)); v = conv3x3 g;
    m = softmax_C(avg u) v + softmax_C(avg v) u, one map per group; y = g sigmoid(m).
    The gate reads both branches' values, so no last layer can be silenced: `init="identity"` returns x + a (y
    - x) with a learnable scalar a = 0.

    Shapes: (B, C, H, W) -> (B, C, H, W), `groups` dividing C.
    Parameters: 10 c^2 + 4 c with c = C / groups, and 1 for a. Operations: 18 C c + 12 C per pixel.

    Args:
        channels: C.
        groups: how many groups share the layers (the paper's G; 8 in the authors' code for detection).
        init: `identity` or `paper`.
    """

    about = About(paper="Ouyang et al., ICASSP 2023, arXiv:2305.13563", year=2023, kind="mixed",
                  use="popular in YOLO papers on small objects: coordinate attention beside a 3x3 view")

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
        m = _weigh(u, v) + _weigh(v, u)
        gates = m.sigmoid().to(x.dtype).view(batch, self.groups, 1, height, width)
        return self.mix(x, (x.unflatten(1, (self.groups, -1)) * gates).flatten(1, 2))

    def extra_repr(self) -> str:
        """Show the settings that no child shows."""
        return f"groups={self.groups}"


def _weigh(by: Tensor, what: Tensor) -> Tensor:
    weights = average(by, 2, 3).softmax(1).to(what.dtype)
    return weights[:, None] @ what.flatten(2)
