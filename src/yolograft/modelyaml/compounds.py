"""Modules of forks that join a stock module and a block in one name, such as C2f_SE: host row and graft.

Such a row is read as the stock row and a graft. The place of the block inside is not in the name. It is the place that most
public classes of that name have (see `_PLACES`); the note says which place was assumed, and how to say the other.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from yolograft.errors import SpecError
from yolograft.language import tr
from yolograft.modelyaml import catalog
from yolograft.modelyaml.signatures import Settings, find_block, understand
from yolograft.modelyaml.table import Row, parse_literal
from yolograft.spec import Graft, Part, Site

__all__ = ["Compound", "find_compound", "host_row", "split_name"]

# The stock module -> where public classes apply the block, and the number of arguments that a row of it can have.
# output: on the module's output. bottleneck: in each bottleneck, before the sum. concat: before the last convolution.
# Read from public class definitions of these names: most C2f_SE, C2f_ECA, C2f_CBAM, C3k2_SE and C3k2_CBAM apply the block
# to the output; most C3SE, C3_CBAM and C3ECA (yolov5 forks) have it in the bottlenecks; nearly all SPPF_LSKA have it on the
# concatenated maps.
_PLACES: dict[str, tuple[str, int]] = {
    "C2f": ("output", 4), "C3k2": ("output", 6), "C2": ("output", 4), "C1": ("output", 1), "A2C2f": ("output", 9),
    "C2fCIB": ("output", 5), "RepC3": ("output", 2), "RepNCSPELAN4": ("output", 4), "ELAN1": ("output", 3),
    "C2PSA": ("output", 2), "C2fPSA": ("output", 2), "SPPELAN": ("output", 3),
    "Conv": ("output", 7), "DWConv": ("output", 5), "GhostConv": ("output", 5), "C3x": ("output", 4),
    "C3": ("bottleneck", 4), "BottleneckCSP": ("bottleneck", 4),
    "Bottleneck": ("residual", 5), "SPPF": ("concat", 2), "SPP": ("concat", 2),
}
# EMA is in the bottlenecks of most C2f_EMA and C3k2_EMA classes (z1069614715's and copies of them).
_OTHER_PLACES = {("C2f", "ema"): "bottleneck", ("C3k2", "ema"): "bottleneck"}
_SETTINGS: dict[tuple[str, str], Settings] = {("SPPF", "lska"): (("kernel_size", 11),),
                                              ("SPP", "lska"): (("kernel_size", 11),)}
_NOT_COMPOUNDS = {"C3GC", "C3C2"}  # gnConv of HorNet, and a module of their own: iscyy/yoloair/models/yolo.py
_REPEATED_INSIDE = {"C2f", "C3k2", "C2", "C1", "A2C2f", "C2fCIB", "RepC3", "C2PSA", "C2fPSA", "C3x", "C3", "BottleneckCSP"}


@dataclass(frozen=True, kw_only=True)
class Compound:
    """A row whose module joins a stock module and a block.

    Attributes:
        host: the row with the stock module. It is shown as it is in the file.
        block: the name of the block.
        settings: the block's settings.
        place: `output`, `bottleneck`, `residual` or `concat`.
    """

    host: Row
    block: str
    settings: Settings
    place: str

    def site(self, number: int, scale: str) -> Site:
        """Return the block's site, for the row's number in the host and the scale in use."""
        return self._site(self.place, number, scale)

    def note(self, number: int, scale: str) -> str:
        """Say how the row was read, and how to say the other place."""
        part, other = (str(Graft((Part(self.block, (self._site(place, number, scale),), self.settings),)))
                       for place in (self.place, self._other_place()))
        host = self.host.module
        text = {
            "output": tr("assumed: the block is on the row's output, as in most public code"),
            "bottleneck": tr("assumed: the block is in each bottleneck before the sum, as in most public code"),
            "residual": tr("assumed: the block is before the sum, as in most public code"),
            "concat": tr("assumed: the block is before the last convolution, as in most public code"),
        }[self.place]
        if host in ("C2PSA", "C2fPSA"):
            text = tr("assumed: the block is on the row's output. Many public classes of this name replace the "
                      "self-attention of {host} by it, which a graft cannot", host=host)
        return tr("{row} -> {host} and {part} ({assumption}; for the other place, write {host} in the row and "
                  "graft={other})", row=self.host, host=host, part=part, assumption=text, other=other)

    def _other_place(self) -> str:
        if self.place != "output":
            return "output"
        return {"SPPF": "concat", "SPP": "concat"}.get(self.host.module, "bottleneck" if self.host.module in (
            "C2f", "C3k2", "C3", "C3x", "C2", "BottleneckCSP") else "input")

    def _site(self, place: str, number: int, scale: str) -> Site:
        if place == "output":
            return Site(str(number))
        if place == "input":
            return Site(str(number), pre=True)
        if place == "concat":
            return Site(f"{number}.cv2", pre=True)
        if place == "residual":
            return Site(f"{number}.cv2")
        if self.host.module != "C3k2":
            return Site(f"{number}.m.*.cv2")
        if _is_true(self.host.args, 3):  # each part is a bottleneck and a self-attention
            return Site(f"{number}.m.*.0.cv2")
        is_nested = scale in ("m", "l", "x") or _is_true(self.host.args, 1)  # each part is a C3k of two bottlenecks
        return Site(f"{number}.m.*.m.*.cv2" if is_nested else f"{number}.m.*.cv2")


def split_name(module: str) -> tuple[str, str] | None:
    """Return the stock module and the block that a module's name joins, or None.

    >>> split_name("C2f_ECA")
    ('C2f', 'eca')
    """
    if module in _NOT_COMPOUNDS or catalog.has_module(module) or find_block(module) is not None:
        return None
    for host in sorted(_PLACES, key=len, reverse=True):
        if not catalog.has_module(host):
            continue
        rest = module[len(host):] if module.lower().startswith(host.lower()) else ""
        if not rest and module.lower().endswith("_" + host.lower()):
            rest = module[:-len(host)]
        block = find_block(rest.strip("_-")) if rest.strip("_-") else None
        if block is not None:
            return host, block
    return None


def find_compound(row: Row) -> Compound | None:
    """Return the stock row and the block of a row such as `[-1, 3, C2f_SE, [128, True]]`, or None.

    Raises:
        SpecError: the block does not take the arguments behind those of the stock module.
    """
    names = split_name(row.module)
    if names is None:
        return None
    host, block = names
    place, most = _PLACES[host]
    args = list(row.args)
    named = [args.pop()] if args and isinstance(args[-1], dict) else []
    own = Row(row.number, row.part, row.sources, row.is_list, row.repeats, row.module, [*args[most:], *named])
    given = dict(understand(own, block).settings)
    place = _OTHER_PLACES.get((host, block), place)
    if place != "output" and host not in _REPEATED_INSIDE and row.repeats != 1:
        place = "output"  # repeated, the row is a sequence of modules
    settings = tuple(sorted((dict(_SETTINGS.get((host, block), ())) | given).items()))
    return Compound(host=replace(row, module=host, args=args[:most], written=row.text), block=block, settings=settings,
                    place=place)


def host_row(row: Row) -> Row:
    """Return the stock row of a row that joins a stock module and a block; any other row as it is."""
    try:
        compound = find_compound(row)
    except SpecError:
        return row  # the reader reports it
    return row if compound is None else compound.host


def _is_true(args: Any, at: int) -> bool:
    return len(args) > at and parse_literal(args[at]) is True
