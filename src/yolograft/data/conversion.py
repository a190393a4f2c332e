"""Conversion of annotated images to Ultralytics' format: images, label files and a data YAML, for every source format.

A reader (`voc`, `coco`, `labelme`) lists the annotated images of a source. Everything after that is the same for all
formats: the frame of the boxes, the classes, unusable boxes, identical images, splits and the report. Every image and box
that is skipped or changed is reported. The new data set is written next to the destination and replaces it when it is
complete.
"""

from __future__ import annotations

import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import yaml
from rich.console import Console
from rich.progress import track

from yolograft.data import classes as class_names
from yolograft.data import destination
from yolograft.data.box import Box, Corners, shape_name
from yolograft.data.pictures import Pixels, read_pixels, upright
from yolograft.data.report import Problem, Report, split_known
from yolograft.data.source import open_source
from yolograft.data.splits import IsValidation, Placed, assign_splits, every_fifth, find_identical, natural_key
from yolograft.errors import DataError, nearest
from yolograft.language import tr

__all__ = ["Annotated", "Found", "Options", "convert_source", "progress", "thin_boxes"]

_TOLERANCE = 0.01  # pixels: rounding of decimal corners may put a box outside its image by this much
_Item = TypeVar("_Item")


@dataclass(kw_only=True)
class Annotated:
    """One image with its annotation, as a reader found it.

    Attributes:
        file: the annotation, for messages.
        image: the image file.
        content: the bytes of an image that is inside the annotation file, where `image` is only its name.
        split: the split that the source gives, or "".
        size: width and height that the annotation states, or None.
        boxes: the objects that could be read.
        objects: the number of all objects of the annotation. With none, the image is a background image.
    """

    file: str
    image: Path
    content: bytes | None = None
    split: str = ""
    size: tuple[int, int] | None = None
    boxes: list[Box] = field(default_factory=list)
    objects: int = 0


