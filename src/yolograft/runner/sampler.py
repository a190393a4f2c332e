"""The data of a trial: which picture comes when, and how it is augmented, as a function of seed, epoch and picture alone.

So for one seed every arm sees the same pictures, in the same order, augmented alike, whatever its network draws from
the random generators and however many worker processes load the data; a trial that was interrupted goes on with what
it would have seen; and two seeds see different orders and augmentations. Ultralytics by itself grants neither: up to
about 8.4.139 the order and the augmentations of a loader with workers were the same for every seed, and in all versions
Mosaic takes its partners from what the worker at hand happened to load last.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a trainer builds its data in `build_dataset(path, mode, batch)` and
its loader in `get_dataloader`; the loader's `batch_sampler.sampler` is torch's BatchSampler and `reset()` begins anew;
a data set with augmentation keeps the pictures loaded last in `ims`, `im_hw0` and `im_hw`, their numbers in `buffer`,
which `Mosaic` chooses from, and drops the oldest when `buffer` reaches `max_buffer_length`; the trainer's loop
(`BaseTrainer._do_train`) switches Mosaic off for the last `close_mosaic` epochs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import Dataset, Sampler

from yolograft.seeding import derive_seed, seeded_rng

__all__ = ["Epochs", "Paired"]

_OWN = ("base", "seed", "shuffle", "_orders", "_loaded")


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
        self._orders: dict[int, Sequence[int]] = {}
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

    def order(self, epoch: int) -> Sequence[int]:
        """Return the pictures' numbers in the order of an epoch; epoch -1 is never trained, and fills the first window."""
        if epoch not in self._orders:
            numbers = list(range(len(self)))
            if self.shuffle:
                random.Random(derive_seed("order", self.seed, epoch)).shuffle(numbers)
            # an epoch and the one before it are in use at a time
            self._orders = {key: kept for key, kept in self._orders.items() if abs(key - epoch) == 1}
            self._orders[epoch] = numbers
        return self._orders[epoch]

    def window(self, epoch: int, place: int) -> list[int]:
        """Return the numbers of the pictures from which `Mosaic` chooses the partners of a picture, itself the last.

        They are the last `max_buffer_length - 1` pictures of the order of the epoch before, followed by the order of this
        epoch up to `place`. In epoch 0 the order of an epoch -1 takes the place of the epoch before, so that Mosaic has as
        many partners from the first picture on. (A stock data set starts with none, and its first picture is its own
        partner.) A picture can be there twice, once from each epoch.
        """
        # one less than the length at which the data set would begin to drop pictures on its own
        length = max(1, getattr(self.base, "max_buffer_length", 0) - 1)
        found = list(self.order(epoch)[max(0, place + 1 - length):place + 1])
        missing = length - len(found)
        return [*self.order(epoch - 1)[len(self) - missing:], *found] if missing else found

    def __getitem__(self, number: int) -> Any:
        epoch, place = divmod(int(number), len(self))
        index = self.order(epoch)[place]
        self._open_window(epoch, place)
        with seeded_rng("item", self.seed, epoch, index):
            for transform in getattr(getattr(self.base, "transforms", None), "transforms", ()):
                inner: Any = getattr(transform, "transform", None)
                if hasattr(inner, "set_random_seed"):  # albumentations has generators of its own
                    inner.set_random_seed(derive_seed("item", self.seed, epoch, index) % 2**32)
            return self.base[index]

    def _open_window(self, epoch: int, place: int) -> None:
        if not getattr(self.base, "max_buffer_length", 0):
            return
        window = _Window(self.window(epoch, place))
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
