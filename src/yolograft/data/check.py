"""Check of a data set in Ultralytics' format, in place: nothing is written or changed.

Ultralytics ignores an image if one line of its label file is invalid, and trains on the rest. This check names every such
line.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from yolograft.data import classes as class_names
from yolograft.data import data_yaml, formats
from yolograft.data.conversion import progress, thin_boxes
from yolograft.data.data_yaml import DataYaml
from yolograft.data.labels import Labels, is_list_of_classes, label_path, parse
from yolograft.data.near_duplicates import near_pairs
from yolograft.data.pictures import Pixels, read_pixels
from yolograft.data.report import Problem, Report
from yolograft.data.text import read_text
from yolograft.language import tr

__all__ = ["SHOWN", "check", "near_note"]

SHOWN = 3  # examples in a sentence
_SMALLEST = 10  # pixels: Ultralytics ignores images with a smaller side


@dataclass(frozen=True, kw_only=True)
class _Checked:
    """One image and its label file. `labels` is None without a label file."""

    image: Path
    pixels: Pixels | str
    labels: Labels | None
    encoding: str


def check(path: str | Path) -> Report:
    """Check a data set.

    Args:
        path: the data YAML, or a folder that contains one.

    Returns:
        The counts by split and class, and every problem: of the data YAML, of label lines, labels without an image, broken
        images, images in two splits.

    Raises:
        DataError: there is no data YAML, or it cannot be read.
    """
    data = data_yaml.read(path)
    base = data.file.parent
    problems, notes = data.problems, data.notes
    checked = {split: _read_all(images, data) for split, images in data.images.items()}
    counts: dict[str, Counter[int]] = {}
    kinds: Counter[str] = Counter()
    for split, items in checked.items():
        counts[split] = Counter()
        _check_labels_exist(split, items, problems)
        thin: list[str] = []
        for item in items:
            problems += _problems_of(item, base, thin)
            if item.labels is not None:
                counts[split].update(label.index for label in item.labels.labels)
                kinds.update(label.kind for label in item.labels.labels)
        if thin:
            notes.append(tr("{split}: boxes of at most one pixel in width or height: {count}, such as in {example}. "
                            "{reason}", split=split, count=len(thin), example=thin[0], reason=thin_boxes()))
        missing = sum(item.labels is None for item in items)
        empty = sum(item.labels is not None and not item.labels.labels and not item.labels.problems for item in items)
        if missing + empty and missing < len(items):
            notes.append(tr("{split}: background images, without an object: {count} ({missing} without a label file, "
                            "{empty} with an empty one)", split=split, count=missing + empty, missing=missing,
                            empty=empty))
    problems += _labels_without_images(data, base)
    identical = _find_identical(checked, base, problems, notes)
    notes += _find_near(checked, base)
    names = {index: data.names.get(index, str(index)) for index in sorted({*data.names, *set().union(*counts.values())})}
    boxes = {split: {name: counts[split][index] for index, name in names.items()} for split in counts}
    total: Counter[str] = Counter()
    for split_counts in boxes.values():
        total.update(split_counts)
    problems += class_names.find_variants(total, list(data.names.values()))
    notes += _kind_notes(kinds)
    notes += [tr("{split}: no object of the class {classes}", split=split, classes=", ".join(absent))
              for split in boxes if (absent := [name for name, count in boxes[split].items() if not count and total[name]])]
    return Report(yaml=data.file, images={split: len(items) for split, items in checked.items()}, boxes=boxes,
                  problems=tuple(problems), notes=tuple(notes), identical=identical,
                  full=f"yolograft data check {data.file} all=True")


def _read_all(images: Sequence[Path], data: DataYaml) -> list[_Checked]:
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # OpenCV and hashing release the interpreter's lock
        futures = [pool.submit(_read_one, image, data) for image in images]
        return [future.result() for future in progress(futures, tr("reading"))]


def _read_one(image: Path, data: DataYaml) -> _Checked:
    try:
        pixels = read_pixels(image.read_bytes())
    except OSError as error:
        pixels = tr("cannot be read: {reason}", reason=error.strerror)
    file = label_path(image)
    if not file.is_file():
        return _Checked(image=image, pixels=pixels, labels=None, encoding="utf-8")
    text, encoding = read_text(file)
    return _Checked(image=image, pixels=pixels, labels=parse(text, data.names, data.keypoints), encoding=encoding)


def _shown(path: Path, base: Path) -> str:
    return str(path.relative_to(base)) if base in path.parents else str(path)


def _problems_of(item: _Checked, base: Path, thin: list[str]) -> list[Problem]:
    image, label = _shown(item.image, base), _shown(label_path(item.image), base)
    found: list[Problem] = []
    if isinstance(item.pixels, str):
        found.append(Problem(image, item.pixels, kind="broken image"))
    elif min(item.pixels.size) < _SMALLEST:
        found.append(Problem(image, tr("has {width} x {height} pixels; Ultralytics ignores images below {smallest}",
                                       width=item.pixels.size[0], height=item.pixels.size[1], smallest=_SMALLEST)))
    if item.labels is None:
        return found
    if item.encoding not in ("utf-8", "utf-8-sig"):
        found.append(Problem(label, tr("is {encoding}; Ultralytics reads UTF-8. Save it as UTF-8", encoding=item.encoding)))
    found += [Problem(label, what, kind=kind) for kind, what in item.labels.problems]
    if isinstance(item.pixels, Pixels):
        width, height = item.pixels.size
        for one in item.labels.labels:
            x0, y0, x1, y1 = (value * size for value, size in zip(one.corners, (width, height) * 2, strict=True))
            if min(x0, y0) < -1 or x1 > width + 1 or y1 > height + 1:
                box = ", ".join(f"{value:.0f}" for value in (x0, y0, x1, y1))
                found.append(Problem(label, tr("the box ({box}) of class {index} extends beyond the image of {width} x "
                                               "{height}", box=box, index=one.index, width=width, height=height),
                                     kind="beyond the image"))
            if min(x1 - x0, y1 - y0) <= 1.01:
                thin.append(label)
    return found


def _check_labels_exist(split: str, items: Sequence[_Checked], problems: list[Problem]) -> None:
    """Report a split without any label file, and say which annotations there are instead."""
    if not items or any(item.labels is not None for item in items):
        return
    expected = label_path(items[0].image)
    folder = items[0].image.parent
    hint = ""
    if "images" not in items[0].image.parts:
        hint = tr(" Ultralytics looks for labels in a folder 'labels' beside the folder 'images'; without one, beside the "
                  "images.")
    around = formats.recognize(folder if not folder.name.lower().startswith("image") else folder.parent)
    other = next((kind for kind in around if kind not in ("yolo", "yolo-txt", "classify")), "")
    if other:
        name, action = formats.kinds()[other]
        hint += tr(" It contains {name} ({file}). {action}", name=name, file=around[other], action=action)
    problems.append(Problem(split, tr("none of the {count} images has a label file, such as {file}.{hint}", count=len(items),
                                      file=expected, hint=hint)))


def _labels_without_images(data: DataYaml, base: Path) -> list[Problem]:
    """Report label files of no image, in the folders of the label files of the images."""
    expected = {label_path(image) for images in data.images.values() for image in images}
    found: list[Problem] = []
    for folder in sorted({file.parent for file in expected}):
        for file in sorted(folder.glob("*.txt")):
            if file in expected:
                continue
            text = read_text(file)[0]
            if is_list_of_classes(file, text):
                listed = [line.strip() for line in text.splitlines() if line.strip()]
                if file.stem == "classes" and listed != [data.names[index] for index in sorted(data.names)]:
                    found.append(Problem(_shown(file, base), tr(
                        "lists the classes {listed}, but names has {names}: the numbers in the labels mean other classes",
                        listed=", ".join(listed), names=", ".join(data.names.values()))))
            elif _is_label_file(text):
                found.append(Problem(_shown(file, base), tr("is a label file without an image"), kind="no image"))
    return found


def _is_label_file(text: str) -> bool:
    first = text.split("\n", 1)[0].split()
    return not text.strip() or (len(first) >= 5 and all(word.replace(".", "").replace("-", "").isalnum() for word in first))


def _find_identical(checked: dict[str, list[_Checked]], base: Path, problems: list[Problem],
                    notes: list[str]) -> tuple[tuple[str, ...], ...]:
    """Report images that are in two splits, and note identical ones within a split."""
    owners: dict[str, list[tuple[str, Path]]] = defaultdict(list)
    for split, items in checked.items():
        for item in items:
            if isinstance(item.pixels, Pixels):
                owners[item.pixels.digest].append((split, item.image))
    groups = [group for group in owners.values() if len(group) > 1]
    within = [group for group in groups if len({split for split, _ in group}) == 1]
    across = [group for group in groups if len({split for split, _ in group}) > 1]
    if within:
        (_, first), (_, second) = within[0][:2]
        notes.append(tr("images that are in their split more than once: {count}, such as {image} and {other}",
                        count=sum(len(group) - 1 for group in within), image=_shown(first, base),
                        other=_shown(second, base)))
    same_files = [group for group in across if len({path for _, path in group}) == 1]
    if same_files:
        problems.append(Problem(" + ".join(dict.fromkeys(split for split, _ in same_files[0])), tr(
            "{count} image files are in both splits, such as {image}: results on images of the training set say nothing "
            "about new ones", count=len(same_files), image=_shown(same_files[0][0][1], base)), kind="same file"))
    for group in across:
        if group in same_files:
            continue
        (split, image), *others = group
        other_split, other = next((one, path) for one, path in others if one != split)
        problems.append(Problem(_shown(other, base), tr("is the same image as {image}; one is in {split}, the other in "
                                                        "{other}", image=_shown(image, base), split=split,
                                                        other=other_split), "", "identical image", _shown(image, base)))
    return tuple(tuple(path.stem for _, path in group) for group in groups)


def _find_near(checked: Mapping[str, Sequence[_Checked]], base: Path) -> list[str]:
    """Return a note on the images of each two splits that look alike. Identical ones are problems of their own."""
    found = []
    readable = {split: [(item.image, item.pixels) for item in items if isinstance(item.pixels, Pixels)]
                for split, items in checked.items()}
    for split, other in combinations(readable, 2):
        first, second = readable[split], readable[other]
        pairs = [(first[one], second[two]) for one, two in near_pairs([pixels.reduced for _, pixels in first],
                                                                     [pixels.reduced for _, pixels in second])
                 if first[one][1].digest != second[two][1].digest]
        if pairs:
            images = [(_shown(image, base), _shown(alike, base)) for (image, _), (alike, _) in pairs]
            found.append(near_note(split, other, images, len({image for image, _ in images})))
    return found


def near_note(split: str, other: str, pairs: Sequence[tuple[str, str]], count: int) -> str:
    """Return the sentence on images of two splits that look alike.

    Args:
        split, other: the names of the splits.
        pairs: the names of an image of `split` and of one of `other`.
        count: number of images of `split` in them.
    """
    examples = "; ".join(tr("{image} and {other}", image=image, other=alike) for image, alike in pairs[:SHOWN])
    return tr("images of {split} that look almost the same as an image of {other}: {count}, such as {examples}. Results "
              "on such images say little about new ones. Look at them.", count=count, split=split, other=other,
              examples=examples)


def _kind_notes(kinds: Counter[str]) -> list[str]:
    """Say what the labels are, unless all of them are boxes."""
    if not set(kinds) - {"box"}:
        return []
    names = {"box": tr("boxes (task detect)"), "polygon": tr("polygons (task segment)"),
             "rotated box": tr("shapes of four points (task obb or segment)"), "pose": tr("poses (task pose)")}
    return [tr("the labels are {kinds}", kinds=", ".join(f"{kinds[kind]:,} {names[kind]}" for kind in names if kinds[kind]))]
