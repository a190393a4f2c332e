"""Refuse a model YAML that would take all memory or run for minutes, before it is built.

A line such as `[-1, 1, Conv, [60000, 3, 2]]` is short, and the file can come from a stranger. An upper bound of each row,
from its numbers alone, shows that a usual model is small. Any other model is built and run on PyTorch's `meta` device, which
computes shapes and allocates nothing. A model that cannot be built there is not judged: the real build says what is wrong
with it, or works.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `parse_model(d, ch, verbose)` returns the layers, each with the rows
that it reads in `f`, and `_predict_once` runs them in their order.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry

from yolograft import yaml_text
from yolograft.errors import HostError
from yolograft.language import tr
from yolograft.modelyaml import catalog, table

__all__ = ["check_size"]

Parse = Callable[[dict[str, Any], int, bool], tuple[nn.Sequential, list[int]]]

_IMAGE = 256  # pixels: the size of the image that Ultralytics runs through a new model, to find its strides
# The largest packaged models have 100 million parameters, and need 60 GFLOPs for such an image.
_MAX_PARAMETERS = 500_000_000
_MAX_VALUES = 300_000_000  # of one tensor
_MAX_FLOPS = 4e12
_MAX_ROWS = 1000
_MEASURED: dict[tuple[str, int], str] = {}  # the text of a config, channels -> why it is too large
_ATTENTION = ("AIFI", "C2PSA", "C2fPSA", "PSA", "A2C2f", "C3TR", "RTDETRDecoder", "ImagePoolingAttn", "C2fAttn")


class _TooLargeError(Exception):
    """The model exceeds a limit; the text says which."""


class _Meter(TorchDispatchMode):
    """Raise `_TooLargeError` at an operation that is too large, or that makes the sum of all operations too large."""

    flops = 0.0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run one operation on the meta device, and measure its result."""
        result = func(*args, **(kwargs or {}))
        count = flop_registry.get(func._overloadpacket)
        if count is not None:
            self.flops += count(*args, **(kwargs or {}), out_val=result)
            if self.flops > _MAX_FLOPS:
                raise _TooLargeError(tr("needs more than {most:,.0f} GFLOPs for an image of {size} pixels",
                                        most=_MAX_FLOPS / 1e9, size=_IMAGE))
        for one in tree_leaves(result):
            if isinstance(one, Tensor) and one.numel() > _MAX_VALUES:
                raise _TooLargeError(tr("has a tensor of {count:,} values, and at most {most:,} are allowed",
                                        count=one.numel(), most=_MAX_VALUES))
        return result


def check_size(config: Mapping[str, Any], channels: int, parse: Parse) -> None:
    """Raise `HostError` if the model of a YAML dict is too large to build, without building it.

    Args:
        config: the model's YAML dict. Every row names a module of Ultralytics.
        channels: of the image.
        parse: Ultralytics' own `parse_model`.
    """
    rows = len(config["backbone"]) + len(config["head"])
    if rows > _MAX_ROWS:
        raise HostError(tr("The model YAML has {count:,} rows, and at most {most:,} are built.", count=rows,
                           most=_MAX_ROWS))
    if _is_usual(config, channels) and (_is_small(config, channels) or _is_packaged(config)):
        return
    key = (json.dumps(dict(config), default=str), channels)
    if key not in _MEASURED:  # a model is built several times, as for a training
        _MEASURED[key] = _measure(config, channels, parse)
    reason = _MEASURED[key]
    if reason:
        raise HostError(tr("This model is not built: {reason}. The largest models that Ultralytics has are far below this "
                           "limit. Look at the numbers in the rows and in `scales`.", reason=reason))


def _is_usual(config: Mapping[str, Any], channels: int) -> bool:
    """Whether the numbers outside the rows are those of a usual model."""
    classes, bins = config.get("nc", 1), config.get("reg_max", 16)
    return isinstance(classes, int) and classes <= 10_000 and isinstance(bins, int) and bins <= 64 and channels <= 16


