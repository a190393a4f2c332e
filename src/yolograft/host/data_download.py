"""The `download:` key of a data YAML: a script that Ultralytics runs if images are missing, or an address to download from.

A data YAML can come from a stranger, so nothing is run or downloaded for a file of the user without permission. The files
that Ultralytics packages, such as coco8.yaml, are part of the installed package and download as with `yolo`.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `check_det_dataset(file, autodownload=False)` resolves the paths of a
data YAML, raises `FileNotFoundError` if images are missing, and runs nothing. From 8.4 on, it can check another split.
YOLO-World reads lists of data YAMLs from the key `yolo_data` of a data YAML.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ultralytics.data.utils import check_det_dataset
from ultralytics.utils import DATASETS_DIR

from yolograft import network, yaml_text
from yolograft.data.values import check_values
from yolograft.errors import DataError
from yolograft.host.unasked import nothing_unasked
from yolograft.language import tr

__all__ = ["ALLOW", "allow_download", "check_download", "is_here"]

ALLOW = "YOLOGRAFT_ALLOW_DOWNLOAD"  # also read by the processes that a study or a training on several GPUs starts
_HAS_SPLIT = "split" in inspect.signature(check_det_dataset).parameters
_SHOWN = 800  # characters of a script in a message


def allow_download() -> None:
    """Allow this process, and the processes that it starts, to run the `download:` key of data YAMLs."""
    os.environ[ALLOW] = "1"


def check_download(data: Any, split: str | None = None) -> None:
    """Raise `DataError` if a user's data YAML has a wrong value, or a `download:` key that Ultralytics would run.

    Args:
        data: the path of a data YAML, or a value that is none, which is accepted.
        split: the split that is needed; None is the one that Ultralytics checks.
    """
    found = [*_files(data, set())]  # read with permission as well: Ultralytics reads the files after this
    for file, content in found:
        check_values(file, content)
    if network.is_allowed(ALLOW):
        return
    if isinstance(data, (str, Path)) and str(data).lower().endswith(".ndjson") and _has_addresses(data):
        raise DataError(tr("data={file} names images by their addresses, and Ultralytics would download each of them. Add "
                           "allow_download=True if you trust the file.", file=data))
    if isinstance(data, str) and _is_address(data) and data.lower().endswith((".yaml", ".yml")):
        raise DataError(tr("data={file} is an address. A data YAML can have code that Ultralytics runs. Download it, read "
                           "it, and name the file, or add allow_download=True if you trust it.", file=data))
    for file, content in found:
        script = content.get("download") if isinstance(content, dict) else None
        if not script or _has_images(file, split):
            continue
        kind = tr("is an address") if _is_address(str(script)) else tr("is code")
        text = str(script).strip()
        shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]} ..."
        raise DataError(tr("data={file}: its images are missing, and its key `download:` {kind}. yolograft runs and "
                           "downloads nothing that a file asks for. Read it, and add allow_download=True if you trust "
                           "it:\n{script}", file=file, kind=kind, script=shown))


def _has_addresses(data: str | Path) -> bool:
    """Whether a file of NDJSON, or the one at an address, has addresses of images."""
    if not Path(data).is_file():
        return _is_address(str(data))
    with Path(data).open(encoding="utf-8", errors="replace") as file:
        return any("://" in line for line in file)


def _is_address(text: str) -> bool:
    return text.lower().startswith(("http:", "https:"))


def _files(data: Any, seen: set[Path]) -> Iterator[tuple[Path, Any]]:
    """Yield the user's data YAML, or those in a folder, and those that they list, with the content. No packaged ones."""
    if not isinstance(data, (str, Path)):
        return
    place = Path(data)
    found = [*place.glob("*.y*ml")] if place.is_dir() else [place, Path(f"{place}.yaml"), Path(f"{place}.yml")]
    for file in found:
        if file.suffix.lower() not in (".yaml", ".yml") or not file.is_file() or file.resolve() in seen:
            continue
        seen.add(file.resolve())
        content = yaml_text.read(file).value
        yield file, content
        for value in content.values() if isinstance(content, dict) else ():
            listed = value.get("yolo_data") if isinstance(value, dict) else None
            for one in listed if isinstance(listed, list) else ():
                yield from _files(one, seen)


def is_here(name: str) -> bool:
    """Whether the images of a data set that Ultralytics packages, such as coco8.yaml, are on this machine."""
    if not name.endswith((".yaml", ".yml")):
        return (DATASETS_DIR / name).is_dir()  # of a classification
    return _has_images(Path(name), None)


def _has_images(file: Path, split: str | None) -> bool:
    try:
        with nothing_unasked():  # it also looks for a font
            check_det_dataset(str(file), autodownload=False, **({"split": split} if split and _HAS_SPLIT else {}))
    except FileNotFoundError:
        return False
    except Exception:  # another problem of the file, which Ultralytics reports before it would download
        return True
    return True
