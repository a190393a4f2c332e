"""Pascal VOC sets into Ultralytics' format: pictures, label files and a data YAML, with nothing dropped unsaid.

What is where in the source does not matter: every XML file below it is an annotation and goes with the picture of the
same name (on the same side, where the source has sides). Pictures and labels are written beside the destination and
take its place when they are complete.
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
from yolograft.data.source import opened
from yolograft.errors import DataError, nearest

__all__ = ["Problem", "Report", "convert"]

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
_ROUNDING = 0.01  # pixels that a box may reach out by and be no mistake: decimal corners were rounded
_Item = TypeVar("_Item")
_SIDES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val", "test": "test",
          "testing": "test"}
_MASKS = ("SegmentationClass", "SegmentationObject")  # Pascal's own sets: pictures of labels, named as their picture


@dataclass(frozen=True)
class Problem:
    """One thing that was not as it should be, and what was done about it."""

    file: str
    what: str


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a conversion did.

    Attributes:
        yaml: the data YAML.
        pictures: side -> how many.
        boxes: side -> class -> how many.
        problems: what was left out or mended, file by file.
        notes: what is worth knowing and changed nothing.
        identical: groups of pictures with the same pixels; each is on one side.
    """

    yaml: Path
    pictures: dict[str, int]
    boxes: dict[str, dict[str, int]]
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    identical: tuple[tuple[str, ...], ...] = ()

    @property
    def exit_code(self) -> int:
        """Return 0 if everything was converted as it is, 1 if something was left out or mended."""
        return int(bool(self.problems))

    def text(self, limit: int | None = 20) -> str:
        """Return the report as lines; `limit` problems at most (None: all)."""
        lines = [f"Data YAML: {self.yaml}"]
        for side, count in self.pictures.items():
            classes = ", ".join(f"{name} {number:,}" for name, number in self.boxes[side].items())
            lines.append(f"{side + ':':<7}{count:>7,} pictures {sum(self.boxes[side].values()):>7,} boxes   ({classes})")
        lines += [f"note: {note}" for note in self.notes]
        shown = self.problems if limit is None else self.problems[:limit]
        if self.problems:
            lines.append(f"{len(self.problems)} problem{'s' if len(self.problems) > 1 else ''}:")
            lines += [f"  {problem.file}: {problem.what}" for problem in shown]
        if len(shown) < len(self.problems):
            lines.append(f"  ... and {len(self.problems) - len(shown)} more: {self.yaml.parent / 'report.txt'}")
        return "\n".join(lines)


@dataclass(kw_only=True)
class _Picture:
    """A picture on its way through; `side` is the source's own until it is split."""

    name: str
    path: Path
    side: str
    size: tuple[int, int]
    digest: str
    boxes: list[annotation.Box] = field(default_factory=list)

    @property
    def kind(self) -> str:
        """The class that most of its boxes have, the first by name of several; empty for a background."""
        counts = Counter(box.name for box in self.boxes)
        return min(counts, key=lambda name: (-counts[name], name)) if counts else ""


Validates = Callable[[str, int], bool]  # a picture's name and its rank within its class -> validation or not


