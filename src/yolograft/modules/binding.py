"""The arguments of a module's constructor where it takes the place of another module.

The channels are those of the place. Every other argument comes from the swap's settings, or else from the replaced module:
from its argument of the same name, or of another usual name of the same setting (see `SAME` in `_habits`). The constructor's
own default stays where neither has a value, or where the replaced module's value is of another type.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import Parameter
from typing import TYPE_CHECKING, Any

from yolograft import modules
from yolograft.errors import ModuleError, nearest
from yolograft.language import tr
from yolograft.modules._habits import REPEATS, SAME

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Call", "Replaced", "bind", "name_arguments"]

_BY_NAME = (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)


@dataclass(frozen=True, kw_only=True)
class Replaced:
    """The module whose place another one takes.

    Attributes:
        inputs: the channels of each map that it reads.
        output: the channels of its output.
        is_list: whether it reads a list of maps.
        times: how many modules follow one another in its row.
        given: its constructor's arguments, by the names of the parameters.
        defaults: its constructor's other parameters, with their defaults.
    """

    inputs: tuple[int, ...]
    output: int
    is_list: bool = False
    times: int = 1
    given: Mapping[str, Any] = field(default_factory=dict)
    defaults: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Call:
    """The call of a constructor, which is made `times` times. All modules but the first then read `output` channels."""

    cls: type[nn.Module]
    args: tuple[Any, ...]
    settings: Mapping[str, Any]
    times: int
    kind: str
    output: int
    repeats: tuple[str, ...] = ()  # the setting that is the number of repeats, if there is one

    def build(self) -> nn.Module:
        """Build the module, or the sequence of modules. Raises what the constructor raises."""
        from torch import nn

        built = [self.cls(*self.args, **self.settings)]
        later = (self.output, *self.args[1:]) if self.kind in ("c1", "c1,c2") else self.args
        built += [self.cls(*later, **self.settings) for _ in range(self.times - 1)]
        return built[0] if len(built) == 1 else nn.Sequential(*built)

    def __str__(self) -> str:
        words = [*map(str, self.args), *(f"{key}={value}" for key, value in self.settings.items())]
        return f"{self.cls.__name__}({', '.join(words)})"


def name_arguments(cls: type, args: tuple[Any, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the positional arguments of a constructor by the names of its parameters, and the defaults of the others."""
    try:
        parameters = [*inspect.signature(cls).parameters.values()]
    except (TypeError, ValueError):
        return {}, {}
    named = [one for one in parameters if one.kind in (Parameter.POSITIONAL_ONLY, Parameter.POSITIONAL_OR_KEYWORD)]
    given = {one.name: value for one, value in zip(named, args, strict=False)}
    return given, {one.name: one.default for one in parameters
                   if one.name not in given and one.default is not Parameter.empty}


def bind(name: str, replaced: Replaced, settings: Mapping[str, Any]) -> Call:
    """Return the call that builds the module `name` in the place of another.

    Raises:
        ModuleError: there is no such module or setting, or the module reads one map and the place several, or the reverse.
    """
    cls = modules.lookup(name)
    habit = modules.describe_channels(cls)
    channels = _channels(name, habit.kind, replaced)
    parameters = [one for one in inspect.signature(cls).parameters.values() if one.kind in _BY_NAME]
    has_any = any(one.kind is Parameter.VAR_KEYWORD for one in inspect.signature(cls).parameters.values())
    taken = set(habit.names)
    repeats = next((one.name for one in parameters if one.name.lower() in REPEATS), "") if habit.takes_repeats else ""
    _check_settings(name, settings, [one.name for one in parameters], taken, has_any)
    bound: dict[str, Any] = {}
    times = replaced.times
    for one in parameters:
        if one.name in taken or one.name in settings:
            continue
        if one.name == repeats:
            stock = next((replaced.given[key] for key in REPEATS if key in replaced.given), 1)
            bound[one.name] = max(int(stock) if isinstance(stock, int) else 1, times)
            times = 1
            continue
        for values, is_given in ((replaced.given, True), (replaced.defaults, False)):
            key = next((key for key in _names(one.name) if key in values), None)
            if key is not None and _fits(values[key], one, is_given):
                bound[one.name] = values[key]
                break
    if repeats in settings:
        times = 1
    elif not repeats:
        counts = [replaced.given[key] for key in REPEATS if isinstance(replaced.given.get(key), int)]
        times = max([times, *counts])
    kept = {one.name: bound[one.name] for one in parameters if one.name in bound}
    return Call(cls=cls, args=channels, settings={**kept, **settings}, times=times, kind=habit.kind, output=replaced.output,
                repeats=(repeats,) if repeats else ())


def _channels(name: str, kind: str, replaced: Replaced) -> tuple[Any, ...]:
    takes_list = kind in ("[c]", "[c],c2", "len")
    if takes_list and not replaced.is_list:
        raise ModuleError(tr("'{module}' reads several maps, but the module there reads one.", module=name))
    if not takes_list and kind and replaced.is_list:
        raise ModuleError(tr("'{module}' reads one map, but the module there reads {count}.", module=name,
                             count=len(replaced.inputs)))
    first: Any = {"[c]": list(replaced.inputs), "[c],c2": list(replaced.inputs), "len": len(replaced.inputs)}.get(
        kind, replaced.inputs[0])
    return () if not kind else (first, replaced.output) if kind in ("c1,c2", "[c],c2") else (first,)


def _check_settings(name: str, settings: Mapping[str, Any], known: list[str], taken: set[str], has_any: bool) -> None:
    for key in settings:
        if key in taken:
            raise ModuleError(tr("'{module}' has no setting '{key}' in a swap: the place decides the channels.", module=name,
                                 key=key))
        if key not in known and not has_any:
            rest = [one for one in known if one not in taken]
            raise ModuleError(tr("'{module}' has no setting '{key}'.{hint} Its settings are: {names}.", module=name, key=key,
                                 hint=nearest(key, rest), names=", ".join(rest) or tr("(none)")))


def _names(name: str) -> list[str]:
    """Return the names under which a replaced module can have the setting `name`."""
    found = [name]
    for own, others in SAME.items():
        group = [own, *others]
        if name in group:
            found += [one for one in group if one != name]
    return found


def _fits(value: Any, parameter: Parameter, is_given: bool) -> bool:
    """Return whether a parameter takes a value of the replaced module: it must be of the type of the default."""
    default = parameter.default
    if value is None or default is Parameter.empty or default is None:
        return value is not None and (is_given or default is not None)
    if isinstance(value, bool) or isinstance(default, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    if isinstance(value, (int, float)):
        return isinstance(default, (int, float))
    return isinstance(value, type(default))
