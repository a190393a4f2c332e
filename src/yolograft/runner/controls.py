"""The controls of a study, made of a network that is already grafted: what else but the block could explain a gain.

`aa` moves the initial weights by one part in a million, `params` puts a plain 1x1 convolution in each block's place, and
`gate1` holds at zero what an identity start silences, so that every gate stays at 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from yolograft import attach
from yolograft.errors import HostError
from yolograft.seeding import derive_seed
from yolograft.sites import probe

__all__ = ["CONTROLS", "Plain", "apply"]

CONTROLS = ("", "aa", "params", "gate1")
_MOVE = 1e-6


class Plain(nn.Module):
    """x + V U x, a 1x1 convolution of rank h, or x + w x where even h = 1 has too many parameters; the identity at birth.

    Args:
        channels: C.
        parameters: how many it should have: h is chosen to come nearest, 2 C h + h + C.
    """

    def __init__(self, channels: int, parameters: int) -> None:
        super().__init__()
        rank = max(1, round((parameters - channels) / (2 * channels + 1)))
        least = 2 * channels * rank + rank + channels
        if abs(channels - parameters) < abs(least - parameters):
            self.body: nn.Module = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
            nn.init.zeros_(self.body.weight)
        else:
            last = nn.Conv2d(rank, channels, 1)
            self.body = nn.Sequential(nn.Conv2d(channels, rank, 1), last)
            for parameter in last.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.body(x)


def apply(network: nn.Module, control: str, seed: int) -> list[nn.Parameter]:
    """Make a grafted network the control's, in place; returns the parameters that training must leave at zero.

    Raises:
        HostError: no such control, or the blocks have nothing that it could act on.
    """
    if control not in CONTROLS:
        raise HostError(f"No control is named '{control}'. Known: {', '.join(CONTROLS[1:])}.")
    if control == "aa":
        _move(network, seed)
    elif control == "params":
        _replace(network, seed)
    elif control == "gate1":
        return _hold(network)
    return []


def _move(network: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(derive_seed("aa", seed))
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.mul_(1 + _MOVE * noise)


def _replace(network: nn.Module, seed: int) -> None:
    blocks, shapes = attach.grafts(network), probe(network)
    for prefix, block in blocks.items():
        count = sum(parameter.numel() for parameter in block.parameters())
        if not count:
            raise HostError(f"The control 'params' of a {type(block).__name__} is the bare host: the block has no "
                            "parameters. Use the control 'aa' instead.")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("params", seed, prefix))
            plain = Plain(shapes.inputs[prefix][0][1], count)
        weight = next(network.parameters())
        parent, _, leaf = prefix.rpartition(".")
        network.get_submodule(parent)[int(leaf)] = plain.to(weight).train(network.training)  # type: ignore[operator]


def _hold(network: nn.Module) -> list[nn.Parameter]:
    held = []
    for prefix, block in attach.grafts(network).items():
        silent = list(_silent(block))
        if not silent:
            raise HostError(f"The control 'gate1' cannot hold the gates of {type(block).__name__} ({prefix}): nothing in "
                            "it starts silent. It needs a block with the setting init=identity, the default.")
        held += silent
    return held


def _silent(block: nn.Module) -> Iterator[nn.Parameter]:
    for module in block.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(bool(parameter.any()) for parameter in own):
            yield from own
