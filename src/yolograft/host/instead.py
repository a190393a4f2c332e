"""How Ultralytics' own methods are stood in for, and put back: on a class, a module or one object."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["instead"]

_NONE = object()


@contextmanager
def instead(*given: tuple[Any, str, Any]) -> Iterator[None]:
    """Let attributes have other values meanwhile, each given as (owner, name, value).

    Afterwards an owner has what it had itself, or nothing where it had inherited the attribute.
    """
    before = [vars(owner).get(name, _NONE) for owner, name, _ in given]
    for owner, name, value in given:
        setattr(owner, name, value)
    try:
        yield
    finally:
        for (owner, name, _), own in zip(given, before, strict=True):
            if own is _NONE:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
