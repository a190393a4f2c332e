"""What a block is worth: the change of validation accuracy when its gate is replaced, for each block and for all at once.

Three replacements (see `gates.replaced`): by 1 (the block returns its input), by the mean over the data (a fixed factor for
each channel), and by the gate of another image. A difference is that of the changed network to the trained one, so a
negative value means that the network needs the gate as it is. The network was trained with the gate, and the rest of it
expects the gate: the value says what this network loses, and not what a training without the block would give.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from yolograft.analysis.average_precision import Bootstrap, Differences
from yolograft.analysis.gates import Place, Replacement, replaced
from yolograft.analysis.validation import Validated

__all__ = ["ALL", "HOW", "CausalValue", "measure", "plan"]

ALL = "all"  # the name of all places at once
HOW = ("one", "mean", "other")


@dataclass(frozen=True, kw_only=True)
class CausalValue:
    """The change of mAP50-95, and of AP50-95 by class, when the gate of a place is replaced.

    Attributes:
        place: the place's name, or `ALL`.
        how: `one`, `mean` or `other`.
        map50_95: mAP50-95 of the changed network.
        differences: to the unchanged network, with paired bootstrap intervals over the images.
    """

    place: str
    how: str
    map50_95: float
    differences: Differences


def plan(places: Sequence[Place], means: Mapping[Place, Tensor]) -> list[tuple[str, str, dict[Place, Replacement]]]:
    """Return the networks to validate: the name of the place, the word for the replacement, and the replaced gates.

    A block without a gate has no mean; with several blocks, all of them together come last.
    """
    found: list[tuple[str, str, dict[Place, Replacement]]] = []
    for place in places:
        found.append((place.name, "one", {place: "one"}))
        if place in means:
            found.append((place.name, "mean", {place: means[place]}))
        found.append((place.name, "other", {place: "other"}))
    if len(places) > 1:
        found.append((ALL, "one", dict.fromkeys(places, "one")))
        if means:
            found.append((ALL, "mean", {place: means[place] for place in places if place in means}))
        found.append((ALL, "other", dict.fromkeys(places, "other")))
    return found


def measure(network: nn.Module, changes: Sequence[tuple[str, str, dict[Place, Replacement]]], before: Validated,
            run: Callable[[], Validated], *, seed: int = 0) -> list[CausalValue]:
    """Validate a network with replaced gates.

    Args:
        network: the network that `run` validates.
        changes: as `plan` makes them.
        before: the validation of the unchanged network.
        run: validates the network as it is now, on the same images.
        seed: of the bootstrap.
    """
    bootstrap = Bootstrap(before.detections, seed=seed)
    found = []
    for name, how, gates in changes:
        with replaced(network, gates):
            after = run()
        found.append(CausalValue(place=name, how=how, map50_95=after.metrics["mAP50-95"],
                                 differences=bootstrap.difference(after.detections)))
    return found
