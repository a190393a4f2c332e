"""Splits: which image is for training, validation or testing. Identical images are in one split."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from yolograft.data.box import Box
from yolograft.data.report import Problem
from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["IsValidation", "Placed", "assign_splits", "every_fifth", "find_identical", "natural_key"]

IsValidation = Callable[[str, int], bool]  # (name of an image, rank in its class) -> whether it is for validation


@dataclass(kw_only=True)
class Placed:
    """An image in a split. `split` is the one of the source, or "", until `assign_splits` sets it."""

    name: str
    split: str
    digest: str
    boxes: list[Box] = field(default_factory=list)

    @property
    def main_class(self) -> str:
        """The most frequent class of its boxes (on a tie, the first by name); "" without boxes."""
        counts = Counter(box.name for box in self.boxes)
        return min(counts, key=lambda name: (-counts[name], name)) if counts else ""


_Image = TypeVar("_Image", bound=Placed)


def every_fifth(name: str, rank: int) -> bool:
    """Put every fifth image of each class into validation."""
    return rank % 5 == 4


def natural_key(name: str) -> list[tuple[int, int, str]]:
    """Return a key that sorts numbers in names by value: 2 before 10."""
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in re.split(r"(\d+)", name) if part]


def find_identical(images: Sequence[_Image]) -> list[list[_Image]]:
    """Return the groups of images with the same pixels."""
    groups: dict[str, list[_Image]] = defaultdict(list)
    for image in images:
        groups[image.digest].append(image)
    return [group for group in groups.values() if len(group) > 1]


def assign_splits(images: list[_Image], identical: list[list[_Image]], split: str, is_validation: IsValidation,
                  problems: list[Problem]) -> list[str]:
    """Set the split of every image; returns notes.

    Raises:
        DataError: `split` is "source" and the source does not give both splits, or there are too few images.
    """
    without = [image for image in images if not image.split]
    is_given = not without and {"train", "val"} <= {image.split for image in images}
    is_source = split == "source" or (split == "auto" and is_given)
    if is_source:
        if not is_given:
            raise DataError(tr("split=source: the source does not give a train or val split for every image, in its "
                               "folders, in the names of its files, or in ImageSets/Main (for example '{image}'). With "
                               "split=stratified every fifth image is for validation.", image=(without or images)[0].name))
    else:
        by_class: dict[str, list[_Image]] = defaultdict(list)
        for image in images:
            by_class[image.main_class].append(image)
        for group in by_class.values():
            for rank, image in enumerate(group):
                image.split = "val" if is_validation(image.name, rank) else "train"
    in_group = {id(image) for group in identical for image in group}
    for group in identical:
        swaps = "" if is_source else _unite(group, images, in_group)
        for other in group[1:]:
            where = (tr("both are in {split}{swaps}", split=other.split, swaps=swaps)
                     if other.split == group[0].split else
                     tr("they are in different splits of the source ({one} and {other})", one=group[0].split,
                        other=other.split))
            problems.append(Problem(other.name, tr("is the same image as {image}; {where}", image=group[0].name,
                                                   where=where), "", "identical image", group[0].name))
    if is_source:
        return [tr("the splits are those of the source")] if split == "auto" else []
    return _fill_empty_split(images, in_group)


def _fill_empty_split(images: list[_Image], in_group: set[int]) -> list[str]:
    """Move one image of the most frequent class to a split that is empty in a small set: Ultralytics needs both."""
    empty = {"train", "val"} - {image.split for image in images}
    if not empty:
        return []
    counts = Counter(image.main_class for image in images)
    free = [image for image in images if id(image) not in in_group]
    if len(images) < 2 or not free:
        raise DataError(tr("{count} usable images cannot be split into training and validation: at least two different "
                           "images are needed.", count=len(images)))
    chosen, split = max(reversed(free), key=lambda image: counts[image.main_class]), empty.pop()
    chosen.split = split
    return [tr("{split} would be empty in this small set, so {image} is in {split}", split=split, image=chosen.name)]


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
            swaps.append(tr("{image} is in {split} for {other}", image=substitute.name, split=old_split, other=image.name))
    return f" ({'; '.join(swaps)})" if swaps else ""