@dataclass(kw_only=True)
class Found:
    """What a reader found in a source.

    Attributes:
        images: the annotated images.
        problems: what it skipped or changed.
        notes: other information.
        classes: the classes that the source declares, in order; empty if it declares none.
        counts_pixels: whether the corners of boxes are pixel numbers, as Pascal VOC defines them, and not edges.
    """

    images: list[Annotated] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    counts_pixels: bool = False


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options that all conversions share.

    Attributes:
        names: the classes in order; by default those of the source, in its order or alphabetically.
        merge: class of the source -> class of the new set.
        split: `stratified` puts every fifth image of each class into validation, with identical images in one split.
            `source` uses the splits of the source. `auto` is `source` if the source has both splits for all images, and
            `stratified` otherwise.
        overwrite: replace the data set at the destination when the new one is complete.
    """

    names: Sequence[str] | None = None
    merge: Mapping[str, str] = field(default_factory=dict)
    split: str = "stratified"
    overwrite: bool = False


Reader = Callable[[Path, Path], Found]  # (folder of the source, destination) -> what it contains


def convert_source(source: str | Path, dest: str | Path, read: Reader, options: Options, *,
                   describe: Callable[[Path], str], is_validation: IsValidation = every_fifth, hint: str = "",
                   known: Iterable[tuple[str, str, str]] = ()) -> Report:
    """Convert a data set.

    Args:
        source: a folder or a zip file.
        dest: the folder to create.
        read: the reader of the source's format.
        options: see `Options`.
        describe: gives a sentence on what a folder contains, for the message if the reader finds nothing.
        is_validation: another rule for `stratified`.
        hint: where to download the set, for the message if `source` does not exist.
        known: known problems of this set as (file, kind, detail), which become notes.

    Raises:
        DataError: the source has no usable image, or an option is invalid. `dest` is unchanged.
    """
    dest = Path(dest).resolve()
    _check_options(options)
    destination.check(dest, options.overwrite)
    with open_source(source, hint) as folder:
        if dest == folder.resolve() or dest in folder.resolve().parents:
            raise DataError(tr("'{dest}' contains the source, which would be replaced. Name another folder.", dest=dest))
        found = read(folder, dest)
        images = _read_images(found)
        if not images:
            first = "; ".join(f"{problem.file}: {problem.what}" for problem in [
                problem for problem in found.problems if problem.kind != "no annotation"][:3])
            raise DataError(" ".join(part for part in (
                tr("'{source}' has no usable image.", source=source), f"{first}." if first else "", describe(folder), hint)
                if part))
        problems = found.problems
        classes = _name_classes(images, found, options)
        _set_frames(images, problems)
        _convert_boxes(images, classes, found)
        images = [image for image in images if image.boxes or not image.source.objects]
        identical = find_identical(images)
        notes = found.notes + assign_splits(images, identical, options.split, is_validation, problems)
        problems, known_notes = split_known(problems, known)
        with destination.replace_folder(dest, options.overwrite) as draft:
            return _write(images, classes, draft, dest, problems, notes + known_notes, identical)


def progress(items: Sequence[_Item], description: str) -> Iterable[_Item]:
    """Iterate with a progress bar, if a terminal shows it."""
    return track(items, description, transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty())


def _check_options(options: Options) -> None:
    splits = ("stratified", "source", "auto")
    if options.split not in splits:
        raise DataError(tr("split={split} is unknown.{nearest} Expected stratified, source or auto.", split=options.split,
                           nearest=nearest(options.split, splits)))
    names = options.names
    if names is not None and (isinstance(names, str) or not all(names) or len(set(names)) < len(names)):
        raise DataError(tr("names={names}: expected the class names, each once, as in names=cat,dog", names=repr(names)))


@dataclass(kw_only=True)
class _Image(Placed):
    """An image that can be used. `source` is its annotation; `boxes` become edges in pixels of the upright image."""

    source: Annotated
    pixels: Pixels
    is_raw: bool = False  # whether its boxes are in the frame of the stored image, before the EXIF orientation
    scale: tuple[float, float] = (1.0, 1.0)  # of its boxes


def _read_images(found: Found) -> list[_Image]:
    """Read the image of every annotation. Images with one name get different names."""
    images: list[_Image] = []
    names: dict[str, Path] = {}
    annotated: dict[Path, str] = {}
    for entry in progress(found.images, tr("reading")):
        if entry.image in annotated:
            found.problems.append(Problem(entry.file, tr(
                "annotates the same image as {other}; this file is skipped", other=annotated[entry.image])))
            continue
        annotated[entry.image] = entry.file
        try:
            pixels = read_pixels(entry.content if entry.content is not None else entry.image.read_bytes())
        except OSError as error:
            pixels = tr("cannot be read: {reason}", reason=error.strerror)
        if isinstance(pixels, str):
            found.problems.append(Problem(str(entry.image), tr("{problem}; skipped", problem=pixels), "picture skipped"))
            continue
        name = entry.image.stem
        if name in names:
            name = _other_name(entry.image, names)
            found.problems.append(Problem(entry.file, tr(
                "another image is also named '{name}' ({other}); this one becomes '{new}'", name=entry.image.stem,
                other=names[entry.image.stem], new=name)))
        names[name] = entry.image
        images.append(_Image(name=name, split=entry.split, boxes=list(entry.boxes), digest=pixels.digest, source=entry,
                             pixels=pixels))
    return sorted(images, key=lambda image: natural_key(image.name))


def _other_name(image: Path, names: Mapping[str, Path]) -> str:
    """Return a free name: the names of its folders in front of its own, or else a number behind it."""
    name = image.stem
    for part in reversed(image.parent.parts):
        name = f"{part}_{name}"
        if name not in names:
            return name
    return next(candidate for number in range(2, len(names) + 3) if (candidate := f"{image.stem}_{number}") not in names)


def _name_classes(images: list[_Image], found: Found, options: Options) -> list[str]:
    """Merge classes as requested, and return the classes of the new set in order."""
    present = sorted({box.name for image in images for box in image.boxes})
    merge = class_names.check_merge(options.merge, {*present, *found.classes})
    for image in images:
        image.boxes = [replace(box, name=merge.get(box.name, box.name)) for box in image.boxes]
    declared = list(dict.fromkeys(merge.get(name, name) for name in (found.classes or present)))
    merged = sorted({box.name for image in images for box in image.boxes} - set(declared))
    classes = list(options.names) if options.names else declared + merged
    counts = Counter(box.name for image in images for box in image.boxes)
    found.problems += class_names.find_variants(dict(counts), classes)
    return classes


def _set_frames(images: list[_Image], problems: list[Problem]) -> None:
    """Decide for each image in which frame its boxes are, from the boxes and from the size that its annotation states.

    A box that is inside the stored image and not inside the turned one shows the frame. The frame of an image that EXIF
    turns by a half turn, or of a square one, cannot be told from its size. Such an image
    follows the other turned images of the set, and without one, the upright frame is assumed.
    """
    turned = [image for image in images if image.pixels.orientation != 1 and image.boxes]
    decided: Counter[bool] = Counter()
    undecided: list[_Image] = []
    for image in turned:
        stated, pixels = image.source.size, image.pixels
        is_shown = pixels.size != pixels.raw_size and not _fits(image, pixels.size) and _fits(image, pixels.raw_size)
        if not is_shown and (pixels.size == pixels.raw_size or stated not in (pixels.size, pixels.raw_size)):
            undecided.append(image)
            continue
        image.is_raw = is_shown or stated == pixels.raw_size
        decided[image.is_raw] += 1
        if image.is_raw:
            problems.append(Problem(image.source.file, tr(
                "EXIF turns the image, and its boxes are in the frame before that ({width} x {height}); they are turned",
                width=pixels.raw_size[0], height=pixels.raw_size[1]), "object changed"))
    for image in undecided:
        image.is_raw = decided[True] > decided[False]
        assumed = tr("its boxes are turned as well, as in most turned images of this set") if image.is_raw else (
            tr("its boxes are left as they are, as in most turned images of this set") if decided else
            tr("its boxes are assumed to be drawn on the turned image"))
        problems.append(Problem(image.source.file, tr(
            "EXIF turns the image, and its size does not show whether its boxes are in the turned frame; {assumed}",
            assumed=assumed), "object changed" if image.is_raw else ""))
    _set_scales([image for image in images if image.source.size not in (None, image.pixels.size) and not image.is_raw],
                problems)


def _fits(image: _Image, size: tuple[int, int]) -> bool:
    """Whether all boxes are inside an image of this size."""
    return all(min(box.corners) >= -1 and max(box.corners[::2]) <= size[0] + 1 and max(box.corners[1::2]) <= size[1] + 1
               for box in image.boxes)


def _set_scales(images: list[_Image], problems: list[Problem]) -> None:
    """Scale the boxes of resized images. `images` have another size than their annotation states.

    Such a size can be wrong, or the image was resized later and the boxes were not. A box outside the image but inside
    the stated size shows that the images of this set were resized.
    """
    is_evident = any(map(_was_resized, images))
    for image in images:
        (width, height), stated = image.pixels.size, image.source.size
        if stated is None:
            continue
        if is_evident and _has_same_shape(image):
            image.scale = (width / stated[0], height / stated[1])
            problems.append(Problem(image.source.file, tr(
                "says {stated_width} x {stated_height} pixels, but the image was resized to {width} x {height}; its boxes "
                "are scaled", stated_width=stated[0], stated_height=stated[1], width=width, height=height),
                "object changed"))
        else:
            problems.append(Problem(image.source.file, tr(
                "says {stated_width} x {stated_height} pixels, but the image has {width} x {height}; the size of the image "
                "is used", stated_width=stated[0], stated_height=stated[1], width=width, height=height)))


def _has_same_shape(image: _Image) -> bool:
    """Whether the stated size and the size of the image have the same ratio, up to one pixel."""
    (width, height), stated = image.pixels.size, image.source.size
    return stated is not None and abs(stated[0] * height - stated[1] * width) <= max(*stated, width, height)


def _was_resized(image: _Image) -> bool:
    """Whether the boxes of an image show that it was resized."""
    size, stated = image.pixels.size, image.source.size
    if stated is None or not _has_same_shape(image) or not image.boxes:
        return False
    right, bottom = (max(box.corners[axis] for box in image.boxes) for axis in (2, 3))
    return (right > size[0] + 1 or bottom > size[1] + 1) and right <= stated[0] and bottom <= stated[1]


def _convert_boxes(images: list[_Image], classes: list[str], found: Found) -> None:
    """Convert corners to edges in pixels of the upright image, and remove unusable boxes."""
    problems, notes = found.problems, found.notes
    if _are_fractions(images):
        _scale_fractions(images)
        found.counts_pixels = False
        notes.append(tr("all corners are fractions of the image's width and height, not pixels; they are scaled"))
    from_zero = next((image.name for image in images for box in image.boxes if _counts_from_zero(box)), None)
    first_pixel = float(found.counts_pixels and from_zero is None)
    if found.counts_pixels and from_zero:
        notes.append(tr("corners count from 0 in this set, as in {file}", file=from_zero))
    shapes: Counter[str] = Counter()
    thin: list[str] = []
    commas = 0
    for image in images:
        valid: list[Box] = []
        for box in image.boxes:
            if (box.corners[2] < box.corners[0] or box.corners[3] < box.corners[1]):
                box = _reorder(box)
                problems.append(Problem(image.name, tr("the box {box} has swapped corners; they are reordered", box=box),
                                        "object changed", "swapped corners", str(box)))
            converted = _to_edges(box, image, classes, first_pixel)
            if isinstance(converted, Problem):
                problems.append(converted)
                continue
            edges, is_clipped = converted
            edged = replace(box, corners=edges)
            if any(edged.name == other.name and edged.corners == other.corners for other in valid):
                problems.append(Problem(image.name, tr("has the box {box} twice; the second is skipped", box=box),
                                        "object skipped", "duplicate box", str(box)))
                continue
            if is_clipped:
                problems.append(Problem(image.name, tr("the box {box} extends beyond the image; it is clipped", box=box),
                                        "object changed"))
            valid.append(edged)
            commas += box.is_comma
            if box.shape != "box":
                shapes[box.shape] += 1
            if min(edges[2] - edges[0], edges[3] - edges[1]) <= 1 + _TOLERANCE:
                thin.append(f"{image.name}: {box}")
        if not valid and image.source.objects:
            problems.append(Problem(image.source.file, tr(
                "none of its {count} objects gives a box; its image is skipped, since without a box it would become a "
                "background image", count=image.source.objects), "picture skipped"))
        image.boxes = valid
    if not any(image.boxes for image in images):
        first = "; ".join(f"{problem.file}: {problem.what}" for problem in problems[:3])
        raise DataError(tr("No usable box was found: {problems}.", problems=first))
    notes += [tr("objects of the shape '{shape}', for which the enclosing box is used: {count}", count=count,
                 shape=shape_name(shape)) for shape, count in sorted(shapes.items())]
    if commas:
        notes.append(tr("boxes with decimal commas (12,5 is read as 12.5): {count}", count=commas))
    if thin:
        notes.append(tr("boxes of at most one pixel in width or height: {count}, such as {example}; they are kept. {reason}",
                        count=len(thin), example=thin[0], reason=thin_boxes()))


def _are_fractions(images: list[_Image]) -> bool:
    """Whether all corners of a set are between 0 and 1, and not all of them are whole."""
    corners = [corner for image in images for box in image.boxes for corner in box.corners]
    return bool(corners) and min(corners) >= 0 and max(corners) <= 1 and any(corner % 1 for corner in corners)


def _scale_fractions(images: list[_Image]) -> None:
    for image in images:
        width, height = image.pixels.raw_size if image.is_raw else image.pixels.size
        image.scale = (1.0, 1.0)
        image.boxes = [replace(box, corners=(box.corners[0] * width, box.corners[1] * height, box.corners[2] * width,
                                             box.corners[3] * height)) for box in image.boxes]


def thin_boxes() -> str:
    """Return what Ultralytics does with thin boxes."""
    return tr("Ultralytics drops boxes of at most two pixels when it augments a training image")


def _reorder(box: Box) -> Box:
    x0, y0, x1, y1 = box.corners
    return replace(box, corners=(min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))


def _counts_from_zero(box: Box) -> bool:
    """Whether a box shows that its set counts pixels from 0. An invalid box, such as (0, 0, 0, 0), does not show it."""
    x0, y0, x1, y1 = _reorder(box).corners
    return box.shape == "box" and 0 <= min(x0, y0) < 0.5 and x1 > x0 and y1 > y0


def _to_edges(box: Box, image: _Image, classes: list[str], first_pixel: float) -> tuple[Corners, bool] | Problem:
    """Return the edges of a box inside its image and whether they were clipped, or the problem of an unusable box."""
    if box.name not in classes:
        return Problem(image.name, tr(
            "the class '{name}' is unknown.{nearest} Expected one of {classes}; that box is skipped", name=box.name,
            nearest=class_names.suggest(box.name, classes), classes=", ".join(classes)), "object skipped")
    first_pixel = first_pixel if box.shape == "box" else 0.0  # points of other shapes are not pixel numbers
    edges = (box.corners[0] - first_pixel, box.corners[1] - first_pixel, box.corners[2], box.corners[3])
    if edges[2] <= edges[0] or edges[3] <= edges[1]:
        return Problem(image.name, tr("the box {box} has no area; that box is skipped", box=box), "object skipped")
    if image.is_raw:
        edges = upright(edges, image.pixels.raw_size, image.pixels.orientation)
    (across, down), (width, height) = image.scale, image.pixels.size
    x0, y0, x1, y1 = edges[0] * across, edges[1] * down, edges[2] * across, edges[3] * down
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height)))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return Problem(image.name, tr("the box {box} lies outside the image of {width} x {height}; that box is skipped",
                                      box=box, width=width, height=height), "object skipped")
    return inside, max(abs(a - b) for a, b in zip(inside, (x0, y0, x1, y1), strict=True)) > _TOLERANCE


def _write(images: list[_Image], classes: list[str], draft: Path, dest: Path, problems: list[Problem],
           notes: list[str], identical: list[list[_Image]]) -> Report:
    splits = [split for split in ("train", "val", "test") if any(image.split == split for image in images)]
    for split in splits:
        (draft / "images" / split).mkdir(parents=True)
        (draft / "labels" / split).mkdir(parents=True)
    for image in progress(images, tr("writing")):
        target = draft / "images" / image.split / f"{image.name}{image.source.image.suffix}"
        if image.source.content is None:
            shutil.copyfile(image.source.image, target)
        else:
            target.write_bytes(image.source.content)
        width, height = image.pixels.size
        lines = [f"{classes.index(box.name)} {(x0 + x1) / 2 / width:.6f} {(y0 + y1) / 2 / height:.6f} "
                 f"{(x1 - x0) / width:.6f} {(y1 - y0) / height:.6f}\n"
                 for box in image.boxes for x0, y0, x1, y1 in [box.corners]]
        (draft / "labels" / image.split / f"{image.name}.txt").write_text("".join(lines), encoding="utf-8")
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for image in images:
        counts[image.split].update(box.name for box in image.boxes)
    background = sum(not image.boxes for image in images)
    if background:
        notes = [*notes, tr("background images, without an object: {count}", count=background)]
    report = Report(yaml=dest / f"{dest.name}.yaml",
                    boxes={split: {name: counts[split][name] for name in classes} for split in splits},
                    images={split: sum(image.split == split for image in images) for split in splits},
                    problems=tuple(problems), notes=tuple(notes), full=str(dest / "report.txt"),
                    identical=tuple(tuple(image.name for image in group) for group in identical))
    content = {"path": str(dest), **{split: f"images/{split}" for split in splits}, "names": dict(enumerate(classes))}
    (draft / report.yaml.name).write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    (draft / "report.txt").write_text(report.text(limit=None) + "\n", encoding="utf-8")
    return report
