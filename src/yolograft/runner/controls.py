"""Controls of a study: changes of a grafted network that test other explanations of a gain than the block.

`aa` changes the initial weights by about one part in a million. `params` replaces each block by a plain 1x1 convolution.
`gate1` freezes the parameters that the setting init=identity starts at zero, so that every gate stays at 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from yolograft import attach
from yolograft.errors import HostError
from yolograft.language import tr
from yolograft.seeding import derive_seed
from yolograft.sites import probe

__all__ = ["CONTROLS", "Plain", "apply"]

COPIES = ("aa", *(f"aa{number}" for number in range(2, 10)))  # copies of the baseline, each with other noise
CONTROLS = ("", *COPIES, "params", "gate1")
_RELATIVE_NOISE = 1e-6  # standard deviation


class Plain(nn.Module):
    """y = x + V U x, with 1x1 convolutions U: C -> h and V: h -> C; y = x + w x if that is nearer to the parameter count.

    V and w start at zero, so that y = x.

    Args:
        channels: C.
        parameters: the wanted parameter count. h is chosen so that 2 C h + h + C is nearest to it.
    """

    def __init__(self, channels: int, parameters: int) -> None:
        super().__init__()
        rank = max(1, round((parameters - channels) / (2 * channels + 1)))
        count = 2 * channels * rank + rank + channels
        if abs(channels - parameters) < abs(count - parameters):
            self.body: nn.Module = nn.Conv2d(channels, channels, 1, groups=channels, bias=False)
            nn.init.zeros_(self.body.weight)
        else:
            expand = nn.Conv2d(rank, channels, 1)
            self.body = nn.Sequential(nn.Conv2d(channels, rank, 1), expand)
            for parameter in expand.parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return x + self.body(x)


def apply(network: nn.Module, control: str, seed: int) -> list[nn.Parameter]:
    """Apply a control to a grafted network, in place. Returns the parameters that training must leave at zero.

    Args:
        network: the grafted network.
        control: a name from `CONTROLS`; "" changes nothing.
        seed: the trial's seed.

    Raises:
        HostError: there is no such control, or it has no effect on these blocks.
    """
    if control not in CONTROLS:
        raise HostError(tr("No control is named '{control}'. Known: {controls}.", control=control,
                           controls=", ".join(CONTROLS[1:])))
    if control in COPIES:
        _perturb_weights(network, control, seed)
    elif control == "params":
        _replace_blocks(network, seed)
    elif control == "gate1":
        return _zero_parameters(network)
    return []


def _perturb_weights(network: nn.Module, control: str, seed: int) -> None:
    generator = torch.Generator().manual_seed(derive_seed(control, seed))
    with torch.no_grad():
        for parameter in network.parameters():
            noise = torch.randn(parameter.shape, generator=generator).to(parameter)
            parameter.mul_(1 + _RELATIVE_NOISE * noise)


def _replace_blocks(network: nn.Module, seed: int) -> None:
    blocks, shapes = attach.grafts(network), probe(network)
    for prefix, block in blocks.items():
        count = sum(parameter.numel() for parameter in block.parameters())
        if not count:
            raise HostError(tr("The control 'params' of a {name} equals the bare host, because the block has no "
                               "parameters. Use the control 'aa' instead.", name=type(block).__name__))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(derive_seed("params", seed, prefix))
            plain = Plain(shapes.inputs[prefix][0][1], count)
        weight = next(network.parameters())
        parent, _, leaf = prefix.rpartition(".")
        network.get_submodule(parent)[int(leaf)] = plain.to(weight).train(network.training)  # type: ignore[operator]


def _zero_parameters(network: nn.Module) -> list[nn.Parameter]:
    frozen = []
    for prefix, block in attach.grafts(network).items():
        zeros = list(_parameters_of_zero_modules(block))
        if not zeros:
            raise HostError(tr("The control 'gate1' cannot fix the gates of {name} ({prefix}): none of its layers "
                               "starts at zero. It needs a block with the setting init=identity, the default.",
                               name=type(block).__name__, prefix=prefix))
        frozen += zeros
    return frozen


def _parameters_of_zero_modules(block: nn.Module) -> Iterator[nn.Parameter]:
    """Give the parameters of every submodule whose own parameters are all zero."""
    for module in block.modules():
        own = list(module.parameters(recurse=False))
        if own and not any(bool(parameter.any()) for parameter in own):
            yield from own
