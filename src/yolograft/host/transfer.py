"""Pretrained weights follow the rows: the tensors of a checkpoint load into the rows that they belong to.

Ultralytics loads a tensor by its name, `model.NUMBER.…`, and a row that was inserted or removed changes the numbers of all
later rows. Here the rows of both model YAMLs are aligned first, and the modules of the checkpoint get the numbers of their
counterparts. In a row that another module replaced, tensors of the same name and shape load.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a task model has its rows in `model`, an `nn.Sequential`, and its YAML
dict in `yaml`. `BaseModel.load` takes such a model and loads the tensors of the same name and shape.
"""

from __future__ import annotations

import copy
from typing import Any

from torch import nn

from yolograft.errors import GraftError
from yolograft.modelyaml import stock_match, table
from yolograft.modelyaml.load import host_yaml

__all__ = ["match_rows", "renumber"]


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
    length = len(target["backbone"]) + len(target["head"])
    rows: list[nn.Module] = [nn.Identity() for _ in range(length)]
    for number, row in enumerate(weights.model):  # type: ignore[arg-type]
        if number in mapping:
            rows[mapping[number]] = row
    renumbered = copy.copy(weights)
    vars(renumbered)["_modules"] = {**vars(weights)["_modules"], "model": nn.Sequential(*rows)}
    return renumbered
