"""Nearest-neighbour upsampling by 2 with a faster gradient, for training in bfloat16 on a CPU.

In YOLO the gradient of an upsampled map is a slice of a larger map's gradient. PyTorch copies the slice into contiguous
memory first, and then takes several times as long as one read of it. Without a compiler, PyTorch's operators run.

What this relies on in Ultralytics (8.3.0 to 8.4.x): models upsample by `nn.Upsample` with mode `nearest` and a factor of 2.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from yolograft.fast.cpu.batchnorm_silu import with_pixel_stride
from yolograft.fast.cpu.build import Kernel
from yolograft.patch import patched

__all__ = ["KERNEL", "patch_upsample", "upsample_2x"]

_P, _N = ctypes.c_void_p, ctypes.c_int64
KERNEL = Kernel(source=Path(__file__).with_name("upsample.c"), restype=None,
                argtypes={"upsample_2x_backward": [_P, _P, _N, _N, _N, _N, _N, ctypes.c_int]})


def upsample_2x(x: Tensor) -> Tensor:
    """Return x: (B, C, H, W), bfloat16 and channels-last, upsampled to (B, C, 2 H, 2 W)."""
    out: Tensor = _Upsample2x.apply(x)
    return out


@contextmanager
def patch_upsample(model: nn.Module) -> Iterator[None]:
    """Replace the forward method of a model's layers that upsample by 2, inside a `with` block.

    The replacement applies to bfloat16 inputs that need a gradient. All others take the layer's own method.
    """
    replacements = [(layer, "forward", _replacement(layer.forward)) for layer in model.modules()
                    if type(layer) is nn.Upsample and "forward" not in vars(layer) and not KERNEL.unavailable_reason()
                    and layer.size is None and layer.mode == "nearest" and layer.scale_factor in (2, (2, 2))]
    with patched(*replacements):
        yield


def _replacement(stock: Any) -> Any:
    def forward(x: Tensor) -> Any:
        applies = x.requires_grad and x.dtype == torch.bfloat16 and x.is_contiguous(memory_format=torch.channels_last)
        return upsample_2x(x) if applies and x.device.type == "cpu" else stock(x)

    return forward


class _Upsample2x(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2.0)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        batch, channels, height, width = gradient.shape
        gradient, stride = with_pixel_stride(gradient)
        out = torch.empty((batch, channels, height // 2, width // 2), dtype=gradient.dtype,
                          memory_format=torch.channels_last)
        KERNEL.library().upsample_2x_backward(gradient.data_ptr(), out.data_ptr(), batch, height // 2, width // 2, channels,
                                              stride, torch.get_num_threads())
        return out
