"""What is kept is what would be read again: the same batches and pictures, whoever writes into what they were given."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data import base
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

from yolograft.host import batches


class Loader:
    """Three batches, and how often each was read."""

    def __init__(self, augment: bool = False) -> None:
        self.dataset, self.batch_size, self.reads = SimpleNamespace(augment=augment), 2, 0

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        for number in range(3):
            self.reads += 1
            yield {"img": torch.full((2, 3, 4, 4), number, dtype=torch.uint8), "bboxes": torch.rand(3, 4),
                   "im_file": [f"{number}.jpg"]}


def test_batches_are_read_once_and_are_the_same_every_time() -> None:
    loader = Loader()
    kept = batches.Kept(loader, lambda pictures: pictures, 10_000)
    assert (len(kept), kept.batch_size, kept.dataset) == (3, 2, loader.dataset)
    first = list(kept)
    boxes = [batch["bboxes"].clone() for batch in first]
    for batch in first:  # as a validator may
        batch["bboxes"] *= 0
        batch["im_file"].clear()
        batch["img"] = batch["img"].float() / 255
    again = list(kept)
    assert loader.reads == 3
    assert all(torch.equal(batch["bboxes"], one) for batch, one in zip(again, boxes, strict=True))
    assert [batch["im_file"] for batch in again] == [["0.jpg"], ["1.jpg"], ["2.jpg"]]
    assert all(batch["img"].dtype == torch.uint8 for batch in again)


@pytest.mark.parametrize(("loader", "most"), [(Loader(), 150), (Loader(), 0), (Loader(augment=True), 10_000)])
def test_what_does_not_fit_or_changes_is_read_again(loader: Loader, most: int) -> None:
    kept = batches.Kept(loader, lambda pictures: pictures, most)
    for times in (1, 2):
        assert [int(batch["img"].max()) for batch in kept] == [0, 1, 2]
        assert loader.reads == 3 * times
    assert not kept.batches


def test_an_epoch_broken_off_is_begun_again() -> None:
    loader = Loader()
    kept = batches.Kept(loader, lambda pictures: pictures, 10_000)
    next(iter(kept))
    assert [int(batch["img"].max()) for batch in kept] == [0, 1, 2]
    assert [int(batch["img"].max()) for batch in kept] == [0, 1, 2]
    assert loader.reads == 4


@pytest.mark.filterwarnings("default")  # Ultralytics' own
def test_a_real_loader_is_replayed_as_it_was(varied_set: Path) -> None:
    data, cfg = check_det_dataset(str(varied_set)), get_cfg(overrides={"task": "detect", "imgsz": 64})
    built = build_yolo_dataset(cfg, data["val"], 10, data, mode="val", stride=32, rect=True)
    loader = build_dataloader(built, 10, 0, shuffle=False, rank=-1)
    wanted = list(loader)
    kept = batches.Kept(loader, lambda pictures: pictures.contiguous(memory_format=torch.channels_last))
    for _ in range(3):
        for batch, other in zip(kept, wanted, strict=True):
            assert batch.keys() == other.keys()
            assert all(torch.equal(batch[key], other[key]) for key in ("img", "cls", "bboxes", "batch_idx"))
            assert batch["im_file"] == other["im_file"]
    assert kept.batches[0]["img"].is_contiguous(memory_format=torch.channels_last)


def test_a_picture_is_decoded_once(tmp_path: Path) -> None:
    place: Any = base if hasattr(base, "imread") else base.cv2
    stock, names = place.imread, [str(tmp_path / f"{number}.png") for number in range(2)]
    for number, name in enumerate(names):
        cv2.imwrite(name, np.full((8, 8, 3), number, np.uint8))
    before = cv2.getNumThreads()
    with batches.pictures(most=200, threads=before + 1):  # room for one
        assert cv2.getNumThreads() == before + 1
        first = place.imread(names[0])
        first += 9
        place.imread(names[1])
        for name in names:
            Path(name).unlink()
        assert place.imread(names[0]).max() == 0
        assert place.imread(names[1]) is None
    assert place.imread is stock
    assert cv2.getNumThreads() == before


@pytest.mark.parametrize(("free", "room"), [(2**40, 2**31), (2**30, 2**27), (0, 0)])
def test_there_is_room_but_not_for_all(free: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    assert batches.room() == room
