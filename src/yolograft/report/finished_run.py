"""A finished run of Ultralytics, read from its folder: the metrics after each epoch and the train arguments.

The columns of results.csv differ between versions: 8.3.0 pads the headings with spaces, and a segment or pose run has the
metrics of boxes and of masks or keypoints. A run that was resumed can have an epoch twice; then the later line counts.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from yolograft.errors import DataError
from yolograft.language import tr
from yolograft.runner.metric_names import metric_name

__all__ = ["FinishedRun", "read_run", "read_runs"]

_MAIN = ("mAP50-95", "accuracy")
_PLACES = ("project", "name", "save_dir", "exist_ok", "mode")  # where a run is, and not what it trains


@dataclass(frozen=True, kw_only=True)
class FinishedRun:
    """One finished run.

    Attributes:
        folder: its folder.
        name: a name that no other run of the comparison has.
        epochs: epoch -> metric -> value, with the names of a study (`mAP50-95`) and of Ultralytics' losses (`val/box_loss`).
        arguments: the train arguments of args.yaml.
    """

    folder: Path
    name: str
    epochs: Mapping[int, Mapping[str, float]]
    arguments: Mapping[str, Any]

    @property
    def task(self) -> str:
        """The task, such as `detect`."""
        return str(self.arguments.get("task") or "detect")

    @property
    def data(self) -> str:
        """The data YAML or folder, as in args.yaml."""
        return str(self.arguments.get("data") or "")

    @property
    def metric(self) -> str:
        """The main metric of the task, or "" if results.csv has none."""
        known = {name for values in self.epochs.values() for name in values}
        return next((name for name in _MAIN if name in known), "")

    @property
    def best_epoch(self) -> int:
        """The epoch with the highest main metric, the first of several."""
        return max(self.epochs, key=lambda epoch: (self.value(self.metric, epoch), -epoch))

    @property
    def last_epoch(self) -> int:
        """The last epoch."""
        return max(self.epochs)

    def value(self, metric: str, epoch: int) -> float:
        """Return a metric after an epoch; -inf if it was not measured or was NaN."""
        found = self.epochs[epoch].get(metric, math.nan)
        return found if math.isfinite(found) else -math.inf

    def curve(self, metric: str) -> dict[int, float]:
        """Return epoch -> a metric, where it is a finite number."""
        return {epoch: values[metric] for epoch, values in sorted(self.epochs.items())
                if math.isfinite(values.get(metric, math.nan))}

    @property
    def best(self) -> Path:
        """The checkpoint of the best epoch, which need not exist."""
        return self.folder / "weights" / "best.pt"

    def settings(self) -> dict[str, str]:
        """Return the train arguments as texts, without those of the run's place."""
        return {key: str(value) for key, value in self.arguments.items() if key not in _PLACES}


def read_runs(folders: Sequence[str | Path]) -> list[FinishedRun]:
    """Read several runs, and give them different names.

    Raises:
        DataError: there are fewer than two, one is no folder of a finished run, or two are the same folder.
    """
    if len(folders) < 2:
        raise DataError(tr("A comparison needs at least two runs, as in: yolograft compare runs/detect/a runs/detect/b"))
    runs = [read_run(folder) for folder in folders]
    seen: dict[Path, str] = {}
    for run, given in zip(runs, folders, strict=True):
        real = run.folder.resolve()
        if real in seen:
            raise DataError(tr("'{first}' and '{second}' are the same run. Name two different folders.", first=seen[real],
                               second=given))
        seen[real] = str(given)
    parts = [run.folder.resolve().parts for run in runs]
    depth = next(count for count in range(1, max(map(len, parts)) + 1)
                 if len({one[-count:] for one in parts}) == len(parts))
    return [FinishedRun(folder=run.folder, name="/".join(one[-depth:]), epochs=run.epochs, arguments=run.arguments)
            for run, one in zip(runs, parts, strict=True)]


def read_run(folder: str | Path) -> FinishedRun:
    """Read a run from its folder, or from a file in it, such as weights/best.pt.

    Raises:
        DataError: the folder is not that of a finished run.
    """
    path = Path(folder)
    path = path.parent.parent if path.suffix == ".pt" and path.parent.name == "weights" else path
    path = path.parent if path.name == "results.csv" else path
    if not path.is_dir():
        raise DataError(tr("The run '{folder}' does not exist.", folder=folder))
    missing = [name for name in ("results.csv", "args.yaml") if not (path / name).is_file()]
    if missing:
        raise DataError(tr("'{folder}' is not the folder of a training: it has no {files}. Expected a folder such as "
                           "runs/detect/train.", folder=folder, files=", ".join(missing)))
    arguments = _read_arguments(path / "args.yaml")
    task = str(arguments.get("task") or "detect")
    run = FinishedRun(folder=path, name=path.resolve().name, epochs=_read_results(path / "results.csv", task),
                      arguments=arguments)
    if not run.epochs:
        raise DataError(tr("'{file}' has no epoch: the training ended before its first one.", file=path / "results.csv"))
    if not run.metric:
        raise DataError(tr("'{file}' has no column of mAP50-95 or accuracy, so there is nothing to compare.",
                           file=path / "results.csv"))
    _check_finished(run)
    return run


def _read_arguments(file: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise DataError(tr("'{file}' cannot be read: {error}", file=file, error=" ".join(str(error).split()))) from error
    if not isinstance(found, dict):
        raise DataError(tr("'{file}' has no train arguments.", file=file))
    return {str(key): value for key, value in found.items()}


def _read_results(file: Path, task: str) -> dict[int, dict[str, float]]:
    try:
        lines = list(csv.reader(file.read_text(encoding="utf-8-sig").replace("\0", "").splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(tr("'{file}' cannot be read: {error}", file=file, error=error)) from error
    head = [metric_name(name.strip(), task) if name.strip().startswith("metrics/") else name.strip()
            for name in (lines[0] if lines else [])]
    epochs: dict[int, dict[str, float]] = {}
    for line in lines[1:]:
        values = {name: number for name, text in zip(head, line, strict=False) if (number := _number(text)) is not None}
        epoch = values.pop("epoch", math.nan)
        if len(line) >= len(head) and epoch >= 0 and epoch == int(epoch):  # a killed process leaves a part of a line
            epochs[int(epoch)] = values
    return epochs


def _number(text: str) -> float | None:
    try:
        return float(text.strip())
    except ValueError:
        return None


def _check_finished(run: FinishedRun) -> None:
    """Raise `DataError` if a run has fewer epochs than it was to have, and neither patience nor time has ended it."""
    planned, patience, time = (run.arguments.get(key) for key in ("epochs", "patience", "time"))
    if not isinstance(planned, int) or time:
        return
    first, last = min(run.epochs), run.last_epoch
    has_lost_patience = isinstance(patience, int) and patience > 0 and last - run.best_epoch >= patience
    if last - min(first, 1) + 1 < planned and not has_lost_patience:
        raise DataError(tr("The run '{folder}' is unfinished: it has {done} of {planned} epochs. Finish it with: yolograft "
                           "train resume model={last}", folder=run.folder, done=last - min(first, 1) + 1, planned=planned,
                           last=run.folder / "weights" / "last.pt"))
