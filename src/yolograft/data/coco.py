"""Conversion of data sets with COCO JSON annotations.

Why not a library: pycocotools reads the file and decodes masks, and leaves everything else to its caller. The converters of
supervision and Ultralytics stop at, or silently mislabel, what people's files contain: supervision needs every file and
every box to be complete, and Ultralytics takes the category's number minus one as the class, which is wrong for gaps
between the numbers, copies no image and writes no data YAML.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from yolograft.data import formats
from yolograft.data.box import Box, Corners, enclosing, mask_corners, parse_number, parse_size
from yolograft.data.conversion import Annotated, Found, Options, convert_source, progress
from yolograft.data.pictures import Pictures, list_files, split_of, split_of_name
from yolograft.data.report import Problem, Report
from yolograft.data.voc import encoding_notes
from yolograft.language import tr

__all__ = ["convert"]


def convert(source: str | Path, dest: str | Path, *, names: Sequence[str] | None = None,
            merge: Mapping[str, str] | None = None, split: str = "auto", crowd: bool = False,
            overwrite: bool = False) -> Report:
    """Convert a data set with COCO JSON annotations: one file or several, with the images in any folder beside them.

    The classes are the categories in the order of their numbers. Boxes are [x, y, width, height] in pixels. An annotation
    without a box gets the box that encloses its polygons or its mask.

    Args:
        source: a folder or a zip file.
        dest: the folder to create.
        names: the classes in order; by default all categories.
        merge: category of the source -> class of the new set.
        split: `auto` uses the splits of the source, if all images have one and there are both training and validation
            images: in the names of the JSON files (`instances_train2017.json`) or of folders (`valid/`). Otherwise, and
            with `stratified`, every fifth image of each class is for validation.
        crowd: include the annotations that are marked as a crowd of objects (`iscrowd`). By default they are left out, and
            so are images that have nothing else.
        overwrite: replace the data set at `dest` when the new one is complete.

    Raises:
        DataError: the source has no usable image, or an argument is invalid. `dest` is unchanged.
    """
    options = Options(names=names, merge=merge or {}, split=split, overwrite=overwrite)
    return convert_source(source, dest, lambda folder, target: _read(folder, target, crowd), options,
                          describe=lambda folder: formats.advice(folder, "coco"))


def _read(folder: Path, dest: Path, crowd: bool) -> Found:
    files = list_files(folder, dest)
    pictures = Pictures.of(files, folder)
    found = Found()
    encodings: Counter[str] = Counter()
    contents = _load(files, folder, found, encodings)
    entries: dict[Path, Annotated] = {}
    crowds: Counter[str] = Counter()
    for path, content in contents.items():
        _read_file(path, content, folder, pictures, entries, found, crowds, crowd)
    found.images = list(entries.values())
    found.problems += [Problem(str(path.relative_to(folder)), tr("has no annotation; skipped"), "picture skipped",
                               "no annotation")
                       for path in pictures.unmatched()]
    found.notes += encoding_notes(encodings)
    if crowds["crowd"] and not crowd:
        found.notes.append(tr("objects that are marked as a crowd (iscrowd) and left out: {count} of {all}. Some tools, "
                              "such as CVAT, mark every mask so; crowd=True includes them", count=crowds["crowd"],
                              all=crowds["crowd"] + crowds["single"]))
    return found


def _load(files: Sequence[Path], folder: Path, found: Found, encodings: Counter[str]) -> dict[Path, dict[str, Any]]:
    """Read the COCO files. Beside files of instances, the files of keypoints of the same images are left out."""
    contents: dict[Path, dict[str, Any]] = {}
    for path in progress([path for path in files if path.suffix.lower() == ".json"], tr("reading")):
        content, encoding = formats.load_json(path)
        name = str(path.relative_to(folder))
        if content is None:
            found.problems.append(Problem(name, tr("is not JSON; skipped")))
        elif formats.is_coco(content):
            contents[path] = content
            encodings[encoding] += 1
        elif kind := formats.kind_of_json(content):
            found.notes.append(tr("{file} is {kind}; it is left out", file=name, kind=formats.kinds()[kind][0]))
    instances = {path.parent for path in contents if path.stem.startswith("instances")}
    for path in list(contents):
        if path.parent in instances and path.stem.startswith(("person_keypoints", "stuff", "panoptic", "captions")):
            del contents[path]
            found.notes.append(tr("{file} describes the images of the instances files again; it is left out",
                                  file=path.relative_to(folder)))
    return contents


def _read_file(path: Path, content: dict[str, Any], folder: Path, pictures: Pictures, entries: dict[Path, Annotated],
               found: Found, crowds: Counter[str], crowd: bool) -> None:
    file = str(path.relative_to(folder))
    categories = _categories(content)
    found.classes += [name for name in categories.values() if name not in found.classes]
    split = _split_of_file(path, folder)
    annotations: dict[str, list[Any]] = defaultdict(list)
    for number, one in enumerate(content["annotations"], 1):
        if isinstance(one, dict) and "image_id" in one:
            annotations[str(one["image_id"])].append(one)
        else:
            found.problems.append(Problem(file, tr("annotation {number} names no image; skipped", number=number),
                                          "object skipped"))
    names: dict[str, set[str]] = defaultdict(set)
    images = [image for image in content["images"] if isinstance(image, dict)]
    for image in images:
        names[str(image.get("id"))].add(_file_name(image))
    listed = {(str(image.get("id")), _file_name(image)): image for image in images}  # some lists have an image twice
    for (key, name), image in listed.items():
        if len(names[key]) > 1:
            found.problems.append(Problem(file, tr("the image '{name}' has the same id {id} as another image; skipped",
                                                   name=name, id=key), "picture skipped"))
            pictures.match_path(name, split, path.parent)
            continue
        objects = annotations.get(key, [])
        candidates = pictures.match_path(name, split, path.parent)
        if len(candidates) != 1:
            what = tr("the image '{name}' is not in the source", name=name) if not candidates else tr(
                "the image '{name}' matches {count} images, so the right one is unknown", name=name, count=len(candidates))
            found.problems.append(Problem(file, tr("{problem}; skipped", problem=what), "picture skipped"))
            continue
        where = candidates[0]
        if where not in entries:
            entries[where] = Annotated(file=str(where.relative_to(folder)), image=where,
                                       split=split or split_of(where, folder),
                                       size=parse_size(image.get("width"), image.get("height")))
        entry = entries[where]
        entry.objects += len(objects)
        for one in objects:
            is_crowd = bool(one.get("iscrowd"))
            crowds["crowd" if is_crowd else "single"] += 1
            if is_crowd and not crowd:
                continue
            box = _box(one, categories, image)
            if isinstance(box, Box):
                entry.boxes.append(box)
            else:
                found.problems.append(Problem(entry.file, tr(
                    "annotation {number}: {problem}; that object is skipped", number=one.get("id", "?"), problem=box),
                    "object skipped"))
    lost = {key: objects for key, objects in annotations.items() if key not in names}
    if lost:
        found.problems.append(Problem(file, tr(
            "{count} annotations name images that the file does not list (image_id {example}); skipped",
            count=sum(map(len, lost.values())), example=next(iter(lost))), "object skipped"))


def _file_name(image: Mapping[str, Any]) -> str:
    return str(image.get("file_name") or image.get("path") or image.get("coco_url") or "")


def _categories(content: Mapping[str, Any]) -> dict[str, str]:
    """Return category number -> name, in the order of the numbers.

    Roboflow adds a category for the whole set: the supercategory of the others, which no object has. It is left out.
    """
    values = content.get("categories")
    listed = [one for one in (values if isinstance(values, list) else ()) if isinstance(one, dict)
              and "id" in one and str(one.get("name", "")).strip()]
    used = {str(one.get("category_id")) for one in content["annotations"] if isinstance(one, dict)}
    parents = {str(one.get("supercategory")) for one in listed if one.get("supercategory") != one["name"]}

    def order(one: Mapping[str, Any]) -> tuple[float, str]:
        number = parse_number(one["id"])
        return (float("inf") if number is None else number), str(one["id"])

    return {str(one["id"]): str(one["name"]).strip() for one in sorted(listed, key=order)
            if str(one["id"]) in used or str(one["name"]) not in parents}


def _split_of_file(path: Path, folder: Path) -> str:
    """Return the split that the name of a JSON file or its folders give, or ""."""
    words = re.findall(r"[a-z]+", path.stem.lower())
    return next((split for word in words if (split := split_of_name(word))), "") or split_of(path, folder)


def _box(one: Mapping[str, Any], categories: Mapping[str, str], image: Mapping[str, Any]) -> Box | str:
    name = categories.get(str(one.get("category_id")), "")
    if not name:
        return tr("the category {number} is not in the list of categories", number=one.get("category_id"))
    values = one.get("bbox")
    if isinstance(values, list) and len(values) == 4:
        x, y, width, height = (parse_number(value) for value in values)
        if x is not None and y is not None and width is not None and height is not None and width > 0 and height > 0:
            return Box(name, (x, y, x + width, y + height))
    corners, shape = _mask_box(one.get("segmentation"), image)
    if corners is not None:
        return Box(name, corners, shape)
    return tr("'{name}' has no box with an area and no mask (bbox {values}; expected x, y, width, height)", name=name,
              values=values)


def _mask_box(segmentation: object, image: Mapping[str, Any]) -> tuple[Corners | None, str]:
    """Return the box that encloses the polygons or the mask of an annotation."""
    if isinstance(segmentation, dict):
        size, counts = segmentation.get("size"), segmentation.get("counts")
        height = parse_number(size[0] if isinstance(size, list) and size else image.get("height"))
        if height is None or not isinstance(counts, (list, str)):
            return None, ""
        return mask_corners(counts, int(height)), "mask"
    if not isinstance(segmentation, list):
        return None, ""
    polygons = segmentation if segmentation and isinstance(segmentation[0], list) else [segmentation]
    points = []
    for polygon in polygons:
        numbers = [parse_number(value) for value in polygon] if isinstance(polygon, list) else [None]
        if len(numbers) % 2 or None in numbers:
            return None, ""
        known = [number for number in numbers if number is not None]
        points += list(zip(known[::2], known[1::2], strict=True))
    return enclosing(points), "polygon"


