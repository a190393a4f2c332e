"""Label files of Ultralytics: one line for each object, with the class and a box, a polygon, a rotated box or keypoints."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yolograft.data.box import Corners, enclosing, parse_number, shape_name
from yolograft.language import tr

__all__ = ["Label", "Labels", "is_list_of_classes", "label_path", "parse"]


_MAX_NUMBERS = 20_000  # in one line; a polygon of 10,000 points
_Wrong = tuple[str, str]  # kind, message


@dataclass(frozen=True)
class Label:
    """One valid line.

    Attributes:
        index: the class.
        corners: of the box, or of the box that encloses the shape, as fractions of the image's width and height.
        kind: "box", "polygon", "rotated box" (four points) or "pose".
    """

    index: int
    corners: Corners
    kind: str


@dataclass
class Labels:
    """The lines of one label file, and what is wrong with the others."""

    labels: list[Label] = field(default_factory=list)
    problems: list[tuple[str, str]] = field(default_factory=list)  # kind, message


def label_path(image: Path) -> Path:
    """Return the label file that Ultralytics reads for an image: the last folder `images` becomes `labels`."""
    parts = list(image.parts)
    for at in range(len(parts) - 2, 0, -1):
        if parts[at] == "images":
            parts[at] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def parse(text: str, names: Mapping[int, str], keypoints: tuple[int, int] | None) -> Labels:
    """Parse a label file.

    Args:
        text: the content of the file.
        names: class number -> name.
        keypoints: number of keypoints and of values for each, or None.
    """
    result = Labels()
    seen: dict[tuple[str, ...], int] = {}
    counts: set[str] = set()
    for number, line in enumerate(text.splitlines(), 1):
        words = tuple(line.split())
        if not words:
            continue
        parsed = _parse_line(words, names, keypoints)
        if isinstance(parsed, tuple):
            kind, what = parsed
            result.problems.append((kind, tr("line {number}: {problem}", number=number, problem=what)))
        elif words in seen:
            result.problems.append(("duplicate", tr("line {number} is the same as line {other}", number=number,
                                                    other=seen[words])))
        else:
            seen[words] = number
            counts.add("box" if parsed.kind == "box" else "shape")
            result.labels.append(parsed)
    if len(counts) > 1:
        result.problems.append(("mixed", tr("has lines with boxes and lines with polygons; Ultralytics ignores such an "
                                            "image or drops the polygons")))
    return result


def _parse_line(words: tuple[str, ...], names: Mapping[int, str], keypoints: tuple[int, int] | None) -> Label | _Wrong:
    """Return the label of a line, or the kind of what is wrong with it and the message."""
    if len(words) > _MAX_NUMBERS:
        return "malformed", tr("has {count:,} numbers, and at most {most:,} are read", count=len(words), most=_MAX_NUMBERS)
    numbers = [None if "," in word else parse_number(word) for word in words]
    if any("," in word for word in words):
        return "malformed", tr("has commas: '{line}' (expected numbers with decimal points and blanks between them)",
                               line=" ".join(words)[:60])
    if numbers[0] is None and words[0] in names.values():
        return "malformed", tr("begins with the class name '{name}', not with its number", name=words[0])
    if None in numbers:
        wrong = words[numbers.index(None)]
        return "malformed", tr("'{word}' is no number", word=wrong[:40])
    values = [number for number in numbers if number is not None]
    index = int(values[0])
    if index != values[0] or index < 0:
        return "class", tr("the class {value} is no whole number from 0 on", value=words[0])
    if names and index not in names:
        return "class", tr("the class {index} is not in names, which has 0 to {last}", index=index, last=max(names))
    return _parse_shape(index, values[1:], keypoints)


def _parse_shape(index: int, values: list[float], keypoints: tuple[int, int] | None) -> Label | _Wrong:
    kind = "box"
    coordinates = values
    if keypoints is not None:
        count, size = keypoints
        if len(values) != 4 + count * size:
            return "malformed", tr("has {count} numbers; a box and {keypoints} keypoints of {size} values need {expected}",
                                   count=len(values) + 1, keypoints=count, size=size, expected=5 + count * size)
        kind = "pose"
        coordinates = [value for at, value in enumerate(values) if at < 4 or (at - 4) % size < 2]
    elif len(values) < 4:
        return "malformed", tr("has {count} numbers; expected class, x center, y center, width, height",
                               count=len(values) + 1)
    elif len(values) == 5:
        return "malformed", tr("has 6 numbers; is the last one a confidence? Expected class, x center, y center, width, "
                               "height")
    elif len(values) > 5:
        if len(values) % 2:
            return "malformed", tr("has {count} numbers; a polygon needs the class and pairs of x and y. For keypoints "
                                   "the data YAML needs kpt_shape", count=len(values) + 1)
        kind = "rotated box" if len(values) == 8 else "polygon"
    if max(coordinates) > 1 or min(coordinates) < 0:
        worst = max(coordinates, key=lambda value: abs(value - 0.5))
        if worst > 2:
            return "range", tr("the value {value} is outside 0 to 1. Are these pixels? Expected fractions of width "
                               "and height", value=f"{worst:g}")
        return "range", tr("the value {value} is outside 0 to 1", value=f"{worst:g}")
    if kind in ("box", "pose"):
        x, y, width, height = values[:4]
        corners: Corners | None = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    else:
        corners = enclosing(zip(values[::2], values[1::2], strict=True))
    if corners is None or corners[2] <= corners[0] or corners[3] <= corners[1]:
        return "no area", tr("the {kind} has no area", kind=_kind_name(kind))
    return Label(index, corners, kind)


def _kind_name(kind: str) -> str:
    return tr("box") if kind in ("box", "pose") else shape_name(kind)


def is_list_of_classes(file: Path, text: str) -> bool:
    """Whether a text file beside the labels is labelImg's list of classes."""
    return file.stem in ("classes", "labels", "obj") and not re.match(r"\s*\d+\s+[\d.]+\s", text)
