"""GCT: gated channel transformation.

Paper: Yang, Zhu, Wu, Yang, "Gated Channel Transformation for Visual Recognition", CVPR 2020,
arXiv:1909.11519.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS
from yolograft.blocks._settings import check_choice, check_number

__all__ = ["GCT"]


@block("gct", aliases=("GCT", "GCTModule", "GatedChannelTransform", "GatedChannelTransformation"))
class GCT(nn.Module):
    """Let channels compete or cooperate through their norms, with three parameters per channel and no layer.

    s_c = alpha_c |x_c|, the norm over H x W (eq. 1).
    n_c = sqrt(C) s_c / |s|, the norm over the channels (eq. 2).
    y = x (1 + tanh(gamma_c n_c + beta_c)) (eq. 3).
    The paper starts with gamma = beta = 0, which is an identity: `init="identity"` and `init="paper"` are the same.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 3 C.
    Operations: 3 C per pixel.

    Args:
        channels: C.
        norm: `l2` (the paper) or `l1` (its ablation), for both norms.
        epsilon: added to the norms, so that a map of zeros does not divide by zero.
        init: `identity` or `paper`, which are the same for this block.
    """

    about = About(paper="Yang et al., CVPR 2020, arXiv:1909.11519", year=2019, kind="channel",
                  use="before convolutions (`/pre`): the published block starts as an identity, with 3 C parameters")

    def __init__(
        self, channels: int, *, norm: str = "l2", epsilon: float = 1e-5, init: str = "identity"
    ) -> None:
        super().__init__()
        check_choice("gct", "norm", norm, ("l2", "l1"))
        check_number("gct", "epsilon", epsilon, minimum=1e-8)
        check_choice("gct", "init", init, INITS)
        self.norm, self.epsilon = norm, epsilon
        self.alpha = nn.Parameter(torch.ones(channels))
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, 1, 1)."""
        wide = x.to(torch.promote_types(x.dtype, torch.float32))  # sums of squares overflow float16
        if self.norm == "l2":
            s = self.alpha * (wide.square().sum((2, 3)) + self.epsilon).sqrt()
            n = s * (s.square().mean(1, keepdim=True) + self.epsilon).rsqrt()
        else:
            s = self.alpha * wide.abs().sum((2, 3))
            n = s / (s.abs().mean(1, keepdim=True) + self.epsilon)
        gate = 1 + torch.tanh(self.gamma * n + self.beta)
        return x * gate.to(x.dtype)[:, :, None, None]

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"norm={self.norm}, epsilon={self.epsilon:g}"
