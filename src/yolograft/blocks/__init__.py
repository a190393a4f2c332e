"""The attention blocks, one file per paper, and the registry that finds a block by its name.

A block is an `nn.Module` built as `cls(channels, *, key=value, ...)` whose forward maps (B, C, H, W) to (B, C, H, W).
The registry contains the blocks in this package, those of the entry-point group `yolograft.blocks`, those that the running
program registers with the decorator `block`, and the plain classes of files that the user named (`plugin.load_plugin`).
This package imports torch only at the first look-up of a name.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, TypeVar

from yolograft.blocks._constructor import Constructor, read_constructor
from yolograft.errors import BlockError, nearest
from yolograft.language import tr

if TYPE_CHECKING:
    from torch import nn

__all__ = ["add_plain", "aliases", "block", "canonical", "create", "defaults", "is_plain", "lookup", "names"]

_BLOCKS: dict[str, type[nn.Module]] = {}
_ALIASES: dict[str, str] = {}  # normalised name or alias -> registered name
_PLAIN: set[str] = set()  # the names of classes that no decorator registers: they are blocks only by their own name
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
        BlockError: `name` is not an identifier, or the name or an alias belongs to another block.
    """

    def register(cls: _T) -> _T:
        if not name.isidentifier():
            raise BlockError(tr("'{name}' cannot name a block: letters, digits and '_' only, and no digit first.",
                                name=name))
        for alias in (name, *aliases):
            owner = _ALIASES.get(_normalize(alias), name)
            if owner != name or (name in _BLOCKS and not _is_same_class(_BLOCKS[name], cls)):
                raise BlockError(tr("The name '{alias}' already belongs to the block '{owner}'. Choose another.",
                                    alias=alias, owner=owner))
        _BLOCKS[name] = cls
        for alias in (name, *aliases):
            _ALIASES[_normalize(alias)] = name
        return cls

    return register


def add_plain(cls: type[nn.Module]) -> str:
    """Make a plain class a block by its own name, before any other block of that name.

    `names` does not list it, since a file also has classes that are parts of a block.

    Returns:
        The name of the block that has had this name until now; empty if there is none.
    """
    _import_all()
    name, key = cls.__name__, _normalize(cls.__name__)
    hidden = _ALIASES.get(key, "")
    if hidden and hidden not in _PLAIN and _is_same_class(_BLOCKS[hidden], cls):
        return ""  # the file registers this class with the decorator
    is_built_in = bool(hidden) and hidden not in _PLAIN
    _BLOCKS[name] = cls
    _ALIASES[key] = name
    _PLAIN.add(name)
    return hidden if is_built_in else ""


def is_plain(name: str) -> bool:
    """Return whether the block `name` is a plain class of a user's file. Raises `BlockError` for an unknown name."""
    return canonical(name) in _PLAIN


def names() -> list[str]:
    """Return the names of all registered blocks, sorted."""
    _import_all()
    return sorted(set(_BLOCKS) - _PLAIN)


def aliases(name: str) -> list[str]:
    """Return the names of the block `name` in hand-edited YAML files, in lower case and without underscores."""
    name = canonical(name)
    return sorted(alias for alias, owner in _ALIASES.items() if owner == name)


def canonical(name: str) -> str:
    """Return the registered name for a name or alias; case and underscores do not matter. Raises `BlockError`."""
    _import_all()
    found = _ALIASES.get(_normalize(name))
    if found is None:
        raise BlockError(tr("No block is named '{name}'.{hint} List them: yolograft blocks. For a block of your own, add "
                            "blocks=FILE.py.", name=name, hint=nearest(name, _BLOCKS)))
    return found


def lookup(name: str) -> type[nn.Module]:
    """Return the class of the block `name`. Raises `BlockError`."""
    return _BLOCKS[canonical(name)]


def defaults(name: str) -> dict[str, Any]:
    """Return every setting of the block `name` with its default, in the order of its class; None for a required one."""
    return dict(_constructor(lookup(name)).settings)


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
        listed = ", ".join(f"{key}={value}" for key, value in known.items())
        raise BlockError(tr("The block '{name}' has no setting '{key}'.{hint} Its settings and their defaults: {listed}.",
                            name=name, key=unknown[0], hint=nearest(unknown[0], known), listed=listed or tr("none")))
    if isinstance(channels, bool) or not isinstance(channels, int) or channels < 1:
        raise BlockError(tr("The block '{name}' needs a positive number of channels, not {channels}.",
                            name=name, channels=repr(channels)))
    # the constructor of a user's class can raise any error; that of ours raises for wrong values, and PyTorch for huge ones
    caught = Exception if canonical(name) in _PLAIN else (TypeError, ValueError, RuntimeError,
                                                                         OverflowError, MemoryError)
    try:
        built: nn.Module = _constructor(cls).build(cls, name, channels, settings)
    except caught as error:
        if isinstance(error, BlockError):
            raise
        raise BlockError(tr("The block '{name}' cannot be built with {settings} for {channels} channels: {error}",
                            name=name, settings=settings, channels=channels, error=f"{type(error).__name__}: {error}"
                            if canonical(name) in _PLAIN else str(error)[:300])) from error
    return built


def _constructor(cls: Any) -> Constructor:
    return _cached_constructor(cls)


_cached_constructor = cache(read_constructor)


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
