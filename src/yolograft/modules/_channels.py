"""What the constructor of a module takes first: channels of the input, of the output, of several inputs, or nothing.

`describe_channels` reads it off the names of the parameters. `_habits` has these names, with the public code in which they
stand. If one list of channels has the name of a single number, as in `ScalSeq(inc, channel)`, the body of the constructor
tells: it takes `inc[0]`, or it loops over `inc`.
"""

from __future__ import annotations

import ast
import inspect
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from inspect import Parameter
from typing import Any

from yolograft.errors import ModuleError
from yolograft.language import tr
from yolograft.modules._habits import COUNTS, INPUTS, LISTS, OUTPUTS, REPEATS, SETTINGS, WIDTHS

__all__ = ["KINDS", "Channels", "deduce", "describe"]

# kind -> how many parameters it fills
KINDS = {"c1,c2": 2, "c1": 1, "[c],c2": 2, "[c]": 1, "len": 1, "": 0}
_POSITIONAL = (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)
_CALLS_OF_LISTS = {"len", "sum", "enumerate", "zip", "list", "tuple", "reversed", "sorted"}


@dataclass(frozen=True, kw_only=True)
class Channels:
    """What the constructor of a module takes first.

    Attributes:
        kind: `c1,c2` (input channels, output channels), `c1` (input channels), `[c],c2` (the list of the inputs' channels,
            output channels), `[c]` (the list), `len` (the number of inputs), or `` (none of these).
        names: the parameters of the constructor that take them, in order.
        needs_output: whether a row must give the output channels: the kind has them, and they have no default.
        takes_repeats: whether the third parameter is the number of repeats, as in C2f(c1, c2, n).
    """

    kind: str
    names: tuple[str, ...]
    needs_output: bool
    takes_repeats: bool


def describe(cls: type, kind: str) -> Channels:
    """Return the description of a class whose kind its author gives.

    Raises:
        ModuleError: there is no such kind, or the constructor has too few positional parameters for it.
    """
    if kind not in KINDS:
        raise ModuleError(tr("channels={kind!r} is not one of {kinds}.", kind=kind, kinds=_listed()))
    parameters = _parameters(cls)
    count = KINDS[kind]
    if parameters is None or len(parameters) < count:
        raise ModuleError(tr("channels={kind!r} needs {count} positional parameters, but the constructor is "
                             "{name}({parameters}).", kind=kind, count=count, name=cls.__name__,
                             parameters=", ".join(one.name for one in parameters or ())))
    has_output = count == 2
    return Channels(kind=kind, names=tuple(one.name for one in parameters[:count]),
                    needs_output=has_output and parameters[1].default is Parameter.empty,
                    takes_repeats=has_output and len(parameters) > 2 and _is(parameters[2], REPEATS))


def deduce(cls: type) -> Channels:
    """Return the description of a class by the names of its constructor's parameters.

    Raises:
        ModuleError: the names have more than one meaning, or an unknown one. The message asks for `channels=`.
    """
    kind = _kind(cls)
    if kind is None:
        known = ", ".join(one.name for one in _parameters(cls) or ()) or "..."
        raise ModuleError(tr('It is not clear how {name}({parameters}) takes its channels. Say it: @module("{name}", '
                             "channels=...), with one of {kinds}.", name=cls.__name__, parameters=known, kinds=_listed()))
    return describe(cls, kind)


def _listed() -> str:
    return ", ".join(f'"{kind}"' for kind in KINDS)


def _kind(cls: type) -> str | None:
    parameters = _parameters(cls)
    if parameters is None:
        return None
    if not parameters:
        return ""
    first, rest = parameters[0], parameters[1:]
    second = rest[0] if rest else None
    if _is_dimension(first):
        return ""
    if _is(first, COUNTS) and first.default is Parameter.empty:
        return "len"
    if _is(first, LISTS) or (_is(first, INPUTS, WIDTHS) and _is_list(cls, first)):
        if second is not None and (_is(second, LISTS) or _takes_list(second)):
            return None  # two lists, such as the widths of the inputs and of the outputs
        return "[c],c2" if second is not None and _is_output(second) else "[c]"
    if _is(first, INPUTS, WIDTHS):
        return _kind_of_one_input(rest, is_width=_is(first, WIDTHS))
    if _is(first, SETTINGS, COUNTS) or first.default is not Parameter.empty:
        return None if any(_is(one, INPUTS, OUTPUTS, WIDTHS, LISTS) and not _is_dimension(one) for one in rest) else ""
    return None


