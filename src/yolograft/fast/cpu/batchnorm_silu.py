"""Batch normalisation and SiLU as one operator, for training and evaluation in bfloat16 on a CPU.

`batchnorm_silu.c` computes it (`build.Kernel`). On machines without a compiler or without AVX512-BF16, PyTorch's two
operators run; `KERNEL.unavailable_reason()` tells why.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `Conv.forward(x)` is `act(bn(conv(x)))`, and `Bottleneck.forward(x)`
takes one map and no other argument.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from ultralytics.nn.modules import Bottleneck, Conv

from yolograft.errors import HostError
from yolograft.fast.cpu.build import Kernel
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["KERNEL", "batch_norm_silu", "batch_norm_silu_", "patch_conv", "pixel_stride", "with_pixel_stride"]

_LAST = torch.channels_last
_P, _N, _F, _I = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float, ctypes.c_int
KERNEL = Kernel(
    source=Path(__file__).with_name("batchnorm_silu.c"), cpu_feature="avx512_bf16",
    argtypes={"batchnorm_silu_train": [*[_P] * 8, _N, _N, _F, _F, _I, _I],
              "batchnorm_silu_eval": [*[_P] * 6, _N, _N, _F, _I, _I],
              "batchnorm_silu_backward": [_P, _N, *[_P] * 8, _N, _N, _I, _I]})


def batch_norm_silu(x: Tensor, norm: nn.BatchNorm2d, silu: bool = True) -> Tensor:
    """Return `silu(norm(x))`, or `norm(x)`, of a batch norm in training mode, and update its running statistics.

    Args:
        x: (B, C, H, W), bfloat16, channels-last, with B * H * W > 1.
        norm: with weights, in float32.
        silu: whether SiLU follows.

    Raises:
        HostError: this machine cannot run the kernel (see `KERNEL.unavailable_reason`), or C is more than 4,080.
    """
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    out: Tensor = _BatchNormSiLU.apply(x, norm.weight, norm.bias, norm, silu)
    return out


def batch_norm_silu_(x: Tensor, norm: nn.BatchNorm2d, silu: bool = True) -> Tensor:
    """Replace x by `silu(norm(x))`, or `norm(x)`, of a batch norm in evaluation mode, in place and without a gradient.

    Args and errors are those of `batch_norm_silu`. The norm must have running statistics. Returns x.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    batch, channels, height, width = x.shape
    pointers = [one.data_ptr() for one in (x, x, norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    if KERNEL.library().batchnorm_silu_eval(*pointers, batch * height * width, channels, norm.eps, silu,
                                            torch.get_num_threads()):
        raise HostError(tr("Batch norm and SiLU of {channels} channels cannot run: there are too many channels.",
                           channels=channels))
    return x


def pixel_stride(x: Tensor) -> int:
    """Return the distance between neighbouring pixels of a map (B, C, H, W) in numbers, or 0 if it is not constant.

    In a channels-last map the distance is C. In a slice of some channels of a larger map it is the larger map's C.
    """
    _, channels, height, width = x.shape
    stride = x.stride(3)
    return stride if stride >= channels and x.stride() == (height * width * stride, 1, width * stride, stride) else 0


def with_pixel_stride(gradient: Tensor) -> tuple[Tensor, int]:
    """Return a gradient (B, C, H, W) in bfloat16 with a constant pixel stride, and that stride. Copies only if needed."""
    if (stride := pixel_stride(gradient)) and gradient.dtype == torch.bfloat16:
        return gradient, stride
    return gradient.bfloat16().contiguous(memory_format=_LAST), gradient.shape[1]


@contextmanager
def patch_conv(model: nn.Module) -> Iterator[None]:
    """Fuse batch norm and SiLU of a model's convolutions inside a `with` block, where they run in bfloat16.

    Residual units copy their input into channels-last memory. Layers with another norm or activation, with a hook or with
    a graft keep their own forward method.
    """
    replacements: list[tuple[nn.Module, str, Any]] = []
    for layer in model.modules():
        if isinstance(layer, Conv) and type(layer).forward is Conv.forward and "forward" not in vars(layer):
            norm, act = getattr(layer, "bn", None), layer.act
            if (type(norm) is nn.BatchNorm2d and type(act) in (nn.SiLU, nn.Identity) and _is_plain(norm)
                    and _is_plain(act)):
                replacements.append((layer, "forward", _fused_forward(layer.conv, norm, act)))
        elif isinstance(layer, Bottleneck) and type(layer).forward is Bottleneck.forward and "forward" not in vars(layer):
            replacements.append((layer, "forward", _contiguous_forward(layer.forward)))
    with patched(*replacements):
        yield


def _is_plain(module: nn.Module) -> bool:
    is_usual_norm = not isinstance(module, nn.BatchNorm2d) or (module.affine and module.momentum is not None)
    return is_usual_norm and not _has_hooks(module)


def _has_hooks(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _contiguous_forward(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Copy a residual unit's input into channels-last memory: adding a slice of a larger map takes six times as long."""
    return lambda x: forward(x.contiguous(memory_format=_LAST))


def _fused_forward(conv: nn.Module, norm: nn.BatchNorm2d, act: nn.Module) -> Callable[[Tensor], Tensor]:
    silu, may_overwrite = isinstance(act, nn.SiLU), not _has_hooks(conv)  # a hook may hold the convolution's output

    def forward(x: Tensor) -> Tensor:
        x = conv(x)
        applies = x.dtype == torch.bfloat16 and x.is_contiguous(memory_format=_LAST) and norm.weight.dtype == torch.float32
        if applies and norm.training and x.numel() > x.shape[1]:
            return batch_norm_silu(x, norm, silu)
        if (applies and may_overwrite and not norm.training and not torch.is_grad_enabled()
                and norm.running_mean is not None):
            return batch_norm_silu_(x, norm, silu)
        out: Tensor = act(norm(x))
        return out

    return forward


class _BatchNormSiLU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, silu: bool) -> Tensor:
        batch, channels, height, width = x.shape
        out, statistics = torch.empty_like(x), torch.empty(2 * channels)  # the means of all channels, then their rstd
        mean = statistics.data_ptr()
        running = [None if one is None else one.data_ptr() for one in (norm.running_mean, norm.running_var)]
        failed = KERNEL.library().batchnorm_silu_train(
            x.data_ptr(), out.data_ptr(), weight.data_ptr(), bias.data_ptr(), mean, mean + 4 * channels, *running,
            batch * height * width, channels, norm.momentum, norm.eps, silu, torch.get_num_threads())
        if failed:
            raise HostError(tr("Batch norm and SiLU of {channels} channels cannot run: too many channels, or out of "
                               "memory.", channels=channels))
        ctx.save_for_backward(x, weight, bias, statistics)
        ctx.silu = silu
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, statistics = ctx.saved_tensors
        batch, channels, height, width = x.shape
        (gradient, stride), mean = with_pixel_stride(gradient), statistics.data_ptr()
        d_x, d_weight, d_bias = torch.empty_like(x), torch.empty(channels), torch.empty(channels)
        failed = KERNEL.library().batchnorm_silu_backward(
            gradient.data_ptr(), stride, x.data_ptr(), d_x.data_ptr(), weight.data_ptr(), bias.data_ptr(), mean,
            mean + 4 * channels, d_weight.data_ptr(), d_bias.data_ptr(), batch * height * width, channels, ctx.silu,
            torch.get_num_threads())
        if failed:
            raise HostError(tr("The gradient of batch norm and SiLU of {channels} channels cannot run: out of memory.",
                               channels=channels))
        return d_x, d_weight, d_bias, None, None
