"""1x1 convolutions applied to vectors: kept as convolutions in the state dict, done as matrix products."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["dense"]


def dense(layer: nn.Conv2d, z: Tensor) -> Tensor:
    """Apply a 1x1 convolution to vectors (..., C), where its set-up would cost more than its work."""
    return F.linear(z, layer.weight.flatten(1), layer.bias)
