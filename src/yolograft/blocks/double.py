"""Double attention (A2).

Paper: Chen, Kalantidis, Li, Yan, Feng, "A^2-Nets: Double Attention Networks", NeurIPS 2018, arXiv:1810.11579.

The attention weights of each position sum to 1 over the descriptors, as in the paper. Several ports take this softmax
over the positions.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, zero_init
from yolograft.blocks._layout import match_memory_format
from yolograft.blocks._settings import check_choice, check_number, hidden_channels

__all__ = ["DoubleAttention"]


@block("double", aliases=("A2", "DoubleAttention", "DoubleAttentionLayer", "A2Attention", "A2Net", "A2Block"))
class DoubleAttention(nn.Module):
    """Gather the map into a few global descriptors, then give each position its own mixture of them.

    G = A(x) softmax_HW(B(x))^T, of shape (m, n) (eq. 3-4).
    Z = G softmax_n(V(x)) (eq. 5).
    y = x + W Z, with m = n = C / r.
    With `init="identity"` W starts at zero.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 4 C h + 3 h + C; h is the number of descriptors and their width.
    Operations: 8 C h + 4 h^2 per pixel.

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(1, round(C / r)); 4 in the paper.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Chen et al., NeurIPS 2018, arXiv:1810.11579", year=2018, kind="global",
                  use="long-range context in linear time, where a non-local block costs too much")

    def __init__(self, channels: int, *, ratio: float = 4, init: str = "identity") -> None:
        super().__init__()
        check_number("double", "ratio", ratio, minimum=1)
        check_choice("double", "init", init, INITS)
        width = hidden_channels(channels, ratio)
        self.features = nn.Conv2d(channels, width, 1)
        self.gather = nn.Conv2d(channels, width, 1)
        self.distribute = nn.Conv2d(channels, width, 1)
        self.out = nn.Conv2d(width, channels, 1)
        if init == "identity":
            zero_init(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """Add the distributed descriptors to x: (B, C, H, W)."""
        features = self.features(x).flatten(2)
        maps = self.gather(x).flatten(2).softmax(2).to(features.dtype)
        vectors = self.distribute(x).flatten(2).softmax(1).to(features.dtype)
        z = features @ maps.transpose(1, 2) @ vectors
        return match_memory_format(x + self.out(z.unflatten(2, x.shape[2:])), x)
