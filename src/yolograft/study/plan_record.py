"""Check what a plan file says, field by field, before it becomes a `Plan`: it may have been edited, or be a stranger's."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from yolograft.errors import DataError
from yolograft.language import tr

__all__ = ["MAX_ARMS", "MAX_SEEDS", "check_fields", "check_fixed"]

MAX_ARMS = 1000
MAX_SEEDS = 10_000
_SHOWN = 60  # characters of a value in a message


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e300


def _is_scalar(value: Any) -> bool:
    return value is None or isinstance(value, (str, bool)) or _is_number(value)


def _is_value(value: Any) -> bool:
    """Whether a value can be one of a train argument: a scalar, or a list of scalars and such lists."""
    return _is_scalar(value) or (isinstance(value, (list, tuple)) and all(map(_is_value, value)))


def _is_table(value: Any, is_item: Callable[[Any], bool] = _is_scalar) -> bool:
    return isinstance(value, Mapping) and all(isinstance(key, str) and is_item(item) for key, item in value.items())


def _is_texts(value: Any) -> bool:
    return isinstance(value, str) or (isinstance(value, (list, tuple)) and len(value) <= MAX_ARMS and all(
        isinstance(one, str) for one in value))


def _is_look(value: Any) -> bool:
    return (isinstance(value, Mapping) and {"seeds", "arms", "spent"} <= value.keys() and type(value["seeds"]) is int
            and 0 < value["seeds"] <= MAX_SEEDS and isinstance(value["arms"], (list, tuple)) and _is_texts(value["arms"])
            and _is_number(value["spent"]) and 0 <= value["spent"] <= 1)


def _is_registered(value: Any) -> bool:
    return _is_table(value) and all(_is_number(value[key]) and 0 <= value[key] <= most
                                    for key, most in (("alpha", 1), ("earlier", 10**6)) if key in value)


def _is_yaml(value: Any) -> bool:
    return _is_table(value, _is_text)


# Field of a plan -> check, and an example. All other fields are train arguments.
_FIELDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "arms": (_is_texts, "arms: [none, se@8]"),
    "metric": (_is_text, "metric: mAP50-95"),
    "baseline": (_is_text, "baseline: none"),
    "host": (_is_text, "host: ultralytics"),
    "model": (_is_text, "model: yolo11n.pt"),
    "data": (_is_texts, "data: NEU-DET.yaml"),
    "seeds": (_is_value, "seeds: 6"),
    "looks": (_is_value, "looks: [6, 8, 10]"),
    "race": (_is_scalar, "race: false"),
    "margin": (_is_scalar, "margin: 0.01"),
    "register": (_is_scalar, "register: true"),
    "splits": (_is_scalar, "splits: 5"),
    "split_seed": (_is_scalar, "split_seed: 0"),
    "split_sizes": (lambda value: isinstance(value, (list, tuple)) and all(map(_is_scalar, value)),
                    "split_sizes: [100, 25]"),
    "seen": (lambda value: _is_number(value) and 0 <= value <= 1, "seen: 0.01"),
    "taken": (lambda value: isinstance(value, (list, tuple)) and all(map(_is_look, value)),
              "taken: [{seeds: 6, arms: [se@8], spent: 0.01}]"),
    "registered": (_is_registered, "registered: {id: 1a2b, alpha: 0.05, earlier: 0}"),
    "spelled": (lambda value: _is_table(value, _is_text), "spelled: {se@8: se(ratio=16)@8}"),
    "pictures": (_is_table, "pictures: {train: '100'}"),
    "fingerprints": (lambda value: _is_table(value, _is_table), "fingerprints: {se@8: {data: 1a2b}}"),
    "versions": (_is_table, "versions: {yolograft: '0.1'}"),
    "hardware": (_is_table, "hardware: {cpu: Intel}"),
    "yamls": (lambda value: _is_table(value, _is_yaml), "yamls: {my.yaml: {file: my.yaml, text: '...'}}"),
}


def check_fields(words: Mapping[str, Any]) -> None:
    """Raise `DataError` for the first field of a plan whose value has another form than that of the field."""
    for key, value in words.items():
        if value is None:
            continue
        is_valid, example = _FIELDS.get(key, (_is_value, ""))
        if is_valid(value):
            continue
        shown = repr(value)
        shown = shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN - 3]}..."
        expected = tr("Expected a line such as '{example}'.", example=example) if example else \
            tr("Expected a number, a text, True, False or a list of these.")
        raise DataError(tr("The plan has {key}: {value}, which cannot be used. {expected}", key=str(key)[:_SHOWN],
                           value=shown, expected=expected))


def check_fixed(plan: Mapping[str, Any], stored: Mapping[str, Any], file: Path) -> None:
    """Raise `DataError` if a plan file has another value than the study's data base of what was fixed at its start.

    Args:
        plan: the words of the plan file.
        stored: the words of the plan in the data base.
        file: the plan file.
    """
    for key in ("metric", "baseline", "host", "margin", "model", "data"):
        if plan.get(key) != stored.get(key):
            raise DataError(tr("{file} has {key}: {now}, but this study was started with {key}: {then}. What decides is "
                               "fixed before the first trial. Write {then} again, or start a new study in another folder.",
                               file=file, key=key, now=plan.get(key), then=stored.get(key)))
