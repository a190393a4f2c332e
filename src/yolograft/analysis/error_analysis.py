"""The errors of a validated network: TIDE, AP by size, and their numbers for JSON."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

from yolograft.analysis.average_precision import Detections
from yolograft.analysis.flips import Flips
from yolograft.analysis.size_ap import SizeAP, size_ap
from yolograft.analysis.tide import Tide, tide

__all__ = ["ErrorAnalysis", "analyse_errors"]


@dataclass(frozen=True, kw_only=True)
class ErrorAnalysis:
    """The errors of one model.

    Attributes:
        name: of the model.
        detections: on the validation images.
        files: the paths of these images, in the order of `detections.names`.
        classes: class index -> name.
        tide: the decomposition.
        sizes: AP by size; None without the package `faster-coco-eval`.
    """

    name: str
    detections: Detections
    files: Sequence[str]
    classes: dict[int, str]
    tide: Tide
    sizes: SizeAP | None

    def json(self) -> dict[str, Any]:
        """Return the numbers as values that JSON has."""
        sizes = None if self.sizes is None else {size: value if math.isfinite(value) else None
                                                 for size, value in self.sizes.ap.items()}
        return {"name": self.name, "mAP50": self.tide.ap,
                "tide": {error: {"count": self.tide.counts[error], "cost": cost} for error, cost in self.tide.costs.items()},
                "false_positives": self.tide.false_positives, "false_negatives": self.tide.false_negatives,
                "ap_by_size": sizes, "objects_by_size": None if self.sizes is None else self.sizes.objects}

    def changes_json(self, after: ErrorAnalysis, flips: Flips) -> dict[str, Any]:
        """Return the boxes that change from this model to another as values that JSON has."""
        return {"before": self.name, "after": after.name, "conf": flips.conf, "iou": flips.iou,
                "counts": {f"{one} -> {other}": count for (one, other), count in sorted(flips.counts.items())},
                "boxes": [{"image": self.detections.names[one.image], "class": self.classes.get(one.kind, str(one.kind)),
                           "box": one.box, "before": one.before, "after": one.after, "confidence": one.confidence}
                          for one in flips.changes]}


def analyse_errors(name: str, detections: Detections, files: Sequence[str], classes: dict[int, str]) -> ErrorAnalysis:
    """Analyse the errors of one network. AP by size is left out without the package `faster-coco-eval`."""
    sizes = size_ap(detections) if find_spec("faster_coco_eval") is not None else None
    return ErrorAnalysis(name=name, detections=detections, files=files, classes=classes, tide=tide(detections), sizes=sizes)
