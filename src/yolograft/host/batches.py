"""The batches that a training is validated on, read once: they are the same in every epoch.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a validator goes through `self.dataloader`, of which it wants the length
and the data set beside the batches; a batch is a dict, with the pictures in `img`, which `preprocess` replaces and nothing
writes into; a data set that augments says so in `augment`, and one that doesn't gives the same item every time.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator
from typing import Any

from torch import Tensor

__all__ = ["Kept", "room"]

_SHARE = 4  # of the memory that is free, one part in so many may be used


class Kept:
    """A validation loader that reads its batches once, where they fit into memory; all else is the loader's own.

    Args:
        loader: Ultralytics' own.
        most: bytes that the batches may take; a share of what is free unless given.
    """

    def __init__(self, loader: Any, most: int | None = None) -> None:
        self.loader, self.most = loader, room() if most is None else most
        self.batches: list[dict[str, Any]] = []

    def __len__(self) -> int:
        return len(self.loader)

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(self)["loader"], name)

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
                self.batches.append(batch)
            else:
                self.batches.clear()
            yield _lent(batch)


def _lent(batch: dict[str, Any]) -> dict[str, Any]:
    """Return a batch that may be written into, but for its pictures."""
    return {key: value if key == "img" else value.clone() if isinstance(value, Tensor) else copy.copy(value)
            for key, value in batch.items()}


def room() -> int:
    """Return how many bytes may be used to keep what could be read again; 0 where the system does not tell what is free."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // _SHARE
    except (AttributeError, OSError, ValueError):
        return 0
