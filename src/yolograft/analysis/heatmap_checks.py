"""Checks that a heat map must pass before it counts as evidence, as numbers.

- Deletion (Petsiuk et al., RISE, BMVC 2018, section 4.2): the logit of the box as the most important pixels are removed,
  and the area under that curve. A map that finds what the network uses lowers the logit sooner than a random order. Two
  controls stand beside it: random patches of the map's own resolution, and the pixels nearest to the box's centre, which
  any detector's map knows.
- Randomised weights (Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018): the rank correlation of the map before
  and after the weights are replaced from the head downwards. A map that stays the same does not depend on what was learned.
- Agreement of models: the rank correlation of the maps of several models for the same picture and box. Two seeds of the same
  model are the measure for any difference between a host and an arm.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import rankdata
from torch import Tensor, nn

from yolograft.analysis.candidates import Detector, Letterbox, Target
from yolograft.analysis.heatmap import HeatMap, heat_map, on_picture, tap_layers
from yolograft.errors import HostError
from yolograft.language import tr
from yolograft.seeding import derive_seed, seeded_rng
from yolograft.sites import rows

__all__ = ["STAGES", "Agreement", "Deletion", "RandomisedCascade", "deletion", "rank_correlation"]

STAGES = ("head", "neck", "all")  # cascade: the head; the head and the neck; all rows
_STEPS = 10
_ORDERS = 5  # random orders of removal
_BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """Logits of a box as more and more of its picture is removed.

    Attributes:
        removed: fractions of the picture's pixels, 0 to 1.
        by_map: the logit at each fraction, in the order of the map.
        by_centre: the same in the order of the distance to the box's centre.
        by_chance: the same for each random order.
    """

    removed: tuple[float, ...]
    by_map: tuple[float, ...]
    by_centre: tuple[float, ...]
    by_chance: tuple[tuple[float, ...], ...]

    @property
    def area(self) -> float:
        """The area under the map's curve: the mean logit over all fractions. Lower is better."""
        return self._area(self.by_map)

    @property
    def centre_area(self) -> float:
        """The area for the order by distance to the box's centre."""
        return self._area(self.by_centre)

    @property
    def chance_areas(self) -> tuple[float, ...]:
        """The area of each random order."""
        return tuple(map(self._area, self.by_chance))

    @property
    def beats_chance(self) -> bool:
        """Whether the map's area is below that of every random order."""
        return self.area < min(self.chance_areas)

    @property
    def beats_centre(self) -> bool:
        """Whether the map's area is below that of the box's centre."""
        return self.area < self.centre_area

    def _area(self, curve: Sequence[float]) -> float:
        steps, values = np.diff(self.removed), np.asarray(curve)
        return float((steps * (values[1:] + values[:-1]) / 2).sum())


def deletion(detector: Detector, images: Tensor, target: Target, heat: HeatMap, letterbox: Letterbox, *, cell: int,
             seed: int = 0) -> Deletion:
    """Remove a picture's pixels in the order of a heat map, and record the logit of the box.

    Removed pixels get the mean colour of the picture. Pixels of equal value are removed in a random order.

    Args:
        detector: the detector.
        images: (1, C, H, W) in 0 to 1.
        target: the box.
        heat: (H, W).
        letterbox: where the picture lies in the input. Padding is never removed.
        cell: pixels of the input per cell of the map's layer: random orders remove patches of this size.
        seed: of the random orders.
    """
    inside = heat[letterbox.window]
    height, width = inside.shape
    x1, y1, x2, y2 = target.box
    ys = (np.arange(height)[:, None] + 0.5) * letterbox.shape[0] / height - (y1 + y2) / 2
    xs = (np.arange(width)[None] + 0.5) * letterbox.shape[1] / width - (x1 + x2) / 2
    # in units of the box's sides, so that the order follows its shape
    centre = -np.maximum(np.abs(ys) / max(y2 - y1, 1), np.abs(xs) / max(x2 - x1, 1))
    orders = [inside, centre, *(_patches(height, width, cell, derive_seed("deletion", seed, number))
                                for number in range(_ORDERS))]
    fractions = np.linspace(0, 1, _STEPS + 1)
    first, last = _curve(detector, images, target, inside, letterbox, fractions[[0, -1]], 0)  # the same for every order
    curves = [(first, *_curve(detector, images, target, importance, letterbox, fractions[1:-1], derive_seed("ties", seed)),
               last) for importance in orders]
    return Deletion(removed=tuple(fractions.tolist()), by_map=curves[0], by_centre=curves[1],
                    by_chance=tuple(curves[2:]))


