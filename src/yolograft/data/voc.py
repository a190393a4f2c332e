"""Conversion of Pascal VOC data sets to Ultralytics' format: images, label files and a data YAML.

The folder layout of the source is free: every XML file below it is an annotation of the image with the same name (in the
same split, if the source has splits). Every image and box that is skipped or changed is reported. The new data set is
written next to the destination and replaces it when it is complete.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from typing import TypeVar

import cv2
import numpy as np
import yaml
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from yolograft.data import annotation, destination
from yolograft.data.source import open_source
from yolograft.errors import DataError, nearest

__all__ = ["Problem", "Report", "convert"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_TOLERANCE = 0.01  # pixels: rounding of decimal corners may put a box outside its image by this much
_Item = TypeVar("_Item")
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
          "testing": "test"}
_MASK_FOLDERS = ("SegmentationClass", "SegmentationObject")  # of Pascal VOC: masks, named as their images


@dataclass(frozen=True)
class Problem:
    """One defect of the source, and what the conversion did about it."""

    file: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """The result of a conversion.

    Attributes:
        yaml: path of the data YAML.
        images: split -> number of images.
        boxes: split -> class -> number of boxes.
        problems: everything that was skipped or changed, by file.
        notes: other information.
        identical: groups of images with the same pixels, by name.
    """

    yaml: Path
    images: dict[str, int]
    boxes: dict[str, dict[str, int]]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    identical: tuple[tuple[str, ...], ...] = ()

    @property
    def exit_code(self) -> int:
        """1 if something was skipped or changed, and 0 otherwise."""
        return int(bool(self.problems))

    def text(self, limit: int | None = 20) -> str:
        """Return the report as lines, with at most `limit` problems (None: all)."""
        lines = [f"Data YAML: {self.yaml}"]
        for split, count in self.images.items():
            classes = ", ".join(f"{name} {number:,}" for name, number in self.boxes[split].items())
            lines.append(f"{split + ':':<7}{count:>7,} images {sum(self.boxes[split].values()):>7,} boxes   ({classes})")
        lines += [f"note: {note}" for note in self.notes]
        shown = self.problems if limit is None else self.problems[:limit]
        if self.problems:
            lines.append(f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}:")
            lines += [f"  {problem.file}: {problem.what}" for problem in shown]
        if len(shown) < len(self.problems):
            lines.append(f"  ... and {len(self.problems) - len(shown)} more: {self.yaml.parent / 'report.txt'}")
        return "\n".join(lines)


@dataclass(kw_only=True)
class _Image:
    """An image with its boxes. `split` is the one of the source, or "", until `_assign_splits` sets it."""

    name: str
    path: Path
    split: str
    size: tuple[int, int]
    digest: str
    boxes: list[annotation.Box] = field(default_factory=list)

    @property
    def main_class(self) -> str:
        """The most frequent class of its boxes (on a tie, the first by name); "" without boxes."""
        counts = Counter(box.name for box in self.boxes)
        return min(counts, key=lambda name: (-counts[name], name)) if counts else ""


IsValidation = Callable[[str, int], bool]  # (name of an image, rank in its class) -> whether it is for validation


def convert(source: str | Path, dest: str | Path, *, names: Sequence[str] | None = None, split: str = "stratified",
            overwrite: bool = False, is_validation: IsValidation | None = None, hint: str = "",
            known: Iterable[Problem] = ()) -> Report:
    """Convert a data set with Pascal VOC annotations.

    VOC defines box corners as pixel numbers from 1, both ends included: a box covers `xmin - 1` to `xmax`. If a corner in
    the set is 0, the set counts from 0: its corners are box edges, and a note says so. Objects marked `difficult` are
    included. A box that extends beyond its image is clipped. A box outside its image, a box without area and a duplicate
    box are skipped. All of these are reported.

    Args:
        source: a folder or a zip file.
        dest: the folder to create.
        names: the classes in order; by default all classes found, in alphabetical order.
        split: `stratified` puts every fifth image of each class into validation, with identical images in one split;
            `source` uses the splits of the source: its folders (train, val or validation, test) or Pascal's lists
            (`ImageSets/Main/train.txt`, ...).
        overwrite: replace the data set at `dest` when the new one is complete.
        is_validation: another rule for `stratified`.
        hint: where to download the set, for the message if `source` does not exist.
        known: known problems of this set. A problem of the same file with the same beginning becomes a note.

    Raises:
        DataError: the source has no usable image, or an argument is invalid. `dest` is unchanged.
    """
    dest = Path(dest).resolve()
    if split not in ("stratified", "source"):
        raise DataError(f"split={split} is unknown.{nearest(split, ('stratified', 'source'))} "
                        "Expected stratified or source.")
    if names is not None and (isinstance(names, str) or not all(names) or len(set(names)) < len(names)):
        raise DataError(f"names={names!r}: expected the class names, each once, as in names=cat,dog")
    destination.check(dest, overwrite)
    with open_source(source, hint) as folder:
        if dest == folder.resolve() or dest in folder.resolve().parents:
            raise DataError(f"'{dest}' contains the source, which would be replaced. Name another folder.")
        problems: list[Problem] = []
        images = _read_images(folder, dest, problems)
        if not images:
            found = "; ".join(f"{problem.file}: {problem.what}" for problem in problems[:3]) or "it has no XML file"
            raise DataError(f"'{source}' has no image with a VOC annotation ({found}).{f' {hint}' if hint else ''}")
        classes, notes = _convert_boxes(images, names, problems)
        identical = _find_identical(images)
        notes += _assign_splits(images, identical, split, is_validation or (lambda name, rank: rank % 5 == 4), problems)
        known = tuple(known)
        as_notes = [problem for problem in problems
                    if any(problem.file == one.file and problem.what.startswith(one.what) for one in known)]
        notes += [f"{problem.file}: {problem.what}" for problem in as_notes]
        problems = [problem for problem in problems if problem not in as_notes]
        with destination.replace_folder(dest, overwrite) as draft:
            report = _write(images, classes, draft, dest, problems, notes, identical)
    return report


def _track(items: Sequence[_Item], description: str) -> Iterable[_Item]:
    return track(items, description, transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty())


def _natural_key(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _folder_split(path: Path, folder: Path) -> str:
    """Return the split that a folder name of the path gives, or ""."""
    for part in reversed(path.relative_to(folder).parts[:-1]):
        if part.lower() in _SPLITS:
            return _SPLITS[part.lower()]
    return ""


def _files(folder: Path, dest: Path) -> Iterable[Path]:
    """Yield the files of the set, without hidden files, masks and the results of an earlier conversion."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        skipped = any(part.startswith(".") or part == "__MACOSX" or part in _MASK_FOLDERS for part in parts)
        if not skipped and path.is_file() and dest not in path.resolve().parents:
            yield path


