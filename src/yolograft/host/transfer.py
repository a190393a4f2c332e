"""Pretrained weights follow the rows: the tensors of a checkpoint load into the rows that they belong to.

Ultralytics loads a tensor by its name, `model.NUMBER.…`, and a row that was inserted or removed changes the numbers of all
later rows. Here the rows of both model YAMLs are aligned first, and the modules of the checkpoint get the numbers of their
counterparts. In a row that another module replaced, tensors of the same name and shape load.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a task model has its rows in `model`, an `nn.Sequential`, and its YAML
dict in `yaml`. `BaseModel.load` takes such a model and loads the tensors of the same name and shape.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from yolograft.errors import GraftError
from yolograft.language import tr
from yolograft.modelyaml import module_rows, stock_match, table
from yolograft.modelyaml.load import host_yaml
from yolograft.modelyaml.table import Row

__all__ = ["Transfer", "match_rows", "plan_transfer", "renumber"]

_SHOWN = 6  # of the rows in one line
_FRESH = "graft_is_fresh"  # see `models.FRESH`


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """How the tensors of a checkpoint reach the rows of another model YAML.

    Attributes:
        weights: the checkpoint's model, with the numbers of the rows that get its tensors.
        replaced: for each row whose counterpart in the checkpoint has another module, the name of that module.
        inserted: the rows without a counterpart in the checkpoint.
        rows: the rows that get the tensors.
    """

    weights: nn.Module
    replaced: dict[int, str]
    inserted: frozenset[int]
    rows: tuple[Row, ...]

    def describe(self, missing: Iterable[str]) -> list[str]:
        """Say for each row how many of its tensors were not loaded, and why.

        Args:
            missing: the names of these tensors, such as `model.13.conv.weight`.
        """
        counts: dict[int, int] = {}
        for key in missing:
            number = int(key.split(".")[1])
            counts[number] = counts.get(number, 0) + 1
        found = []
        for number, count in sorted(counts.items()):
            module = self.rows[number].kind
            if number in self.replaced:
                found.append(tr("{count} in row {row} ({module} replaced {other})", count=count, row=number, module=module,
                                other=self.replaced[number]))
            elif number in self.inserted:
                found.append(tr("{count} in row {row} ({module} is new)", count=count, row=number, module=module))
            elif number == len(self.rows) - 1:
                found.append(tr("{count} in the head, of another shape", count=count))
            else:
                found.append(tr("{count} in row {row} ({module}, of another shape)", count=count, row=number, module=module))
        more = [tr("and in {count} more rows", count=len(found) - _SHOWN)] if len(found) > _SHOWN else []
        return found[:_SHOWN] + more


def match_rows(source: dict[str, Any], target: dict[str, Any]) -> dict[int, int] | None:
    """Return the row of the target for each row of the source that has one, or None if all rows keep their numbers.

    Args:
        source: the YAML dict of the model that has the weights.
        target: the YAML dict of the model that gets them.
    """
    try:
        rows, others = table.parse_rows(host_yaml(source)), table.parse_rows(host_yaml(target))
    except GraftError:  # a model that is not made of rows, or of rows in a form of its own: the numbers are all there is
        return None
    found = stock_match.correspond(others, rows)
    same = len(rows) == len(others) and all(found.get(row.number, row.number) == row.number for row in rows)
    return None if same else found


def plan_transfer(weights: Any, target: dict[str, Any]) -> Transfer | None:
    """Return how the tensors of `weights` reach the rows of a model YAML; None if both have the same rows.

    Args:
        weights: a task model, or anything else that Ultralytics loads tensors from.
        target: the YAML dict of the model that gets the weights.
    """
    config = getattr(weights, "yaml", None)
    if not isinstance(weights, nn.Module) or not isinstance(config, dict):
        return None
    try:
        rows, others = table.parse_rows(host_yaml(config)), table.parse_rows(host_yaml(target))
    except GraftError:
        return None
    if len(rows) != len(weights.model):  # type: ignore[arg-type]
        return None
    mapping = match_rows(config, target)
    if mapping is None:
        mapping = {row.number: row.number for row in rows}
    replaced = {mapping[row.number]: row.kind for row in rows
                if row.number in mapping and others[mapping[row.number]].module != row.module}
    has_modules = any(module_rows.is_module(row.module) for row in others)
    if not replaced and len(rows) == len(others) == len(mapping) and not has_modules:
        return None
    return Transfer(weights=renumber(weights, target), replaced=replaced, rows=tuple(others),
                    inserted=frozenset(row.number for row in others) - frozenset(mapping.values()))


def renumber(weights: Any, target: dict[str, Any]) -> Any:
    """Return a model with the tensors of `weights`, whose rows have the numbers of their counterparts in the target.

    The modules are shared, not copied. A row of the target without a counterpart is an `nn.Identity`, which has no tensors.

    Args:
        weights: a task model. Anything else is returned as it is.
        target: the YAML dict of the model that gets the weights.
    """
    config = getattr(weights, "yaml", None)
    if not isinstance(weights, nn.Module) or not isinstance(config, dict):
        return weights
    mapping = match_rows(config, target)
    if mapping is None:
        return weights
    config = host_yaml(target)
    length = len(config["backbone"]) + len(config["head"])
    rows: list[nn.Module] = [nn.Identity() for _ in range(length)]
    for number, row in enumerate(weights.model):  # type: ignore[arg-type]
        if number in mapping:
            rows[mapping[number]] = row
    renumbered = copy.copy(weights)
    if isinstance(vars(weights).get(_FRESH), (list, tuple)):  # the prefixes of the blocks that were never trained
        vars(renumbered)[_FRESH] = tuple(
            f"model.{mapping[int(prefix.split('.')[1])]}{prefix[len('.'.join(prefix.split('.')[:2])):]}"
            for prefix in vars(weights)[_FRESH] if int(prefix.split(".")[1]) in mapping)
    vars(renumbered)["_modules"] = {**vars(weights)["_modules"], "model": nn.Sequential(*rows)}
    return renumbered
