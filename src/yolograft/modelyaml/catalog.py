"""What the installed Ultralytics has: its module classes, its packaged model YAML files, and how it finds a file's scale.

The one file of this room that imports Ultralytics. What this relies on (8.3.0 to 8.4.x): `parse_model` looks up module
names in `torch.nn`, `torchvision.ops` and the globals of `ultralytics.nn.tasks`; `yaml_model_load` finds a file by name and
sets `scale` from that name; packaged files lie under `ultralytics/cfg/models`.
"""

from __future__ import annotations

import inspect
import re
from functools import cache
from pathlib import Path
from typing import Any

_PACKAGES = ("ultralytics", "torch", "torchvision")

__all__ = ["find_packaged", "find_yaml", "guess_scale", "has_module", "most_arguments", "packaged_files",
           "read_yaml", "unscaled"]


@cache
def has_module(name: str) -> bool:
    """Return whether `parse_model` of the installed Ultralytics can build a row with this module name."""
    from torch import nn
    from ultralytics.nn import tasks

    if name.startswith(("nn.", "torch.nn.")):
        found = getattr(nn, name.rpartition("nn.")[2], None)
    elif name.startswith("torchvision.ops."):
        import torchvision  # takes as long as PyTorch itself, and few files need it

        found = getattr(torchvision.ops, name[16:], None)
    else:
        found = vars(tasks).get(name)
    # A file of the user can have put a class of its own there, which `parse_model` does not know how to build. The classes
    # of whole models in `tasks` are no layers: their argument is a file to open.
    return (isinstance(found, type) and issubclass(found, nn.Module) and found.__module__.partition(".")[0] in _PACKAGES
            and found.__module__ != tasks.__name__)


@cache
def most_arguments(name: str) -> int | None:
    """Return how many arguments a row of this stock module can have; None if there is no limit or it is not known.

    For modules that `parse_model` gives the input channels first, and the repeats third if they are named `n`.
    """
    from ultralytics.nn import tasks

    constructor = vars(tasks).get(name)
    if not isinstance(constructor, type) or not has_module(name):
        return None
    parameters = [*inspect.signature(constructor).parameters.values()]
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters) or parameters[0].name != "c1":
        return None
    return len(parameters) - 1 - (len(parameters) > 2 and parameters[2].name == "n")


def packaged_files() -> list[Path]:
    """Return the model YAML files of the installed Ultralytics, sorted."""
    import ultralytics

    return sorted((Path(ultralytics.__file__).parent / "cfg" / "models").rglob("*.yaml"))


@cache
def find_packaged(name: str) -> Path | None:
    """Return the packaged file of a name, or of a name with a scale, such as `yolo11n.yaml`; None if there is none."""
    files = {file.name: file for file in packaged_files()}
    return files.get(name) or files.get(unscaled(name))


def read_yaml(path: str | Path) -> Any:
    """Read a model YAML as Ultralytics does, with the `scale` that the file's name says.

    Raises:
        FileNotFoundError: there is no such file, and no packaged file of that name.
        AssertionError, OSError, TypeError, ValueError, yaml.YAMLError: the file cannot be read.
    """
    from ultralytics.nn.tasks import yaml_model_load

    return yaml_model_load(path)


def find_yaml(path: str | Path) -> Path | None:
    """Return the file that `read_yaml` opens, such as `yolo11.yaml` for `yolo11n.yaml`; None if there is none."""
    from ultralytics.utils.checks import check_yaml

    for name in (str(path), unscaled(path)):
        try:
            found = check_yaml(name, hard=False)
        except (AssertionError, OSError):
            continue
        if found and Path(str(found)).is_file():
            return Path(str(found))
    return None


def unscaled(path: str | Path) -> str:
    """Return a file's name without the letter of its scale, as `read_yaml` looks for it: yolo11.yaml for yolo11n.yaml."""
    return re.sub(r"(\d+)([nslmx])(.+)?$", r"\1\3", str(path))


def guess_scale(path: str | Path) -> str:
    """Return the scale (n, s, m, l or x) that Ultralytics reads off a file's name; empty for none."""
    from ultralytics.nn.tasks import guess_model_scale

    return str(guess_model_scale(path))
