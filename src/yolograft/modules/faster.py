"""PConv and the FasterNet block, and C2f and C3k2 with it.

Paper: Chen, Kao, He, Zhuo, Wen, Lee, Chan, "Run, Don't Walk: Chasing Higher FLOPS for Faster Neural Networks", CVPR 2023,
arXiv:2303.03667.

The parameters of PConv have the names of the authors' code, those of the block the names of the class `Faster_Block` in
YOLO forks.

Deviations from the authors' block: the activation is SiLU, that of the host (theirs is ReLU or GELU, by the size of the
network); there is no drop path and no layer scale, which the authors' smallest network does not use either.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.errors import ModuleError
from yolograft.language import tr
from yolograft.modules import module
from yolograft.modules._conv import CSP, Conv, c3k2_unit
from yolograft.modules._settings import check_whole

__all__ = ["C2f_Faster", "C3k2_Faster", "Faster_Block", "PConv"]


@module("PConv", aliases=("Partial_conv3", "PartialConv3", "Partial_Conv"), channels="c1")
class PConv(nn.Module):
    """Partial convolution: y = [conv3x3 x_1; x_2], where x_1 is the first C / n_div channels of x (section 3.2).

    The authors have two forms, one with split and concatenation and one that writes into a slice of a copy. They give the
    same result; this is the first, which can be trained and exported.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 9 (C / n_div)^2.

    Args:
        dim: C, at least `n_div`.
        n_div: one of n_div channels is convolved; the paper's partial ratio is 1 / n_div = 1 / 4.
    """

    def __init__(self, dim: int, n_div: int = 4) -> None:
        super().__init__()
        check_whole("PConv", "n_div", n_div)
        check_whole("PConv", "dim", dim, minimum=n_div)
        self.dim_conv3 = dim // n_div
        self.dim_untouched = dim - self.dim_conv3
        self.partial_conv3 = nn.Conv2d(self.dim_conv3, self.dim_conv3, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, H, W) for x: (B, C, H, W)."""
        convolved, untouched = x.split((self.dim_conv3, self.dim_untouched), 1)
        return torch.cat((self.partial_conv3(convolved), untouched), 1)


@module("Faster_Block", aliases=("FasterNetBlock",), channels="c1,c2")
class Faster_Block(nn.Module):
    """The FasterNet block: y = x + W2 silu(BN(W1 PConv x)), two 1x1 convolutions with an inverted bottleneck (fig. 4).

    Where the input has other channels than the output, x is a 1x1 convolution of it with batch norm and SiLU.

    Shapes: (B, inc, H, W) -> (B, dim, H, W).
    Parameters: 9 (dim / n_div)^2 + 2 mlp_ratio dim^2 + 2 mlp_ratio dim, and inc dim + 2 dim if inc is not dim.

    Args:
        inc: input channels.
        dim: output channels.
        n_div: see `PConv`.
        mlp_ratio: the hidden width is int(dim mlp_ratio).
    """

    def __init__(self, inc: int, dim: int, n_div: int = 4, mlp_ratio: float = 2) -> None:
        super().__init__()
        hidden = int(dim * mlp_ratio)
        self.mlp = nn.Sequential(Conv(dim, hidden), nn.Conv2d(hidden, dim, 1, bias=False))
        self.spatial_mixing = PConv(dim, n_div)
        self.adjust_channel = Conv(inc, dim) if inc != dim else None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, dim, H, W) for x: (B, inc, H, W)."""
        if self.adjust_channel is not None:
            x = self.adjust_channel(x)
        y: Tensor = x + self.mlp(self.spatial_mixing(x))
        return y


@module("C2f_Faster", aliases=("C2f_FasterBlock",), channels="c1,c2")
class C2f_Faster(CSP):
    """C2f with FasterNet blocks in the place of its bottlenecks.

    Shapes: (B, c1, H, W) -> (B, c2, H, W).

    Args:
        c1: input channels.
        c2: output channels.
        n: the number of blocks.
        shortcut: given by rows that were written for C2f. The FasterNet block always adds its input, whatever it says.
        g: 1; the block has no grouped convolution.
        e: the hidden width is int(c2 e).
    """

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5) -> None:
        _check_no_groups("C2f_Faster", g)
        super().__init__(c1, c2, n, e, lambda width: Faster_Block(width, width))


@module("C3k2_Faster", aliases=("C3k2_FasterBlock",), channels="c1,c2")
class C3k2_Faster(CSP):
    """C3k2 with FasterNet blocks in the place of its bottlenecks.

    Shapes: (B, c1, H, W) -> (B, c2, H, W).

    Args:
        c1: input channels.
        c2: output channels.
        n: the number of units.
        c3k: each unit is a C3k with two FasterNet blocks, not one FasterNet block.
        e: the hidden width is int(c2 e).
        attn: self-attention follows each FasterNet block, as in C3k2 of Ultralytics 8.4.
        g: 1; the block has no grouped convolution.
        shortcut: given by rows that were written for C3k2. The FasterNet block always adds its input, whatever it says.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, c3k: bool = False, e: float = 0.5, attn: bool = False, g: int = 1,
                 shortcut: bool = True) -> None:
        _check_no_groups("C3k2_Faster", g)
        super().__init__(c1, c2, n, e, lambda width: c3k2_unit(width, lambda c, _: Faster_Block(c, c), c3k=c3k, attn=attn))


def _check_no_groups(name: str, g: int) -> None:
    if g != 1:
        raise ModuleError(tr("{module}: g={value!r} must be 1. The FasterNet block has no grouped convolution.",
                             module=name, value=g))