def convert(source: str | Path, dest: str | Path, *, names: Sequence[str] | None = None, split: str = "stratified",
            overwrite: bool = False, validates: Validates | None = None, hint: str = "",
            known: Iterable[Problem] = ()) -> Report:
    """Convert a set with Pascal VOC annotations.

    Box corners are read as VOC defines them, pixel numbers from 1 with both ends included, so a box covers
    `xmin - 1` to `xmax`; a set in which a corner is 0 counts from 0 instead, its corners are taken as edges, and a note
    says so. Difficult objects are kept. A box that reaches out of its picture is cut at the edge; one outside it, one of
    no area and a second copy are left out; all are reported.

    Args:
        source: a folder or a zip file.
        dest: the folder to make.
        names: the classes, in order; by default those found, in alphabetical order.
        split: `stratified` puts every fifth picture of each class into validation (identical pictures on one side);
            `source` keeps the sides that the source's folders (train, val or validation, test) or Pascal's lists
            (`ImageSets/Main/train.txt`, ...) name.
        overwrite: replace the set at `dest`, once the new one is complete.
        validates: another rule for `stratified`.
        hint: where to get the set, for the message when the source is not there.
        known: how problems begin that this set is known to have: they are notes.

    Raises:
        DataError: nothing can be converted; then nothing was written, and `dest` is as it was.
    """
    dest = Path(dest).resolve()
    if split not in ("stratified", "source"):
        raise DataError(f"split={split} is not known: stratified or source.{nearest(split, ('stratified', 'source'))}")
    if names is not None and (isinstance(names, str) or not all(names) or len(set(names)) < len(names)):
        raise DataError(f"names={names!r}: expected the names of the classes, each once, as in names=cat,dog")
    destination.check(dest, overwrite)
    with opened(source, hint) as folder:
        if dest == folder.resolve() or dest in folder.resolve().parents:
            raise DataError(f"'{dest}' holds the source, which would be replaced. Name another folder.")
        problems: list[Problem] = []
        pictures = _collect(folder, dest, problems)
        if not pictures:
            seen = "; ".join(f"{problem.file}: {problem.what}" for problem in problems[:3]) or "no XML file is below it"
            raise DataError(f"'{source}' holds no picture with a VOC annotation ({seen}).{f' {hint}' if hint else ''}")
        classes, notes = _check(pictures, names, problems)
        identical = _identical(pictures)
        notes += _split(pictures, identical, split, validates or (lambda name, rank: rank % 5 == 4), problems)
        expected = tuple(known)
        usual = [problem for problem in problems
                 if any(problem.file == one.file and problem.what.startswith(one.what) for one in expected)]
        notes += [f"{problem.file}: {problem.what}" for problem in usual]
        problems = [problem for problem in problems if problem not in usual]
        with destination.replaced(dest, overwrite) as draft:
            report = _write(pictures, classes, draft, dest, problems, notes, identical)
    return report


def _shown_progress(items: Sequence[_Item], what: str) -> Iterable[_Item]:
    return track(items, what, transient=True, console=Console(stderr=True), disable=not sys.stderr.isatty())


def _natural(name: str) -> list[tuple[int, int, str]]:
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def _side(path: Path, folder: Path) -> str:
    for part in reversed(path.relative_to(folder).parts[:-1]):
        if part.lower() in _SIDES:
            return _SIDES[part.lower()]
    return ""


def _files(folder: Path, dest: Path) -> Iterable[Path]:
    """Give the files of the set: none that are hidden, none of masks, and none that an earlier conversion wrote."""
    for path in sorted(folder.rglob("*")):
        parts = path.relative_to(folder).parts
        skipped = any(part.startswith(".") or part == "__MACOSX" or part in _MASKS for part in parts)
        if not skipped and path.is_file() and dest not in path.resolve().parents:
            yield path


def _lists(files: Iterable[Path]) -> dict[str, str]:
    """Read Pascal's own split: which side each name is on."""
    sides: dict[str, str] = {}
    for path in files:
        if path.parts[-3:-1] == ("ImageSets", "Main") and path.suffix == ".txt" and path.stem in _SIDES:
            text = path.read_text(encoding="utf-8", errors="replace")
            sides.update((line.split()[0], _SIDES[path.stem]) for line in text.splitlines() if line.strip())
    return sides


