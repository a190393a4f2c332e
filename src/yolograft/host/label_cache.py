"""Ultralytics' label cache (`labels/train.cache`), written so that several trainings can start on one data set at once.

Ultralytics deletes the old file and then writes the new one in place. Two processes that do so at the same time can delete
or rename each other's file, which raises an error, and a third one can read half a file. Here each process writes a file of
its own and renames it, so a reader sees the whole old file or the whole new one. No process waits for another, and a
killed process blocks none.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `ultralytics.data.dataset` calls `save_dataset_cache_file(prefix, path,
x, version)` and `load_dataset_cache_file(path)` by their names there. A `FileNotFoundError` of the latter means that the
labels must be scanned.
"""

from __future__ import annotations

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

__all__ = ["atomic_label_cache"]

_stock_load = dataset.load_dataset_cache_file


@contextmanager
def atomic_label_cache() -> Iterator[None]:
    """Inside this context, this process writes label caches in one step."""
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
    """Read a label cache. Half a file, of a process that was killed while stock code wrote it, counts as no file."""
    try:
        return _stock_load(path)
    except (FileNotFoundError, AssertionError, AttributeError):
        raise
    except Exception as error:  # NumPy and pickle raise many types for half a file
        raise FileNotFoundError(path) from error
