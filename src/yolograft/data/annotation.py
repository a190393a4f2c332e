"""Reader of Pascal VOC annotation files: XML -> boxes and a list of problems.

The XML may come from an untrusted source. A document type declaration, which entity expansion attacks need, is an error.
Any other defect of a file is a `DataError` or an entry in `Annotation.problems`.
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
    """One object, with the numbers of the file.

    Attributes:
        name: the class.
        corners: xmin, ymin, xmax, ymax.
    """

    name: str
    corners: tuple[float, float, float, float]


@dataclass(frozen=True)
class Annotation:
    """The content of one annotation file.

    Attributes:
        image: the value of <filename>, or "".
        size: width and height in pixels, or None if the file has none.
        boxes: the objects with a valid box.
        problems: the other objects, each with the reason.
    """

    image: str
    size: tuple[int, int] | None
    boxes: tuple[Box, ...]
    problems: tuple[str, ...]


def read(path: Path) -> Annotation:
    """Read one annotation file.

    Raises:
        DataError: the file cannot be read, is not XML, or is not a VOC annotation.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot be read: {error.strerror}") from error
    try:
        root = ElementTree.fromstring(_decode(raw), parser=ElementTree.XMLParser(target=_NoDoctype()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"is not XML: {error}") from error
    if root.tag != "annotation":
        raise DataError(f"is not a VOC annotation: its root is <{root.tag[:40]}>, expected <annotation>")
    boxes, problems = [], []
    for number, element in enumerate(root.iter("object"), 1):
        parsed = _parse_box(element)
        if isinstance(parsed, Box):
            boxes.append(parsed)
        else:
            problems.append(f"object {number}: {parsed}")
    width, height = _number(root, "size/width"), _number(root, "size/height")
    size = (int(width), int(height)) if width and height else None
    return Annotation((root.findtext("filename") or "").strip(), size, tuple(boxes), tuple(problems))


class _NoDoctype(ElementTree.TreeBuilder):
    """Raise at a document type declaration, in any encoding, before the parser reads its entities."""

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise DataError("declares a document type. VOC annotations need none, and it can hide an attack")


def _decode(raw: bytes) -> bytes | str:
    """Decode East Asian multi-byte encodings, such as GB2312 of Chinese tools: the XML parser does not support them."""
    declared = re.match(rb"""\s*<\?xml[^>]{0,80}encoding\s*=\s*["']([A-Za-z0-9_.-]{1,40})["']""", raw)
    if declared is None or not declared[1].lower().startswith((b"gb", b"big5", b"shift", b"euc")):
        return raw
    return raw.decode(declared[1].decode("ascii"))


def _number(element: ElementTree.Element, path: str) -> float | None:
    try:
        value = float(element.findtext(path) or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _parse_box(element: ElementTree.Element) -> Box | str:
    """Return the box of an object, or the problem with it."""
    name = (element.findtext("name") or "").strip()
    if not name:
        return "has no class name"
    values = [_number(element, f"bndbox/{key}") for key in ("xmin", "ymin", "xmax", "ymax")]
    x0, y0, x1, y1 = values
    if x0 is None or y0 is None or x1 is None or y1 is None:
        return f"'{name}' has an incomplete box (expected xmin, ymin, xmax and ymax, in pixels)"
    return Box(name, (x0, y0, x1, y1))
