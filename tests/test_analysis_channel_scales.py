"""Scales of channels, on small hosts whose answer is known: each rule, and each way in which a factor is stopped."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft import attach
from yolograft.analysis.channel_scales import Blocked, ChannelScales, rescale
from yolograft.analysis.operator_graph import SITE, record

C = 4


class Host(nn.Module):
    """conv -> `first` -> a middle -> conv -> output; the block is on `first`."""

    def __init__(self, middle: Callable[[nn.Module, Tensor], Tensor], out: int = C, groups: int = 1) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.start = nn.Conv2d(3, C, 3, padding=1)
        self.act = nn.SiLU()
        self.first = nn.Identity()
        self.side = nn.Conv2d(3, C, 1)
        self.norm = nn.BatchNorm2d(C)
        nn.init.uniform_(self.norm.running_mean, -1, 1)
        self.end = nn.Conv2d(out, 6, 3, padding=1, groups=groups)
        self.up = nn.ConvTranspose2d(C, C, 2, 2, groups=2)
        self.linear = nn.Linear(C, 5)
        self.middle = middle

    def forward(self, image: Tensor) -> Tensor:
        return self.middle(self, self.first(self.act(self.start(image))) if self.middle not in LINEAR else
                           self.first(self.start(image)))


def cat(host: nn.Module, x: Tensor) -> Tensor:
    return host.end(torch.cat((torch.ones_like(x), F.max_pool2d(x, 3, 1, 1)), 1))


def split(host: nn.Module, x: Tensor) -> Tensor:
    one, other = x.chunk(2, 1)
    return host.end(torch.cat((other, one, F.interpolate(x, scale_factor=1)), 1))


def grouped(host: nn.Module, x: Tensor) -> Tensor:
    return host.end(x)


def transposed(host: nn.Module, x: Tensor) -> Tensor:
    return host.up(F.avg_pool2d(x, 2))


def classify(host: nn.Module, x: Tensor) -> Tensor:
    return host.linear(F.adaptive_avg_pool2d(x, 1).flatten(1))


def relu(host: nn.Module, x: Tensor) -> Tensor:
    return host.end(F.leaky_relu(x * 3, 0.1))


def negative_slice(host: nn.Module, x: Tensor) -> Tensor:
    return host.end(torch.cat((x[:, -2:], x[:, :2]), 1))


def activated(host: nn.Module, x: Tensor) -> Tensor:
    return host.end(F.silu(x))


def summed(host: nn.Module, x: Tensor) -> Tensor:
    return host.end(F.silu(host.side(x[:, :3])) + x)


def own_sum(host: nn.Module, x: Tensor) -> Tensor:
    return host.end(x + F.max_pool2d(x, 3, 1, 1))


def twice(host: nn.Module, x: Tensor) -> Tensor:
    return host.norm(x) + host.norm(x + x)


def in_place(host: nn.Module, x: Tensor) -> Tensor:
    y = x.view(x.shape)
    y.mul_(2)
    return host.end(x)


def outputs(host: nn.Module, x: Tensor) -> Tensor:
    return x


LINEAR = (activated, outputs)
FOLDED = [(cat, 2 * C, 1), (split, 2 * C, 1), (grouped, C, 2), (transposed, C, 1), (classify, C, 1), (relu, C, 1),
          (negative_slice, C, 1), (own_sum, C, 1), (activated, C, 1), (outputs, C, 1), (twice, C, 1)]
BLOCKED = [(summed, "sum in the network"), (in_place, "mul_")]


def scales_of(host: nn.Module, factor: Tensor) -> ChannelScales:
    """Graft a block to `first`, and demand the factor of it."""
    attach.graft(host, "gct@first")
    try:
        graph = record(host)
    finally:
        attach.prune(host)
    scales = ChannelScales(graph)
    scales.add_block([operator for operator in graph.operators if operator.name == SITE], factor)
    return scales


def folded_error(host: nn.Module, factor: Tensor) -> float:
    host = host.double().eval()
    image = torch.rand(2, 3, 8, 12).double()
    handle = host.first.register_forward_hook(lambda _, __, y: y * factor.view(1, -1, 1, 1))
    with torch.no_grad():
        expected = host(image)
        handle.remove()
        before = host(image)
        rescale(host, scales_of(host, factor))
        found = host(image)
    assert (before - expected).abs().max() > 1e-3, "the factor matters"
    return float((found - expected).abs().max())


@pytest.mark.parametrize(("middle", "out", "groups"), FOLDED)
def test_a_factor_moves_into_the_weights(middle: Callable[[nn.Module, Tensor], Tensor], out: int, groups: int) -> None:
    assert folded_error(Host(middle, out, groups), torch.tensor([0.5, 2.0, 1.25, 0.1]).double()) < 1e-12


@pytest.mark.parametrize(("middle", "why"), BLOCKED)
def test_a_factor_is_stopped(middle: Callable[[nn.Module, Tensor], Tensor], why: str) -> None:
    with pytest.raises(Blocked, match=why):
        scales_of(Host(middle), torch.tensor([0.5, 2.0, 1.25, 0.1]).double())


def test_a_factor_of_1_is_stopped_nowhere() -> None:
    for middle, _ in BLOCKED:
        scales = scales_of(Host(middle), torch.ones(C))
        assert all((scales.scale(layer.x) == 1).all() for layer in scales.layers)


def test_a_negative_factor_passes_a_convolution_but_no_pooling() -> None:
    factor = torch.tensor([-0.5, 2.0, -1.25, 0.1]).double()
    assert folded_error(Host(grouped, C, 2), factor) < 1e-12
    for middle, out in ((cat, 2 * C), (relu, C)):
        with pytest.raises(Blocked, match="negative"):
            scales_of(Host(middle, out), factor)


def test_a_factor_of_0_moves_on_but_not_back() -> None:
    factor = torch.tensor([0.0, 2.0, 0.0, 1.0]).double()
    host = Host(cat, 2 * C)
    assert folded_error(host, factor) < 1e-12
    assert not host.end.weight[:, C].any(), "the weights that read channel 0 are exactly 0"
    # before SiLU it can only move back: the weights of the layer before become 0, and nothing is divided by 0
    host = Host(activated)
    assert folded_error(host, factor) < 1e-12
    assert not host.start.weight[0].any()


def test_a_free_scale_that_would_divide_by_0_is_refused() -> None:
    def both(host: nn.Module, x: Tensor) -> Tensor:
        return host.end(x + host.side(x.new_ones(len(x), 3, *x.shape[2:])))

    host = Host(both)
    with pytest.raises(Blocked, match="factor of 0"):
        scales_of(host, torch.tensor([0.0, 2.0, 1.0, 1.0]).double())
    assert folded_error(Host(both), torch.tensor([0.5, 2.0, 1.0, 1.0]).double()) < 1e-12
