"""Averages of maps, and 1x1 convolutions of the vectors that they give: the squeeze half of most blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["average", "dense", "spread"]


def average(x: Tensor, *dims: int, keepdim: bool = False) -> Tensor:
    """Return the mean over the dimensions given, in a form whose backward pass costs next to nothing.

    The gradient of a mean is written out over the whole map before it is added to the others; that of a sum
    is a view of one number per vector. Dividing after the sum therefore saves a training step one pass over
    the map and its memory. The sum of a half-precision map is taken in float32, which it could otherwise
    overflow. Without a gradient, the plain mean is one operator less, in exported graphs as well.
    """
    if not x.requires_grad:
        return x.mean(dims, keepdim=keepdim)
    total = x.sum(dims, keepdim=keepdim, dtype=torch.promote_types(x.dtype, torch.float32))
    count = 1
    for dim in dims:
        count = count * x.shape[dim]
    return (total / count).to(x.dtype)


def dense(layer: nn.Conv2d, z: Tensor) -> Tensor:
    """Apply a 1x1 convolution to vectors (..., C), where its set-up would cost more than its work."""
    return F.linear(z, layer.weight.flatten(1), layer.bias)


def spread(s: Tensor) -> Tensor:
    """Turn one number per channel, (B, C), into (B, C, 1, 1), which scales a map."""
    return s.unsqueeze(-1).unsqueeze(-1)
