"""The model YAMLs of a study's arms, as a plan records them: the path, and the text.

The text is recorded, so that a study can be continued and repeated where the file is gone, and so that a later edit of the
file is noticed.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolograft import yaml_text
from yolograft.errors import DataError, GraftError
from yolograft.language import tr
from yolograft.study.arms import Arm
from yolograft.study.trial import Host

__all__ = ["ModelYaml", "digest", "read_yaml", "recorded_yamls"]


@dataclass(frozen=True)
class ModelYaml:
    """The model YAML of an arm: its file when the study began, and its text."""

    file: str
    text: str


def recorded_yamls(words: Mapping[str, Any]) -> dict[str, ModelYaml]:
    """Return the model YAMLs that a plan records: the name in its arms -> file and text."""
    found = words.get("yamls")
    return {str(name): ModelYaml(str(one.get("file", "")), str(one.get("text", "")))
            for name, one in (found if isinstance(found, Mapping) else {}).items() if isinstance(one, Mapping)}


def digest(text: str) -> str:
    """Return a hash of what a model YAML says. Comments and spaces do not change it."""
    try:
        content = json.dumps(yaml_text.load(text), sort_keys=True, default=str)
    except (yaml.YAMLError, TypeError, ValueError, RecursionError):
        content = text
    return hashlib.sha256(content.encode()).hexdigest()[:20]


def read_yaml(arm: Arm, host: Host, host_name: str, recorded: ModelYaml | None) -> ModelYaml:
    """Return the model YAML of an arm: the recorded one if there is one, else that of its file.

    Raises:
        GraftError: the host trains no model YAMLs, the file does not exist or cannot be read, or it says something else than
            the recorded text.
    """
    find: Any = getattr(host, "find_yaml", None)
    if find is None:
        raise GraftError(tr("The host {host} trains no model YAMLs: its arms are grafts.", host=host_name))
    named = arm.file or arm.yaml
    if recorded is not None and not Path(named).is_file():
        named = recorded.file
        if not Path(named).is_file():
            return recorded
    path = find(named)
    if path is None:
        raise DataError(tr("The model YAML '{file}' does not exist.", file=named))
    read = ModelYaml(str(Path(path).absolute()), yaml_text.read(path).text.removeprefix("\ufeff"))
    if recorded is None:
        return read
    if digest(read.text) != digest(recorded.text):
        raise DataError(tr("The model YAML '{file}' has other rows or settings than the one that this study recorded for "
                           "its arm '{arm}'. Its runs cannot be compared with new ones. Undo the edit, or give the "
                           "edited file another name, which makes it another arm.", file=named, arm=arm.name))
    return recorded
