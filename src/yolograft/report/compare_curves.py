"""Precision-recall curves of runs: the best checkpoint of each, validated again on one data set."""

from __future__ import annotations

from collections.abc import Sequence

from yolograft.analysis.precision_recall import PrecisionRecall, measure
from yolograft.errors import DataError
from yolograft.language import tr
from yolograft.report.compare_page import data_of
from yolograft.report.finished_runs import Run

__all__ = ["measure_all"]

_IMGSZ = 640  # Ultralytics' default


def measure_all(runs: Sequence[Run], data: str | None, imgsz: int | None) -> tuple[dict[str, PrecisionRecall], str]:
    """Validate the best checkpoint of each run, and return the curves by the runs' names, and the data YAML.

    Args:
        runs: the runs.
        data: a data YAML; None: that of the runs, which must be the same.
        imgsz: image size in pixels; None: that of each run.

    Raises:
        GraftError: the runs have different data and no other is named, or a checkpoint or the data cannot be used.
    """
    wrong = next((run for run in runs if run.task != "detect"), None)
    if wrong is not None:
        raise DataError(tr("val=True is for task=detect, and '{folder}' has task={task}.", folder=wrong.folder,
                           task=wrong.task))
    named = {data_of(run): run for run in runs}
    if data is None and (len(named) > 1 or "" in named):
        raise DataError(tr("The runs have different data sets ({data}). Name the one to validate on: data=DATA.yaml",
                           data=", ".join(named)))
    chosen = data if data is not None else next(iter(named))
    return {run.name: measure(run.weights, chosen, imgsz=imgsz or _imgsz(run)) for run in runs}, chosen


def _imgsz(run: Run) -> int:
    size = run.arguments.get("imgsz")
    return size if isinstance(size, int) and size > 0 else _IMGSZ