def _read_split_lists(files: Iterable[Path]) -> dict[str, str]:
    """Read Pascal's lists of its splits: name of an image -> split."""
    splits: dict[str, str] = {}
    for path in files:
        if path.parts[-3:-1] == ("ImageSets", "Main") and path.suffix == ".txt" and path.stem in _SPLITS:
            text = path.read_text(encoding="utf-8", errors="replace")
            splits.update((line.split()[0], _SPLITS[path.stem]) for line in text.splitlines() if line.strip())
    return splits


def _read_images(folder: Path, dest: Path, problems: list[Problem]) -> list[_Image]:
    """Match annotations with images, and read both."""
    files = list(_files(folder, dest))
    listed_splits = _read_split_lists(files)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            by_stem[path.stem].append(path)
    matched: set[Path] = set()
    images: list[_Image] = []
    used_stems: dict[str, Path] = {}
    xml = [path for path in files if path.suffix.lower() == ".xml"]
    for path in _track(xml, "reading"):
        name = str(path.relative_to(folder))
        try:
            read = annotation.read(path)
        except DataError as error:
            problems.append(Problem(name, f"{error}; its image is skipped"))
            matched.update(_candidates(path, "", by_stem, folder))
            continue
        candidates = _candidates(path, read.image, by_stem, folder)
        matched.update(candidates)
        if len(candidates) != 1:
            what = "has no image" if not candidates else f"matches {len(candidates)} images, so the right one is unknown"
            problems.append(Problem(name, f"{what}; skipped"))
            continue
        file = candidates[0]
        if file.stem in used_stems:
            other = used_stems[file.stem].relative_to(folder)
            problems.append(Problem(name, f"another image is also named '{file.stem}' ({other}); this one is skipped"))
            continue
        pixels = _read_pixels(file)
        if isinstance(pixels, str):
            problems.append(Problem(str(file.relative_to(folder)), f"{pixels}; skipped"))
            continue
        used_stems[file.stem] = file
        problems += [Problem(name, f"{what}; that object is skipped") for what in read.problems]
        height, width = pixels.shape[:2]
        if read.size and read.size != (width, height):
            problems.append(Problem(name, f"says {read.size[0]} x {read.size[1]} pixels, but the image has {width} x "
                                    f"{height}; the size of the image is used"))
        split = _folder_split(file, folder) or _folder_split(path, folder) or listed_splits.get(file.stem, "")
        images.append(_Image(name=file.stem, path=file, split=split, size=(width, height), boxes=list(read.boxes),
                             digest=hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()))
    unmatched = [path for paths in by_stem.values() for path in paths if path not in matched]
    problems += [Problem(str(path.relative_to(folder)), "has no annotation; skipped") for path in sorted(unmatched)]
    return sorted(images, key=lambda image: _natural_key(image.name))


