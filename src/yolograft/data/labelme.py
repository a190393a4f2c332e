"""Conversion of data sets with LabelMe annotations: one JSON file for each image.

The format is that of wkentaro/labelme (labelme/label_file.py, labelme/utils/shape.py). X-AnyLabeling writes the same with
four points for a rectangle and with the shape `rotation`. The package labelme itself is a program with a window system;
its converter to YOLO knows rectangles and polygons only.
"""

from __future__ import annotations

import base64
import binascii
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PureWindowsPath
from typing import Any

from yolograft.data import formats
from yolograft.data.box import Box, Corners, Point, circle_corners, enclosing, parse_number, parse_size
from yolograft.data.conversion import Annotated, Found, Options, convert_source, progress
from yolograft.data.pictures import IMAGE_SUFFIXES, Pictures, list_files, split_of
from yolograft.data.report import Problem, Report
from yolograft.data.text import usual_encoding
from yolograft.data.voc import encoding_notes
from yolograft.language import tr

__all__ = ["convert"]

_LARGE = 2**20  # bytes: a file with an image inside, which is not read twice
# first bytes of an image inside a JSON file -> suffix of the file to write
_MAGIC = ((b"\xff\xd8", ".jpg"), (b"\x89PNG", ".png"), (b"BM", ".bmp"), (b"RIFF", ".webp"), (b"II*\0", ".tif"),
          (b"MM\0*", ".tif"))


def convert(source: str | Path, dest: str | Path, *, names: Sequence[str] | None = None,
            merge: Mapping[str, str] | None = None, split: str = "auto", overwrite: bool = False) -> Report:
    """Convert a data set with LabelMe annotations.

    The enclosing box of a polygon, circle, line or mask is used. Shapes of one label with the same group number are parts
    of one object and get one box. Points have no extent and are skipped. An image that is not in the source is taken from
    the JSON file, if it contains the image.

    Args:
        source: a folder or a zip file.
        dest: the folder to create.
        names: the classes in order; by default all labels found, in alphabetical order.
        merge: label of the source -> class of the new set.
        split: `auto` uses the folders train, val (valid, validation) and test, if every image is in one of them;
            otherwise, and with `stratified`, every fifth image of each class is for validation.
        overwrite: replace the data set at `dest` when the new one is complete.

    Raises:
        DataError: the source has no usable image, or an argument is invalid. `dest` is unchanged.
    """
    options = Options(names=names, merge=merge or {}, split=split, overwrite=overwrite)
    return convert_source(source, dest, _read, options, describe=lambda folder: formats.advice(folder, "labelme"))


def _read(folder: Path, dest: Path) -> Found:
    files = list_files(folder, dest)
    pictures = Pictures.of(files, folder)
    found = Found()
    encodings: Counter[str] = Counter()
    grouped = 0
    json = [path for path in files if path.suffix.lower() == ".json"]
    usual = usual_encoding(path.read_bytes() for path in json if path.stat().st_size < _LARGE)
    for path in progress(json, tr("reading")):
        file = str(path.relative_to(folder))
        content, encoding = formats.load_json(path, usual)
        if not formats.is_labelme(content):
            if content is None:
                found.problems.append(Problem(file, tr("is not JSON; its image is skipped"), "picture skipped"))
                pictures.match(path, "")
            elif kind := formats.kind_of_json(content):
                found.notes.append(tr("{file} is {kind}; it is left out", file=file, kind=formats.kinds()[kind][0]))
            continue
        encodings[encoding] += 1
        name = str(content.get("imagePath") or "")
        candidates = pictures.match(path, name)  # LabelMe gives both files one name; imagePath is often out of date
        if len(candidates) > 1:
            candidates = pictures.match_path(name, split_of(path, folder), path.parent) or candidates
        inside = _image_inside(content.get("imageData")) if not candidates else None
        if len(candidates) != 1 and inside is None:
            what = tr("has no image, neither the file '{name}' nor imageData", name=name) if not candidates else tr(
                "matches {count} images, so the right one is unknown", count=len(candidates))
            found.problems.append(Problem(file, tr("{problem}; skipped", problem=what), "picture skipped"))
            continue
        image = candidates[0] if candidates else path.with_suffix(_suffix(name, inside or b""))
        boxes, problems, merged = _read_shapes(content["shapes"])
        grouped += merged
        found.problems += [Problem(file, tr("{problem}; that object is skipped", problem=what), "object skipped")
                           for what in problems]
        found.images.append(Annotated(
            file=file, image=image, content=inside, split=split_of(image, folder) or split_of(path, folder),
            size=parse_size(content.get("imageWidth"), content.get("imageHeight")), boxes=boxes,
            objects=len(boxes) + len(problems)))
    found.problems += [Problem(str(path.relative_to(folder)), tr("has no annotation; skipped"), "picture skipped",
                               "no annotation")
                       for path in pictures.unmatched()]
    found.notes += encoding_notes(encodings)
    if grouped:
        found.notes.append(tr("shapes that are part of a group (group_id), which gets one box: {count}",
                              count=grouped))
    return found


