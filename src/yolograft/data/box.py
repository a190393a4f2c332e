"""Boxes: numbers as people write them, and the box that encloses a polygon, a rotated box, a circle or a mask."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yolograft.language import tr

__all__ = ["Box", "Corners", "Point", "circle_corners", "enclosing", "mask_corners", "parse_number", "parse_size",
           "rotated_corners", "shape_name"]

Point = tuple[float, float]
Corners = tuple[float, float, float, float]  # xmin, ymin, xmax, ymax
_NUMBER = re.compile(r"[+-]?(\d+[.,]?\d*|[.,]\d+)([eE][+-]?\d+)?", re.ASCII)
_MAX_SHIFT = 60  # bits of one run of a mask
_FULL_WIDTH = {0xFF10 + digit: str(digit) for digit in range(10)} | {0xFF0E: ".", 0xFF0C: ",", 0xFF0D: "-"}


@dataclass(frozen=True)
class Box:
    """One object, with the numbers of the file.

    Attributes:
        name: the class.
        corners: xmin, ymin, xmax, ymax, in the order of the file: xmax can be smaller than xmin.
        shape: "box", or the shape that the corners enclose: "polygon", "rotated box", "circle", "line" or "mask".
        is_comma: whether one of the numbers has a decimal comma.
    """

    name: str
    corners: Corners
    shape: str = "box"
    is_comma: bool = False

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(f'{corner:g}' for corner in self.corners)})"


def shape_name(shape: str) -> str:
    """Return the name of a shape that is not a box, in the language of messages."""
    return {"polygon": tr("polygon"), "rotated box": tr("rotated box"), "circle": tr("circle"), "line": tr("line"),
            "mask": tr("mask")}[shape]


def parse_number(value: object) -> float | None:
    """Parse a finite number of an annotation; returns None for anything else.

    A decimal comma and full-width digits of Chinese and Japanese keyboards are allowed. `1_0` is a number for Python only.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    if isinstance(value, str):
        text = value.strip().translate(_FULL_WIDTH)
        if not _NUMBER.fullmatch(text):
            return None
        value = text.replace(",", ".")
    try:
        number = float(value)
    except OverflowError:  # a whole number above the range of float
        return None
    return number if math.isfinite(number) else None


def parse_size(width: object, height: object) -> tuple[int, int] | None:
    """Parse the size of an image in pixels; returns None if it is no size, such as 0 x 0."""
    numbers = parse_number(width), parse_number(height)
    if numbers[0] is None or numbers[1] is None or min(numbers[0], numbers[1]) < 1:
        return None
    return int(numbers[0]), int(numbers[1])


def enclosing(points: Iterable[Point]) -> Corners | None:
    """Return the box that encloses points, or None if there are fewer than two."""
    found = list(points)
    if len(found) < 2:
        return None
    xs, ys = [x for x, _ in found], [y for _, y in found]
    return min(xs), min(ys), max(xs), max(ys)


def rotated_corners(x: float, y: float, width: float, height: float, angle: float) -> Corners:
    """Return the box that encloses a box of center (x, y), turned by `angle` radians. Both directions enclose the same."""
    cosine, sine = abs(math.cos(angle)), abs(math.sin(angle))
    half_width, half_height = (width * cosine + height * sine) / 2, (width * sine + height * cosine) / 2
    return x - half_width, y - half_height, x + half_width, y + half_height


def circle_corners(center: Point, edge: Point) -> Corners:
    """Return the box that encloses the circle around `center` through `edge`."""
    radius = math.dist(center, edge)
    return center[0] - radius, center[1] - radius, center[0] + radius, center[1] + radius


def mask_corners(counts: Sequence[int] | str, height: int) -> Corners | None:
    """Return the box that encloses a mask in COCO's run-length encoding, or None for an empty or invalid one.

    The mask is read column by column. Its runs alternate between background and object, and start with background.

    Args:
        counts: the lengths of the runs, or COCO's compressed text of them.
        height: of the mask, in pixels.
    """
    runs = _decompress(counts) if isinstance(counts, str) else counts
    if height <= 0 or not all(isinstance(run, int) and run >= 0 for run in runs):
        return None
    start, rows, columns = 0, set[int](), set[int]()
    for number, run in enumerate(runs):
        end = start + run
        if number % 2 and run:
            first, last = start // height, (end - 1) // height
            columns |= {first, last}
            rows |= {start % height, (end - 1) % height} if first == last else {0, height - 1}
        start = end
    return (min(columns), min(rows), max(columns) + 1, max(rows) + 1) if columns else None


def _decompress(text: str) -> list[int]:
    """Return the runs of COCO's compressed text: 6 bits a character, and from the third run on differences to run n - 2."""
    runs: list[int] = []
    value = shift = 0
    for character in text:
        code = ord(character) - 48
        if not 0 <= code < 64 or shift > _MAX_SHIFT:
            return [-1]  # no valid mask
        value |= (code & 0x1F) << shift
        shift += 5
        if not code & 0x20:
            if code & 0x10:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs
