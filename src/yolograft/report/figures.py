"""The figures of the report, drawn with matplotlib: paired differences, accuracy and cost, learning curves, classes."""

from __future__ import annotations

import math

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from yolograft.report import network_figure
from yolograft.report.style import (
    PAPER,
    WORDS,
    Draw,
    Drawn,
    Say,
    Tips,
    colour,
    dash,
    legend,
    marker,
    short,
    text_colour,
    tip,
)
from yolograft.report.summary import COSTS, Curve, Summary
from yolograft.study.verdict import Word

__all__ = ["FIGURES"]

_CELLS = 14  # maximum number of columns of a heat map with numbers in its cells


def forest(summary: Summary, say: Say) -> Drawn | None:
    """Draw each arm's paired difference to the baseline: every seed, the mean and its 95% interval."""
    shown = [summary.verdicts[arm] for arm in summary.shown if arm in summary.verdicts and summary.verdicts[arm].seeds]
    if not shown:
        return None
    figure, tips = Figure(figsize=(9, 0.8 + 0.4 * len(shown))), Tips()
    axes = figure.add_subplot()
    floor = [one.interval for one in shown if summary.controls[one.arm] == "aa" and math.isfinite(one.interval[0])]
    if floor:
        axes.axvspan(min(low for low, _ in floor), max(high for _, high in floor), color=text_colour(), alpha=0.07,
                     linewidth=0, zorder=0)
    for place, verdict in enumerate(reversed(shown)):
        colour, values = WORDS[verdict.word], list(verdict.differences.values())
        low, high = verdict.interval
        finite = math.isfinite(low)
        numbers = f"{verdict.mean:+.4f}" + (f"  [{low:+.4f}, {high:+.4f}]" if finite else "")
        word = say(str(verdict.word), margin=f"{verdict.margin or 0:g}")
        text = f"{verdict.arm}: {word}\n{numbers}" + (f"\np = {verdict.p_adjusted:.3g}" if finite else "")
        where = summary.places[verdict.arm], text
        tip(tips, axes.plot(values, [place - 0.24] * len(values), "|", color=colour, alpha=0.75, markersize=6)[0], *where)
        if finite:
            tip(tips, axes.plot([low, high], [place, place], color=colour, linewidth=2.6, solid_capstyle="butt")[0], *where)
        tip(tips, axes.plot(verdict.mean, place, "o", color=colour, markersize=7.5)[0], *where)
        axes.text(1.015, place, numbers.replace("-", "−"), transform=axes.get_yaxis_transform(), va="center", fontsize=8.5,
                  color=colour)
    axes.axvline(0, color=text_colour(), linewidth=0.9, zorder=0)
    axes.set_yticks(range(len(shown)), [short(verdict.arm) for verdict in reversed(shown)])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.grid(axis="x")
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(f"{summary.metric}: {say('difference to', base=short(summary.baseline))}")
    return figure, tips


def tradeoff(summary: Summary, say: Say) -> Drawn | None:
    """Draw accuracy against parameters, GFLOPs and latency, each with its Pareto front."""
    rows = [row for row in summary.rows if row.name in summary.shown and row.metrics[summary.metric].runs]
    costs = [cost for cost in COSTS if sum(cost in row.costs for row in rows) > 1]
    if not costs:
        return None
    figure, tips = Figure(figsize=(0.6 + 3.1 * len(costs), 3.9)), Tips()
    for axes, cost in zip(figure.subplots(1, len(costs), sharey=True, squeeze=False).flat, costs, strict=True):
        scale = 1e6 if cost == "parameters" else 1.0
        points = {row.name: (row.costs[cost] / scale, row.metrics[summary.metric].mean) for row in summary.rows
                  if cost in row.costs and row.metrics[summary.metric].runs}
        front = [points[name] for name in summary.front(cost)]
        axes.plot(*zip(*front, strict=True), color=text_colour(), linewidth=1, alpha=0.6, linestyle=(0, (4, 3)),
                  drawstyle="steps-post", zorder=1)
        for row in rows:
            if row.name in points:
                x, y = points[row.name]
                tip(tips, axes.plot(x, y, marker(summary, row.name), color=colour(summary, row.name), markersize=8,
                               markeredgecolor=PAPER, markeredgewidth=0.8)[0], summary.places[row.name],
                     f"{row.name}\n{summary.metric} {y:.4f}\n{say(cost)} {x:.4g}{' M' if scale > 1 else ''}")
        axes.set_xlabel(say(cost) + (" (M)" if scale > 1 else ""))
        axes.xaxis.set_major_locator(MaxNLocator(3))  # labels of small differences are long
        axes.grid()
        axes.margins(0.12)
    figure.axes[0].set_ylabel(summary.metric)
    legend(figure, tips, summary, [row.name for row in rows], columns=len(costs) + 1)
    return figure, tips


