"""Checks of block settings. Each raises `BlockError` with the setting, its value, and what would work."""

from __future__ import annotations

import math
from collections.abc import Iterable

from yolograft.errors import BlockError, nearest
from yolograft.language import tr

__all__ = ["check_bool", "check_choice", "check_divisor", "check_integer", "check_number", "hidden_channels"]


def check_choice(block: str, name: str, value: object, choices: Iterable[str]) -> None:
    """Raise unless the value is one of the choices."""
    known = list(choices)
    if value not in known:
        raise BlockError(tr("{block}: {name}={value} is not one of {choices}.{hint}", block=block, name=name, value=value,
                            choices=", ".join(known), hint=nearest(str(value), known)))


def check_bool(block: str, name: str, value: object) -> None:
    """Raise unless the value is True or False."""
    if not isinstance(value, bool):
        raise BlockError(tr("{block}: {name}={value} must be True or False.", block=block, name=name, value=value))


def check_number(block: str, name: str, value: object, *, minimum: float, maximum: float = math.inf) -> None:
    """Raise unless the value is a finite number from `minimum` to `maximum`."""
    is_number = not isinstance(value, bool) and isinstance(value, (int, float)) and math.isfinite(value)
    if not is_number or not minimum <= value <= maximum:  # type: ignore[operator]
        raise BlockError(tr("{block}: {name}={value} must be a number of at least {minimum:g}.", block=block, name=name,
                            value=value, minimum=minimum) if maximum == math.inf else
                         tr("{block}: {name}={value} must be a number of at least {minimum:g} and at most {maximum:g}.",
                            block=block, name=name, value=value, minimum=minimum, maximum=maximum))


def check_integer(block: str, name: str, value: object, *, minimum: int = 1, odd: bool = False) -> None:
    """Raise unless the value is an integer of at least `minimum`, and odd if `odd` (a kernel needs a centre)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum or (odd and value % 2 == 0):
        raise BlockError(tr("{block}: {name}={value} must be an odd whole number of at least {minimum}.", block=block,
                            name=name, value=value, minimum=minimum) if odd else
                         tr("{block}: {name}={value} must be a whole number of at least {minimum}.", block=block,
                            name=name, value=value, minimum=minimum))


def check_divisor(block: str, name: str, value: int, channels: int, *, parts: int = 1) -> None:
    """Raise unless the channels split into `value` equal groups, each of `parts` equal parts."""
    check_integer(block, name, value)
    if channels % (value * parts):
        fitting = [n for n in range(1, value + 1) if channels % (n * parts) == 0]
        advice = (tr("The nearest that works is {name}={value}.", name=name, value=fitting[-1]) if fitting
                  else tr("No value works: choose a site whose channels divide by {parts}.", parts=parts))
        raise BlockError(tr("{block}: {name}={value} does not split {channels} channels into groups of {parts} equal parts. "
                            "{advice}", block=block, name=name, value=value, channels=channels, parts=parts, advice=advice)
                         if parts > 1 else
                         tr("{block}: {name}={value} does not split {channels} channels into equal groups. {advice}",
                            block=block, name=name, value=value, channels=channels, advice=advice))


def hidden_channels(channels: int, ratio: float, minimum: int = 1) -> int:
    """Return a bottleneck's width: round(channels / ratio), at least `minimum`, at most `channels`, and at least 1."""
    return max(1, min(channels, max(minimum, round(channels / ratio))))