def _image_inside(data: object) -> bytes | None:
    """Return the image that a JSON file contains, or None."""
    if not isinstance(data, str) or not data:
        return None
    try:
        return base64.b64decode(data.partition("base64,")[2] or data)
    except (binascii.Error, ValueError):
        return None


def _suffix(name: str, raw: bytes) -> str:
    found = next((suffix for magic, suffix in _MAGIC if raw.startswith(magic)), "")
    stated = PureWindowsPath(name).suffix.lower()
    is_jpeg = found == ".jpg" and stated == ".jpeg"
    return stated if is_jpeg or (not found and stated in IMAGE_SUFFIXES) else found or ".png"


def _read_shapes(shapes: Sequence[Any]) -> tuple[list[Box], list[str], int]:
    """Return the boxes, the problems of the other shapes, and the number of shapes that another one of a group includes."""
    boxes: list[Box] = []
    problems: list[str] = []
    groups: dict[tuple[str, str], int] = {}
    merged = 0
    for number, shape in enumerate(shapes, 1):
        box = _read_shape(shape) if isinstance(shape, dict) else tr("is no shape")
        if not isinstance(box, Box):
            problems.append(tr("shape {number}: {problem}", number=number, problem=box))
            continue
        group = shape.get("group_id")
        key = (box.name, str(group))
        if group is not None and key in groups:
            one = boxes[groups[key]]
            corners = enclosing([one.corners[:2], one.corners[2:], box.corners[:2], box.corners[2:]])
            assert corners is not None
            boxes[groups[key]] = Box(box.name, corners, "polygon" if one.shape == "box" else one.shape)
            merged += 1
            continue
        groups[key] = len(boxes)
        boxes.append(box)
    return boxes, problems, merged


def _read_shape(shape: Mapping[str, Any]) -> Box | str:
    name = str(shape.get("label") or "").strip()
    if not name:
        return tr("has no class name")
    kind = str(shape.get("shape_type") or "polygon")  # LabelMe wrote no type before it had other shapes than polygons
    points = _points(shape.get("points"))
    corners: Corners | None = None
    shape_kind = {"rectangle": "box", "rotation": "rotated box", "line": "line", "linestrip": "line"}.get(kind, kind)
    if points is not None:
        if kind == "circle" and len(points) == 2:
            corners = circle_corners(points[0], points[1])
        elif kind in ("rectangle", "line", "linestrip", "polygon", "rotation", "mask"):
            corners = enclosing(points)
        if kind == "mask" and corners is not None:  # its points are the first and the last pixel
            corners = (corners[0], corners[1], corners[2] + 1, corners[3] + 1)
    if corners is None:
        return tr("'{name}' has the shape '{shape}' with {count} points, which has no box", name=name, shape=kind,
                  count=len(points or ()))
    return Box(name, corners, shape_kind)


def _points(values: object) -> list[Point] | None:
    if not isinstance(values, list):
        return None
    points = []
    for value in values:
        numbers = [parse_number(number) for number in value] if isinstance(value, list) else []
        if len(numbers) < 2 or numbers[0] is None or numbers[1] is None:
            return None
        points.append((numbers[0], numbers[1]))
    return points
