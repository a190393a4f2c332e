"""LSKA: large separable kernel attention.

Paper: Lau, Po, Rehman, "Large Separable Kernel Attention: Rethinking the Large Kernel Attention Design in
CNN", Expert Systems with Applications 236, 2024, arXiv:2309.01439.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS
from yolograft.blocks._settings import check_choice
from yolograft.errors import BlockError
from yolograft.language import tr

__all__ = ["LSKA"]

# kernel_size -> size of the local kernel, size of the dilated kernel, its dilation (the paper's table 1)
_SPLITS = {7: (3, 3, 2), 11: (3, 5, 2), 23: (5, 7, 3), 35: (5, 11, 3), 41: (5, 13, 3), 53: (5, 17, 3)}


@block("lska", aliases=("LSKA", "LSKAAttention", "LSKAModule"))
class LSKA(nn.Module):
    """A gate with a k x k receptive field from depthwise 1-D convolutions, first local and then dilated.

    z = dilated column(dilated row(column(row(x)))), all depthwise (eq. 6-9).
    y = x (W z + b) (eq. 10-11).
    With `init="identity"` W starts at zero and b at one.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: C^2 + C (2 m + 2 n + 5); m and n are the sizes of the local and the dilated kernel.
    Operations: 2 C^2 + C (4 m + 4 n + 1) per pixel.

    Args:
        channels: C.
        kernel_size: k: 7, 11, 23, 35, 41 or 53.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Lau et al., Expert Syst. Appl. 2024, arXiv:2309.01439", year=2023, kind="spatial",
                  use="a large receptive field at low cost; in YOLO most often inside or after SPPF")

    def __init__(self, channels: int, *, kernel_size: int = 23, init: str = "identity") -> None:
        super().__init__()
        if isinstance(kernel_size, bool) or not isinstance(kernel_size, int) or kernel_size not in _SPLITS:
            raise BlockError(tr("lska: kernel_size={size} is not one of {choices}.", size=kernel_size,
                                choices=", ".join(map(str, _SPLITS))))
        check_choice("lska", "init", init, INITS)
        local, dilated, dilation = _SPLITS[kernel_size]
        padding = dilation * (dilated // 2)

        def depthwise(size: tuple[int, int], padding: tuple[int, int], dilation: int = 1) -> nn.Conv2d:
            return nn.Conv2d(channels, channels, size, padding=padding, groups=channels, dilation=dilation)

        self.row = depthwise((1, local), (0, local // 2))
        self.column = depthwise((local, 1), (local // 2, 0))
        self.far_row = depthwise((1, dilated), (0, padding), dilation)
        self.far_column = depthwise((dilated, 1), (padding, 0), dilation)
        self.conv = nn.Conv2d(channels, channels, 1)
        if init == "identity":
            nn.init.zeros_(self.conv.weight)
            nn.init.ones_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W)."""
        return x * self.conv(self.far_column(self.far_row(self.column(self.row(x)))))
