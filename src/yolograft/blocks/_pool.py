"""Adaptive average pooling as two matrix products, so that it can be exported at any size.

ONNX has no adaptive pooling, and its exporters refuse every size that the output does not divide.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["adaptive_average"]


def adaptive_average(x: Tensor, height: int, width: int) -> Tensor:
    """Return (B, C, H, W) averaged (or spread) over height x width cells, as adaptive pooling has them."""
    rows = _cells(x.shape[2], height, x)
    columns = _cells(x.shape[3], width, x)
    return rows @ (x @ columns.transpose(0, 1))


def _cells(size: int, cells: int, like: Tensor) -> Tensor:
    """Return the (cells, size) matrix that averages: cell k spans k size / cells to (k + 1) size / cells."""
    cell = torch.arange(cells, device=like.device)[:, None]
    position = torch.arange(size, device=like.device)
    start = cell * size // cells
    end = ((cell + 1) * size + cells - 1) // cells
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)
