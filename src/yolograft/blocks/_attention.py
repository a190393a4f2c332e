"""Dot-product attention among positions, without ever holding the N x N matrix of their pairs."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend"]


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float, widths: tuple[int, int]) -> Tensor:
    """Return softmax(scale query key^T) value, in memory that grows with the number of positions alone.

    PyTorch's fused kernels work block by block, but only where queries, keys and values are equally wide (the
    narrower are padded with zeros, which changes neither the products nor, once cut off again, the result), and
    where each position's numbers lie side by side, as they do not in a map in NCHW: otherwise PyTorch would hold
    the N x N matrix after all, and say nothing.

    Args:
        query: (B, N, heads, d).
        key: (B, M, heads, d).
        value: (B, M, heads, e).
        scale: what the products are multiplied by.
        widths: d and e, as numbers, so that a trace branches on no tensor's size.

    Returns:
        (B, N, heads, e).
    """
    d, e = widths
    if d < e:
        query, key = F.pad(query, (0, e - d)), F.pad(key, (0, e - d))
    elif e < d:
        value = F.pad(value, (0, d - e))
    query, key, value = (one.contiguous().transpose(1, 2) for one in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=scale).transpose(1, 2)[..., :e]
