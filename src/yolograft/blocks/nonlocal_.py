"""NL: the non-local block.

Paper: Wang, Girshick, Gupta, He, "Non-local Neural Networks", CVPR 2018, arXiv:1711.07971.

The N x N matrix of pairs is never held (see `_attention`), so a 160 x 160 map fits. The paper's concatenation
form is left out, because it cannot be had without that matrix.
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


@block("nonlocal", aliases=("NL", "NonLocal", "NonLocalBlock", "NonLocalAttn", "NONLocalBlock2D", "NLBlock"))
class NonLocal(nn.Module):
    """Each position receives a weighted sum over all positions, weighted by how alike they are.

    y = x + BN(W u), u_i = sum_j f(x_i, x_j) g(x_j) / c(x) (eq. 1, 6), with f = exp(theta_i . phi_j)
    (`embedded`, eq. 3), exp(x_i . x_j) (`gaussian`, eq. 2), both normalised by their sum, or theta_i . phi_j
    / N (`dot`, eq. 4). The paper starts BN's scale at zero, an identity already: `init="identity"` and
    `init="paper"` are the same.

    Shapes: (B, C, H, W) -> (B, C, H, W). Parameters: 4 C h + 3 h + 3 C (`gaussian`: 2 C h + h + 3 C), h = C /
        r.
    Operations: 8 C h + 4 N h per pixel, N = H W positions (`dot`: 8 C h + 4 h^2).

    Args:
        channels: C.
        ratio: the reduction r; h = max(1, round(C / r)); 2 in the paper.
        form: `embedded`, `gaussian` or `dot`.
        subsample: s; keys and values are max-pooled by s x s (the paper's trick, s = 2).
        init: `identity` or `paper`, which are the same here.
    """

    about = About(paper="Wang et al., CVPR 2018, arXiv:1711.07971", year=2017, kind="global",
                  use="distant parts of the picture belong together; on p5, since time grows with N^2")

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
        near = x if self.subsample == 1 else F.max_pool2d(x, self.subsample, ceil_mode=True)
        maps = (self.theta(x), self.phi(near), self.g(near))
        query, key, value = (t.flatten(2).transpose(1, 2) for t in maps)
        if self.form == "dot":
            u = query @ ((key / key.shape[1]).transpose(1, 2) @ value)
        else:
            u = attend(query[:, :, None], key[:, :, None], value[:, :, None], scale=1.0, widths=self.widths)[:, :, 0]
        z = self.norm(self.out(u.transpose(1, 2).unflatten(2, x.shape[2:])))
        return match_memory_format(x + z.to(x.dtype), x)

    def extra_repr(self) -> str:
        """Show the settings that no child shows."""
        return f"form={self.form}, subsample={self.subsample}"
