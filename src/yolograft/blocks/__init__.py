"""The attention blocks, one file per paper, and the registry that finds a block by its name.

A block is an `nn.Module` built as `cls(channels, *, key=value, ...)` whose forward maps (B, C, H, W) to (B, C, H, W).
The registry contains the blocks in this package, those of the entry-point group `yolograft.blocks`, and those that the
running program registers with the decorator `block`. This package imports torch only at the first look-up of a name.
"""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from yolograft.errors import BlockError, nearest

if TYPE_CHECKING:
    from torch import nn

__all__ = ["aliases", "block", "canonical", "create", "defaults", "lookup", "names"]

_BLOCKS: dict[str, type[nn.Module]] = {}
_ALIASES: dict[str, str] = {}  # normalised name or alias -> registered name
_T = TypeVar("_T", bound="type[nn.Module]")


def block(name: str, *, aliases: Iterable[str] = ()) -> Callable[[_T], _T]:
    """Register a class as the block `name`.

    Args:
        name: the block's name in grafts.
        aliases: other names of the block in hand-edited YAML files. Case and underscores do not matter.

    >>> @block("mine", aliases=("MyAttention",))  # doctest: +SKIP
    ... class Mine(nn.Module):
    ...     def __init__(self, channels: int, *, ratio: int = 16) -> None: ...

    Raises:
        BlockError: the name or an alias belongs to another block, or the constructor is not
            `(channels, *, key=default, ...)`.
    """

    def register(cls: _T) -> _T:
        if not name.isidentifier():
            raise BlockError(f"'{name}' cannot name a block: letters, digits and '_' only, and no digit first.")
        parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
        if not parameters or parameters[0].name != "channels":
            raise BlockError(f"{cls.__name__} cannot be a block: its constructor must take `channels` first.")
        not_keyword = [p.name for p in parameters[1:] if p.kind is not p.KEYWORD_ONLY or p.default is p.empty]
        if not_keyword:
            raise BlockError(f"{cls.__name__} cannot be a block: {', '.join(not_keyword)} must be keyword-only, with "
                             "a default, so that every setting can be named, checked and stored.")
        for alias in (name, *aliases):
            owner = _ALIASES.get(_normalize(alias), name)
            if owner != name or (name in _BLOCKS and not _is_same_class(_BLOCKS[name], cls)):
                raise BlockError(f"The name '{alias}' already belongs to the block '{owner}'. Choose another.")
        _BLOCKS[name] = cls
        for alias in (name, *aliases):
            _ALIASES[_normalize(alias)] = name
        return cls

    return register


def names() -> list[str]:
    """Return the names of all blocks, sorted."""
    _import_all()
    return sorted(_BLOCKS)


def aliases(name: str) -> list[str]:
    """Return the names of the block `name` in hand-edited YAML files, in lower case and without underscores."""
    name = canonical(name)
    return sorted(alias for alias, owner in _ALIASES.items() if owner == name)


def canonical(name: str) -> str:
    """Return the registered name for a name or alias; case and underscores do not matter. Raises `BlockError`."""
    _import_all()
    found = _ALIASES.get(_normalize(name))
    if found is None:
        raise BlockError(f"No block is named '{name}'.{nearest(name, _BLOCKS)} List them: yolograft blocks")
    return found


def lookup(name: str) -> type[nn.Module]:
    """Return the class of the block `name`. Raises `BlockError`."""
    return _BLOCKS[canonical(name)]


def defaults(name: str) -> dict[str, Any]:
    """Return every setting of the block `name` with its default."""
    parameters = list(inspect.signature(lookup(name).__init__).parameters.values())[2:]
    return {parameter.name: parameter.default for parameter in parameters}


def create(name: str, channels: int, **settings: Any) -> nn.Module:
    """Build the block `name` for `channels` channels.

    >>> create("se", 64, ratio=8)(torch.rand(1, 64, 20, 20)).shape  # doctest: +SKIP
    torch.Size([1, 64, 20, 20])

    Raises:
        BlockError: the block or a setting does not exist, or a value does not work for this number of channels.
    """
    cls, known = lookup(name), defaults(name)
    unknown = [key for key in settings if key not in known]
    if unknown:
        listed = ", ".join(f"{key}={value}" for key, value in known.items()) or "none"
        raise BlockError(f"The block '{name}' has no setting '{unknown[0]}'.{nearest(unknown[0], known)} "
                         f"Its settings and their defaults: {listed}.")
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise BlockError(f"The block '{name}' needs a positive number of channels, not {channels!r}.")
    try:
        return cls(channels, **settings)
    except (TypeError, ValueError) as error:  # raised by the block's constructor
        if isinstance(error, BlockError):
            raise
        given = f"{settings} for {channels} channels"
        raise BlockError(f"The block '{name}' cannot be built with {given}: {error}") from error


def _normalize(name: str) -> str:
    return name.lower().replace("_", "")


def _is_same_class(one: type, other: type) -> bool:
    # a user's file may be imported twice (a reload, a worker process): compare classes by name
    return one.__qualname__ == other.__qualname__ and one.__module__ == other.__module__


@cache
def _import_all() -> None:
    for module in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{module.name}")
    for entry in entry_points(group="yolograft.blocks"):
        entry.load()
