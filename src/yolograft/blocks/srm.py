"""SRM: style-based recalibration module.

Paper: Lee, Kim, Nam, "SRM: A Style-Based Recalibration Module for Convolutional Neural Networks", ICCV 2019,
arXiv:1903.10829.

The standard deviation divides by H W, as in the paper, so that a map of one pixel has one. The authors' code divides by
H W - 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._settings import check_choice, check_number
from yolograft.blocks._vector import average

__all__ = ["SRM"]


@block("srm", aliases=("SRM", "SRMLayer", "SRMModule", "StyleRecalibration"))
class SRM(nn.Module):
    """Gate each channel by its style: its mean and its standard deviation, normalised over the batch.

    z_c = w_c1 mean(x_c) + w_c2 std(x_c) (eq. 3-5); y = x sigmoid(BN(z)) (eq. 6-7).
    The weights start at zero, as in the authors' code. With `init="identity"` the gate is doubled and starts at 1.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 4 C.
    Operations: 5 C per pixel.

    Args:
        channels: C.
        epsilon: added to the variance.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Lee et al., ICCV 2019, arXiv:1903.10829", year=2019, kind="channel",
                  use="when texture and contrast matter (steel, fabric): also uses the standard deviation")

    def __init__(self, channels: int, *, epsilon: float = 1e-5, init: str = "identity") -> None:
        super().__init__()
        check_number("srm", "epsilon", epsilon, minimum=1e-8)
        check_choice("srm", "init", init, INITS)
        self.epsilon, self.init = epsilon, init
        self.style = nn.Parameter(torch.zeros(2, channels))
        self.norm = BatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, 1, 1)."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # squares overflow float16
        mean = average(wide, 2, 3, keepdim=True)
        variance = average((wide - mean).square(), 2, 3)  # var_mean has no operator in NCNN
        mean = mean.flatten(1)
        z = self.style[0] * mean + self.style[1] * (variance + self.epsilon).sqrt()
        return x * gate(self.norm(z.to(self.style.dtype)[:, :, None, None]), self.init).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"epsilon={self.epsilon:g}, init={self.init}"
