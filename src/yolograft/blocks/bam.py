"""BAM: bottleneck attention module.

Paper: Park, Woo, Lee, Kweon, "BAM: Bottleneck Attention Module", BMVC 2018, arXiv:1807.06514.

The layers follow the authors' code: batch normalisation and ReLU follow every layer except the last layer of a branch.
The paper adds the two branches, but the authors' code multiplies them. `combine` selects this; the default is the
paper's sum.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import Mix
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._settings import check_choice, check_integer, check_number, hidden_channels
from yolograft.blocks._vector import average

__all__ = ["BAM"]


@block("bam", aliases=("BAM", "BAMBlock", "BAMModule", "BAMAttention"))
class BAM(nn.Module):
    """Scale each value with a gate from a channel branch and a dilated spatial branch in parallel.

    y = x (1 + sigmoid(M)), M = M_c + M_s (eq. 2, 5).
    Channel branch, (C, 1, 1): M_c = W1 relu(BN(W0 avg x)) (eq. 3).
    Spatial branch, (1, H, W): a 1x1 convolution to h channels and two 3x3 convolutions of dilation d,
    each with BN and ReLU; then a 1x1 convolution to one channel (eq. 4).
    This scale is always greater than 1, so with `init="identity"` the block returns x + a (y - x) with a learnable
    scalar a that starts at 0.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C h + C + 3 h (channel), C h + 18 h^2 + 10 h + 1 (spatial), and 1 for a.
    Operations: 2 C h + 36 h^2 + 4 C per pixel, and 4 C h per image.

    Args:
        channels: C.
        ratio: the reduction ratio r of both branches; h = max(minimum, round(C / r)), at most C.
        minimum: the smallest hidden width.
        dilation: d of the two spatial convolutions; 4 in the paper.
        combine: `sum` (the paper), `product` (the authors' code) or `max` (the paper's ablation).
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Park et al., BMVC 2018, arXiv:1807.06514", year=2018, kind="mixed",
                  use="between stages, at downsampling: a channel gate with a wide spatial gate")

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 16,
        minimum: int = 1,
        dilation: int = 4,
        combine: str = "sum",
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_number("bam", "ratio", ratio, minimum=1)
        check_integer("bam", "minimum", minimum)
        check_integer("bam", "dilation", dilation)
        check_choice("bam", "combine", combine, ("sum", "product", "max"))
        width = hidden_channels(channels, ratio, minimum)
        self.combine = combine
        self.channel = nn.Sequential(nn.Conv2d(channels, width, 1), BatchNorm(width), nn.ReLU(),
                                     nn.Conv2d(width, channels, 1))
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, width, 1), BatchNorm(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), BatchNorm(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation), BatchNorm(width), nn.ReLU(),
            nn.Conv2d(width, 1, 1),
        )
        self.mix = Mix("bam", init)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W)."""
        channel, spatial = self.channel(average(x, 2, 3, keepdim=True)), self.spatial(x)
        if self.combine == "sum":
            m = channel + spatial
        else:
            m = channel * spatial if self.combine == "product" else torch.maximum(channel, spatial)
        return self.mix(x, x * (1 + m.sigmoid()))

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"combine={self.combine}"
