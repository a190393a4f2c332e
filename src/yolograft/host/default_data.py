"""Data sets that no argument names: which one Ultralytics takes, and an error if it would be downloaded.

Without `data=`, Ultralytics takes the data of the checkpoint or a small set of its own, and downloads it: `val` of
yolo11n.pt downloads COCO. A path of a classification that does not exist is looked for on GitHub. A set that is on this
machine is used, and a name that an argument gives is downloaded, as with `yolo`.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `TASK2DATA` has the defaults, and `overrides["data"]` the data of the
checkpoint. `train` reads the latter in 8.3 only; `val` reads it, and newer versions only if it is portable
(`check_data_portable`); `export` calibrates INT8 on the default, some formats on that of `TASK2CALIBRATIONDATA`.
"""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from ultralytics import cfg
from ultralytics.cfg import TASK2DATA
from ultralytics.engine import model as engine_model
from ultralytics.utils import DATASETS_DIR, DEFAULT_CFG_DICT, checks

from yolograft import network, yaml_text
from yolograft.errors import DataError, HostError
from yolograft.host.data_download import is_here
from yolograft.language import tr

__all__ = ["check_default", "check_folder"]

_TRAIN_TAKES_STORED = '"data": overrides.get("data")' in inspect.getsource(engine_model.Model.train)
_CALIBRATION: dict[str, str] = getattr(cfg, "TASK2CALIBRATIONDATA", {})
_INT8_FORMATS = ("axelera", "deepx", "edgetpu", "hailo", "imx", "qnn", "xilinx")  # they have no other precision
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".txz", ".tbz2")
# the sets of images by class that Ultralytics documents
_CLASSIFICATIONS = frozenset({
    "caltech101", "caltech256", "cifar10", "cifar100", "fashion-mnist", "imagenet", "imagenet10", "imagenet100",
    "imagenette", "imagenette160", "imagenette320", "imagewoof", "imagewoof160", "imagewoof320", "mnist", "mnist160",
    TASK2DATA["classify"]})


def check_default(mode: str, model: Any, arguments: dict[str, Any]) -> None:
    """Raise `HostError` if a mode would download a data set that none of its arguments names.

    Args:
        mode: train, val, export, tune or benchmark.
        model: the `YOLO`.
        arguments: those of the call.
    """
    if network.is_allowed(network.ASSETS) or arguments.get("data") or arguments.get("resume") or _named_by_cfg(arguments):
        return
    for name in _taken(mode, model, arguments):
        if _is_downloaded(name, str(model.task)):
            raise HostError(tr("'data' is missing. Ultralytics would download {value}, and yolograft downloads nothing that "
                               "was not named. Name the data YAML, or data={value}.", value=name))


def check_folder(data: Any) -> None:
    """Raise `DataError` if Ultralytics would look on GitHub for the folder of a classification, which does not exist."""
    if not isinstance(data, (str, Path)) or network.is_allowed(network.ASSETS):
        return
    text = str(data)
    if "://" in text or text.lower().endswith((*_ARCHIVES, ".ndjson")) or text in _CLASSIFICATIONS:
        return
    if not _is_downloaded(text, "classify"):
        return
    raise DataError(tr("data={file} is not a folder. Expected the folder of a classification, with train/CLASS and "
                       "val/CLASS, or a data set that Ultralytics downloads by its name, such as mnist160.", file=text))


def _taken(mode: str, model: Any, arguments: dict[str, Any]) -> list[str]:
    """Return the data sets that Ultralytics can take."""
    stored, default = model.overrides.get("data"), DEFAULT_CFG_DICT.get("data") or TASK2DATA.get(model.task)
    if mode == "export":
        is_int8 = (arguments.get("int8") or str(arguments.get("quantize")).lower() in ("8", "int8", "w8a16")
                   or arguments.get("format") in _INT8_FORMATS)
        chosen = [default, _CALIBRATION.get(model.task)] if is_int8 else []
    elif mode == "benchmark" or (mode == "train" and not _TRAIN_TAKES_STORED):
        chosen = [default]
    elif mode == "val" and hasattr(checks, "check_data_portable"):
        chosen = [stored if checks.check_data_portable(stored) else default]
    else:
        chosen = [stored or default]
    return [str(name) for name in chosen if isinstance(name, (str, Path))]


def _is_downloaded(text: str, task: str) -> bool:
    """Whether Ultralytics would download a data set: an address, or a set of its own that is not on this machine."""
    if "://" in text:
        return True
    if task == "classify":
        return not Path(text).is_dir() and not (DATASETS_DIR / text).is_dir()
    if Path(text).is_file() or not text.endswith((".yaml", ".yml")):
        return False  # a file of the user: its key `download:` is checked elsewhere
    found = checks.check_file(text, download=False, hard=False)
    return bool(found) and not is_here(text)


def _named_by_cfg(arguments: dict[str, Any]) -> bool:
    file = arguments.get("cfg")
    content = yaml_text.read(Path(file)).value if isinstance(file, (str, Path)) and Path(file).is_file() else None
    return isinstance(content, dict) and bool(content.get("data"))
