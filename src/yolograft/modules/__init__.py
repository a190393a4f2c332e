"""Modules that take the place of a row of a model YAML, one file per paper, and the registry that finds one by its name.

A block keeps the shape of its input; a module may change it: a convolution, an up-sampling, a C2f or C3k2 kind, a fusion of
several inputs. It is built by position, as Ultralytics builds a row: `cls(channels..., arguments...)`. What it takes as
channels, `describe_channels` tells.

The registry contains the modules in this package, those of the entry-point group `yolograft.modules`, and those that the
running program registers with the decorator `module`. `C2f_<block>` and `C3k2_<block>` exist for each block in
`yolograft.blocks`. This package imports torch only at the first look-up of a name.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Iterable
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, TypeVar

from yolograft import blocks
from yolograft.errors import BlockError, ModuleError, nearest
from yolograft.language import tr
from yolograft.modules._channels import Channels, deduce, describe

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Channels", "add_plain", "aliases", "canonical", "describe_channels", "has_own", "lookup", "module", "names",
           "registered"]

_MODULES: dict[str, type[nn.Module]] = {}
_ALIASES: dict[str, str] = {}  # normalised name or alias -> registered name
_CHANNELS: dict[type, Channels] = {}  # what the authors of registered classes say, or what their constructors tell
_FAMILIES = ("C2f", "C3k2")  # attention inside these, as in C2f_SE
# Modules of Ultralytics that are spelled like C2f with a block. A row with such a name means Ultralytics' own.
_STOCK = {"c2fpsa", "c2fattn", "c2fcib"}
_T = TypeVar("_T", bound="type[nn.Module]")


def module(name: str, *, aliases: Iterable[str] = (), channels: str | None = None) -> Callable[[_T], _T]:
    """Register a class as the module `name`. A user's module takes the place of ours of the same name.

    Args:
        name: the module's name in rows.
        aliases: other names of the module in hand-edited YAML files. Case and underscores do not matter.
        channels: what the constructor takes first: `c1,c2`, `c1`, `[c],c2`, `[c]`, `len`, or an empty text; see
            `Channels`. Without it, the names of the constructor's parameters tell.

    >>> @module("MyConv", channels="c1,c2")  # doctest: +SKIP
    ... class MyConv(nn.Module):
    ...     def __init__(self, a: int, b: int, k: int = 3) -> None: ...

    Raises:
        ModuleError: the name or an alias belongs to another user's module; or the constructor fits no kind, or not this one.
    """

    def register(cls: _T) -> _T:
        if not name.isidentifier():
            raise ModuleError(tr("'{name}' cannot name a module: letters, digits and '_' only, and no digit first.",
                                 name=name))
        is_ours = _is_ours(cls)
        for alias in (name, *aliases):
            owner = _ALIASES.get(_normalize(alias))
            if owner is None or is_ours or _is_ours(_MODULES[owner]):
                continue
            if owner != name or not _is_same_class(_MODULES[owner], cls):
                raise ModuleError(tr("The name '{alias}' already belongs to the module '{owner}'. Choose another.",
                                     alias=alias, owner=owner))
        _CHANNELS[cls] = deduce(cls) if channels is None else describe(cls, channels.replace(" ", ""))
        if is_ours and not _is_ours(_MODULES.get(name, cls)):
            return cls  # a user's module of this name was registered first
        if not is_ours and _is_ours(_MODULES.get(name, cls)):
            for alias in [alias for alias, owner in _ALIASES.items() if owner == name]:
                del _ALIASES[alias]  # they mean our module, whose arguments are others
        _MODULES[name] = cls
        for alias in map(_normalize, (name, *aliases)):
            _ALIASES[alias] = _ALIASES.get(alias, name) if is_ours else name
        return cls

    return register


def add_plain(cls: type[nn.Module]) -> None:
    """Make a class that has no decorator a module, by the name of the class. A row that uses it reads its constructor.

    It takes the place of any other module of this name.
    """
    _import_all()
    name = cls.__name__
    owner = _ALIASES.get(_normalize(name))
    if owner is not None and owner != name and not _is_ours(_MODULES[owner]):
        return  # another name of a class that the user registered with the decorator
    _MODULES[name] = cls
    _ALIASES[_normalize(name)] = name


def has_own(name: str) -> bool:
    """Return whether a module of this name is the user's, or of an installed package, and not one of ours."""
    _import_all()
    owner = _ALIASES.get(_normalize(name))
    return owner is not None and not _is_ours(_MODULES[owner])


