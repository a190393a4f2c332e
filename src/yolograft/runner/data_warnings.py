"""What is wrong with the data of a study, said before its first trial: invalid labels, shared images, class names.

The images of training and validation are compared by content always, and by appearance if that is fast: the reduced images
(see `data.near_duplicates`) are kept in the cache folder, and a set whose images cannot be read in half a minute is left to
`yolograft data check`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from yolograft.atomic import atomic_write
from yolograft.data.check import SHOWN, near_note
from yolograft.data.labels import label_path
from yolograft.data.near_duplicates import SIDE, near_pairs
from yolograft.data.pictures import Pixels, read_pixels
from yolograft.errors import GraftError
from yolograft.fast.cpu.private_cache import cache_folder
from yolograft.host.class_names import names_text
from yolograft.host.used_images import invalid_reason, label_format, shared_text
from yolograft.language import tr
from yolograft.runner.fingerprint import list_images, resolve_dataset

__all__ = ["SECONDS", "data_warnings", "name_warnings", "read_reduced"]

SECONDS = 30.0  # for reading the images of both splits, without the cache
_PART = 64  # images between two looks at the clock
_KEPT = 8  # data sets in the cache
_PREFIX = "reduced-images-"


@lru_cache(maxsize=8)
def data_warnings(data: str, task: str, seconds: float = SECONDS) -> tuple[str, ...]:
    """Return warnings about a data set, empty if all is well.

    Args:
        data: its YAML file or folder.
        task: the task of the model.
        seconds: time to read images for the comparison by appearance.
    """
    try:
        dataset = resolve_dataset(data, task)
        splits = {split: list_images(data, dataset, split, task) for split in ("train", "val")}
    except GraftError:
        return ()  # the check of the arms reports it
    found = [shared_text(splits["train"], splits["val"])]
    if task != "classify":
        found += [_invalid_text(split, images, dataset, data) for split, images in splits.items()]
    found.append(_near_text(splits["train"], splits["val"], data, seconds))
    return tuple(text for text in found if text)


def name_warnings(network: nn.Module, data: str, task: str) -> list[str]:
    """Return a warning if the classes of a model have another order than those of the data."""
    try:
        names = resolve_dataset(data, task).get("names")
    except GraftError:
        return []
    text = names_text(getattr(network, "names", None), names, trains=True)
    return [text] if text else []


def _invalid_text(split: str, images: Sequence[Path], dataset: Mapping[str, Any], data: str) -> str:
    names, keypoints = label_format(dataset)
    wrong = [(image, reason) for image in images if label_path(image).is_file()
             and (reason := invalid_reason(image, names, keypoints, read_image=False))]
    if not wrong:
        return ""
    examples = "; ".join(tr("{name}: {reason}", name=image.name, reason=reason) for image, reason in wrong[:SHOWN])
    return tr("{count} of the {total} images of {split} have invalid labels ({examples}). Ultralytics leaves such images "
              "out; newer versions allow 1% beyond the image. List all: yolograft data check {data}", count=len(wrong),
              total=len(images), split=split, examples=examples, data=data)


def _near_text(train: Sequence[Path], val: Sequence[Path], data: str, seconds: float) -> str:
    reduced = read_reduced([*train, *val], seconds)
    if reduced is None:
        return tr("images that look almost the same in train and val were not looked for: reading {count} images takes more "
                  "than {seconds:.0f} s. Look for them: yolograft data check {data}", count=len(train) + len(val),
                  seconds=seconds, data=data)
    ours, theirs = reduced[:len(train)], reduced[len(train):]
    first = [at for at, one in enumerate(ours) if one]
    second = [at for at, one in enumerate(theirs) if one]
    pairs = [(first[one], second[two]) for one, two in near_pairs([ours[at] for at in first],
                                                                  [theirs[at] for at in second])]
    # equal reduced images are mostly equal files, which are told already
    pairs = [(one, two) for one, two in pairs if ours[one] != theirs[two]]
    if not pairs:
        return ""
    shown = [(train[one].name, val[two].name) for one, two in pairs]
    return near_note("train", "val", shown, len({one for one, _ in pairs}))


def read_reduced(images: Sequence[Path], seconds: float, *,
                 clock: Callable[[], float] = time.monotonic) -> list[bytes] | None:
    """Return each image reduced (see `data.near_duplicates.reduce`), from the cache if it is there.

    Args:
        images: the image files. One that cannot be read gives b"".
        seconds: the time for it. None is returned if it does not suffice.
        clock: gives seconds.
    """
    status = [path.stat() for path in images]
    key = hashlib.sha256(repr([(str(path), one.st_size, one.st_mtime_ns) for path, one in
                               zip(images, status, strict=True)]).encode()).hexdigest()[:20]
    cached = _load(key, len(images))
    if cached is not None:
        return cached
    end, found = clock() + seconds, list[bytes]()
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # OpenCV releases the interpreter's lock
        for start in range(0, len(images), _PART):
            if clock() > end:
                return None
            found += pool.map(_reduced, images[start:start + _PART])
    _save(key, found)
    return found


def _reduced(image: Path) -> bytes:
    try:
        pixels = read_pixels(image.read_bytes())
    except OSError:
        return b""
    return pixels.reduced if isinstance(pixels, Pixels) else b""


def _load(key: str, count: int) -> list[bytes] | None:
    try:
        table = np.load(cache_folder() / f"{_PREFIX}{key}.npy", allow_pickle=False)
    except (OSError, ValueError, EOFError):  # no such file, or a damaged one
        return None
    if table.shape != (count, 1 + SIDE * SIDE) or table.dtype != np.uint8:
        return None
    return [row[1:].tobytes() if row[0] else b"" for row in table]


def _save(key: str, reduced: Sequence[bytes]) -> None:
    table = np.zeros((len(reduced), 1 + SIDE * SIDE), np.uint8)
    for row, one in zip(table, reduced, strict=True):
        if one:
            row[0], row[1:] = 1, np.frombuffer(one, np.uint8)

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.save(file, table)

    try:
        folder = cache_folder()
        atomic_write(folder / f"{_PREFIX}{key}.npy", write)
        others = sorted(folder.glob(f"{_PREFIX}*.npy"), key=lambda path: path.stat().st_mtime)
        for old in others[:-_KEPT]:
            old.unlink(missing_ok=True)
    except OSError:  # no cache: the images are read again the next time
        return
