"""MHSA: multi-head self-attention over the positions of a map.

Paper: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, eq. 1 and section 3.2.2, applied to
maps as in Wang et al. 2018 (the non-local block).

Deviation: there is no positional encoding, so the block accepts maps of any size. The N x N attention matrix is never
allocated (see `_attention`), so a 160 x 160 map fits into memory.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._attention import attend
from yolograft.blocks._birth import INITS, zero_init
from yolograft.blocks._layout import match_memory_format
from yolograft.blocks._settings import check_choice, check_divisor, check_integer

__all__ = ["MHSA"]


@block("mhsa", aliases=("MHSA", "SelfAttention", "Self_Attention", "MultiHeadSelfAttention"))
class MHSA(nn.Module):
    """Multi-head self-attention among all positions, added to the input.

    y = x + Wo [head_1; ...; head_n] + bo, head = softmax(Q K^T / sqrt(d)) V, with d = C / heads.
    With `init="identity"` Wo and bo start at zero.

    Shapes: (B, C, H, W) -> (B, C, H, W); `heads` must divide C.
    Parameters: 4 C^2 + 4 C.
    Operations: 8 C^2 + 4 N C / pool^2 per pixel, with N = H W positions.

    Args:
        channels: C.
        heads: the number of heads.
        pool: keys and values are averaged over pool x pool pixels, which divides the time by pool^2.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Vaswani et al., NeurIPS 2017, arXiv:1706.03762", year=2017, kind="global",
                  use="full self-attention at p5, or with pool=2 or pool=4 on larger maps")

    def __init__(self, channels: int, *, heads: int = 4, pool: int = 1, init: str = "identity") -> None:
        super().__init__()
        check_divisor("mhsa", "heads", heads, channels)
        check_integer("mhsa", "pool", pool)
        check_choice("mhsa", "init", init, INITS)
        self.heads, self.pool, self.width = heads, pool, channels // heads
        self.query = nn.Conv2d(channels, channels, 1)
        self.key_value = nn.Conv2d(channels, 2 * channels, 1)
        self.out = nn.Conv2d(channels, channels, 1)
        if init == "identity":
            zero_init(self.out)

    def forward(self, x: Tensor) -> Tensor:
        """Add the output of the heads to x: (B, C, H, W)."""
        pooled = x if self.pool == 1 else F.avg_pool2d(x, self.pool, ceil_mode=True)
        query, key, value = (t.flatten(2).transpose(1, 2).unflatten(2, (self.heads, self.width))
                             for t in (self.query(x), *self.key_value(pooled).chunk(2, 1)))
        u = attend(query, key, value, scale=self.width**-0.5, widths=(self.width, self.width))
        # the attention kernel returns (B, N, C) in memory, which is a channels-last map without a copy
        return match_memory_format(x + self.out(u.flatten(2).transpose(1, 2).unflatten(2, x.shape[2:])), x)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"heads={self.heads}, pool={self.pool}"
