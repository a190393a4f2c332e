"""In-memory cache of training images and validation batches.

Both are the same in every epoch, so the cache changes the time of a training and not its results.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `BaseDataset.load_image` reads an image by its path with the global name
`imread` (8.4) or `cv2.imread` (8.3) of `ultralytics.data.base`. A validator iterates over `self.dataloader` and also reads
its length and its data set. A batch is a dict with the images in `img`: `preprocess` replaces that entry, and no code
writes into the images. A data set has `augment=True` if it augments, and otherwise returns the same item every time.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FunctionType, MethodType
from typing import Any

import cv2
import psutil
from torch import Tensor
from ultralytics.data import base

from yolograft.patch import patched

__all__ = ["CachedLoader", "cache_budget", "cache_images"]

_FRACTION = 8  # a cache may take an eighth of the free memory: several trainings may share a machine
_MAX_BYTES = 2**31  # at most 2 GiB: a container may have less memory than the machine reports


class CachedLoader:
    """A validation loader that reads its batches once if they fit into memory. Other attributes are the loader's own.

    Args:
        loader: Ultralytics' own.
        prepare: applied to a batch's images before they are cached: moves them to a device or another memory format.
        max_bytes: maximum size of the batches; `cache_budget()` by default.
    """

    def __init__(self, loader: Any, prepare: Callable[[Tensor], Tensor], max_bytes: int | None = None) -> None:
        self.loader, self.prepare = loader, prepare
        self.max_bytes = cache_budget() if max_bytes is None else max_bytes
        self.batches: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not set yet while the object is copied or unpickled
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if len(self.batches) == len(self):
            yield from map(_copied, self.batches)
            return
        self.batches, size = [], 0
        is_cacheable = getattr(self.loader.dataset, "augment", True) is False
        for batch in self.loader:
            size += sum(value.nbytes for value in batch.values() if isinstance(value, Tensor))
            is_cacheable = is_cacheable and size <= self.max_bytes
            if is_cacheable:
                batch["img"] = self.prepare(batch["img"])
                self.batches.append(batch)
            else:
                self.batches.clear()
            yield _copied(batch)


def _copied(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch with its own copy of every value except the images: a validator may write into the others."""
    return {key: value if key == "img" else value.clone() if isinstance(value, Tensor) else copy.copy(value)
            for key, value in batch.items()}


@contextmanager
def cache_images(dataset: Any, max_bytes: int | None = None, threads: int = 1) -> Iterator[None]:
    """Cache the decoded images of a data set in memory inside a `with` block, and set OpenCV's number of threads.

    Only `load_image` of this data set changes: it is a copy of Ultralytics' function whose name for `imread` refers to a
    function with a cache. Ultralytics' resizing and its buffer for Mosaic do not change. A data set of a class with its own
    `load_image` is not cached.

    Ultralytics limits OpenCV to one thread, for loaders with worker processes. A training on a CPU has no such processes.

    Args:
        dataset: the loader's data set, or a wrapper that holds it as `base`.
        max_bytes: maximum size of the images; `cache_budget()` by default.
        threads: number of threads of OpenCV.
    """
    plain = getattr(dataset, "base", dataset)
    stock, images = getattr(type(plain), "load_image", None), dict[Any, Any]()
    free = cache_budget() if max_bytes is None else max_bytes

    def imread(name: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal free
        key = (str(name), args, tuple(kwargs.items()))
        if key not in images:
            image = (base.imread if has_imread else cv2.imread)(name, *args, **kwargs)
            if image is None or image.nbytes > free:
                return image
            free -= image.nbytes
            images[key] = image
        return images[key].copy()

    has_imread = hasattr(base, "imread")
    replacements = []
    if stock is base.BaseDataset.load_image and "load_image" not in vars(plain):
        names = {"imread": imread} if has_imread else {"cv2": _Cv2(imread)}
        code = FunctionType(stock.__code__, {**vars(base), **names}, stock.__name__, stock.__defaults__, stock.__closure__)
        replacements.append((plain, "load_image", MethodType(code, plain)))
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        with patched(*replacements):
            yield
    finally:
        cv2.setNumThreads(before)


class _Cv2:
    """The module `cv2` with another `imread`."""

    def __init__(self, imread: Callable[..., Any]) -> None:
        self.imread = imread

    def __getattr__(self, name: str) -> Any:
        return getattr(cv2, name)


def cache_budget() -> int:
    """Return how many bytes a cache may take now."""
    return min(int(psutil.virtual_memory().available) // _FRACTION, _MAX_BYTES)
