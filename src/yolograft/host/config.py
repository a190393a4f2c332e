"""Model YAML files as Ultralytics reads them, with the attention rows of a hand-edited file understood as a graft.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `yaml_model_load` finds a file by name, guesses its scale, and
returns the dict that a model is built from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from ultralytics.nn.tasks import yaml_model_load
from ultralytics.utils import LOGGER

from yolograft.errors import HostError
from yolograft.host import rows
from yolograft.spec import Graft

__all__ = ["GRAFT_KEY", "SHIPPED", "load", "model_config"]

GRAFT_KEY = "graft"  # where a graft travels in a model's YAML dict
SHIPPED = Path(__file__).parents[1] / "models"


def load(path: str | Path) -> dict[str, Any]:
    """Load a model YAML as it stands; a name that Ultralytics does not know is looked for among ours.

    Raises:
        HostError: no such file, or no model YAML.
    """
    try:
        config = yaml_model_load(path)
    except FileNotFoundError as error:
        try:
            config = yaml_model_load(SHIPPED / Path(path).name)  # which reads yolo11s-se.yaml as yolo11-se.yaml at s
        except FileNotFoundError:
            raise HostError(f"model={path} does not exist.") from error
    except (AssertionError, OSError, TypeError, ValueError, yaml.YAMLError, RecursionError) as error:  # no YAML there
        raise HostError(f"model={path} cannot be read as a model YAML: {error}") from error
    if not isinstance(config, dict):
        raise HostError(f"model={path} is no model YAML: expected backbone and head rows.")
    return config


def model_config(path: str | Path) -> dict[str, Any]:
    """Load a model YAML for building: attention rows become the graft in its `graft` key, and it is said which.

    Raises:
        GraftError: no such file, no model YAML, or attention rows that make no sense.
    """
    config = load(path)
    reading = rows.read(config)
    if reading.edges:
        raise HostError(f"model={path}: a row reads one map both attended and plain, through two of its inputs; "
                        f"that cannot be grafted. {reading.notes[-1]}")
    for note in reading.notes:
        LOGGER.info(f"yolograft: {note}")
    if reading.graft:
        from yolograft.host.lint import lint  # which reads through this module

        wrong = [one for one in lint(path) if one.severity == "error"]
        if wrong:
            LOGGER.warning(f"WARNING yolograft: model={path} is read as it stands, but {wrong[0].what} {wrong[0].why} "
                           f"All of it, with the mends: yolograft lint {path}")
    graft = Graft.parse(str(config.get(GRAFT_KEY) or "none")) + reading.graft
    host = dict(reading.host)
    host.pop(GRAFT_KEY, None)
    return {**host, GRAFT_KEY: str(graft)} if graft else host