def _collect(folder: Path, dest: Path, problems: list[Problem]) -> list[_Picture]:
    """Pair annotations with pictures and read both."""
    files = list(_files(folder, dest))
    lists = _lists(files)
    by_stem: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        if path.suffix.lower() in PICTURES:
            by_stem[path.stem].append(path)
    used: set[Path] = set()
    found: list[_Picture] = []
    taken: dict[str, Path] = {}
    xml = [path for path in files if path.suffix.lower() == ".xml"]
    for path in _shown_progress(xml, "reading"):
        shown = str(path.relative_to(folder))
        try:
            told = annotation.read(path)
        except DataError as error:
            problems.append(Problem(shown, f"{error}; its picture is left out"))
            used.update(_choices(path, "", by_stem, folder))
            continue
        choices = _choices(path, told.picture, by_stem, folder)
        used.update(choices)
        if len(choices) != 1:
            what = "has no picture" if not choices else f"has {len(choices)} pictures of its name; which is meant is unclear"
            problems.append(Problem(shown, f"{what}; left out"))
            continue
        picture = choices[0]
        if picture.stem in taken:
            other = taken[picture.stem].relative_to(folder)
            problems.append(Problem(shown, f"a second picture is named '{picture.stem}' ({other}); this one is left out"))
            continue
        pixels = _pixels(picture)
        if isinstance(pixels, str):
            problems.append(Problem(str(picture.relative_to(folder)), f"{pixels}; left out"))
            continue
        taken[picture.stem] = picture
        problems += [Problem(shown, f"{what}; that object is left out") for what in told.problems]
        height, width = pixels.shape[:2]
        if told.size and told.size != (width, height):
            problems.append(Problem(shown, f"says {told.size[0]} x {told.size[1]} pixels, the picture has {width} x "
                                    f"{height}; the picture's own size is used"))
        side = _side(picture, folder) or _side(path, folder) or lists.get(picture.stem, "")
        found.append(_Picture(name=picture.stem, path=picture, side=side, size=(width, height), boxes=list(told.boxes),
                              digest=hashlib.sha256(pixels.tobytes() + str(pixels.shape).encode()).hexdigest()))
    lone = [path for paths in by_stem.values() for path in paths if path not in used]
    problems += [Problem(str(path.relative_to(folder)), "has no annotation; left out") for path in sorted(lone)]
    return sorted(found, key=lambda picture: _natural(picture.name))


def _choices(path: Path, told: str, by_stem: dict[str, list[Path]], folder: Path) -> list[Path]:
    """Give the pictures that an annotation may mean: of its own name, or else of the name it tells; one if it is clear."""
    side, name = _side(path, folder), PureWindowsPath(told).name  # which knows both kinds of slash
    found: list[Path] = []
    for stem in (path.stem, PureWindowsPath(name).stem):
        found = found or [other for other in by_stem.get(stem, ()) if not side or _side(other, folder) in ("", side)]
    for nearer in (lambda other: _side(other, folder) == side, lambda other: other.name == name,
                   lambda other: other.parent == path.parent):
        found = [other for other in found if nearer(other)] or found
    return found


def _pixels(path: Path) -> NDArray[np.uint8] | str:
    """Read a picture, or say why not."""
    try:
        raw = path.read_bytes()
        if _cut_off(raw):
            return "is a picture that was cut off"
        pixels = cv2.imdecode(np.frombuffer(raw, np.uint8), cv2.IMREAD_COLOR) if raw else None
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    except cv2.error:  # more pixels than OpenCV allows
        pixels = None
    return "cannot be read as a picture" if pixels is None else np.asarray(pixels, np.uint8)


def _cut_off(raw: bytes) -> bool:
    """Say whether the end of a JPEG or PNG is missing, which decoders may fill with grey in silence."""
    if raw.startswith(b"\xff\xd8"):  # the last scan's end mark comes after its start mark
        return raw.rfind(b"\xff\xd9") < raw.rfind(b"\xff\xda")
    return raw.startswith(b"\x89PNG") and b"IEND" not in raw


