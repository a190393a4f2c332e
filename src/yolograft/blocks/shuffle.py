"""SA: shuffle attention.

Paper: Zhang, Yang, "SA-Net: Shuffle Attention for Deep Convolutional Neural Networks", ICASSP 2021, arXiv:2102.00240.

Deviation: the paper's 64 groups need 128 channels. The default here is 8, for sites with as few as 16 channels.
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
    """In each group, gate half of the channels by channel and half by position, then shuffle the channels.

    y1 = x1 sigmoid(w1 avg x1 + b1) (eq. 1-2), y2 = x2 sigmoid(w2 GN(x2) + b2) (eq. 3), with one weight per channel of
    half a group; all groups share the weights. Channel i of y is channel (i mod 2) C / 2 + i / 2 of the concatenated y1
    and y2.
    The shuffle moves channels, so a pretrained host needs `init="identity"`: the block then returns x + a (y - x) with
    a learnable scalar a that starts at 0.

    Shapes: (B, C, H, W) -> (B, C, H, W); 2 `groups` must divide C.
    Parameters: 3 C / groups, and 1 for a.
    Operations: 6 C per pixel.

    Args:
        channels: C.
        groups: the paper's G, the number of groups.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Zhang and Yang, ICASSP 2021, arXiv:2102.00240", year=2021, kind="mixed",
                  use="a channel gate and a spatial gate with very few parameters")

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
        # the groups stay beside each other: NCNN's converter cannot fold them into the batch
        parts = x.chunk(2 * self.groups, 1)
        one, two = torch.cat(parts[::2], 1), torch.cat(parts[1::2], 1)
        z = self._of_all(self.channel_weight) * average(one, 2, 3, keepdim=True) + self._of_all(self.channel_bias)
        wide = two.to(torch.promote_types(x.dtype, torch.float32))  # squares overflow float16
        centred = wide - average(wide, 2, 3, keepdim=True)
        normed = centred * (average(centred.square(), 2, 3, keepdim=True) + self.norm.eps).rsqrt()
        # the two scales and shifts as one: norm has a weight per channel of half a group, as spatial_weight
        scale = self.spatial_weight * self.norm.weight[:, None, None]
        shift = self.spatial_weight * self.norm.bias[:, None, None] + self.spatial_bias
        u = self._of_all(scale) * normed + self._of_all(shift)
        gated = zip((one * z.sigmoid().to(x.dtype)).chunk(self.groups, 1),
                    (two * u.sigmoid().to(x.dtype)).chunk(self.groups, 1), strict=True)
        y = torch.cat([half for pair in gated for half in pair], 1)
        y = y.reshape(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)
        return self.mix(x, match_memory_format(y, x))

    def _of_all(self, shared: Tensor) -> Tensor:
        """Repeat the parameters of one group, (w, 1, 1), for all groups."""
        return shared.repeat(self.groups, 1, 1)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"groups={self.groups}"
