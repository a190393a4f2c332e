"""What the attention of a trained network does on a data set: the gates, their health, and what the network loses without
them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from yolograft import __version__, attach
from yolograft.analysis import causal_value
from yolograft.analysis.average_precision import Differences
from yolograft.analysis.block_training import BlockTraining, trace_training
from yolograft.analysis.causal_value import CausalValue
from yolograft.analysis.gate_statistics import Collector, Example, GateSummary
from yolograft.analysis.gates import Kind, mean_gates, observed, places
from yolograft.analysis.health import Health, judge
from yolograft.analysis.validation import Validated, validate
from yolograft.host.models import short_text
from yolograft.host.open import open_model

__all__ = ["Explained", "ExplainedPlace", "Progress", "explain"]

# called with the model's name, what is done next, the number of finished validations, and their planned number
Progress = Callable[[str, str, int, int], object]


@dataclass(frozen=True, kw_only=True)
class ExplainedPlace:
    """One block: where it is, its gate over the data, the word for it, and what the training did to its weights."""

    name: str
    graft: str
    kind: Kind
    channels: int
    summary: GateSummary
    health: Health
    training: BlockTraining


@dataclass(frozen=True, kw_only=True)
class Explained:
    """What the blocks of one network do.

    Attributes:
        model: the path of the checkpoint.
        name: a short name of it: that of its run.
        graft: the graft's text; "none" for a bare host.
        data: the data YAML.
        split, imgsz, limit, seed: how it was validated.
        classes: number of a class -> its name.
        validated: the validation of the network as it is.
        places: the blocks.
        values: the changes of accuracy with replaced gates.
        examples: images with the maps of spatial gates.
    """

    model: str
    name: str
    graft: str
    data: str
    split: str
    imgsz: int
    limit: int | None
    seed: int
    classes: dict[int, str]
    validated: Validated
    places: tuple[ExplainedPlace, ...]
    values: tuple[CausalValue, ...]
    examples: tuple[Example, ...]

    def value(self, place: str, how: str) -> CausalValue | None:
        """Return the change of accuracy for a place and a replacement, if it was measured."""
        return next((one for one in self.values if (one.place, one.how) == (place, how)), None)

    def json(self) -> dict[str, Any]:
        """Return all numbers as values that JSON has: NaN is null, and no image or map is in it."""
        found = {"yolograft": __version__, "model": self.model, "name": self.name, "graft": self.graft, "data": self.data,
                 "split": self.split, "imgsz": self.imgsz, "limit": self.limit, "seed": self.seed,
                 "images": len(self.validated.files), "metrics": self.validated.metrics,
                 "classes": {name: {key: row[name] for key, row in self.validated.classes.items()}
                             for name in self.classes.values()},
                 "grafts": [self._place(place) for place in self.places],
                 "causal": [{"place": one.place, "how": one.how, "mAP50-95": one.map50_95,
                             **self._differences(one.differences)} for one in self.values]}
        plain: dict[str, Any] = _plain(found)
        return plain

    def _place(self, place: ExplainedPlace) -> dict[str, Any]:
        summary = asdict(place.summary)
        for key in ("classes", "boxes"):
            summary[key] = {self.classes.get(kind, ""): one for kind, one in summary[key].items()}
        return {"place": place.name, "graft": place.graft, "kind": place.kind, "channels": place.channels,
                "health": str(place.health), "gate": summary, "training": asdict(place.training)}

    def _differences(self, differences: Differences) -> dict[str, Any]:
        return {"difference": asdict(differences.mean),
                "classes": {self.classes[kind]: asdict(one) for kind, one in differences.classes.items()}}


def explain(model: str | Path, data: str | Path, *, imgsz: int | None = None, batch: int = 16, device: str = "cpu",
            split: str = "val", limit: int | None = None, seed: int = 0, progress: Progress | None = None) -> Explained:
    """Explain what the blocks of a trained detection network do.

    Args:
        model: a checkpoint.
        data: a data YAML.
        imgsz: size of the images; None takes that of the training.
        batch: images per batch.
        device: as in Ultralytics.
        split: `train`, `val` or `test`.
        limit: number of images, drawn at random; None takes all.
        seed: of the order of the images and of the bootstrap.
        progress: called before each validation.

    Raises:
        GraftError: the model or the data cannot be used.
    """
    opened = open_model(model)
    network = opened.model
    attached = places(network)
    size = imgsz or int((network.args if isinstance(network.args, Mapping) else vars(network.args)).get("imgsz") or 640)
    collector, first, done = Collector(attached), dict[str, Any](), 0
    total = 1 + _count(attached)

    def tell(what: str) -> None:
        if progress is not None:
            progress(str(model), what, done, total)

    def on_batch(found: Mapping[str, Any]) -> None:
        collector.add(found)
        if not first:
            first.update({key: value.cpu().clone() if isinstance(value, Tensor) else value for key, value in found.items()})

    def run(what: str, on_batch: Callable[[Mapping[str, Any]], object] | None = None) -> Validated:
        nonlocal done
        tell(what)
        found = validate(opened, data, imgsz=size, batch=batch, device=device, split=split, limit=limit, seed=seed,
                         on_batch=on_batch)
        done += 1
        return found

    with observed(network, attached, collector.observe), mean_gates(network, attached) as means:
        before = run("", on_batch)
    with torch.inference_mode(False):
        ordinary = {key: value.clone() if isinstance(value, Tensor) else value for key, value in first.items()}
    training = trace_training(network, attached, ordinary) if attached else {}
    steps = causal_value.plan(attached, means)
    names = iter([f"{name} {how}" for name, how, _ in steps])
    values = causal_value.measure(network, steps, before, lambda: run(next(names)), seed=seed)
    summaries = collector.summaries()
    found = tuple(ExplainedPlace(name=place.name, graft=place.graft, kind=place.kind, channels=place.channels,
                                 summary=summaries[place], health=judge(summaries[place], place.kind),
                                 training=training[place]) for place in attached)
    return Explained(model=str(model), name=_run_name(Path(model)), graft=short_text(str(attach.grafted(network))),
                     data=str(data), split=split, imgsz=size, limit=limit, seed=seed, classes=dict(network.names),
                     validated=before, places=found, values=tuple(values), examples=tuple(collector.examples))


def _count(attached: Any) -> int:
    """Return the number of validations with replaced gates."""
    with_gate = sum(place.kind != "none" for place in attached)
    alone = 2 * len(attached) + with_gate
    return alone + (2 + bool(with_gate) if len(attached) > 1 else 0)


def _run_name(path: Path) -> str:
    """Return the name of the run of a checkpoint: RUN for RUN/weights/best.pt, and the file's name for any other path."""
    return path.parents[1].name if len(path.parents) > 2 and path.parent.name == "weights" else path.stem


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one) for one in value]
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, (float, np.floating)):
        return float(value) if math.isfinite(value) else None
    return value