def _check(pictures: list[_Picture], names: Sequence[str] | None,
           problems: list[Problem]) -> tuple[list[str], list[str]]:
    """Turn boxes into edges and keep those that can be trained on; returns the classes in order, and notes."""
    classes = list(names) if names else sorted({box.name for picture in pictures for box in picture.boxes})
    from_zero = next((picture.name for picture in pictures for box in picture.boxes if _from_zero(box)), None)
    for picture in pictures:
        kept: list[annotation.Box] = []
        for box in picture.boxes:
            what = _fit(box, picture.size, classes, float(from_zero is None))
            if isinstance(what, str):
                problems.append(Problem(picture.name, f"{what}; that box is left out"))
                continue
            edges, cut = what
            edged = annotation.Box(box.name, edges, box.difficult)
            if any((other.name, other.corners) == (edged.name, edged.corners) for other in kept):
                problems.append(Problem(picture.name, f"has the box {_shown(box)} twice; the second is left out"))
                continue
            if cut:
                problems.append(Problem(picture.name, f"the box {_shown(box)} reaches out of the picture; cut at its edge"))
            kept.append(edged)
        picture.boxes = kept
    if not any(picture.boxes for picture in pictures):
        raise DataError(f"Not one usable box was found: {'; '.join(f'{p.file}: {p.what}' for p in problems[:3])}.")
    return classes, [f"corners count from 0 in this set, as in {from_zero}"] if from_zero else []


def _from_zero(box: annotation.Box) -> bool:
    """Say whether a box shows that its set counts pixels from 0; broken ones, such as (0, 0, 0, 0), show nothing."""
    x0, y0, x1, y1 = box.corners
    return 0 <= min(x0, y0) < 0.5 and x1 > x0 and y1 > y0


def _shown(box: annotation.Box) -> str:
    return f"{box.name} ({', '.join(f'{corner:g}' for corner in box.corners)})"


def _fit(box: annotation.Box, size: tuple[int, int], classes: list[str],
         base: float) -> tuple[tuple[float, float, float, float], bool] | str:
    if box.name not in classes:
        return f"the class '{box.name}' is unknown.{nearest(box.name, classes)} Expected one of {', '.join(classes)}"
    x0, y0, x1, y1 = box.corners[0] - base, box.corners[1] - base, box.corners[2], box.corners[3]
    if x1 <= x0 or y1 <= y0:
        return f"the box {_shown(box)} has no area"
    inside = (max(x0, 0.0), max(y0, 0.0), min(x1, float(size[0])), min(y1, float(size[1])))
    if inside[2] <= inside[0] or inside[3] <= inside[1]:
        return f"the box {_shown(box)} lies outside the picture of {size[0]} x {size[1]}"
    return inside, max(abs(a - b) for a, b in zip(inside, (x0, y0, x1, y1), strict=True)) > _ROUNDING


def _identical(pictures: list[_Picture]) -> list[list[_Picture]]:
    groups: dict[str, list[_Picture]] = defaultdict(list)
    for picture in pictures:
        groups[picture.digest].append(picture)
    return [group for group in groups.values() if len(group) > 1]


def _split(pictures: list[_Picture], identical: list[list[_Picture]], split: str, validates: Validates,
           problems: list[Problem]) -> list[str]:
    """Give every picture its side; returns notes."""
    if split == "source":
        lost = [picture for picture in pictures if not picture.side]
        if lost or not {"train", "val"} <= {picture.side for picture in pictures}:
            raise DataError("split=source: the source names no train and val side for every picture, in its folders or in "
                            f"ImageSets/Main (for instance '{(lost or pictures)[0].name}'). Leave split out for a "
                            "stratified one.")
    else:
        by_class: dict[str, list[_Picture]] = defaultdict(list)
        for picture in pictures:
            by_class[picture.kind].append(picture)
        for group in by_class.values():
            for rank, picture in enumerate(group):
                picture.side = "val" if validates(picture.name, rank) else "train"
    bound = {id(picture) for group in identical for picture in group}
    for group in identical:
        moved = _reunite(group, pictures, bound) if split == "stratified" else ""
        for other in group[1:]:
            where = (f"both are in {other.side}{moved}" if other.side == group[0].side
                     else f"they are on different sides of the source's own split ({group[0].side} and {other.side})")
            problems.append(Problem(other.name, f"is the same picture as {group[0].name}; {where}"))
    return [] if split == "source" else _populate(pictures, bound)


