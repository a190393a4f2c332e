"""The folder of a run's results: say where it is if the user may not expect it, and check that it can be written.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `get_save_dir` returns the folder that a run with these arguments
makes. Without `project`, it is below the folder of the setting `runs_dir`, which Ultralytics fixes when it first runs.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ultralytics.cfg import get_cfg, get_save_dir
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER, SETTINGS

from yolograft.errors import HostError
from yolograft.language import tr

__all__ = ["check_run_folder", "check_writable", "new_folder"]


def check_run_folder(mode: str, arguments: Mapping[str, Any]) -> None:
    """Check that the folder of a run can be made, and log its path if it is outside the current folder.

    Args:
        mode: train, val, predict or tune.
        arguments: the arguments of the run, `task` included.

    Raises:
        HostError: the folder cannot be written.
    """
    folder = arguments.get("save_dir")
    if not folder:
        known = {key: value for key, value in arguments.items() if key in DEFAULT_CFG_DICT and key != "cfg"}
        try:
            config = get_cfg(overrides={**known, "mode": "train" if mode == "tune" else mode})
        except (TypeError, ValueError, SyntaxError) as error:
            raise HostError(str(error)) from error
        folder = get_save_dir(config, name=config.name or mode)
    path = Path(folder).absolute()
    check_writable(path, tr("Choose another folder: project=FOLDER"))
    is_named = arguments.get("save_dir") or Path(str(arguments.get("project") or "")).is_absolute()
    if not is_named and not path.resolve().is_relative_to(Path.cwd().resolve()):
        LOGGER.info(tr("yolograft: the results go to {folder}, because Ultralytics' setting runs_dir is {runs}. To change "
                       "it: yolo settings runs_dir=runs, or for one run: project={here}", folder=path,
                       runs=SETTINGS["runs_dir"], here=Path.cwd() / "runs"))


def new_folder(project: str | Path, name: str, *, separator: str = "") -> Path:
    """Return the first of the folders NAME, NAME2, NAME3, ... below `project` that does not exist. It is not made.

    Args:
        project: the folder of the results.
        name: the name to begin with.
        separator: what stands between the name and the number.

    Raises:
        HostError: no file can be written there.
    """
    check_writable(Path(project).absolute(), tr("Choose another folder: project=FOLDER"))
    folder, number = Path(project) / name, 2
    while folder.exists():
        folder, number = Path(project) / f"{name}{separator}{number}", number + 1
    return folder


def check_writable(folder: Path, remedy: str) -> None:
    """Check that files can be written to a folder, or to the nearest one above it that exists.

    Args:
        folder: the folder. It need not exist.
        remedy: a sentence for the message.

    Raises:
        HostError: no file can be written there.
    """
    try:
        existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
        with tempfile.TemporaryFile(dir=existing):
            pass
    except OSError as error:
        raise HostError(tr("The folder {folder} cannot be written: {reason}. {remedy}", folder=folder,
                           reason=error.strerror or error, remedy=remedy)) from error
