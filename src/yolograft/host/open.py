"""Open a checkpoint or a model YAML as a `YOLO`. An error names the most similar file in the current folder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from yolograft.errors import GraftError, HostError, nearest
from yolograft.host.yolo import YOLO
from yolograft.language import tr

__all__ = ["check_model", "open_model"]


def open_model(name: str | Path, task: str | None = None) -> Any:
    """Open a checkpoint or a model YAML as a `YOLO`.

    Args:
        name: the file's path, or the name of a model that Ultralytics knows.
        task: as in Ultralytics; by default read from the model.

    Raises:
        GraftError: the model cannot be opened.
    """
    try:
        return YOLO(name, task=task)
    except GraftError:
        raise
    except (FileNotFoundError, TypeError, KeyError, AttributeError, ModuleNotFoundError, ConnectionError) as error:
        files = [str(path) for pattern in ("*.pt", "*.yaml") for path in sorted(Path.cwd().glob(pattern))]
        hint = nearest(str(name), [Path(file).name for file in files if Path(file).name != Path(name).name])
        raise HostError(tr("model={name} cannot be opened: {error}.{hint}", name=name, error=str(error).rstrip("."),
                           hint=hint)) from error
    except OSError as error:  # with 8.3, a file that does not exist is looked for on the network
        raise HostError(tr("model={name} does not exist, and cannot be downloaded: {error}", name=name,
                           error=error)) from error


def check_model(name: str | Path) -> None:
    """Raise `GraftError` if a model cannot be opened. What Ultralytics logs about it is not shown."""
    previous = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        open_model(name)
    finally:
        logging.disable(previous)
