"""Image files of a source: finding them, matching them with annotations, and reading their pixels and orientation."""

from __future__ import annotations

import hashlib
import io
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path, PureWindowsPath
from urllib.parse import unquote

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from yolograft.data.box import Corners
from yolograft.data.near_duplicates import reduce
from yolograft.language import tr

__all__ = ["IMAGE_SUFFIXES", "Pictures", "Pixels", "list_files", "read_pixels", "split_of", "split_of_name", "upright"]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
          "testing": "test"}
_MASK_FOLDERS = ("SegmentationClass", "SegmentationObject")  # of Pascal VOC: masks, named as their images
_EXIF_ORIENTATION = 274


def list_files(folder: Path, dest: Path) -> list[Path]:
    """Return the files of the set, without hidden files, masks and the results of an earlier conversion."""
    found = []
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        skipped = any(part.startswith(".") or part == "__MACOSX" or part in _MASK_FOLDERS for part in parts)
        if not skipped and path.is_file() and dest not in path.resolve().parents:
            found.append(path)
    return found


def split_of_name(name: str) -> str:
    """Return the split that a folder's name gives, or ""."""
    return _SPLITS.get(name.lower(), "")


def split_of(path: Path, folder: Path) -> str:
    """Return the split that a folder name of the path gives, or ""."""
    for part in reversed(path.relative_to(folder).parts[:-1]):
        if split := split_of_name(part):
            return split
    return ""


@dataclass
class Pictures:
    """The image files of a source. `matched` are those that an annotation belongs to, even if it is skipped."""

    folder: Path
    by_stem: dict[str, list[Path]] = field(default_factory=lambda: defaultdict(list))
    matched: set[Path] = field(default_factory=set)

    @classmethod
    def of(cls, files: Iterable[Path], folder: Path) -> Pictures:
        """Collect the image files among `files`."""
        pictures = cls(folder)
        for path in files:
            if path.suffix.lower() in IMAGE_SUFFIXES:
                pictures.by_stem[path.stem].append(path)
        return pictures

    def unmatched(self) -> list[Path]:
        """Return the images without an annotation, sorted."""
        return sorted(path for paths in self.by_stem.values() for path in paths if path not in self.matched)

    def match(self, annotation: Path, filename: str) -> list[Path]:
        """Return the images that an annotation file may belong to, and mark them as matched.

        They are those with the annotation's own name, or else with the name that the annotation contains. Of several,
        only those in the same split, with exactly the name in the annotation, and in the same folder remain, as far as
        there are such images.
        """
        split, name = split_of(annotation, self.folder), PureWindowsPath(filename).name  # understands both slashes
        found: list[Path] = []
        for stem in (annotation.stem, PureWindowsPath(name).stem):
            found = found or [other for other in self.by_stem.get(stem, ())
                              if not split or split_of(other, self.folder) in ("", split)]
        for is_better in (lambda other: split_of(other, self.folder) == split, lambda other: other.name == name,
                          lambda other: other.parent == annotation.parent):
            found = [other for other in found if is_better(other)] or found
        self.matched.update(found)
        return found

    def match_path(self, filename: str, split: str, beside: Path) -> list[Path]:
        """Return the images that a path in an annotation file may name, and mark them as matched.

        The path can come from another machine, so its folders need not exist. Of several images with its name, those
        whose folders agree with the longest end of the path remain; of these, those in the split, and those below the
        folder of the annotation file.
        """
        found: list[Path] = []
        for text in (filename, unquote(filename)):
            parts = [part.lower() for part in PureWindowsPath(text.split("?")[0]).parts]
            same_name = [other for other in self.by_stem.get(PureWindowsPath(text.split("?")[0]).stem, ())
                         if parts and other.name.lower() == parts[-1]]
            found = found or same_name
            if found:
                lengths = {other: _common_end(parts, [part.lower() for part in other.relative_to(self.folder).parts])
                           for other in found}
                found = [other for other in found if lengths[other] == max(lengths.values())]
                break
        for is_better in (lambda other: split_of(other, self.folder) == split, lambda other: beside in other.parents):
            found = [other for other in found if is_better(other)] or found
        self.matched.update(found)
        return found


def _common_end(one: list[str], other: list[str]) -> int:
    count = 0
    for a, b in zip(reversed(one), reversed(other), strict=False):
        if a != b:
            break
        count += 1
    return count


@dataclass(frozen=True)
class Pixels:
    """What a conversion needs of an image's pixels.

    Attributes:
        size: width and height as training sees them: turned as the EXIF orientation says.
        raw_size: width and height as they are stored.
        orientation: 1 to 8, as in EXIF; 1 for an image that is not turned.
        digest: of the pixels.
        reduced: the image in grey and small, see `near_duplicates.reduce`.
    """

    size: tuple[int, int]
    raw_size: tuple[int, int]
    orientation: int
    digest: str
    reduced: bytes


def read_pixels(raw: bytes) -> Pixels | str:
    """Read the bytes of an image file; returns the reason if they cannot be read."""
    if _is_truncated(raw):
        return tr("is a truncated image")
    try:
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR) if raw else None
    except cv2.error:  # more pixels than OpenCV allows
        pixels = None
    if pixels is None:
        return tr("cannot be read as an image")
    height, width = pixels.shape[:2]
    orientation = _orientation(raw)
    raw_size = (width, height) if orientation < 5 else (height, width)
    decoded = np.asarray(pixels, np.uint8)
    return Pixels((width, height), raw_size, orientation, _digest(decoded), reduce(decoded))


def _digest(pixels: NDArray[np.uint8]) -> str:
    return hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()


def _is_truncated(raw: bytes) -> bool:
    """Whether the end of a JPEG or PNG is absent. Decoders may fill the absent pixels with grey and report no error."""
    if raw.startswith(b"\xff\xd8"):  # in a whole file the last end marker comes after the last start of scan
        return raw.rfind(b"\xff\xd9") < raw.rfind(b"\xff\xda")
    return raw.startswith(b"\x89PNG") and b"IEND" not in raw


def _orientation(raw: bytes) -> int:
    """Return the EXIF orientation of a JPEG, which OpenCV applies when it decodes the image."""
    if not raw.startswith(b"\xff\xd8") or b"Exif" not in raw[:2**16]:
        return 1
    try:
        with Image.open(io.BytesIO(raw)) as image:
            value = image.getexif().get(_EXIF_ORIENTATION, 1)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError):  # damaged metadata, which OpenCV ignores
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(edges: Corners, raw_size: tuple[int, int], orientation: int) -> Corners:
    """Turn a box from the stored image to the image that its EXIF orientation gives.

    Args:
        edges: of the box in pixels of the stored image.
        raw_size: width and height of the stored image.
        orientation: 1 to 8.
    """
    (x0, y0, x1, y1), (width, height) = edges, raw_size
    if orientation in (2, 3, 7, 8):
        x0, x1 = width - x1, width - x0
    if orientation in (3, 4, 6, 7):
        y0, y1 = height - y1, height - y0
    return (y0, x0, y1, x1) if orientation >= 5 else (x0, y0, x1, y1)  # 5 to 8 exchange the axes, after the flips
