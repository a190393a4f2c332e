"""Save and open Ultralytics models as safetensors files, which contain no pickle.

The file is a `yolograft.checkpoint` that also stores the YAML dict from which the host is built.

What this relies on in Ultralytics (8.3.0 to 8.4.x): the class of a task model rebuilds the model from `model.yaml`. A
trained model differs from a new one only in `names`, `args`, `task`, its tensors, and the width of its class branches
(`cv3` of `Detect`). In a new head this width is `max(C of P3, min(nc, 100))`. When the number of classes changes, newer
versions keep the width of the pretrained head (`BaseModel.load`).
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
from yolograft.blocks import plugin
from yolograft.errors import HostError
from yolograft.host import models, swaps
from yolograft.language import tr
from yolograft.spec import Swap

__all__ = ["fit_class_branches", "open_file", "save_file"]


def save_file(model: nn.Module, path: str | Path) -> Path:
    """Write a task model, grafted or bare, to a safetensors file and return the file's path.

    Raises:
        HostError: the file cannot be written, or the model's class cannot be rebuilt from a YAML dict.
    """
    stock = type(model).__mro__[2] if isinstance(model, models.Grafted) else type(model)
    if getattr(tasks, stock.__name__, None) is not stock:
        raise HostError(tr("A {model} cannot be rebuilt from its YAML alone. Keep its .pt file.", model=stock.__name__))
    config = models.host_yaml(dict(model.yaml))  # type: ignore[arg-type]
    model_args: Any = model.args  # a dict, or a namespace if the model comes from a trainer
    all_args: dict[str, Any] = model_args if isinstance(model_args, dict) else vars(model_args)
    args = {key: value for key, value in all_args.items()
            if key in ("imgsz", "data", "single_cls") and isinstance(value, (int, str, list))}
    facts = {"class": stock.__name__, "task": str(getattr(model, "task", None) or args.get("task", "detect")),
             "yaml": json.dumps(config), "names": json.dumps(getattr(model, "names", {})), "args": json.dumps(args)}
    if swap := swaps.read_swap(model.yaml):
        facts["swap"] = str(swap)
    needs = plugin.needs_of(model)
    if needs:
        facts["needs"] = json.dumps(needs)
    return checkpoint.save(model, path, facts=facts)


def open_file(path: str | Path) -> nn.Module:
    """Build the task model that a file describes, graft it and load its tensors. This runs no code from the file.

    Raises:
        HostError: the file does not exist, `save_file` did not write it, or the installed Ultralytics cannot build the
            model.
    """
    saved = checkpoint.read(path)
    try:
        cls = getattr(tasks, saved.facts["class"])
        config, names = json.loads(saved.facts["yaml"]), json.loads(saved.facts["names"])
        args = json.loads(saved.facts["args"])
        needs: list[dict[str, Any]] = json.loads(saved.facts.get("needs", "[]"))
    except (KeyError, AttributeError, ValueError) as error:
        raise HostError(tr("'{path}' does not say which Ultralytics model it holds ({error}). Expected a file from "
                           "'yolograft export model=best.pt format=safetensors' and an Ultralytics that has its task.",
                           path=path, error=error)) from error
    if not (isinstance(cls, type) and issubclass(cls, tasks.BaseModel)):
        raise HostError(tr("'{path}' needs the class '{model}', which is not an Ultralytics model.", path=path,
                           model=saved.facts["class"]))
    plugin.check_needs(needs, Path(path).parent)
    with models.building():
        model: Any = cls(config, verbose=False)
    fit_class_branches(model, config, saved.tensors)
    swaps.swap_onto(model, Swap.parse(saved.facts.get("swap", "none")))
    models.graft_onto(model, saved.graft)
    checkpoint.load_tensors(model, saved.tensors)
    vars(model).pop(swaps.FRESH, None)
    model.names = {int(key): name for key, name in names.items()}
    model.task = saved.facts["task"]
    model.args = {**DEFAULT_CFG_DICT, **args, "task": model.task, "model": str(path)}
    model.pt_path = str(path)
    return model.eval()


def fit_class_branches(model: Any, config: dict[str, Any], tensors: Mapping[str, Tensor]) -> None:
    """Change the head's class branches, in place, to the width that the stored tensors have."""
    head, head_row = model.model[-1], len(model.model) - 1
    for attribute in ("cv3", "one2one_cv3"):
        branches: Any = getattr(head, attribute, None)
        if branches is None or not isinstance(branches[0][-1], nn.Conv2d):
            continue
        classifier = branches[0][-1]
        stored = tensors.get(f"model.{head_row}.{attribute}.0.{len(branches[0]) - 1}.weight")
        width = stored.shape[1] if stored is not None and stored.ndim == 4 else classifier.in_channels
        if width == classifier.in_channels or width > 100:
            continue
        with models.building():
            wide_model: Any = type(model)({**config, "nc": width}, verbose=False)
        wide_branches = getattr(wide_model.model[-1], attribute)
        for branch in wide_branches:
            branch[-1] = nn.Conv2d(width, classifier.out_channels, 1)
        setattr(head, attribute, wide_branches)
