"""The constants of blocks: what is a constant per channel, and along what another block varies."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from yolograft import attach
from yolograft.analysis.constant_gate import EXACT, Constant, FixedGate, Observation, identity, observe_constants
from yolograft.analysis.gates import Place

C = 3


def place() -> Place:
    return Place(name="8", graft="se@8", block=nn.Identity(), channels=C, kind="channel")


def observe(function: object, *inputs: Tensor) -> Constant:
    one = place()
    observation = Observation([one])
    for x in inputs:
        observation.forget()
        observation.add(one, x, function(x))  # type: ignore[operator]
        observation.commit()
    return observation.constants()[one]


FACTOR, OFFSET = torch.tensor([0.5, -2.0, 1.0]).view(1, C, 1, 1), torch.tensor([0.0, 1.0, -3.0]).view(1, C, 1, 1)


def test_a_factor_is_found() -> None:
    found = observe(lambda x: FACTOR * x, torch.randn(2, C, 5, 4), torch.randn(1, C, 2, 2))
    torch.testing.assert_close(found.factor, FACTOR.flatten().double(), rtol=1e-7, atol=0)
    assert not found.offset.any()
    assert found.error < EXACT
    assert found.varies == ""
    x = torch.randn(1, C, 3, 3)
    torch.testing.assert_close(FixedGate(found)(x), FACTOR * x)


def test_an_offset_is_found_and_a_still_channel_takes_the_slope_of_the_others() -> None:
    x = torch.randn(4, C, 6, 6) + 1
    x[:, 1] = 2 + 1e-5 * x[:, 1]
    found = observe(lambda x: 0.5 * x + OFFSET, x)
    assert found.error < EXACT
    torch.testing.assert_close(found.factor, torch.full((C,), 0.5).double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(found.offset, OFFSET.flatten().double(), rtol=1e-5, atol=1e-6)


def test_a_gate_that_varies_is_no_constant() -> None:
    x = torch.rand(4, C, 6, 6) + 0.1
    by_image = observe(lambda x: x * torch.tensor([0.5, 1.0, 1.5, 2.0]).view(4, 1, 1, 1), x)
    by_position = observe(lambda x: x * torch.linspace(0.5, 1.5, 6), x)
    assert by_image.error > 0.1
    assert by_image.varies == "image"
    assert by_position.error > 0.1
    assert by_position.varies == "position"


def test_a_spatial_gate_of_1_is_the_identity() -> None:
    found = observe(lambda x: x * torch.ones(1, 1, 6, 6), torch.randn(2, C, 6, 6))
    assert found.is_identity
    assert not observe(lambda x: FACTOR * x, torch.randn(2, C, 6, 6)).is_identity


def test_a_channel_of_zeros_keeps_the_factor_1() -> None:
    x = torch.randn(2, C, 4, 4)
    x[:, 2] = 0
    found = observe(lambda x: 2 * x, x)
    assert found.factor.tolist() == pytest.approx([2, 2, 1])
    assert found.error < EXACT


def test_runs_that_are_not_committed_do_not_count() -> None:
    host = nn.Sequential(nn.Conv2d(3, C, 1), nn.ReLU())
    attach.graft(host, "se@0")
    block = host[0].graft[0]
    nn.init.ones_(block.fc2.bias)
    one = Place(name="0", graft="se@0", block=block, channels=C, kind="channel")
    with observe_constants(host, [one]) as observation, torch.no_grad():
        host(torch.full((1, 3, 4, 4), torch.nan))
        host(torch.rand(1, 3, 8, 8))
        observation.commit()
        host(torch.full((1, 3, 4, 4), torch.nan))
    found = observation.constants()[one]
    torch.testing.assert_close(found.factor, torch.full((C,), 2 * torch.ones(()).sigmoid().item()).double(), rtol=1e-6,
                               atol=0)


def test_a_block_that_never_runs_is_the_identity() -> None:
    one = place()
    assert Observation([one]).constants()[one].is_identity
    assert identity(2).error == 0
