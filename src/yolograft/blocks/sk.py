"""SK: selective kernel convolution.

Paper: Li, Wang, Hu, Yang, "Selective Kernel Networks", CVPR 2019, arXiv:1903.06586.

Deviation: the paper's 32 groups do not divide the channels of the narrowest sites of a YOLO; the default here is 16.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import Mix
from yolograft.blocks._norm import BatchNorm
from yolograft.blocks._settings import check_divisor, check_integer, check_number
from yolograft.blocks._vector import average

__all__ = ["SK"]


@block("sk", aliases=("SK", "SKAttention", "SKConv", "SKUnit", "SelectiveKernel", "SKBlock",
                      "SKLayer", "SKModule", "SelectiveKernelAttention"))
class SK(nn.Module):
    """Convolve with kernels of several sizes, and let each channel select a mixture of the results.

    u_m = relu(BN(conv x)), a 3x3 convolution of dilation m (equivalent to a kernel of 3x3, 5x5, ...).
    z = relu(BN(W avg sum_m u_m)) (eq. 1-3).
    y = sum_m softmax_m(A_m z) u_m (eq. 5-6).
    y contains no copy of x, so with `init="identity"` the block returns x + a (y - x) with a learnable scalar a that
    starts at 0.

    Shapes: (B, C, H, W) -> (B, C, H, W); `groups` must divide C.
    Parameters: M (9 C^2 / groups + 2 C) + (1 + M) C d + 2 d, and 1 for a.
    Operations: M (18 C^2 / groups + 5 C) per pixel.

    Args:
        channels: C.
        branches: M, the number of kernel sizes; 2 in the paper.
        groups: the number of groups of each convolution.
        ratio: the reduction ratio r; d = max(minimum, round(C / r)).
        minimum: the paper's L, 32 in the paper; d may exceed C, unlike in other blocks.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Li et al., CVPR 2019, arXiv:1903.06586", year=2019, kind="mixed",
                  use="objects of many sizes at one scale: each channel selects its receptive field")

    def __init__(
        self,
        channels: int,
        *,
        branches: int = 2,
        groups: int = 16,
        ratio: float = 16,
        minimum: int = 32,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_integer("sk", "branches", branches, minimum=2)
        check_divisor("sk", "groups", groups, channels)
        check_number("sk", "ratio", ratio, minimum=1)
        check_integer("sk", "minimum", minimum)
        width = max(minimum, round(channels / ratio))
        self.paths = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(channels, channels, 3, padding=m, dilation=m, groups=groups, bias=False),
                BatchNorm(channels), nn.ReLU(),
            ) for m in range(1, branches + 1)
        )
        self.reduce = nn.Conv2d(channels, width, 1, bias=False)
        self.norm = BatchNorm(width)
        self.select = nn.Conv2d(width, branches * channels, 1, bias=False)
        self.mix = Mix("sk", init)

    def forward(self, x: Tensor) -> Tensor:
        """Return the chosen mixture of convolutions of x: (B, C, H, W)."""
        paths = [path(x) for path in self.paths]
        z = average(paths[0], 2, 3, keepdim=True)
        for u in paths[1:]:  # added one by one: NCNN cannot stack maps along a new first axis
            z = z + average(u, 2, 3, keepdim=True)
        logits = self.select(F.relu(self.norm(self.reduce(z))))
        weights = logits.unflatten(1, (len(paths), -1)).softmax(1).to(paths[0].dtype).unbind(1)
        y = paths[0] * weights[0]
        for u, weight in zip(paths[1:], weights[1:], strict=True):
            y = y + u * weight
        return self.mix(x, y)
