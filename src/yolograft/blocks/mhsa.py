"""MHSA: plain multi-head self-attention over the positions of a map.

Paper: Vaswani et al., "Attention Is All You Need", NeurIPS 2017, arXiv:1706.03762, eq. 1 and section 3.2.2,
on maps as in Wang et al. 2018 (the non-local block): no positional encoding, so that any size of map will do.

The N x N matrix of pairs is never held (see `_attention`), so a 160 x 160 map fits.
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
    """Each position asks all positions, in several heads: y = x + Wo [head_1; ...; head_n] + bo.

    head = softmax(Q K^T / sqrt(d)) V, with d = C / heads. With `init="identity"` Wo and bo start at zero.

    Shapes: (B, C, H, W) -> (B, C, H, W), `heads` dividing C. Parameters: 4 C^2 + 4 C.
    Operations: 8 C^2 + 4 N C / pool^2 per pixel, N = H W positions.

    Args:
        channels: C.
        heads: how many.
        pool: keys and values are averaged over pool x pool pixels, which divides the time by pool^2.
        init: `identity` or `paper`.
    """

    about = About(paper="Vaswani et al., NeurIPS 2017, arXiv:1706.03762", year=2017, kind="global",
                  use="full self-attention on p5, or with pool=2 or 4 on larger maps")

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
        """Add what the heads found to x: (B, C, H, W)."""
        near = x if self.pool == 1 else F.avg_pool2d(x, self.pool, ceil_mode=True)
        query, key, value = (t.flatten(2).transpose(1, 2).unflatten(2, (self.heads, self.width))
                             for t in (self.query(x), *self.key_value(near).chunk(2, 1)))
        u = attend(query, key, value, scale=self.width**-0.5, widths=(self.width, self.width))
        # (B, N, C) is how the kernel lays its result out: seen as a channels-last map, it need not be copied
        return match_memory_format(x + self.out(u.flatten(2).transpose(1, 2).unflatten(2, x.shape[2:])), x)

    def extra_repr(self) -> str:
        """Show the settings that no child shows."""
        return f"heads={self.heads}, pool={self.pool}"
