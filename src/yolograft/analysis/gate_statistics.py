"""Statistics of gates over a data set: running moments per channel and per class, so that memory does not grow with it.

A block that adds or mixes has no gate. Its statistics are those of one number per image, the change |y - x| / |x|.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from yolograft.analysis.block_training import new_block
from yolograft.analysis.gates import Place, change_of, gate_of

__all__ = ["BoxGates", "ClassGates", "Collector", "Example", "GateSummary"]

NEAR = 0.05  # a gate value is near 0, 0.5 or 1 if it differs by less
_EXAMPLES = 6  # images of which the gate maps are kept

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class ClassGates:
    """The gates over the images that contain a class: number of images, mean and standard deviation of each channel."""

    images: int
    mean: Array
    spread: Array


@dataclass(frozen=True, kw_only=True)
class BoxGates:
    """The mean gate inside the boxes of a class and in the rest of their images, and the number of boxes."""

    boxes: int
    inside: float
    outside: float


@dataclass(frozen=True, kw_only=True)
class Example:
    """An image with the gate maps of the blocks whose gates vary in space.

    Attributes:
        file: the image's path.
        image: (H, W, 3) uint8, RGB, as the network reads it.
        boxes: (n, 4) x1, y1, x2, y2 of the ground truth, in pixels of `image`.
        kinds: (n,) their classes.
        maps: name of a place -> (h, w) gate, averaged over the channels.
    """

    file: str
    image: NDArray[np.uint8]
    boxes: Array
    kinds: NDArray[np.int64]
    maps: Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class GateSummary:
    """The gate of one block over all images.

    Attributes:
        images: number of images.
        mean: (C,) mean gate of each channel; (1,) for a spatial gate, and the mean change for a block without a gate.
        spread: (C,) standard deviation of the image's mean gate between images.
        spread_in_image: standard deviation over the positions of an image, root mean square over images and channels.
        minimum, maximum: over all values.
        near: shares of values within 0.05 of 0, 0.5 and 1.
        eta_squared: share of the variance between images that their classes explain, over all channels. An image with two
            classes counts in both.
        eta_chance: the eta squared to be expected if the classes did not matter, (k - 1) / (n - 1).
        moved: mean absolute difference to the gate of a new block of these settings, on the same inputs.
        change: mean of |y - x| / |x| over images: how much the block changes its input.
        classes: class -> its gates. The class -1 stands for images without objects.
        boxes: class -> the gates inside its boxes; empty for a gate that does not vary in space.
    """

    images: int
    mean: Array
    spread: Array
    spread_in_image: float
    minimum: float
    maximum: float
    near: Mapping[float, float]
    eta_squared: float
    eta_chance: float
    moved: float
    change: float
    classes: Mapping[int, ClassGates]
    boxes: Mapping[int, BoxGates]


class _Moments:
    """Number, sum and sum of squares of each channel. NaN does not count."""

    def __init__(self, channels: int) -> None:
        self.count, self.sum, self.squares = np.zeros(channels), np.zeros(channels), np.zeros(channels)

    def add(self, values: Array) -> None:
        """Add values of the shape (..., channels)."""
        values = values.reshape(-1, values.shape[-1])
        is_known = np.isfinite(values)
        known = np.where(is_known, values, 0)
        self.count += is_known.sum(axis=0)
        self.sum += known.sum(axis=0)
        self.squares += np.square(known).sum(axis=0)

    @property
    def mean(self) -> Array:
        return self.sum / np.maximum(self.count, 1)

    @property
    def deviations(self) -> Array:
        """Sum of squared deviations from the mean."""
        return np.maximum(self.squares - np.square(self.sum) / np.maximum(self.count, 1), 0)

    @property
    def spread(self) -> Array:
        return np.sqrt(self.deviations / np.maximum(self.count - 1, 1))


class _PlaceStatistics:
    """The running statistics of one place."""

    def __init__(self, place: Place) -> None:
        channels = place.channels if place.kind in ("channel", "both") else 1
        self.place, self.born = place, new_block(place)
        self.all, self.pairs = _Moments(channels), _Moments(channels)
        self.classes: dict[int, _Moments] = {}
        self.class_images: dict[int, int] = {}
        self.boxes: dict[int, _Moments] = {}
        self.changes, self.moves, self.in_image = _Moments(1), _Moments(1), _Moments(1)
        self.near = dict.fromkeys((0.0, 0.5, 1.0), 0)
        self.values, self.images = 0, 0
        self.minimum, self.maximum = math.inf, -math.inf
        self.gate, self.changed, self.moved = (torch.empty(0),) * 3  # of the last batch

    @torch.no_grad()
    def observe(self, x: Tensor, y: Tensor) -> None:
        """Keep the gate of a batch until its classes are known. Shapes (B, C, H, W)."""
        born = self.born.to(x.device)(x)
        self.changed = change_of(x, y)
        if self.place.kind == "none":
            self.gate = self.changed[:, None, None, None]
            self.moved = (self.changed - change_of(x, born)).abs()
            return
        self.gate = gate_of(x, y, self.place.kind)
        self.moved = (self.gate - gate_of(x, born, self.place.kind)).abs().flatten(1).nanmean(1)

    def add(self, kinds: Sequence[NDArray[np.int64]], boxes: Sequence[Array]) -> None:
        """Add the kept batch to the statistics.

        Args:
            kinds: the classes of each image's objects.
            boxes: their boxes, x1, y1, x2, y2 as shares of the width and the height.
        """
        gate: Array = self.gate.cpu().numpy()
        known = gate[np.isfinite(gate)]
        self.images += len(gate)
        self.values += known.size
        for centre in self.near:
            self.near[centre] += int((np.abs(known - centre) < NEAR).sum())
        if known.size:
            self.minimum, self.maximum = min(self.minimum, float(known.min())), max(self.maximum, float(known.max()))
        self.changes.add(self.changed.cpu().numpy()[:, None])
        self.moves.add(self.moved.cpu().numpy()[:, None])
        flat = gate.reshape(*gate.shape[:2], -1)
        means = _nanmean(flat, 2)
        self.in_image.add(_nanmean(np.square(flat - means[..., None]), 2).reshape(-1, 1))
        self.all.add(means)
        for number, of_image in enumerate(kinds):
            for kind in map(int, np.unique(of_image) if len(of_image) else [-1]):
                self.classes.setdefault(kind, _Moments(gate.shape[1])).add(means[number])
                self.class_images[kind] = self.class_images.get(kind, 0) + 1
                self.pairs.add(means[number])
            if self.place.kind in ("spatial", "both"):
                self._add_boxes(_nanmean(gate[number], 0), of_image, boxes[number])

    def _add_boxes(self, gate: Array, kinds: NDArray[np.int64], boxes: Array) -> None:
        for kind, box in zip(map(int, kinds), boxes, strict=True):
            inside = cells_of(box, gate.shape)
            if not inside.all():
                self.boxes.setdefault(kind, _Moments(2)).add(np.array([np.nanmean(gate[inside]), np.nanmean(gate[~inside])]))

    def summary(self) -> GateSummary:
        within = sum(one.deviations.sum() for one in self.classes.values())
        total, pairs = self.pairs.deviations.sum(), int(self.pairs.count.max(initial=0))
        return GateSummary(
            images=self.images, mean=self.all.mean, spread=self.all.spread,
            spread_in_image=float(np.sqrt(self.in_image.mean[0])), minimum=self.minimum, maximum=self.maximum,
            near={centre: count / max(self.values, 1) for centre, count in self.near.items()},
            eta_squared=float(1 - within / total) if total > 1e-18 * pairs else 0.0,
            eta_chance=(len(self.classes) - 1) / max(pairs - 1, 1), moved=float(self.moves.mean[0]),
            change=float(self.changes.mean[0]),
            classes={kind: ClassGates(images=self.class_images[kind], mean=one.mean, spread=one.spread)
                     for kind, one in sorted(self.classes.items())},
            boxes={kind: BoxGates(boxes=int(one.count[0]), inside=float(one.mean[0]), outside=float(one.mean[1]))
                   for kind, one in sorted(self.boxes.items())})


class Collector:
    """Collects the statistics of several places. `observe` gets the blocks' inputs and outputs, then `add` the batch.

    Attributes:
        examples: images of as many classes as possible, with the maps of gates that vary in space.
    """

    def __init__(self, places: Sequence[Place]) -> None:
        self.examples: list[Example] = []
        self._places = {place: _PlaceStatistics(place) for place in places}
        self._seen: set[int] = set()

    def observe(self, place: Place, x: Tensor, y: Tensor) -> None:
        """Take the input and the output of a block, (B, C, H, W), as `gates.observed` gives them."""
        self._places[place].observe(x, y)

    def add(self, batch: Mapping[str, Any]) -> None:
        """Take the batch of images and labels that ran, as Ultralytics' data loader makes it, with images from 0 to 1."""
        owner, classes, boxes = (batch[key].cpu().numpy() for key in ("batch_idx", "cls", "bboxes"))
        corners = np.concatenate((boxes[:, :2] - boxes[:, 2:] / 2, boxes[:, :2] + boxes[:, 2:] / 2), 1).astype(np.float64)
        rows = [owner == number for number in range(len(batch["img"]))]
        kinds = [classes[of_image].reshape(-1).astype(int) for of_image in rows]
        of_images = [corners[of_image] for of_image in rows]
        for statistics in self._places.values():
            statistics.add(kinds, of_images)
        self._keep_examples(batch, kinds, of_images)

    def _keep_examples(self, batch: Mapping[str, Any], kinds: Sequence[NDArray[np.int64]], boxes: Sequence[Array]) -> None:
        drawn = [one for one in self._places.values() if one.place.kind in ("spatial", "both")]
        for number, of_image in enumerate(kinds):
            if not drawn or len(self.examples) == _EXAMPLES or not set(map(int, of_image)) - self._seen:
                continue
            self._seen |= set(map(int, of_image))
            image = (batch["img"][number].permute(1, 2, 0)[..., :3] * 255).round().byte().cpu().numpy()
            height, width = image.shape[:2]
            self.examples.append(Example(
                file=str(batch["im_file"][number]), image=image, boxes=boxes[number] * [width, height, width, height],
                kinds=of_image, maps={one.place.name: _nanmean(one.gate[number].cpu().numpy(), 0) for one in drawn}))

    def summaries(self) -> dict[Place, GateSummary]:
        """Return the statistics of each place."""
        return {place: statistics.summary() for place, statistics in self._places.items()}


def cells_of(box: Array, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Return which cells of a map a box touches. The box is x1, y1, x2, y2 as shares of the width and the height."""
    height, width = shape
    x1, y1 = (int(np.clip(math.floor(box[i] * size), 0, size - 1)) for i, size in ((0, width), (1, height)))
    x2, y2 = (int(np.clip(math.ceil(box[i] * size), low + 1, size)) for i, size, low in ((2, width, x1), (3, height, y1)))
    inside = np.zeros(shape, bool)
    inside[y1:y2, x1:x2] = True
    return inside


def _nanmean(values: Array, axis: int) -> Array:
    """Return the mean along an axis without NaN, and NaN where there is nothing else; no warning."""
    is_known = np.isfinite(values)
    count = is_known.sum(axis=axis)
    return np.where(count > 0, np.where(is_known, values, 0).sum(axis=axis) / np.maximum(count, 1), np.nan)
