"""NAM: normalization-based attention.

Paper: Liu, Shao, Teng, Hoffmann, "NAM: Normalization-based Attention Module", NeurIPS workshop 2021,
arXiv:2111.12419.

The channel module (eq. 1-2). Its spatial twin has one weight per pixel of a fixed size of map, which a
detector does not have. The authors' code cuts the gradient of the weights' ratio; the paper does not, and
neither does this.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import Mix
from yolograft.blocks._norm import BatchNorm

__all__ = ["NAM"]


@block("nam", aliases=("NAM", "NAMAttention", "NAM_Attention", "NAMModule"))
class NAM(nn.Module):
    """The scale that batch normalisation learns says how much a channel matters: no layer beside it.

    y = x sigmoid(w BN(x)), w_c = |gamma_c| / sum |gamma|, gamma the BN's scale. A silent BN would make the
    ratio 0 / 0: `init="identity"` returns x + a (y - x) with a learnable scalar a = 0.

    Shapes: (B, C, H, W) -> (B, C, H, W). Parameters: 2 C, and 1 for a. Operations: 6 C per pixel.

    Args:
        channels: C.
        init: `identity` or `paper`.
    """

    about = About(paper="Liu et al., NeurIPS workshop 2021, arXiv:2111.12419", year=2021, kind="mixed",
                  use="cheap gate per value, weighted by what batch normalisation found important")

    def __init__(self, channels: int, *, init: str = "identity") -> None:
        super().__init__()
        self.norm = BatchNorm(channels)
        self.mix = Mix("nam", init)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W)."""
        size = self.norm.weight.abs()
        weights = (size / size.sum())[:, None, None]
        return self.mix(x, x * (weights * self.norm(x)).sigmoid().to(x.dtype))
