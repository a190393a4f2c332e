"""Rows of a model YAML that name a module of the user, built by Ultralytics' own `parse_model`.

`parse_model` builds a stock row in the place of each such row, with the same number of output channels. Then the user's
module takes its place. Ultralytics alone builds every other row, so scales, flags and heads are those of the installed
version. There are two kinds of such stock rows:

- A class that extends a stock module (`class Mine(C3k2)`), or is named like one (`C3k2_Mine`), is parsed as that module: the
  width, the number of repeats, and the C3k flag of the scales m, l and x. Its constructor gets the arguments that the
  stock module gets.
- For any other class the stock row is an `HGStem`, whose number of output channels is not scaled.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a task model calls `parse_model(cfg, ch=, verbose=)` by its name in
`ultralytics.nn.tasks`, and gets (layers, save). `parse_model` finds modules by their names among the globals there, and
compares them with `is` and `in`. An `HGStem` row `[cm, c2]` reads the channels of one row and gives c2. Each layer has `i`,
`f`, `type` and `np`. `save` lists the rows whose output a later row reads, sorted. The table of rows is logged by
`LOGGER.info`, one line per row that begins with the row's number.
"""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from itertools import zip_longest
from typing import Any

import torch
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv
from ultralytics.utils import LOGGER

from yolograft import modules
from yolograft.host.model_size import check_size
from yolograft.modelyaml import module_rows, table, torchvision_weights, untrusted
from yolograft.modelyaml.module_rows import RowModule
from yolograft.modelyaml.table import IMAGE, Row
from yolograft.modules._conv import Conv as ShelfConv
from yolograft.patch import patched

__all__ = ["default_activation", "patch_parse_model", "record_arguments", "stock_base", "use_stock_convs"]

_ARGUMENTS = "row_arguments"  # where a recording class keeps its constructor's arguments
_stock_parse_model = tasks.parse_model


@contextmanager
def patch_parse_model() -> Iterator[None]:
    """Let Ultralytics build rows that name a registered module, and nothing unsafe, as long as this context is active."""
    with patched((tasks, "parse_model", _parse_model)):
        yield


def _parse_model(d: dict[str, Any], ch: int, verbose: bool = True) -> tuple[nn.Sequential, list[int]]:
    untrusted.check(d)  # a checkpoint's or a safetensors file's dict comes here too
    torchvision_weights.check_weights(d)
    rows = table.parse_rows(d)
    custom = [row for row in rows if module_rows.is_module(row.module)]
    if not custom:
        check_size(d, ch, _stock_parse_model)
        return _stock_parse_model(d, ch, verbose)
    scaling = table.scales(d)[0]
    measured = module_rows.measure_table(rows, scaling, ch)
    for error in measured.errors.values():
        raise error
    shapes = measured.shapes
    config = {**d, "backbone": list(d["backbone"]), "head": list(d["head"])}
    bases: dict[int, type[nn.Module]] = {}
    for row in custom:
        base = stock_base(row)
        if base is not None:
            bases[row.number] = base
            stock_row = [_from(row), row.repeats, base.__name__, module_rows.split_settings(row)[0]]
        else:
            shape = shapes[row.number]
            assert shape is not None
            source = row.reads()[0]
            stock_row = [-1 if source == row.number - 1 else source, 1, "HGStem", [2, shape[0]]]
        config[row.part][row.number - (len(d["backbone"]) if row.part == "head" else 0)] = stock_row
    check_size(config, ch, _stock_parse_model)
    log = _TableLog()
    activation: list[Any] = []  # the file's `activation`, as Ultralytics reads it
    recorders = [(tasks, base.__name__, _recording(base, activation)) for base in {*bases.values(), tasks.HGStem}]
    with patched((tasks, "LOGGER", log), *recorders):
        layers, save = _stock_parse_model(config, ch, verbose)
    for row in custom:
        inputs = [ch if t == IMAGE else (shapes[t] or (0,))[0] for t in row.reads()]
        found = _recorded(row, layers[row.number]) if row.number in bases else \
            module_rows.resolve_row(row, inputs, scaling)
        with default_activation(activation[-1]):
            built = module_rows.build_row(row, found)
        use_stock_convs(built)
        _copy_activation(built, layers[row.number], bases.get(row.number))
        size = sum(parameter.numel() for parameter in built.parameters())
        name = f"{found.cls.__module__}.{found.cls.__qualname__}".replace("__main__.", "")
        vars(built).update(i=row.number, f=_from(row), type=name, np=size)
        layers[row.number] = built
        arguments: Any = [*found.args, *([dict(found.settings)] if found.settings else [])]
        log.lines[row.number] = \
            f"{row.number:>3}{_from(row)!s:>20}{found.times:>3}{size:10.0f}  {name:<45}{arguments!s:<30}"
    for layer in layers.modules():
        if _ARGUMENTS in vars(layer):
            del vars(layer)[_ARGUMENTS]
            layer.__class__ = type(layer).__mro__[1]
    log.log_rows(verbose)
    read = {t for row in custom for t in row.reads() if t not in (row.number - 1, IMAGE)}
    return layers, sorted({*save, *read})


