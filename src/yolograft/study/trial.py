"""Trials and results as values and as files, and the `Host` protocol: the functions that a study needs of a host.

    FOLDER/trial.json     the trial              FOLDER/epochs.jsonl   metrics, one line per finished epoch
    FOLDER/result.json    its result             FOLDER/failure.json   or the reason of its failure
    FOLDER/images.npz     detections and ground truth per validation image, if the host stores them (see `runner.evaluate`)
    FOLDER/log.txt        output of the process  FOLDER/test.json      scores on the held-out split, if computed

This module imports no large package, since every trial's process imports it.
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
from yolograft.language import tr

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
    """A loss or a metric is not a finite number."""


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One arm with one seed: everything that determines one result.

    Attributes:
        arm: name of the arm; a label that does not affect the result.
        graft: text of the graft with all settings written out, or `none`.
        control: empty, or `aa`, `params` or `gate1` (see `arms`).
        seed: determines the initial weights of new layers, the order of the data and the augmentation.
        settings: all train arguments, `model` and `data` included.
        fingerprints: hashes of the files of `model` and `data`.
        versions: versions of the packages whose code affects the result.
        host: the stored name of the host (see `load_host`).
        yaml: the text of the model YAML whose rows replace those of `model`; empty for the rows of `model`.
        yaml_name: its name, for messages; a label that does not affect the result.
    """

    arm: str
    graft: str = "none"
    control: str = ""
    seed: int = 0
    settings: Mapping[str, Any] = field(default_factory=dict)
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    host: str
    yaml: str = ""
    yaml_name: str = ""

    @cached_property
    def key(self) -> str:
        """Hash of all fields except the labels: equal for two trials exactly if they must give the same result."""
        decisive = {item.name: getattr(self, item.name) for item in fields(self) if item.name not in ("arm", "yaml_name")}
        if not self.yaml:
            del decisive["yaml"]  # earlier versions had no such field, and their keys stay valid
        decisive["host"] = _KEY_NAMES.get(self.host, self.host)
        text = json.dumps(decisive, sort_keys=True, default=list)
        return hashlib.sha256(text.encode()).hexdigest()[:20]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a trial.

    Attributes:
        metrics: finite numbers, higher is better: `mAP50-95`, `mAP50`, `precision`, `recall`, ...
        classes: average precision by class: metric -> class name -> number; NaN for a class without objects.
        costs: `seconds`, `parameters`, `gflops`, `epochs`, ...: those that were measured. Results of version 0.1.0 have
            `latency_ms` too, which was measured while other trials trained; it is not reported (see `study.latency`).
        notes: `device`, `checkpoint`, ...: information for the reader.
        sizes: AP at IoU 0.50 to 0.95 by the size of the objects, `small`, `medium` and `large` as in COCO; only sizes that
            occur, and empty if it was not computed.
        objects: number of objects of each of these sizes.
    """

    metrics: Mapping[str, float]
    classes: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, str] = field(default_factory=dict)
    sizes: Mapping[str, float] = field(default_factory=dict)
    objects: Mapping[str, int] = field(default_factory=dict)

    def check(self) -> Result:
        """Return this result if its metrics are finite numbers; raises `DivergedError`."""
        broken = {key: value for key, value in self.metrics.items() if not math.isfinite(value)}
        if broken or not self.metrics:
            raise DivergedError(tr("The trial ended without finite metrics: {metrics}.", metrics=broken or "none"))
        return self


@dataclass(frozen=True, kw_only=True)
class Failure:
    """The reason why a trial has no result, and its log file.

    `stalled` says that its process hung or was stopped, and has been ended (see `heartbeat`).
    """

    reason: str
    log: str = ""
    stalled: bool = False


class Host(Protocol):
    """Functions that a study needs in order to train models; a module with these functions is a host.

    A module can also have `DEFAULTS`, train arguments that a new plan stores unless it sets them, and
    `forewarn(settings)`, which returns a list of warnings about train arguments. With `load_files(settings)`, it loads the
    user's files of the arguments `blocks` and `modules`, and returns the settings with their full paths. A host with
    `find_yaml(name)`, which returns the path of a model YAML or None, and `rehearse_yaml(text, file, graft, settings,
    control)`, which returns the graft with all settings and sentences for the user, trains model YAMLs too: `train` finds
    the text in `trial.yaml`. A host with `split_sizes(settings)`, which returns how many images a new split trains and
    validates on, can study several splits: `trial.settings["split"]` then has the `number` and the `seed` of the split. A
    host with `time_networks(trials)` measures latency: it returns the seconds of each trial's network in each turn, as a
    list of turns, and the fields of `study.latency.Protocol`. `train` and `test` run in their own process, which imports
    the module by name. The other functions should be fast.
    """

    def train(self, trial: Trial, folder: Path, report: Report) -> Result | Mapping[str, Any]:
        """Train a trial, write only in `folder`, and call `report(epoch, metrics)` after each epoch.

        After an interruption `train` is called again with the same folder, and resumes from the last checkpoint there or
        starts again. Any exception makes this trial fail, with the text of the exception as the reason.

        Returns:
            A `Result`, or a mapping of its fields.
        """

    def test(self, trial: Trial, folder: Path) -> Mapping[str, float]:
        """Evaluate the network that `train` saved in `folder` on the test split; raises `DataError` without a test split."""

    def spell(self, graft: str) -> str:
        """Return the text of a graft with all settings written out; raises `GraftError` for an unknown block."""

    def rows(self, model: str) -> list[str]:
        """Return the site of each row of the model's backbone and neck, for `positions(se)`."""

    def blocks(self) -> list[str]:
        """Return the names of all blocks, for `blocks(8)`."""

    def check(self, model: str, graft: str, settings: Mapping[str, Any], control: str = "") -> None:
        """Raise `GraftError` if the graft or control does not fit the model, or a train argument does not exist."""

    def fingerprints(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Return hashes of the files of `model` and `data`; raises `DataError` if one is missing."""

    def pictures(self, settings: Mapping[str, Any]) -> dict[str, str]:
        """Return a description of the splits of the data set, for the record."""

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages whose code affects a trial's result."""

    def hardware(self) -> dict[str, str]:
        """Return a description of this machine, for the record."""


def host_name(name: str) -> str:
    """Return the present stored name of a host, given a name that any version has stored."""
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
        raise GraftError(tr("host={name} is not a known host.{nearest} Known: {known}. Another module can be a host "
                            "if an installed package registers it in the entry-point group '{group}'.", name=name,
                            nearest=nearest(name, known), known=", ".join(known), group=_GROUP))
    try:
        return cast(Host, import_module(path))
    except ModuleNotFoundError as error:
        if error.name and path != error.name and not path.startswith(f"{error.name}."):
            raise  # the host exists, but a module that it imports is not installed
        raise GraftError(tr("The host '{name}' is registered as the module '{path}', which does not exist.", name=name,
                            path=path)) from None


def _registered_hosts() -> dict[str, str]:
    """Return the name and import path of each host in the entry-point group; imports none of them."""
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=_GROUP)}


