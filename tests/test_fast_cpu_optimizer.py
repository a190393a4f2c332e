"""A fused optimizer step on a CPU computes the same weights, and runs only where the memory layouts agree."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor

from yolograft.fast.cpu.optimizer import fused_step


def stepped(weights: list[torch.nn.Parameter], fast: bool, last: bool) -> tuple[list[Tensor], list[bool]]:
    """Return the weights after three steps, and whether each step was fused. `last`: channels-last gradients."""
    torch.manual_seed(1)
    optimizer, fused = torch.optim.AdamW(weights, lr=0.01), list[bool]()
    for _ in range(3):
        for weight in weights:
            gradient = torch.randn(weight.shape)
            weight.grad = gradient.contiguous(memory_format=torch.channels_last) if last else gradient
        with fused_step(optimizer) if fast else nullcontext():
            fused.append(bool(optimizer.param_groups[0]["fused"]))
            optimizer.step()
    assert optimizer.state_dict()["param_groups"][0]["fused"] is None
    return [weight.detach() for weight in weights], fused


@pytest.mark.parametrize("last", [True, False])
def test_a_fused_step_is_the_same_step(last: bool) -> None:
    torch.manual_seed(0)
    start = [torch.randn(shape).contiguous(memory_format=torch.channels_last) for shape in ((8, 4, 3, 3), (8, 4, 1, 1))]
    plain, fast = ([torch.nn.Parameter(one.clone(memory_format=torch.preserve_format)) for one in start] for _ in range(2))
    right, unused = stepped(plain, False, last)
    found, used = stepped(fast, True, last)
    assert not any(unused)
    assert used == [last] * 3, "PyTorch's operator assumes that weights and gradients have the same layout"
    for one, other in zip(found, right, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)
