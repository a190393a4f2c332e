"""BiFPN's fast normalized fusion of two or more maps of the same height and width.

Paper: Tan, Pang, Le, "EfficientDet: Scalable and Efficient Object Detection", CVPR 2020, arXiv:1911.09070, section 3.3.

Both public forms are here: the weighted sum of the paper, and the weighted concatenation that YOLO forks call BiFPN_Concat2
and BiFPN_Concat3. The node after the fusion (a depthwise separable convolution in the paper) is a row of its own in a
YAML. With the initial weights each input counts 1 / n: a new fusion does not start as an identity.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.errors import ModuleError
from yolograft.language import tr
from yolograft.modules import module
from yolograft.modules._settings import check_whole

__all__ = ["BiFPN", "BiFPN_Concat"]

_EPSILON = 1e-4  # section 3.3: "a small value to avoid numerical instability"


class _Fusion(nn.Module):
    """The learned weights w of n inputs, and their fast normalization relu(w_i) / (epsilon + sum_j relu(w_j))."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        if not isinstance(channels, (list, tuple)) or len(channels) < 2:
            raise ModuleError(tr("{module} fuses two or more inputs, so its row must read a list of rows, as in "
                                 "[[-1, 6], 1, {module}, []].", module=type(self).__name__))
        self.count = len(channels)
        self.w = nn.Parameter(torch.ones(self.count))

    def check(self, inputs: Sequence[Tensor]) -> None:
        """Raise unless there are as many inputs as weights."""
        if len(inputs) != self.count:
            raise ModuleError(tr("{module} was built for {count} inputs and got {given}.", module=type(self).__name__,
                                 count=self.count, given=len(inputs)))

    def weigh(self, inputs: Sequence[Tensor]) -> list[Tensor]:
        """Return each input, (B, C_i, H, W), times its normalized weight."""
        w = F.relu(self.w)
        normalized = (w / (_EPSILON + w.sum())).split(1)
        return [x * weight.to(x.dtype) for x, weight in zip(inputs, normalized, strict=True)]


@module("BiFPN", aliases=("Bi_FPN", "BiFPN_Add", "BiFPN_Sum", "WeightedAdd"), channels="[c],c2")
class BiFPN(_Fusion):
    """Weighted sum: y = sum_i w_i p_i / (epsilon + sum_j w_j), w >= 0 by a ReLU, epsilon = 0.0001.

    p_i is the input x_i, or a 1x1 convolution of it where its channels are not c2. The paper brings all levels to the same
    channels in this way, before the first fusion.

    Shapes: [(B, C_1, H, W), ..., (B, C_n, H, W)] -> (B, c2, H, W).
    Parameters: n, and C_i c2 + c2 for each projection.

    Args:
        channels: C_1, ..., C_n.
        c2: output channels; the largest C_i if it is not given.
    """

    def __init__(self, channels: Sequence[int], c2: int | None = None) -> None:
        super().__init__(channels)
        width = max(channels) if c2 is None else c2
        check_whole("BiFPN", "c2", width)
        self.proj = nn.ModuleList(nn.Identity() if c == width else nn.Conv2d(c, width, 1) for c in channels)

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return (B, c2, H, W) for n maps (B, C_i, H, W)."""
        self.check(inputs)
        first, *others = self.weigh([project(x) for project, x in zip(self.proj, inputs, strict=True)])
        for other in others:
            first = first + other
        return first


@module("BiFPN_Concat", aliases=("BiFPN_Concat2", "BiFPN_Concat3", "BiFPN_Concat4", "Concat_BiFPN", "Concat_BiFPN2",
                                 "Concat_BiFPN3"), channels="[c]")
class BiFPN_Concat(_Fusion):
    """Weighted concatenation: y = [w_1 x_1; ...; w_n x_n] / (epsilon + sum_j w_j), w >= 0 by a ReLU, epsilon = 0.0001.

    Deviation: the forks' classes have no ReLU, which the paper requires. It has no effect while all weights are positive.

    Shapes: [(B, C_1, H, W), ..., (B, C_n, H, W)] -> (B, C_1 + ... + C_n, H, W).
    Parameters: n.

    Args:
        channels: C_1, ..., C_n.
        dimension: 1, the axis of the channels, which the rows of forks give.
    """

    def __init__(self, channels: Sequence[int], dimension: int = 1) -> None:
        super().__init__(channels)
        if dimension != 1:
            raise ModuleError(tr("BiFPN_Concat: the argument {value!r} is the axis, which must be 1. For a weighted sum "
                                 "with this number of output channels, write BiFPN.", value=dimension))

    def forward(self, inputs: Sequence[Tensor]) -> Tensor:
        """Return (B, C_1 + ... + C_n, H, W) for n maps (B, C_i, H, W)."""
        self.check(inputs)
        return torch.cat(self.weigh(inputs), 1)