def _kind_of_one_input(rest: list[Parameter], *, is_width: bool) -> str | None:
    second = rest[0] if rest else None
    if second is None:
        return "c1"
    if _is(second, INPUTS):
        return None  # two inputs, each with its channels
    if _is(second, OUTPUTS) or (not is_width and _is_output(second)):
        return "c1,c2"
    required = [one for one in rest if one.default is Parameter.empty]
    return None if any(_is(one, OUTPUTS) for one in required) else "c1"  # None: such as (c1, cm, c2)


def _is(parameter: Parameter, *habits: dict[str, str]) -> bool:
    return any(parameter.name.lower() in names for names in habits)


def _is_dimension(parameter: Parameter) -> bool:
    # Concat(dim=1) means an axis, Block(dim=64) a width
    name, default = parameter.name.lower(), parameter.default
    return name in {"dim", "d"} and isinstance(default, int) and -4 <= default <= 3


def _is_output(parameter: Parameter) -> bool:
    return _is(parameter, OUTPUTS) or (_is(parameter, WIDTHS) and parameter.default is Parameter.empty)


def _takes_list(parameter: Parameter) -> bool:
    annotation = parameter.annotation
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "") + str(annotation)
    is_annotated = any(word in text.lower() for word in ("list", "sequence", "tuple", "iterable"))
    return is_annotated or isinstance(parameter.default, (list, tuple))


def _is_list(cls: type, parameter: Parameter) -> bool:
    """Return whether a first parameter is a list: by its annotation, its default, or its use in the constructor's body."""
    if _takes_list(parameter):
        return True
    for constructor in _constructors(cls):
        own = [one for one in list(inspect.signature(constructor).parameters.values())[1:] if one.kind in _POSITIONAL]
        tree = _tree(constructor)
        if own and (tree is None or _takes_list(own[0]) or _uses_list(tree, own[0].name)):
            return tree is not None
        if own and tree is not None and not _passes_on(tree, own[0].name):
            return False
    return False


def _uses_list(tree: ast.Module, name: str) -> bool:
    for node in ast.walk(tree):
        found: list[ast.expr] = []
        if isinstance(node, (ast.For, ast.comprehension)):
            found = [node.iter]
        elif isinstance(node, (ast.Subscript, ast.Starred)):
            found = [node.value]
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            is_of_one = node.func.id in {"max", "min"} and len(node.args) == 1  # max(c1, 16) compares two numbers
            found = node.args if node.func.id in _CALLS_OF_LISTS or is_of_one else []
        if any(isinstance(one, ast.Name) and one.id == name for one in found):
            return True
    return False


def _passes_on(tree: ast.Module, name: str) -> bool:
    """Return whether the body has super().__init__(name, ...): then the constructor of the base class tells."""
    return any(isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "__init__"
               and bool(node.args) and isinstance(node.args[0], ast.Name) and node.args[0].id == name
               for node in ast.walk(tree))


def _tree(constructor: Callable[..., Any]) -> ast.Module | None:
    """Return the syntax tree of a constructor; None if there is no source."""
    try:
        return ast.parse(textwrap.dedent(inspect.getsource(constructor)))
    except (OSError, TypeError, SyntaxError):  # a class typed into a console or made by exec
        return None


def _constructors(cls: type) -> Iterator[Callable[..., Any]]:
    """Yield the constructors that the class and its bases define, up to that of `nn.Module`, which takes nothing."""
    for base in cls.__mro__:
        if base is object or (base.__module__ == "torch.nn.modules.module" and base.__name__ == "Module"):
            return
        if "__init__" in vars(base):
            yield vars(base)["__init__"]


def _parameters(cls: type) -> list[Parameter] | None:
    """Return the positional parameters of the constructor without `self`; None if they cannot be known.

    `*args` stands for the parameters of the base class's constructor that follow.
    """
    found: list[Parameter] = []
    for constructor in _constructors(cls):
        try:
            own = list(inspect.signature(constructor).parameters.values())[1:]
        except (TypeError, ValueError):  # a constructor in C has no signature
            return None
        found += [one for one in own if one.kind in _POSITIONAL][len(found):]
        if not any(one.kind is Parameter.VAR_POSITIONAL for one in own):
            return found
    return None if any(True for _ in _constructors(cls)) else []

