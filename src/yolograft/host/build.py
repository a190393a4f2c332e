"""The model YAML for a build: attention rows of a hand-edited file become a graft."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from yolograft.errors import HostError
from yolograft.host.log import warn
from yolograft.language import tr
from yolograft.modelyaml import reader
from yolograft.modelyaml.lint import lint
from yolograft.modelyaml.load import GRAFT_KEY, load
from yolograft.spec import Graft

__all__ = ["model_config"]


def model_config(path: str | Path) -> dict[str, Any]:
    """Load a model YAML for a build. Attention rows become the graft in the `graft` key; the log says how each was read.

    Raises:
        GraftError: the file does not exist, is not a model YAML, or has invalid attention rows.
    """
    config = load(path)
    reading = reader.read(config)
    if reading.edges:
        raise HostError(tr("model={path}: a row reads one map both with and without attention, through two of its inputs. "
                           "A graft cannot express this. {note}", path=path, note=reading.notes[-1]))
    for note in reading.notes:
        LOGGER.info(f"yolograft: {note}")
    if reading.graft:
        errors = [finding for finding in lint(path) if finding.severity == "error"]
        if errors:
            warn(tr("model={path} has an error, and is used unchanged. {what} {why} To see every error and its fix: "
                    "yolograft lint {path}", path=path, what=errors[0].what, why=errors[0].why))
    graft = Graft.parse(str(config.get(GRAFT_KEY) or "none")) + reading.graft
    host = dict(reading.host)
    host.pop(GRAFT_KEY, None)
    return {**host, GRAFT_KEY: str(graft)} if graft else host
