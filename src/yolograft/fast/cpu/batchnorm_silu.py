"""Batch normalisation and SiLU as one operator, for training and evaluating in bfloat16 on a CPU.

`batchnorm_silu.c` does it (see `build`). Where there is no compiler, or no AVX512-BF16, `refused` says so, and PyTorch's
operators do the work.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `Conv.forward(x)` is `act(bn(conv(x)))`, and `Bottleneck.forward(x)`
takes a map and nothing else.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from ultralytics.nn.modules import Bottleneck, Conv

from yolograft.errors import HostError
from yolograft.fast.cpu import build
from yolograft.patch import patched

__all__ = ["fused", "norm_act", "norm_act_", "refused", "spaced", "step"]

_SOURCE = Path(__file__).with_name("batchnorm_silu.c")
_LAST = torch.channels_last
_P, _N = ctypes.c_void_p, ctypes.c_int64


def norm_act(x: Tensor, norm: nn.BatchNorm2d, silu: bool = True) -> Tensor:
    """Return `silu(norm(x))`, or `norm(x)`, of a norm that is training; its running statistics are updated.

    Args:
        x: (B, C, H, W), bfloat16, channels-last, with B * H * W > 1.
        norm: with weights, in float32.
        silu: whether the SiLU follows.

    Raises:
        HostError: this machine cannot do it (`refused` says so first), or C is more than 4,080.
    """
    if norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
    out: Tensor = _NormAct.apply(x, norm.weight, norm.bias, norm, silu)
    return out


def norm_act_(x: Tensor, norm: nn.BatchNorm2d, silu: bool = True) -> Tensor:
    """Turn x into `silu(norm(x))`, or `norm(x)`, of a norm that does not train, in place and without a gradient; returns it.

    Args and failures are those of `norm_act`; the norm has running statistics.
    """
    assert norm.running_mean is not None
    assert norm.running_var is not None
    batch, channels, height, width = x.shape
    known = [one.data_ptr() for one in (x, x, norm.weight, norm.bias, norm.running_mean, norm.running_var)]
    if _loaded().norm_act_known(*known, batch * height * width, channels, norm.eps, silu, torch.get_num_threads()):
        raise HostError(f"Normalising {channels} channels at once cannot be: too many.")
    return x


def step(x: Tensor) -> int:
    """Return how many numbers apart the places of a map (B, C, H, W) are, or 0 where they are not evenly.

    A map that is laid out (B, H, W, C), or some channels of one, has its places C apart, or as many as the larger map has.
    """
    _, channels, height, width = x.shape
    found = x.stride(3)
    return found if found >= channels and x.stride() == (height * width * found, 1, width * found, found) else 0


def spaced(gradient: Tensor) -> tuple[Tensor, int]:
    """Return a gradient (B, C, H, W) in bfloat16, its places evenly apart, and how far; itself where it is so already."""
    if (apart := step(gradient)) and gradient.dtype == torch.bfloat16:
        return gradient, apart
    return gradient.bfloat16().contiguous(memory_format=_LAST), gradient.shape[1]


@functools.cache
def refused() -> str:
    """Return why this machine cannot do it, or nothing; builds what it needs."""
    return build.missing(_library) or ("" if _library() else "this CPU has no AVX512-BF16")


@contextmanager
def fused(model: nn.Module) -> Iterator[None]:
    """Let the model's convolutions normalise and activate in one operator meanwhile, where they run in bfloat16.

    Residual units get their maps laid out for it.

    Layers whose norm or activation is another one, or carries a hook or a graft, are left as they are.
    """
    ours: list[tuple[nn.Module, str, Any]] = []
    for layer in model.modules():
        if isinstance(layer, Conv) and type(layer).forward is Conv.forward and "forward" not in vars(layer):
            norm, act = getattr(layer, "bn", None), layer.act
            if type(norm) is nn.BatchNorm2d and type(act) in (nn.SiLU, nn.Identity) and _plain(norm) and _plain(act):
                ours.append((layer, "forward", _forward(layer.conv, norm, act)))
        elif isinstance(layer, Bottleneck) and type(layer).forward is Bottleneck.forward and "forward" not in vars(layer):
            ours.append((layer, "forward", _dense(layer.forward)))
    with patched(*ours):
        yield


def _plain(module: nn.Module) -> bool:
    normal = not isinstance(module, nn.BatchNorm2d) or (module.affine and module.momentum is not None)
    return normal and not _hooked(module)


def _hooked(module: nn.Module) -> bool:
    hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
    return any(hooks)


def _dense(forward: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """Give a residual unit its map in one piece: half of a larger map's channels is added six times as slowly."""
    return lambda x: forward(x.contiguous(memory_format=_LAST))


