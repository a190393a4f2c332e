"""Checks of the arguments of modules. Each raises `ModuleError` with the argument, its value, and what would work."""

from __future__ import annotations

from yolograft.errors import ModuleError
from yolograft.language import tr

__all__ = ["check_divides", "check_whole"]


def check_whole(module: str, name: str, value: object, *, minimum: int = 1, odd: bool = False) -> None:
    """Raise unless the value is a whole number of at least `minimum`, and odd if `odd` (a kernel needs a centre)."""
    if isinstance(value, bool) or not isinstance(value, int) or value < minimum or (odd and value % 2 == 0):
        raise ModuleError(
            tr("{module}: {name}={value!r} must be an odd whole number of at least {minimum}.",
               module=module, name=name, value=value, minimum=minimum) if odd else
            tr("{module}: {name}={value!r} must be a whole number of at least {minimum}.",
               module=module, name=name, value=value, minimum=minimum))


def check_divides(module: str, name: str, value: int, channels: int) -> None:
    """Raise unless `value` divides the number of channels."""
    if channels % value:
        raise ModuleError(tr("{module}: {name}={value} does not divide {channels} channels. The nearest that does is "
                             "{nearest}.", module=module, name=name, value=value, channels=channels,
                             nearest=next(n for n in range(min(value, channels), 0, -1) if channels % n == 0)))
