"""Check the values of a data YAML before Ultralytics reads it, since the file can come from a stranger.

Ultralytics makes one text for each class of `nc`, joins `path` with each split, and opens what is there. A huge number, a
NUL in a path or a device would take all memory, end in a traceback, or never end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["MAX_CLASSES", "check_values"]

MAX_CLASSES = 100_000
_MAX_KEYPOINTS = 10_000
_MAX_PATH, _MAX_NAME = 4096, 255  # bytes of a path, and of one name in it, on Linux
_SHOWN = 60  # characters of a value in a message
_SPLITS = ("train", "val", "validation", "test", "minival")


def check_values(file: Path, content: Any, *, types: bool = True) -> None:
    """Raise `DataError` if a value of a data YAML cannot be used.

    Args:
        file: the data YAML, for the message.
        content: what it contains.
        types: also refuse a count of classes that is no number, and a split that is no path.
    """
    if not isinstance(content, Mapping):
        raise DataError(tr("'{file}' is no data YAML: it has none of the keys train, val and names.", file=file))
    for key, value, expected in _problems(file, content, types):
        raise DataError(tr("data={file}: `{key}` is {value}. Expected {what}.", file=file, key=key, value=_short(value),
                           what=expected))


def _is_too_long(path: str) -> bool:
    """Whether the system would refuse a path for its length, with an error of its own."""
    written = path.encode("utf-8", "replace")
    return len(written) > _MAX_PATH or any(len(name) > _MAX_NAME for name in written.split(os.fsencode(os.sep)))


def _is_of_world(value: Any) -> bool:
    """Whether a split is that of YOLO-World, which names data YAMLs and JSON files by these keys."""
    return isinstance(value, Mapping) and bool({"yolo_data", "grounding_data"} & value.keys())


def _problems(file: Path, content: Mapping[Any, Any], types: bool) -> Iterator[tuple[str, Any, str]]:
    count, names, keypoints = content.get("nc"), content.get("names"), content.get("kpt_shape")
    classes = tr("a whole number of classes, at most {most:,}", most=MAX_CLASSES)
    if isinstance(count, float) or (isinstance(count, int) and not 0 < count <= MAX_CLASSES) or (
            types and count is not None and not isinstance(count, int)):
        yield "nc", count, classes
    if isinstance(names, (list, dict)):
        numbers = [one for one in names if isinstance(one, int)] if isinstance(names, dict) else []
        if len(names) > MAX_CLASSES or max(numbers, default=0) >= MAX_CLASSES or min(numbers, default=0) < 0:
            yield "names", names, tr("one name for each class, at most {most:,}", most=MAX_CLASSES)
    if keypoints is not None and not (isinstance(keypoints, list) and len(keypoints) == 2 and keypoints[1] in (2, 3)
                                      and isinstance(keypoints[0], int) and 0 < keypoints[0] <= _MAX_KEYPOINTS):
        yield "kpt_shape", keypoints, tr("[number of keypoints, 2 or 3]")
    root = content.get("path")
    for key in ("path", *_SPLITS):
        value = content.get(key)
        if types and value is not None and not isinstance(value, (str, list)) and not _is_of_world(value):
            yield key, value, tr("the path of a folder or a file")
        for one in value if isinstance(value, list) else [value]:
            if not isinstance(one, str):
                continue
            if "\0" in one or _is_too_long(one):
                yield key, one.replace("\0", "\\0"), tr("the path of a folder or a file")
            elif _is_special(file.parent, root if isinstance(root, str) and key != "path" else "", one):
                yield key, one, tr("the path of a folder or a file, not of a device")


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN - 3]}..."


def _is_special(beside: Path, root: str, entry: str) -> bool:
    """Whether a path names what is neither a file nor a folder, such as /dev/zero."""
    for place in (Path(root) / entry, beside / root / entry):
        try:
            if place.exists() and not place.is_dir() and not place.is_file():
                return True
        except (OSError, ValueError):  # a name that is too long for this file system
            continue
    return False
