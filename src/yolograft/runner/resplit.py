"""New splits of the images of train and val, for studies over several splits.

A split depends only on the images' paths below the data set's folder, their labels, its number and its seed, so it is the
same for all arms and on all machines. It has as many validation images as the data set's own split. The images are
stratified by class: each image belongs to the rarest class that it shows. Identical images stay on one side. The test split
is never touched.
"""

from __future__ import annotations

import hashlib
import os
import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml
from ultralytics.data.utils import img2label_paths

from yolograft.atomic import atomic_write
from yolograft.errors import DataError
from yolograft.language import tr
from yolograft.runner.fingerprint import list_images, resolve_dataset
from yolograft.seeding import derive_seed

__all__ = ["split_images", "split_sizes", "write_split"]

_REPLACED = ("train", "val", "test", "minival", "path", "yaml_file", "download", "nc")


def split_sizes(name: str, task: str) -> tuple[int, int]:
    """Return how many images each split trains and validates on.

    Raises:
        DataError: the data set cannot be split.
    """
    groups, val = _pool(name, task)
    return sum(len(group) for _, group in groups) - val, val


def split_images(name: str, task: str, number: int, seed: int) -> tuple[list[Path], list[Path]]:
    """Return the images for training and for validation of one split, sorted by path.

    Args:
        name: the data set's YAML file.
        task: the model's task.
        number: the split's number, from 0.
        seed: the seed of the splits.
    """
    groups, count = _pool(name, task)
    strata: dict[int, list[tuple[Path, ...]]] = defaultdict(list)
    for stratum, group in groups:
        strata[stratum].append(group)
    rng = random.Random(derive_seed("split", seed, number))
    for found in strata.values():
        rng.shuffle(found)
    quotas = _quotas({stratum: sum(map(len, found)) for stratum, found in strata.items()}, count, rng)
    train: list[Path] = []
    val: list[Path] = []
    for stratum, found in strata.items():
        taken = 0
        for group in found:
            fits = taken + len(group) <= quotas[stratum]
            (val if fits else train).extend(group)
            taken += len(group) * fits
    return sorted(train), sorted(val)


def _quotas(sizes: Mapping[int, int], count: int, rng: random.Random) -> dict[int, int]:
    """Divide `count` validation images over the strata in proportion to their sizes, by largest remainders."""
    total = sum(sizes.values())
    shares = {stratum: size * count / total for stratum, size in sizes.items()}
    quotas = {stratum: int(share) for stratum, share in shares.items()}
    order = list(shares)
    rng.shuffle(order)  # equal remainders get their image in another stratum in each split
    order.sort(key=lambda stratum: quotas[stratum] - shares[stratum])
    for stratum in order[:count - sum(quotas.values())]:
        quotas[stratum] += 1
    return quotas


def write_split(name: str, task: str, split: Mapping[str, int], folder: Path) -> Path:
    """Write a data YAML of one split, with its lists of images, into a folder; returns its path.

    Args:
        name: the data set's YAML file.
        task: the model's task.
        split: the `number` and the `seed` of the split.
        folder: an existing folder.
    """
    dataset = resolve_dataset(name, task)
    sides = dict(zip(("train", "val"), split_images(name, task, split["number"], split["seed"]), strict=True))
    for side, images in sides.items():
        _write(folder / f"split-{side}.txt", "".join(f"{path}\n" for path in images))
    rest = {key: value for key, value in dataset.items() if key not in _REPLACED and _is_plain(value)}
    lists = {side: str(folder.resolve() / f"split-{side}.txt") for side in sides}
    _write(folder / "split.yaml", yaml.safe_dump({**lists, **rest, "names": dict(dataset["names"])}, sort_keys=False))
    return folder / "split.yaml"


def _write(file: Path, text: str) -> None:
    atomic_write(file, lambda part: part.write_text(text, encoding="utf-8"))


def _is_plain(value: Any) -> bool:
    return isinstance(value, (str, int, float, bool)) or (
        isinstance(value, (list, tuple)) and all(isinstance(one, (str, int, float)) for one in value))


@lru_cache(maxsize=8)
def _pool(name: str, task: str) -> tuple[tuple[tuple[int, tuple[Path, ...]], ...], int]:
    """Return the images of train and val as (stratum, identical images), in a fixed order, and the number for validation."""
    if task == "classify":
        raise DataError(tr("splits= cannot be used for task=classify, whose splits are folders and not lists of images."))
    dataset = resolve_dataset(name, task)
    train, val, test = (list_images(name, dataset, side, task) for side in ("train", "val", "test"))
    shared = set(test) & {*train, *val}
    if shared:
        raise DataError(tr("data={name}: {count} images of its test split are in train or val too, as {first}. A new split "
                           "would train on them. Name another test split, or none.", name=name, count=len(shared),
                           first=min(shared)))
    root = Path(dataset.get("path") or ".")
    images = sorted({*train, *val}, key=lambda path: Path(os.path.relpath(path, root)).as_posix())
    shown = _classes(images)
    often = Counter(one for classes in shown.values() for one in classes)
    strata = {image: min(classes, key=lambda one: (often[one], one), default=-1) for image, classes in shown.items()}
    return tuple((strata[group[0]], group) for group in _identical(images)), len(set(val))


def _classes(images: Sequence[Path]) -> dict[Path, set[int]]:
    found: dict[Path, set[int]] = {}
    for image, label in zip(images, img2label_paths([str(image) for image in images]), strict=True):
        file = Path(label)
        lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
        found[image] = {int(float(line.split()[0])) for line in lines if line.strip()}
    return found


def _identical(images: Sequence[Path]) -> list[tuple[Path, ...]]:
    """Group images with the same bytes, in the order of their first image."""
    sizes = Counter(image.stat().st_size for image in images)
    groups: dict[object, list[Path]] = defaultdict(list)
    for image in images:
        is_alone = sizes[image.stat().st_size] == 1
        groups[image if is_alone else hashlib.sha256(image.read_bytes()).digest()].append(image)
    return [tuple(group) for group in groups.values()]
