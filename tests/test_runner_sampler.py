"""The order of the images in each epoch, and the images from which Mosaic chooses."""

from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import DataLoader

from yolograft.runner.sampler import EpochSampler, SeededDataset


class ToyDataset:
    """Has the attributes of an Ultralytics data set that `SeededDataset` uses. An item is its index and the buffer."""

    def __init__(self, count: int, most: int) -> None:
        self.ims: list[Any] = [None] * count
        self.im_hw0, self.im_hw, self.max_buffer_length = [None] * count, [None] * count, most
        self.buffer: list[int] = []

    def __len__(self) -> int:
        return len(self.ims)

    def __getitem__(self, index: int) -> tuple[int, list[int]]:
        self.buffer.append(index)
        return index, list(self.buffer)


def sequence(seed: int, count: int, epochs: int) -> list[int]:
    """Return the orders of the epochs -1, 0, 1, ... one after another."""
    dataset = SeededDataset(ToyDataset(count, 0), seed)
    return [index for epoch in range(-1, epochs) for index in dataset.order(epoch)]


@pytest.mark.parametrize(("count", "most"), [(12, 5), (12, 12), (3, 3), (5, 2)])
def test_mosaic_chooses_from_the_last_images_of_the_sequence_of_epochs(count: int, most: int) -> None:
    images = sequence(7, count, 3)
    dataset = SeededDataset(ToyDataset(count, most), 7)
    for epoch in range(3):
        for position in range(count):
            last = (epoch + 1) * count + position
            expected = images[last + 1 - max(1, most - 1):last + 1]
            assert dataset[epoch * count + position] == (images[last], expected), (epoch, position)
            assert most < 3 or len(set(expected)) > 1 or count < 4, "Mosaic could choose only the image itself"


def test_each_epoch_has_its_own_order_whichever_order_is_computed_first() -> None:
    dataset = SeededDataset(ToyDataset(20, 8), 1)
    orders = [list(dataset.order(epoch)) for epoch in (-1, 0, 1, 2)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert [list(dataset.order(epoch)) for epoch in (2, -1, 1, 0)] == [orders[3], orders[0], orders[2], orders[1]]


def test_windows_without_shuffling_and_without_a_buffer() -> None:
    dataset = SeededDataset(ToyDataset(6, 4), 0, shuffle=False)
    assert dataset.window(0, 0) == [4, 5, 0]
    assert dataset.window(3, 1) == [5, 0, 1]
    dataset = SeededDataset(ToyDataset(6, 0), 0)
    assert dataset[4][1] == [dataset.order(0)[4]], "without augmentation, the data set's own buffer does not change"


@pytest.mark.parametrize("first", [0, 2])
def test_windows_are_equal_with_any_number_of_workers_and_resumed(first: int) -> None:
    """A resumed run starts with epoch 2, and sees the same items as an uninterrupted run."""
    def load_batches(workers: int, first: int) -> Iterator[Any]:
        epochs, dataset = EpochSampler(12, first), SeededDataset(ToyDataset(12, 6), 5)
        loader = DataLoader(dataset, batch_size=4, sampler=epochs, num_workers=workers, collate_fn=list)
        return (batch for _ in range(first, 4) for batch in list(loader))

    uninterrupted = list(load_batches(0, 0))
    assert list(load_batches(2, first)) == list(load_batches(0, first)) == uninterrupted[3 * first:]