def _forward(conv: nn.Module, norm: nn.BatchNorm2d, act: nn.Module) -> Callable[[Tensor], Tensor]:
    silu, alone = isinstance(act, nn.SiLU), not _hooked(conv)  # nobody else may hold what is written over

    def forward(x: Tensor) -> Tensor:
        x = conv(x)
        ready = x.dtype == torch.bfloat16 and x.is_contiguous(memory_format=_LAST) and norm.weight.dtype == torch.float32
        if ready and norm.training and x.numel() > x.shape[1]:
            return norm_act(x, norm, silu)
        if ready and alone and not norm.training and not torch.is_grad_enabled() and norm.running_mean is not None:
            return norm_act_(x, norm, silu)
        out: Tensor = act(norm(x))
        return out

    return forward


class _NormAct(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, norm: nn.BatchNorm2d, silu: bool) -> Tensor:
        batch, channels, height, width = x.shape
        out, found = torch.empty_like(x), torch.empty(2 * channels)  # each channel's mean, then each one's rstd
        mean = found.data_ptr()
        running = [None if one is None else one.data_ptr() for one in (norm.running_mean, norm.running_var)]
        failed = _loaded().norm_act_forward(
            x.data_ptr(), out.data_ptr(), weight.data_ptr(), bias.data_ptr(), mean, mean + 4 * channels, *running,
            batch * height * width, channels, norm.momentum, norm.eps, silu, torch.get_num_threads())
        if failed:
            raise HostError(f"Normalising {channels} channels at once cannot be: too many, or no memory is left.")
        ctx.save_for_backward(x, weight, bias, found)
        ctx.silu = silu
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, bias, statistics = ctx.saved_tensors
        batch, channels, height, width = x.shape
        (gradient, apart), mean = spaced(gradient), statistics.data_ptr()
        found, d_weight, d_bias = torch.empty_like(x), torch.empty(channels), torch.empty(channels)
        failed = _loaded().norm_act_backward(
            gradient.data_ptr(), apart, x.data_ptr(), found.data_ptr(), weight.data_ptr(), bias.data_ptr(), mean,
            mean + 4 * channels, d_weight.data_ptr(), d_bias.data_ptr(), batch * height * width, channels, ctx.silu,
            torch.get_num_threads())
        if failed:
            raise HostError(f"The gradient of normalising {channels} channels cannot be formed: no memory is left.")
        return found, d_weight, d_bias, None, None


def _loaded() -> ctypes.CDLL:
    if reason := refused():
        raise HostError(f"Batch normalisation and SiLU cannot be one operator here: {reason}.")
    library = _library()
    assert library is not None
    return library


@functools.cache
def _library() -> ctypes.CDLL | None:
    """Return the built library, or None where the CPU cannot run it; raises one of `native.FAILURES`."""
    if "avx512_bf16" not in build.cpu().split():
        return None
    library = build.built(_SOURCE)
    library.norm_act_forward.argtypes = [*[_P] * 8, _N, _N, ctypes.c_float, ctypes.c_float, ctypes.c_int, ctypes.c_int]
    library.norm_act_known.argtypes = [*[_P] * 6, _N, _N, ctypes.c_float, ctypes.c_int, ctypes.c_int]
    library.norm_act_backward.argtypes = [_P, _N, *[_P] * 8, _N, _N, ctypes.c_int, ctypes.c_int]
    return library
