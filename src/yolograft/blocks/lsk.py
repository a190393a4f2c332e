"""LSK: large selective kernel.

Paper: Li, Hou, Zheng, Cheng, Yang, Li, "Large Selective Kernel Network for Remote Sensing Object Detection", ICCV 2023,
arXiv:2303.09030.

Deviation: this is the selection module (fig. 4) alone, without the projections around it in LSKNet.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS
from yolograft.blocks._settings import check_choice
from yolograft.blocks._vector import average

__all__ = ["LSK"]


@block("lsk", aliases=("LSK", "LSKBlock", "LSKAttention", "LSKModule", "LSKA_Block"))
class LSK(nn.Module):
    """Choose at each position between a smaller and a larger receptive field.

    u1 = W1 d5(x), u2 = W2 d7(d5(x)) (eq. 1-2): d5 is a depthwise 5x5 convolution, d7 a depthwise 7x7 convolution of
    dilation 3; W1 and W2 reduce to C / 2 channels.
    s = sigmoid(conv7x7 [avg [u1, u2]; max [u1, u2]]), two maps (eq. 4-6).
    y = x (W (s1 u1 + s2 u2) + b) (eq. 7-8).
    With `init="identity"` W starts at zero and b at one.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 1.5 C^2 + 78 C + 198 with all biases (C even).
    Operations: 3 C^2 + 150 C per pixel.

    Args:
        channels: C.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Li et al., ICCV 2023, arXiv:2303.09030", year=2023, kind="spatial",
                  use="aerial images: objects that need different amounts of context")

    def __init__(self, channels: int, *, init: str = "identity") -> None:
        super().__init__()
        check_choice("lsk", "init", init, INITS)
        half = max(1, channels // 2)
        self.near = nn.Conv2d(channels, channels, 5, padding=2, groups=channels)
        self.far = nn.Conv2d(channels, channels, 7, padding=9, groups=channels, dilation=3)
        self.conv1 = nn.Conv2d(channels, half, 1)
        self.conv2 = nn.Conv2d(channels, half, 1)
        self.select = nn.Conv2d(2, 2, 7, padding=3)
        self.conv = nn.Conv2d(half, channels, 1)
        if init == "identity":
            nn.init.zeros_(self.conv.weight)
            nn.init.ones_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W)."""
        near = self.near(x)
        u1, u2 = self.conv1(near), self.conv2(self.far(near))
        both = torch.cat((u1, u2), 1)
        s = self.select(torch.cat((average(both, 1, keepdim=True), both.amax(1, keepdim=True)), 1)).sigmoid()
        return x * self.conv(u1 * s[:, :1] + u2 * s[:, 1:])
