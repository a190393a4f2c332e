"""A trial and its result, as values and as files; and what a study asks of the host that trains it.

    FOLDER/trial.json     what to run            FOLDER/epochs.jsonl   one line per finished epoch
    FOLDER/result.json    what came out          FOLDER/failure.json   or why nothing did
    FOLDER/images.npz     detections and truths per validation image, if the host writes them (see `runner.evaluate`)
    FOLDER/log.txt        what was printed            FOLDER/test.json       the held-out split, if it was scored

Light: the process that trains imports this and nothing else of the study.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol, TypeVar, cast

from yolograft.atomic import atomic_write
from yolograft.errors import GraftError, nearest

__all__ = ["DivergedError", "Failure", "Host", "Report", "Result", "Trial", "host_name", "load_host", "read_epochs",
           "write_json"]

Report = Callable[[int, Mapping[str, float]], None]
_T = TypeVar("_T", bound="Trial | Result | Failure")

_HOSTS = {"ultralytics": "yolograft.runner.train",  # a host's stored name -> the module that trains
          "yolograft.study.dummy": "yolograft.study.dummy"}
_GROUP = "yolograft.hosts"  # the entry-point group in which other packages register their hosts
_OLD_NAMES = {"yolograft.host.trial": "ultralytics"}  # version 0.1.0 stored the module's import path
_KEY_NAMES = {new: old for old, new in _OLD_NAMES.items()}  # what a trial's key holds, so that old keys stay equal


class DivergedError(GraftError, ArithmeticError):
    """A loss or a metric is not a finite number any more."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """An arm with a seed: everything that decides one number.

    Attributes:
        arm: the arm's name; a label, which decides nothing.
        graft: the graft's text with every setting spelled, or `none`.
        control: empty, or `aa`, `params` or `gate1` (see `plan`).
        seed: decides initial weights of what is new, data order and augmentation.
        settings: every train argument, `model` and `data` among them.
        fingerprints: what the files behind `model` and `data` hold.
        versions: of the packages whose code decides the number.
        host: the stored name of the module that trains (see `load_host`).
    """

    arm: str
    graft: str = "none"
    control: str = ""
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    host: str

    @cached_property
    def key(self) -> str:
        """The same for two trials exactly when nothing that decides their numbers differs."""
        decisive = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "arm"}
        decisive["host"] = _KEY_NAMES.get(self.host, self.host)
        text = json.dumps(decisive, sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Result:
    """What came out of a trial.

    Attributes:
        metrics: finite numbers of which more is better: `mAP50-95`, `mAP50`, `precision`, `recall`, ...
        classes: average precision by class: metric -> class name -> number; NaN where a class has no object.
        costs: `seconds`, `parameters`, `gflops`, `latency_ms`, `epochs`, ...: whatever is known.
        notes: `device`, `checkpoint`, ...: for the reader.
    """

    metrics: Mapping[str, float]
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)

    def check(self) -> Result:
        """Return this result if its metrics are finite numbers; raises `DivergedError`."""
        broken = {key: value for key, value in self.metrics.items() if not math.isfinite(value)}
        if broken or not self.metrics:
            raise DivergedError(f"The trial ended without finite metrics: {broken or 'it returned none'}.")
        return self


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why a trial has no result."""

    reason: str
    log: str = ""


class Host(Protocol):
    """What a study asks of whatever trains models. A module with these functions is one.

    `DEFAULTS`, if the module has it, are train arguments that a new plan spells out where it does not say otherwise.
    The study hands `train` to a process of its own, so the module must be importable by its name there. Only
    `train` may take long.
    """

    def train(self, trial: Trial, folder: Path, report: Report) -> Result | Mapping[str, Any]:
        """Train what `trial` says, writing in `folder` alone; call `report(epoch, metrics)` after each epoch.

        What comes back is a `Result`, or its fields by name from a room that does not know the study.

        Called again with the same folder after an interruption at any moment: go on from the last checkpoint
        there, or start over. Anything raised fails this trial with the error's text as its reason.
        """

    def test(self, trial: Trial, folder: Path) -> Mapping[str, float]:
        """Score what `train` left in `folder` on the held-out test split; raises `DataError` if there is none."""

    def spell(self, graft: str) -> str:
        """Return the graft's text with all settings spelled; raises `GraftError` for an unknown block."""

    def rows(self, model: str) -> list[str]:
        """Return the site of each row of the model's backbone and neck, for `positions(se)`."""

    def blocks(self) -> list[str]:
        """Return the names of all blocks, for `blocks(8)`."""

    def check(self, model: str, graft: str, settings: Mapping[str, Any], control: str = "") -> None:
        """Raise `GraftError` if the graft or the control does not fit the model, or a train argument is none."""

    def fingerprints(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Hash what the files behind `model` and `data` hold; raises `DataError` if one is missing."""

    def pictures(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Say how the data set is split, for the record."""

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages whose code decides a trial's number."""

    def hardware(self) -> dict[str, str]:
        """Return what this machine is, for the record."""


def host_name(name: str) -> str:
    """Return the name under which a host is stored today, for a name that any version stored."""
    return _OLD_NAMES.get(name, name)


def load_host(name: str) -> Host:
    """Import a host, if it is a built-in or registered one.

    A plan is a file that may come from another person, so it must not be able to import an arbitrary module. An installed
    package registers a host in its `pyproject.toml`; a plan then says `host: my-host` or `host: my_package.my_module`:

        [project.entry-points."yolograft.hosts"]
        my-host = "my_package.my_module"

    Args:
        name: `ultralytics`, `yolograft.study.dummy`, or the name or import path of a registered host.

    Raises:
        GraftError: the host is not registered, or its module does not exist.
    """
    stored = host_name(name)
    registered = {} if stored in _HOSTS else _registered_hosts()
    path = {**registered, **{module: module for module in registered.values()}, **_HOSTS}.get(stored)
    if path is None:
        known = [*_HOSTS, *sorted(registered)]
        raise GraftError(f"host={name} is not a known host.{nearest(name, known)} Known: {', '.join(known)}. Another module "
                         f"can be a host if an installed package registers it in the entry-point group '{_GROUP}'.")
    try:
        return cast(Host, import_module(path))
    except ModuleNotFoundError as error:
        if error.name and path != error.name and not path.startswith(f"{error.name}."):
            raise  # the host exists, but a module that it imports is not installed
        raise GraftError(f"The host '{name}' is registered as the module '{path}', which does not exist.") from None


def _registered_hosts() -> dict[str, str]:
    """Return the name and import path of each host in the entry-point group; imports none of them."""
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=_GROUP)}


def write_json(path: Path, value: Trial | Result | Failure) -> None:
    """Write a value so that a reader sees all of it or none, even if this process is killed while it writes."""
    text = json.dumps(asdict(value), default=list)
    atomic_write(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_json(cls: type[_T], path: Path) -> _T | None:
    """Read what `write_json` wrote, or None where there is nothing."""
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    known = {item.name for item in fields(cls)}
    return cls(**{key: value for key, value in raw.items() if key in known})


def read_epochs(folder: Path) -> dict[int, dict[str, float]]:
    """Read what was reported after each epoch: the latest word where an epoch ran twice, whole lines only."""
    path, epochs = folder / "epochs.jsonl", dict[int, dict[str, float]]()
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            record = json.loads(line)
        except ValueError:
            continue  # the line that was being written when the process was killed
        epochs[int(record.pop("epoch"))] = record
    return epochs
