"""Double attention (A2).

Paper: Chen, Kalantidis, Li, Yan, Feng, "A^2-Nets: Double Attention Networks", NeurIPS 2018, arXiv:1810.11579.

The attention vectors of each position sum to 1 over the descriptors, as in the paper; several ports take the
softmax over the positions instead.
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
    """Gather the map into a few global descriptors, and hand each position its own mixture of them.

    G = A(x) softmax_HW(B(x))^T, (m, n) (eq. 3-4); Z = G softmax_n(V(x)) (eq. 5); y = x + W Z, m = n = C / r.
    With `init="identity"` W starts at zero.

    Shapes: (B, C, H, W) -> (B, C, H, W). Parameters: 4 C h + 3 h + C, h = C / r. Operations: 8 C h + 4 h^2
        per pixel.

    Args:
        channels: C.
        ratio: the reduction r; h = max(1, round(C / r)); 4 in the paper.
        init: `identity` or `paper`.
    """

    about = About(paper="Chen et al., NeurIPS 2018, arXiv:1810.11579", year=2018, kind="global",
                  use="long-range context in linear time, where non-local is too dear")

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
