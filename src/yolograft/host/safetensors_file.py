"""Ultralytics models as pickle-free files: what `checkpoint` saves, with the YAML dict that the host is built from.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a task model is rebuilt by its class from `model.yaml`, and only
`names`, `args`, `task`, its tensors and the width of its class branches tell a trained one from a fresh one. That width is
`max(C of P3, min(nc, 100))` in a fresh head (`cv3` of `Detect`); newer versions keep the pretrained one where the number of
classes changes (`BaseModel.load`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.utils import DEFAULT_CFG_DICT

from yolograft import checkpoint
from yolograft.errors import HostError
from yolograft.host import models

__all__ = ["open_file", "save_file"]


def save_file(model: nn.Module, path: str | Path) -> Path:
    """Write a task model, grafted or bare, to a safetensors file; returns its path.

    Raises:
        HostError: the file cannot be written, or the model holds more than its YAML dict and tensors tell.
    """
    stock = type(model).__mro__[2] if isinstance(model, models.Grafted) else type(model)
    if getattr(tasks, stock.__name__, None) is not stock:
        raise HostError(f"A {stock.__name__} cannot be rebuilt from its YAML alone. Keep its .pt file.")
    config = models.host_yaml(dict(model.yaml))  # type: ignore[arg-type]
    told: Any = model.args  # a dict, or the namespace of a trainer
    given: dict[str, Any] = told if isinstance(told, dict) else vars(told)
    args = {key: value for key, value in given.items()
            if key in ("imgsz", "data", "single_cls") and isinstance(value, (int, str, list))}
    facts = {"class": stock.__name__, "task": str(getattr(model, "task", None) or args.get("task", "detect")),
             "yaml": json.dumps(config), "names": json.dumps(getattr(model, "names", {})), "args": json.dumps(args)}
    return checkpoint.save(model, path, facts=facts)


def open_file(path: str | Path) -> nn.Module:
    """Build the task model that a file describes, graft it and load its tensors; no code from the file is run.

    Raises:
        HostError: no such file, not one of ours, or of an Ultralytics that this one cannot rebuild.
    """
    saved = checkpoint.read(path)
    try:
        cls = getattr(tasks, saved.facts["class"])
        config, names = json.loads(saved.facts["yaml"]), json.loads(saved.facts["names"])
        args = json.loads(saved.facts["args"])
    except (KeyError, AttributeError, ValueError) as error:
        raise HostError(f"'{path}' does not say which Ultralytics model it holds ({error}). Expected a file made by "
                        "'yolograft export model=best.pt format=safetensors' and an Ultralytics with its task.") from error
    if not (isinstance(cls, type) and issubclass(cls, tasks.BaseModel)):
        raise HostError(f"'{path}' asks for '{saved.facts['class']}', which is no Ultralytics model.")
    model: Any = cls(config, verbose=False)
    _fit_class_branches(model, config, saved.tensors)
    models.graft_onto(model, saved.graft)
    checkpoint.load_tensors(model, saved.tensors)
    model.names = {int(key): name for key, name in names.items()}
    model.task = saved.facts["task"]
    model.args = {**DEFAULT_CFG_DICT, **args, "task": model.task, "model": str(path)}
    model.pt_path = str(path)
    return model.eval()


def _fit_class_branches(model: Any, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Give the head's class branches the width that they have among the tensors, in place."""
    head, row = model.model[-1], len(model.model) - 1
    for attribute in ("cv3", "one2one_cv3"):
        branches: Any = getattr(head, attribute, None)
        if branches is None or not isinstance(branches[0][-1], nn.Conv2d):
            continue
        last = branches[0][-1]
        stored = tensors.get(f"model.{row}.{attribute}.0.{len(branches[0]) - 1}.weight")
        width = stored.shape[1] if stored is not None and stored.ndim == 4 else last.in_channels
        if width == last.in_channels or width > 100:
            continue
        donor: Any = type(model)({**config, "nc": width}, verbose=False)
        wide = getattr(donor.model[-1], attribute)
        for branch in wide:
            branch[-1] = nn.Conv2d(width, last.out_channels, 1)
        setattr(head, attribute, wide)
