"""GC: global context.

Paper: Cao, Xu, Lin, Wei, Hu, "GCNet: Non-local Networks Meet Squeeze-Excitation Networks and Beyond", ICCVW
2019, arXiv:1904.11492.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._settings import check_choice, check_integer, check_number, hidden_channels
from yolograft.blocks._vector import average, linear_1x1

__all__ = ["GC"]


@block("gc", aliases=("GC", "GCBlock", "ContextBlock", "GlobalContext", "GlobalContextBlock", "GCNet", "GCModule",
                      "GCAttention", "GlobalContextAttention"))
class GC(nn.Module):
    """Pool the map with attention into one context vector, transform it, and add it to every position.

    c = sum_j softmax_j(w x_j) x_j; t = W2 relu(LN(W1 c)); y = x + t (eq. 5), or y = x sigmoid(t) with `fuse="scale"`.
    With `init="identity"` W2 starts at zero, and the gate of `fuse="scale"` is doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C h + C + 3 h, and C + 1 for the attention; h is the hidden width.
    Operations: 5 C per pixel, and 4 C h per image.

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(minimum, round(C / r)), at most C.
        minimum: the smallest hidden width, at least 2 (the layer normalisation of one unit is constant).
        pool: `attention` (the paper) or `avg` (its ablation).
        fuse: `add` (the paper) or `scale` (its ablation, and timm's default).
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Cao et al., ICCVW 2019, arXiv:1904.11492", year=2019, kind="global",
                  use="scene-wide context at about SE's cost: a non-local block with one result for all positions")

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 16,
        minimum: int = 8,
        pool: str = "attention",
        fuse: str = "add",
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_number("gc", "ratio", ratio, minimum=1)
        check_integer("gc", "minimum", minimum, minimum=2)
        check_choice("gc", "pool", pool, ("attention", "avg"))
        check_choice("gc", "fuse", fuse, ("add", "scale"))
        check_choice("gc", "init", init, INITS)
        width = hidden_channels(channels, ratio, minimum)
        self.fuse, self.init = fuse, init
        self.attention = nn.Conv2d(channels, 1, 1) if pool == "attention" else None
        self.fc1 = nn.Conv2d(channels, width, 1)
        self.norm = nn.LayerNorm(width)
        self.fc2 = nn.Conv2d(width, channels, 1)
        if init == "identity":
            zero_init(self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        """Add (B, C, 1, 1) to x: (B, C, H, W), or scale x by it."""
        if self.attention is None:
            context = average(x, 2, 3)
        else:
            weights = self.attention(x).flatten(2).softmax(2).to(x.dtype)
            context = (x.flatten(2) @ weights.transpose(1, 2))[..., 0]
        t = linear_1x1(self.fc2, F.relu(self.norm(linear_1x1(self.fc1, context))))[:, :, None, None].to(x.dtype)
        return x + t if self.fuse == "add" else x * gate(t, self.init)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"fuse={self.fuse}, init={self.init}"
