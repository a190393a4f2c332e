"""Keeping a map's memory format where a block's reshaping loses it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["like"]


def like(y: Tensor, x: Tensor) -> Tensor:
    """Return y in the memory format of x, so that a `channels_last` host goes on in `channels_last`."""
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.contiguous(memory_format=torch.channels_last if last else torch.contiguous_format)
