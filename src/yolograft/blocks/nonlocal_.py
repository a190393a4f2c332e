"""NL: the non-local block.

Paper: Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971.

The N x N attention matrix is never allocated (see `_attention`), so a 160 x 160 map fits into memory.
Deviation: the paper's concatenation form is left out, because it needs that matrix.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._attention import attend
from yolograft.blocks._birth import INITS, zero_init
from yolograft.blocks._layout import match_memory_format
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._settings import check_choice, check_integer, check_number, hidden_channels

__all__ = ["NonLocal"]


@block("nonlocal", aliases=("NL", "NonLocal", "NonLocalBlock", "NonLocalAttn", "NONLocalBlock2D", "NLBlock",
                            "NonLocalAttention"))
class NonLocal(nn.Module):
    """Add to each position a sum over all positions, weighted by their similarity.

    y = x + BN(W u), u_i = sum_j f(x_i, x_j) g(x_j) / c(x) (eq. 1, 6). f is one of:
    `embedded`: exp(theta_i . phi_j) (eq. 3), normalised by its sum;
    `gaussian`: exp(x_i . x_j) (eq. 2), normalised by its sum;
    `dot`: theta_i . phi_j / N (eq. 4).
    The paper starts with a BN scale of zero, which is an identity: `init="identity"` and `init="paper"` are the same.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 4 C h + 3 h + 3 C (`gaussian`: 2 C h + h + 3 C); h is the inner width.
    Operations: 8 C h + 4 N h per pixel, with N = H W positions (`dot`: 8 C h + 4 h^2).

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(1, round(C / r)); 2 in the paper.
        form: `embedded`, `gaussian` or `dot`.
        subsample: s; keys and values are max-pooled over s x s pixels; 2 in the paper.
        init: `identity` or `paper`, which are the same for this block.
    """

    about = About(paper="Wang et al., CVPR 2018, arXiv:1711.07971", year=2017, kind="global",
                  use="when distant parts of the image belong together; at p5, because time grows with N^2")

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 2,
        form: str = "embedded",
        subsample: int = 1,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_number("nonlocal", "ratio", ratio, minimum=1)
        check_choice("nonlocal", "form", form, ("embedded", "gaussian", "dot"))
        check_integer("nonlocal", "subsample", subsample)
        check_choice("nonlocal", "init", init, INITS)
        width = hidden_channels(channels, ratio)
        self.form, self.subsample = form, subsample
        self.widths = (channels if form == "gaussian" else width, width)
        self.theta = nn.Conv2d(channels, width, 1) if form != "gaussian" else nn.Identity()
        self.phi = nn.Conv2d(channels, width, 1) if form != "gaussian" else nn.Identity()
        self.g = nn.Conv2d(channels, width, 1)
        self.out = nn.Conv2d(width, channels, 1)
        self.norm = BatchNorm(channels)
        zero_init(self.norm)

    def forward(self, x: Tensor) -> Tensor:
        """Add the weighted sums to x: (B, C, H, W)."""
        pooled = x if self.subsample == 1 else F.max_pool2d(x, self.subsample, ceil_mode=True)
        maps = (self.theta(x), self.phi(pooled), self.g(pooled))
        query, key, value = (t.flatten(2).transpose(1, 2) for t in maps)
        if self.form == "dot":
            u = query @ ((key / key.shape[1]).transpose(1, 2) @ value)
        else:
            u = attend(query[:, :, None], key[:, :, None], value[:, :, None], scale=1.0, widths=self.widths)[:, :, 0]
        z = self.norm(self.out(u.transpose(1, 2).unflatten(2, x.shape[2:])))
        return match_memory_format(x + z.to(x.dtype), x)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"form={self.form}, subsample={self.subsample}"
