"""How a fresh block returns its input bit for bit while its gradients are alive.

Two ways, for two kinds of block. Where the last layer feeds a gate, `silence` that layer and scale or shift
the gate to be exactly 1 at 0 (`gate`). Where there is no such layer, `Mix` the block's result in with a
learnable weight that starts at 0. Either way something gets a gradient in the first step and all the rest in
the second, as in LoRA.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks._settings import one_of

__all__ = ["GATES", "INITS", "Mix", "gate", "silence"]

INITS = ("identity", "paper")

# name -> (the papers' gate, the same gate scaled or shifted so that it is exactly 1 at 0)
GATES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "sigmoid": (torch.sigmoid, lambda z: 2 * torch.sigmoid(z)),
    "tanh": (torch.tanh, lambda z: 1 + torch.tanh(z)),
    "relu": (F.relu, lambda z: F.relu(1 + z)),
    # 3 times the nearest number to 1 / 6 rounds to one half in every precision, so this is exact as well
    "hardsigmoid": (F.hardsigmoid, lambda z: 2 * F.hardsigmoid(z)),
}


def gate(z: Tensor, init: str, name: str = "sigmoid") -> Tensor:
    """Return the gate of the logits z: the papers' for `paper`, the one that is 1 at 0 for `identity`."""
    return GATES[name][init == "identity"](z)


def silence(*layers: nn.Module) -> None:
    """Set every parameter of the layers to zero, so that they answer zero."""
    for layer in layers:
        for parameter in layer.parameters():
            nn.init.zeros_(parameter)


class Mix(nn.Module):
    """x + a (y - x) with a learnable scalar a, zero at birth; just y, and no a, when `init` is `paper`."""

    def __init__(self, block: str, init: str) -> None:
        super().__init__()
        one_of(block, "init", init, INITS)
        self.a = nn.Parameter(torch.zeros(())) if init == "identity" else None

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Mix the block's result y into its input x."""
        return y if self.a is None else x + self.a * (y - x)
