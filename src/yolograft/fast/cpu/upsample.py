"""Doubling a map's sides by repeating its numbers, with a gradient in one pass, for training in bfloat16 on a CPU.

PyTorch copies the gradient into one piece first, since it comes as part of a larger map, and then takes several times as
long as reading it does. Without a compiler, its operators do the work.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `nn.Upsample` with mode `nearest` and a factor of 2 does it.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from yolograft.fast.cpu import build
from yolograft.fast.cpu.batchnorm_silu import spaced
from yolograft.patch import patched

__all__ = ["doubled", "quicker", "refused"]

_SOURCE = Path(__file__).with_name("upsample.c")
_P, _N = ctypes.c_void_p, ctypes.c_int64


def doubled(x: Tensor) -> Tensor:
    """Return x: (B, C, H, W), bfloat16 and channels-last, as (B, C, 2 H, 2 W)."""
    out: Tensor = _Doubled.apply(x)
    return out


@functools.cache
def refused() -> str:
    """Return why this machine cannot do it, or nothing; builds what it needs."""
    return build.missing(_library)


@contextmanager
def quicker(model: nn.Module) -> Iterator[None]:
    """Let a model's layers that double maps do it in our way meanwhile, while they learn in bfloat16."""
    ours = [(layer, "forward", _forward(layer.forward)) for layer in model.modules()
            if type(layer) is nn.Upsample and "forward" not in vars(layer) and not refused() and layer.size is None
            and layer.mode == "nearest" and layer.scale_factor in (2, (2, 2))]
    with patched(*ours):
        yield


def _forward(stock: Any) -> Any:
    def forward(x: Tensor) -> Any:
        ready = x.requires_grad and x.dtype == torch.bfloat16 and x.is_contiguous(memory_format=torch.channels_last)
        return doubled(x) if ready and x.device.type == "cpu" else stock(x)

    return forward


class _Doubled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        batch, channels, height, width = gradient.shape
        gradient, apart = spaced(gradient)
        out = torch.empty((batch, channels, height // 2, width // 2), dtype=gradient.dtype,
                          memory_format=torch.channels_last)
        _library().halve(gradient.data_ptr(), out.data_ptr(), batch, height // 2, width // 2, channels, apart,
                         torch.get_num_threads())
        return out


@functools.cache
def _library() -> ctypes.CDLL:
    library = build.built(_SOURCE)
    library.halve.argtypes = [_P, _P, _N, _N, _N, _N, _N, ctypes.c_int]
    library.halve.restype = None
    return library
