"""SGE: spatial group-wise enhance.

Paper: Li, Hu, Yang, "Spatial Group-wise Enhance: Improving Semantic Feature Learning in Convolutional Networks",
arXiv:1905.09646 (2019).

Deviations: the paper's 64 groups are for ResNet-50; the default here is 8. Epsilon is inside the square root, as in
batch normalisation, so that a constant map has a gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate
from yolograft.blocks._settings import check_choice, check_divisor
from yolograft.blocks._vector import average

__all__ = ["SGE"]


@block("sge", aliases=("SGE", "SpatialGroupEnhance", "SGEAttention", "SGEModule"))
class SGE(nn.Module):
    """In each channel group, gate each position by its similarity to the group's average.

    c_i = g . x_i, g = avg x (eq. 1-2); n = (c - mean c) / std c over the positions (eq. 3).
    y = x sigmoid(gamma n + beta), with one gamma and one beta per group (eq. 4-5).
    The paper starts with gamma = 0 and beta = 1. With `init="identity"` both start at 0 and the gate is doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W); `groups` must divide C.
    Parameters: 2 groups.
    Operations: 5 C per pixel.

    Args:
        channels: C.
        groups: the paper's G, the number of groups.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Li et al., arXiv:1905.09646", year=2019, kind="spatial",
                  use="a spatial gate with almost no parameters, one map per channel group")

    def __init__(self, channels: int, *, groups: int = 8, init: str = "identity") -> None:
        super().__init__()
        check_divisor("sge", "groups", groups, channels)
        check_choice("sge", "init", init, INITS)
        self.groups, self.init = groups, init
        self.gamma = nn.Parameter(torch.zeros(groups, 1, 1))
        self.beta = nn.Parameter(torch.full((groups, 1, 1), 0.0 if init == "identity" else 1.0))

    def forward(self, x: Tensor) -> Tensor:
        """Scale the groups of x: (B, C, H, W) by one map each."""
        grouped = x.unflatten(1, (self.groups, -1))
        wide = torch.promote_types(x.dtype, torch.float32)  # sums of products overflow float16
        c = (grouped * average(grouped, 3, 4, keepdim=True)).sum(2, dtype=wide)
        centred = c - average(c, 2, 3, keepdim=True)
        n = centred * (average(centred.square(), 2, 3, keepdim=True) + 1e-5).rsqrt()  # var_mean has no operator in NCNN
        gates = gate(self.gamma * n + self.beta, self.init).to(x.dtype)
        return (grouped * gates[:, :, None]).reshape(x.shape)  # flatten loses the dynamic size in ONNX

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"groups={self.groups}, init={self.init}"
