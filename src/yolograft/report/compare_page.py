"""The page of `yolograft compare`: curves of finished runs over each other, what differs between them, and what they show.

Two single runs are no evidence for either, and the page says so first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from yolograft.report import explain_page
from yolograft.report.compare_words import TEXTS
from yolograft.report.finished_run import FinishedRun
from yolograft.report.section import Build, Cell, Drawing, Section, Table
from yolograft.report.signed import number
from yolograft.report.style import COLOURS, Drawn, Tips, short, tip
from yolograft.report.words import LANGUAGES, Translator
from yolograft.study.foresight import PUBLISHED

__all__ = ["PrCurves", "headline", "sections", "warnings", "write"]

_METRICS = ("mAP50-95", "mAP50", "precision", "recall", "accuracy")
_DASHES = ("-", "--", ":", "-.")


@dataclass(frozen=True, kw_only=True)
class PrCurves:
    """Precision-recall curves, where they were asked for.

    Attributes:
        recalls: the recalls of all curves.
        precisions: name of a run -> its precision at these recalls.
        split: the split on which the runs were validated.
        imgsz: the image sizes, as text.
        missing: name of a run -> why it has no curve.
    """

    recalls: NDArray[np.float64]
    precisions: Mapping[str, NDArray[np.float64]]
    split: str
    imgsz: str
    missing: Mapping[str, str]


def write(runs: Sequence[FinishedRun], folder: str | Path, *, classes: Mapping[str, Sequence[str]], curves: PrCurves | None,
          command: str, languages: Sequence[str] = LANGUAGES) -> list[Path]:
    """Write the page in each language, and its figures and tables as files.

    Args:
        runs: at least two finished runs.
        folder: where to write. It is created.
        classes: name of a run -> the classes of its data, for the runs whose data are on this machine.
        curves: the precision-recall curves; None if they were not asked for.
        command: the command of a study, as a suggestion.
        languages: `en`, `zh` or both.

    Raises:
        GraftError: the folder cannot be written.
    """
    return explain_page.write(sections(runs, classes, curves, command), folder, title=" · ".join(run.name for run in runs),
                              headline=lambda say: headline(runs, classes, say), languages=languages, texts=TEXTS,
                              facts={"runs": str(len(runs)), "data": ", ".join(dict.fromkeys(run.data for run in runs))},
                              name="compare")


def headline(runs: Sequence[FinishedRun], classes: Mapping[str, Sequence[str]], say: Translator) -> str:
    """Return what the runs show, and in further lines what makes them incomparable."""
    loud = warnings(runs, classes, say)
    if any(key != "other folder" for key, _ in loud):
        first = say("headline data")
    elif len(runs) == 2:
        first = say("headline", a=runs[0].name, b=runs[1].name, difference=number(_highest(runs[1]) - _highest(runs[0]),
                                                                                  sign=True) or "0", metric=runs[0].metric)
    else:
        first = say("headline many", n=len(runs))
    return "\n".join([first, *(text for _, text in loud), say("spread", spread=PUBLISHED)])


def warnings(runs: Sequence[FinishedRun], classes: Mapping[str, Sequence[str]], say: Translator) -> list[tuple[str, str]]:
    """Return (kind, text) for each thing that makes the runs incomparable: other data, classes or tasks."""
    found = []
    stems = {run.name: Path(run.data.replace("\\", "/")).name for run in runs}
    if len(set(stems.values())) > 1:
        found.append(("other data", {run.name: run.data for run in runs}))
    elif len({run.data for run in runs}) > 1:
        found.append(("other folder", {run.name: run.data for run in runs}))
    if len({tuple(names) for names in classes.values()}) > 1:
        found.append(("other classes", {name: f"{len(names)} ({', '.join(names[:8])}{' …' if len(names) > 8 else ''})"
                                        for name, names in classes.items()}))
    if len({run.task for run in runs}) > 1:
        found.append(("other tasks", {run.name: run.task for run in runs}))
    semicolon = "；" if say.language == "zh" else "; "
    return [(key, say(key, values=semicolon.join(f"{name}: {value}" for name, value in values.items())))
            for key, values in found]


def sections(runs: Sequence[FinishedRun], classes: Mapping[str, Sequence[str]], curves: PrCurves | None,
             command: str) -> list[Build]:
    """Return the functions that make the sections of the page."""
    return [lambda say: _results(runs, classes, say), lambda say: _arguments(runs, say), lambda say: _learning(runs, say),
            lambda say: _precision_recall(runs, curves, say),
            lambda say: Section(title=say("Next"), paragraphs=(say("study"),), code=command)]


def _highest(run: FinishedRun) -> float:
    return run.value(run.metric, run.best_epoch)


def _results(runs: Sequence[FinishedRun], classes: Mapping[str, Sequence[str]], say: Translator) -> Section:
    metric = runs[0].metric
    others = [name for name in _METRICS if name != metric and any(run.curve(name) for run in runs)]
    rows = [(run.name, _cell(_highest(run)), str(run.best_epoch), _cell(run.value(run.metric, run.last_epoch)),
             *(_cell(run.value(name, run.best_epoch)) for name in others), str(len(run.epochs))) for run in runs]
    tables = [Table(name="results", rows=tuple(rows), note=say("results note", metric=metric), head=(
        say("run"), say("highest", metric=metric), say("best epoch"), say("last", metric=metric), *map(say, others),
        say("epochs")))]
    is_comparable = all(key == "other folder" for key, _ in warnings(runs, classes, say))
    if is_comparable:
        base, lines = runs[0], []
        for run in runs[1:]:
            highest = _highest(run) - _highest(base)
            last = run.value(run.metric, run.last_epoch) - base.value(base.metric, base.last_epoch)
            lines.append((run.name, _cell(highest, sign=True), _cell(last, sign=True),
                          f"{abs(highest) / PUBLISHED:.1f}" if math.isfinite(highest) and metric == "mAP50-95" else "–"))
        tables.append(Table(name="differences", rows=tuple(lines), note=say("SD note", spread=PUBLISHED), head=(
            say("Differences"), say("difference"), say("difference last"), say("in SD"))))
    return Section(title=say("Results"), tables=tuple(tables))


def _cell(value: float, *, sign: bool = False) -> Cell:
    return Cell(text=number(value, sign=sign) or "–", value=value if math.isfinite(value) else None)


def _arguments(runs: Sequence[FinishedRun], say: Translator) -> Section:
    settings = [run.settings() for run in runs]
    keys = [key for key in dict.fromkeys(key for one in settings for key in one)
            if len({one.get(key) for one in settings}) > 1]
    if not keys:
        return Section(title=say("Arguments"), paragraphs=(say("no arguments"),))
    text = say("seed only") if keys == ["seed"] else say("one argument", name=keys[0]) if len(keys) == 1 else say(
        "many arguments", n=len(keys))
    rows = tuple((key, *(one.get(key, "–") for one in settings)) for key in keys)
    return Section(title=say("Arguments"), paragraphs=(text,), tables=(
        Table(name="arguments", head=(say("argument"), *(run.name for run in runs)), rows=rows,
              left=tuple(range(1, len(runs) + 1))),))


def _learning(runs: Sequence[FinishedRun], say: Translator) -> Section:
    metrics = [name for name in _METRICS if any(run.curve(name) for run in runs)]
    losses = list(dict.fromkeys(name for run in runs for values in run.epochs.values() for name in values
                                if name.startswith("val/")))
    figures = [Drawing(name="curves", draw=partial(_draw, runs, metrics, say), caption=say("curves note"))]
    if losses:
        figures.append(Drawing(name="losses", draw=partial(_draw, runs, losses, say), caption=say("Losses")))
    return Section(title=say("Learning curves"), figures=tuple(figures))


def _draw(runs: Sequence[FinishedRun], metrics: Sequence[str], say: Translator) -> Drawn | None:
    """Draw each metric by epoch, with one line for each run."""
    if not metrics:
        return None
    columns = min(2, len(metrics))
    lines = math.ceil(len(metrics) / columns)
    figure, tips = Figure(figsize=(4.6 * columns, 2.5 * lines + 0.6)), Tips()
    grid = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes, metric in zip(grid, metrics, strict=False):
        for place, run in enumerate(runs):
            curve = run.curve(metric)
            if curve:
                line = axes.plot(list(curve), list(curve.values()), **_look(place), marker="." if len(curve) < 30 else "")[0]
                tip(tips, line, place, f"{run.name}\n{metric} {list(curve.values())[-1]:.4f}")
        axes.set_title(say(metric), fontsize=10)
        axes.set_xlabel(say("epoch"))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
        axes.grid()
    for axes in grid[len(metrics):]:
        axes.set_visible(False)
    _legend(figure, runs)
    return figure, tips


def _look(place: int) -> dict[str, object]:
    return {"color": COLOURS[place % len(COLOURS)], "linestyle": _DASHES[place // len(COLOURS) % len(_DASHES)],
            "linewidth": 1.7}


def _legend(figure: Figure, runs: Sequence[FinishedRun]) -> None:
    lines = [figure.axes[0].plot([], [], label=short(run.name, 40), **_look(place))[0] for place, run in enumerate(runs)]
    figure.legend(handles=lines, loc="outside lower center", ncols=min(3, len(runs)), fontsize=9)


def _precision_recall(runs: Sequence[FinishedRun], curves: PrCurves | None, say: Translator) -> Section:
    if curves is None:
        return Section(title=say("PR curves"), paragraphs=(say("PR none"),))
    missing = tuple(say("PR missing", run=name, reason=reason) for name, reason in curves.missing.items())
    figures = (Drawing(name="precision-recall", draw=partial(_draw_precision_recall, runs, curves, say),
                       caption=say("PR note", split=curves.split, imgsz=curves.imgsz)),) if curves.precisions else ()
    return Section(title=say("PR curves"), paragraphs=missing, figures=figures)


def _draw_precision_recall(runs: Sequence[FinishedRun], curves: PrCurves, say: Translator) -> Drawn:
    figure, tips = Figure(figsize=(5.2, 4.4)), Tips()
    axes = figure.add_subplot()
    for place, run in enumerate(runs):
        if run.name in curves.precisions:
            precision = curves.precisions[run.name]
            tip(tips, axes.plot(curves.recalls, precision, **_look(place))[0], place, run.name)
    axes.set_xlabel(say("recall"))
    axes.set_ylabel(say("precision"))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid()
    _legend(figure, runs)
    return figure, tips
