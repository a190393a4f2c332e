"""Temporary replacement of attributes of classes, modules and objects; the only place that does it.

Replacements of the same attribute can be nested, overlap and come from several threads. The attribute has the value of the
newest active replacement. When no replacement is active, it has its original value again. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

__all__ = ["patched"]

_MISSING = object()  # the owner itself does not define the attribute: it inherits it, or it does not exist


@dataclass(eq=False)
class _Replacement:
    owner: Any
    name: str
    value: Any


@dataclass(eq=False)
class _Attribute:
    """One attribute with its original value and its active replacements, oldest first."""

    owner: Any  # a reference, so that the id is not reused
    name: str
    original: Any
    active: list[_Replacement] = field(default_factory=list)

    def update(self) -> None:
        """Set the attribute to the value that it must have now, unless it already has it."""
        target = self.active[-1].value if self.active else self.original
        if vars(self.owner).get(self.name, _MISSING) is target:
            return
        if target is _MISSING:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, target)


_LOCK = RLock()  # re-entrant, since the __setattr__ of an owner can use `patched`
_ATTRIBUTES: dict[tuple[int, str], _Attribute] = {}  # all attributes of this process with active replacements


@contextmanager
def patched(*replacements: tuple[Any, str, Any]) -> Iterator[None]:
    """Context manager: replace attributes, each an (owner, name, value) tuple, for the whole process.

    Owners are classes, modules, or objects with a `__dict__` in which `setattr` stores the attribute. When the block ends,
    also after an exception, an owner has its original value again. An attribute that was inherited is deleted again.

    Raises:
        AttributeError, TypeError: an owner does not allow setting the attribute; the earlier replacements are undone.
    """
    entries = [_Replacement(*one) for one in replacements]
    try:
        for one in entries:
            _enter(one)
        yield
    finally:
        _leave(entries)


def _enter(one: _Replacement) -> None:
    with _LOCK:
        original = vars(one.owner).get(one.name, _MISSING)
        attribute = _ATTRIBUTES.setdefault((id(one.owner), one.name), _Attribute(one.owner, one.name, original))
        attribute.active.append(one)
        attribute.update()


def _leave(entries: list[_Replacement]) -> None:
    """Remove these replacements, if they are active. Removing one twice has no effect, so Ctrl-C only repeats a removal."""
    raised: BaseException | None = None
    remaining = list(reversed(entries))
    while remaining:
        try:
            _remove(remaining[0])
        except KeyboardInterrupt as interrupt:
            raised = interrupt
            continue
        except Exception as error:  # the other attributes must be restored too
            raised = raised or error
        remaining.pop(0)
    if raised is not None:
        raise raised


def _remove(one: _Replacement) -> None:
    with _LOCK:
        attribute = _ATTRIBUTES.get((id(one.owner), one.name))
        if attribute is None:
            return
        if one in attribute.active:
            attribute.active.remove(one)
        attribute.update()
        if not attribute.active:
            del _ATTRIBUTES[id(one.owner), one.name]
