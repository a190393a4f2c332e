"""Several data sets in one study: the key `data` of a plan, its checks, and the names and hashes of the data sets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from yolograft.errors import DataError, SpecError
from yolograft.language import tr
from yolograft.study.arms import Arm

__all__ = ["check_arms", "check_sets", "different_ends", "join", "labels", "part_of", "read_data"]


def read_data(value: Any, *, recorded: bool = False) -> Any:
    """Return the value of `data`: one name, or a list of several.

    Raises:
        SpecError: a name is empty or given twice.
    """
    names = value
    if isinstance(value, str) and "," in value and not recorded and not Path(value).exists():
        names = [name.strip() for name in value.split(",")]
    if not isinstance(names, (list, tuple)):
        return value
    if not names or not all(isinstance(name, str) and name for name in names) or len(set(names)) < len(names):
        raise SpecError(tr("data={data} must name each data set once, as in data=a.yaml,b.yaml", data=value))
    return list(names) if len(names) > 1 else names[0]


def check_sets(data: Any, *, race: bool, splits: bool) -> None:
    """Raise `SpecError` if several data sets are combined with something that has no valid test."""
    if not isinstance(data, (list, tuple)):
        return
    if race:
        raise SpecError(tr("race=True cannot be combined with several data sets: it stops an arm by its runs on one. Leave "
                           "out race, or start one study for each data set."))
    if splits:
        raise SpecError(tr("splits= cannot be combined with several data sets: the corrected t-test is one of a single data "
                           "set. Leave out splits, or start one study for each data set."))


def check_arms(arms: Sequence[Arm], *, sets: int, splits: bool) -> None:
    """Raise `SpecError` if an arm has data of its own in a study with splits or with several data sets."""
    for arm in arms:
        own = [key for key in ("data", "fraction") if key in arm.settings]
        if own and ((sets > 1 and own[0] == "data") or splits):
            raise SpecError(tr("The arm '{arm}' has its own {key}, but in a study with splits or with several data sets all "
                               "arms train on the same images.", arm=arm.name, key=own[0]))


def labels(datasets: Sequence[str]) -> list[str]:
    """Return a short name of each data set: its file's name, with as many of its folders as it takes to differ."""
    paths = [PurePath(name.replace("\\", "/")) for name in datasets]
    return different_ends([path.parent / path.stem for path in paths]) or list(datasets)


def different_ends(paths: Sequence[PurePath]) -> list[str]:
    """Return the shortest ends of the paths that differ: `x` and `y`, but `a/x` and `b/x`; empty if two paths are equal."""
    for depth in range(1, max(len(path.parts) for path in paths) + 1):
        found = ["/".join(path.parts[-depth:]) for path in paths]
        if len(set(found)) == len(found):
            return found
    return []


def join(found: Sequence[tuple[str, Mapping[str, str]]]) -> dict[str, str]:
    """Return the fingerprints of an arm on several data sets as one mapping, with the key `data NAME` for each data set.

    Raises:
        DataError: two of the data sets have the same content, so that one of them would count twice.
    """
    joined: dict[str, str] = {}
    first: dict[str, str] = {}
    for name, prints in found:
        content = prints.get("data", name)
        if content in first:
            raise DataError(tr("The data sets '{first}' and '{second}' have the same images and labels. Name each data set "
                               "once.", first=first[content], second=name))
        first[content] = name
        joined |= {f"data {name}" if key == "data" else key: text for key, text in prints.items()}
    return joined


def part_of(joined: Mapping[str, str], name: str) -> dict[str, str]:
    """Return the fingerprints of an arm on one data set, as a study on it alone has them."""
    return {"data" if key == f"data {name}" else key: text for key, text in joined.items()
            if not key.startswith("data ") or key == f"data {name}"}
