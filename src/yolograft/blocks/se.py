"""SE: squeeze-and-excitation.

Paper: Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks", arXiv:1709.01507v4 (CVPR 2018, TPAMI 2020).

Deviation from the authors' Caffe code: the hidden width is rounded (see `SE`), because the channels of a scaled YOLO
do not all divide by 16; and `init="identity"`, which the paper, training from scratch, had no use for.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.errors import BlockError

__all__ = ["SE"]

# name -> (the paper's gate, the same gate shifted or scaled so that it is exactly 1 at 0)
_GATES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "sigmoid": (torch.sigmoid, lambda z: 2 * torch.sigmoid(z)),
    "tanh": (torch.tanh, lambda z: 1 + torch.tanh(z)),
    "relu": (F.relu, lambda z: F.relu(1 + z)),
    "hardsigmoid": (F.hardsigmoid, lambda z: 2 * F.hardsigmoid(z)),
}
_SQUEEZES: dict[str, Callable[[Tensor], Tensor]] = {
    "avg": lambda x: x.mean((2, 3), keepdim=True),
    "max": lambda x: x.amax((2, 3), keepdim=True),
}


@block("se", aliases=("SE", "SEAttention", "SEBlock", "SELayer", "SEModule", "SE_Block", "SENet", "SqueezeExcitation",
                      "SqueezeExcite", "SEAtt", "SE_Attention"))
class SE(nn.Module):
    """Squeeze-and-excitation: weigh each channel by a gate computed from all channels' global averages.

    z = mean of x over H x W (eq. 2); s = gate(W2 relu(W1 z)) (eq. 3); y = s x, channel by channel (eq. 4).

    With `init="identity"` the last layer starts at zero and the gate is scaled or shifted to be 1 there (2 sigmoid(z),
    1 + tanh(z), relu(1 + z)), so a fresh block returns its input bit for bit while the last layer's gradient is alive
    from the first step (the first layer's from the second, as in LoRA). With `init="paper"` gate and initial weights
    are the paper's; a fresh sigmoid gate is then about 0.5 and halves the features of a pretrained host.

    Shapes: (B, C, H, W) -> (B, C, H, W). Parameters: 2 C h + h + C with biases, 2 C h without, h the hidden width.

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(minimum, round(C / r)), and never more than C or less than 1.
        minimum: the smallest hidden width, a remedy for narrow hosts (C = 16 at r = 16 would leave one unit).
        squeeze: `avg` (the paper's choice) or `max` (its Table 11).
        gate: `sigmoid` (the paper's choice), `tanh` or `relu` (its Table 12), or `hardsigmoid` (MobileNetV3).
        bias: whether the two layers carry biases, as torchvision's and timm's do; the paper's own do not.
        init: `identity` or `paper`.
    """

    def __init__(
        self,
        channels: int,
        *,
        ratio: float = 16,
        minimum: int = 1,
        squeeze: str = "avg",
        gate: str = "sigmoid",
        bias: bool = True,
        init: str = "identity",
    ) -> None:
        super().__init__()
        for name, value, choices in (("squeeze", squeeze, tuple(_SQUEEZES)), ("gate", gate, tuple(_GATES)),
                                     ("init", init, ("identity", "paper")), ("bias", bias, (True, False))):
            if value not in choices:
                raise BlockError(f"se: {name}={value} is not one of {', '.join(map(str, choices))}.")
        for name, number in (("ratio", ratio), ("minimum", minimum)):
            if isinstance(number, bool) or not isinstance(number, (int, float)) or not number >= 1:
                raise BlockError(f"se: {name}={number} must be a number of at least 1.")
        hidden = min(channels, max(int(minimum), round(channels / ratio)))
        self.squeeze, self.gate, self.init = squeeze, gate, init
        self.fc1 = nn.Conv2d(channels, hidden, 1, bias=bias)
        self.fc2 = nn.Conv2d(hidden, channels, 1, bias=bias)
        if init == "identity":
            for parameter in self.fc2.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by its gate: (B, C, 1, 1)."""
        s = self.fc2(F.relu(self.fc1(_SQUEEZES[self.squeeze](x))))
        return x * _GATES[self.gate][self.init == "identity"](s)

    def extra_repr(self) -> str:
        """Show the settings that no child shows."""
        return f"squeeze={self.squeeze}, gate={self.gate}, init={self.init}"
