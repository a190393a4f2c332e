"""The arguments of Ultralytics for help and completion, read from its `default.yaml` as text.

The import of Ultralytics takes seconds, and help must appear at once. What this relies on (8.3.0 to 8.4.x): each line of
`cfg/default.yaml` is `key: default # (type) meaning`, below comments that name the group, such as `# Train settings ---`.
"""

from __future__ import annotations

import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from yolograft.cli.command import Argument

__all__ = ["for_mode", "names"]

_LINE = re.compile(r"^(\w+): *(.*?) *(?:# *(?:\([^)]*\))? *(.*))?$")
_GROUP = re.compile(r"^# *([A-Z][\w./ ]*?)(?: settings)?(?: -+)?$")
_NOT_SHOWN = ("task", "mode", "cfg")  # the command line sets these
_COMMON = ("model", "data", "imgsz", "batch", "device", "workers", "project", "name", "exist_ok", "verbose", "half",
           "quantize", "conf", "iou", "max_det", "classes")
_TRAIN = ("Train", "Segmentation", "Classification", "Val/Test", "Hyperparameters")
_PREDICT = ("Predict", "Visualize")
_GROUPS = {  # mode -> the groups of default.yaml whose arguments act in it
    "train": _TRAIN, "tune": _TRAIN, "val": ("Val/Test",), "predict": _PREDICT, "track": (*_PREDICT, "Tracker"),
    "export": ("Export",), "benchmark": ("Export",),
}


def names() -> list[str]:
    """Return the names of all arguments of Ultralytics."""
    return [argument.name for _, argument in _read()] or ["model", "data", "epochs", "imgsz", "batch", "device"]


def for_mode(mode: str) -> list[Argument]:
    """Return the arguments of Ultralytics that act in a mode. The meanings are Ultralytics' own, in English."""
    groups = _GROUPS[mode]
    return [argument for group, argument in _read()
            if argument.name not in _NOT_SHOWN and (group in groups or ("Train" not in groups and argument.name in _COMMON))]


@cache
def _read() -> tuple[tuple[str, Argument], ...]:
    package = find_spec("ultralytics")  # does not import it
    if package is None or package.origin is None:
        return ()
    text = (Path(package.origin).parent / "cfg" / "default.yaml").read_text(encoding="utf-8")
    group, found = "", []
    for line in text.splitlines():
        if (heading := _GROUP.match(line)) is not None:
            group = heading[1]
        elif (argument := _LINE.match(line)) is not None:
            found.append((group, Argument(argument[1], argument[2], argument[3] or "")))
    return tuple(found)
