"""Reader of Pascal VOC annotation files and their relatives: XML -> boxes and a list of problems.

Relatives are XML files with one <annotation> per image whose objects have another shape than <bndbox>: polygons, rotated
boxes, corner points. The XML may come from an untrusted source. A document type declaration, which entity expansion
attacks need, is an error. Any other defect of a file is a `DataError` or an entry in `Annotation.problems`.

The spellings below come from public tools and data sets:

- <bndbox> with xmin, ymin, xmax, ymax: Pascal VOC; HumanSignal/labelImg, libs/pascal_voc_io.py.
- <robndbox> with cx, cy, w, h, angle in radians: cgvict/roLabelImg, libs/pascal_voc_io.py.
- <rotated_bndbox> with rotated_bbox_cx, ..., rotated_bbox_theta in degrees and x1 to y4: the ship data set SSDD.
- <robndbox> with x_left_top, y_left_top, ..., y_left_bottom: DIOR-R; open-mmlab/mmrotate, mmrotate/datasets/dior.py.
- <bndbox> with x0, y0 to x3, y3: variants of roLabelImg.
- <polygon> with x1, y1, x2, y2, ...: Roboflow; roboflow/supervision, supervision/dataset/formats/pascal_voc.py. Labelbox
  writes no <bndbox> beside it: ssaru/convert2Yolo, issue 16.
- <polygon> with <pt><x/><y/></pt>, and <deleted>: CSAILVision/LabelMeAnnotationTool.
- <points> with <point>x,y</point>, and the class in <possibleresult>: FAIR1M; microsoft/torchgeo,
  torchgeo/datasets/fair1m.py.
- <segmentation> with numbers, <points> or <point>: several public converters.
- <doc> with <outputs><object><item>: Colabeler (jinglingbiaozhu); PaddlePaddle/PaddleX, paddlex/tools/x2coco.py.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from yolograft.data.box import Box, Corners, Point, enclosing, parse_number, parse_size, rotated_corners
from yolograft.data.text import decode
from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["Annotation", "Box", "decode_xml", "read"]

Element = ElementTree.Element

_MAX_ELEMENTS = 200_000  # of one image; a polygon of 1,000 points has 3,000
_MAX_DEPTH = 100
_ROOTS = ("annotation", "doc")
_OBJECTS = ("object", "item")
_SHAPES = ("bndbox", "box", "bbox", "robndbox", "rotatedbndbox", "rotbox", "rbox", "obb", "polygon", "segmentation", "segm",
           "points", "ellipse")
_CORNERS = (("xmin", "ymin", "xmax", "ymax"), ("left", "top", "right", "bottom"), ("xtl", "ytl", "xbr", "ybr"))
_ROTATED = (("cx", "cy", "w", "h", "angle", 1.0), ("cx", "cy", "width", "height", "angle", 1.0),
            ("rotatedbboxcx", "rotatedbboxcy", "rotatedbboxw", "rotatedbboxh", "rotatedbboxtheta", math.pi / 180))
_NAMED_POINTS = ("lefttop", "righttop", "rightbottom", "leftbottom")


@dataclass(frozen=True)
class Annotation:
    """The content of one annotation file.

    Attributes:
        image: the name of the image in the file, or "".
        size: width and height in pixels, or None if the file has none.
        boxes: the objects with a valid box.
        problems: the other objects, each with the reason.
        encoding: of the file, as Python names it.
        deleted: the number of objects that the file marks as deleted.
    """

    image: str
    size: tuple[int, int] | None
    boxes: tuple[Box, ...]
    problems: tuple[str, ...]
    encoding: str = "utf-8"
    deleted: int = 0


def read(path: Path, usual: str = "") -> Annotation:
    """Read one annotation file.

    Args:
        path: the file.
        usual: the usual encoding of the set that is not Unicode; see `text.usual_encoding`.

    Raises:
        DataError: the file cannot be read, is not XML, is no annotation of this kind, or has boxes in an unknown place.
    """
    try:
        text, encoding = decode_xml(path.read_bytes(), usual)
    except OSError as error:
        raise DataError(tr("cannot be read: {reason}", reason=error.strerror)) from error
    try:
        root = ElementTree.fromstring(text, parser=ElementTree.XMLParser(target=_Builder()))
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(tr("is not XML: {reason}", reason=error)) from error
    if _tag(root) not in _ROOTS:
        raise DataError(tr("is not a VOC annotation: its root is <{root}>, expected <annotation>", root=root.tag[:40]))
    elements = list(_objects(root))
    if not elements and any(_tag(element) in _SHAPES for element in root.iter()):
        raise DataError(tr("has boxes outside <object>, so they cannot be read"))
    boxes, problems, deleted = [], [], 0
    for number, element in enumerate(elements, 1):
        if _text(element, "deleted") == "1":
            deleted += 1
            continue
        parsed = _parse_object(element)
        if isinstance(parsed, Box):
            boxes.append(parsed)
        else:
            problems.append(tr("object {number}: {problem}", number=number, problem=parsed))
    size = _child(root, "size")
    return Annotation(image=_text(root, "filename") or _text(root, "path"), boxes=tuple(boxes), problems=tuple(problems),
                      size=parse_size(_text(size, "width"), _text(size, "height")) if size is not None else None,
                      encoding=encoding, deleted=deleted)


def decode_xml(raw: bytes, usual: str = "") -> tuple[str, str]:
    """Decode an XML file by the bytes themselves, since its declared encoding is often wrong; see `text.decode`."""
    declared = re.match(rb"""\s*<\?xml[^>]{0,80}encoding\s*=\s*["']([A-Za-z0-9_.-]{1,40})["']""", raw)
    text, encoding = decode(raw, declared[1].decode("ascii") if declared else "", usual)
    return text.lstrip("\ufeff \t\r\n"), encoding


class _Builder(ElementTree.TreeBuilder):
    """Build the tree, unless a file could be an attack.

    It raises at a document type declaration, in any encoding, before the parser reads its entities, and at more elements
    than an annotation has.
    """

    elements = depth = 0

    def start(self, tag: Any, attrs: Any, /) -> Any:
        """Open an element."""
        self.elements += 1
        self.depth += 1
        if self.elements > _MAX_ELEMENTS or self.depth > _MAX_DEPTH:
            raise DataError(tr("has more than {elements:,} elements, or elements nested more than {depth} deep",
                               elements=_MAX_ELEMENTS, depth=_MAX_DEPTH))
        return super().start(tag, attrs)

    def end(self, tag: Any, /) -> Any:
        """Close an element."""
        self.depth -= 1
        return super().end(tag)

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        raise DataError(tr("declares a document type. VOC annotations need none, and it can hide an attack"))


def _tag(element: Element) -> str:
    """Return a tag without namespace, case, hyphens and underscores."""
    return re.sub(r"[-_]", "", str(element.tag).rpartition("}")[2]).lower()


def _child(element: Element, tag: str) -> Element | None:
    return next((child for child in element if _tag(child) == tag), None)


def _text(element: Element, tag: str) -> str:
    child = _child(element, tag)
    return (child.text or "").strip() if child is not None else ""


def _objects(root: Element) -> Iterator[Element]:
    """Yield the elements that are one object each. Colabeler wraps them as items of one <object>."""
    for element in root.iter():
        if _tag(element) in _OBJECTS and not any(_tag(child) == "item" for child in element):
            yield element


def _parse_object(element: Element) -> Box | str:
    """Return the box of an object, or the problem with it.

    Of several shapes the first with an area is used, in the order of `_SHAPES`: tools fill <bndbox> with zeros where they
    use another shape. If no shape has an area, the first is returned, and the conversion reports it.
    """
    result = _child(element, "possibleresult")
    name = _text(element, "name") or (_text(result, "name") if result is not None else "") or _text(element, "label")
    if not name:
        return tr("has no class name")
    found: list[Box] = []
    shapes = sorted((child for child in element if _tag(child) in _SHAPES), key=lambda child: _SHAPES.index(_tag(child)))
    for shape in (*shapes, element):
        corners, kind = _read_shape(shape)
        if corners is not None:
            is_comma = any("," in (leaf.text or "") for leaf in shape.iter()) and kind in ("box", "rotated box")
            found.append(Box(name, corners, kind, is_comma))
    if not found:
        wrong = next((f"<{leaf.tag}>{leaf.text.strip()[:20]}" for shape in shapes for leaf in shape if leaf.text
                      and leaf.text.strip() and re.fullmatch(r"[xy]\d+|[cwh]|[xy](min|max)|c[xy]|angle", _tag(leaf))
                      and parse_number(leaf.text) is None), "")
        if wrong:
            return tr("'{name}' has an incomplete box: {wrong} is no number", name=name, wrong=wrong)
        listed = ", ".join(f"<{child.tag}>" for child in shapes)
        return tr("'{name}' has an incomplete box (expected xmin, ymin, xmax and ymax, in pixels)", name=name) if (
            not listed or listed == "<bndbox>") else tr(
            "'{name}' has a shape that cannot be read ({shapes}; expected a box, a rotated box or a polygon)", name=name,
            shapes=listed)
    return next((box for box in found if box.corners[0] != box.corners[2] and box.corners[1] != box.corners[3]), found[0])


def _read_shape(shape: Element) -> tuple[Corners | None, str]:
    """Return the corners that a shape gives and the name of its kind."""
    values = {_tag(leaf): number for leaf in shape if (number := parse_number(leaf.text or "")) is not None}
    for x0, y0, x1, y1 in _CORNERS:
        if {x0, y0, x1, y1} <= values.keys():
            return (values[x0], values[y0], values[x1], values[y1]), "box"
    for x, y, width, height, angle, unit in _ROTATED:
        if {x, y, width, height} <= values.keys() and (angle in values or _child(shape, angle) is None):
            turn = values.get(angle, 0.0)
            unit = math.pi / 180 if abs(turn) > 2 * math.pi else unit  # some tools write degrees into <angle>
            return rotated_corners(values[x], values[y], values[width], values[height], turn * unit), "rotated box"
    if _tag(shape) in _OBJECTS:
        return None, ""
    points = _points(shape, values)
    if points is None:
        return None, ""
    return enclosing(points), "box" if _tag(shape) == "bndbox" and len(points) == 2 else "polygon"


def _points(shape: Element, values: dict[str, float]) -> list[Point] | None:
    """Return the points of a shape, or None if one of them cannot be read."""
    named = [(values.get(f"x{name}"), values.get(f"y{name}")) for name in _NAMED_POINTS]
    points = [(x, y) for x, y in named if x is not None and y is not None]
    if points:
        return points if len(points) == len(named) else None
    numbered = [leaf for leaf in shape if re.fullmatch(r"[xy]\d+", _tag(leaf))]
    if numbered:
        numbers = {tag[1:] for tag in map(_tag, numbered)}
        complete = all(f"{axis}{number}" in values for axis in "xy" for number in numbers)
        return [(values[f"x{number}"], values[f"y{number}"]) for number in sorted(numbers)] if complete else None
    pairs = [leaf for leaf in shape.iter() if re.fullmatch(r"pt|points?\d*", _tag(leaf)) and leaf is not shape
             and not any(re.fullmatch(r"pt|point\d*", _tag(child)) for child in leaf)]
    if pairs:
        read = [_pair(leaf) for leaf in pairs]
        return [point for point in read if point] if None not in read else None
    texts = re.split(r"[\s,;()\[\]]+", (shape.text or "").strip(" \t\r\n,;()[]"))
    numbers_in_text = [parse_number(text) for text in texts]
    if len(texts) < 4 or len(texts) % 2 or None in numbers_in_text:
        return None
    found = [number for number in numbers_in_text if number is not None]
    return list(zip(found[::2], found[1::2], strict=True))


def _pair(leaf: Element) -> Point | None:
    """Return the point of <pt><x>1</x><y>2</y></pt> or of <point>1,2</point>."""
    texts = [_text(leaf, "x"), _text(leaf, "y")] if len(leaf) else re.split(r"[,;\s]+", (leaf.text or "").strip())
    numbers = [parse_number(text) for text in texts]
    if len(numbers) != 2 or numbers[0] is None or numbers[1] is None:
        return None
    return numbers[0], numbers[1]
