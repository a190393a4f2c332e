"""CBAM: convolutional block attention module.

Paper: Woo, Park, Lee, Kweon, "CBAM: Convolutional Block Attention Module", ECCV 2018, arXiv:1807.06521.

This is the paper's module: the channel gate has a shared two-layer perceptron with a reduction and sums an
average and a maximum. (Some libraries call a plain C -> C convolution of the average alone "CBAM".) Like the
authors' code, and unlike the paper's equation, the spatial convolution is followed by batch normalisation;
`norm=False` drops it.
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


@block("cbam", aliases=("CBAM", "CBAMBlock", "CBAMModule", "CBAM_Module", "CBAMAttention"))
class CBAM(nn.Module):
    """A channel gate from the average and the maximum over H x W, then a spatial gate from those over C.

    x' = x sigmoid(MLP(avg x) + MLP(max x)), MLP(z) = W2 relu(W1 z) (eq. 2);
    y = x' sigmoid(norm(conv k x k [avg x'; max x'])), the average and maximum over channels (eq. 3).
    With `init="identity"` the last layer of either gate starts at zero and the gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C h + h + C (channel), 2 k^2 + 2 (spatial, with the norm's affine), h the hidden width.
    Operations: 6 C + 4 k^2 per pixel, and 8 C h per image.

    Args:
        channels: C.
        ratio: the reduction r; h = max(minimum, round(C / r)), and never more than C or less than 1.
        minimum: the smallest hidden width.
        kernel_size: k of the spatial convolution, odd; 7 in the paper.
        bias: whether the perceptron has biases, as in the authors' code.
        norm: whether batch normalisation follows the spatial convolution, as in the authors' code.
        init: `identity` or `paper`.
    """

    about = About(paper="Woo et al., ECCV 2018, arXiv:1807.06521", year=2018, kind="mixed",
                  use="when where matters as well as what: the usual second try after SE")

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
        z = torch.stack((average(x, 2, 3), x.amax((2, 3))))
        channel = linear_1x1(self.fc2, F.relu(linear_1x1(self.fc1, z))).sum(0)
        x = x * unsqueeze_hw(gate(channel, self.init))
        spatial = self.norm(self.conv(torch.cat((average(x, 1, keepdim=True), x.amax(1, keepdim=True)), 1)))
        return x * gate(spatial, self.init)

    def extra_repr(self) -> str:
        """Show the settings that no child shows."""
        return f"init={self.init}"
