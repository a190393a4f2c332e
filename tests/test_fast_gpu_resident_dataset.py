"""Images on the device equal the loader's. Seed, epoch and image alone decide a batch."""

import random
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from ultralytics.cfg import get_cfg
from ultralytics.data.build import build_dataloader, build_yolo_dataset
from ultralytics.data.utils import check_det_dataset

from yolograft.fast.gpu import batched_augment, resident_dataset
from yolograft.fast.gpu.resident_dataset import ResidentLoader
from yolograft.runner.sampler import SeededDataset

pytestmark = [pytest.mark.filterwarnings("default"),  # Ultralytics' own warnings
              pytest.mark.usefixtures("one_thread")]
CPU = torch.device("cpu")


def dataset(file: Path, mode: str = "train", batch: int = 10, **settings: Any) -> Any:
    data = check_det_dataset(str(file))
    cfg = get_cfg(overrides={"task": "detect", "imgsz": 64, **settings})
    return build_yolo_dataset(cfg, data[mode], batch, data, mode=mode, stride=32, rect=mode == "val")


def loader(built: Any, batch: int = 10, seed: int = 0, epoch: int = 0) -> ResidentLoader:
    trainer = SimpleNamespace(epoch=epoch, args=SimpleNamespace(seed=seed))
    stock = build_dataloader(built, batch, 0, shuffle=True, rank=-1)
    return ResidentLoader(stock, trainer, resident_dataset.load_images(built, CPU))


def by_file(batches: Any) -> dict[str, tuple[Tensor, Tensor, Tensor]]:
    found = {}
    for batch in batches:
        for at, file in enumerate(batch["im_file"]):
            own = batch["batch_idx"] == at
            found[file] = batch["img"][at], batch["cls"][own], batch["bboxes"][own]
    return found


def same(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(ours, theirs) for key in one for ours, theirs in zip(one[key], other[key], strict=True))


def test_the_resident_images_equal_the_loaders(varied_set: Path) -> None:
    built = dataset(varied_set)
    images = resident_dataset.load_images(SeededDataset(built, 0), CPU)
    assert built.buffer == []
    assert not any(one is not None for one in built.ims)
    assert 4 * images.table.numel() == resident_dataset.required_bytes(built)
    for number in range(len(built)):
        image, original, size = built.load_image(number)
        square = images.table.view(torch.uint8).view(-1, 4)[1:].view(len(built), 64, 64, 4)[number]
        assert tuple(images.sizes[number]) == size == image.shape[:2]
        assert images.originals[number] == original
        assert torch.equal(square[: size[0], : size[1], :3], torch.from_numpy(image[..., ::-1].copy()))
        label = built.labels[number]
        assert images.counts[number] == len(label["cls"])
        assert np.array_equal(images.labels[number, : len(label["cls"]), 1:], label["bboxes"])


def test_a_batch_has_the_form_of_the_stock_loaders(varied_set: Path) -> None:
    built = dataset(varied_set)
    ours, theirs = next(iter(loader(built))), next(iter(build_dataloader(built, 10, 0, shuffle=True, rank=-1)))
    for key in ("img", "cls", "bboxes", "batch_idx"):
        assert ours[key].dtype == theirs[key].dtype
        assert ours[key].shape[1:] == theirs[key].shape[1:]
    assert len(ours["im_file"]) == len(ours["ori_shape"]) == len(ours["resized_shape"]) == 10
    assert set(theirs) - set(ours) <= {"ratio_pad", "texts"}
    shapes = dict(zip(theirs["im_file"], theirs["ori_shape"], strict=True))
    assert all(shapes.get(file, shape) == shape for file, shape in zip(ours["im_file"], ours["ori_shape"], strict=True))


def test_seed_epoch_and_image_alone_decide_a_batch(varied_set: Path) -> None:
    built = dataset(varied_set)
    first = by_file(loader(built))
    assert len(first) == len(built)
    random.seed(5)
    torch.manual_seed(5)
    states = random.getstate(), torch.get_rng_state(), np.random.get_state()[1].tolist()  # type: ignore[union-attr]
    assert same(first, by_file(loader(SeededDataset(built, 7), batch=7))), "batch size and wrapper must not matter"
    assert (random.getstate(), np.random.get_state()[1].tolist()) == (states[0], states[2])  # type: ignore[union-attr]
    assert torch.equal(torch.get_rng_state(), states[1])
    assert not same(first, by_file(loader(built, seed=1)))
    assert not same(first, by_file(loader(built, epoch=1)))
    orders = [[file for batch in loader(built, seed=seed, epoch=epoch) for file in batch["im_file"]]
              for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert orders[0] == orders[1] != orders[2] != orders[3]


def test_the_last_epochs_have_no_mosaic(varied_set: Path) -> None:
    built = dataset(varied_set)
    given = loader(built)
    most = max(len(boxes) for _, _, boxes in by_file(given).values())
    built.close_mosaic(get_cfg(overrides={"task": "detect", "imgsz": 64}))
    assert batched_augment.read_recipe(built)[0].mosaic == 0
    assert max(len(boxes) for _, _, boxes in by_file(given).values()) <= int(given.images.counts.max()) < most


@pytest.mark.parametrize(("settings", "named"), [
    ({"mixup": 0.1}, ["mixup=0.1"]), ({"rect": True}, ["rect=True"]), ({"multi_scale": True}, ["multi_scale=True"]),
    ({"copy_paste": 0.3, "bgr": 0.1}, ["copy_paste=0.3", "bgr=0.1"]), ({"task": "segment"}, ["task=segment"]),
    ({"device": "0,1"}, ["device=0,1"]), ({"device": [0, 1]}, ["device=[0, 1]"]), ({"device": "0", "fliplr": 1.0}, []),
    ({"cutmix": 0.5}, ["cutmix=0.5"]), ({"quantize": 8}, ["quantize=8"])])
def test_unsupported_arguments_are_named(settings: dict[str, Any], named: list[str]) -> None:
    assert sorted(resident_dataset.unsupported_arguments(settings)) == sorted(named)


def test_unsupported_data_sets_are_named(varied_set: Path) -> None:
    built = dataset(varied_set)
    assert resident_dataset.unsupported(SeededDataset(built, 0), {}) == []
    built.labels[3]["segments"] = [np.zeros((5, 2))]
    built.transforms.append(SimpleNamespace())
    built.data = {**built.data, "channels": 4}
    assert [words.partition(" ")[0] for words in resident_dataset.unsupported(built, {"mixup": 0.2})] == [
        "mixup=0.2", "segments", "channels=4", "the"]
    assert resident_dataset.unsupported(SimpleNamespace(), {}) == ["a data set of the class SimpleNamespace"]
