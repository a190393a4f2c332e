"""Dot-product attention among positions that never allocates the N x N attention matrix."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

__all__ = ["attend"]


def attend(query: Tensor, key: Tensor, value: Tensor, *, scale: float, widths: tuple[int, int]) -> Tensor:
    """Return softmax(scale query key^T) value, with memory linear in the number of positions.

    PyTorch's fused attention kernels need two things. Otherwise PyTorch allocates the N x N matrix without a warning.

    - Queries, keys and values have the same width. The narrower ones are padded with zeros here: zeros do not change
      the products, and the padded part of the result is cut off.
    - The numbers of each position are contiguous in memory, which they are not in an NCHW map. They are copied here.

    Args:
        query: (B, N, heads, d).
        key: (B, M, heads, d).
        value: (B, M, heads, e).
        scale: factor on the products of queries and keys.
        widths: d and e as Python integers, so that a trace does not branch on a tensor's size.

    Returns:
        (B, N, heads, e).
    """
    d, e = widths
    if d < e:
        query, key = F.pad(query, (0, e - d)), F.pad(key, (0, e - d))
    elif e < d:
        value = F.pad(value, (0, d - e))
    query, key, value = (x.contiguous().transpose(1, 2) for x in (query, key, value))
    return F.scaled_dot_product_attention(query, key, value, scale=scale).transpose(1, 2)[..., :e]
