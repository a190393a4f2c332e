"""What a model YAML says of its rows: which rows each reads, how many channels it gives, and at which stride.

Everything here is arithmetic on the YAML dict, after what Ultralytics' `parse_model` and `_predict_once` do with it (the
same in 8.3.0 and 8.4.x, for the parts used here); no model is built. Where the YAML alone does not tell, such as for a
module of somebody's fork, the answer is None.
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

__all__ = [
    "IMAGE", "NOMINAL", "Row", "Scaling", "channels", "gives_map", "literal", "row", "rows", "scales",
    "sections", "shown", "strides", "widths",
]

IMAGE = -1  # what row 0 reads
_DEEPEST = 20  # lists within lists; a row's arguments take three
_MOST = 10**6  # no feature map has more channels, and no file more rows

# Modules whose first argument is their output width, scaled by the model's width (parse_model's `base_modules`).
_SCALED = frozenset({
    "Classify", "Conv", "ConvTranspose", "GhostConv", "Bottleneck", "GhostBottleneck", "SPP", "SPPF", "C2fPSA",
    "C2PSA", "DWConv", "Focus", "BottleneckCSP", "C1", "C2", "C2f", "C3k2", "RepNCSPELAN4", "ELAN1", "ADown",
    "AConv", "SPPELAN", "C2fAttn", "C3", "C3TR", "C3Ghost", "nn.ConvTranspose2d", "DWConvTranspose2d", "C3x",
    "RepC3", "PSA", "SCDown", "C2fCIB", "A2C2f",
})
_STRIDED = frozenset({"Conv", "GhostConv", "GhostBottleneck", "DWConv", "SCDown"})  # [width, kernel, stride]
_TRANSPOSED = frozenset({"ConvTranspose", "nn.ConvTranspose2d", "DWConvTranspose2d"})
_POOLS = frozenset({"nn.MaxPool2d", "nn.AvgPool2d"})
_SAME = _POOLS | {  # keep the channels and, but for pools and Upsample, the stride
    "nn.Upsample", "nn.Identity", "nn.ZeroPad2d", "nn.BatchNorm2d", "nn.ReLU", "nn.SiLU", "nn.GELU", "nn.LeakyReLU",
    "nn.Hardswish", "nn.Dropout", "nn.Dropout2d", "AIFI",
}
_HEADS = frozenset({
    "Classify", "Detect", "WorldDetect", "YOLOEDetect", "Segment", "Segment26", "YOLOESegment", "YOLOESegment26",
    "Pose", "Pose26", "OBB", "OBB26", "Depth", "SemanticSegment", "v10Detect", "RTDETRDecoder", "LRPCHead",
})
_NO_MAP = _HEADS | {"CBLinear", "ImagePoolingAttn"}


@dataclass(frozen=True)
class Row:
    """One row of a model YAML, as written: `[from, repeats, module, args]`; of a built model it is `sites.ModelRow`.

    Attributes:
        number: the absolute number that Ultralytics prints.
        part: `backbone` or `head`, the list in which it stands.
        sources: what `from` says, one number an input.
        several: whether `from` is a list.
    """

    number: int
    part: str
    sources: tuple[int, ...]
    several: bool
    repeats: Any
    module: str
    args: Sequence[Any]

    @property
    def kind(self) -> str:
        """The class's name alone: `Upsample` for `nn.Upsample`."""
        return self.module.rpartition(".")[2]

    def target(self, source: int) -> int | None:
        """Return the absolute number that `source` means in this row (-1 is the image), or None for no earlier row."""
        found = self.number + source if source < 0 else source
        return found if 0 <= found < self.number or (self.number == 0 and source == -1) else None

    def reads(self) -> tuple[int, ...]:
        """Return the absolute numbers of the rows it reads; raises `HostError` where there is no such earlier row."""
        found = []
        for source in self.sources:
            target = self.target(source)
            if target is None:
                kind = "itself" if source == self.number else "a row that does not come before it"
                raise HostError(f"{self} reads {source}, {kind}: `from` must name an earlier row "
                                f"({f'0 to {self.number - 1}' if self.number else 'row 0 reads the image, -1'}).")
            found.append(target)
        return tuple(found)

    def __str__(self) -> str:
        source: Any = list(self.sources) if self.several else self.sources[0]
        return f"row {self.number} {shown([source, self.repeats, self.module, self.args])}"


