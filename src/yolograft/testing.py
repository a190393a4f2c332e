"""Requirements for every block, checked by `check_block(cls)`. They apply to our blocks and to a user's block."""

from __future__ import annotations

import copy
import inspect
import pickle
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from yolograft.blocks._constructor import read_constructor
from yolograft.language import tr

__all__ = ["check_block"]

_STEPS = 3  # zero weights (identity initialisation, or the paper's) can delay the first layers' gradients by two steps


def check_block(cls: type[nn.Module], *, channels: int = 16, **settings: Any) -> None:
    """Build `cls` for `channels` channels and check the requirements for every block.

    - The output has the shape and dtype of the input, and the input is not changed in place: for maps from 1x1 on, for a
      batch of 1, in training and eval mode, and under autocast.
    - The output is finite, repeatable in eval mode, and the same for a `channels_last` input.
    - If the setting `init` is `identity`, a new block returns its input bit for bit.
    - A gradient reaches the input, and each parameter gets one within three training steps.
    - A pickled copy and a deep copy give the same output, and a change to a copy does not change the original.
    - The state dict is complete after construction, does not change in eval mode, and loads with `strict=True`.
    - The block can be traced, which exports need.

    >>> from yolograft.blocks.se import SE
    >>> check_block(SE, channels=32, ratio=4)

    Raises:
        AssertionError: a requirement is not met; the message names it.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        name = cls.__name__
        module = read_constructor(cls).build(cls, name, channels, settings)
        _check_maps(module, channels, name)
        if {**_defaults(cls), **settings}.get("init") == "identity":
            _check_identity(module, channels, name)
        _check_training(module, channels, name)
        x = _maps(2, channels)
        _check_copies(module.eval(), x, name)
        _check_formats(module, x, name)
        _check_trace(module, x, name)


def _maps(batch: int, channels: int) -> Tensor:
    # the means differ between maps, as in a host: with zero-mean noise a pooled gate hardly varies
    return torch.randn(batch, channels, 8, 8) + torch.randn(batch, channels, 1, 1)


def _defaults(cls: type[nn.Module]) -> dict[str, Any]:
    return {key: parameter.default for key, parameter in inspect.signature(cls).parameters.items()}


def _check_maps(module: nn.Module, channels: int, name: str) -> None:
    module.eval()
    before = copy.deepcopy(module.state_dict())
    for height, width in ((1, 1), (7, 5), (20, 20)):
        x = torch.randn(1, channels, height, width)
        original = x.clone()
        y = module(x)
        assert y.shape == x.shape, tr("{name} maps {given} to {returned}: it must keep the shape.",
                                      name=name, given=tuple(x.shape), returned=tuple(y.shape))
        assert y.dtype == x.dtype, tr("{name} maps {given} to {returned}: it must keep the dtype.",
                                      name=name, given=x.dtype, returned=y.dtype)
        assert torch.equal(x, original), tr("{name} changes its input in place.", name=name)
        assert torch.isfinite(y).all(), tr("{name} returns values that are not finite at {height}x{width}.",
                                           name=name, height=height, width=width)
        assert torch.equal(y, module(x)), tr("{name} returns two results for one input in eval mode.", name=name)
    after = module.state_dict()
    assert list(after) == list(before), tr("{name} adds to its state dict in its first forward pass.", name=name)
    same = all(torch.equal(before[key], after[key]) for key in before)
    assert same, tr("{name} changes its state in eval mode.", name=name)


def _check_identity(module: nn.Module, channels: int, name: str) -> None:
    for training in (False, True):
        for x in (_maps(2, channels), torch.randn(1, channels, 1, 1)):
            y = module.train(training)(x)
            assert torch.equal(y, x), tr("{name} with init=identity changes its input before any training.", name=name)


def _check_training(module: nn.Module, channels: int, name: str) -> None:
    module.train()
    x = torch.randn(1, channels, 1, 1, requires_grad=True)
    y = module(x)
    y.sum().backward()
    assert torch.isfinite(y).all(), tr("{name} cannot train on a batch of one pixel.", name=name)
    assert x.grad is not None, tr("{name} passes no gradient to its input.", name=name)
    assert torch.isfinite(x.grad).all(), tr("{name} cannot train on a batch of one pixel.", name=name)
    x = _maps(8, channels).requires_grad_()
    trained: set[str] = set()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1) if list(module.parameters()) else None
    for _ in range(_STEPS):
        module.zero_grad()
        y = module(x)
        (y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).pow(2).sum().backward()
        grads = {key: parameter.grad for key, parameter in module.named_parameters()}
        trained |= {key for key, grad in grads.items() if grad is not None and bool(grad.abs().sum() > 0)}
        if optimizer is not None:
            nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
    assert x.grad is not None, tr("{name} passes no gradient to its input.", name=name)
    assert bool(x.grad.abs().sum() > 0), tr("{name} passes no gradient to its input.", name=name)
    untrained = sorted({key for key, _ in module.named_parameters()} - trained)
    assert not untrained, tr("{name} has parameters that get no gradient in {steps} steps: {parameters}.",
                             name=name, steps=_STEPS, parameters=", ".join(untrained))


def _check_copies(module: nn.Module, x: Tensor, name: str) -> None:
    expected = module(x)
    try:
        pickled = pickle.loads(pickle.dumps(module))
    except Exception as error:
        raise AssertionError(tr("{name} cannot be pickled, as checkpoints require: {error}",
                                name=name, error=error)) from error
    assert torch.equal(pickled(x), expected), tr("{name} gives another result after pickling.", name=name)
    copied = copy.deepcopy(module)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1)
    assert torch.equal(module(x), expected), tr("{name} shares parameters with its deep copy.", name=name)
    copied.load_state_dict(module.state_dict(), strict=True)
    assert torch.equal(copied(x), expected), tr("{name} gives another result after loading its state dict.", name=name)


def _check_formats(module: nn.Module, x: Tensor, name: str) -> None:
    expected = module(x)
    last = module(x.to(memory_format=torch.channels_last))
    same = torch.allclose(last, expected, rtol=1e-3, atol=1e-4)
    assert same, tr("{name} gives another result for a channels_last input.", name=name)
    with torch.autocast("cpu", torch.bfloat16):
        y = module(x.bfloat16())
    assert y.dtype == torch.bfloat16, tr("{name} maps bfloat16 to {returned} under autocast.", name=name, returned=y.dtype)


def _check_trace(module: nn.Module, x: Tensor, name: str) -> None:
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's warnings; the traced result is compared below
        try:
            traced = torch.jit.trace(module, x, check_trace=False)
        except Exception as error:
            raise AssertionError(tr("{name} cannot be traced, as exports require: {error}",
                                    name=name, error=error)) from error
        same = torch.allclose(traced(x), module(x), rtol=1e-3, atol=1e-4)
    assert same, tr("{name} gives another result when it is traced.", name=name)
