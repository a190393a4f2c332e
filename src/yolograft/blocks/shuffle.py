"""SA: shuffle attention.

Paper: Zhang, Yang, "SA-Net: Shuffle Attention for Deep Convolutional Neural Networks", ICASSP 2021,
arXiv:2102.00240.

The paper's 64 groups need 128 channels; the default here is 8, for sites as narrow as 16 channels.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import Mix
from yolograft.blocks._layout import match_memory_format
from yolograft.blocks._norm import GroupNorm
from yolograft.blocks._settings import check_divisor
from yolograft.blocks._vector import average

__all__ = ["ShuffleAttention"]


@block("shuffle", aliases=("SA", "SALayer", "sa_layer", "ShuffleAttention", "Shuffle_Attention", "SANet"))
class ShuffleAttention(nn.Module):
    """Half of each group's channels get a channel gate, the others a spatial gate; the halves are shuffled.

    y1 = x1 sigmoid(w1 avg x1 + b1) (eq. 1-2), y2 = x2 sigmoid(w2 GN(x2) + b2) (eq. 3), one weight per channel
    of a half group, shared by the groups; channel i of y is channel (i mod 2) C / 2 + i / 2 of the two, put
    together. The shuffle moves channels, so only `init="identity"`, which returns x + a (y - x) with a
    learnable scalar a = 0, suits a pretrained host.

    Shapes: (B, C, H, W) -> (B, C, H, W), 2 `groups` dividing C. Parameters: 3 C / groups, and 1 for a.
    Operations: 6 C per pixel.

    Args:
        channels: C.
        groups: G.
        init: `identity` or `paper`.
    """

    about = About(paper="Zhang and Yang, ICASSP 2021, arXiv:2102.00240", year=2021, kind="mixed",
                  use="both gates for a handful of parameters")

    def __init__(self, channels: int, *, groups: int = 8, init: str = "identity") -> None:
        super().__init__()
        check_divisor("shuffle", "groups", groups, channels, parts=2)
        width = channels // (2 * groups)
        self.groups = groups
        self.channel_weight = nn.Parameter(torch.zeros(width, 1, 1))
        self.channel_bias = nn.Parameter(torch.ones(width, 1, 1))
        self.spatial_weight = nn.Parameter(torch.zeros(width, 1, 1))
        self.spatial_bias = nn.Parameter(torch.ones(width, 1, 1))
        self.norm = GroupNorm(width, width)
        self.mix = Mix("shuffle", init)

    def forward(self, x: Tensor) -> Tensor:
        """Gate the halves of x: (B, C, H, W) and interleave the channels."""
        batch, channels, height, width = x.shape
        one, two = x.reshape(batch * self.groups, 2, channels // (2 * self.groups), height, width).unbind(1)
        z = self.channel_weight * average(one, 2, 3, keepdim=True) + self.channel_bias
        u = self.spatial_weight * self.norm(two) + self.spatial_bias
        y = torch.cat((one * z.sigmoid().to(x.dtype), two * u.sigmoid().to(x.dtype)), 1)
        y = y.reshape(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
        return self.mix(x, match_memory_format(y, x))

    def extra_repr(self) -> str:
        """Show the settings that no child shows."""
        return f"groups={self.groups}"
