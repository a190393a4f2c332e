"""CA: coordinate attention.

Paper: Hou, Zhou, Feng, "Coordinate Attention for Efficient Mobile Network Design", CVPR 2021,
arXiv:2103.02907.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._settings import check_choice, check_integer, check_number, hidden_channels
from yolograft.blocks._vector import average

__all__ = ["CoordAtt"]


@block("coordatt", aliases=("CA", "CoordAtt", "CoordAttention", "CoordinateAttention", "CoordAttn",
"CA_Block", "CoordAttBlock", "CoordAttModule", "CoordinateAtt"))
class CoordAtt(nn.Module):
    """Gate each channel per row and per column, from averages along the width and along the height.

    f = hardswish(BN(W1 [avg_W x; avg_H x])) over the H + W positions (eq. 6).
    y = x sigmoid(W_h f_h) sigmoid(W_w f_w) (eq. 7-9).
    With `init="identity"` W_h and W_w start at zero and both gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 3 C h + 2 C + 3 h; h is the hidden width.
    Operations: 4 C per pixel, and 4 C h per row and per column.

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(minimum, round(C / r)), at most C.
        minimum: the smallest hidden width; 8 in the authors' code.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Hou et al., CVPR 2021, arXiv:2103.02907", year=2021, kind="mixed",
                  use="long thin objects (scratches, cracks): position along each axis at a cost close to SE's")

    def __init__(
        self, channels: int, *, ratio: float = 32, minimum: int = 8, init: str = "identity"
    ) -> None:
        super().__init__()
        check_number("coordatt", "ratio", ratio, minimum=1)
        check_integer("coordatt", "minimum", minimum)
        check_choice("coordatt", "init", init, INITS)
        width = hidden_channels(channels, ratio, minimum)
        self.init = init
        self.conv1 = nn.Conv2d(channels, width, 1)
        self.norm = nn.BatchNorm2d(width)
        self.conv_h = nn.Conv2d(width, channels, 1)
        self.conv_w = nn.Conv2d(width, channels, 1)
        if init == "identity":
            zero_init(self.conv_h, self.conv_w)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, 1) and (B, C, 1, W)."""
        height = x.shape[2]
        z = torch.cat((average(x, 3), average(x, 2)), 2)[..., None]
        f = F.hardswish(self.norm(self.conv1(z)))
        rows = gate(self.conv_h(f[:, :, :height]), self.init)
        columns = gate(self.conv_w(f[:, :, height:]), self.init).transpose(2, 3)
        return x * rows * columns

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"init={self.init}"
