"""Attention inside C2f and C3k2, under the names that YAML files use: C2f_SE, C3k2_CBAM, C2f_EMA, ...

Any block of `yolograft.blocks` can be in the name. Of 39 public definitions of C2f_SE, C2f_CBAM, C2f_EMA, C3k2_SE, C3k2_CBAM
and C3k2_EMA, 19 apply the block to the output of the row, 8 inside each bottleneck, and 12 at other places, of which hardly
two agree. So `place` is `output` by default; `bottleneck` means the residual branch before the sum.

A class of this module is made when its name is first used: `C2f_SE` is `C2fAttention` with `block = "SE"`. Checkpoints
contain it by this module's name, as every class.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from torch import Tensor, nn

from yolograft.blocks import create
from yolograft.errors import ModuleError
from yolograft.language import tr
from yolograft.modules._conv import CSP, Bottleneck, c3k2_unit

__all__ = ["C2fAttention", "C3k2Attention"]

_PLACES = ("output", "bottleneck")


class _Attention(CSP):
    """A CSP row with a block, either on its output or inside each bottleneck."""

    block = ""
    attention: nn.Module | None

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c2, H, W) for x: (B, c1, H, W)."""
        y = super().forward(x)
        if self.attention is not None:
            y = self.attention(y)
        return y


class C2fAttention(_Attention):
    """C2f with an attention block a.

    `place="output"`: y = a(C2f x). `place="bottleneck"`: each bottleneck is x + a(cv2 cv1 x), or a(cv2 cv1 x) without the
    shortcut. Both have the parameters of C2f under C2f's names. A new block returns its input (`init="identity"`), so the
    row starts as the C2f with the same weights.

    Shapes: (B, c1, H, W) -> (B, c2, H, W).

    Args:
        c1: input channels.
        c2: output channels.
        n: the number of bottlenecks.
        shortcut: whether a bottleneck adds its input.
        g: groups of the bottlenecks' second convolutions.
        e: the hidden width is int(c2 e).
        place: `output` or `bottleneck`.
        settings: settings of the block, such as `ratio=8`.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, shortcut: bool = False, g: int = 1, e: float = 0.5, *,
                 place: str = "output", **settings: Any) -> None:
        is_inside = _is_inside(type(self).__name__, place)
        super().__init__(c1, c2, n, e, lambda c: Bottleneck(
            c, shortcut, g, 1.0, create(self.block, c, **settings) if is_inside else None))
        self.attention = None if is_inside else create(self.block, c2, **settings)


class C3k2Attention(_Attention):
    """C3k2 with an attention block a; see `C2fAttention`. With `c3k`, `place="bottleneck"` means those in each C3k.

    Shapes: (B, c1, H, W) -> (B, c2, H, W).

    Args:
        c1: input channels.
        c2: output channels.
        n: the number of units.
        c3k: each unit is a C3k with two bottlenecks, not one bottleneck.
        e: the hidden width is int(c2 e).
        attn: self-attention follows each bottleneck, as in C3k2 of Ultralytics 8.4.
        g: groups of the bottlenecks' second convolutions.
        shortcut: whether a bottleneck adds its input.
        place: `output` or `bottleneck`.
        settings: settings of the block, such as `ratio=8`.
    """

    def __init__(self, c1: int, c2: int, n: int = 1, c3k: bool = False, e: float = 0.5, attn: bool = False, g: int = 1,
                 shortcut: bool = True, *, place: str = "output", **settings: Any) -> None:
        is_inside = _is_inside(type(self).__name__, place)

        def bottleneck(c: int, factor: float) -> nn.Module:
            return Bottleneck(c, shortcut, g, factor, create(self.block, c, **settings) if is_inside else None)

        super().__init__(c1, c2, n, e, lambda c: c3k2_unit(c, bottleneck, c3k=c3k, attn=attn))
        self.attention = None if is_inside else create(self.block, c2, **settings)


_FAMILIES: dict[str, type[_Attention]] = {"C2f": C2fAttention, "C3k2": C3k2Attention}


def _is_inside(name: str, place: str) -> bool:
    if place not in _PLACES:
        raise ModuleError(tr("{module}: place={value!r} is not one of {places}.", module=name, value=place,
                             places=", ".join(_PLACES)))
    return place == "bottleneck"


@cache
def _make(family: str, block: str) -> type[_Attention]:
    base = _FAMILIES[family]
    return type(f"{family}_{block}", (base,), {"__module__": __name__, "__doc__": base.__doc__, "block": block})


def __getattr__(name: str) -> type[_Attention]:
    # Pickle finds a class as an attribute of its module. It does not build an instance, so the block need not be known yet.
    family, _, block = name.partition("_")
    if family not in _FAMILIES or not block.isidentifier():
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return _make(family, block)
