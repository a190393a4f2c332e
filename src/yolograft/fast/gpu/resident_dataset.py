"""A detection set held in the memory of the training device, and the loaders that give batches from there.

Small networks at small sizes leave a GPU waiting for its loader. Here every training picture is decoded and resized once,
as Ultralytics' loader does it, and augmented on the device (`augment`). What cannot be done here is refused by name, never
left out.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `load_image(i)` of a data set that does not augment returns the picture
with its long side resized to `imgsz`, and changes nothing; `labels` holds each picture's `cls`, `bboxes` (x, y, w, h in
shares) and `segments`; `close_mosaic` builds the data set's `transforms` anew; the trainer counts epochs in `epoch`, and
asks of its training loader `len`, iteration, `dataset` and `reset`, and for the rest what the stock loader has.
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
from yolograft.seeding import derive_seed

__all__ = ["SHARE", "Pictures", "ResidentLoader", "hold", "refusals", "unsupported"]

SHARE = 0.25  # of the free memory that pictures may take: the maps of training need the rest, and there may be other trials
_AT_ONCE = 4  # pictures whose mosaics fit into a CPU's cache
_NEVER = ("mixup", "cutmix", "copy_paste", "bgr", "multi_scale", "rect", "augmentations")


def unsupported(settings: Mapping[str, Any]) -> list[str]:
    """Return which train arguments resident pictures cannot follow, as `key=value`."""
    found = [f"{key}={settings[key]}" for key in _NEVER if settings.get(key)]
    if settings.get("task") not in (None, "detect"):
        found.append(f"task={settings['task']}")
    if settings.get("quantize") == 8:
        found.append("quantize=8")
    if "," in str(settings.get("device")):  # several, as a text or as a list
        found.append(f"device={settings['device']}")
    return found


def refusals(dataset: Any, settings: Mapping[str, Any]) -> list[str]:
    """Return what of a training set or of the arguments keeps the pictures in the loader."""
    plain = getattr(dataset, "base", dataset)
    found = unsupported(settings)
    if type(plain) is not YOLODataset:
        return [*found, f"a data set of the kind {type(plain).__name__}"]
    if any(len(label["segments"]) for label in plain.labels):
        found.append("outlines in the labels, from which Ultralytics takes the boxes")
    if plain.data.get("channels", 3) != 3:
        found.append(f"channels={plain.data['channels']}")
    return found + [one for one in batched_augment.recipe_of(plain)[1] if one not in found]


def free_memory(device: torch.device) -> int:
    """Return how many bytes are free on a device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """All pictures of a set, decoded.

    Attributes:
        table: (1 + N * side * side,) int32 on the device: four bytes a pixel, RGB and one unused; the first is grey.
        sizes: (N, 2) each picture's height and width, on the host.
        labels: (N, most, 5) class, x, y, w, h in shares of the picture, on the host; what is beyond `counts` means nothing.
        counts: (N,) boxes of each picture.
        originals: each picture's height and width in its file.
    """

    table: Tensor
    sizes: NDArray[np.int64]
    labels: Tensor
    counts: Tensor
    originals: list[tuple[int, int]]


def size_of(dataset: Any) -> int:
    """Return the bytes that a data set's pictures will take on the device."""
    return 4 * (1 + len(dataset) * int(dataset.imgsz) ** 2)


def hold(dataset: Any, device: torch.device) -> Pictures:
    """Decode a data set's pictures onto a device."""
    plain = copy.copy(getattr(dataset, "base", dataset))
    plain.augment = False  # one that augments would keep what it loads for Mosaic, and drop others
    count, side = len(plain), int(plain.imgsz)
    table = torch.empty(1 + count * side**2, dtype=torch.int32, device=device)
    pixels = table.view(torch.uint8).view(-1, 4)
    pixels[0] = batched_augment.GREY
    sizes, originals = np.zeros((count, 2), np.int64), []
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for number, (picture, original, size) in enumerate(pool.map(plain.load_image, range(count))):
            if picture.dtype != np.uint8 or picture.shape[2] != 3:
                raise HostError(f"{plain.im_files[number]} is no picture of three channels of 8 bits.")
            square = np.zeros((side, side, 4), np.uint8)
            square[: size[0], : size[1], :3] = picture[..., ::-1]
            pixels[1 + number * side**2 : 1 + (number + 1) * side**2] = torch.from_numpy(square).view(-1, 4).to(device)
            sizes[number] = size
            originals.append((int(original[0]), int(original[1])))
    counts = torch.tensor([len(label["cls"]) for label in plain.labels])
    labels = torch.zeros(count, max(1, int(counts.max())), 5)
    for number, label in enumerate(plain.labels):
        labels[number, : len(label["cls"])] = torch.from_numpy(np.concatenate([label["cls"], label["bboxes"]], 1))
    return Pictures(table=table, sizes=sizes, labels=labels, counts=counts, originals=originals)


class ResidentLoader:
    """A training loader whose batches come from pictures on the device; for the rest, the stock loader it stands for.

    The order of an epoch and what happens to each picture follow from seed, epoch and picture alone (`pairing`, `augment`).

    Args:
        stock: the loader that the trainer built.
        trainer: whose `epoch` and `args.seed` count.
        pictures: of the loader's data set.
    """

    def __init__(self, stock: Any, trainer: Any, pictures: Pictures) -> None:
        self.stock, self.trainer, self.pictures = stock, trainer, pictures

    def __getattr__(self, name: str) -> Any:
        if name == "stock":  # not there yet
            raise AttributeError(name)
        return getattr(self.stock, name)

    def __len__(self) -> int:
        return len(self.stock)

    def reset(self) -> None:
        """Begin anew, as every pass does: the stock loader would start its workers."""

    def __iter__(self) -> Iterator[dict[str, Any]]:
        epoch = int(getattr(self.trainer, "epoch", 0))
        yield from self.batches(int(self.trainer.args.seed), epoch)

    def batches(self, seed: int, epoch: int) -> Iterator[dict[str, Any]]:
        """Give the batches of an epoch."""
        held, dataset = self.pictures, self.stock.dataset
        recipe = batched_augment.recipe_of(dataset)[0]  # anew, since the last epochs have no mosaic
        plan = batched_augment.plan(recipe, held.sizes, seed, epoch)
        device = held.table.device
        there, sizes = plan.to(device), torch.from_numpy(held.sizes)
        sizes_there = sizes.to(device)
        order = list(range(len(held.sizes)))
        random.Random(derive_seed("order", seed, epoch)).shuffle(order)
        for begin in range(0, len(self) * self.stock.batch_size, self.stock.batch_size):
            numbers = order[begin : begin + self.stock.batch_size]
            rows = torch.tensor(numbers)
            owner, classes, found = batched_augment.boxes(held.labels, held.counts, sizes, plan.take(rows), recipe)
            parts = rows.split(_AT_ONCE if device.type == "cpu" else len(rows))
            pictures = [batched_augment.render(held.table, sizes_there, there.take(part.to(device)), recipe)
                        for part in parts]
            yield {
                "img": torch.cat(pictures),
                "cls": classes, "bboxes": found, "batch_idx": owner,
                "im_file": tuple(dataset.im_files[number] for number in numbers),
                "ori_shape": tuple(held.originals[number] for number in numbers),
                "resized_shape": ((recipe.side, recipe.side),) * len(numbers),
            }
