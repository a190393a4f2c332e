"""The data of a trial: which picture comes when, and how it is augmented, as a function of seed, epoch and picture alone.

So for one seed every arm sees the same pictures, in the same order, augmented alike, whatever its network draws from
the random generators and however many worker processes load the data; a trial that was interrupted goes on with what
it would have seen; and two seeds see different orders and augmentations. Ultralytics by itself grants neither: up to
about 8.4.139 the order and the augmentations of a loader with workers were the same for every seed, and in all versions
Mosaic takes its partners from what the worker at hand happened to load last.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a trainer builds its data in `build_dataset(path, mode, batch)` and
its loader in `get_dataloader`; the loader's `batch_sampler.sampler` is torch's BatchSampler and `reset()` begins anew;
a data set with augmentation keeps the pictures loaded last in `ims`, `im_hw0` and `im_hw`, their numbers in `buffer`,
which `Mosaic` chooses from, and drops the oldest when `buffer` reaches `max_buffer_length`.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset, Sampler

__all__ = ["Epochs", "Paired", "draw", "seeded"]

_OWN = ("base", "seed", "shuffle", "_epoch", "_order", "_loaded")


def draw(*what: object) -> int:
    """Return 63 bits that follow from what is given, on every machine and version alike."""
    text = "/".join(map(str, what))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


@contextmanager
def seeded(*what: object) -> Iterator[None]:
    """Let the generators that augmentation draws from follow from what is given, and then be as they were before."""
    number, torch_state = draw(*what), torch.default_generator.get_state()
    states = random.getstate(), np.random.get_state()
    random.seed(number)
    np.random.seed(number % 2**32)
    torch.default_generator.manual_seed(number)  # torch.manual_seed would also seed the GPU's
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.default_generator.set_state(torch_state)


class _Window(list[int]):
    """What `Mosaic` may choose from; what the data set loads is noted elsewhere, to be dropped in time."""

    loaded: set[int]

    def append(self, index: int) -> None:
        self.loaded.add(index)


class Paired(Dataset[Any]):
    """A data set whose item `epoch * len + place` is that place of that epoch; for the rest, the data set it holds.

    Args:
        base: an Ultralytics data set for training.
        seed: the trial's.
        shuffle: whether each epoch has an order of its own.
    """

    def __init__(self, base: Any, seed: int, *, shuffle: bool = True) -> None:
        self.base, self.seed, self.shuffle = base, seed, shuffle
        self._epoch = -1
        self._order: range | list[int] = range(0)
        self._loaded: set[int] = set()

    def __len__(self) -> int:
        return len(self.base)

    def __getattr__(self, name: str) -> Any:
        if name in _OWN:  # a copy that is being made has none of them yet
            raise AttributeError(name)
        return getattr(self.base, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN:
            object.__setattr__(self, name, value)
        else:
            setattr(self.base, name, value)

    def order(self, epoch: int) -> range | list[int]:
        """Return the pictures' numbers in the order of an epoch."""
        if epoch != self._epoch:
            numbers = list(range(len(self)))
            if self.shuffle:
                random.Random(draw("order", self.seed, epoch)).shuffle(numbers)
            self._epoch, self._order = epoch, numbers
        return self._order

    def __getitem__(self, number: int) -> Any:
        epoch, place = divmod(int(number), len(self))
        index = self.order(epoch)[place]
        self._open_window(place)
        with seeded("item", self.seed, epoch, index):
            for transform in getattr(getattr(self.base, "transforms", None), "transforms", ()):
                inner: Any = getattr(transform, "transform", None)
                if hasattr(inner, "set_random_seed"):  # albumentations has generators of its own
                    inner.set_random_seed(draw("item", self.seed, epoch, index) % 2**32)
            return self.base[index]

    def _open_window(self, place: int) -> None:
        length = getattr(self.base, "max_buffer_length", 0)
        if not length:
            return
        # one less than the length at which the data set would begin to drop pictures on its own
        window = _Window(self._order[max(0, place + 1 - max(1, length - 1)):place + 1])
        window.loaded = self._loaded
        self.base.buffer = window
        if getattr(self.base, "cache", None) == "ram":
            return
        for index in self._loaded - set(window):
            self.base.ims[index] = self.base.im_hw0[index] = self.base.im_hw[index] = None
            self._loaded.discard(index)


class Epochs(Sampler[int]):
    """The numbers that a `Paired` data set understands: each pass is the next epoch.

    Args:
        length: how many pictures an epoch has.
        first: the epoch of the next pass.
    """

    def __init__(self, length: int, first: int = 0) -> None:
        self.length, self.next = length, first

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        epoch, self.next = self.next, self.next + 1
        return iter(range(epoch * self.length, (epoch + 1) * self.length))
