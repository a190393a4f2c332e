"""Whether the training reached a block: how far its weights are from their start, and the gradient that they get.

Only those tensors have a known start that a new block always begins with (zeros, ones). The others are random, and the
random numbers of the training are gone.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a network's `loss(batch)` returns the loss first, and reads its gains
from `network.args`.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace

from yolograft import attach, blocks
from yolograft.analysis.gates import Place
from yolograft.spec import Graft

__all__ = ["BlockTraining", "new_block", "trace_training"]


@dataclass(frozen=True, kw_only=True)
class BlockTraining:
    """What the training did to a block's weights.

    Attributes:
        parameters: number of parameters.
        known: number of those whose start is known.
        moved: share of those that have another value now; NaN if none is known.
        distance: root mean square of their difference to the start; NaN if none is known.
        gradient: norm of the gradient of the block's parameters on one batch.
        relative_gradient: the same per root of the number of parameters, divided by that of all parameters of the host.
    """

    parameters: int
    known: int
    moved: float
    distance: float
    gradient: float
    relative_gradient: float


def new_block(place: Place, seed: int = 0) -> nn.Module:
    """Return a new block with the settings of a place, as it was before the training. The random state is unchanged."""
    (part,) = Graft.parse(place.graft).parts
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return blocks.create(part.block, place.channels, **dict(part.settings)).eval()


def trace_training(network: nn.Module, places: Sequence[Place], batch: Mapping[str, Any]) -> dict[Place, BlockTraining]:
    """Compare the weights of blocks with their start, and compute their gradients on one batch.

    The network is not changed: a copy runs, in training mode but with the running statistics of its batch norms.

    Args:
        network: the network, not fused.
        places: its blocks.
        batch: images (B, 3, H, W) from 0 to 1 and labels, as Ultralytics' data loader makes them.
    """
    copied: Any = copy.deepcopy(network).float().train()
    for module in copied.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    own = copied.args if isinstance(copied.args, Mapping) else vars(copied.args)
    copied.args = IterableSimpleNamespace(**{**DEFAULT_CFG_DICT, **own})
    copied.criterion = None  # a stored one would have the old arguments
    for parameter in copied.parameters():
        parameter.requires_grad_(True)
    device = next(copied.parameters()).device
    with torch.enable_grad():
        moved = {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
        copied.loss(moved)[0].sum().backward()
    copies = dict(zip(attach.grafts(network).values(), attach.grafts(copied).values(), strict=True))
    of_blocks = {id(parameter) for block in copies.values() for parameter in block.parameters()}
    host = _size(parameter.grad for parameter in copied.parameters() if id(parameter) not in of_blocks)
    return {place: _trace(place, copies[place.block], host) for place in places}


def _trace(place: Place, copied: nn.Module, host: float) -> BlockTraining:
    starts = [dict(new_block(place, seed).named_parameters()) for seed in (0, 1)]
    own = dict(place.block.named_parameters())
    known = [key for key in own if key in starts[0] and torch.equal(starts[0][key], starts[1][key])]
    apart = torch.cat([(own[key].detach().cpu().float() - starts[0][key].detach()).flatten() for key in known]
                      or [torch.zeros(0)])
    gradients = [parameter.grad for parameter in copied.parameters()]
    norm = sum(float(one.square().sum()) for one in gradients if one is not None) ** 0.5
    return BlockTraining(parameters=sum(parameter.numel() for parameter in own.values()), known=apart.numel(),
                         moved=float((apart != 0).float().mean()) if len(apart) else float("nan"),
                         distance=float(apart.square().mean().sqrt()) if len(apart) else float("nan"),
                         gradient=norm, relative_gradient=_size(gradients) / host if host else float("nan"))


def _size(gradients: Any) -> float:
    """Return the root mean square of all elements of gradients. A missing gradient counts as zeros of unknown number."""
    known = [one for one in gradients if one is not None]
    total, count = sum(float(one.square().sum()) for one in known), sum(one.numel() for one in known)
    return (total / count) ** 0.5 if count else 0.0
