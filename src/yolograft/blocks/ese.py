"""eSE: effective squeeze-and-excitation.

Paper: Lee, Park, "CenterMask: Real-Time Anchor-Free Instance Segmentation", CVPR 2020, arXiv:1911.06667 (VoVNetV2).

The paper's equation has a sigmoid. The authors' code and timm have a hard sigmoid, which is the default here.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._settings import check_choice
from yolograft.blocks._vector import average, linear_1x1, unsqueeze_hw

__all__ = ["ESE"]


@block("ese", aliases=("ESE", "EffectiveSE", "EffectiveSEModule", "eSEModule", "ESEBlock", "EffectiveSELayer",
                      "EffectiveSEBlock", "EffectiveSqueezeExcitation", "eSELayer", "ESEAttention"))
class ESE(nn.Module):
    """SE with one full layer from all channel averages to all channel gates, without the bottleneck.

    y = x gate(W avg x + b) (eq. 4-5).
    With `init="identity"` W and b start at zero and the gate is doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: C^2 + C.
    Operations: 2 C per pixel, and 2 C^2 per image.

    Args:
        channels: C.
        gate: `hardsigmoid` (the authors' code) or `sigmoid` (the paper's equation).
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Lee and Park, CVPR 2020, arXiv:1911.06667", year=2019, kind="channel",
                  use="narrow sites, where SE's bottleneck would lose information")

    def __init__(self, channels: int, *, gate: str = "hardsigmoid", init: str = "identity") -> None:
        super().__init__()
        check_choice("ese", "gate", gate, ("hardsigmoid", "sigmoid"))
        check_choice("ese", "init", init, INITS)
        self.gate, self.init = gate, init
        self.fc = nn.Conv2d(channels, channels, 1)
        if init == "identity":
            zero_init(self.fc)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, 1, 1)."""
        return x * unsqueeze_hw(gate(linear_1x1(self.fc, average(x, 2, 3)), self.init, self.gate))

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"gate={self.gate}, init={self.init}"
