"""Save and open Ultralytics models as safetensors files, which contain no pickle.

The file is a `yolograft.checkpoint` that also stores the YAML dict from which the host is built.

What this relies on in Ultralytics (8.3.0 to 8.4.x): the class of a task model rebuilds the model from `model.yaml`. A
trained model differs from a new one only in `names`, `args`, `task`, its tensors, and the width of its class branches
(`cv3` of `Detect`). In a new head this width is `max(C of P3, min(nc, 100))`. When the number of classes changes, newer
versions keep the width of the pretrained head (`BaseModel.load`).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn
from ultralytics.cfg import TASKS
from ultralytics.nn import tasks
from ultralytics.nn.tasks import guess_model_task
from ultralytics.utils import DEFAULT_CFG_DICT

from yolograft import checkpoint
from yolograft.blocks import plugin
from yolograft.errors import HostError
from yolograft.host import models, swaps
from yolograft.language import tr
from yolograft.modelyaml import table
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
    facts = _read_facts(path, saved.facts)
    plugin.check_needs(facts.needs, Path(path).parent)
    with models.building():
        model: Any = facts.cls(facts.config, verbose=False)
    fit_class_branches(model, facts.config, saved.tensors)
    swaps.swap_onto(model, facts.swap)
    models.graft_onto(model, saved.graft)
    checkpoint.load_tensors(model, saved.tensors)
    vars(model).pop(swaps.FRESH, None)
    model.names = facts.names
    model.task = facts.task
    model.args = {**DEFAULT_CFG_DICT, **facts.args, "task": model.task, "model": str(path)}
    model.pt_path = str(path)
    return model.eval()


@dataclass(frozen=True, kw_only=True)
class _Facts:
    """The metadata of a file, checked: a stranger can have written any text there."""

    cls: type[nn.Module]
    task: str
    config: dict[str, Any]
    names: dict[int, str]
    args: dict[str, Any]
    needs: list[dict[str, Any]]
    swap: Swap


def _read_facts(path: str | Path, facts: Mapping[str, str]) -> _Facts:
    missing = [key for key in ("class", "task", "yaml", "names", "args") if key not in facts]
    if missing:
        raise HostError(tr("'{path}' does not say which Ultralytics model it holds: its metadata lack {keys}. Expected a "
                           "file from 'yolograft pack best.pt'.", path=path, keys=", ".join(missing)))
    cls = vars(tasks).get(facts["class"])
    if not (isinstance(cls, type) and issubclass(cls, tasks.BaseModel) and cls is not tasks.BaseModel):
        raise HostError(tr("'{path}' needs the class '{model}', which is not a model of the installed Ultralytics.",
                           path=path, model=facts["class"][:60]))
    config = _parse(path, "yaml", facts["yaml"], _is_config)
    rows = guess_model_task(config)
    if facts["task"] not in TASKS or facts["task"] != rows:
        raise _wrong(path, "task", facts["task"])
    return _Facts(cls=cls, task=facts["task"], config=config,
                  names={int(key): name for key, name in _parse(path, "names", facts["names"], _is_names).items()},
                  args=_parse(path, "args", facts["args"], _is_args),
                  needs=_parse(path, "needs", facts.get("needs", "[]"), _is_needs),
                  swap=Swap.parse(facts.get("swap", "none")))


def _parse(path: str | Path, key: str, text: str, is_valid: Callable[[Any], bool]) -> Any:
    """Return the JSON value of one key of the metadata; raises `HostError` if it has another form."""
    try:
        value = json.loads(text, parse_constant=lambda constant: _refuse(constant))
    except (ValueError, RecursionError):
        raise _wrong(path, key, text) from None
    if not is_valid(value):
        raise _wrong(path, key, text)
    return value


def _refuse(constant: str) -> None:
    raise ValueError(constant)  # NaN and Infinity are not JSON


def _wrong(path: str | Path, key: str, text: str) -> HostError:
    return HostError(tr("'{path}' is damaged, or no file of 'yolograft pack': its metadata have {key} = {text}.", path=path,
                        key=key, text=text if len(text) <= 60 else f"{text[:57]}..."))


def _is_config(value: Any) -> bool:
    try:
        return bool(table.parse_rows(value))
    except HostError:
        return False


def _is_names(value: Any) -> bool:
    return isinstance(value, dict) and all(re.fullmatch("[0-9]{1,6}", key) and isinstance(name, str)
                                           for key, name in value.items())


def _is_args(value: Any) -> bool:
    kinds: dict[str, tuple[type, ...]] = {"imgsz": (int, list), "data": (str, type(None)), "single_cls": (bool,)}
    return isinstance(value, dict) and all(isinstance(one, kinds.get(key, ())) for key, one in value.items()) and all(
        isinstance(one, int) and 0 < one <= 10**5 for one in _flat(value.get("imgsz", 640)))


def _flat(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _is_needs(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(one, dict) and isinstance(one.get("classes", []), list)
        and all(isinstance(text, str) for key, text in one.items() if key != "classes")
        and all(isinstance(name, str) for name in one.get("classes", [])) for one in value)


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
