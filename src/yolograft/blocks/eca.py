"""ECA: efficient channel attention, and its circular form CECA.

Paper: Wang, Wu, Zhu, Li, Zuo, Hu, "ECA-Net: Efficient Channel Attention for Deep Convolutional Neural Networks",
CVPR 2020, arXiv:1910.03151.

CECA is from timm: its convolution pads circularly, so the first and the last channel are neighbours.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._settings import check_choice, check_integer, check_number
from yolograft.blocks._vector import average, unsqueeze_hw
from yolograft.errors import BlockError
from yolograft.language import tr

__all__ = ["CECA", "ECA"]


@block("eca", aliases=("ECA", "ECAAttention", "ECABlock", "ECALayer", "ECA_Layer", "ECAModule",
                       "EfficientChannelAttention", "EfficientChannelAttentionModule", "ECANet"))
class ECA(nn.Module):
    """Gate each channel from its neighbouring channels with one short 1-D convolution and no reduction.

    y = x sigmoid(conv1d_k(avg x)), where k is |log2(C) / gamma + beta / gamma| rounded to an odd number (eq. 12).
    With `init="identity"` the convolution starts at zero and the gate is doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: k.
    Operations: 2 C per pixel, and 2 C k per image.

    Args:
        channels: C.
        kernel_size: k, odd; None computes k from C with the equation.
        gamma: gamma in the equation; only with `kernel_size=None`.
        beta: the paper's b in the equation; only with `kernel_size=None`.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Wang et al., CVPR 2020, arXiv:1910.03151", year=2019, kind="channel",
                  use="when parameters must not grow: a few per block, with results close to SE's")
    name = "eca"
    padding_mode: Literal["zeros", "circular"] = "zeros"

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int | None = None,
        gamma: float = 2,
        beta: float = 1,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_number(self.name, "gamma", gamma, minimum=0.01)
        check_number(self.name, "beta", beta, minimum=0)
        check_choice(self.name, "init", init, INITS)
        if kernel_size is None:
            kernel_size = odd_kernel(channels, gamma, beta)
        else:
            check_integer(self.name, "kernel_size", kernel_size, odd=True)
            if (gamma, beta) != (2, 1):
                raise BlockError(tr("{block}: gamma and beta have no effect with kernel_size={size}. Remove them, or remove "
                                    "kernel_size.", block=self.name, size=kernel_size))
        if self.padding_mode == "circular" and kernel_size // 2 > channels:
            raise BlockError(tr("{block}: kernel_size={size} is too large for a circular convolution over {channels} "
                                "channels. The largest that works is {largest}.", block=self.name, size=kernel_size,
                                channels=channels, largest=2 * channels + 1))
        self.init = init
        self.conv = nn.Conv1d(1, 1, kernel_size, padding=kernel_size // 2, bias=False,
                              padding_mode=self.padding_mode)
        if init == "identity":
            zero_init(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, 1, 1)."""
        return x * unsqueeze_hw(gate(self._convolve(average(x, 2, 3)), self.init))

    def _convolve(self, z: Tensor) -> Tensor:
        """Convolve the averages (B, C) over the channels."""
        y: Tensor = self.conv(z.unsqueeze(1)).squeeze(1)
        return y

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"init={self.init}"


@block("ceca", aliases=("CECA", "CECAModule", "CircularECA"))
class CECA(ECA):
    """ECA with a circular convolution: the last channel is a neighbour of the first.

    Everything else, the settings included, is as in `ECA`. Half the kernel must not exceed C.
    """

    about = About(paper="timm's circular form of ECA", year=2020, kind="channel",
                  use="ECA without zero padding at the ends of the channel axis")
    name = "ceca"
    padding_mode: Literal["zeros", "circular"] = "circular"

    def _convolve(self, z: Tensor) -> Tensor:
        # NCNN has no circular padding, and its converter writes zero padding without a message: pad with slices
        half = self.conv.kernel_size[0] // 2
        if half:
            z = torch.cat((z[:, -half:], z, z[:, :half]), 1)
        return F.conv1d(z.unsqueeze(1), self.conv.weight).squeeze(1)


def odd_kernel(channels: int, gamma: float, beta: float) -> int:
    """Return ECA's kernel size for a number of channels; even sizes are rounded up, as in the authors' code."""
    size = int(abs((math.log2(channels) + beta) / gamma))
    return size if size % 2 else size + 1
