"""Model YAML files for building: the attention rows of a hand-edited file are read as a graft.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from yolograft.errors import HostError
from yolograft.modelyaml import reader
from yolograft.modelyaml.lint import lint
from yolograft.modelyaml.load import GRAFT_KEY, load
from yolograft.spec import Graft

__all__ = ["model_config"]


def model_config(path: str | Path) -> dict[str, Any]:
    """Load a model YAML for building: attention rows become the graft in its `graft` key, and it is said which.

    Raises:
        GraftError: no such file, no model YAML, or attention rows that make no sense.
    """
    config = load(path)
    reading = reader.read(config)
    if reading.edges:
        raise HostError(f"model={path}: a row reads one map both attended and plain, through two of its inputs; "
                        f"that cannot be grafted. {reading.notes[-1]}")
    for note in reading.notes:
        LOGGER.info(f"yolograft: {note}")
    if reading.graft:
        wrong = [one for one in lint(path) if one.severity == "error"]
        if wrong:
            LOGGER.warning(f"WARNING yolograft: model={path} is read as it stands, but {wrong[0].what} {wrong[0].why} "
                           f"All of it, with the mends: yolograft lint {path}")
    graft = Graft.parse(str(config.get(GRAFT_KEY) or "none")) + reading.graft
    host = dict(reading.host)
    host.pop(GRAFT_KEY, None)
    return {**host, GRAFT_KEY: str(graft)} if graft else host
