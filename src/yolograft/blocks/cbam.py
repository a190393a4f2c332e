"""CBAM: convolutional block attention module.

Paper: Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv:1807.06521.

This is the module of the paper: one two-layer perceptron with a reduction processes the average and the maximum, and
the channel gate uses the sum of its two results. (Some libraries use the name "CBAM" for one C -> C convolution of the
average.) Batch normalisation follows the spatial convolution, as in the authors' code; the paper's equation has none.
`norm=False` removes it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._settings import check_bool, check_choice, check_integer, check_number, hidden_channels
from yolograft.blocks._vector import average, linear_1x1, unsqueeze_hw

__all__ = ["CBAM"]


@block("cbam", aliases=("CBAM", "CBAMBlock", "CBAMModule", "CBAM_Module", "CBAMAttention", "CBAMLayer",
                        "ConvolutionalBlockAttentionModule"))
class CBAM(nn.Module):
    """A channel gate from global average and maximum pooling, then a spatial gate from pooling over the channels.

    x' = x sigmoid(MLP(avg x) + MLP(max x)), MLP(z) = W2 relu(W1 z), pooled over H x W (eq. 2).
    y = x' sigmoid(norm(conv_kxk [avg x'; max x'])), pooled over the channels (eq. 3).
    With `init="identity"` the last layer of each gate starts at zero and the gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C h + h + C (channel), 2 k^2 + 2 (spatial, with batch normalisation); h is the hidden width.
    Operations: 6 C + 4 k^2 per pixel, and 8 C h per image.

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(minimum, round(C / r)), at least 1 and at most C.
        minimum: the smallest hidden width.
        kernel_size: k of the spatial convolution, odd; 7 in the paper.
        bias: whether the perceptron has biases, as in the authors' code.
        norm: whether batch normalisation follows the spatial convolution, as in the authors' code.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Woo et al., ECCV 2018, arXiv:1807.06521", year=2018, kind="mixed",
                  use="when position matters as well as channel; often the second block to try, after SE")

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 16,
        minimum: int = 1,
        kernel_size: int = 7,
        bias: bool = True,
        norm: bool = True,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_number("cbam", "ratio", ratio, minimum=1)
        check_integer("cbam", "minimum", minimum)
        check_integer("cbam", "kernel_size", kernel_size, odd=True)
        check_bool("cbam", "bias", bias)
        check_bool("cbam", "norm", norm)
        check_choice("cbam", "init", init, INITS)
        width = hidden_channels(channels, ratio, minimum)
        self.init = init
        self.fc1 = nn.Conv2d(channels, width, 1, bias=bias)
        self.fc2 = nn.Conv2d(width, channels, 1, bias=bias)
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.norm = BatchNorm(1) if norm else nn.Identity()
        if init == "identity":
            zero_init(self.fc2, self.norm if norm else self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, 1, 1), then by (B, 1, H, W)."""
        # one call per pooled vector: NCNN cannot stack them along a new first axis, and gives wrong results for it
        channel = self._perceptron(average(x, 2, 3)) + self._perceptron(x.amax((2, 3)))
        x = x * unsqueeze_hw(gate(channel, self.init))
        spatial = self.norm(self.conv(torch.cat((average(x, 1, keepdim=True), x.amax(1, keepdim=True)), 1)))
        return x * gate(spatial, self.init)

    def _perceptron(self, z: Tensor) -> Tensor:
        return linear_1x1(self.fc2, F.relu(linear_1x1(self.fc1, z)))

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"init={self.init}"
