"""The structure of the network: the model's rows, and the rows with blocks of each arm.

The structure comes from the plan's model. If its weights are not on this machine, its YAML is built without weights; no
file is downloaded.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolograft.language import tr
from yolograft.spec import Graft, Swap
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
        places: arm -> row -> its blocks as text, such as `se m.0.cv2 ×2`, and its changes of the row (see `_changes`).
        changes: model YAML of an arm -> its changes of the baseline's rows, in their order, such as `12 Concat → BiFPN`.
        why: the reason why there are no nodes.
    """

    nodes: tuple[Node, ...] = ()
    places: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    changes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    why: str = ""


def of(study: Study) -> Network:
    """Return a study's network; without nodes and with a reason if it cannot be read."""
    if study.plan.host != _YOLO:
        return Network(why=tr("The host {host} has no description of its network.", host=study.plan.host))
    try:
        return _read(study)
    except Exception as error:  # an error here must not prevent the rest of the report
        return Network(why=str(error) or type(error).__name__)


def _read(study: Study) -> Network:
    from yolograft.host import swaps
    from yolograft.host.open import open_model
    from yolograft.modules.plugin import load_own
    from yolograft.runner import model_yaml
    from yolograft.sites import probe, rows

    load_own(study.plan.settings)
    model = open_model(_local(str(study.plan.settings["model"]), study.folder)).model
    listed = rows(model)
    if not listed:
        return Network(why=tr("The model has no numbered rows."))
    seen = probe(model)
    nodes = []
    for row in listed:
        shape = seen.outputs.get(row.name)
        given = seen.inputs.get(row.name, ())
        side = shape[2] if shape and len(shape) == 4 else max((one[2] for one in given if len(one) == 4), default=0)
        nodes.append(Node(row.index, row.kind, row.part, row.reads, round(seen.size / side) if side else 1))
    places: dict[str, dict[int, str]] = {}
    changes: dict[str, tuple[str, ...]] = {}
    for arm in study.plan.arms:
        swap = Swap.parse(str({**study.plan.settings, **arm.settings}.get("swap") or "none"))
        if not arm.yaml and not swap:
            places[arm.name] = {row: ", ".join(found) for row, found in _blocks(model, arm.graft, seen).items()}
            continue
        marked: dict[int, list[str]] = {}
        if arm.yaml:
            config = model_yaml.read_config(study.plan.yamls[arm.yaml].text, arm.yaml, model)
            network = model_yaml.build(config, Graft(), model, None)
            changed, host_row = _changes(model, network)
            changes[arm.yaml] = tuple(f"{row} {text}" for row, texts in sorted(changed.items()) for text in texts)
            marked = {row: list(texts) for row, texts in changed.items()}
            graft = str(study.plan.spelled.get(arm.name, arm.graft))
        else:
            network, graft = copy.deepcopy(model), arm.graft
            host_row = {row.index: row.index for row in listed}
        for one in swaps.swap_onto(network, swap):
            _, text, *inside = one.path.split(".")
            place = f"{'.'.join(inside)}: " if inside else ""
            marked.setdefault(host_row[int(text)], []).append(f"{place}{one.kind} → {one.part.block}")
        blocks = _blocks(network, graft, probe(network))
        for number, texts in blocks.items():
            marked.setdefault(host_row[number], []).extend(texts)
        places[arm.name] = {row: ", ".join(found) for row, found in marked.items()}
    return Network(tuple(nodes), places, changes)


def _blocks(model: Any, graft: str, seen: Any) -> dict[int, list[str]]:
    """Return, for each row with blocks of a graft, the blocks as texts such as `se m.0.cv2 ×2`."""
    from yolograft.sites import resolve, rows

    numbers = {row.name: row.index for row in rows(model)}
    inside: dict[int, dict[str, int]] = {}
    for part in Graft.parse(graft).parts:
        for site in part.sites:
            for place in resolve(model, site, seen):
                name = place.readers[0][0] if place.side == "edge" else place.module
                row_name = ".".join(name.split(".")[:2])
                where = f"→{name.partition('.')[2]}" if place.side == "edge" else name[len(row_name) + 1:]
                owner = numbers[".".join(place.module.split(".")[:2])]
                what = f"{part.block}{' ' + where if where else ''}{' /pre' if place.side == 'pre' else ''}"
                found = inside.setdefault(owner, {})
                found[what] = found.get(what, 0) + 1
    return {row: [what + (f" ×{n}" if n > 1 else "") for what, n in found.items()] for row, found in inside.items()}


def _changes(model: Any, network: Any) -> tuple[dict[int, list[str]], dict[int, int]]:
    """Return how the rows of a network differ from those of the baseline's model.

    Returns:
        For each row of the baseline, its changes: `Concat → BiFPN` (another module), `Conv [64, 3, 2] → [64, 5, 2]` (other
        arguments), `Concat ← 6, 11` (other inputs), `+ Conv` (a new row after it), `− Conv` (removed). And for each row of
        the network, the baseline's row at which it is drawn.
    """
    from yolograft.host.models import host_yaml
    from yolograft.host.transfer import match_rows
    from yolograft.modelyaml import table

    configs = [host_yaml(dict(one.yaml)) for one in (model, network)]
    before, after = (table.parse_rows(config) for config in configs)
    found = match_rows(*configs)
    to_after = {row.number: row.number for row in before} if found is None else found
    to_before = {new: old for old, new in to_after.items()}
    changed: dict[int, list[str]] = {}
    drawn: dict[int, int] = {}
    last = 0
    for row in after:
        old = to_before.get(row.number)
        last = drawn[row.number] = last if old is None else old
        if old is None:
            changed.setdefault(last, []).append(f"+ {row.kind}")
            continue
        was = before[old]
        inputs = [to_before.get(one, one) for one in row.reads()]
        texts = [f"{was.kind} → {row.kind}"] if was.module != row.module else \
            [f"{row.kind} {list(was.args)} → {list(row.args)}"] if list(was.args) != list(row.args) else []
        known = all(one < 0 or one in to_before for one in row.reads())  # a new row's reader is no further change
        if known and inputs != list(was.reads()):
            texts.append(f"{row.kind} ← {', '.join(map(str, inputs))}")
        if row.repeats != was.repeats:
            texts.append(f"{row.kind} ×{was.repeats} → ×{row.repeats}")
        if texts:
            changed.setdefault(old, []).extend(texts)
    for row in before:
        if row.number not in to_after:
            changed.setdefault(row.number, []).append(f"− {row.kind}")
    return changed, drawn


def _local(name: str, folder: Path) -> str:
    """Return the model's name, or the name of its YAML if the weights are absent, so that no file is downloaded."""
    path = Path(name)
    return name if path.suffix != ".pt" or path.is_file() else f"{path.stem}.yaml"
