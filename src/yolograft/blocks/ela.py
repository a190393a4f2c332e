"""ELA: efficient local attention.

Paper: Xu, Wan, "ELA: Efficient Local Attention for Deep Convolutional Neural Networks", arXiv:2403.01123 (2024).

The four sizes in the paper: ELA-T is `kernel_size=5, norm_groups=32`, ELA-B is the default, ELA-S is
`kernel_size=5, width=8`, and ELA-L is `width=8`.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._norm import GroupNorm
from yolograft.blocks._settings import check_choice, check_divisor, check_integer
from yolograft.blocks._vector import average

__all__ = ["ELA"]


@block("ela", aliases=("ELA", "ELAAttention", "ELA_Attention", "EfficientLocalizationAttention",
                       "EfficientLocalAttention"))
class ELA(nn.Module):
    """Gate each channel per row and per column with 1-D convolutions along them, without a reduction.

    y = x sigmoid(GN(conv1d_k avg_W x)) sigmoid(GN(conv1d_k avg_H x)) (eq. 3-6). Rows and columns share the convolution
    and the group normalisation.
    With `init="identity"` the normalisation's scale and shift start at zero and both gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W); `norm_groups` and `width` must divide C.
    Parameters: C k width + 2 C.
    Operations: 4 C per pixel, and 2 C k width per row and per column.

    Args:
        channels: C.
        kernel_size: k, odd; 5 or 7 in the paper.
        width: how many channels each filter uses; 1 or 8 in the paper.
        norm_groups: the number of groups of the group normalisation; 16 or 32 in the paper.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Xu and Wan, arXiv:2403.01123", year=2024, kind="mixed",
                  use="coordinate attention without its bottleneck and batch statistics")

    def __init__(
        self,
        channels: int,
        *,
        kernel_size: int = 7,
        width: int = 1,
        norm_groups: int = 16,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_integer("ela", "kernel_size", kernel_size, odd=True)
        check_divisor("ela", "width", width, channels)
        check_divisor("ela", "norm_groups", norm_groups, channels)
        check_choice("ela", "init", init, INITS)
        self.init = init
        self.conv = nn.Conv1d(channels, channels, kernel_size, padding=kernel_size // 2,
                              groups=channels // width, bias=False)
        self.norm = GroupNorm(norm_groups, channels)
        if init == "identity":
            zero_init(self.norm)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, 1) and (B, C, 1, W)."""
        rows = gate(self.norm(self.conv(average(x, 3))), self.init)[:, :, :, None].to(x.dtype)
        columns = gate(self.norm(self.conv(average(x, 2))), self.init)[:, :, None].to(x.dtype)
        return x * rows * columns

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"init={self.init}"
