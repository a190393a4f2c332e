"""The table of rows in a model YAML: which rows each row reads, and the channels and the stride of its output.

This is arithmetic on the YAML dict; no model is built. It follows Ultralytics' `parse_model` and `_predict_once`, which are
equal in 8.3.0 and 8.4.x for the parts used here. A value that the YAML does not determine, such as the channels of a
fork's module, is None.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from typing import Any

from yolograft.errors import HostError
from yolograft.language import tr
from yolograft.sites import name_strides

__all__ = [
    "IMAGE", "NOMINAL", "SCALED_WIDTH", "STOCK_MODULES", "Row", "Scaling",
    "channels", "format_source", "has_map_output", "keeps_stride", "name_head_inputs", "parse_literal",
    "parse_row", "parse_rows", "raw_rows", "scales", "short_text", "strides", "widths",
]

IMAGE = -1  # the input of row 0
_MAX_DEPTH = 20  # of nested lists; a row's arguments need three
_MAX_SIZE = 10**6  # a limit for channels, strides and kernel sizes

# Modules whose first argument is their output width, scaled by the model's width (parse_model's `base_modules`).
SCALED_WIDTH = frozenset({
    "Classify", "Conv", "ConvTranspose", "GhostConv", "Bottleneck", "GhostBottleneck", "SPP", "SPPF", "C2fPSA",
    "C2PSA", "DWConv", "Focus", "BottleneckCSP", "C1", "C2", "C2f", "C3k2", "RepNCSPELAN4", "ELAN1", "ADown",
    "AConv", "SPPELAN", "C2fAttn", "C3", "C3TR", "C3Ghost", "nn.ConvTranspose2d", "DWConvTranspose2d", "C3x",
    "RepC3", "PSA", "SCDown", "C2fCIB", "A2C2f",
})
_STRIDED = frozenset({"Conv", "GhostConv", "GhostBottleneck", "DWConv", "SCDown"})  # [width, kernel, stride]
_TRANSPOSED = frozenset({"ConvTranspose", "nn.ConvTranspose2d", "DWConvTranspose2d"})
_POOLS = frozenset({"nn.MaxPool2d", "nn.AvgPool2d"})
_SAME_CHANNELS = _POOLS | {  # these keep the channels; all but the pools and Upsample also keep the stride
    "nn.Upsample", "nn.Identity", "nn.ZeroPad2d", "nn.BatchNorm2d", "nn.ReLU", "nn.SiLU", "nn.GELU", "nn.LeakyReLU",
    "nn.Hardswish", "nn.Dropout", "nn.Dropout2d", "AIFI",
}
_HEADS = frozenset({
    "Classify", "Detect", "WorldDetect", "YOLOEDetect", "Segment", "Segment26", "YOLOESegment", "YOLOESegment26",
    "Pose", "Pose26", "OBB", "OBB26", "Depth", "SemanticSegment", "v10Detect", "RTDETRDecoder", "LRPCHead",
})
_NO_SINGLE_MAP = _HEADS | {"CBLinear", "ImagePoolingAttn"}
STOCK_MODULES = SCALED_WIDTH | _SAME_CHANNELS | _NO_SINGLE_MAP | {  # of Ultralytics 8.3.0 or a later version
    "Concat", "CBFuse", "HGStem", "HGBlock", "ResNetLayer", "TorchVision", "Index",
}


@dataclass(frozen=True)
class Row:
    """One row of a model YAML file: `[from, repeats, module, args]`. For a row of a built model, see `sites.ModelRow`.

    Attributes:
        number: the absolute number that Ultralytics prints.
        part: `backbone` or `head`: the list that contains the row.
        sources: the numbers in `from`, one per input.
        is_list: whether `from` is a list.
        repeats: the second value, unchecked.
        module: the module's name.
        args: the module's arguments, unchecked.
        written: the row's text in the file, if the row was translated.
    """

    number: int
    part: str
    sources: tuple[int, ...]
    is_list: bool
    repeats: Any
    module: str
    args: Sequence[Any]
    written: str = ""

    @property
    def text(self) -> str:
        """The row as it is in the file."""
        source: Any = list(self.sources) if self.is_list else self.sources[0]
        return self.written or short_text([source, self.repeats, self.module, self.args])

    @property
    def kind(self) -> str:
        """The name of the class: `Upsample` for `nn.Upsample`."""
        return self.module.rpartition(".")[2]

    def target(self, source: int) -> int | None:
        """Return the absolute number of the row that `source` names (-1 is the image); None if it is not an earlier row."""
        number = self.number + source if source < 0 else source
        return number if 0 <= number < self.number or (self.number == 0 and source == -1) else None

    def reads(self) -> tuple[int, ...]:
        """Return the absolute number of each row that it reads.

        Raises:
            HostError: a number in `from` is not that of an earlier row.
        """
        found = []
        for source in self.sources:
            target = self.target(source)
            if target is None:
                kind = tr("itself") if source == self.number else tr("a row that does not come before it")
                range_text = tr("0 to {last}", last=self.number - 1) if self.number else tr("row 0 reads the image, -1")
                raise HostError(tr("{row} reads {source}, {kind}: `from` must name an earlier row ({earlier}).", row=self,
                                   source=source, kind=kind, earlier=range_text))
            found.append(target)
        return tuple(found)

    def __str__(self) -> str:
        return tr("row {number} {row}", number=self.number, row=self.text)


def short_text(value: Any, depth: int = 4) -> str:
    """Return a value as YAML text, shortened to one line."""
    inner = partial(short_text, depth=depth - 1)
    if isinstance(value, (list, tuple, dict)) and not depth:
        return "..."
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(inner, value[:9]))}{', ...' if len(value) > 9 else ''}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inner(key)}: {inner(item)}" for key, item in list(value.items())[:9]) + "}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**12:
        return tr("a number of more than 12 digits")
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def raw_rows(cfg: Any) -> list[tuple[int, str, Any]]:
    """Return (number, part, unchecked row) for every row; raises `HostError` if `cfg` is not a model YAML dict."""
    if not isinstance(cfg, dict):
        raise HostError(tr("A model YAML must be a mapping with `backbone` and `head`, not {kind}.",
                           kind=type(cfg).__name__))
    _check_depth(cfg)
    found: list[tuple[int, str, Any]] = []
    for part in ("backbone", "head"):
        if not isinstance(cfg.get(part), (list, tuple)):
            what = tr("`{part}` is {value}", part=part, value=short_text(cfg[part])) if part in cfg else \
                tr("`{part}` is missing", part=part)
            raise HostError(tr("{what}: a model YAML has `backbone` and `head`, each a list of rows "
                               "[from, repeats, module, args].", what=what))
        for raw in cfg[part]:
            found.append((len(found), part, raw))
    if not found:
        raise HostError(tr("The model YAML has no rows: `backbone` and `head` are empty."))
    return found


def _check_depth(cfg: dict[str, Any]) -> None:
    level: list[Any] = [cfg]
    for _ in range(_MAX_DEPTH):
        inside = [one for parent in level for one in (parent.values() if isinstance(parent, dict) else parent)]
        level = list({id(one): one for one in inside if isinstance(one, (list, tuple, dict))}.values())
    if level:
        raise HostError(tr("The model YAML is nested more than {depth} deep, or holds itself through an alias (*name).",
                           depth=_MAX_DEPTH))


def parse_row(number: int, part: str, raw: Any) -> Row:
    """Parse one row; raises `HostError` for a row that is not `[from, repeats, module, args]`."""
    where = tr("Row {number} ({part}), {row},", number=number, part=part, row=short_text(raw))
    if not isinstance(raw, (list, tuple)) or len(raw) != 4:
        raise HostError(tr("{where} is not a row: expected [from, repeats, module, args], as in [-1, 1, Conv, [64, 3, 2]].",
                           where=where))
    source, repeats, module, args = raw
    is_list = isinstance(source, (list, tuple))
    sources = tuple(source) if is_list else (source,)
    if not sources or any(isinstance(one, bool) or not isinstance(one, int) for one in sources):
        raise HostError(tr("{where} has `from` {value}: expected a row's number, -1 for the row before, or a list.",
                           where=where, value=short_text(source)))
    if not isinstance(module, str) or not module:
        raise HostError(tr("{where} has the module {value}: expected a name, such as Conv.", where=where,
                           value=short_text(module)))
    if not isinstance(args, (list, tuple)):
        raise HostError(tr("{where} has the arguments {value}: expected a list, [] for none.", where=where,
                           value=short_text(args)))
    return Row(number, part, sources, is_list, repeats, module, args)


def parse_rows(cfg: Any) -> list[Row]:
    """Parse every row; raises one `HostError` that names all broken rows."""
    found, broken = [], []
    for number, part, raw in raw_rows(cfg):
        try:
            found.append(parse_row(number, part, raw))
        except HostError as error:
            broken.append(str(error))
    if broken:
        more = "\n" + tr("({count} more rows like these)", count=len(broken) - 9) if len(broken) > 9 else ""
        raise HostError("\n".join(broken[:9]) + more)
    return found


def has_map_output(one: Row) -> bool:
    """Whether the row gives one map (B, C, H, W): false for heads, and for rows that give several maps or text features."""
    split = one.module == "TorchVision" and len(one.args) > 5 and bool(one.args[5])
    return one.module not in _NO_SINGLE_MAP and not split


def parse_literal(value: Any) -> Any:
    """Convert an argument as `parse_model` does: a string that is a Python literal becomes its value."""
    if not isinstance(value, str) or len(value) > 100:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


@dataclass(frozen=True)
class Scaling:
    """A scale of a model YAML (n, s, m, l or x).

    Attributes:
        name: the letter; empty for a file without `scales`.
        depth: the factor for repeats.
        width: the factor for channels.
        cap: the upper limit of channels, applied before `width`.
    """

    name: str
    depth: float
    width: float
    cap: float

    def repeats(self, n: int) -> int:
        """Return the number of modules that a row of `n` repeats has at this scale."""
        return max(round(n * self.depth), 1) if n > 1 else n

    def channels(self, c: int) -> int:
        """Return the output channels, a multiple of 8, of a row whose first argument is `c`."""
        return math.ceil(min(c, self.cap) * self.width / 8) * 8


NOMINAL = Scaling("", 1.0, 1.0, math.inf)


def scales(cfg: dict[str, Any]) -> list[Scaling]:
    """Return the file's scales; the scale in use is first.

    The scale in use is `scale`, or without one the first of `scales`, as in Ultralytics.

    Raises:
        HostError: Ultralytics cannot use this `scales` or `scale`.
    """
    table = cfg.get("scales")
    if not table:
        return [Scaling("", *_positive("depth_multiple", cfg.get("depth_multiple", 1.0)),
                        *_positive("width_multiple", cfg.get("width_multiple", 1.0)), math.inf)]
    if not isinstance(table, dict):
        raise HostError(tr("`scales` is {value}: expected a mapping such as n: [0.50, 0.25, 1024].",
                           value=short_text(table)))
    found = []
    for name, entry in table.items():
        if not isinstance(entry, (list, tuple)) or len(entry) != 3:
            raise HostError(tr("`scales` has {name}: {value}; expected [depth, width, max_channels].",
                               name=short_text(name), value=short_text(entry)))
        found.append(Scaling(str(name), *(_positive(f"scales, {short_text(name)}", one)[0] for one in entry)))
    used = cfg.get("scale") or found[0].name
    if used not in [scale.name for scale in found]:
        raise HostError(tr("The scale is {scale}, but the file's `scales` are {scales}.", scale=short_text(used),
                           scales=", ".join(scale.name for scale in found)))
    return sorted(found, key=lambda scale: scale.name != used)


def _positive(name: str, value: Any) -> tuple[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 10**9:
        raise HostError(tr("`{name}` has {value}: expected a positive number.", name=name, value=short_text(value)))
    return (float(value),)


def channels(all_rows: list[Row], scaling: Scaling, passthrough: frozenset[int] = frozenset()) -> list[int | None]:
    """Return the output channels of each row at a scale; a row in `passthrough` keeps the channels of its input."""
    found: list[int | None] = []
    for one in all_rows:
        inputs = [3 if t == IMAGE else None if t is None else found[t] for t in map(one.target, one.sources)]
        found.append(inputs[0] if one.number in passthrough else _channels(one, inputs, scaling))
    return found


def _channels(one: Row, inputs: list[int | None], scaling: Scaling) -> int | None:
    if not has_map_output(one):
        return None
    if one.module in SCALED_WIDTH:
        width = _count(one, 0)
        return None if width is None else scaling.channels(width)
    if one.module == "Concat":
        return None if None in inputs else sum(c for c in inputs if c is not None)
    if one.module in ("HGStem", "HGBlock"):
        return _count(one, 1)
    if one.module == "ResNetLayer":
        width = _count(one, 1)
        return width if width is None or (len(one.args) > 3 and one.args[3]) else 4 * width
    if one.module in ("TorchVision", "Index"):
        return _count(one, 0)
    if one.module == "CBFuse":
        return inputs[-1]
    return inputs[0] if one.module in _SAME_CHANNELS else None


def widths(all_rows: list[Row], cfg: dict[str, Any], passthrough: frozenset[int] = frozenset()) -> list[frozenset[int]]:
    """Return all widths of each row: before scaling, and at each of the file's scales."""
    tables = [channels(all_rows, scaling, passthrough) for scaling in (NOMINAL, *scales(cfg))]
    return [frozenset(c for c in column if c is not None) for column in zip(*tables, strict=True)]


