"""SE equals the reference implementations, starts as an identity, and raises errors for invalid settings."""

from __future__ import annotations

import pytest
import torch
from timm.layers import SEModule
from torch import nn
from torchvision.ops import SqueezeExcitation

from yolograft.blocks import create
from yolograft.blocks.se import SE
from yolograft.errors import BlockError

GATES = ("sigmoid", "tanh", "relu", "hardsigmoid")
REFERENCE_GATES = {"sigmoid": nn.Sigmoid, "tanh": nn.Tanh, "relu": nn.ReLU, "hardsigmoid": nn.Hardsigmoid}


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def copy_weights(reference: nn.Module, ours: SE) -> None:
    for name in ("fc1", "fc2"):
        getattr(reference, name).load_state_dict(getattr(ours, name).state_dict())


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize(("channels", "ratio"), [(16, 16), (64, 16), (256, 4), (17, 3)])
def test_paper_equals_torchvision(channels: int, ratio: int, gate: str) -> None:
    ours = SE(channels, ratio=ratio, gate=gate, init="paper").double()
    hidden = ours.fc1.out_channels
    theirs = SqueezeExcitation(channels, hidden, scale_activation=REFERENCE_GATES[gate]).double()
    copy_weights(theirs, ours)
    x = torch.randn(3, channels, 9, 7, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("channels", [16, 64, 256])
def test_paper_equals_timm(channels: int, bias: bool) -> None:
    ours = SE(channels, bias=bias, init="paper").double()
    theirs = SEModule(channels, rd_channels=ours.fc1.out_channels, bias=bias).double()
    copy_weights(theirs, ours)
    x = torch.randn(2, channels, 5, 8, dtype=torch.float64)
    torch.testing.assert_close(ours(x), theirs(x), rtol=0, atol=1e-12)


def test_paper_without_biases_has_the_papers_parameter_count() -> None:
    assert sum(p.numel() for p in SE(256, bias=False).parameters()) == 2 * 256**2 // 16


@pytest.mark.parametrize(("channels", "settings", "width"), [
    (256, {}, 16), (16, {}, 1), (16, {"minimum": 8}, 8), (4, {"minimum": 8}, 4), (17, {"ratio": 2.5}, 7),
    (1, {}, 1), (8, {"ratio": 1}, 8),
])
def test_hidden_width_is_rounded_and_bounded(channels: int, settings: dict, width: int) -> None:
    block = SE(channels, **settings)
    assert block.fc1.out_channels == width
    assert sum(p.numel() for p in block.parameters()) == 2 * channels * width + width + channels


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("squeeze", ["avg", "max", "off"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_identity_start_is_exact_and_has_gradients(gate: str, squeeze: str, dtype: torch.dtype) -> None:
    block = SE(32, ratio=2, gate=gate, squeeze=squeeze).to(dtype)
    x = torch.randn(2, 32, 6, 5).to(dtype)
    y = block(x)
    assert torch.equal(y, x)
    (y.float() ** 2).sum().backward()
    assert block.fc2.weight.grad.abs().sum() > 0
    assert block.fc2.bias.grad.abs().sum() > 0


def test_paper_start_halves_the_features() -> None:
    x = torch.randn(2, 64, 8, 8)
    ratio = (SE(64, init="paper")(x) / x).mean()
    assert 0.4 < ratio < 0.6


def test_max_squeeze_depends_only_on_the_maximum() -> None:
    block = SE(8, squeeze="max", init="paper")
    x = torch.rand(1, 8, 4, 4)
    changed = x.clone()
    changed[0, 0].fill_(0.5)
    changed[0, 0, 0, 0] = x[0, 0].max()  # a different mean, the same maximum
    assert torch.equal(block(x)[0, 1:], block(changed)[0, 1:])


def test_without_a_squeeze_every_position_has_its_own_gate() -> None:
    block, squeezed = SE(8, ratio=2, squeeze="off", init="paper"), SE(8, ratio=2, init="paper")
    squeezed.load_state_dict(block.state_dict())
    x = torch.randn(2, 8, 4, 5)
    y = block(x)
    for row, column in ((0, 0), (3, 2)):
        pixel = x[:, :, row : row + 1, column : column + 1]
        torch.testing.assert_close(y[:, :, row : row + 1, column : column + 1], squeezed(pixel))


@pytest.mark.parametrize("gate", ["sigmoid", "tanh"])
@pytest.mark.parametrize("init", ["identity", "paper"])
def test_gradients_pass_gradcheck(gate: str, init: str) -> None:
    block = SE(6, ratio=2, gate=gate, init=init).double()
    x = torch.randn(2, 6, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


@pytest.mark.parametrize(("settings", "words"), [
    ({"gate": "sigmoyd"}, "Did you mean 'sigmoid'"), ({"squeeze": "mean"}, "avg, max, off"),
    ({"init": "zero"}, "identity, paper"),
    ({"bias": 1}, "True or False"), ({"ratio": 0.5}, "at least 1"), ({"ratio": float("nan")}, "at least 1"),
    ({"ratio": True}, "at least 1"), ({"minimum": 1.5}, "whole number"), ({"minimum": 0}, "at least 1"),
    ({"reduction": 16}, "has no setting 'reduction'"),
])
def test_errors_for_invalid_settings_name_valid_ones(settings: dict, words: str) -> None:
    with pytest.raises(BlockError, match=words):
        create("se", 16, **settings)
