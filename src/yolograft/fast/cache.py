"""What a training reads again and again, kept in memory: its pictures, and the batches that it is validated on.

Both are the same in every epoch, so that nothing changes but the time.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `BaseDataset.load_image` reads a picture by the global name
`imread` (8.4) or `cv2.imread` (8.3) of `ultralytics.data.base`, by its path; a validator goes through
`self.dataloader`, of which it wants the length
and the data set beside the batches; a batch is a dict, with the pictures in `img`, which `preprocess` replaces and nothing
writes into; a data set that augments says so in `augment`, and one that doesn't gives the same item every time.
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

__all__ = ["Kept", "pictures", "room"]

_SHARE = 8  # of the memory that is free, one part in so many may be used: several trainings may share a machine
_MOST = 2**31  # and no more than this: a container may have less than the machine


class Kept:
    """A validation loader that reads its batches once, where they fit into memory; all else is the loader's own.

    Args:
        loader: Ultralytics' own.
        prepare: what is done to the pictures of a batch before they are kept: where they lie, and how they are laid out.
        most: bytes that the batches may take; a share of what is free unless given.
    """

    def __init__(self, loader: Any, prepare: Callable[[Tensor], Tensor], most: int | None = None) -> None:
        self.loader, self.prepare, self.most = loader, prepare, room() if most is None else most
        self.batches: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        if name == "loader":  # not there yet
            raise AttributeError(name)
        return getattr(self.loader, name)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if len(self.batches) == len(self):
            yield from map(_lent, self.batches)
            return
        self.batches, taken = [], 0
        keep = getattr(self.loader.dataset, "augment", True) is False
        for batch in self.loader:
            taken += sum(value.nbytes for value in batch.values() if isinstance(value, Tensor))
            keep = keep and taken <= self.most
            if keep:
                batch["img"] = self.prepare(batch["img"])
                self.batches.append(batch)
            else:
                self.batches.clear()
            yield _lent(batch)


def _lent(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch that may be written into, but for its pictures."""
    return {key: value if key == "img" else value.clone() if isinstance(value, Tensor) else copy.copy(value)
            for key, value in batch.items()}


@contextmanager
def pictures(dataset: Any, most: int | None = None, threads: int = 1) -> Iterator[None]:
    """Keep the decoded pictures of a data set in memory, as long as they fit, and let OpenCV augment with `threads`.

    Only this data set's `load_image` changes: it is Ultralytics' own code, in which the name that decodes a file refers to
    a function that looks into memory first. Ultralytics' resizing and its list of pictures for Mosaic stay as they are.
    A data set with a `load_image` of its own is left alone.

    Ultralytics limits OpenCV to one thread for loaders that run in other processes, which a training on a CPU does not have.

    Args:
        dataset: the one that a loader reads, or a wrapper that holds it as `base`.
        most: bytes that the pictures may take; a share of the free memory unless given.
        threads: of OpenCV.
    """
    plain = getattr(dataset, "base", dataset)
    stock, kept, left = getattr(type(plain), "load_image", None), dict[Any, Any](), room() if most is None else most

    def imread(name: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal left
        key = (str(name), args, tuple(kwargs.items()))
        if key not in kept:
            read = (base.imread if in_base else cv2.imread)(name, *args, **kwargs)
            if read is None or read.nbytes > left:
                return read
            left -= read.nbytes
            kept[key] = read
        return kept[key].copy()

    in_base = hasattr(base, "imread")
    ours = []
    if stock is base.BaseDataset.load_image and "load_image" not in vars(plain):
        names = {"imread": imread} if in_base else {"cv2": _Cv2(imread)}
        code = FunctionType(stock.__code__, {**vars(base), **names}, stock.__name__, stock.__defaults__, stock.__closure__)
        ours.append((plain, "load_image", MethodType(code, plain)))
    before = cv2.getNumThreads()
    cv2.setNumThreads(threads)
    try:
        with patched(*ours):
            yield
    finally:
        cv2.setNumThreads(before)


class _Cv2:
    """The module `cv2`, except for `imread`."""

    def __init__(self, imread: Callable[..., Any]) -> None:
        self.imread = imread

    def __getattr__(self, name: str) -> Any:
        return getattr(cv2, name)


def room() -> int:
    """Return how many bytes may be used to keep what could be read again."""
    return min(int(psutil.virtual_memory().available) // _SHARE, _MOST)
