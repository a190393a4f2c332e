"""The page of `yolograft compare`: results, arguments that differ, learning curves and precision-recall curves of runs.

It says first that single runs compare nothing, and shows each difference beside the standard deviation that was published.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from yolograft.analysis.precision_recall import PrecisionRecall
from yolograft.report import explain_page
from yolograft.report.compare_words import TEXTS
from yolograft.report.finished_runs import Run, changes
from yolograft.report.section import Cell, Drawing, Section, Table
from yolograft.report.signed import number
from yolograft.report.style import COLOURS, Drawn, Tips, short, tip
from yolograft.report.words import LANGUAGES, Translator
from yolograft.study.foresight import PUBLISHED

__all__ = ["data_of", "translator", "verdict", "write"]

_EPOCHS = 8  # of the studies that PUBLISHED is from
_DASHES: tuple[Any, ...] = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (7, 2, 1.5, 2)))  # for runs that share a colour


def write(runs: Sequence[Run], folder: Path, *, curves: Mapping[str, PrecisionRecall] | None = None, data: str = "",
          languages: Sequence[str] = LANGUAGES) -> list[Path]:
    """Write the page, its figures (SVG, PDF, PNG) and its tables (CSV, Markdown, LaTeX); return the pages' paths.

    Args:
        runs: the runs, at least two.
        folder: where to write.
        curves: name of a run -> its precision-recall curve.
        data: the data YAML that the curves were measured on.
        languages: `en`, `zh` or both.

    Raises:
        GraftError: the language does not exist, or the folder cannot be written.
    """
    found = curves or {}
    builds = [partial(_results, runs), partial(_changes, runs), partial(_learning, runs), partial(_losses, runs),
              partial(_precision_recall, runs, found, data)]
    return explain_page.write(builds, folder, title=" · ".join(short(run.name, 40) for run in runs[:4]), stem="compare",
                              headline=lambda say: "\n".join(verdict(runs, say, found)), texts=TEXTS, languages=languages,
                              facts={"runs": str(len(runs)), "task": runs[0].task})


def verdict(runs: Sequence[Run], say: Translator, curves: Mapping[str, PrecisionRecall] | None = None) -> list[str]:
    """Return what may be said about single runs: warnings, that they compare nothing, and what to do."""
    lines = []
    if len({data_of(run) for run in runs}) > 1:
        lines.append(say("other data", data=", ".join(f"{run.name}: {data_of(run)}" for run in runs)))
    kinds = {name: curve.classes for name, curve in (curves or {}).items()}
    if len(set(kinds.values())) > 1:
        lines.append(say("other classes", classes="; ".join(f"{name}: {', '.join(short(one, 20) for one in classes[:8])}"
                                                            for name, classes in kinds.items())))
    late = [run.name for run in runs if not run.finished]
    if late:
        lines.append(say("not finished", runs=", ".join(late)))
    lines.append(say("headline", count=len(runs)))
    if _is_published(runs[0]):
        lines.append(say("seed note", spread=PUBLISHED, epochs=_EPOCHS))
    return [*lines, say("study note", data=data_of(runs[0]))]


def translator(language: str) -> Translator:
    """Return the texts of the page in a language, or in English if it has none."""
    return Translator(language if language in LANGUAGES else "en", TEXTS)


def data_of(run: Run) -> str:
    """Return the data set of a run, as its args.yaml names it."""
    return str(run.arguments.get("data", ""))


def _is_published(run: Run) -> bool:
    return run.metric == "metrics/mAP50-95(B)" and run.task == "detect"


def _results(runs: Sequence[Run], say: Translator) -> Section:
    columns = [name for name in runs[0].columns if name.startswith("metrics/") and all(name in run.columns for run in runs)]
    first, comparable = _at_best(runs[0], runs[0].metric), len({data_of(run) for run in runs}) == 1
    published = _is_published(runs[0])
    rows: list[tuple[str | Cell, ...]] = []
    for run in runs:
        best, own = _at_best(run, run.metric), run.columns.get(run.metric, (math.nan,))
        gap = best - first if run is not runs[0] and comparable else math.nan
        rows.append((Cell(text=run.name, look="arm"), str(len(run.epochs)),
                     "" if run.best is None else str(run.epochs[run.best]),
                     *(_cell(_at_best(run, column)) for column in columns), _cell(own[-1]),
                     _cell(gap, sign=True), *([_cell(abs(gap) / PUBLISHED, digits=1)] if published else [])))
    head = (say("run"), say("epochs done"), say("best epoch"), *(_short(column) for column in columns),
            f"{_short(runs[0].metric)}, {say('last')}", say("difference to first", base=runs[0].name),
            *([say("times")] if published else []))
    return Section(title=say("Results"), paragraphs=(say("results note", metric=_short(runs[0].metric)),),
                   tables=(Table(name="results", head=head, rows=tuple(rows)),))


def _cell(value: float, *, sign: bool = False, digits: int = 4) -> Cell:
    return Cell(text=number(value, digits, sign=sign), value=value if math.isfinite(value) else None)


def _at_best(run: Run, column: str) -> float:
    return math.nan if run.best is None or column not in run.columns else run.columns[column][run.best]


def _short(column: str) -> str:
    return column.partition("/")[2].removesuffix("(B)")


def _changes(runs: Sequence[Run], say: Translator) -> Section:
    found = changes(runs)
    key = "nothing differs" if not found else "seed differs" if list(found) == ["seed"] else \
        "one differs" if len(found) == 1 else "many differ"
    rows: list[tuple[str | Cell, ...]] = [(Cell(text=name, look="arm"), *(short(value, 60) for value in values))
                                          for name, values in found.items()]
    table = Table(name="arguments", head=(say("argument"), *(run.name for run in runs)), rows=tuple(rows),
                  left=tuple(range(1, len(runs) + 1)))
    return Section(title=say("What differs"), paragraphs=(say(key, count=len(found)),), tables=(table,) if found else ())


def _learning(runs: Sequence[Run], say: Translator) -> Section:
    columns = list(dict.fromkeys(name for run in runs for name in run.columns if name.startswith("metrics/")))
    return Section(title=say("Learning curves"), figures=(
        Drawing(name="learning-curves", draw=partial(_draw, runs, [(one, "") for one in columns], say)),))


def _losses(runs: Sequence[Run], say: Translator) -> Section:
    names = dict.fromkeys(name.partition("/")[2] for run in runs for name in run.columns if name.startswith("val/"))
    return Section(title=say("Losses"), figures=(Drawing(name="losses", caption=say("losses note"), draw=partial(
        _draw, runs, [(f"val/{one}", f"train/{one}") for one in names], say)),))


def _draw(runs: Sequence[Run], panels: Sequence[tuple[str, str]], say: Translator) -> Drawn | None:
    """Draw a panel for each pair of columns: the first as a line, the second, if any, dashed and thin."""
    if not panels:
        return None
    across = 2 if len(panels) in (2, 4) else min(3, len(panels))
    down = math.ceil(len(panels) / across)
    figure, tips = Figure(figsize=(1 + 3.4 * across, 0.7 + 2.6 * down)), Tips()
    grid = list(figure.subplots(down, across, squeeze=False).flat)
    for axes, (main, second) in zip(grid, panels, strict=False):
        for place, run in enumerate(runs):
            colour, dash = _look(place)
            few = "o" if len(run.epochs) < 4 else ""
            for column, width, style in ((main, 1.7, dash), (second, 1.0, (0, (2, 2)))):
                if column in run.columns:
                    line = axes.plot(run.epochs, run.columns[column], color=colour, linestyle=style, linewidth=width,
                                     marker=few, markersize=3)[0]
                    tip(tips, line, place, f"{run.name}\n{column} {number(run.columns[column][-1])}")
        axes.set_title(_short(main), fontsize=10, parse_math=False)  # a column or a folder can have a name with $
        axes.set_xlabel(say("epoch"))
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))  # one tick for one epoch
        axes.grid()
    for axes in grid[len(panels):]:
        axes.set_visible(False)
    _legend(figure, tips, [run.name for run in runs])
    return figure, tips


def _precision_recall(runs: Sequence[Run], curves: Mapping[str, PrecisionRecall], data: str, say: Translator) -> Section:
    if not curves:
        text = say("pr missing") if runs[0].task == "detect" else say("pr task")
        return Section(title=say("Precision and recall"), paragraphs=(text,))
    return Section(title=say("Precision and recall"), figures=(Drawing(
        name="precision-recall", caption=say("pr note", data=data), draw=partial(_draw_curves, runs, curves, say)),))


def _draw_curves(runs: Sequence[Run], curves: Mapping[str, PrecisionRecall], say: Translator) -> Drawn:
    figure, tips = Figure(figsize=(5.6, 4.8)), Tips()
    axes, labels = figure.add_subplot(), []
    for place, run in enumerate(runs):
        colour, dash = _look(place)
        curve = curves[run.name]
        labels.append(f"{short(run.name, 30)}  {number(curve.ap50)}")
        line = axes.plot(curve.recall, curve.precision, color=colour, linestyle=dash, linewidth=1.7)[0]
        tip(tips, line, place, labels[-1])
    axes.set_xlabel(say("recall"))
    axes.set_ylabel(say("precision"))
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    axes.grid()
    _legend(figure, tips, labels)
    return figure, tips


def _look(place: int) -> tuple[str, Any]:
    return COLOURS[place % len(COLOURS)], _DASHES[place // len(COLOURS) % len(_DASHES)]


def _legend(figure: Figure, tips: Tips, names: Sequence[str]) -> None:
    handles = [Line2D([], [], color=colour, linestyle=dash, linewidth=1.7, label=short(name, 42))
               for name, (colour, dash) in zip(names, map(_look, range(len(names))), strict=True)]
    drawn = figure.legend(handles=handles, loc="outside lower center", ncols=min(3, len(names)), fontsize=9)
    for place, text in enumerate(drawn.get_texts()):
        text.set_parse_math(False)
        tip(tips, text, place, names[place])
