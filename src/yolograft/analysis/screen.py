"""Screening: rank the places of a network for a block by one training with the block at all of them.

Every place has a block that is the identity at birth, and all are trained together. The causal value of a place is what the
validation loss and mAP lose if the block there returns its input, while all other blocks stay. It says what the trained
network owes to this block. It is not the gain of a network that is trained with this block alone: the other blocks and the
host have adapted to it, and another block could have learned the same. `benchmarks/screen_tau.py` measures how far the two
agree.
"""

from __future__ import annotations

import json
import math
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.stats import kendalltau
from torch import nn

from yolograft import attach, escapes
from yolograft.analysis import gates
from yolograft.analysis.average_precision import Interval, average_precision, resampled_weights
from yolograft.analysis.image_loss import Measured
from yolograft.atomic import atomic_write
from yolograft.errors import GraftError, SiteError, SpecError
from yolograft.language import pad, tr
from yolograft.sites import light_copy, probe, resolve, rows
from yolograft.spec import Graft, Site

__all__ = ["AGREEMENTS", "Agreement", "Candidates", "Record", "Screening", "Value", "candidates", "find_places", "rank"]

_RESAMPLES = 1000
_LEVEL = 0.95
_ROUNDING = 1e-5  # relative change of the loss
_SUGGESTED = 5  # arms at most
_INNER = "Bottleneck.cv2"  # the residual branch before the sum


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a screening agreed with a paired study of the same places, and the study with itself, on one data set.

    Attributes:
        data: the data set's name.
        tau, low, high: Kendall's tau-b between both rankings, with its 95% interval.
        repeated: tau between the rankings of two halves of the study's seeds.
    """

    data: str
    tau: float
    low: float
    high: float
    repeated: float


# Measured by benchmarks/screen_tau.py: docs/results/screen
AGREEMENTS = (
    Agreement(data="NEU-DET", tau=-0.21, low=-0.91, high=0.83, repeated=-0.21),
    Agreement(data="COCO128", tau=-0.29, low=-0.92, high=0.52, repeated=-0.21),
)


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """The places of one network for one block.

    Attributes:
        block: the block's text, such as `se` or `se(ratio=8)`.
        places: the sites' texts, such as `8` or `6.m.0.cv2`: the rows, then the branches of the bottlenecks.
        left_out: place -> the reason why it cannot have the block.
    """

    block: str
    places: tuple[str, ...]
    left_out: Mapping[str, str]

    @property
    def graft(self) -> str:
        """The text of a graft with the block at all places."""
        return f"{self.block}@{','.join(self.places)}"


def candidates(network: nn.Module, block: str) -> Candidates:
    """Return every row and every bottleneck's branch of an Ultralytics network that can have a block.

    The network is not changed.

    Raises:
        SpecError: `block` names a site too.
        GraftError: the block or a setting does not exist, the network has blocks already, or no place can have the block.
    """
    if "@" in block or "+" in block:
        raise SpecError(tr("block={block} has a site. A screening finds the sites: block={name}", block=block,
                           name=block.partition("@")[0].strip()))
    attach.spelled(Graft.parse(f"{block}@0"))  # a wrong block is one error, and not one of each place
    if attach.grafted(network):
        raise GraftError(tr("The model carries the graft '{graft}'. A screening needs the checkpoint without blocks.",
                            graft=attach.grafted(network)))
    shapes = probe(network)
    left_out: dict[str, str] = {}
    found: list[str] = []
    for row in rows(network):
        shape = shapes.outputs.get(row.name)
        if row.part == "head":
            left_out[str(row.index)] = tr("{kind} is the head", kind=row.kind)
        elif shape is None or len(shape) != 4:
            left_out[str(row.index)] = tr("{kind} returns several maps, or none", kind=row.kind)
        else:
            found.append(str(row.index))
    found += [site for site in _inner(network) if site.partition(".")[0] in found]
    fits = []
    if found and (reason := _refused(network, f"{block}@{','.join(found)}")):  # find out which places cause it
        for site in found:
            if reason := _refused(network, f"{block}@{site}"):
                left_out[site] = reason
            else:
                fits.append(site)
    else:
        fits = found
    if not fits:
        raise GraftError(tr("No place of this model can have the block '{block}': {reasons}", block=block,
                            reasons="; ".join(f"{place}: {reason}" for place, reason in left_out.items())))
    return Candidates(block=block, places=tuple(fits), left_out=left_out)


def _inner(network: nn.Module) -> list[str]:
    try:
        return [place.module.removeprefix("model.") for place in resolve(network, Site.parse(_INNER))]
    except SiteError:
        return []  # the host has no bottlenecks


def _refused(network: nn.Module, graft: str) -> str:
    """Return why a graft does not fit the network; empty if it fits."""
    try:
        attach.graft(light_copy(network), graft)
    except GraftError as error:
        return str(error)
    return ""


def find_places(network: nn.Module, sites: Sequence[str]) -> dict[str, gates.Place]:
    """Return the attached block of each site of a network that was trained with a block at all of them."""
    by_block = {place.block: place for place in gates.places(network)}
    found = {}
    for site in sites:
        at = resolve(network, Site.parse(site))[0]
        module = attach.hooked_module(network.get_submodule(at.module), at)
        found[site] = by_block[module.get_submodule(f"{attach.OUT}.0")]
    return found


@dataclass(frozen=True, kw_only=True)
class Record:
    """One run over the validation images, with all blocks or without that of one place.

    Attributes:
        names: file names of the images, sorted.
        losses: (images,) the loss of each.
        metrics: Ultralytics' metrics.
        resampled: (1 + resamples,) mAP50-95 on all images and on each bootstrap resample of them; empty for a task without
            boxes alone.
    """

    names: tuple[str, ...]
    losses: NDArray[np.float64]
    metrics: dict[str, float]
    resampled: NDArray[np.float64]

    @classmethod
    def of(cls, measured: Measured) -> Record:
        """Make the record of what was measured."""
        resampled = np.zeros(0)
        if measured.detections is not None:
            weights = np.vstack((np.ones((1, len(measured.names))), _weights(len(measured.names))))
            resampled = average_precision(measured.detections, weights).mean(axis=1)
        return cls(names=measured.names, losses=measured.losses, metrics=measured.metrics, resampled=resampled)

    def write(self, file: Path, what: str) -> None:
        """Write the record to an .npz file. `what` is a text that `read` compares."""
        def write(part: Path) -> None:
            with part.open("wb") as opened:
                np.savez_compressed(opened, what=np.array(what), names=np.array(self.names), losses=self.losses,
                                    metrics=np.array(json.dumps(self.metrics)), resampled=self.resampled)

        file.parent.mkdir(parents=True, exist_ok=True)
        atomic_write(file, write)

    @classmethod
    def read(cls, file: Path, what: str) -> Record | None:
        """Return the record in a file, or None if there is none, or it is of something else than `what`, or broken."""
        try:
            with file.open("rb") as opened, np.load(opened) as stored:  # np.load leaves a broken file open
                if str(stored["what"]) != what:
                    return None
                return cls(names=tuple(map(str, stored["names"])), losses=stored["losses"],
                           metrics=json.loads(str(stored["metrics"])), resampled=stored["resampled"])
        except (OSError, KeyError, ValueError, zipfile.BadZipFile):
            return None


def _weights(images: int) -> NDArray[np.float64]:
    return resampled_weights(images, _RESAMPLES, 0)  # the same in every record, so that differences are paired


@dataclass(frozen=True, kw_only=True)
class Value:
    """The causal value of one place: positive if the trained network is worse without the block there.

    Attributes:
        place: the site's text.
        graft: the text of an arm with the block at this place alone.
        loss: relative increase of the validation loss without the block, mean over the seeds, with a paired bootstrap
            interval over the images.
        map: decrease of mAP50-95, likewise; None for a task whose detections are not recorded.
        loss_by_seed, map_by_seed: the same for each seed.
    """

    place: str
    graft: str
    loss: Interval
    map: Interval | None
    loss_by_seed: tuple[float, ...]
    map_by_seed: tuple[float, ...]

    @property
    def is_above_zero(self) -> bool:
        """Whether the interval of the loss, by which places are ranked, lies above 0 by more than rounding errors."""
        return self.loss.low > _ROUNDING


def rank(block: str, complete: Sequence[Record], without: Mapping[str, Sequence[Record]]) -> list[Value]:
    """Return the causal value of each place, the largest increase of the loss first.

    Args:
        block: the block's text.
        complete: for each seed, the record with all blocks.
        without: place -> for each seed, the record without the block there.
    """
    weights = _weights(len(complete[0].names)) / len(complete[0].names)
    found = []
    for place, records in without.items():
        changes = np.array([(record.losses - full.losses) / full.losses.mean()
                            for record, full in zip(records, complete, strict=True)])
        change = changes.mean(axis=0)
        drops = np.array([full.resampled - record.resampled for record, full in zip(records, complete, strict=True)])
        found.append(Value(
            place=place, graft=f"{block}@{place}", loss=_interval(float(change.mean()), weights @ change),
            map=_interval(float(drops[:, 0].mean()), drops[:, 1:].mean(axis=0)) if drops.size else None,
            loss_by_seed=tuple(map(float, changes.mean(axis=1))),
            map_by_seed=tuple(map(float, drops[:, 0])) if drops.size else ()))
    return sorted(found, key=lambda value: -value.loss.estimate)


def _interval(estimate: float, drawn: NDArray[np.float64]) -> Interval:
    low, high = np.quantile(drawn, [0.5 - _LEVEL / 2, 0.5 + _LEVEL / 2])
    return Interval(estimate=estimate, low=float(low), high=float(high))


@dataclass(frozen=True, kw_only=True)
class Screening:
    """The result of a screening. `str` gives a table.

    Attributes:
        block: the block's text.
        seeds: of the trainings.
        images: number of validation images.
        values: the causal value of each place, best first.
        left_out: place -> the reason why it was not screened.
    """

    block: str
    seeds: tuple[int, ...]
    images: int
    values: tuple[Value, ...]
    left_out: Mapping[str, str]

    def agreement(self) -> float:
        """Return the mean of Kendall's tau-b between the rankings of two seeds; NaN with one seed."""
        by_seed = np.array([value.loss_by_seed for value in self.values]).T
        taus = [float(kendalltau(first, second).statistic) for first, second in combinations(by_seed, 2)]
        return float(np.mean(taus)) if taus else math.nan

    def suggested(self) -> list[Value]:
        """Return the best places whose interval lies above 0; the best three places if there is none."""
        return [value for value in self.values if value.is_above_zero][:_SUGGESTED] or list(self.values[:3])

    def arms(self) -> str:
        """Return the text of the arms to study next."""
        return "; ".join(["none", *(value.graft for value in self.suggested())])

    def json(self) -> str:
        """Return all fields as JSON."""
        return json.dumps({**asdict(self), "agreement": self.agreement(), "arms": self.arms()}, indent=1, default=dict)

    def table(self) -> list[tuple[str, ...]]:
        """Return the rows of the table, with a heading."""
        has_map = any(value.map is not None for value in self.values)
        head: tuple[str, ...] = ("", tr("arm"), tr("loss without it"), tr("95% interval"))
        lines = [(*head, tr("mAP50-95 without it"), tr("95% interval")) if has_map else head]
        for number, value in enumerate(self.values, 1):
            cells: tuple[str, ...] = (str(number), value.graft, f"{100 * value.loss.estimate:+.3f}%",
                                      _span(value.loss, 100, 3, "%"))
            if value.map is not None:
                lost = Interval(estimate=-value.map.estimate, low=-value.map.high, high=-value.map.low)
                cells = (*cells, f"{lost.estimate:+.4f}", _span(lost, 1, 4, ""))
            lines.append(cells)
        return lines

    def markdown(self) -> str:
        """Return the table as Markdown."""
        head, *body = self.table()
        lines = [[escapes.markdown(cell) for cell in line] for line in (head, *body)]
        return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], ["---"] * len(head), *lines[1:]))

    def __str__(self) -> str:
        lines = self.table()
        widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
        return "\n".join("  ".join(pad(cell, width, "<" if column == 1 else ">")
                                   for column, (cell, width) in enumerate(zip(line, widths, strict=True))).rstrip()
                         for line in lines)


def _span(interval: Interval, scale: float, digits: int, unit: str) -> str:
    return tr("{low} to {high}", low=f"{scale * interval.low:+.{digits}f}{unit}",
              high=f"{scale * interval.high:+.{digits}f}{unit}")
