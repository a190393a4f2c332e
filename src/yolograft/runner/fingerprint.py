"""Content hashes of a model file and a data set, and the list of the images in each split.

A study stores these hashes with each trial, so that a result of other files is not taken for one of these files. A path
does not change a hash, so machines with other folders can share a study.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `check_det_dataset` and `check_cls_dataset` resolve a data set's YAML
or folder. `BaseDataset.get_img_files` lists the images of a split, and uses only the attributes `prefix` and `fraction` of
the data set. `img2label_paths` returns the paths of the label files.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ultralytics.data import base
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset, img2label_paths

from yolograft.errors import DataError
from yolograft.host.data_download import check_download
from yolograft.host.unasked import nothing_unasked
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["describe_splits", "hash_dataset", "hash_model", "list_images", "resolve_dataset"]

_SPLITS = ("train", "val", "test")
_ALL_IMAGES = SimpleNamespace(prefix="", fraction=1.0)  # the attributes that `get_img_files` reads from a data set


def hash_model(name: str) -> str:
    """Return a hash of a model's file, or its name if there is no such file."""
    file = Path(name)
    return _hash_files([("", file)], file.parent) if file.is_file() else name


def hash_dataset(name: str, task: str) -> str:
    """Return a hash of a data set's images, labels and class names.

    Args:
        name: the data set's YAML file or folder.
        task: the model's task, such as `detect`.

    Raises:
        DataError: the data set cannot be resolved, or images are missing.
    """
    dataset = resolve_dataset(name, task)
    files: list[tuple[str, Path]] = []
    for split in _SPLITS:
        images = list_images(name, dataset, split, task)
        labels = map(Path, img2label_paths([str(image) for image in images])) if task != "classify" else ()
        files += [(split, path) for path in (*images, *(label for label in labels if label.is_file()))]
    facts = repr((sorted(dataset["names"].items()), dataset.get("kpt_shape"), dataset.get("flip_idx")))
    return _hash_files([*files], Path(dataset.get("path") or "."), facts)


def describe_splits(name: str, task: str) -> dict[str, str]:
    """Return, for each split of a data set, how many images it has and a hash of their file names.

    Raises:
        DataError: the data set cannot be resolved, or images are missing.
    """
    dataset, described = resolve_dataset(name, task), {}
    for split in _SPLITS:
        names = sorted(path.name for path in list_images(name, dataset, split, task))
        if names:
            digest = hashlib.sha256("\n".join(names).encode()).hexdigest()[:12]
            described[split] = f"{len(names)} pictures, names {digest}"  # a stored text: changing it would change plans
    return described


def resolve_dataset(name: str, task: str) -> dict[str, Any]:
    """Return Ultralytics' dict of a data set: `path`, the source of each split, `names`, and more.

    Raises:
        DataError: Ultralytics cannot resolve the data set.
    """
    if task != "classify":
        check_download(name)
    try:
        with nothing_unasked():
            dataset: dict[str, Any] = check_cls_dataset(name) if task == "classify" else check_det_dataset(name)
    except Exception as error:  # Ultralytics raises exceptions of many types here
        reason = " ".join(str(error).split())
        raise DataError(tr("data={name} cannot be used: {reason}", name=name, reason=reason)) from error
    return dataset


def list_images(name: str, dataset: Mapping[str, Any], split: str, task: str) -> list[Path]:
    """Return the sorted image paths of a split: from folders, list files, or a list of both, as Ultralytics trains on them.

    Args:
        name: the data set's YAML file or folder, for error messages.
        dataset: the dict from `resolve_dataset`.
        split: `train`, `val` or `test`. The list is empty if the data set does not have this split.
        task: the model's task.

    Raises:
        DataError: the split has no images, or lists images that do not exist. Ultralytics would skip those.
    """
    source = dataset.get(split)
    if not source:
        return []
    if task == "classify":
        images = [path for path in Path(source).rglob("*") if path.suffix[1:].lower() in IMG_FORMATS]
    else:
        sources = [str(item) for item in source] if isinstance(source, (list, tuple)) else str(source)
        try:
            with patched((base, "check_file_speeds", lambda *_, **__: None)):  # in 8.4, it reads files and logs
                images = [Path(file) for file in base.BaseDataset.get_img_files(_ALL_IMAGES, sources)]
        except Exception as error:  # Ultralytics raises exceptions of many types here
            reason = " ".join(str(error.__cause__ or error).split())
            raise DataError(tr("data={name} has no images in {source}, its {split} set: {reason}", name=name,
                               source=source, split=split, reason=reason)) from error
    if not images:
        raise DataError(tr("data={name} has no images in {source}, its {split} set.", name=name, source=source,
                           split=split))
    missing = [path for path in images if not path.is_file()]
    if missing:
        raise DataError(tr("data={name}: {missing} of the {images} images of its {split} set do not exist. The first "
                           "is {first}. In a list file, a path that starts with ./ is relative to the file's "
                           "folder, and any other relative path to the current folder, {folder}.", name=name,
                           missing=len(missing), images=len(images), split=split, first=missing[0], folder=Path.cwd()))
    return sorted(path.absolute() for path in images)


def _hash_files(files: list[tuple[str, Path]], root: Path, facts: str = "") -> str:
    """Hash files by split, path below `root` and content. Files with the same size and time are not read again."""
    listed = []
    for split, path in files:
        status, inside = path.stat(), os.path.relpath(path, root)
        listed.append((split, inside if not inside.startswith("..") else path.name, str(path), status.st_size,
                       status.st_mtime_ns))
    return _hash_contents(tuple(listed), facts)


@lru_cache(maxsize=16)
def _hash_contents(files: tuple[tuple[str, str, str, int, int], ...], facts: str) -> str:
    digest = hashlib.sha256(facts.encode())
    for split, inside, path, _, _ in sorted(files):
        if len(files) > 1:  # the name of a single file does not change its hash
            digest.update(f"{split}:{Path(inside).as_posix()}\0".encode())
        digest.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return digest.hexdigest()[:20]