def shown(value: Any, depth: int = 4) -> str:
    """Show part of a row as it stands in the YAML, shortened to a line."""
    inner = partial(shown, depth=depth - 1)
    if isinstance(value, (list, tuple, dict)) and not depth:
        return "..."
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(map(inner, value[:9]))}{', ...' if len(value) > 9 else ''}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{inner(key)}: {inner(item)}" for key, item in list(value.items())[:9]) + "}"
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**12:
        return "a number of more than 12 digits"
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def sections(cfg: Any) -> list[tuple[int, str, Any]]:
    """Return (number, part, row as it stands) for every row; raises `HostError` for what is no model YAML."""
    if not isinstance(cfg, dict):
        raise HostError(f"A model YAML must be a mapping with `backbone` and `head`, not {type(cfg).__name__}.")
    _check_depth(cfg)
    found: list[tuple[int, str, Any]] = []
    for part in ("backbone", "head"):
        if not isinstance(cfg.get(part), (list, tuple)):
            what = f"is {shown(cfg[part])}" if part in cfg else "is missing"
            raise HostError(f"`{part}` {what}: a model YAML has `backbone` and `head`, each a list of rows "
                            "[from, repeats, module, args].")
        for raw in cfg[part]:
            found.append((len(found), part, raw))
    if not found:
        raise HostError("The model YAML has no rows: `backbone` and `head` are empty.")
    return found


def _check_depth(cfg: dict[str, Any]) -> None:
    level: list[Any] = [cfg]
    for _ in range(_DEEPEST):
        inside = [one for parent in level for one in (parent.values() if isinstance(parent, dict) else parent)]
        level = list({id(one): one for one in inside if isinstance(one, (list, tuple, dict))}.values())
    if level:
        raise HostError(f"The model YAML is nested more than {_DEEPEST} deep, or holds itself through an alias (*name).")


def row(number: int, part: str, raw: Any) -> Row:
    """Read one row; raises `HostError` that says what is wrong with it."""
    where = f"Row {number} ({part}), {shown(raw)},"
    if not isinstance(raw, (list, tuple)) or len(raw) != 4:
        raise HostError(f"{where} is not a row: expected [from, repeats, module, args], as in [-1, 1, Conv, [64, 3, 2]].")
    source, repeats, module, args = raw
    several = isinstance(source, (list, tuple))
    sources = tuple(source) if several else (source,)
    if not sources or any(isinstance(one, bool) or not isinstance(one, int) for one in sources):
        raise HostError(f"{where} has `from` {shown(source)}: expected a row's number, -1 for the row before, or a list.")
    if not isinstance(module, str) or not module:
        raise HostError(f"{where} has the module {shown(module)}: expected a name, such as Conv.")
    if not isinstance(args, (list, tuple)):
        raise HostError(f"{where} has the arguments {shown(args)}: expected a list, [] for none.")
    return Row(number, part, sources, several, repeats, module, args)


def rows(cfg: Any) -> list[Row]:
    """Read every row; raises one `HostError` that names all the broken ones."""
    found, broken = [], []
    for number, part, raw in sections(cfg):
        try:
            found.append(row(number, part, raw))
        except HostError as error:
            broken.append(str(error))
    if broken:
        more = f"\n({len(broken) - 9} more rows like these)" if len(broken) > 9 else ""
        raise HostError("\n".join(broken[:9]) + more)
    return found


def gives_map(one: Row) -> bool:
    """Whether the row gives one map (B, C, H, W): heads do not, nor rows that give several maps or text features."""
    split = one.module == "TorchVision" and len(one.args) > 5 and bool(one.args[5])
    return one.module not in _NO_MAP and not split


def literal(value: Any) -> Any:
    """Return what `parse_model` makes of an argument: a text that is a Python literal becomes its value."""
    if not isinstance(value, str) or len(value) > 100:
        return value
    try:
        return ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value


@dataclass(frozen=True)
class Scaling:
    """How a scale changes the model: depth and width are multiplied, channels capped before that."""

    name: str
    depth: float
    width: float
    cap: float

    def repeats(self, n: int) -> int:
        """Return how often a row of `n` repeats is applied."""
        return max(round(n * self.depth), 1) if n > 1 else n

    def channels(self, c: int) -> int:
        """Return the width of a row that says `c`, a multiple of 8."""
        return math.ceil(min(c, self.cap) * self.width / 8) * 8


