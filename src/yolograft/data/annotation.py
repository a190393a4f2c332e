"""Pascal VOC annotation files: XML in, boxes out, and what was wrong with them in words.

The XML of strangers is read with care: a document type, which entity bombs need, is refused, and everything else that a
file can do wrong is a `DataError` or a named problem, never a traceback.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

from yolograft.errors import DataError

__all__ = ["Annotation", "Box", "read"]


@dataclass(frozen=True)
class Box:
    """One object, in the file's own numbers.

    Attributes:
        name: of the class.
        corners: xmin, ymin, xmax, ymax.
        difficult: whether the annotators marked it so.
    """

    name: str
    corners: tuple[float, float, float, float]
    difficult: bool = False


@dataclass(frozen=True)
class Annotation:
    """What a file says.

    Attributes:
        picture: the file name it gives for its picture, or an empty text.
        size: width and height it gives, or None.
        boxes: those that can be read.
        problems: what is wrong with the others.
    """

    picture: str
    size: tuple[int, int] | None
    boxes: tuple[Box, ...]
    problems: tuple[str, ...]


def read(path: Path) -> Annotation:
    """Read one annotation file.

    Raises:
        DataError: it cannot be read as XML, or is no VOC annotation.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from error
    try:
        root = ElementTree.fromstring(_decoded(raw), parser=ElementTree.XMLParser(target=_Plain()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"is no XML: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"is no VOC annotation: its root is <{root.tag[:40]}>, expected <annotation>")
    boxes, problems = [], []
    for number, element in enumerate(root.iter("object"), 1):
        found = _box(element)
        if isinstance(found, Box):
            boxes.append(found)
        else:
            problems.append(f"object {number}: {found}")
    size = (_number(root, "size/width"), _number(root, "size/height"))
    known = (int(size[0]), int(size[1])) if size[0] and size[1] else None
    return Annotation((root.findtext("filename") or "").strip(), known, tuple(boxes), tuple(problems))


class _Plain(ElementTree.TreeBuilder):
    """Refuse a document type as soon as the parser meets it, in whatever encoding, before its entities are read."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise DataError("declares a document type, which no VOC annotation needs and which can hide an attack")


def _decoded(raw: bytes) -> bytes | str:
    """Decode what the parser cannot: it has no multi-byte encodings, such as the GB2312 of Chinese tools."""
    told = re.match(rb"""\s*<\?xml[^>]{0,80}encoding\s*=\s*["']([A-Za-z0-9_.-]{1,40})["']""", raw)
    if told is None or not told[1].lower().startswith((b"gb", b"big5", b"shift", b"euc")):
        return raw
    return raw.decode(told[1].decode("ascii"))


def _number(element: ElementTree.Element, path: str) -> float | None:
    try:
        value = float(element.findtext(path) or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _box(element: ElementTree.Element) -> Box | str:
    name = (element.findtext("name") or "").strip()
    if not name:
        return "has no class name"
    values = [_number(element, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    x0, y0, x1, y1 = values
    if x0 is None or y0 is None or x1 is None or y1 is None:
        return f"'{name}' has no whole box (xmin, ymin, xmax and ymax, in pixels)"
    return Box(name, (x0, y0, x1, y1), (element.findtext("difficult") or "0").strip() == "1")
