"""Rows of a model YAML that name a module of the user: the constructor's arguments, and the measured shape of the output.

`parse_model` of Ultralytics knows for each of its own modules how the row's arguments become the constructor's. Here the
constructor's signature says it (see `yolograft.modules.describe_channels`):

| constructor | arguments of the row | constructor's arguments |
|---|---|---|
| `(c1, c2, ...)` | `[128, 3]` | input channels, 128 scaled by the model's width, 3 |
| `(c1, ...)` | `[3]` | input channels, 3 |
| `([c1, ...], c2, ...)` | `[128]` | the list of input channels, 128 scaled |
| `([c1, ...], ...)` | `[]` | the list of input channels |
| `(length, ...)` | `[]` | the number of inputs |
| `(...)` | `[1]` | 1 |

A constructor with `n` after its channels gets the scaled number of repeats there, as Ultralytics' C2f does; any other module
is repeated in sequence. A mapping at the end of the arguments gives settings by name: `[128, {groups: 8}]`. The shape of the
output is measured: the module runs once, on meta tensors.
"""

from __future__ import annotations

import inspect
import math
import sys
import traceback
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolograft import modules
from yolograft.errors import GraftError, HostError, ModuleError
from yolograft.language import tr
from yolograft.modelyaml import catalog, table
from yolograft.modelyaml.signatures import find_block
from yolograft.modelyaml.table import IMAGE, Row, Scaling, has_map_output, parse_literal, short_text

if TYPE_CHECKING:
    from torch import nn

__all__ = ["Measured", "RowModule", "build_row", "describe_error", "is_module", "measure_row", "measure_table",
           "resolve_row", "run_on_meta", "split_settings", "stride_of"]

_SIZE = 256  # height and width of the image, in pixels, for which shapes are measured; Ultralytics measures strides with it
Shape = tuple[int, int, int]  # channels, height, width


@dataclass(frozen=True)
class RowModule:
    """What a row builds.

    Attributes:
        cls: the module's class.
        args: its constructor's positional arguments.
        times: how many of them follow one another.
        understood: how the row's arguments were read, in words.
        settings: its constructor's arguments by name.
    """

    cls: type[nn.Module]
    args: tuple[Any, ...]
    times: int
    understood: str
    settings: Mapping[str, Any] = field(default_factory=dict)


def split_settings(row: Row) -> tuple[list[Any], dict[str, Any]]:
    """Return the arguments of a row of a registered module, and the settings that a mapping at their end gives by name.

    A mapping is an argument like any other if the constructor has no parameters of these names.
    """
    args = [parse_literal(arg) for arg in row.args]
    if not args or not isinstance(args[-1], dict) or not args[-1]:
        return args, {}
    parameters = inspect.signature(modules.lookup(row.module)).parameters.values()
    names = {one.name for one in parameters if one.kind in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY)}
    if not set(args[-1]) <= names and not any(one.kind is one.VAR_KEYWORD for one in parameters):
        return args, {}
    return args[:-1], {str(key): parse_literal(value) for key, value in args[-1].items()}


def is_module(name: str) -> bool:
    """Whether a registered module builds a row of this name: neither Ultralytics nor a block has the name."""
    if catalog.has_module(name) or find_block(name) is not None:
        return False
    if modules.has_own(name):
        return True
    try:
        modules.lookup(name)
    except ModuleError:
        return False
    return True


def resolve_row(row: Row, channels: Sequence[int], scaling: Scaling) -> RowModule:
    """Return what a row builds whose inputs have these channels.

    Raises:
        HostError: the row has a list of inputs for a constructor of one input, or no output channels where they are needed.
    """
    cls = modules.lookup(row.module)
    habit = modules.describe_channels(cls)
    args, settings = split_settings(row)
    repeats = scaling.repeats(row.repeats) if isinstance(row.repeats, int) else 1
    first: list[Any] = []
    words: list[str] = []
    if habit.kind in ("c1", "c1,c2"):
        if len(set(channels)) > 1:
            raise HostError(tr(
                "{row} reads {count} maps with {channels} channels, but the constructor of '{name}' takes the channels of "
                "one. Let it take a list, with @module('{name}', channels=\"[c],c2\").", row=row, count=len(channels),
                channels=", ".join(map(str, channels)), name=row.module))
        first.append(channels[0])
        words.append(f"{habit.names[0]}={channels[0]}")
    elif habit.kind in ("[c]", "[c],c2"):
        first.append(list(channels))
        words.append(f"{habit.names[0]}={list(channels)}")
    elif habit.kind == "len":
        first.append(len(channels))
        words.append(f"{habit.names[0]}={len(channels)}")
    if habit.kind in ("c1,c2", "[c],c2") and (args or habit.needs_output):
        if not args or isinstance(args[0], bool) or not isinstance(args[0], int) or args[0] < 1:
            raise HostError(tr("{row} needs its number of output channels as the first argument, as in [128]: the "
                               "constructor of '{name}' takes it.", row=row, name=row.module))
        width = args.pop(0)
        first.append(scaling.channels(width))
        words.append(f"{habit.names[1]}={first[-1]}" + (f" ({width} scaled)" if first[-1] != width else ""))
        if habit.takes_repeats:
            first.append(repeats)
            words.append(f"n={repeats}")
            repeats = 1
    words += [*(short_text(arg) for arg in args), *(f"{key}={short_text(value)}" for key, value in settings.items())]
    return RowModule(cls, (*first, *args), repeats, f"{row.module}({', '.join(words)})", settings)


