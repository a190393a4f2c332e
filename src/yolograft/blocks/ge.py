"""GE: gather-excite.

Paper: Hu, Shen, Albanie, Sun, Vedaldi, "Gather-Excite: Exploiting Feature Context in Convolutional Neural
Networks", NeurIPS 2018, arXiv:1810.12348.

The paper's GE-theta- is `gather="pool", mlp=False`, GE-theta is `gather="conv", mlp=False`, and GE-theta+ is
`gather="conv", mlp=True`. A global extent with convolutions would tie the weights to one size of map, which a
detector does not have; it is refused.
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

__all__ = ["GE"]


@block("ge", aliases=("GE", "GatherExcite", "GatherExciteBlock", "GENet"))
class GE(nn.Module):
    """Gather a summary of each neighbourhood of a channel, and gate the channel there by what it says.

    g = gather(x): average pooling, or depthwise 3x3 stride-2 convolutions with BN and ReLU between; g = W2
    relu(W1 g) with `mlp`; y = x sigmoid(nearest-neighbour g) (eq. 1). There is no one last layer to all the
    forms: `init="identity"` returns x + a (y - x) with a learnable scalar a = 0.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 11 C log2(extent) for `conv`, 2 C h + h + C for `mlp`, and 1 for a.
    Operations: about (18 / 3) C per pixel for `conv`, 4 C for `pool`, and 4 C h per gathered cell for `mlp`.

    Args:
        channels: C.
        extent: e, how many pixels each summary spans; 0 is the whole map (with `gather="pool"` only).
        gather: `conv` (learnt) or `pool` (averages).
        mlp: whether a bottleneck of two layers mixes the channels of the summary.
        ratio: the bottleneck's reduction; h = max(minimum, round(C / ratio)); only with `mlp`.
        minimum: the smallest hidden width; only with `mlp`.
        init: `identity` or `paper`.
    """

    about = About(paper="Hu et al., NeurIPS 2018, arXiv:1810.12348", year=2018, kind="mixed",
                  use="SE with a neighbourhood instead of the whole picture: dense scenes, large inputs")

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
            raise BlockError(f"ge: extent={extent} is no number of halvings. With gather=conv, choose 2, 4, "
                             "8 or "
                             "another power of two; gather=pool takes 0 (the whole map) and any even number.")
        if gather == "pool" and extent % 2:
            raise BlockError(f"ge: extent={extent} must be 0 (the whole map) or even.")
        if not mlp and (ratio, minimum) != (16, 1):
            raise BlockError("ge: mlp=False leaves ratio and minimum nothing to do.")
        self.extent = extent
        self.gather = _convolutions(channels, extent) if gather == "conv" else None
        width = hidden_channels(channels, ratio, minimum)
        self.mlp = nn.Sequential(nn.Conv2d(channels, width, 1), nn.ReLU(),
                                 nn.Conv2d(width, channels, 1)) if mlp else nn.Identity()
        self.mix = Mix("ge", init)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W), constant over neighbourhoods."""
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
        """Show the settings that no child shows."""
        return f"extent={self.extent}"


def _convolutions(channels: int, extent: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for _ in range(extent.bit_length() - 1):
        layers += [nn.Conv2d(channels, channels, 3, 2, 1, groups=channels, bias=False),
                   BatchNorm(channels), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
