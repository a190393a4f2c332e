"""The one way to replace an attribute of a class, a module or an object for a while, and to put it back.

Replacements of the same attribute may nest, overlap and come from several threads: the attribute shows the newest
replacement that is still active, and its original value comes back when none is left. Standard library only.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import RLock
from typing import Any

__all__ = ["patched"]

_MISSING = object()  # the owner itself has no such attribute: it inherits it, or nobody has it


@dataclass(eq=False)
class _Replacement:
    owner: Any
    name: str
    value: Any


@dataclass(eq=False)
class _Attribute:
    """One attribute with its original value and its active replacements, oldest first."""

    owner: Any  # held so that its id stays its own
    name: str
    original: Any
    active: list[_Replacement] = field(default_factory=list)

    def show(self) -> None:
        """Give the attribute the value that it must have now; touches nothing that is right already."""
        wanted = self.active[-1].value if self.active else self.original
        if vars(self.owner).get(self.name, _MISSING) is wanted:
            return
        if wanted is _MISSING:
            delattr(self.owner, self.name)
        else:
            setattr(self.owner, self.name, wanted)


_LOCK = RLock()  # re-entrant: an owner's own __setattr__ may use `patched`
_ATTRIBUTES: dict[tuple[int, str], _Attribute] = {}  # all attributes of this process that are replaced now


@contextmanager
def patched(*replacements: tuple[Any, str, Any]) -> Iterator[None]:
    """Replace attributes inside a `with` block, each given as (owner, name, value), for the whole process.

    Owners are classes, modules, or objects with a `__dict__` in which `setattr` stores the attribute. On leaving, by
    whatever way, an owner has its own value again, or none where it had inherited the attribute.

    Raises:
        AttributeError, TypeError: an owner refuses the attribute; the replacements before it are undone.
    """
    mine = [_Replacement(*one) for one in replacements]
    try:
        for one in mine:
            _enter(one)
        yield
    finally:
        _leave(mine)


def _enter(one: _Replacement) -> None:
    with _LOCK:
        original = vars(one.owner).get(one.name, _MISSING)
        attribute = _ATTRIBUTES.setdefault((id(one.owner), one.name), _Attribute(one.owner, one.name, original))
        attribute.active.append(one)
        attribute.show()


def _leave(mine: list[_Replacement]) -> None:
    """Remove these replacements, entered or not; a second call changes nothing, so Ctrl-C inside starts it again."""
    raised: BaseException | None = None
    left = list(reversed(mine))
    while left:
        try:
            _remove(left[0])
        except KeyboardInterrupt as interrupt:
            raised = interrupt
            continue
        except Exception as error:  # the others must be put back all the same
            raised = raised or error
        left.pop(0)
    if raised is not None:
        raise raised


def _remove(one: _Replacement) -> None:
    with _LOCK:
        attribute = _ATTRIBUTES.get((id(one.owner), one.name))
        if attribute is None:
            return
        if one in attribute.active:
            attribute.active.remove(one)
        attribute.show()
        if not attribute.active:
            del _ATTRIBUTES[id(one.owner), one.name]
