"""The conformance suite that every block must pass, ours or a user's: `check_block(cls)`."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import torch
from torch import nn

__all__ = ["check_block"]


def check_block(cls: type[nn.Module], *, channels: int = 16, **settings: Any) -> None:
    """Build `cls(channels, **settings)` and check the laws that grafting relies on.

    The laws: shape and dtype are kept for maps from 1x1 up and for batch 1; the result is finite and
    repeatable; some gradient reaches the input and every parameter gets one within three steps; a pickled
    copy and a deep copy give the same result, a copy's edit leaves the original alone; the state dict loads
    back strictly.

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = cls(channels, **settings)
        name = cls.__name__
        for height, width in ((1, 1), (7, 5), (20, 20)):
            x = torch.randn(1, channels, height, width)
            y = module.eval()(x)
            assert y.shape == x.shape, f"{name} maps {tuple(x.shape)} to {tuple(y.shape)}."
            assert y.dtype == x.dtype, f"{name} maps {x.dtype} to {y.dtype}: a block keeps the dtype."
            assert torch.isfinite(y).all(), f"{name} gives values that are not finite at {height}x{width}."
            assert torch.equal(y, module(x)), f"{name} gives two results for one input in eval mode."
        _check_copies(module, torch.randn(2, channels, 8, 8), name)
        # maps whose averages differ from each other, as a host's do: pure noise hardly opens a pooled gate
        _check_gradients(module, torch.randn(8, channels, 8, 8) + torch.randn(8, channels, 1, 1), name)


def _check_copies(module: nn.Module, x: torch.Tensor, name: str) -> None:
    expected = module(x)
    assert torch.equal(pickle.loads(pickle.dumps(module))(x), expected), f"{name} changes when it is pickled."
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(module(x), expected), f"{name} shares parameters with its deep copy."
    twin.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(twin(x), expected), f"{name} does not come back from its state dict."


def _check_gradients(module: nn.Module, x: torch.Tensor, name: str) -> None:
    module.train()
    x.requires_grad_()
    seen: set[str] = set()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1) if list(module.parameters()) else None
    for _ in range(3):  # an identity start, or a paper's own zeros, may hold the first layers' gradients back
        module.zero_grad()
        y = module(x)
        (y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).pow(2).sum().backward()
        grads = {key: parameter.grad for key, parameter in module.named_parameters()}
        seen |= {key for key, grad in grads.items() if grad is not None and bool(grad.abs().sum() > 0)}
        if optimizer is not None:
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
    assert x.grad is not None, f"{name} lets no gradient through to its input."
    assert bool(x.grad.abs().sum() > 0), f"{name} lets no gradient through to its input."
    dead = sorted({key for key, _ in module.named_parameters()} - seen)
    assert not dead, f"{name} has parameters that get no gradient in three steps: {', '.join(dead)}."