def _candidates(path: Path, filename: str, by_stem: dict[str, list[Path]], folder: Path) -> list[Path]:
    """Return the images that an annotation may belong to: those with its own name, or else with the name in <filename>.

    Of several, only those in the same split, with exactly the name in <filename>, and in the same folder remain, as far as
    there are such images.
    """
    split, name = _folder_split(path, folder), PureWindowsPath(filename).name  # understands both kinds of slash
    found: list[Path] = []
    for stem in (path.stem, PureWindowsPath(name).stem):
        found = found or [other for other in by_stem.get(stem, ())
                          if not split or _folder_split(other, folder) in ("", split)]
    for is_better in (lambda other: _folder_split(other, folder) == split, lambda other: other.name == name,
                      lambda other: other.parent == path.parent):
        found = [other for other in found if is_better(other)] or found
    return found


def _read_pixels(path: Path) -> NDArray[np.uint8] | str:
    """Return the pixels of an image, or the reason why they cannot be read."""
    try:
        raw = path.read_bytes()
        if _is_truncated(raw):
            return "is a truncated image"
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR) if raw else None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except cv2.error:  # more pixels than OpenCV allows
        pixels = None
    return "cannot be read as an image" if pixels is None else np.asarray(pixels, np.uint8)


def _is_truncated(raw: bytes) -> bool:
    """Whether the end of a JPEG or PNG is absent. Decoders may fill the absent pixels with grey and report no error."""
    if raw.startswith(b"\xff\xd8"):  # in a whole file the last end marker comes after the last start of scan
        return raw.rfind(b"\xff\xd9") < raw.rfind(b"\xff\xda")
    return raw.startswith(b"\x89PNG") and b"IEND" not in raw


def _convert_boxes(images: list[_Image], names: Sequence[str] | None,
                   problems: list[Problem]) -> tuple[list[str], list[str]]:
    """Convert corners to edges in pixels and remove unusable boxes; returns the classes in order, and notes."""
    classes = list(names) if names else sorted({box.name for image in images for box in image.boxes})
    from_zero = next((image.name for image in images for box in image.boxes if _counts_from_zero(box)), None)
    for image in images:
        valid: list[annotation.Box] = []
        for box in image.boxes:
            converted = _to_edges(box, image.size, classes, float(from_zero is None))
            if isinstance(converted, str):
                problems.append(Problem(image.name, f"{converted}; that box is skipped"))
                continue
            edges, clipped = converted
            edged = annotation.Box(box.name, edges)
            if edged in valid:
                problems.append(Problem(image.name, f"has the box {_text(box)} twice; the second is skipped"))
                continue
            if clipped:
                problems.append(Problem(image.name, f"the box {_text(box)} extends beyond the image; it is clipped"))
            valid.append(edged)
        image.boxes = valid
    if not any(image.boxes for image in images):
        raise DataError(f"No usable box was found: {'; '.join(f'{p.file}: {p.what}' for p in problems[:3])}.")
    return classes, [f"corners count from 0 in this set, as in {from_zero}"] if from_zero else []


def _counts_from_zero(box: annotation.Box) -> bool:
    """Whether a box shows that its set counts pixels from 0. An invalid box, such as (0, 0, 0, 0), does not show it."""
    x0, y0, x1, y1 = box.corners
    return 0 <= min(x0, y0) < 0.5 and x1 > x0 and y1 > y0


def _text(box: annotation.Box) -> str:
    return f"{box.name} ({', '.join(f'{corner:g}' for corner in box.corners)})"


def _to_edges(box: annotation.Box, size: tuple[int, int], classes: list[str],
              first_pixel: float) -> tuple[tuple[float, float, float, float], bool] | str:
    """Return the edges of a box inside its image and whether they were clipped, or the reason why the box is unusable."""
    if box.name not in classes:
        return f"the class '{box.name}' is unknown.{nearest(box.name, classes)} Expected one of {', '.join(classes)}"
    x0, y0, x1, y1 = box.corners[0] - first_pixel, box.corners[1] - first_pixel, box.corners[2], box.corners[3]
    if x1 <= x0 or y1 <= y0:
        return f"the box {_text(box)} has no area"
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1])))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return f"the box {_text(box)} lies outside the image of {size[0]} x {size[1]}"
    return inside, max(abs(a - b) for a, b in zip(inside, (x0, y0, x1, y1), strict=True)) > _TOLERANCE


def _find_identical(images: list[_Image]) -> list[list[_Image]]:
    groups: dict[str, list[_Image]] = defaultdict(list)
    for image in images:
        groups[image.digest].append(image)
    return [group for group in groups.values() if len(group) > 1]


