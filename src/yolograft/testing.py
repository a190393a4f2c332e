"""The conformance suite that every block must pass, ours or a user's: `check_block(cls)`."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["check_block"]

_STEPS = 3  # an identity start, and then a paper's own zeros, may hold the first layers' gradients back


def check_block(cls: type[nn.Module], *, channels: int = 16, **settings: Any) -> None:
    """Build `cls(channels, **settings)` and check the laws that grafting relies on.

    The laws: shape, dtype and input are left as they are, for maps from 1x1 up, for batch 1, in training too,
    and under autocast; the result is finite, repeatable, and the same in `channels_last`; a setting `init`
    that is `identity` means that a fresh block returns its input bit for bit; some gradient reaches the input
    and every parameter gets one within three steps; a pickled copy and a deep copy give the same result, a
    copy's edit leaves the original alone; the state dict is whole from the start and loads back strictly; the
    block can be traced, as exports require.

    >>> from yolograft.blocks.se import SE
    >>> check_block(SE, channels=32, ratio=4)

    Raises:
        AssertionError: a law is broken; the message names it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module, name = cls(channels, **settings), cls.__name__
        _check_maps(module, channels, name)
        if {**_defaults(cls), **settings}.get("init") == "identity":
            _check_identity(module, channels, name)
        _check_training(module, channels, name)
        x = _maps(2, channels)
        _check_copies(module.eval(), x, name)
        _check_formats(module, x, name)
        _check_trace(module, x, name)


def _maps(batch: int, channels: int) -> Tensor:
    # averages differ from map to map, as a host's do: pure noise hardly opens a pooled gate
    return torch.randn(batch, channels, 8, 8) + torch.randn(batch, channels, 1, 1)


def _defaults(cls: type[nn.Module]) -> dict[str, Any]:
    return {key: parameter.default for key, parameter in inspect.signature(cls).parameters.items()}


def _check_maps(module: nn.Module, channels: int, name: str) -> None:
    module.eval()
    before = copy.deepcopy(module.state_dict())
    for height, width in ((1, 1), (7, 5), (20, 20)):
        x = torch.randn(1, channels, height, width)
        kept = x.clone()
        y = module(x)
        assert y.shape == x.shape, f"{name} maps {tuple(x.shape)} to {tuple(y.shape)}: no shape kept."
        assert y.dtype == x.dtype, f"{name} maps {x.dtype} to {y.dtype}: no dtype kept."
        assert torch.equal(x, kept), f"{name} changes its input in place."
        assert torch.isfinite(y).all(), f"{name} gives values that are not finite at {height}x{width}."
        assert torch.equal(y, module(x)), f"{name} gives two results for one input in eval mode."
    after = module.state_dict()
    assert list(after) == list(before), f"{name} adds to its state dict when it is first used."
    same = all(torch.equal(before[key], after[key]) for key in before)
    assert same, f"{name} changes its state in eval mode."


def _check_identity(module: nn.Module, channels: int, name: str) -> None:
    for training in (False, True):
        for x in (_maps(2, channels), torch.randn(1, channels, 1, 1)):
            y = module.train(training)(x)
            assert torch.equal(y, x), f"{name} with init=identity changes its input before any training."


def _check_training(module: nn.Module, channels: int, name: str) -> None:
    module.train()
    x = torch.randn(1, channels, 1, 1, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert torch.isfinite(y).all(), f"{name} cannot train on a batch of one pixel."
    assert x.grad is not None, f"{name} lets no gradient through to its input."
    assert torch.isfinite(x.grad).all(), f"{name} cannot train on a batch of one pixel."
    x = _maps(8, channels).requires_grad_()
    alive: set[str] = set()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1) if list(module.parameters()) else None
    for _ in range(_STEPS):
        module.zero_grad()
        y = module(x)
        (y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).pow(2).sum().backward()
        grads = {key: parameter.grad for key, parameter in module.named_parameters()}
        alive |= {key for key, grad in grads.items() if grad is not None and bool(grad.abs().sum() > 0)}
        if optimizer is not None:
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
    assert x.grad is not None, f"{name} lets no gradient through to its input."
    assert bool(x.grad.abs().sum() > 0), f"{name} lets no gradient through to its input."
    dead = sorted({key for key, _ in module.named_parameters()} - alive)
    assert not dead, f"{name} has parameters that get no gradient in {_STEPS} steps: {', '.join(dead)}."


def _check_copies(module: nn.Module, x: Tensor, name: str) -> None:
    expected = module(x)
    try:
        pickled = pickle.loads(pickle.dumps(module))
    except Exception as error:
        raise AssertionError(f"{name} cannot be pickled, as checkpoints require: {error}") from error
    assert torch.equal(pickled(x), expected), f"{name} changes when it is pickled."
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.add_(1)
    assert torch.equal(module(x), expected), f"{name} shares parameters with its deep copy."
    twin.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(twin(x), expected), f"{name} does not come back from its state dict."


def _check_formats(module: nn.Module, x: Tensor, name: str) -> None:
    expected = module(x)
    last = module(x.to(memory_format=torch.channels_last))
    same = torch.allclose(last, expected, rtol=1e-3, atol=1e-4)
    assert same, f"{name} gives another result for a channels_last input."
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x.bfloat16())
    assert y.dtype == torch.bfloat16, f"{name} maps bfloat16 to {y.dtype} under autocast."


def _check_trace(module: nn.Module, x: Tensor, name: str) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's advice: whether the trace is right is checked below
        try:
            traced = torch.jit.trace(module, x, check_trace=False)
        except Exception as error:
            raise AssertionError(f"{name} cannot be traced, as exports require: {error}") from error
        same = torch.allclose(traced(x), module(x), rtol=1e-3, atol=1e-4)
    assert same, f"{name} gives another result when it is traced."
