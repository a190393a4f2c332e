"""Fold blocks that are constants per channel into the weights of their network, and drop them.

`fold_blocks` never returns a network that computes something else: it compares the folded network with the one in which the
same blocks are fixed constants, in float64.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from yolograft import attach
from yolograft.analysis import channel_offsets
from yolograft.analysis.channel_offsets import Additions
from yolograft.analysis.channel_scales import Blocked, ChannelScales, rescale
from yolograft.analysis.constant_gate import Constant, FixedGate
from yolograft.analysis.gates import Place, places
from yolograft.analysis.operator_graph import SITE, Graph, Operator, record, results
from yolograft.errors import HostError
from yolograft.host import models
from yolograft.language import tr
from yolograft.sites import probe
from yolograft.spec import Graft, Part

__all__ = ["Folded", "blocked_alone", "blocked_together", "fold_blocks", "largest_error", "with_constants"]

_LARGEST_ERROR = 1e-4  # relative to the largest output; two scales count as equal if they differ by less than 1e-6


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A network without the blocks that were folded.

    Attributes:
        network: the new network. It is a stock one if no block is left.
        blocked: place -> why its block could not be folded, and is still there.
        error: the largest error of the outputs in float64, relative to the largest output.
    """

    network: nn.Module
    blocked: Mapping[Place, str]
    error: float


@dataclass(frozen=True, kw_only=True)
class _Plan:
    scales: ChannelScales
    additions: Additions
    blocked: Mapping[Place, str]


def fold_blocks(network: nn.Module, constants: Mapping[Place, Constant]) -> Folded:
    """Return a copy of a network in which blocks are folded into the weights, as far as that is possible.

    Args:
        network: a grafted task model, not fused. It is unchanged.
        constants: what each block is; blocks that are absent stay.

    Raises:
        HostError: the folded network would have other outputs.
    """
    names = _names(network)
    plan = _plan(network, record(network), {names[place.block]: (place, one) for place, one in constants.items()})
    folded = {place: one for place, one in constants.items() if place not in plan.blocked}
    fixed = with_constants(network, folded).double()
    kept = [place for place in places(network) if place.name not in {one.name for one in folded}]
    new = _regrafted(network, kept).double()
    channel_offsets.add(new, plan.additions)
    rescale(new, plan.scales)
    error = largest_error(new, fixed, _images(network))
    if not error <= _LARGEST_ERROR:
        raise HostError(tr("Folding would change the outputs of this network by {error:.2g} of the largest, so nothing was "
                           "folded. Please report it, with the model and its graft: {graft}", error=error,
                           graft=models.short_text(str(attach.grafted(network)))))
    weight = next(network.parameters())
    return Folded(network=new.to(weight.dtype), blocked=plan.blocked, error=error)


def blocked_alone(network: nn.Module, constants: Mapping[Place, Constant]) -> dict[Place, str]:
    """Return why blocks cannot be folded, each for itself, while all others stay. Those that can are absent."""
    names, graph = _names(network), record(network)
    blocked: dict[Place, str] = {}
    for place, one in constants.items():
        blocked.update(_plan(network, graph, {names[place.block]: (place, one)}).blocked)
    return blocked


def blocked_together(network: nn.Module, constants: Mapping[Place, Constant]) -> dict[Place, str]:
    """Return why blocks cannot be folded if all of `constants` are to be. Those that can are absent."""
    names = _names(network)
    wanted = {names[place.block]: (place, one) for place, one in constants.items()}
    return dict(_plan(network, record(network), wanted).blocked)


def with_constants(network: nn.Module, constants: Mapping[Place, Constant]) -> Any:
    """Return a copy of a network, in eval mode, in which blocks are fixed constants."""
    names = _names(network)
    copied = copy.deepcopy(network).eval()
    for place, one in constants.items():
        container, _, number = names[place.block].rpartition(".")
        weight = next(network.parameters())
        setattr(copied.get_submodule(container), number, FixedGate(one).to(weight.device))
    return copied


def largest_error(network: nn.Module, expected: nn.Module, images: Tensor) -> float:
    """Return the largest difference of two networks' raw outputs, relative to the largest output. NaN counts as infinite."""
    worst = 0.0
    for found, wanted in zip(_outputs(network, images), _outputs(expected, images), strict=True):
        difference = float((found - wanted).abs().max()) / max(float(wanted.abs().max()), 1e-12)
        worst = max(worst, difference if difference == difference else float("inf"))
    return worst


def _outputs(network: nn.Module, images: Tensor) -> list[Tensor]:
    images = images.to(next(network.parameters()))
    with torch.no_grad():
        try:
            returned = results(network, images)
        except Exception:  # RT-DETR's head raises many types for raw outputs without labels
            returned = results(network, images, raw=False)
    return [one for one in returned if one.is_floating_point() and one.numel()]


def _images(network: nn.Module) -> Tensor:
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    size = probe(network).size
    return torch.rand(2, 3 if first is None else first.in_channels, size, size,
                      generator=torch.Generator().manual_seed(0))


def _names(network: nn.Module) -> dict[nn.Module, str]:
    return {block: name for name, block in attach.grafts(network).items()}


def _plan(network: nn.Module, graph: Graph, wanted: Mapping[str, tuple[Place, Constant]]) -> _Plan:
    """Find the scales that fold as many of the wanted blocks as possible. The others stay, and have the scale 1."""
    calls: dict[str, list[Operator]] = {}
    for operator in graph.operators:
        if operator.name == SITE:
            calls.setdefault(operator.module, []).append(operator)
    blocked = {place: tr("the network does not run this block") for name, (place, _) in wanted.items() if name not in calls}
    todo = {name: one for name, one in wanted.items() if name in calls}
    while True:
        scales = ChannelScales(graph, kept=[name for name in calls if name not in todo])
        refused, factors, additions = {}, dict[str, Tensor](), Additions()
        for name, (_, one) in todo.items():
            trial = scales.copy()
            try:
                trial.add_block(calls[name], one.factor)
                more = channel_offsets.move_offset(network, trial, calls[name], one.factor, one.offset,
                                                   {**factors, name: one.factor}) if one.offset.any() else {}
            except Blocked as error:
                refused[name] = str(error)
                continue
            scales, factors[name] = trial, one.factor
            channel_offsets.merge(additions, more)
        if not refused:
            return _Plan(scales=scales, additions=additions, blocked=blocked)
        for name, reason in refused.items():  # these stay, which can block others: begin again without them
            blocked[todo.pop(name)[0]] = reason


def _regrafted(network: nn.Module, kept: list[Place]) -> Any:
    """Return a copy of a network, in eval mode, with some of its blocks only."""
    own = {place.name: place.block for place in places(network)}
    copied: Any = models.ungraft(copy.deepcopy(network)).eval()
    if hasattr(copied, models.FRESH):
        delattr(copied, models.FRESH)
    parts: list[Part] = []
    for part in (part for place in kept for part in Graft.parse(place.graft).parts):
        if parts and (parts[-1].block, parts[-1].settings) == (part.block, part.settings) and \
                part.sites[0] not in parts[-1].sites:
            parts[-1] = replace(parts[-1], sites=(*parts[-1].sites, *part.sites))
        else:
            parts.append(part)
    models.graft_onto(copied, Graft(tuple(parts)))
    attached = attach.grafts(copied)
    order = {name: number for number, name in enumerate(own)}
    for place, block in zip(sorted(kept, key=lambda one: order[one.name]), attached.values(), strict=True):
        block.load_state_dict(own[place.name].state_dict())
    return copied
