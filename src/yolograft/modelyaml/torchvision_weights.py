"""Weights that a row of a model YAML lets torchvision download: the row names them, and the user did not.

What this relies on in Ultralytics (since 8.3.56; earlier ones lack the module): a row `TorchVision, [c2, model, weights,
...]` calls `torchvision.models.get_model(model, weights=weights)`. `weights` is "DEFAULT" if the row does not have it. From
torchvision and PyTorch: `get_model_weights` knows the address, and `torch.hub` keeps the file under its name in
`get_dir()/checkpoints`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from yolograft import network
from yolograft.errors import HostError
from yolograft.language import tr
from yolograft.modelyaml import table
from yolograft.modelyaml.table import Row

__all__ = ["check_weights", "describe", "find_download"]


def find_download(row: Row) -> str | None:
    """Return the address from which building a row would download weights, without permission; None if it would not."""
    if row.module != "TorchVision" or len(row.args) < 2 or network.is_allowed(network.ASSETS):
        return None
    import torch
    from torchvision import models

    name = table.parse_literal(row.args[2]) if len(row.args) > 2 else "DEFAULT"
    if not name:
        return None
    try:
        known = models.get_model_weights(str(row.args[1]))
        weights = known.DEFAULT if name is True else known[str(name).replace(f"{known.__name__}.", "")]
    except (KeyError, ValueError, AttributeError):  # no such model or weights: the build says so
        return None
    file = Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name
    return None if file.is_file() else str(weights.url)


def describe(row: Row, number: int, url: str) -> str:
    """Return the sentences that refuse to build a row, with its number in the file."""
    return tr("row {number} {row} needs the weights {url}, which are not on this machine. Nothing is downloaded unasked: "
              "{switch}=1 allows it. With None in the place of the weights, the row starts from random ones.",
              number=number, row=row.text, url=url, switch=network.ASSETS)


def check_weights(config: Mapping[str, Any]) -> None:
    """Raise `HostError` if building a model YAML dict would download weights without permission."""
    for row in table.parse_rows(dict(config)):
        if (url := find_download(row)) is not None:
            raise HostError(describe(row, row.number, url))