def build_row(row: Row, found: RowModule) -> nn.Module:
    """Build the module of a row.

    Raises:
        HostError: its constructor does not take the arguments.
    """
    from torch import nn

    try:
        built = [found.cls(*found.args, **found.settings) for _ in range(found.times)]
    except Exception as error:  # the user's constructor can raise anything
        raise HostError(tr("{row}: {call} cannot be built: {problem}. If the channels were misread, say how the constructor "
                           "takes them: @module('{name}', channels=\"c1,c2\").", row=row, call=found.understood,
                           problem=describe_error(error, found.cls), name=row.module)) from error
    return built[0] if len(built) == 1 else nn.Sequential(*built)


def measure_row(row: Row, shapes: Sequence[Shape], scaling: Scaling) -> Shape:
    """Return the shape of a row's output, by running its module once on meta tensors of these shapes.

    Raises:
        HostError: the module cannot be built, cannot run on these inputs, or does not give one map (B, C, H, W).
    """
    import torch

    found = resolve_row(row, [channels for channels, _, _ in shapes], scaling)

    def fail(error: Exception) -> HostError:
        sizes = ", ".join("x".join(map(str, shape)) for shape in shapes)
        return HostError(tr("{row}: {call} cannot run on {sizes} (channels x height x width): {problem}.", row=row,
                            call=found.understood, sizes=sizes, problem=describe_error(error, found.cls)))

    output = run_on_meta(lambda: build_row(row, found), shapes, is_list=row.is_list, fail=fail)
    if not isinstance(output, torch.Tensor) or output.dim() != 4:
        what = f"{tuple(output.shape)}" if isinstance(output, torch.Tensor) else type(output).__name__
        raise HostError(tr("{row}: {call} gives {what}. A row must give one map (B, C, H, W).", row=row,
                           call=found.understood, what=what))
    return (int(output.shape[1]), int(output.shape[2]), int(output.shape[3]))


def run_on_meta(build: Callable[[], nn.Module], shapes: Sequence[Shape], *, is_list: bool,
                fail: Callable[[Exception], Exception]) -> Any:
    """Build a module, run it once on meta tensors, and return its output.

    Args:
        build: builds the module.
        shapes: of the inputs, without the batch.
        is_list: whether the module gets a list of the inputs, and not the first of them.
        fail: makes the exception to raise from one of the module's forward pass.
    """
    import torch
    from torch.nn import functional
    from torch.overrides import TorchFunctionMode

    class KeepBatchNorm(TorchFunctionMode):
        """Batch norm keeps the shape. For meta tensors, PyTorch would import its compiler, which takes seconds."""

        def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            return args[0] if func is functional.batch_norm else func(*args, **(kwargs or {}))

    with torch.device("meta"), torch.no_grad(), KeepBatchNorm():
        module = build().eval()
        inputs = [torch.empty(1, *shape) for shape in shapes]
        try:
            return module(inputs if is_list else inputs[0])
        except Exception as error:  # the user's forward can raise anything
            raise fail(error) from error


@dataclass
class Measured:
    """The shapes of all rows for an image of `_SIZE` x `_SIZE` pixels.

    Attributes:
        shapes: of each row's output; None where the YAML does not determine it.
        errors: for each row whose module cannot be built or run, why.
        texts: for each row of a registered module, how its arguments were read and what it gives, in words.
    """

    shapes: list[Shape | None]
    errors: dict[int, GraftError]
    texts: dict[int, str]


def measure_table(rows: Sequence[Row], scaling: Scaling, image_channels: int = 3, passthrough: Collection[int] = ()
                  ) -> Measured:
    """Measure the rows of a model YAML. A row in `passthrough` gives the shape of its input."""
    image = (image_channels, _SIZE, _SIZE)
    found = Measured([], {}, {})
    for row in rows:
        inputs = [image if t == IMAGE else None if t is None else found.shapes[t] for t in map(row.target, row.sources)]
        if row.number in passthrough:
            found.shapes.append(inputs[0])
            continue
        if not is_module(row.module):
            found.shapes.append(_stock_shape(row, inputs, scaling))
            continue
        shapes = [shape for shape in inputs if shape is not None]
        try:
            if len(shapes) < len(inputs):
                raise HostError(tr("{row} reads a row whose channels or stride the YAML does not determine.", row=row))
            shape = measure_row(row, shapes, scaling)
        except GraftError as error:
            found.errors[row.number] = error
            found.shapes.append(None)
            continue
        found.shapes.append(shape)
        understood = resolve_row(row, [channels for channels, _, _ in shapes], scaling).understood
        found.texts[row.number] = tr("{row} -> {call}: {channels} channels, stride {stride}", row=row, call=understood,
                                     channels=shape[0], stride=Fraction(_SIZE, shape[1]))
    return found


def stride_of(shape: Shape | None) -> Fraction | None:
    """Return the stride of a map of this shape."""
    return None if shape is None else Fraction(_SIZE, shape[1])


def describe_error(error: Exception, cls: type[nn.Module]) -> str:
    """Return an error's type and text, and the last line of the class's file that ran."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}".rstrip(".")
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == file]
    return f"{text} ({Path(file).name}, " + tr("line {number}", number=lines[-1]) + ")" if file and lines else text


def _stock_shape(row: Row, inputs: Sequence[Shape | None], scaling: Scaling) -> Shape | None:
    channels = table.output_channels(row, [shape and shape[0] for shape in inputs], scaling)
    strides = [stride_of(shape) for shape in inputs]
    stride = table.output_stride(row, strides)
    if channels is None or stride is None or not has_map_output(row):
        return None
    side = max(1, math.ceil(_SIZE / stride))
    return (channels, side, side)
