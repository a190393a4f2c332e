"""SE: squeeze-and-excitation.

Paper: Hu, Shen, Albanie, Sun, Wu, "Squeeze-and-Excitation Networks", CVPR 2018, arXiv:1709.01507v4.

Deviations from the authors' Caffe code:
- The hidden width is rounded (see `SE`), because 16 does not divide the channels of every scaled YOLO.
- `init="identity"` is new. The paper trains from scratch and does not need it.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import GATES, INITS, gate, zero_init
from yolograft.blocks._settings import check_bool, check_choice, check_integer, check_number, hidden_channels
from yolograft.blocks._vector import average, linear_1x1, unsqueeze_hw

__all__ = ["SE"]


@block("se", aliases=("SE", "SEAttention", "SEBlock", "SELayer", "SEModule", "SE_Block", "SENet",
                      "SqueezeExcitation", "SqueezeExcite", "SEAtt", "SE_Attention", "SELayerV1", "SENetV1",
                      "ChannelSELayer",
                      "SqueezeAndExcitation", "SqueezeAndExcite", "SEAttentionBlock", "SqueezeExcitationBlock"))
class SE(nn.Module):
    """Squeeze-and-excitation: scale each channel by a gate computed from the global averages of all channels.

    z = mean of x over H x W (eq. 2); s = gate(W2 relu(W1 z)) (eq. 3); y = s x, channel by channel (eq. 4).

    With `init="identity"` the last layer starts at zero, and the gate is scaled or shifted to be 1 at 0: 2 sigmoid(z),
    1 + tanh(z), relu(1 + z). A new block then returns its input bit for bit. The last layer gets a gradient from the
    first step on, and the first layer from the second step on, as in LoRA.
    With `init="paper"` the gate and the initial weights are the paper's. A new sigmoid gate is then about 0.5 and
    halves the features of a pretrained host.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C h + h + C with biases, 2 C h without; h is the hidden width.
    Operations: 2 C per pixel (sum and scale), and 4 C h per image.

    Args:
        channels: C.
        ratio: the reduction ratio r; h = max(minimum, round(C / r)), at least 1 and at most C.
        minimum: the smallest hidden width. Raise it for narrow hosts: C = 16 with r = 16 gives one hidden unit.
        squeeze: `avg` (the paper), `max` (its Table 11), or `off` (NoSqueeze, its Table 16): the two layers then run at
            each position, in 4 C h operations per pixel.
        gate: `sigmoid` (the paper), `tanh` or `relu` (its Table 12), or `hardsigmoid` (MobileNetV3).
        bias: whether the two layers have biases, as in torchvision and timm; the paper has none.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Hu et al., CVPR 2018, arXiv:1709.01507", year=2017, kind="channel",
                  use="the first block to try: cheap, well understood, and part of most published comparisons")

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
        check_number("se", "ratio", ratio, minimum=1)
        check_integer("se", "minimum", minimum)
        check_choice("se", "squeeze", squeeze, ("avg", "max", "off"))
        check_choice("se", "gate", gate, GATES)
        check_bool("se", "bias", bias)
        check_choice("se", "init", init, INITS)
        width = hidden_channels(channels, ratio, minimum)
        self.squeeze, self.gate, self.init = squeeze, gate, init
        self.fc1 = nn.Conv2d(channels, width, 1, bias=bias)
        self.fc2 = nn.Conv2d(width, channels, 1, bias=bias)
        if init == "identity":
            zero_init(self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by its gate: (B, C, 1, 1), or (B, C, H, W) without a squeeze."""
        if self.squeeze == "off":
            return x * gate(self.fc2(F.relu(self.fc1(x))), self.init, self.gate)
        z = average(x, 2, 3) if self.squeeze == "avg" else x.amax((2, 3))
        s = linear_1x1(self.fc2, F.relu(linear_1x1(self.fc1, z)))
        return x * unsqueeze_hw(gate(s, self.init, self.gate))

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"squeeze={self.squeeze}, gate={self.gate}, init={self.init}"
