"""GE: gather-excite.

Paper: Hu, Shen, Albanie, Sun, Vedaldi, "Gather-Excite: Exploiting Feature Context in Convolutional Neural Networks",
NeurIPS 2018, arXiv:1810.12348.

The variants in the paper: GE-theta- is `gather="pool", mlp=False`, GE-theta is `gather="conv", mlp=False`, and
GE-theta+ is `gather="conv", mlp=True`.
Deviation: a global extent with convolutions needs maps of one fixed size, which a detector does not have. That
combination raises an error.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import Mix
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._settings import check_bool, check_choice, check_integer, check_number, hidden_channels
from yolograft.blocks._vector import average
from yolograft.errors import BlockError
from yolograft.language import tr

__all__ = ["GE"]


@block("ge", aliases=("GE", "GatherExcite", "GatherExciteBlock", "GENet", "GEBlock", "GatherExciteAttention"))
class GE(nn.Module):
    """Summarise each neighbourhood of a channel, and gate the channel there by the summary.

    g = gather(x): average pooling, or depthwise 3x3 convolutions of stride 2, each with BN, and ReLU between them.
    With `mlp`, g = W2 relu(W1 g) follows.
    y = x sigmoid(nearest-neighbour upsampling of g) (eq. 1).
    The variants do not share one last layer, so with `init="identity"` the block returns x + a (y - x) with a learnable
    scalar a that starts at 0.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 11 C log2(extent) for `conv`, 2 C h + h + C for `mlp`, and 1 for a; h is the hidden width.
    Operations: about 6 C per pixel for `conv`, 4 C per pixel for `pool`, and 4 C h per gathered cell for `mlp`.

    Args:
        channels: C.
        extent: the paper's e, the pixels per summary in each direction; 0 is the whole map (only with `gather="pool"`).
        gather: `conv` (learned) or `pool` (average pooling).
        mlp: whether a bottleneck of two layers mixes the channels of the summary.
        ratio: the bottleneck's reduction ratio r; h = max(minimum, round(C / r)), at most C; only with `mlp`.
        minimum: the smallest hidden width; only with `mlp`.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Hu et al., NeurIPS 2018, arXiv:1810.12348", year=2018, kind="mixed",
                  use="dense scenes and large inputs: SE over neighbourhoods, not over the whole image")

    def __init__(
        self,
        channels: int,
        *,
        extent: int = 4,
        gather: str = "conv",
        mlp: bool = True,
        ratio: float = 16,
        minimum: int = 1,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_integer("ge", "extent", extent, minimum=0)
        check_choice("ge", "gather", gather, ("conv", "pool"))
        check_bool("ge", "mlp", mlp)
        check_number("ge", "ratio", ratio, minimum=1)
        check_integer("ge", "minimum", minimum)
        if gather == "conv" and (extent < 2 or extent & (extent - 1)):
            raise BlockError(tr("ge: extent={extent} must be a power of two (2, 4, 8, ...) with gather=conv. gather=pool "
                                "takes 0 (the whole map) and any even number.", extent=extent))
        if gather == "pool" and extent % 2:
            raise BlockError(tr("ge: extent={extent} must be 0 (the whole map) or even.", extent=extent))
        if not mlp and (ratio, minimum) != (16, 1):
            raise BlockError(tr("ge: ratio and minimum have no effect with mlp=False. Remove them."))
        self.extent = extent
        self.gather = _convolutions(channels, extent) if gather == "conv" else None
        width = hidden_channels(channels, ratio, minimum)
        self.mlp = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(),
                                 nn.Conv2d(width, channels, 1)) if mlp else nn.Identity()
        self.mix = Mix("ge", init)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W); the gate is constant within a neighbourhood."""
        if self.gather is not None:
            g = self.gather(x)
        elif self.extent:
            g = F.avg_pool2d(x, 2 * self.extent - 1, self.extent, self.extent - 1, count_include_pad=False)
        else:
            g = average(x, 2, 3, keepdim=True)
        g = self.mlp(g).sigmoid()
        if self.extent:
            g = F.interpolate(g, size=x.shape[2:])
        return self.mix(x, x * g)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"extent={self.extent}"


def _convolutions(channels: int, extent: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(extent.bit_length() - 1):
        layers += [nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False),
                   BatchNorm(channels), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
