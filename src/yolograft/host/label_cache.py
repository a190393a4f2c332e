"""Ultralytics' label cache (`labels/train.cache`), read without running code and written in one step.

The file is a pickle that comes with a data set, so a stranger can have written it. Here only arrays, numbers, texts and
containers are read from it. A file with anything else counts as no file, and the labels are scanned again.

Ultralytics deletes the old file and then writes the new one in place. Two processes that do so at the same time can delete
or rename each other's file, which raises an error, and a third one can read half a file. Here each process writes a file of
its own and renames it, so a reader sees the whole old file or the whole new one. No process waits for another, and a
killed process blocks none.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `ultralytics.data.dataset` calls `save_dataset_cache_file(prefix, path,
x, version)` and `load_dataset_cache_file(path)` by their names there. A `FileNotFoundError` of the latter means that the
labels must be scanned.
"""

from __future__ import annotations

import gc
import pickle
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from ultralytics.data import dataset
from ultralytics.utils import LOGGER

from yolograft.atomic import atomic_write
from yolograft.host.log import warn
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["safe_label_cache"]

_ARRAYS = {("numpy.core.multiarray", "_reconstruct"), ("numpy.core.multiarray", "scalar"),
           ("numpy.core.numeric", "_frombuffer"), ("numpy", "ndarray"), ("numpy", "dtype")}


@contextmanager
def safe_label_cache() -> Iterator[None]:
    """Inside this context, this process reads label caches without running code, and writes them in one step."""
    with patched((dataset, "save_dataset_cache_file", _save), (dataset, "load_dataset_cache_file", _load)):
        yield


def _save(prefix: str, path: Path, x: dict[str, Any], version: str) -> None:
    """Write a label cache. Without it a training still works, so a folder that cannot be written is only logged."""
    x["version"] = version

    def write(part: Path) -> None:
        with part.open("wb") as file:
            np.save(file, x)  # type: ignore[arg-type]  # a dict becomes an array of one object, as in Ultralytics

    try:
        atomic_write(path, write)
    except OSError as error:
        warn(tr("{path} cannot be written: {problem}. The labels are read again by the next training.", path=path,
                problem=error))
        return
    LOGGER.info(tr("{prefix}New cache created: {path}", prefix=prefix, path=path))  # Ultralytics' own line


def _load(path: Path) -> Any:
    """Read a label cache. Half a file, or one that names a function or a class, counts as no file."""
    try:
        with open(path, "rb") as file:
            version = np.lib.format.read_magic(file)
            read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            read_header(file)
            with _no_garbage_collection():
                return _PlainUnpickler(file).load().item()
    except Exception as error:  # NumPy and pickle raise many types for half a file
        if isinstance(error, _NotPlainError):
            warn(tr("{path} is no label cache of Ultralytics: it names {what}. It is not used, and the labels are read "
                    "again.", path=path, what=error))
        raise FileNotFoundError(path) from error


class _NotPlainError(pickle.UnpicklingError):
    """A pickle names a function or a class, which is the text of this error."""


class _PlainUnpickler(pickle.Unpickler):
    """Read arrays and plain values alone. Any other class or function in the pickle raises an error."""

    def find_class(self, module: str, name: str) -> Any:
        """Return one of the functions with which NumPy rebuilds its arrays."""
        if (module.replace("numpy._core", "numpy.core"), name) in _ARRAYS or (module, name) == ("_codecs", "encode"):
            return super().find_class(module, name)
        raise _NotPlainError(f"{module}.{name}")


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Pause the collector, which would scan the growing lists of labels again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
