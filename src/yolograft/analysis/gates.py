"""The gates of a grafted network: what each block multiplies its input with, and networks with replaced gates.

A block that multiplies returns x * g, and g is its gate, (B, C, H, W) or of a smaller shape that broadcasts to it. Whether a
block multiplies, and along which axes its gate varies, is measured on a copy with random weights (`kind_of`), so blocks of
users need no declaration. Blocks that add or mix (`nonlocal`, `mhsa`, `gc`, ...) have no gate: their change is y - x.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import torch
from torch import Tensor, nn

from yolograft import attach
from yolograft.errors import BlockError
from yolograft.host.models import short_text
from yolograft.language import tr
from yolograft.sites import Place as SitePlace
from yolograft.sites import Probe, name_strides, probe, resolve, rows
from yolograft.spec import Part, Site

__all__ = ["Kind", "Place", "Replacement", "change_of", "gate_of", "kind_of", "mean_gates", "observed", "places", "replaced"]

Kind = Literal["channel", "spatial", "both", "none"]
# How a block's gate is replaced: by 1, by that of another image of the batch, or by a constant (C, 1, 1)
Replacement: TypeAlias = "Literal['one', 'other'] | Tensor"

_PIXELS = 16  # side of the maps on which a block is classified
_TOLERANCE = 1e-4  # relative; the variation of a gate along an axis below it is rounding


@dataclass(frozen=True, kw_only=True, eq=False)
class Place:
    """One attached block of a network.

    Attributes:
        name: where the block is, such as `8`, `6.m.0.cv2`, `8/pre` or `p4`. A second block there is `8#2`.
        graft: the text of a graft with this block alone, such as `se(ratio=8)@8`.
        block: the block.
        channels: number of channels of the block's input.
        kind: along what its gate varies, see `kind_of`.
    """

    name: str
    graft: str
    block: nn.Module
    channels: int
    kind: Kind


def places(network: nn.Module) -> tuple[Place, ...]:
    """Return every attached block of a network, in the order of its modules. Empty for a bare host.

    The network must not be fused: fusing moves some blocks to other modules.
    """
    attached = attach.grafts(network)
    if not attached:
        return ()
    shapes = probe(network)
    parts = _parts(network, shapes)
    found = []
    for prefix, block in attached.items():
        name = _name(network, prefix)
        part = parts.get(prefix)
        text = str(Part(part.block, (Site.parse(name.partition("#")[0]),), part.settings)) if part else name
        channels = shapes.inputs[prefix][0][1]
        found.append(Place(name=name, graft=short_text(text) if part else text, block=block, channels=channels,
                           kind=kind_of(block, channels)))
    return tuple(found)


def _parts(network: nn.Module, shapes: Probe) -> dict[str, Part]:
    """Return the part of the graft that each block comes from, by the prefix of the block."""
    names = {module: name for name, module in network.named_modules()}
    found: dict[str, Part] = {}
    for part in attach.grafted(network).parts:
        for site in part.sites:
            for place in resolve(network, site, shapes):
                container = _container(network, place, names)
                number = sum(prefix.rpartition(".")[0] == container for prefix in found)
                found[f"{container}.{number}"] = part
    return found


def _container(network: nn.Module, place: SitePlace, names: Mapping[nn.Module, str]) -> str:
    if place.side == "edge":
        owner, position = place.readers[0]
        return f"{owner}.{attach.IN}.{position}"
    if place.side == "skip":
        return f"{place.module}.{attach.SKIP}"
    module = attach.hooked_module(network.get_submodule(place.module), place)
    return f"{names[module]}.{attach.OUT if place.side == 'out' else attach.PRE}"


def _name(network: nn.Module, prefix: str) -> str:
    container, _, number = prefix.rpartition(".")
    owner, _, leaf = container.rpartition(".")
    if leaf.isdecimal():  # OWNER.graft_in.POSITION
        name = _edge_name(network, owner.rpartition(".")[0], int(leaf))
    else:
        name = owner.removeprefix("model.") + {attach.OUT: "", attach.PRE: "/pre", attach.SKIP: "/skip"}[leaf]
    return name if number == "0" else f"{name}#{int(number) + 1}"


def _edge_name(network: nn.Module, owner: str, position: int) -> str:
    body = rows(network)
    row = next((row for row in body if row.name == owner), None)
    if row is None:
        return f"{owner}>{position}"
    strides: Any = getattr(network.get_submodule(owner), "stride", None)
    if row is body[-1] and isinstance(strides, Tensor) and len(strides) == len(row.reads):
        for name, positions in name_strides([int(stride) for stride in strides]).items():
            if positions == [position]:
                return name
    return f"{row.reads[position]}>{row.index}"


@torch.no_grad()
def kind_of(block: nn.Module, channels: int) -> Kind:
    """Return along what a block's gate varies: `channel`, `spatial`, `both` (channels and positions), or `none`.

    A block multiplies if its result is 0 wherever its input is 0. It is measured on a copy in eval mode with random
    parameters, because the gate of a new block is 1 everywhere. `none`: the block adds or mixes, so it has no gate.
    """
    copied = copy.deepcopy(block).float().cpu().eval()
    for hooks in (copied._forward_hooks, copied._forward_pre_hooks):
        hooks.clear()
    generator = torch.Generator().manual_seed(0)
    for parameter in copied.parameters():
        parameter.copy_(torch.randn(parameter.shape, generator=generator) / 2)
    x = torch.rand((2, channels, _PIXELS, _PIXELS), generator=generator) + 0.1
    holes = x * (torch.rand(x.shape, generator=generator) < 0.5)
    if copied(holes)[holes == 0].abs().amax() > 0:
        return "none"
    gate = copied(x) / x
    size = _TOLERANCE * gate.abs().amax().clamp(min=1e-12)
    varies_in_space = (gate.amax((2, 3)) - gate.amin((2, 3))).amax() > size
    varies_by_channel = (gate.amax(1) - gate.amin(1)).amax() > size
    if varies_in_space:
        return "both" if varies_by_channel else "spatial"
    return "channel"


def gate_of(x: Tensor, y: Tensor, kind: Kind) -> Tensor:
    """Return the gate of a block that multiplies, from its input and its output, both (B, C, H, W).

    It is the ratio of the two, least squares over the axes along which the gate does not vary: (B, C, 1, 1) for `channel`,
    (B, 1, H, W) for `spatial`, else (B, C, H, W). NaN where the input is 0 along the whole axes.

    Raises:
        BlockError: the kind is `none`.
    """
    if kind == "none":
        raise BlockError(tr("A block that adds or mixes has no gate."))
    axes: tuple[int, ...] = {"channel": (2, 3), "spatial": (1,), "both": ()}[kind]
    x, y = x.double(), y.double()
    if not axes:
        return torch.where(x == 0, torch.nan, y / x)
    power = x.square().sum(axes, keepdim=True)
    return torch.where(power == 0, torch.nan, (x * y).sum(axes, keepdim=True) / power)


def change_of(x: Tensor, y: Tensor) -> Tensor:
    """Return |y - x| / |x| for each image, (B,): how much a block of any kind changes its input, 0 for an input of zeros."""
    norm = x.double().flatten(1).norm(dim=1)
    return (y.double() - x.double()).flatten(1).norm(dim=1) / norm.clamp(min=1e-300)


@contextmanager
def observed(network: nn.Module, what: tuple[Place, ...],
             observe: Callable[[Place, Tensor, Tensor], None]) -> Iterator[None]:
    """Inside this context, call `observe(place, x, y)` with the input and output of each block, whenever it runs.

    A copy of the network that is made inside is observed too (`validation.validate` runs a copy).
    """
    def hook_of(place: Place) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
            observe(place, args[0].detach(), output.detach())

        return hook

    handles = [place.block.register_forward_hook(hook_of(place)) for place in what]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def mean_gates(network: nn.Module, what: tuple[Place, ...]) -> Iterator[dict[Place, Tensor]]:
    """Collect the mean gate of each block that multiplies, per channel, over everything that runs inside.

    Yields:
        place -> (C, 1, 1), complete when the context ends. Positions with an input of 0 do not count; a channel that is
        always 0 has the mean 1.
    """
    sums: dict[Place, Tensor] = {}
    counts: dict[Place, Tensor] = {}
    means: dict[Place, Tensor] = {}

    def observe(place: Place, x: Tensor, y: Tensor) -> None:
        gate = gate_of(x, y, place.kind).expand(-1, place.channels, -1, -1)
        is_known = gate.isfinite()
        sums[place] = sums.get(place, 0) + torch.where(is_known, gate, 0).sum((0, 2, 3))
        counts[place] = counts.get(place, 0) + is_known.sum((0, 2, 3))

    with observed(network, tuple(place for place in what if place.kind != "none"), observe):
        yield means
    for place, total in sums.items():
        mean = torch.where(counts[place] > 0, total / counts[place].clamp(min=1), 1)
        means[place] = mean.float()[:, None, None]


@contextmanager
def replaced(network: nn.Module, how: Mapping[Place, Replacement]) -> Iterator[None]:
    """Inside this context, the network runs with the gates of some blocks replaced. Copies made inside do so too.

    Args:
        network: the network.
        how: place -> `one` (the block returns its input), `other` (the gate of the next image of the batch, and for a block
            without a gate the next image's change y - x), or a constant gate (C, 1, 1), such as one of `mean_gates`. In a
            batch of one image, `other` keeps the image's own gate.

    Raises:
        BlockError: a constant gate for a block that has none.
    """
    for place, one in how.items():
        if isinstance(one, Tensor) and place.kind == "none":
            raise BlockError(tr("'{graft}' adds or mixes: it has no gate that a constant can replace.", graft=place.graft))
    handles = [place.block.register_forward_hook(_replacing(place, one)) for place, one in how.items()]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _replacing(place: Place, how: Replacement) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], Tensor]:
    def hook(_: nn.Module, args: tuple[Tensor, ...], y: Tensor) -> Tensor:
        x = args[0]
        if isinstance(how, Tensor):
            return x * how.to(x)
        if how == "one":
            return x
        if place.kind == "none":
            return x + (y - x).roll(1, 0)
        gate = gate_of(x, y, place.kind)
        # where the other image's input is 0, its gate is unknown: take the mean of that image's channel
        known = gate.nanmean((2, 3), keepdim=True) if place.kind != "spatial" else gate.nanmean((1, 2, 3), keepdim=True)
        gate = torch.where(gate.isnan(), known, gate).nan_to_num(nan=1.0)
        return x * gate.roll(1, 0).to(x)

    return hook
