"""Checks of the settings that blocks share; each raises `BlockError` with what was asked and what works."""

from __future__ import annotations

import math
from collections.abc import Iterable

from yolograft.errors import BlockError, nearest

__all__ = ["divisor", "flag", "hidden", "number", "one_of", "whole"]


def one_of(block: str, name: str, value: object, choices: Iterable[str]) -> None:
    """Refuse a word that is not among the choices."""
    known = list(choices)
    if value not in known:
        raise BlockError(f"{block}: {name}={value} is not one of {', '.join(known)}."
                         f"{nearest(str(value), known)}")


def flag(block: str, name: str, value: object) -> None:
    """Refuse what is neither True nor False."""
    if not isinstance(value, bool):
        raise BlockError(f"{block}: {name}={value} must be True or False.")


def number(block: str, name: str, value: object, *, least: float, most: float = math.inf) -> None:
    """Refuse what is not a finite number between `least` and `most`."""
    fits = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    if not fits or not least <= value <= most:  # type: ignore[operator]
        upper = "" if most == math.inf else f" and at most {most:g}"
        raise BlockError(f"{block}: {name}={value} must be a number of at least {least:g}{upper}.")


def whole(block: str, name: str, value: object, *, least: int = 1, odd: bool = False) -> None:
    """Refuse what is not a whole number of at least `least` (and odd, so that a kernel has a middle)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < least or (odd and value % 2 == 0):
        kind = "an odd" if odd else "a"
        raise BlockError(f"{block}: {name}={value} must be {kind} whole number of at least {least}.")


def divisor(block: str, name: str, value: int, channels: int, *, times: int = 1) -> None:
    """Refuse groups that do not divide the channels (into `times` equal parts each)."""
    whole(block, name, value)
    if channels % (value * times):
        fitting = [n for n in range(1, value + 1) if channels % (n * times) == 0]
        advice = (f"The nearest that works is {name}={fitting[-1]}." if fitting
                  else f"No value works: choose a site whose channels divide by {times}.")
        parts = f"groups of {times} equal parts" if times > 1 else "equal groups"
        raise BlockError(f"{block}: {name}={value} does not split {channels} channels into {parts}. {advice}")


def hidden(channels: int, ratio: float, minimum: int = 1) -> int:
    """Return a bottleneck's width: channels / ratio, rounded, within `minimum`..`channels`, never below 1."""
    return max(1, min(channels, max(minimum, round(channels / ratio))))
