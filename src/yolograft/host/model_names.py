"""The name of a model as people write it -> the name that Ultralytics knows.

Since YOLO11, Ultralytics' names have no `v`: yolo11n.pt, but yolov8n.pt. Papers and tutorials write YOLOv11, and many
scripts and READMEs have `yolov11n.pt` or `yolov11n.yaml`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from ultralytics.utils import LOGGER

from yolograft.language import tr
from yolograft.modelyaml import catalog
from yolograft.modelyaml.load import SHIPPED

__all__ = ["find_model"]

_WITH_V = ("3", "4", "5", "6", "7", "8", "9", "10")  # versions whose names have a v
_WITHOUT_V = ("11", "12", "26")
_NAME = re.compile(r"yolo-?_?(?P<v>v?)-?(?P<version>\d+)(?P<rest>[a-z]*.*)", re.IGNORECASE | re.DOTALL)


def find_model(name: Any) -> Any:
    """Return the name of a model with the spelling of Ultralytics, and log a change.

    A name is changed only if no such file exists. Windows' backslashes become '/' if that file exists.

    Args:
        name: a path or a name, such as `yolov11n.yaml`, `yolo8n.pt`, `YOLO11n` or `models\\best.pt`.
    """
    if not isinstance(name, (str, Path)) or not str(name).strip() or "://" in str(name):
        return name
    text = str(name).strip()
    if Path(text).exists():
        return name
    if "\\" in text and Path(text.replace("\\", "/")).exists():
        return text.replace("\\", "/")
    match = _NAME.fullmatch(text)
    if match is None or Path(text).name != text:
        return name
    version = match["version"]
    v = "v" if version in _WITH_V else "" if version in _WITHOUT_V else match["v"]
    found = f"yolo{v}{version}{match['rest'].lower()}"
    if found == text:
        return name
    if found.endswith((".yaml", ".yml")) and not _is_packaged(found):
        return name
    LOGGER.info(tr("yolograft: model={name} is read as model={found}, which is Ultralytics' name of it", name=text,
                   found=found))
    return found


def _is_packaged(name: str) -> bool:
    for place in (Path(name), SHIPPED / name):
        try:
            catalog.read_yaml(place)
        except Exception:  # it is only asked whether the name can be read
            continue
        return True
    return False
