"""Means of maps, and 1x1 convolutions of the resulting vectors: the squeeze in most blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = ["average", "linear_1x1", "unsqueeze_hw"]


def average(x: Tensor, *dims: int, keepdim: bool = False) -> Tensor:
    """Return the mean over `dims`, computed so that the backward pass is cheap.

    The gradient of `mean` is a new tensor as large as the map. The gradient of `sum` is an expanded view of one number
    per vector. Dividing after the sum therefore saves one pass over the map in each training step, and its memory. The
    sum is accumulated in float32, because it can overflow float16. Without a gradient `mean` is used: it is one
    operator less, in exported graphs as well.
    """
    if not x.requires_grad:
        return x.mean(dims, keepdim=keepdim)
    total = x.sum(dims, keepdim=keepdim, dtype=torch.promote_types(x.dtype, torch.float32))
    count = 1
    for dim in dims:
        count = count * x.shape[dim]
    return (total / count).to(x.dtype)


def linear_1x1(layer: nn.Conv2d, z: Tensor) -> Tensor:
    """Apply a 1x1 convolution to vectors z: (..., C) as a linear layer, which is faster than a convolution there."""
    return F.linear(z, layer.weight.flatten(1), layer.bias)


def unsqueeze_hw(s: Tensor) -> Tensor:
    """Turn one number per channel, (B, C), into (B, C, 1, 1), which can multiply a map."""
    return s.unsqueeze(-1).unsqueeze(-1)
