"""A detection data set in the memory of the training device, and the loader that takes batches from there.

A small network at a small image size leaves a GPU waiting for its loader. Here every training image is decoded and resized
once, as Ultralytics' loader does, and augmented on the device (`batched_augment`). Arguments and data sets that this does
not support are refused by name and never ignored.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `load_image(i)` of a data set that does not augment returns the image
with its long side resized to `imgsz`, and changes nothing. `labels` holds each image's `cls`, `bboxes` (normalised x, y, w,
h) and `segments`. `close_mosaic` builds the data set's `transforms` again. The trainer counts epochs in `epoch`, and uses
`len`, iteration, `dataset` and `reset` of its training loader, and other attributes that the stock loader has.
"""

from __future__ import annotations

import copy
import os
import random
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import psutil
import torch
from numpy.typing import NDArray
from torch import Tensor
from ultralytics.data.dataset import YOLODataset

from yolograft.errors import HostError
from yolograft.fast.gpu import batched_augment
from yolograft.language import tr
from yolograft.seeding import derive_seed

__all__ = ["MEMORY_FRACTION", "ResidentImages", "ResidentLoader", "free_memory", "load_images", "required_bytes",
           "unsupported", "unsupported_arguments"]

MEMORY_FRACTION = 0.25  # of the free memory, for the images: activations need the rest, and other trials may run too
_CPU_CHUNK = 4  # images whose mosaics fit into a CPU's cache together
_UNSUPPORTED = ("mixup", "cutmix", "copy_paste", "bgr", "multi_scale", "rect", "augmentations")


def unsupported_arguments(settings: Mapping[str, Any]) -> list[str]:
    """Return the train arguments that a resident data set does not support, as `key=value`."""
    found = [f"{key}={settings[key]}" for key in _UNSUPPORTED if settings.get(key)]
    if settings.get("task") not in (None, "detect"):
        found.append(f"task={settings['task']}")
    if settings.get("quantize") == 8:
        found.append("quantize=8")
    if "," in str(settings.get("device")):  # several devices, as text or as a list
        found.append(f"device={settings['device']}")
    return found


def unsupported(dataset: Any, settings: Mapping[str, Any]) -> list[str]:
    """Return what a resident data set does not support in a training set and its train arguments."""
    plain = getattr(dataset, "base", dataset)
    found = unsupported_arguments(settings)
    if type(plain) is not YOLODataset:
        return [*found, tr("a data set of the class {name}", name=type(plain).__name__)]
    if any(len(label["segments"]) for label in plain.labels):
        found.append(tr("segments in the labels, from which Ultralytics computes the boxes"))
    if plain.data.get("channels", 3) != 3:
        found.append(f"channels={plain.data['channels']}")
    return found + [one for one in batched_augment.read_recipe(plain)[1] if one not in found]


def free_memory(device: torch.device) -> int:
    """Return the number of free bytes on a device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


@dataclass(frozen=True, kw_only=True)
class ResidentImages:
    """All images of a data set, decoded, and their labels.

    Attributes:
        table: (1 + N * side * side,) int32 on the device: four bytes per pixel, RGB and one unused. The first pixel is grey.
        sizes: (N, 2) height and width of each image, on the CPU.
        labels: (N, max boxes, 5) class and normalised x, y, w, h, on the CPU. Rows from `counts` on are padding.
        counts: (N,) number of boxes of each image.
        originals: height and width of each image in its file.
    """

    table: Tensor
    sizes: NDArray[np.int64]
    labels: Tensor
    counts: Tensor
    originals: list[tuple[int, int]]


def required_bytes(dataset: Any) -> int:
    """Return the number of bytes that a data set's images take on the device."""
    return 4 * (1 + len(dataset) * int(dataset.imgsz) ** 2)


