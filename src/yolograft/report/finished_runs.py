"""The folders of finished Ultralytics runs, as `yolo train` writes them: their results by epoch and their arguments.

`results.csv` has a line for each epoch. Ultralytics 8.3.0 pads its columns with blanks, and later versions add columns.
`args.yaml` has the arguments. Nothing here opens a checkpoint.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from yolograft import yaml_text
from yolograft.errors import DataError, GraftError
from yolograft.language import tr
from yolograft.study.data_sets import different_ends

__all__ = ["ABSENT", "Run", "changes", "read", "read_all"]

ABSENT = "-"  # an argument that the run's version of Ultralytics does not have
_PLACES = ("name", "save_dir", "project", "exist_ok")  # arguments that say where the results go
_TASK_METRICS = {"classify": "metrics/accuracy_top1"}
_BYTES = 20_000_000  # of results.csv; a run of 10,000 epochs has 2 MB


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run.

    Attributes:
        name: its name among the runs that are compared.
        folder: where it is.
        epochs: the number of each epoch, from 1.
        columns: column of results.csv -> a value for each epoch; NaN where there is none.
        arguments: the content of args.yaml.
        finished: whether it ended as planned: after all epochs, by `patience` or by `time`.
    """

    name: str
    folder: Path
    epochs: tuple[int, ...]
    columns: Mapping[str, tuple[float, ...]]
    arguments: Mapping[str, Any] = field(default_factory=dict)
    finished: bool = True

    @property
    def task(self) -> str:
        """The task, such as detect."""
        return str(self.arguments.get("task", "detect"))

    @property
    def metric(self) -> str:
        """The column that the best epoch is chosen by."""
        return _TASK_METRICS.get(self.task, "metrics/mAP50-95(B)")

    @property
    def best(self) -> int | None:
        """The index of the epoch with the largest metric, the first of several; None if it was never measured."""
        values = self.columns.get(self.metric, ())
        return max((at for at, one in enumerate(values) if math.isfinite(one)), key=lambda at: values[at], default=None)

    @property
    def weights(self) -> Path:
        """The checkpoint of the best epoch, which need not exist."""
        return self.folder / "weights" / "best.pt"


def read_all(folders: Sequence[str | Path], *, unfinished: bool = False) -> list[Run]:
    """Read the runs that are to be compared, in the order given.

    Args:
        folders: folders of runs, at least two.
        unfinished: whether a run that did not end as planned is taken as it is.

    Raises:
        GraftError: a folder is no run, is given twice or is unfinished, or the runs have different tasks.
    """
    if len(folders) < 2:
        raise GraftError(tr("A comparison needs at least two runs, as in: {example}",
                            example="yolograft compare runs/detect/train runs/detect/train2"))
    seen: dict[Path, str | Path] = {}
    for folder in folders:
        place = Path(folder).resolve()
        if place in seen:
            raise GraftError(tr("'{second}' and '{first}' are the same folder. Name two different runs.", second=folder,
                                first=seen[place]))
        seen[place] = folder
    runs = [read(folder, name) for folder, name in zip(folders, different_ends(list(seen)), strict=True)]
    for run in runs:
        if not run.finished and not unfinished:
            raise GraftError(tr("'{folder}' is not finished: it has {done} of {epochs} epochs. Continue it: yolo train "
                                "resume model={last}; or compare it as it is: unfinished=True", folder=run.folder,
                                done=run.epochs[-1], epochs=run.arguments.get("epochs"),
                                last=run.folder / "weights" / "last.pt"))
    tasks = {run.task: run for run in runs}
    if len(tasks) > 1:
        raise GraftError(tr("The runs have different tasks, so they have no common metric: {tasks}.", tasks=", ".join(
            f"{run.name}: {task}" for task, run in tasks.items())))
    return runs