NOMINAL = Scaling("", 1.0, 1.0, math.inf)


def scales(cfg: dict[str, Any]) -> list[Scaling]:
    """Return the file's scales, the one in use first: `scale`, or the first of `scales` as Ultralytics assumes.

    Raises:
        HostError: `scales` or `scale` is not what Ultralytics takes.
    """
    table = cfg.get("scales")
    if not table:
        return [Scaling("", *_positive("depth_multiple", cfg.get("depth_multiple", 1.0)),
                        *_positive("width_multiple", cfg.get("width_multiple", 1.0)), math.inf)]
    if not isinstance(table, dict):
        raise HostError(f"`scales` is {shown(table)}: expected a mapping such as n: [0.50, 0.25, 1024].")
    found = []
    for name, entry in table.items():
        if not isinstance(entry, (list, tuple)) or len(entry) != 3:
            raise HostError(f"`scales` has {shown(name)}: {shown(entry)}; expected [depth, width, max_channels].")
        found.append(Scaling(str(name), *(_positive(f"scales, {shown(name)}", one)[0] for one in entry)))
    used = cfg.get("scale") or found[0].name
    if used not in [scale.name for scale in found]:
        raise HostError(f"The scale is {shown(used)}, but the file's `scales` are {', '.join(s.name for s in found)}.")
    return sorted(found, key=lambda scale: scale.name != used)


def _positive(name: str, value: Any) -> tuple[float]:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < 10**9:
        raise HostError(f"`{name}` has {shown(value)}: expected a positive number.")
    return (float(value),)


def channels(all_rows: list[Row], scaling: Scaling, passing: frozenset[int] = frozenset()) -> list[int | None]:
    """Return how many channels each row gives at a scale; rows in `passing` give what they read."""
    found: list[int | None] = []
    for one in all_rows:
        inputs = [3 if t == IMAGE else None if t is None else found[t] for t in map(one.target, one.sources)]
        found.append(inputs[0] if one.number in passing else _channels(one, inputs, scaling))
    return found


def _channels(one: Row, inputs: list[int | None], scaling: Scaling) -> int | None:
    if not gives_map(one):
        return None
    if one.module in _SCALED:
        given = _count(one, 0)
        return None if given is None else scaling.channels(given)
    if one.module == "Concat":
        return None if None in inputs else sum(c for c in inputs if c is not None)
    if one.module in ("HGStem", "HGBlock"):
        return _count(one, 1)
    if one.module == "ResNetLayer":
        given = _count(one, 1)
        return given if given is None or (len(one.args) > 3 and one.args[3]) else 4 * given
    if one.module in ("TorchVision", "Index"):
        return _count(one, 0)
    if one.module == "CBFuse":
        return inputs[-1]
    return inputs[0] if one.module in _SAME else None


def widths(all_rows: list[Row], cfg: dict[str, Any], passing: frozenset[int] = frozenset()) -> list[frozenset[int]]:
    """Return, for each row, every width that it has: as written, and at each of the file's scales."""
    tables = [channels(all_rows, scaling, passing) for scaling in (NOMINAL, *scales(cfg))]
    return [frozenset(c for c in column if c is not None) for column in zip(*tables, strict=True)]


def strides(all_rows: list[Row], passing: frozenset[int] = frozenset()) -> list[Fraction | None]:
    """Return the stride of each row's output (a head's: of its first input), None where it cannot be told."""
    found: list[Fraction | None] = []
    for one in all_rows:
        inputs = [Fraction(1) if t == IMAGE else None if t is None else found[t] for t in map(one.target, one.sources)]
        source = inputs[-1] if one.module == "CBFuse" else next((s for s in inputs if s is not None), None)
        factor = Fraction(1) if one.number in passing else _factor(one)
        found.append(None if source is None or factor is None else source * factor)
    return found


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
    known = _SCALED | _SAME | _NO_MAP | {"Concat", "CBFuse", "HGBlock"}
    return Fraction(1) if one.module in known else None


def _count(one: Row, at: int) -> int | None:
    value = literal(one.args[at]) if len(one.args) > at else None
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value <= _MOST else None


def _size(one: Row, at: int) -> Fraction | None:
    value = literal(one.args[at]) if len(one.args) > at else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _MOST:
        return None
    return Fraction(value)


def _small(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= 20
