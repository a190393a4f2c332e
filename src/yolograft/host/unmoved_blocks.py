"""Blocks that a training did not change: found by comparing them with copies from its start.

A block that did not change was not trained, so the result of the run says nothing about it. Reasons are frozen parameters, a
gradient that is zero in every step, and no optimizer step at all.

What this relies on in Ultralytics (8.3.0 to 8.4.x): the callback `on_pretrain_routine_end` runs when the network is built,
and `on_train_end` after the last epoch. The network is `trainer.model`, or its `module` in a training on several GPUs.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal

import torch
from torch import nn

from yolograft import attach
from yolograft.host.log import warn
from yolograft.language import tr
from yolograft.sites import probe

__all__ = ["Reason", "copy_blocks", "find_unmoved", "remember_blocks", "say_unmoved", "unmoved_text"]

Reason = Literal["frozen", "parameters", "output"]
_SIDE = 16  # pixels of the random feature map on which a block's output is compared
_SHOWN = 3


def copy_blocks(network: nn.Module) -> dict[str, nn.Module]:
    """Return a copy, on the CPU, of each block of a network that has parameters, by its name."""
    return {name: _alone(block) for name, block in attach.grafts(network).items() if any(True for _ in block.parameters())}


def _alone(block: nn.Module) -> nn.Module:
    copied = copy.deepcopy(block).cpu().float().eval()
    for hooks in (copied._forward_hooks, copied._forward_pre_hooks):
        hooks.clear()
    return copied


def find_unmoved(network: nn.Module, starts: Mapping[str, nn.Module]) -> dict[str, Reason]:
    """Return the blocks of a network that did not change, and how that shows.

    Args:
        network: the network after the training.
        starts: the blocks at its start, see `copy_blocks`.

    Returns:
        name -> `frozen` (no parameter is trainable), `parameters` (no parameter has changed), or `output` (parameters have
        changed, but the block's output on a random feature map is equal bit by bit).
    """
    blocks = {name: block for name, block in attach.grafts(network).items() if name in starts}
    found: dict[str, Reason] = {}
    for name, block in blocks.items():
        parameters = list(block.parameters())
        if all(torch.equal(now.detach().cpu().float(), then) for now, then in
               zip(parameters, starts[name].parameters(), strict=True)):
            found[name] = "parameters" if any(parameter.requires_grad for parameter in parameters) else "frozen"
    moved = [name for name in blocks if name not in found]
    shapes = probe(network).inputs if moved else {}
    for name in moved:
        if name in shapes and _same_output(starts[name], _alone(blocks[name]), shapes[name][0][1]):
            found[name] = "output"
    return found


@torch.no_grad()
def _same_output(start: nn.Module, end: nn.Module, channels: int) -> bool:
    x = torch.rand((2, channels, _SIDE, _SIDE), generator=torch.Generator().manual_seed(0))
    try:
        return torch.equal(start(x), end(x))
    except Exception:  # a user's block can raise any error on a map that its network never has
        return False


def unmoved_text(found: Mapping[str, Reason]) -> str:
    """Return one sentence on the blocks that did not change."""
    reasons = {"frozen": tr("its parameters are frozen"),
               "parameters": tr("every parameter has its first value, because the gradient was zero or no optimizer step "
                                "was made"),
               "output": tr("its output is that of the start, although parameters changed")}
    shown = "; ".join(tr("{name}: {reason}", name=name, reason=reasons[found[name]]) for name in list(found)[:_SHOWN])
    return tr("grafted blocks that did not change in this training: {count} ({shown}). The result says nothing about them.",
              count=len(found), shown=shown)


def remember_blocks(trainer: Any) -> None:
    """Callback of `on_pretrain_routine_end`: keep a copy of the blocks."""
    trainer.block_starts = copy_blocks(_network(trainer))


def say_unmoved(trainer: Any) -> None:
    """Callback of `on_train_end`: warn if blocks did not change, unless a control freezes them on purpose."""
    trainer.unmoved_blocks = {} if getattr(trainer, "frozen_params", ()) else find_unmoved(
        _network(trainer), getattr(trainer, "block_starts", {}))
    if trainer.unmoved_blocks:
        warn(unmoved_text(trainer.unmoved_blocks))


def _network(trainer: Any) -> nn.Module:
    network: nn.Module = getattr(trainer.model, "module", trainer.model)
    return getattr(network, "_orig_mod", network)  # with compile=True