def _patches(height: int, width: int, cell: int, seed: int) -> NDArray[np.float32]:
    """Return random importances (height, width), as smooth as a heat map with cells of `cell` pixels."""
    shape = (max(1, -(-height // cell)), max(1, -(-width // cell)))
    values = np.random.default_rng(seed).random(shape).astype(np.float32)
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


@torch.no_grad()
def _curve(detector: Detector, images: Tensor, target: Target, importance: NDArray[np.floating], letterbox: Letterbox,
           fractions: NDArray[np.float64], seed: int) -> tuple[float, ...]:
    ties = np.random.default_rng(seed).random(importance.size)
    order = np.lexsort((ties, -importance.ravel().astype(np.float64)))
    rank = np.empty(importance.size, np.int64)
    rank[order] = np.arange(importance.size)
    ranks = torch.from_numpy(rank.reshape(importance.shape)).to(images.device)
    ys, xs = letterbox.window
    inside = images[:, :, ys, xs]
    colour = inside.mean(dim=(2, 3), keepdim=True)
    changed = images.repeat(len(fractions), 1, 1, 1)
    for number, fraction in enumerate(fractions):
        is_removed = ranks < round(fraction * importance.size)
        changed[number, :, ys, xs] = torch.where(is_removed, colour[0], inside[0])
    logits = torch.cat([detector(part)[:, target.anchor, target.kind] for part in changed.split(_BATCH)])
    return tuple(logits.tolist())


class RandomisedCascade:
    """Heat maps of a detector whose weights are replaced by random ones from the head downwards. The detector is unchanged.

    Modules are initialised as PyTorch and their own `reset_parameters` do; parameters of other modules are shuffled. Batch
    norms take their statistics from the picture, since stale ones would drive the features to 0 or to overflow.

    Args:
        detector: the detector.
        sites, method: the layers and the method of the heat maps.
    """

    def __init__(self, detector: Detector, sites: Sequence[str], method: str) -> None:
        self.trained = detector.network
        self.detector = copy.deepcopy(detector)
        self.method = method
        self.layers = tap_layers(self.detector, sites)
        parts = {row.name: row.part for row in rows(self.detector.network)}
        part_of = {"head": "head", "neck": "neck", "all": "backbone"}  # what a stage adds to the one before
        self.rows = {stage: [name for name, part in parts.items() if part == part_of[stage]] for stage in STAGES}

    def correlations(self, images: Tensor, target: Target, heat: HeatMap, letterbox: Letterbox, *,
                     seed: int = 0) -> dict[str, Agreement]:
        """Return the agreement of a heat map with that of random weights, for each of `STAGES`.

        Args:
            images, target, heat, letterbox: as in `deletion`.
            seed: of the random weights.
        """
        self.detector.network.load_state_dict(self.trained.state_dict(), strict=False)  # the copy has taps, without weights
        found = {}
        for stage in STAGES:
            modules = [module for name in self.rows[stage] for module in self.detector.network.get_submodule(name).modules()]
            _randomise(modules, derive_seed("randomised weights", stage, seed))
            _estimate_statistics(self.detector, modules, images)
            other = heat_map(self.detector, images, target, self.layers, self.method)
            maps = [on_picture(one, letterbox.window, letterbox.shape) for one in (heat, other)]
            found[stage] = Agreement.of(maps[0], maps[1], target.box)
        return found


@torch.no_grad()
def _randomise(modules: Sequence[nn.Module], seed: int) -> None:
    with seeded_rng(seed):
        for module in modules:
            if callable(getattr(module, "reset_parameters", None)):
                module.reset_parameters()  # type: ignore[operator]
            else:
                for parameter in module.parameters(recurse=False):
                    parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].view_as(parameter))


@torch.no_grad()
def _estimate_statistics(detector: Detector, modules: Sequence[nn.Module], images: Tensor) -> None:
    """Set the statistics of batch norms to those of `images`."""
    norms = [module for module in modules if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.train()
        norm.momentum = None  # the mean of all batches: of this one
    try:
        detector(images)
    except ValueError as error:  # PyTorch: a batch norm needs more than one value of each channel
        raise HostError(tr("The checks of a heat map need feature maps of more than one pixel, which images of {size} "
                           "pixels do not give. Use a larger imgsz.", size="x".join(map(str, images.shape[-2:])))) from error
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.eval()
        norm.momentum = momentum


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """Spearman's rank correlation of two heat maps of one picture; nan where one of them is constant.

    Attributes:
        picture: over all pixels. It is mostly about the place of the box, since a map is 0 far from it.
        box: over the pixels inside the box.
    """

    picture: float
    box: float

    @classmethod
    def of(cls, one: HeatMap, other: HeatMap, box: Sequence[float]) -> Agreement:
        """Compare two maps (height, width) of a picture with a box x1, y1, x2, y2 in pixels."""
        height, width = one.shape
        x1, y1, x2, y2 = np.clip(np.round(box), 0, [width, height, width, height]).astype(int)
        inside = slice(y1, max(y2, y1 + 1)), slice(x1, max(x2, x1 + 1))
        return cls(picture=rank_correlation(one, other), box=rank_correlation(one[inside], other[inside]))

    @classmethod
    def mean(cls, values: Sequence[Agreement]) -> Agreement:
        """Return the mean of finite values; nan where there is none."""
        numbers = [[getattr(one, part) for one in values] for part in ("picture", "box")]
        finite = [[value for value in part if np.isfinite(value)] for part in numbers]
        picture, box = (float(np.mean(part)) if part else float("nan") for part in finite)
        return cls(picture=picture, box=box)


def rank_correlation(one: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """Return Spearman's rank correlation of two maps of one shape; nan if one of them is constant or empty."""
    if not one.size:
        return float("nan")
    first, second = (rankdata(each.ravel()) for each in (one, other))
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        return float("nan")
    return float(np.corrcoef(first, second)[0, 1])
