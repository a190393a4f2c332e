"""Arms with a model YAML: their rows take the place of the host's, at the host's scale, with its weights.

A study has one host, such as yolo11n.pt. An arm's model YAML is built at the host's scale. Each of its rows that has a
counterpart in the host starts from the weights that this counterpart has in the baseline with the same seed (see
`yolograft.host.transfer`); so do rows whose weights are new in the baseline too, such as those of the head's classes.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `guess_model_task` reads the task off a YAML's last row. A task model
is built with `cls(config, nc=, verbose=)`.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import yaml
from torch import nn
from ultralytics.nn.tasks import RTDETRDetectionModel, guess_model_task

from yolograft import attach, yaml_text
from yolograft.errors import GraftError, HostError
from yolograft.host import models
from yolograft.host.build import model_config, name_failing_row
from yolograft.host.model_names import find_model
from yolograft.host.transfer import plan_transfer
from yolograft.language import tr
from yolograft.modelyaml import catalog, table
from yolograft.modelyaml.load import SCALE_KEY, SHIPPED, unmarked
from yolograft.spec import Graft

__all__ = ["build", "count_transferred", "find_yaml", "full_graft", "read_config", "scale_of"]


def find_yaml(name: str) -> Path | None:
    """Return the file that a model YAML's name means: a path, or a file of Ultralytics or of this package; else None."""
    if Path(name).is_file():
        return Path(name)
    shipped = SHIPPED / Path(name).name
    return catalog.find_yaml(find_model(name)) or (shipped if shipped.is_file() else None)


def scale_of(network: nn.Module) -> str:
    """Return the scale of a host, such as `n`; empty if its YAML has no scales."""
    config = getattr(network, "yaml", None)
    return table.scales(models.host_yaml(dict(config)))[0].name if isinstance(config, dict) else ""


def read_config(text: str, file: str, host: nn.Module) -> dict[str, Any]:
    """Return the YAML dict of an arm at the host's scale. Its attention rows are the graft in the key `graft`.

    Args:
        text: the text of the model YAML.
        file: its name, for messages.
        host: the study's model.

    Raises:
        GraftError: it is no model YAML, it has an unknown module, or its name says another scale than that of the host.
    """
    scale, named = scale_of(host), catalog.guess_scale(file)
    if scale and named and named != scale:
        raise HostError(tr("The name of {file} says scale {named}, but the study's model has scale {scale}, and arms of "
                           "different scales cannot be paired. Rename the file, or give the study a model of scale {named}.",
                           file=file, named=named, scale=scale))
    content = yaml_text.parse(text, file, error=HostError)
    if not isinstance(content, dict):
        raise HostError(tr("model={path} is no model YAML: expected backbone and head rows.", path=file))
    content = unmarked(content)
    scales = content.get("scales")
    if scale and scales:
        if isinstance(scales, dict) and scale not in scales:
            raise HostError(tr("{file} has the scales {scales}, but the study's model has scale {scale}. Add a line of this "
                               "scale.", file=file, scales=", ".join(map(str, scales)), scale=scale))
        content[SCALE_KEY] = scale
    with tempfile.TemporaryDirectory() as folder:
        copied = Path(folder) / "arm.yaml"  # a name without a scale
        copied.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
        try:
            config = model_config(copied)
        except GraftError as error:
            raise type(error)(str(error).replace(str(copied), file)) from error
    return {**config, "yaml_file": file}


def full_graft(config: dict[str, Any], graft: str) -> Graft:
    """Return the graft of the attention rows of a YAML dict, and `graft`, with all settings written out."""
    return attach.spelled(models.read_graft(config) + Graft.parse(graft))


def build(config: dict[str, Any], graft: Graft, host: nn.Module, classes: int | None) -> nn.Module:
    """Build the network of an arm, of the host's class, with new weights, and with the swap in the dict.

    Raises:
        GraftError: a row cannot be built, the head is for another task than the host's, or the swap or the graft does not
            fit.
    """
    bare = models.host_yaml(config)
    cls = type(host).__mro__[2] if isinstance(host, models.Grafted) else type(host)
    file = str(config.get("yaml_file", ""))
    is_rtdetr = any(row.module == "RTDETRDecoder" for row in table.parse_rows(bare))
    tasks = guess_model_task(bare), getattr(host, "task", None) or guess_model_task(host)
    if tasks[0] != tasks[1] or is_rtdetr != issubclass(cls, RTDETRDetectionModel):
        kinds = ["RT-DETR" if one else task for one, task in
                 zip((is_rtdetr, issubclass(cls, RTDETRDetectionModel)), tasks, strict=True)]
        raise HostError(tr("{file} has a head for {task}, but the study's model is for {host}.", file=file, task=kinds[0],
                           host=kinds[1]))
    with name_failing_row(file):
        return models.build_model(config, graft, cls, nc=classes, verbose=False)


def count_transferred(network: nn.Module, host: nn.Module) -> tuple[int, int, list[str]]:
    """Return how many tensors of an arm's network, its blocks left out, have a counterpart in the host.

    Returns:
        The number that have one, the number of all, and for each row with others a phrase that says why.
    """
    transfer = plan_transfer(host, models.host_yaml(dict(network.yaml)))  # type: ignore[arg-type]
    source = (host if transfer is None else transfer.weights).state_dict()
    blocks = tuple(f"{prefix}." for prefix in attach.grafts(network))
    keys = {key: value for key, value in network.state_dict().items() if not (blocks and key.startswith(blocks))}
    missing = [key for key, value in keys.items() if key not in source or source[key].shape != value.shape]
    return len(keys) - len(missing), len(keys), transfer.describe(missing) if transfer is not None else []
