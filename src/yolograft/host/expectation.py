"""Distances of boxes' sides from the distributions that a head gives, in one operator, for validation on a CPU.

Ultralytics takes a softmax over the bins of every side at every place, and then their mean by a convolution, each of which
reads and writes all of them. `expectation.c` writes the means alone, equal to float32's last digits. Without a compiler,
PyTorch's operators do the work.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `DFL.forward(x)` turns (B, 4 c1, A) into (B, 4, A), weighing the bins by
their numbers from 0.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from ultralytics.nn.modules.block import DFL

from yolograft.host import native
from yolograft.host.instead import instead

__all__ = ["expected", "quicker", "refused"]

_SOURCE = Path(__file__).with_name("expectation.c")
_P, _N = ctypes.c_void_p, ctypes.c_int64
_stock = DFL.forward


def expected(x: Tensor) -> Tensor:
    """Return (B, n, bins, A) reduced to (B, n, A): the mean of 0, 1, ... weighed by the softmax over the bins; no gradient.

    Args:
        x: float32, on the CPU.
    """
    x = x.contiguous()
    batch, sides, bins, places = x.shape
    out = x.new_empty(batch, sides, places)
    _library().expect(x.data_ptr(), out.data_ptr(), batch * sides, bins, places, torch.get_num_threads())
    return out


@functools.cache
def refused() -> str:
    """Return why this machine cannot do it, or nothing; builds what it needs."""
    return native.missing(_library)


@functools.cache
def _library() -> ctypes.CDLL:
    library = native.built(_SOURCE)
    library.expect.argtypes = [_P, _P, _N, _N, _N, ctypes.c_int]
    library.expect.restype = None
    return library


@contextmanager
def quicker() -> Iterator[None]:
    """Let Ultralytics' heads take that mean in our way meanwhile, where they can."""
    with nullcontext() if refused() else instead((DFL, "forward", _expected)):
        yield


def _expected(head: Any, x: Tensor) -> Tensor:
    if torch.is_grad_enabled() or x.dtype != torch.float32 or x.device.type != "cpu":
        sides: Tensor = _stock(head, x)
        return sides
    return expected(x.view(len(x), 4, head.c1, -1))
