"""The training data of a trial: the order and the augmentation of its images depend only on seed, epoch and image.

For one seed, every arm sees the same images in the same order with the same augmentation. What its network draws from the
random generators, and how many worker processes load the data, changes nothing. A resumed trial sees what an uninterrupted
one sees. Another seed gives another order and other augmentations.

Ultralytics alone guarantees none of this. Up to about 8.4.139, a loader with workers gives the same order and augmentation
for every seed. In all versions, Mosaic chooses its other images from those that the same worker happened to load last.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a trainer builds its data set in `build_dataset(path, mode, batch)` and
its loader in `get_dataloader`. The loader's `batch_sampler.sampler` is torch's BatchSampler, and `reset()` starts a new
iterator. A data set with augmentation keeps the images that it loaded last in `ims`, `im_hw0` and `im_hw`, and their
indices in `buffer`. `Mosaic` chooses from `buffer`, and the data set drops the oldest image when `buffer` has
`max_buffer_length` entries. The training loop (`BaseTrainer._do_train`) closes Mosaic for the last `close_mosaic` epochs.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Any

from torch.utils.data import Dataset, Sampler

from yolograft.seeding import derive_seed, seeded_rng

__all__ = ["EpochSampler", "SeededDataset"]

_OWN_ATTRIBUTES = ("base", "seed", "shuffle", "_orders", "_loaded")


class _MosaicBuffer(list[int]):
    """The indices from which `Mosaic` chooses. An index that the data set appends goes into `loaded`, not into this list."""

    loaded: set[int]

    def append(self, index: int) -> None:
        self.loaded.add(index)


class SeededDataset(Dataset[Any]):
    """Wraps a training data set. Item `epoch * len + position` is the image at that position of that epoch.

    All other attributes are those of the wrapped data set.

    Args:
        base: an Ultralytics data set for training.
        seed: the trial's seed.
        shuffle: whether each epoch has its own order.
    """

    def __init__(self, base: Any, seed: int, *, shuffle: bool = True) -> None:
        self.base, self.seed, self.shuffle = base, seed, shuffle
        self._orders: dict[int, Sequence[int]] = {}
        self._loaded: set[int] = set()

    def __len__(self) -> int:
        return len(self.base)

    def __getattr__(self, name: str) -> Any:
        if name in _OWN_ATTRIBUTES:  # copy and pickle ask for attributes before they are set
            raise AttributeError(name)
        return getattr(self.base, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _OWN_ATTRIBUTES:
            object.__setattr__(self, name, value)
        else:
            setattr(self.base, name, value)

    def order(self, epoch: int) -> Sequence[int]:
        """Return the image indices in the order of an epoch. Epoch -1 is not trained, but fills the first windows."""
        if epoch not in self._orders:
            indices = list(range(len(self)))
            if self.shuffle:
                random.Random(derive_seed("order", self.seed, epoch)).shuffle(indices)
            # an epoch needs its own order and that of the epoch before
            self._orders = {key: order for key, order in self._orders.items() if abs(key - epoch) == 1}
            self._orders[epoch] = indices
        return self._orders[epoch]

    def window(self, epoch: int, position: int) -> list[int]:
        """Return the indices of the images from which `Mosaic` chooses; the last one is the image at `position` itself.

        These are the last `max_buffer_length - 1` images of this sequence: the order of the epoch before, then the order of
        this epoch up to `position`. Epoch 0 follows epoch -1, so Mosaic has as many images to choose from at the first
        image as later. (In a stock data set, the first image can choose only itself.) The window can contain an image
        twice, once from each epoch.
        """
        # one less than the length at which the data set would drop images itself
        length = max(1, getattr(self.base, "max_buffer_length", 0) - 1)
        current = list(self.order(epoch)[max(0, position + 1 - length):position + 1])
        remaining = length - len(current)
        return [*self.order(epoch - 1)[len(self) - remaining:], *current] if remaining else current

    def __getitem__(self, number: int) -> Any:
        epoch, position = divmod(int(number), len(self))
        index = self.order(epoch)[position]
        self._set_buffer(epoch, position)
        with seeded_rng("item", self.seed, epoch, index):
            for transform in getattr(getattr(self.base, "transforms", None), "transforms", ()):
                inner: Any = getattr(transform, "transform", None)
                if hasattr(inner, "set_random_seed"):  # albumentations has its own random generators
                    inner.set_random_seed(derive_seed("item", self.seed, epoch, index) % 2**32)
            return self.base[index]

    def _set_buffer(self, epoch: int, position: int) -> None:
        """Set the buffer from which `Mosaic` chooses, and drop loaded images that are not in it from memory."""
        if not getattr(self.base, "max_buffer_length", 0):
            return
        buffer = _MosaicBuffer(self.window(epoch, position))
        buffer.loaded = self._loaded
        self.base.buffer = buffer
        if getattr(self.base, "cache", None) == "ram":
            return
        for index in self._loaded - set(buffer):
            self.base.ims[index] = self.base.im_hw0[index] = self.base.im_hw[index] = None
            self._loaded.discard(index)


class EpochSampler(Sampler[int]):
    """Gives the item numbers of a `SeededDataset`. Each iteration is the next epoch.

    Args:
        length: how many images an epoch has.
        first: the epoch of the next iteration.
    """

    def __init__(self, length: int, first: int = 0) -> None:
        self.length, self.next_epoch = length, first

    def __len__(self) -> int:
        return self.length

    def __iter__(self) -> Iterator[int]:
        epoch, self.next_epoch = self.next_epoch, self.next_epoch + 1
        return iter(range(epoch * self.length, (epoch + 1) * self.length))
