"""Model YAML files as Ultralytics finds them, and how the YAML dict of a grafted model is marked.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `yaml_model_load` finds a file by name and sets `scale` from that
name; `parse_model` looks up the module of every row by name and raises an error that quotes a name it does not know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from yolograft.errors import HostError
from yolograft.modelyaml import catalog

__all__ = ["GRAFT_KEY", "SCALE_KEY", "SHIPPED", "VERSION_KEY", "host_yaml", "load", "marked", "unmarked"]

GRAFT_KEY = "graft"  # where a graft travels in a model's YAML dict
SCALE_KEY = "graft_scale"  # the scale of a grafted model, since Ultralytics ignores a `scale` in a file
SHIPPED = Path(__file__).with_name("shipped")
VERSION_KEY = "yolograft"
_MARK = " (needs yolograft: "  # no module's name has a space


def load(path: str | Path) -> dict[str, Any]:
    """Load a model YAML as it stands; a name that Ultralytics does not know is looked for among ours.

    The dumped YAML dict of a grafted model loses its mark, and has its own scale where the file's name says none.

    Raises:
        HostError: no such file, or no model YAML.
    """
    try:
        config = catalog.read_yaml(path)
    except FileNotFoundError as error:
        try:
            config = catalog.read_yaml(SHIPPED / Path(path).name)  # which reads yolo11s-se.yaml as yolo11-se.yaml at s
        except FileNotFoundError:
            raise HostError(f"model={path} does not exist.") from error
    except (AssertionError, OSError, TypeError, ValueError, yaml.YAMLError, RecursionError) as error:  # no YAML there
        raise HostError(f"model={path} cannot be read as a model YAML: {error}") from error
    if not isinstance(config, dict):
        raise HostError(f"model={path} is no model YAML: expected backbone and head rows.")
    config = unmarked(config)
    own = config.pop(SCALE_KEY, "")
    return {**config, "scale": config.get("scale") or own}


def marked(config: dict[str, Any], why: str) -> dict[str, Any]:
    """Return the YAML dict with `why` written behind the first row's module, so that stock Ultralytics cannot build it.

    All values stay plain: the mark survives every copy, and JSON and YAML files. `unmarked` removes it.
    """
    plain = unmarked(config)
    (source, repeats, module, args), *others = plain["backbone"]
    return {**plain, "backbone": [[source, repeats, f"{module}{_MARK}{why})", args], *others]}


def unmarked(config: dict[str, Any]) -> dict[str, Any]:
    """Return the YAML dict without the mark that `marked` writes; the same content where there is none."""
    plain = dict(config)
    rows: Any = plain.get("backbone")
    first = rows[0] if isinstance(rows, (list, tuple)) and rows else None
    if isinstance(first, (list, tuple)) and len(first) == 4 and isinstance(first[2], str) and _MARK in first[2]:
        source, repeats, module, args = first
        plain["backbone"] = [[source, repeats, module.partition(_MARK)[0], args], *rows[1:]]
    return plain


def host_yaml(config: dict[str, Any]) -> dict[str, Any]:
    """Return the host's part of a model's YAML dict, as a plain dict that Ultralytics can build a model from."""
    return {key: value for key, value in unmarked(config).items() if key not in (GRAFT_KEY, VERSION_KEY, SCALE_KEY)}