def load_images(dataset: Any, device: torch.device) -> ResidentImages:
    """Decode a data set's images and copy them to a device.

    Raises:
        HostError: an image does not have three channels of 8 bits.
    """
    plain = copy.copy(getattr(dataset, "base", dataset))
    plain.augment = False  # a data set that augments would put what it loads into Mosaic's buffer
    count, side = len(plain), int(plain.imgsz)
    table = torch.empty(1 + count * side**2, dtype=torch.int32, device=device)
    pixels = table.view(torch.uint8).view(-1, 4)
    pixels[0] = batched_augment.GREY
    sizes, originals = np.zeros((count, 2), np.int64), []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for number, (image, original, size) in enumerate(pool.map(plain.load_image, range(count))):
            if image.dtype != np.uint8 or image.shape[2] != 3:
                raise HostError(tr("{file} does not have three channels of 8 bits. Say speed=stock.",
                                   file=plain.im_files[number]))
            square = np.zeros((side, side, 4), np.uint8)
            square[: size[0], : size[1], :3] = image[..., ::-1]
            pixels[1 + number * side**2 : 1 + (number + 1) * side**2] = torch.from_numpy(square).view(-1, 4).to(device)
            sizes[number] = size
            originals.append((int(original[0]), int(original[1])))
    counts = torch.tensor([len(label["cls"]) for label in plain.labels])
    labels = torch.zeros(count, max(1, int(counts.max())), 5)
    for number, label in enumerate(plain.labels):
        labels[number, : len(label["cls"])] = torch.from_numpy(np.concatenate([label["cls"], label["bboxes"]], 1))
    return ResidentImages(table=table, sizes=sizes, labels=labels, counts=counts, originals=originals)


class ResidentLoader:
    """A training loader that makes its batches on the device. Other attributes are those of the stock loader.

    Seed, epoch and image alone decide an epoch's order and each image's augmentation (`seeding`, `batched_augment`).

    Args:
        stock: the loader that the trainer built.
        trainer: for its `epoch` and `args.seed`.
        images: of the loader's data set.
    """

    def __init__(self, stock: Any, trainer: Any, images: ResidentImages) -> None:
        self.stock, self.trainer, self.images = stock, trainer, images

    def __getattr__(self, name: str) -> Any:
        if name == "stock":  # not set yet while the object is copied or unpickled
            raise AttributeError(name)
        return getattr(self.stock, name)

    def __len__(self) -> int:
        return len(self.stock)

    def reset(self) -> None:
        """Do nothing: every iteration starts again. The stock loader's method would start its workers."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = int(getattr(self.trainer, "epoch", 0))
        yield from self.batches(int(self.trainer.args.seed), epoch)

    def batches(self, seed: int, epoch: int) -> Iterator[dict[str, Any]]:
        """Yield the batches of an epoch."""
        images, dataset = self.images, self.stock.dataset
        recipe = batched_augment.read_recipe(dataset)[0]  # in every epoch, since the last ones have no mosaic
        plan = batched_augment.draw_plan(recipe, images.sizes, seed, epoch)
        device = images.table.device
        device_plan, sizes = plan.to(device), torch.from_numpy(images.sizes)
        device_sizes = sizes.to(device)
        order = list(range(len(images.sizes)))
        random.Random(derive_seed("order", seed, epoch)).shuffle(order)
        for start in range(0, len(self) * self.stock.batch_size, self.stock.batch_size):
            numbers = order[start : start + self.stock.batch_size]
            rows = torch.tensor(numbers)
            batch_idx, classes, boxes = batched_augment.transform_boxes(
                images.labels, images.counts, sizes, plan.take(rows), recipe)
            chunks = rows.split(_CPU_CHUNK if device.type == "cpu" else len(rows))
            rendered = [batched_augment.render_images(images.table, device_sizes, device_plan.take(chunk.to(device)), recipe)
                        for chunk in chunks]
            yield {
                "img": torch.cat(rendered),
                "cls": classes, "bboxes": boxes, "batch_idx": batch_idx,
                "im_file": tuple(dataset.im_files[number] for number in numbers),
                "ori_shape": tuple(images.originals[number] for number in numbers),
                "resized_shape": ((recipe.side, recipe.side),) * len(numbers),
            }