def read(folder: str | Path, name: str = "") -> Run:
    """Read one run.

    Args:
        folder: its folder.
        name: its name on the page; by default that of the folder.

    Raises:
        DataError: it is no folder of a run, or a file of it cannot be read.
    """
    path = Path(folder)
    if not path.is_dir():
        up = next((parent for parent in path.parents if (parent / "results.csv").is_file()), None) if path.exists() else None
        hint = tr(" Did you mean '{name}'?", name=up) if up else ""
        raise DataError(tr("'{folder}' is no folder. Expected the folder of a run, such as runs/detect/train.{hint}",
                           folder=folder, hint=hint))
    for file in ("results.csv", "args.yaml"):
        if not (path / file).is_file():
            raise DataError(tr("'{folder}' is no folder of a finished training: it has no {file}. 'yolo train' writes "
                               "{file} to runs/detect/train.", folder=folder, file=file))
    arguments = _arguments(path / "args.yaml")
    epochs, columns = _results(path / "results.csv")
    run = Run(name=name or path.resolve().name, folder=path, epochs=epochs, columns=columns, arguments=arguments)
    return Run(**{**vars(run), "finished": _is_finished(run)})


def changes(runs: Sequence[Run]) -> dict[str, tuple[str, ...]]:
    """Return the arguments that differ, each with a value for each run, and without those that name the run's folder."""
    keys = dict.fromkeys(key for run in runs for key in run.arguments if key not in _PLACES)
    found = {key: tuple(str(run.arguments[key]) if key in run.arguments else ABSENT for run in runs) for key in keys}
    return {key: values for key, values in found.items() if len(set(values)) > 1}


def _arguments(file: Path) -> dict[str, Any]:
    content = yaml_text.read(file).value
    if not isinstance(content, Mapping):
        raise DataError(tr("'{file}' is no list of train arguments, such as 'epochs: 100'.", file=file))
    return {str(key): value for key, value in content.items()}


def _results(file: Path) -> tuple[tuple[int, ...], dict[str, tuple[float, ...]]]:
    """Return the epochs and the columns of a results.csv. An epoch that a resumed run wrote again counts once."""
    try:
        if file.stat().st_size > _BYTES:
            raise DataError(tr("'{file}' is no results.csv of a training: it is larger than {size} MB.", file=file,
                               size=_BYTES // 1_000_000))
        with file.open(encoding="utf-8-sig", newline="") as opened:
            rows = [[cell.strip() for cell in row] for row in csv.reader(opened) if any(cell.strip() for cell in row)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(tr("'{file}' cannot be read: {error}", file=file, error=error)) from error
    if len(rows) < 2:
        raise DataError(tr("'{file}' has no epoch: the training ended before its first one.", file=file))
    head, lines = rows[0], {}
    if "epoch" not in head:
        raise DataError(tr("'{file}' has no column 'epoch'. Expected the results.csv of 'yolo train'.", file=file))
    for number, row in enumerate(rows[1:], 2):
        try:
            if len(row) != len(head):
                raise ValueError
            values = dict(zip(head, (float(cell) if cell else math.nan for cell in row), strict=True))
            lines[int(values["epoch"])] = values
        except (ValueError, OverflowError):
            raise DataError(tr("'{file}', line {number}, is damaged: expected {count} numbers.", file=file, number=number,
                               count=len(head))) from None
    epochs = tuple(sorted(lines))
    return epochs, {column: tuple(lines[epoch][column] for epoch in epochs) for column in head if column != "epoch"}


def _is_finished(run: Run) -> bool:
    planned, patience = run.arguments.get("epochs"), run.arguments.get("patience")
    if not isinstance(planned, (int, float)) or run.epochs[-1] >= planned or run.arguments.get("time"):
        return True
    # the fitness that `patience` watches is mAP50-95, or 0.9 of it and 0.1 of mAP50
    second = run.columns.get("metrics/mAP50(B)", ())
    bests = [run.best]
    if run.best is not None and second:
        first = run.columns[run.metric]
        bests.append(max(range(len(first)), key=lambda at: 0.9 * first[at] + 0.1 * second[at]))
    return isinstance(patience, (int, float)) and patience > 0 and any(
        at is not None and run.epochs[-1] - run.epochs[at] >= patience for at in bests)