def names() -> list[str]:
    """Return the names of all modules, sorted."""
    return sorted({*registered(), *(_family_name(family, block) for family in _FAMILIES for block in blocks.names())})


def registered() -> list[str]:
    """Return the names of all modules without C2f and C3k2 with a block, sorted."""
    _import_all()
    return sorted(_MODULES)


def aliases(name: str) -> list[str]:
    """Return the names of the module `name` in hand-edited YAML files, in lower case and without underscores."""
    name = canonical(name)
    if name in _MODULES:
        return sorted(alias for alias, owner in _ALIASES.items() if owner == name)
    family, _, block = name.partition("_")
    found = {_normalize(family) + alias for alias in blocks.aliases(block)}
    return sorted(found - _STOCK - set(_ALIASES))


def canonical(name: str) -> str:
    """Return the registered name for a name or alias; case and underscores do not matter.

    Raises:
        ModuleError: there is no such module.
    """
    _import_all()
    found = _ALIASES.get(_normalize(name)) or _find_family(name)
    if found is None:
        raise ModuleError(tr("No module is named '{name}'.{nearest} The modules are {names}, and C2f_ or C3k2_ with a "
                             "block, such as C2f_SE.", name=name, nearest=nearest(name, names()),
                             names=", ".join(registered())))
    return found


def lookup(name: str) -> type[nn.Module]:
    """Return the class of the module `name`.

    >>> lookup("dysample")(64, 2)(torch.rand(1, 64, 20, 20)).shape  # doctest: +SKIP
    torch.Size([1, 64, 40, 40])

    Raises:
        ModuleError: there is no such module.
    """
    found = canonical(name)
    if found in _MODULES:
        return _MODULES[found]
    cls: type[nn.Module] = getattr(import_module("yolograft.modules.attention"), found)
    return cls


def describe_channels(cls: type) -> Channels:
    """Return what the constructor of a class takes first, as its decorator says, or as the names of its parameters tell.

    >>> describe_channels(lookup("SPDConv")).kind  # doctest: +SKIP
    'c1,c2'

    Raises:
        ModuleError: the class was not registered, and its constructor has no parameters or names that tell.
    """
    return _CHANNELS.get(cls) or deduce(cls)


def _family_name(family: str, block: str) -> str:
    shown = blocks.lookup(block).__name__  # SE reads better than se, where both name the block
    try:
        is_name = blocks.canonical(shown) == block
    except BlockError:  # a user's class with another name than its block
        is_name = False
    return f"{family}_{shown if is_name else block}"


def _find_family(name: str) -> str | None:
    if name.lower() in _STOCK:
        return None
    for family in _FAMILIES:
        if name.lower().startswith(family.lower()):
            try:
                return _family_name(family, blocks.canonical(name[len(family):].strip("_-")))
            except BlockError:  # the rest of the name is no block
                return None
    return None


def _normalize(name: str) -> str:
    return name.lower().replace("_", "")


def _is_ours(cls: type) -> bool:
    return cls.__module__.startswith(f"{__name__}.")


def _is_same_class(one: type, other: type) -> bool:
    # a user's file may be imported twice (a reload, a worker process): compare classes by name
    return one.__qualname__ == other.__qualname__ and one.__module__ == other.__module__


@cache
def _import_all() -> None:
    for found in pkgutil.iter_modules(__path__):
        import_module(f"{__name__}.{found.name}")
    for entry in entry_points(group="yolograft.modules"):
        entry.load()
