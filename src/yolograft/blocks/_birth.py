"""Identity initialisation: a new block returns its input bit for bit, and its gradients are not zero.

There are two methods:

- The block's last layer feeds a gate: `zero_init` sets that layer to zero, and `gate` scales or shifts the gate
  function so that it is exactly 1 at 0.
- The block has no such layer: `Mix` adds the block's result with a learnable weight that starts at 0.

With both, some parameters get a gradient in the first step and all others in the second, as in LoRA.

Checkpoints contain `Mix` by the name of this module: do not rename either.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks._settings import check_choice

__all__ = ["GATES", "INITS", "Mix", "gate", "zero_init"]

INITS = ("identity", "paper")

# name -> (the published gate, the same gate scaled or shifted so that it is exactly 1 at 0)
GATES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "sigmoid": (torch.sigmoid, lambda z: 2 * torch.sigmoid(z)),
    "tanh": (torch.tanh, lambda z: 1 + torch.tanh(z)),
    "relu": (F.relu, lambda z: F.relu(1 + z)),
    # hardsigmoid(0) = 3 * (1 / 6) rounds to exactly 0.5 in every floating-point format, so the double is exactly 1
    "hardsigmoid": (F.hardsigmoid, lambda z: 2 * F.hardsigmoid(z)),
}


def gate(z: Tensor, init: str, name: str = "sigmoid") -> Tensor:
    """Return the gate of the logits z: as published if `init` is `paper`, with gate(0) = 1 if it is `identity`."""
    return GATES[name][init == "identity"](z)


def zero_init(*layers: nn.Module) -> None:
    """Set all parameters of the layers to zero, so that the layers return zero."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


class Mix(nn.Module):
    """x + a (y - x) with a learnable scalar a that starts at 0. If `init` is `paper`: y, without a parameter."""

    def __init__(self, block: str, init: str) -> None:
        super().__init__()
        check_choice(block, "init", init, INITS)
        self.a = nn.Parameter(torch.zeros(())) if init == "identity" else None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mix the block's result y with the block's input x, both (B, C, H, W)."""
        return y if self.a is None else x + self.a * (y - x)