def _populate(pictures: list[_Picture], bound: set[int]) -> list[str]:
    """Give a side that a small set left empty one picture of the largest class: Ultralytics needs both."""
    missing = {"train", "val"} - {picture.side for picture in pictures}
    if not missing:
        return []
    counts = Counter(picture.kind for picture in pictures)
    free = [picture for picture in pictures if id(picture) not in bound]
    if len(pictures) < 2 or not free:
        raise DataError(f"{len(pictures)} usable pictures cannot be split into training and validation; "
                        "two different ones at least.")
    chosen, side = max(reversed(free), key=lambda picture: counts[picture.kind]), missing.pop()
    chosen.side = side
    return [f"the set is so small that its rule leaves {side} empty: {chosen.name} is there"]


def _reunite(group: list[_Picture], pictures: list[_Picture], bound: set[int]) -> str:
    """Put a group on its first member's side; a free picture of the class takes the place of each that moves."""
    moved = []
    for picture in group[1:]:
        if picture.side == group[0].side:
            continue
        left, picture.side = picture.side, group[0].side
        start = pictures.index(picture)
        after = (pictures[start + 1:] + pictures[:start])
        stand_in = next((other for other in after if other.kind == picture.kind and other.side == group[0].side
                         and id(other) not in bound), None)
        if stand_in is not None:
            stand_in.side = left
            moved.append(f"{stand_in.name} is in {left} for {picture.name}")
    return f" ({'; '.join(moved)})" if moved else ""


def _write(pictures: list[_Picture], classes: list[str], draft: Path, dest: Path, problems: list[Problem],
           notes: list[str], identical: list[list[_Picture]]) -> Report:
    sides = [side for side in ("train", "val", "test") if any(picture.side == side for picture in pictures)]
    for side in sides:
        (draft / "images" / side).mkdir(parents=True)
        (draft / "labels" / side).mkdir(parents=True)
    for picture in _shown_progress(pictures, "writing"):
        shutil.copyfile(picture.path, draft / "images" / picture.side / picture.path.name)
        width, height = picture.size
        lines = [f"{classes.index(box.name)} {(x0 + x1) / 2 / width:.6f} {(y0 + y1) / 2 / height:.6f} "
                 f"{(x1 - x0) / width:.6f} {(y1 - y0) / height:.6f}\n"
                 for box in picture.boxes for x0, y0, x1, y1 in [box.corners]]
        (draft / "labels" / picture.side / f"{picture.name}.txt").write_text("".join(lines), encoding="utf-8")
    counts = {side: {name: sum(box.name == name for picture in pictures if picture.side == side for box in picture.boxes)
                     for name in classes} for side in sides}
    background = sum(not picture.boxes for picture in pictures)
    if background:
        notes = [*notes, f"{background} pictures have no object: they are backgrounds"]
    report = Report(yaml=dest / f"{dest.name}.yaml", boxes=counts,
                    pictures={side: sum(picture.side == side for picture in pictures) for side in sides},
                    problems=tuple(problems), notes=tuple(notes),
                    identical=tuple(tuple(picture.name for picture in group) for group in identical))
    (draft / report.yaml.name).write_text(_yaml(dest, classes, sides), encoding="utf-8")
    (draft / "report.txt").write_text(report.text(limit=None) + "\n", encoding="utf-8")
    return report


def _yaml(dest: Path, classes: list[str], sides: list[str]) -> str:
    told = {"path": str(dest), **{side: f"images/{side}" for side in sides}, "names": dict(enumerate(classes))}
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True)
