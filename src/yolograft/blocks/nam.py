"""NAM: normalization-based attention.

Paper: Liu, Shao, Teng, Hoffmann, "NAM: Normalization-based Attention Module", NeurIPS workshop 2021, arXiv:2111.12419.

This is the channel module (eq. 1-2). The paper's spatial module is left out: it has one weight per pixel of a map of
one fixed size, which a detector does not have.
The weights w keep their gradient, as in the paper. The authors' code detaches it.
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
    """Gate each value, weighted by the scale that batch normalisation learns for its channel.

    y = x sigmoid(w BN(x)), w_c = |gamma_c| / sum |gamma|; gamma is the scale of BN.
    With gamma = 0 the weights would be 0 / 0, so with `init="identity"` the block returns x + a (y - x) with a
    learnable scalar a that starts at 0.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C, and 1 for a.
    Operations: 6 C per pixel.

    Args:
        channels: C.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Liu et al., NeurIPS workshop 2021, arXiv:2111.12419", year=2021, kind="mixed",
                  use="a cheap gate per value, weighted by the scales of batch normalisation")

    def __init__(self, channels: int, *, init: str = "identity") -> None:
        super().__init__()
        self.norm = BatchNorm(channels)
        self.mix = Mix("nam", init)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W)."""
        size = self.norm.weight.abs()
        weights = (size / size.sum())[:, None, None]
        return self.mix(x, x * (weights * self.norm(x)).sigmoid().to(x.dtype))
