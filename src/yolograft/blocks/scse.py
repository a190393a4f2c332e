"""scSE: concurrent spatial and channel squeeze and excitation.

Paper: Roy, Navab, Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation in Fully Convolutional Networks",
MICCAI 2018, arXiv:1803.02579. The other values of `combine` are from the second paper, IEEE TMI 2019, arXiv:1808.08127.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._settings import check_bool, check_choice, check_integer, check_number, hidden_channels
from yolograft.blocks._vector import average, linear_1x1

__all__ = ["ScSE"]


@block("scse", aliases=("scSE", "SCSEModule", "ScSEBlock", "scSEModule", "SCSEAttention", "ChannelSpatialSELayer"))
class ScSE(nn.Module):
    """SE's channel gate and a spatial gate from one 1x1 convolution, in parallel.

    c = x sigmoid(W2 relu(W1 avg x)); s = x sigmoid(w x), with w a 1x1 convolution to one channel.
    y = c + s, max(c, s), or x scaled by both gates (see `combine`).
    With `init="identity"` the last layer of each gate starts at zero. With `add` two gates of 0.5 add up to 1; with
    `max` and `multiply` the gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C h + h + 2 C + 1 with biases; h is the hidden width.
    Operations: 6 C per pixel, and 4 C h per image.

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(minimum, round(C / r)), at most C; 2 in the paper.
        minimum: the smallest hidden width.
        combine: `add` (the first paper), `max` or `multiply` (the second paper).
        bias: whether the layers have biases, as in segmentation_models_pytorch; the paper has none.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Roy et al., MICCAI 2018, arXiv:1803.02579", year=2018, kind="mixed",
                  use="segmentation heads and small objects: SE with a cheap spatial gate in parallel")

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 2,
        minimum: int = 1,
        combine: str = "add",
        bias: bool = True,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_number("scse", "ratio", ratio, minimum=1)
        check_integer("scse", "minimum", minimum)
        check_choice("scse", "combine", combine, ("add", "max", "multiply"))
        check_bool("scse", "bias", bias)
        check_choice("scse", "init", init, INITS)
        width = hidden_channels(channels, ratio, minimum)
        self.combine, self.init = combine, init
        self.fc1 = nn.Conv2d(channels, width, 1, bias=bias)
        self.fc2 = nn.Conv2d(width, channels, 1, bias=bias)
        self.conv = nn.Conv2d(channels, 1, 1, bias=bias)
        if init == "identity":
            zero_init(self.fc2, self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, 1, 1) and by (B, 1, H, W), and combine the two."""
        channel = linear_1x1(self.fc2, F.relu(linear_1x1(self.fc1, average(x, 2, 3))))[:, :, None, None]
        spatial = self.conv(x)
        if self.combine == "add":
            return x * channel.sigmoid() + x * spatial.sigmoid()
        channel, spatial = gate(channel, self.init), gate(spatial, self.init)
        return torch.maximum(x * channel, x * spatial) if self.combine == "max" else x * channel * spatial

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"combine={self.combine}, init={self.init}"