def _is_small(config: Mapping[str, Any], channels: int) -> bool:
    """Whether the numbers in the rows show that the model is small. False if they do not show it."""
    try:
        rows, scaling = table.parse_rows(dict(config)), table.scales(dict(config))[0]
        widths, strides = table.channels(rows, scaling), table.strides(rows)
        reads = [row.reads() for row in rows]
    except (HostError, ArithmeticError):
        return False
    parameters = flops = 0.0
    for row in rows:
        numbers = [*_numbers(row.args)]
        inputs = [channels if target == table.IMAGE else widths[target] for target in reads[row.number]]
        known = [one for one in inputs if one is not None]
        is_head = not table.has_map_output(row)
        width = max(known, default=0) + min(config.get("nc", 1), 100) + sum(numbers) if is_head else widths[row.number]
        stride = strides[row.number]
        if len(known) < len(inputs) or width is None or stride is None or not isinstance(row.repeats, int):
            return False
        if row.module.startswith(("nn.", "torchvision.")) and row.kind != "Upsample" and max(numbers, default=0) > 64:
            return False
        if row.kind in _ATTENTION and stride < 8:  # its cost grows with the square of the number of pixels
            return False
        pixels = (_IMAGE / float(stride)) ** 2
        if width * pixels > _MAX_VALUES / 10:
            return False
        kernel = 3.0 if is_head else max([3.0, *numbers[1:]])
        size = sum(known) * width * kernel**2 * scaling.repeats(row.repeats)
        parameters += size
        flops += size * pixels  # one product for each weight and pixel
    return parameters < 2 * _MAX_PARAMETERS and flops < _MAX_FLOPS / 2


def _numbers(values: Any) -> Iterator[float]:
    """Yield the numbers of a row's arguments, without their signs."""
    for value in values:
        read = table.parse_literal(value)
        if isinstance(read, (list, tuple)):
            yield from _numbers(read)
        elif isinstance(read, (int, float)) and not isinstance(read, bool):
            yield abs(float(min(max(read, -1e30), 1e30)))


def _is_packaged(config: Mapping[str, Any]) -> bool:
    """Whether the rows and the scales are those of a file that Ultralytics packages."""
    file = catalog.find_packaged(Path(str(config.get("yaml_file", ""))).name)
    if file is None:
        return False
    stock = yaml_text.read(file).value
    return all(stock.get(key) == config.get(key) for key in ("backbone", "head", "scales", "width_multiple",
                                                             "depth_multiple"))


def _measure(config: Mapping[str, Any], channels: int, parse: Parse) -> str:
    """Return why a model is too large; empty if it is not, or cannot be built on the meta device."""
    state = torch.get_rng_state()
    try:
        with torch.device("meta"), _Meter():
            layers, _save = parse(copy.deepcopy(dict(config)), channels, False)
            count = sum(one.numel() for one in layers.parameters()) + sum(one.numel() for one in layers.buffers())
            if count > _MAX_PARAMETERS:
                return tr("it has {count:,} parameters, and at most {most:,} are allowed", count=count,
                          most=_MAX_PARAMETERS)
            _run(layers, torch.empty(1, channels, _IMAGE, _IMAGE))
    except _TooLargeError as error:
        return tr("it {reason}", reason=error)
    except Exception:  # a row that is wrong, or that reads values, which the meta device does not have
        return ""
    finally:
        torch.set_rng_state(state)
    return ""


def _run(layers: nn.Sequential, image: Tensor) -> None:
    """Run the layers as `_predict_once` does."""
    outputs: list[Any] = []
    x: Any = image
    with torch.no_grad():
        for layer in layers:
            source: Any = layer.f
            if source != -1:
                x = outputs[source] if isinstance(source, int) else [x if one == -1 else outputs[one] for one in source]
            x = layer(x)
            outputs.append(x)