def write_json(path: Path, value: Trial | Result | Failure) -> None:
    """Write a value as JSON in one atomic step."""
    text = json.dumps(asdict(value), default=list)
    atomic_write(path, lambda part: part.write_text(text, encoding="utf-8"))


def read_json(cls: type[_T], path: Path) -> _T | None:
    """Read a value that `write_json` wrote; None if the file does not exist or is damaged.

    `write_json` is atomic, so only the disk or another program can damage the file. It is kept as `NAME.damaged`.
    """
    try:
        raw = json.loads(path.read_text(encoding="utf-8"))
        known = {item.name for item in fields(cls)}
        return cls(**{key: value for key, value in raw.items() if key in known})
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, AttributeError):
        path.replace(path.with_name(f"{path.name}.damaged"))
        return None


def read_epochs(folder: Path) -> dict[int, dict[str, float]]:
    """Read epoch -> metrics; for an epoch that ran twice the later one counts, and incomplete lines are skipped."""
    path, epochs = folder / "epochs.jsonl", dict[int, dict[str, float]]()
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if path.exists() else []:
        try:
            record = {str(key): float(value) for key, value in json.loads(line).items()}
            epochs[int(record.pop("epoch"))] = record
        except (ValueError, TypeError, AttributeError, KeyError):
            continue  # an incomplete line: the process was killed while it wrote it
    return epochs
