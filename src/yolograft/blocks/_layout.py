"""Restore a map's memory format (`channels_last`) where a block's reshaping loses it."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["match_memory_format"]


def match_memory_format(y: Tensor, x: Tensor) -> Tensor:
    """Return y in the memory format of x, so that a `channels_last` host stays in `channels_last`."""
    is_channels_last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return y.contiguous(memory_format=torch.channels_last if is_channels_last else torch.contiguous_format)
