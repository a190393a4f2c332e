"""SPD-Conv: space to depth, then a convolution without stride. It takes the place of a convolution with stride 2.

Paper: Sunkara, Luo, "No More Strided Convolutions or Pooling: A New CNN Building Block for Low-Resolution Images and Small
Objects", ECML PKDD 2022, arXiv:2208.03641.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.errors import ModuleError
from yolograft.language import tr
from yolograft.modules import module
from yolograft.modules._conv import Conv
from yolograft.modules._settings import check_whole

__all__ = ["SPDConv", "space_to_depth"]


def _split(x: Tensor, scale: int) -> Tensor:
    """Return [f_00; f_10; ...; f_(s-1)(s-1)], f_ij = x at the rows i, i + s, ... and the columns j, j + s, ..."""
    return torch.cat([x[..., row::scale, column::scale] for column in range(scale) for row in range(scale)], 1)


@module("SPDConv", aliases=("SPD_Conv", "SPD_Conv2d"), channels="c1,c2")
class SPDConv(nn.Module):
    """y = conv [f_00; f_10; ...; f_(s-1)(s-1)]: the s^2 sub-maps of x, then a convolution with stride 1 (section 3).

    f_ij has the rows i, i + s, ... and the columns j, j + s, ... The order is that of the authors' code, which has s = 2.
    The convolution has batch norm and SiLU, as in the authors' YOLOv5-SPD.

    Shapes: (B, c1, H, W) -> (B, c2, H / s, W / s); s must divide H and W.
    Parameters: s^2 c1 c2 k^2 + 2 c2.

    Args:
        c1: input channels.
        c2: output channels.
        k: kernel size. Rows such as [128, 3, 2] give it in the place of Conv's kernel size.
        scale: s. Rows give it in the place of Conv's stride.
    """

    def __init__(self, c1: int, c2: int, k: int = 3, scale: int = 2) -> None:
        super().__init__()
        check_whole("SPDConv", "k", k, odd=True)
        check_whole("SPDConv", "scale", scale)
        self.scale = scale
        self.conv = Conv(c1 * scale**2, c2, k)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c2, H / s, W / s) for x: (B, c1, H, W)."""
        y: Tensor = self.conv(_split(x, self.scale))
        return y

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"scale={self.scale}"


@module("space_to_depth", aliases=("SPD", "SpaceToDepth"), channels="")
class space_to_depth(nn.Module):
    """The first part of SPD-Conv as a row of its own, as in the authors' YAML files: [f_00; f_10; f_01; f_11].

    Shapes: (B, C, H, W) -> (B, 4 C, H / 2, W / 2), for even H and W.

    Args:
        dimension: 1, the axis of the channels, which the rows of forks give.
    """

    def __init__(self, dimension: int = 1) -> None:
        super().__init__()
        if dimension != 1:
            raise ModuleError(tr("space_to_depth: the argument {value!r} is the axis, which must be 1.", value=dimension))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 4 C, H / 2, W / 2) for x: (B, C, H, W)."""
        return _split(x, 2)
