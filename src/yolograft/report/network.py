"""The structure of the network: the model's rows, and the rows with blocks of each arm.

The structure comes from the plan's model. If its weights are not on this machine, its YAML is built without weights; no
file is downloaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from yolograft.spec import Graft
from yolograft.study import Study

__all__ = ["Network", "Node", "of"]

_YOLO = "ultralytics"  # the host whose models have rows with inputs


@dataclass(frozen=True)
class Node:
    """One row of the model: number, class, part, the rows that it reads (-1 is the image), and stride."""

    number: int
    kind: str
    part: str
    reads: tuple[int, ...]
    stride: int


@dataclass(frozen=True)
class Network:
    """The rows of the baseline's model, and the rows with blocks of each arm.

    Attributes:
        nodes: the rows; empty if the network cannot be drawn.
        places: arm -> row -> its blocks as text, such as `se m.0.cv2 ×2`.
        why: the reason why there are no nodes.
    """

    nodes: tuple[Node, ...] = ()
    places: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    why: str = ""


def of(study: Study) -> Network:
    """Return a study's network; without nodes and with a reason if it cannot be read."""
    if study.plan.host != _YOLO:
        return Network(why=f"The host {study.plan.host} has no description of its network.")
    try:
        return _read(study)
    except Exception as error:  # an error here must not prevent the rest of the report
        return Network(why=str(error) or type(error).__name__)


def _read(study: Study) -> Network:
    from yolograft.blocks import plugin
    from yolograft.host.open import open_model
    from yolograft.sites import probe, resolve, rows

    if study.plan.settings.get("blocks"):
        plugin.load_plugins(str(study.plan.settings["blocks"]))
    model = open_model(_local(str(study.plan.settings["model"]), study.folder)).model
    listed = rows(model)
    if not listed:
        return Network(why="The model has no numbered rows.")
    seen = probe(model)
    nodes = []
    for row in listed:
        shape = seen.outputs.get(row.name)
        given = seen.inputs.get(row.name, ())
        side = shape[2] if shape and len(shape) == 4 else max((one[2] for one in given if len(one) == 4), default=0)
        nodes.append(Node(row.index, row.kind, row.part, row.reads, round(seen.size / side) if side else 1))
    numbers = {row.name: row.index for row in listed}
    places: dict[str, dict[int, str]] = {}
    for arm in study.plan.arms:
        inside: dict[int, dict[str, int]] = {}
        for part in Graft.parse(arm.graft).parts:
            for site in part.sites:
                for place in resolve(model, site, seen):
                    name = place.readers[0][0] if place.side == "edge" else place.module
                    row_name = ".".join(name.split(".")[:2])
                    where = f"→{name.partition('.')[2]}" if place.side == "edge" else name[len(row_name) + 1:]
                    owner = numbers[".".join(place.module.split(".")[:2])]
                    what = f"{part.block}{' ' + where if where else ''}{' /pre' if place.side == 'pre' else ''}"
                    found = inside.setdefault(owner, {})
                    found[what] = found.get(what, 0) + 1
        places[arm.name] = {row: ", ".join(what + (f" ×{n}" if n > 1 else "") for what, n in found.items())
                            for row, found in inside.items()}
    return Network(tuple(nodes), places)


def _local(name: str, folder: Path) -> str:
    """Return the model's name, or the name of its YAML if the weights are absent, so that no file is downloaded."""
    path = Path(name)
    return name if path.suffix != ".pt" or path.is_file() else f"{path.stem}.yaml"