def curves(summary: Summary, say: Say) -> Drawn | None:
    """Draw the metric by epoch and its paired difference to the baseline: means over seeds with 95% bands."""
    if not any(len(curve.epochs) > 1 for curve in summary.curves.values()):
        return None
    differences = summary.curve_differences
    figure, tips = Figure(figsize=(9.9 if differences else 6, 4.1)), Tips()
    axes = list(figure.subplots(1, 2 if differences else 1, squeeze=False).flat)
    _curves(axes[0], tips, summary, summary.curves, 0.10)
    axes[0].set_ylabel(summary.metric)
    if differences:
        _curves(axes[1], tips, summary, differences, 0.16)
        axes[1].axhline(0, color=text_colour(), linewidth=0.9)
        axes[1].set_ylabel(say("difference to", base=short(summary.baseline, 18)))
    for one in axes:
        one.set_xlabel(say("epoch"))
        one.xaxis.set_major_locator(MaxNLocator(7, integer=True))
        one.grid()
    legend(figure, tips, summary, list(summary.curves), lines=True)
    return figure, tips


def _curves(axes: Axes, tips: Tips, summary: Summary, drawn: dict[str, Curve], alpha: float) -> None:
    banded = [arm for arm in drawn if len(drawn) <= 6 or arm == summary.baseline
              or summary.verdicts[arm].word in (Word.HELPS, Word.HURTS)]  # more bands would overlap
    for arm, curve in drawn.items():
        where, line = summary.places[arm], colour(summary, arm)
        finite = np.isfinite(curve.lows)
        if finite.any() and arm in banded:
            tip(tips, axes.fill_between(curve.epochs, curve.lows, curve.highs, where=list(finite), color=line, alpha=alpha,
                                   linewidth=0), where, arm)
        tip(tips, axes.plot(curve.epochs, curve.means, color=line, linewidth=1.7, linestyle=dash(summary, arm))[0],
             where, f"{arm}\n{curve.means[-1]:.4f}")
    reached = [value for curve in drawn.values() for value in (*curve.means, *curve.lows, *curve.highs)
               if math.isfinite(value)]
    margin = 0.04 * (max(reached) - min(reached)) or 0.01
    axes.set_ylim(min(reached) - margin, max(reached) + margin)


def heat(summary: Summary, say: Say) -> Drawn | None:
    """Draw the difference in average precision for each arm and class."""
    arms = [arm for arm in summary.shown if arm in summary.classes and arm != summary.baseline]
    names = list(summary.classes.get(summary.baseline, {}))
    if not arms or not names:
        return None
    table = np.array([[summary.classes[arm][name].mean for name in names] for arm in arms])
    reach = max(1e-6, float(np.nanmax(np.abs(table))))
    width = 0.95 if len(names) <= _CELLS else 0.24
    figure, tips = Figure(figsize=(3.6 + width * len(names), 1.3 + 0.36 * len(arms))), Tips()
    axes = figure.add_subplot()
    colours, norm = mpl.colormaps["RdBu"], TwoSlopeNorm(0, -reach, reach)
    for y, arm in enumerate(arms):
        for x, name in enumerate(names):
            one, base = summary.classes[arm][name], summary.classes[summary.baseline][name].mean
            if not math.isfinite(one.mean):
                continue
            interval = f" [{one.low:+.4f}, {one.high:+.4f}]" if math.isfinite(one.low) else ""
            where = summary.places[arm], f"{arm}\n{name}: {one.mean:+.4f}{interval}\n{summary.baseline}: {base:.4f}"
            tip(tips, axes.fill_between([x, x + 1], y, y + 1, color=colours(norm(one.mean)), linewidth=0), *where)
            if len(names) <= _CELLS:
                strong = abs(one.mean) > 0.62 * reach
                tip(tips, axes.text(x + 0.5, y + 0.52, f"{one.mean:+.3f}".replace("-", "−"), ha="center", va="center",
                               fontsize=8.5, color="#ffffff" if strong else "#1c2127"), *where)
    axes.set_yticks(np.arange(len(arms)) + 0.5, [short(arm) for arm in arms])
    axes.set_xticks(np.arange(len(names)) + 0.5, [short(name, 18) for name in names], rotation=35, ha="right",
                    rotation_mode="anchor")
    axes.set_xlim(0, len(names))
    axes.set_ylim(len(arms), 0)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=axes, shrink=0.95, aspect=max(8, 3 * len(arms)), pad=0.02)
    full = len(arms) > 3  # with fewer arms, the bar is too short for the full label
    bar.set_label(f"{summary.class_metric}: {say('difference')}" if full else say("difference"))
    bar.outline.set_visible(False)
    return figure, tips


FIGURES: dict[str, Draw] = {"forest": forest, "tradeoff": tradeoff, "curves": curves, "classes": heat,
                           "network": network_figure.draw}
