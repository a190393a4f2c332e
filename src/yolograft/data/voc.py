"""Conversion of Pascal VOC data sets.

The folder layout of the source is free: every XML file below it is an annotation of the image with the same name (in the
same split, if the source has splits).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from yolograft.data import annotation, formats
from yolograft.data.conversion import Annotated, Found, Options, convert_source, progress
from yolograft.data.pictures import Pictures, list_files, split_of, split_of_name
from yolograft.data.report import Problem, Report
from yolograft.data.splits import IsValidation, every_fifth
from yolograft.data.text import read_text, usual_encoding
from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["Problem", "Report", "convert", "encoding_notes"]


def convert(source: str | Path, dest: str | Path, *, names: Sequence[str] | None = None,
            merge: Mapping[str, str] | None = None, split: str = "stratified", overwrite: bool = False,
            is_validation: IsValidation = every_fifth, hint: str = "",
            known: Iterable[tuple[str, str, str]] = ()) -> Report:
    """Convert a data set with Pascal VOC annotations.

    VOC defines box corners as pixel numbers from 1, both ends included: a box covers `xmin - 1` to `xmax`. If a corner in
    the set is 0, the set counts from 0: its corners are box edges, and a note says so. Objects marked `difficult` are
    included. The enclosing box of a polygon or a rotated box is used. A box that extends beyond its image is clipped. A
    box outside its image, a box without area and a duplicate box are skipped. All of these are reported.

    Args:
        source: a folder or a zip file.
        dest: the folder to create.
        names: the classes in order; by default all classes found, in alphabetical order.
        merge: class of the source -> class of the new set.
        split: `stratified` puts every fifth image of each class into validation, with identical images in one split;
            `source` uses the splits of the source: its folders (train, val or validation, test) or Pascal's lists
            (`ImageSets/Main/train.txt`, ...); `auto` is `source` if the source has splits.
        overwrite: replace the data set at `dest` when the new one is complete.
        is_validation: another rule for `stratified`.
        hint: where to download the set, for the message if `source` does not exist.
        known: known problems of this set, as in `conversion.convert_source`.

    Raises:
        DataError: the source has no usable image, or an argument is invalid. `dest` is unchanged.
    """
    options = Options(names=names, merge=merge or {}, split=split, overwrite=overwrite)
    return convert_source(source, dest, _read, options, describe=lambda folder: formats.advice(folder, "voc"),
                          is_validation=is_validation, hint=hint, known=known)


def encoding_notes(encodings: Counter[str]) -> list[str]:
    """Return a note on the files that are not UTF-8; `encodings` counts the files of each encoding."""
    others = {name: count for name, count in encodings.items() if name not in ("utf-8", "utf-8-sig")}
    return [tr("annotation files that are not UTF-8, read as {encoding}: {count}", count=count, encoding=name)
            for name, count in sorted(others.items())]


def _read(folder: Path, dest: Path) -> Found:
    """Match annotations with images, and read the annotations."""
    files = list_files(folder, dest)
    listed = _read_split_lists(files)
    pictures = Pictures.of(files, folder)
    found = Found(counts_pixels=True)
    xml = [path for path in files if path.suffix.lower() == ".xml"]
    usual = usual_encoding(path.read_bytes() for path in xml)
    encodings: Counter[str] = Counter()
    deleted = 0
    for path in progress(xml, tr("reading")):
        name = str(path.relative_to(folder))
        try:
            read = annotation.read(path, usual)
        except DataError as error:
            found.problems.append(Problem(name, tr("{problem}; its image is skipped", problem=error), "picture skipped"))
            pictures.match(path, "")
            continue
        encodings[read.encoding] += 1
        candidates = pictures.match(path, read.image)
        if len(candidates) != 1:
            what = tr("has no image") if not candidates else tr(
                "matches {count} images, so the right one is unknown", count=len(candidates))
            found.problems.append(Problem(name, tr("{problem}; skipped", problem=what), "picture skipped"))
            continue
        found.problems += [Problem(name, tr("{problem}; that object is skipped", problem=what), "object skipped")
                           for what in read.problems]
        deleted += read.deleted
        file = candidates[0]
        found.images.append(Annotated(
            file=name, image=file, size=read.size, boxes=list(read.boxes), objects=len(read.boxes) + len(read.problems),
            split=split_of(file, folder) or split_of(path, folder) or listed.get(file.stem, "")))
    found.problems += [Problem(str(path.relative_to(folder)), tr("has no annotation; skipped"), "picture skipped",
                               "no annotation")
                       for path in pictures.unmatched()]
    found.notes += encoding_notes(encodings)
    if deleted:
        found.notes.append(tr("objects that are marked as deleted and left out: {count}", count=deleted))
    return found


def _read_split_lists(files: Iterable[Path]) -> dict[str, str]:
    """Read Pascal's lists of its splits: name of an image -> split."""
    splits: dict[str, str] = {}
    for path in files:
        split = split_of_name(path.stem)
        if path.parts[-3:-1] == ("ImageSets", "Main") and path.suffix == ".txt" and split:
            lines = read_text(path)[0].splitlines()
            splits.update((line.split()[0], split) for line in lines if line.strip())
    return splits
