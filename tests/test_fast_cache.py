"""The cache returns the same images and batches, even if a caller writes into what it got."""

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
    """A loader of three batches that counts its reads."""

    def __init__(self, augment: bool = False) -> None:
        self.dataset, self.batch_size, self.reads = SimpleNamespace(augment=augment), 2, 0

    def __len__(self) -> int:
        return 3

    def __iter__(self) -> Any:
        for number in range(3):
            self.reads += 1
            yield {"img": torch.full((2, 3, 4, 4), number, dtype=torch.uint8), "bboxes": torch.rand(3, 4),
                   "im_file": [f"{number}.jpg"]}


def test_batches_are_read_once_and_are_equal_in_every_pass() -> None:
    loader = Loader()
    cached = cache.CachedLoader(loader, lambda images: images, 10_000)
    assert (len(cached), cached.batch_size, cached.dataset) == (3, 2, loader.dataset)
    first = list(cached)
    boxes = [batch["bboxes"].clone() for batch in first]
    for batch in first:  # a validator may write into a batch
        batch["bboxes"] *= 0
        batch["im_file"].clear()
        batch["img"] = batch["img"].float() / 255
    again = list(cached)
    assert loader.reads == 3
    assert all(torch.equal(batch["bboxes"], one) for batch, one in zip(again, boxes, strict=True))
    assert [batch["im_file"] for batch in again] == [["0.jpg"], ["1.jpg"], ["2.jpg"]]
    assert all(batch["img"].dtype == torch.uint8 for batch in again)


@pytest.mark.parametrize(("loader", "max_bytes"), [(Loader(), 150), (Loader(), 0), (Loader(augment=True), 10_000)])
def test_batches_that_do_not_fit_or_that_change_are_read_in_every_pass(loader: Loader, max_bytes: int) -> None:
    cached = cache.CachedLoader(loader, lambda images: images, max_bytes)
    for times in (1, 2):
        assert [int(batch["img"].max()) for batch in cached] == [0, 1, 2]
        assert loader.reads == 3 * times
    assert not cached.batches


def test_an_incomplete_pass_is_read_again() -> None:
    loader = Loader()
    cached = cache.CachedLoader(loader, lambda images: images, 10_000)
    next(iter(cached))
    assert [int(batch["img"].max()) for batch in cached] == [0, 1, 2]
    assert [int(batch["img"].max()) for batch in cached] == [0, 1, 2]
    assert loader.reads == 4


@pytest.mark.filterwarnings("default")  # Ultralytics' own
def test_a_cached_loader_equals_the_real_loader(varied_set: Path) -> None:
    data, cfg = check_det_dataset(str(varied_set)), get_cfg(overrides={"task": "detect", "imgsz": 64})
    built = build_yolo_dataset(cfg, data["val"], 10, data, mode="val", stride=32, rect=True)
    loader = build_dataloader(built, 10, 0, shuffle=False, rank=-1)
    wanted = list(loader)
    cached = cache.CachedLoader(loader, lambda images: images.contiguous(memory_format=torch.channels_last))
    for _ in range(3):
        for batch, other in zip(cached, wanted, strict=True):
            assert batch.keys() == other.keys()
            assert all(torch.equal(batch[key], other[key]) for key in ("img", "cls", "bboxes", "batch_idx"))
            assert batch["im_file"] == other["im_file"]
    assert cached.batches[0]["img"].is_contiguous(memory_format=torch.channels_last)


@pytest.mark.filterwarnings("default")  # Ultralytics' own
@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_an_image_is_decoded_once_and_cv2_does_not_change(
    varied_set: Path, monkeypatch: pytest.MonkeyPatch, error: type[BaseException] | None
) -> None:
    data, cfg = check_det_dataset(str(varied_set)), get_cfg(overrides={"task": "detect", "imgsz": 32})
    built, other = (build_yolo_dataset(cfg, data["train"], 4, data, mode="train", stride=32) for _ in range(2))
    module: Any = base if hasattr(base, "imread") else base.cv2
    stock, decoded = module.imread, list[str]()
    monkeypatch.setattr(module, "imread", lambda name, *args, **kwargs: decoded.append(name) or stock(name, *args, **kwargs))
    before, counting = cv2.getNumThreads(), module.imread
    order = [0, 3, 0, 5, 9, 1, 2, 3, 4, 6, 7, 8, 0, 5] * 2
    with nullcontext() if error is None else pytest.raises(error), cache.cache_images(built, threads=before + 1):
        assert module.imread is counting
        assert cv2.getNumThreads() == before + 1
        for number in order:
            found, right = built.load_image(number), other.load_image(number)
            assert np.array_equal(found[0], right[0])
            assert found[1:] == right[1:]
            found[0][:] = 0  # a transform may write into an image
            right[0][:] = 0
            assert built.buffer == other.buffer, "Mosaic draws from the buffer"
        assert len([name for name in decoded if name == built.im_files[0]]) > 1, "the other data set must not use the cache"
        decoded.clear()
        built.ims = [None] * len(built)
        built.load_image(0)
        assert not decoded
        if error:
            raise error
    assert "load_image" not in vars(built)
    assert module.imread is counting
    assert cv2.getNumThreads() == before


@pytest.mark.filterwarnings("default")  # Ultralytics' own
def test_images_that_do_not_fit_are_decoded_again(varied_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, cfg = check_det_dataset(str(varied_set)), get_cfg(overrides={"task": "detect", "imgsz": 32})
    built = build_yolo_dataset(cfg, data["val"], 4, data, mode="val", stride=32)
    module: Any = base if hasattr(base, "imread") else base.cv2
    stock, decoded = module.imread, list[str]()
    monkeypatch.setattr(module, "imread", lambda name, *args, **kwargs: decoded.append(name) or stock(name, *args, **kwargs))
    with cache.cache_images(SimpleNamespace(base=built), max_bytes=64 * 64 * 3):  # the first fits
        for number in (0, 1, 0, 1):
            built.load_image(number)
    assert decoded == [built.im_files[0], built.im_files[1], built.im_files[1]]


@pytest.mark.parametrize(("free", "budget"), [(2**40, 2**31), (2**30, 2**27), (0, 0)])
def test_the_budget_is_an_eighth_of_the_free_memory_and_at_most_2_gib(
    free: int, budget: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache.psutil, "virtual_memory", lambda: SimpleNamespace(available=free))
    assert cache.cache_budget() == budget
