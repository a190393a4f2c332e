"""Model YAML files as Ultralytics finds them, and how the YAML dict of a grafted model is marked.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `yaml_model_load` finds a file by name and sets `scale` from that
name; `parse_model` looks up the module of every row by name and raises an error that quotes a name it does not know.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from yolograft import yaml_text
from yolograft.errors import HostError
from yolograft.language import tr
from yolograft.modelyaml import catalog, table, untrusted

__all__ = ["GRAFT_KEY", "SCALE_KEY", "SHIPPED", "SWAP_KEY", "VERSION_KEY", "host_yaml", "load", "marked", "read_text",
           "unmarked"]

GRAFT_KEY = "graft"  # where a graft travels in a model's YAML dict
SWAP_KEY = "swap"  # where a swap travels in it: the modules that take the place of the host's own
SCALE_KEY = "graft_scale"  # the scale of a grafted model, since Ultralytics ignores a `scale` in a file
SHIPPED = Path(__file__).with_name("shipped")
VERSION_KEY = "yolograft"
_OWN_KEYS = (GRAFT_KEY, SWAP_KEY, VERSION_KEY, SCALE_KEY)
_MARK = " (needs yolograft: "  # no module's name has a space


def load(path: str | Path) -> dict[str, Any]:
    """Load a model YAML as it stands; a name that Ultralytics does not know is looked for among ours.

    The dumped YAML dict of a grafted model loses its mark, and has its own scale where the file's name says none.

    Raises:
        HostError: no such file, or no model YAML.
    """
    _check_text(path)
    try:
        config = catalog.read_yaml(path)
    except FileNotFoundError as error:
        try:
            config = catalog.read_yaml(SHIPPED / Path(path).name)  # which reads yolo11s-se.yaml as yolo11-se.yaml at s
        except FileNotFoundError:
            raise HostError(tr("model={path} does not exist.", path=path)) from error
    except (AssertionError, OSError, TypeError, ValueError, yaml.YAMLError, RecursionError) as error:
        config = _read_without_ultralytics(path, error)
    if not isinstance(config, dict):
        raise HostError(tr("model={path} is no model YAML: expected backbone and head rows.", path=path))
    if _has_broken_rows(config):
        _check_punctuation(catalog.find_yaml(path))
    config = unmarked(config)
    untrusted.check_activation(config.get("activation"))
    untrusted.check_repeats(config)
    own = config.pop(SCALE_KEY, "")
    return {**config, "scale": config.get("scale") or own}


def _check_text(path: str | Path) -> None:
    """Raise `HostError` if a file of the user is not YAML that can be read safely, before Ultralytics reads it."""
    for name in (str(path), catalog.unscaled(path)):
        if Path(name).is_file():
            yaml_text.read(name, error=HostError)
            return


def read_text(file: Path) -> Any:
    """Return the content of a model YAML file in any common encoding. Raises `HostError`, with line, column and remedy."""
    value = yaml_text.read(file, error=HostError).value
    if _has_broken_rows(value):
        _check_punctuation(file)
    return value


def _has_broken_rows(config: Any) -> bool:
    try:
        table.parse_rows(config)
    except HostError:
        return True
    return False


def _check_punctuation(file: Path | None) -> None:
    """Raise `HostError` if a file has full-width punctuation, such as a Chinese comma or colon: it has broken the rows."""
    if file is None or not file.is_file():
        return
    found = [*yaml_text.find_full_width(yaml_text.decode(file.read_bytes())[0])]
    if found:
        more = tr(" ({count} more)", count=len(found) - 1) if len(found) > 1 else ""
        raise HostError(tr("{path} is no model YAML. {place}{more}.", path=file, place=found[0], more=more))


def _read_without_ultralytics(path: str | Path, error: Exception) -> Any:
    """Read a file that Ultralytics does not open: one in UTF-16, for example. Raises `HostError`."""
    file = catalog.find_yaml(path)
    if file is None or isinstance(error, (AssertionError, OSError)):  # not a file, or no name of a YAML file
        raise HostError(tr("model={path} cannot be read as a model YAML: {error}", path=path,
                           error=" ".join(str(error).split()))) from error
    value = yaml_text.read(file, error=HostError).value
    return {**value, "scale": catalog.guess_scale(path), "yaml_file": str(path)} if isinstance(value, dict) else value


def marked(config: dict[str, Any], why: str) -> dict[str, Any]:
    """Return the YAML dict with `why` written behind the first row's module, so that stock Ultralytics cannot build it.

    All values stay plain: the mark survives every copy, and JSON and YAML files. `unmarked` removes it.
    """
    plain = unmarked(config)
    (source, repeats, module, args), *others = plain["backbone"]
    return {**plain, "backbone": [[source, repeats, f"{module}{_MARK}{why})", args], *others]}


def unmarked(config: dict[str, Any]) -> dict[str, Any]:
    """Return the YAML dict without the mark that `marked` writes; the same content where there is none."""
    plain = dict(config)
    rows: Any = plain.get("backbone")
    first = rows[0] if isinstance(rows, (list, tuple)) and rows else None
    if isinstance(first, (list, tuple)) and len(first) == 4 and isinstance(first[2], str) and _MARK in first[2]:
        source, repeats, module, args = first
        plain["backbone"] = [[source, repeats, module.partition(_MARK)[0], args], *rows[1:]]
    return plain


def host_yaml(config: dict[str, Any]) -> dict[str, Any]:
    """Return the host's part of a model's YAML dict, as a plain dict that Ultralytics can build a model from."""
    return {key: value for key, value in unmarked(config).items() if key not in _OWN_KEYS}