def _assign_splits(images: list[_Image], identical: list[list[_Image]], split: str, is_validation: IsValidation,
                   problems: list[Problem]) -> list[str]:
    """Set the split of every image; returns notes."""
    if split == "source":
        without = [image for image in images if not image.split]
        if without or not {"train", "val"} <= {image.split for image in images}:
            raise DataError("split=source: the source does not give a train or val split for every image, in its folders "
                            f"or in ImageSets/Main (for example '{(without or images)[0].name}'). Without split= the "
                            "split is stratified.")
    else:
        by_class: dict[str, list[_Image]] = defaultdict(list)
        for image in images:
            by_class[image.main_class].append(image)
        for group in by_class.values():
            for rank, image in enumerate(group):
                image.split = "val" if is_validation(image.name, rank) else "train"
    in_group = {id(image) for group in identical for image in group}
    for group in identical:
        swaps = _unite(group, images, in_group) if split == "stratified" else ""
        for other in group[1:]:
            where = (f"both are in {other.split}{swaps}" if other.split == group[0].split
                     else f"they are in different splits of the source ({group[0].split} and {other.split})")
            problems.append(Problem(other.name, f"is the same image as {group[0].name}; {where}"))
    return [] if split == "source" else _fill_empty_split(images, in_group)


def _fill_empty_split(images: list[_Image], in_group: set[int]) -> list[str]:
    """Move one image of the most frequent class to a split that is empty in a small set: Ultralytics needs both."""
    empty = {"train", "val"} - {image.split for image in images}
    if not empty:
        return []
    counts = Counter(image.main_class for image in images)
    free = [image for image in images if id(image) not in in_group]
    if len(images) < 2 or not free:
        raise DataError(f"{len(images)} usable images cannot be split into training and validation: "
                        "at least two different images are needed.")
    chosen, split = max(reversed(free), key=lambda image: counts[image.main_class]), empty.pop()
    chosen.split = split
    return [f"{split} would be empty in this small set, so {chosen.name} is in {split}"]


def _unite(group: list[_Image], images: list[_Image], in_group: set[int]) -> str:
    """Move identical images to the split of the first. For each, another image of its class moves the other way."""
    swaps = []
    for image in group[1:]:
        if image.split == group[0].split:
            continue
        old_split, image.split = image.split, group[0].split
        start = images.index(image)
        following = images[start + 1:] + images[:start]
        substitute = next((other for other in following if other.main_class == image.main_class
                           and other.split == group[0].split and id(other) not in in_group), None)
        if substitute is not None:
            substitute.split = old_split
            swaps.append(f"{substitute.name} is in {old_split} for {image.name}")
    return f" ({'; '.join(swaps)})" if swaps else ""


def _write(images: list[_Image], classes: list[str], draft: Path, dest: Path, problems: list[Problem],
           notes: list[str], identical: list[list[_Image]]) -> Report:
    splits = [split for split in ("train", "val", "test") if any(image.split == split for image in images)]
    for split in splits:
        (draft / "images" / split).mkdir(parents=True)
        (draft / "labels" / split).mkdir(parents=True)
    for image in _track(images, "writing"):
        shutil.copyfile(image.path, draft / "images" / image.split / image.path.name)
        width, height = image.size
        lines = [f"{classes.index(box.name)} {(x0 + x1) / 2 / width:.6f} {(y0 + y1) / 2 / height:.6f} "
                 f"{(x1 - x0) / width:.6f} {(y1 - y0) / height:.6f}\n"
                 for box in image.boxes for x0, y0, x1, y1 in [box.corners]]
        (draft / "labels" / image.split / f"{image.name}.txt").write_text("".join(lines), encoding="utf-8")
    counts = {split: {name: sum(box.name == name for image in images if image.split == split for box in image.boxes)
                      for name in classes} for split in splits}
    background = sum(not image.boxes for image in images)
    if background:
        notes = [*notes, f"{background} images have no object: they are background images"]
    report = Report(yaml=dest / f"{dest.name}.yaml", boxes=counts,
                    images={split: sum(image.split == split for image in images) for split in splits},
                    problems=tuple(problems), notes=tuple(notes),
                    identical=tuple(tuple(image.name for image in group) for group in identical))
    (draft / report.yaml.name).write_text(_yaml_text(dest, classes, splits), encoding="utf-8")
    (draft / "report.txt").write_text(report.text(limit=None) + "\n", encoding="utf-8")
    return report


def _yaml_text(dest: Path, classes: list[str], splits: list[str]) -> str:
    content = {"path": str(dest), **{split: f"images/{split}" for split in splits}, "names": dict(enumerate(classes))}
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