def strides(all_rows: list[Row], passthrough: frozenset[int] = frozenset()) -> list[Fraction | None]:
    """Return the stride of each row's output (for a head: of its first input); None if the YAML does not determine it."""
    found: list[Fraction | None] = []
    for one in all_rows:
        inputs = [Fraction(1) if t == IMAGE else None if t is None else found[t] for t in map(one.target, one.sources)]
        source = inputs[-1] if one.module == "CBFuse" else next((s for s in inputs if s is not None), None)
        factor = Fraction(1) if one.number in passthrough else _factor(one)
        found.append(None if source is None or factor is None else source * factor)
    return found


def keeps_stride(one: Row) -> bool:
    """Whether the row's output has the height and width of its one input."""
    return not one.is_list and _factor(one) == 1


def _factor(one: Row) -> Fraction | None:
    number = partial(_size, one)
    if one.module in _STRIDED:
        each = number(2) if len(one.args) > 2 else Fraction(1)
        return None if each is None else each ** one.repeats if _small(one.repeats) else None
    if one.module in _TRANSPOSED:
        up = number(2) if len(one.args) > 2 else Fraction(2 if one.module == "ConvTranspose" else 1)
        return None if up is None else 1 / up
    if one.module == "nn.Upsample":
        up = number(1) if len(one.args) > 1 else None
        return None if up is None else 1 / up
    if one.module in _POOLS:
        return number(1) if len(one.args) > 1 else number(0)
    if one.module in ("ADown", "AConv", "Focus"):
        return Fraction(2)
    if one.module == "HGStem":
        return Fraction(4)
    if one.module == "ResNetLayer":
        return Fraction(4) if len(one.args) > 3 and one.args[3] else number(2)
    known = SCALED_WIDTH | _SAME_CHANNELS | _NO_SINGLE_MAP | {"Concat", "CBFuse", "HGBlock"}
    return Fraction(1) if one.module in known else None


def _count(one: Row, at: int) -> int | None:
    value = parse_literal(one.args[at]) if len(one.args) > at else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MAX_SIZE else None


def _size(one: Row, at: int) -> Fraction | None:
    value = parse_literal(one.args[at]) if len(one.args) > at else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _MAX_SIZE:
        return None
    return Fraction(value)


def _small(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 20


def format_source(source: int, reader: int, target: int) -> int:
    """Return the number by which row `reader` names row `target`: relative or absolute, as `source` was before."""
    distance = target - reader
    if target == IMAGE or (source == -1 and distance == -1) or source < -1:
        return distance if reader else IMAGE
    return target


def name_head_inputs(all_rows: list[Row]) -> dict[int, str]:
    """Return `p3`, `p4`, ... for the rows that the last row reads; a stride that two of its inputs share has no name."""
    targets = all_rows[-1].reads()
    row_strides = strides(all_rows)
    wanted = [None if target == IMAGE else row_strides[target] for target in targets]
    whole = [int(stride) if stride is not None and stride.denominator == 1 else None for stride in wanted]
    return {targets[at[0]]: name for name, at in name_strides(whole).items() if len(at) == 1}
