"""GAM: global attention mechanism.

Paper: Liu, Shao, Hoffmann, "Global Attention Mechanism: Retain Information to Enhance Channel-Spatial Interactions",
arXiv:2112.05561 (2021).

Both gates are sigmoids, as in the paper's figures (some copies of the authors' code omit the channel gate's sigmoid).
Deviation: the grouped, shuffled convolutions of the authors' code for large networks are not implemented.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._settings import check_choice, check_integer, check_number, hidden_channels

__all__ = ["GAM"]


@block("gam", aliases=("GAM", "GAMAttention", "GAM_Attention", "GAMModule", "GAMBlock", "GlobalAttentionMechanism"))
class GAM(nn.Module):
    """Gate every value by its channels and then by its neighbourhood, without pooling, at a high cost.

    x' = x sigmoid(W2 relu(W1 x)) at each pixel (eq. 1).
    y = x' sigmoid(BN(conv_kxk relu(BN(conv_kxk x')))), with C to h to C channels (eq. 2).
    With `init="identity"` W2 and the last BN start at zero and the gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C h (1 + k^2) + 4 h + 4 C; h is the hidden width.
    Operations: 4 C h (1 + k^2) per pixel.

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(1, round(C / r)).
        kernel_size: k of both spatial convolutions, odd; 7 in the paper.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Liu et al., arXiv:2112.05561", year=2021, kind="mixed",
                  use="when the number of parameters does not matter (6.6 million at C = 512 by default)")

    def __init__(
        self, channels: int, *, ratio: float = 4, kernel_size: int = 7, init: str = "identity"
    ) -> None:
        super().__init__()
        check_number("gam", "ratio", ratio, minimum=1)
        check_integer("gam", "kernel_size", kernel_size, odd=True)
        check_choice("gam", "init", init, INITS)
        width = hidden_channels(channels, ratio)
        self.init = init
        self.channel = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(), nn.Conv2d(width, channels, 1))
        self.spatial = nn.Sequential(
            nn.Conv2d(channels, width, kernel_size, padding=kernel_size // 2), BatchNorm(width), nn.ReLU(),
            nn.Conv2d(width, channels, kernel_size, padding=kernel_size // 2), BatchNorm(channels),
        )
        if init == "identity":
            zero_init(self.channel[-1], self.spatial[-1])

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W), twice."""
        x = x * gate(self.channel(x), self.init)
        return x * gate(self.spatial(x), self.init)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"init={self.init}"
