"""Optimizer steps on a CPU: PyTorch's fused operator, and weights in the channels-last memory format."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fused_step", "supports_channels_last"]


@contextmanager
def fused_step(optimizer: Any) -> Iterator[None]:
    """Make an optimizer of PyTorch step in one operator for all weights inside a `with` block, where it has one.

    By default a step of AdamW on a CPU is a Python loop over all weights. The optimizer's state dict is the same either way.
    """
    is_supported = (type(optimizer) in (torch.optim.SGD, torch.optim.Adam, torch.optim.AdamW)
                    and _has_fused_operator(type(optimizer).__name__))
    groups = [group for group in optimizer.param_groups
              if is_supported and group.get("fused", False) is None
              and all(_has_one_layout(weight, optimizer.state.get(weight, {})) for weight in group["params"])]
    for group in groups:
        group["fused"] = True
    try:
        yield
    finally:
        for group in groups:
            group["fused"] = None


def supports_channels_last(optimizer: torch.optim.Optimizer) -> bool:
    """Return whether an optimizer can step on channels-last weights. Some versions of Ultralytics' MuSGD cannot."""
    if type(optimizer).__module__.startswith("torch."):
        return True
    groups = []
    for group in optimizer.param_groups:
        weight = nn.Parameter(torch.zeros(4, 4, 3, 3).contiguous(memory_format=torch.channels_last))
        weight.grad = torch.ones_like(weight)
        groups.append({**{key: value for key, value in group.items() if key != "params"}, "params": [weight]})
    try:
        type(optimizer)(groups).step()  # type: ignore[call-arg]
    except (RuntimeError, TypeError):
        return False
    return True


@functools.cache
def _has_fused_operator(name: str) -> bool:
    """Return whether PyTorch has a fused CPU operator for one of its optimizers, as from 2.4 on."""
    weight = nn.Parameter(torch.zeros(1))
    weight.grad = torch.zeros(1)
    optimizer = getattr(torch.optim, name)([weight], lr=0.1)
    optimizer.param_groups[0]["fused"] = True
    try:
        optimizer.step()
    except RuntimeError:
        return False
    return True


def _has_one_layout(weight: Tensor, state: dict[str, Any]) -> bool:
    """Return whether weight, gradient and state have the same memory layout. PyTorch's operator assumes this."""
    others = [weight.grad, *(value for value in state.values() if isinstance(value, Tensor) and value.dim())]
    return weight.dtype == torch.float32 and all(
        one is None or (one.dtype == weight.dtype and _strides(one) == _strides(weight)) for one in others)


def _strides(tensor: Tensor) -> list[int]:
    return [stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True) if size > 1]
