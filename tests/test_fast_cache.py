"""What is kept is what would be read again: the same batches and pictures, whoever writes into what they were given."""

from contextlib import nullcontext
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

from yolograft.fast import cache


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
    kept = cache.Kept(loader, lambda pictures: pictures, 10_000)
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
    kept = cache.Kept(loader, lambda pictures: pictures, most)
    for times in (1, 2):
        assert [int(batch["img"].max()) for batch in kept] == [0, 1, 2]
        assert loader.reads == 3 * times
    assert not kept.batches


def test_an_epoch_broken_off_is_begun_again() -> None:
    loader = Loader()
    kept = cache.Kept(loader, lambda pictures: pictures, 10_000)
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
    kept = cache.Kept(loader, lambda pictures: pictures.contiguous(memory_format=torch.channels_last))
    for _ in range(3):
        for batch, other in zip(kept, wanted, strict=True):
            assert batch.keys() == other.keys()
            assert all(torch.equal(batch[key], other[key]) for key in ("img", "cls", "bboxes", "batch_idx"))
            assert batch["im_file"] == other["im_file"]
    assert kept.batches[0]["img"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.filterwarnings("default")  # Ultralytics' own
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_a_picture_is_decoded_once_and_cv2_is_left_alone(
    varied_set: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None
) -> None:
    data, cfg = check_det_dataset(str(varied_set)), get_cfg(overrides={"task": "detect", "imgsz": 32})
    built, other = (build_yolo_dataset(cfg, data["train"], 4, data, mode="train", stride=32) for _ in range(2))
    place: Any = base if hasattr(base, "imread") else base.cv2
    stock, decoded = place.imread, list[str]()
    monkeypatch.setattr(place, "imread", lambda name, *args, **kwargs: decoded.append(name) or stock(name, *args, **kwargs))
    before, watched = cv2.getNumThreads(), place.imread
    order = [0, 3, 0, 5, 9, 1, 2, 3, 4, 6, 7, 8, 0, 5] * 2
    with nullcontext() if error is None else pytest.raises(error), cache.pictures(built, threads=before + 1):
        assert place.imread is watched
        assert cv2.getNumThreads() == before + 1
        for number in order:
            found, right = built.load_image(number), other.load_image(number)
            assert np.array_equal(found[0], right[0])
            assert found[1:] == right[1:]
            found[0][:] = 0  # as a transform may
            right[0][:] = 0
            assert built.buffer == other.buffer, "Mosaic chooses from it"
        assert len([name for name in decoded if name == built.im_files[0]]) > 1, "the other data set decodes it again"
        decoded.clear()
        built.ims = [None] * len(built)
        built.load_image(0)
        assert not decoded
        if error:
            raise error
    assert "load_image" not in vars(built)
    assert place.imread is watched
    assert cv2.getNumThreads() == before


@pytest.mark.filterwarnings("default")  # Ultralytics' own
def test_pictures_that_do_not_fit_are_decoded_again(varied_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, cfg = check_det_dataset(str(varied_set)), get_cfg(overrides={"task": "detect", "imgsz": 32})
    built = build_yolo_dataset(cfg, data["val"], 4, data, mode="val", stride=32)
    place: Any = base if hasattr(base, "imread") else base.cv2
    stock, decoded = place.imread, list[str]()
    monkeypatch.setattr(place, "imread", lambda name, *args, **kwargs: decoded.append(name) or stock(name, *args, **kwargs))
    with cache.pictures(SimpleNamespace(base=built), most=64 * 64 * 3):  # room for the first
        for number in (0, 1, 0, 1):
            built.load_image(number)
    assert decoded == [built.im_files[0], built.im_files[1], built.im_files[1]]


@pytest.mark.parametrize(("free", "room"), [(2**40, 2**31), (2**30, 2**27), (0, 0)])
def test_there_is_room_but_not_for_all(free: int, room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    assert cache.room() == room
