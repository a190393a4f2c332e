"""Averages of maps, and 1x1 convolutions of the vectors that they give: the squeeze half of most blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["average", "dense"]


def average(x: Tensor, *dims: int, keepdim: bool = False) -> Tensor:
    """Return the mean over the dimensions given, in a form whose backward pass costs next to nothing.

    The gradient of a mean is written out over the whole map before it is added to the others; that of a sum
    is a view of one number per vector. Dividing after the sum therefore saves a training step one pass over
    the map and its memory. The sum of a half-precision map is taken in float32, which it could otherwise
    overflow.
    """
    total = x.sum(dims, keepdim=keepdim, dtype=torch.promote_types(x.dtype, torch.float32))
    for dim in dims:
        total = total / x.shape[dim]
    return total.to(x.dtype)


def dense(layer: nn.Conv2d, z: Tensor) -> Tensor:
    """Apply a 1x1 convolution to vectors (..., C), where its set-up would cost more than its work."""
    return F.linear(z, layer.weight.flatten(1), layer.bias)
