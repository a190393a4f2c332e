"""Adaptive average pooling as two matrix products, so that it can be exported for every size.

ONNX has no adaptive pooling. Its exporters accept only input sizes that are multiples of the output size.
"""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["adaptive_average"]


def adaptive_average(x: Tensor, height: int, width: int) -> Tensor:
    """Return (B, C, height, width): x: (B, C, H, W) pooled as in `F.adaptive_avg_pool2d`; it can also enlarge."""
    rows = _pooling_matrix(x.shape[2], height, x)
    columns = _pooling_matrix(x.shape[3], width, x)
    return rows @ (x @ columns.transpose(0, 1))


def _pooling_matrix(size: int, cells: int, like: Tensor) -> Tensor:
    """Return the (cells, size) averaging matrix: cell k covers k size / cells to (k + 1) size / cells."""
    cell = torch.arange(cells, device=like.device)[:, None]
    position = torch.arange(size, device=like.device)
    start = cell * size // cells
    end = ((cell + 1) * size + cells - 1) // cells
    inside = (position >= start) & (position < end)
    return inside.to(like.dtype) / (end - start).to(like.dtype)