@contextmanager
def default_activation(activation: nn.Module) -> Iterator[None]:
    """Build convolutions with this activation: those of Ultralytics and those of our modules."""
    with patched((tasks.Conv, "default_act", activation), (ShelfConv, "default_act", activation)):
        yield


def use_stock_convs(module: nn.Module) -> None:
    """Make the convolutions of our modules Ultralytics' own, which have the same attributes: `fuse()` knows only these."""
    for part in module.modules():
        if type(part) is ShelfConv:
            part.__class__ = tasks.Conv


def _copy_activation(built: Any, stock: Any, base: type[nn.Module] | None) -> None:
    """Copy the activation that newer versions give an SPPF after its construction."""
    is_kind = base is not None and base.__name__ == "SPPF" and issubclass(type(built), base)
    if is_kind:
        built.cv1.act = stock.cv1.act


def _from(row: Row) -> Any:
    return list(row.sources) if row.is_list else row.sources[0]


def stock_base(row: Row) -> type[nn.Module] | None:
    """Return the stock module as which a row is parsed: what its class extends, else what the start of its name says."""
    cls = modules.lookup(row.module)
    habit = modules.describe_channels(cls)
    if row.is_list or habit.kind != "c1,c2":
        return None
    for parent in cls.__mro__[1:]:
        if parent.__name__ in table.SCALED_WIDTH and vars(tasks).get(parent.__name__) is parent:
            return parent
    start = re.split(r"[_\-]", row.module)[0]
    stock = vars(tasks).get(start)
    return stock if start != row.module and start in table.SCALED_WIDTH and isinstance(stock, type) else None


def _recording(base: type[nn.Module], activation: list[Any]) -> type[nn.Module]:
    """Return a subclass that keeps its constructor's arguments. Ultralytics builds it in the place of the class.

    It also appends the default activation to `activation`: newer versions restore it when they have parsed the file.
    """

    def __init__(self: nn.Module, *args: Any) -> None:
        base.__init__(self, *args)
        vars(self)[_ARGUMENTS] = args
        activation.append(tasks.Conv.default_act)

    names = {"__init__": __init__, "__module__": base.__module__, "__qualname__": base.__qualname__}
    return type(base.__name__, (base,), names)


def record_arguments(config: dict[str, Any], channels: int, numbers: Collection[int]
                     ) -> dict[int, tuple[type[nn.Module], tuple[Any, ...], int]]:
    """Return what `parse_model` builds in some rows: the class, its constructor's arguments, and how many of them.

    The model is parsed on meta tensors, so this takes little time and no memory, and the random state is unchanged.

    Args:
        config: a model's YAML dict.
        channels: the channels of the image.
        numbers: the rows.
    """
    rows = table.parse_rows(config)
    last = max(numbers)
    split = len(config["backbone"])
    part = {**config, "backbone": config["backbone"][:last + 1], "head": config["head"][:max(0, last + 1 - split)]}
    stock = {rows[number].module: vars(tasks).get(rows[number].module) for number in numbers}
    recorders = [(tasks, name, _recording(cls, [])) for name, cls in stock.items() if isinstance(cls, type)]
    with torch.device("meta"), patched((Conv, "default_act", Conv.default_act), *recorders):
        layers, _ = _parse_model(copy.deepcopy(part), channels, verbose=False)
    found: dict[int, tuple[type[nn.Module], tuple[Any, ...], int]] = {}
    for number in numbers:
        layer = layers[number]
        is_recorded = _ARGUMENTS in vars(layer)
        built = list(layer.children()) if type(layer) is nn.Sequential and not is_recorded else [layer]
        cls = type(built[0])
        if _ARGUMENTS in vars(built[0]):
            found[number] = cls.__mro__[1], vars(built[0])[_ARGUMENTS], len(built)
        elif rows[number].module.startswith(("nn.", "torchvision.")):
            found[number] = cls, tuple(map(table.parse_literal, rows[number].args)), len(built)
        else:  # a module of the user, whose own arguments have another meaning
            found[number] = cls, (), len(built)
    return found


def _recorded(row: Row, layer: nn.Module) -> RowModule:
    built = [layer] if _ARGUMENTS in vars(layer) else list(layer.children())
    cls = modules.lookup(row.module)
    settings = dict(module_rows.split_settings(row)[1])
    names = [*inspect.signature(cls).parameters]
    given = vars(built[0])[_ARGUMENTS]
    args = [settings.pop(name, value) for name, value in zip_longest(names[:len(given)], given)]
    return RowModule(cls, tuple(args), len(built), f"{row.module}{tuple(args)}", settings)


class _TableLog:
    """Takes the place of Ultralytics' logger while it parses, in order to log the rows of the user's modules as they are.

    Attributes:
        lines: the line of each of these rows.
    """

    def __init__(self) -> None:
        self.lines: dict[int, str] = {}
        self._held: list[str] = []

    def info(self, text: object) -> None:
        """Keep a line until `log_rows`."""
        self._held.append(str(text))

    def log_rows(self, verbose: bool) -> None:
        """Log all lines. `layer_table` knows them by the name of this function."""
        for text in self._held if verbose else ():
            number = re.match(r"\s*(\d+) ", text)
            LOGGER.info(self.lines.get(int(number[1]), text) if number else text)

    def __getattr__(self, name: str) -> Any:
        return getattr(LOGGER, name)
