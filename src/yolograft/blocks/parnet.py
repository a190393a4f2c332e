"""ParNet's block: three parallel branches with skip-squeeze-excitation.

Paper: Goyal, Bochkovskiy, Deng, Koltun, "Non-deep Networks", NeurIPS 2022, arXiv:2110.07641 (fig. 2a,
RepVGG-SSE).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import Mix
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._vector import average, linear_1x1

__all__ = ["ParNet"]


@block("parnet", aliases=("ParNet", "ParNetAttention", "ParNet_Attention", "ParNetBlock"))
class ParNet(nn.Module):
    """Add a 1x1 branch, a 3x3 branch and a gated skip branch, then apply SiLU.

    y = silu(BN(W1 x) + BN(W3 x) + SSE(x)); SSE(x) = n sigmoid(W avg n + b), n = BN(x).
    y contains no copy of x, so with `init="identity"` the block returns x + a (y - x) with a learnable scalar a that
    starts at 0.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 11 C^2 + 7 C, and 1 for a.
    Operations: 20 C^2 + 14 C per pixel.

    Args:
        channels: C.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Goyal et al., NeurIPS 2022, arXiv:2110.07641", year=2021, kind="channel",
                  use="a shallow host: adds the capacity of a convolution as well as a gate")

    def __init__(self, channels: int, *, init: str = "identity") -> None:
        super().__init__()
        self.one = nn.Sequential(nn.Conv2d(channels, channels, 1, bias=False), BatchNorm(channels))
        self.three = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1, bias=False),
                                   BatchNorm(channels))
        self.norm = BatchNorm(channels)
        self.fc = nn.Conv2d(channels, channels, 1)
        self.mix = Mix("parnet", init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the activated sum of the three branches of x: (B, C, H, W)."""
        n = self.norm(x)
        skip = n * linear_1x1(self.fc, average(n, 2, 3)).sigmoid()[:, :, None, None]
        return self.mix(x, F.silu(self.one(x) + self.three(x) + skip))
