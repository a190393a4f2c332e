"""Which pictures Mosaic takes its partners from, and what is said of a training that has no Mosaic."""

from collections.abc import Iterator
from typing import Any

import pytest
from torch.utils.data import DataLoader
from ultralytics.utils import DEFAULT_CFG_DICT

from yolograft.host.mosaic import mosaic_warnings
from yolograft.runner import sampler, train
from yolograft.runner.sampler import Epochs, Paired


class Base:
    """What `Paired` asks of an Ultralytics data set; an item is the picture's number and what Mosaic could choose from."""

    def __init__(self, count: int, most: int) -> None:
        self.ims: list[Any] = [None] * count
        self.im_hw0, self.im_hw, self.max_buffer_length = [None] * count, [None] * count, most
        self.buffer: list[int] = []

    def __len__(self) -> int:
        return len(self.ims)

    def __getitem__(self, index: int) -> tuple[int, list[int]]:
        self.buffer.append(index)
        return index, list(self.buffer)


def stream(seed: int, count: int, epochs: int) -> list[int]:
    """Return the orders of the epochs -1, 0, 1, ... one after another."""
    paired = Paired(Base(count, 0), seed)
    return [number for epoch in range(-1, epochs) for number in paired.order(epoch)]


@pytest.mark.parametrize(("count", "most"), [(12, 5), (12, 12), (3, 3), (5, 2)])
def test_partners_are_the_last_pictures_of_the_stream_of_epochs(count: int, most: int) -> None:
    pictures = stream(7, count, 3)
    paired = Paired(Base(count, most), 7)
    for epoch in range(3):
        for place in range(count):
            at = (epoch + 1) * count + place
            expected = pictures[at + 1 - max(1, most - 1):at + 1]
            assert paired[epoch * count + place] == (pictures[at], expected), (epoch, place)
            assert most < 3 or len(set(expected)) > 1 or count < 4, "never itself alone"


def test_each_epoch_has_an_order_of_its_own_that_no_look_at_another_changes() -> None:
    paired = Paired(Base(20, 8), 1)
    orders = [list(paired.order(epoch)) for epoch in (-1, 0, 1, 2)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders}) == 4
    assert [list(paired.order(epoch)) for epoch in (2, -1, 1, 0)] == [orders[3], orders[0], orders[2], orders[1]]


def test_windows_without_shuffling_and_without_a_buffer() -> None:
    paired = Paired(Base(6, 4), 0, shuffle=False)
    assert paired.window(0, 0) == [4, 5, 0]
    assert paired.window(3, 1) == [5, 0, 1]
    paired = Paired(Base(6, 0), 0)
    assert paired[4][1] == [paired.order(0)[4]], "a data set without augmentation keeps its own buffer"


@pytest.mark.parametrize("first", [0, 2])
def test_windows_are_equal_with_any_number_of_workers_and_resumed(first: int) -> None:
    """A resumed run begins with epoch 2, and sees what an uninterrupted one sees there."""
    def given(workers: int, first: int) -> Iterator[Any]:
        epochs = Epochs(12, first)
        loader = DataLoader(Paired(Base(12, 6), 5), batch_size=4, sampler=epochs, num_workers=workers, collate_fn=list)
        return (batch for _ in range(first, 4) for batch in list(loader))

    whole = list(given(0, 0))
    assert list(given(2, first)) == list(given(0, first)) == whole[3 * first:]


OFF = "no epoch trains with them"


@pytest.mark.parametrize(("arguments", "says"), [
    ({"epochs": 10}, OFF), ({"epochs": 11}, ""), ({}, ""), ({"epochs": 3, "close_mosaic": 3}, OFF),
    ({"epochs": 3, "close_mosaic": 2}, ""), ({"epochs": 8, "mosaic": 0.0}, ""), ({"epochs": 10, "rect": True}, ""),
    ({"epochs": 10, "task": "classify"}, ""), ({"epochs": 10, "mosaic": None}, OFF),
    ({"epochs": 10, "graft": "se@8", "speed": "stock", "task": "detect"}, OFF)])
def test_a_training_without_mosaic_is_announced(arguments: dict[str, Any], says: str) -> None:
    assert DEFAULT_CFG_DICT["close_mosaic"] == 10
    for said in (mosaic_warnings(arguments), train.forewarn(arguments)):
        assert (says in said[0] and f"epochs={arguments['epochs']}" in said[0]) if says else said == []


def test_where_mosaic_would_stay_on_that_is_what_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "_closes_once", lambda: True)
    (said,) = mosaic_warnings({"epochs": 8, "close_mosaic": 10})
    assert "trains all epochs with Mosaic" in said
    assert OFF in mosaic_warnings({"epochs": 10, "close_mosaic": 10})[0]
    monkeypatch.setattr(sampler, "_closes_once", lambda: False)
    assert OFF in mosaic_warnings({"epochs": 8, "close_mosaic": 10})[0]
