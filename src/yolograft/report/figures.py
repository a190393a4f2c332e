"""The figures of the report, drawn with matplotlib: paired differences, accuracy and cost, learning curves, classes."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from matplotlib.transforms import offset_copy

from yolograft.report import network_figure
from yolograft.report.signed import number
from yolograft.report.style import (
    PAPER,
    WORDS,
    Draw,
    Drawn,
    Tips,
    colour,
    dash,
    legend,
    marker,
    short,
    text_colour,
    tip,
)
from yolograft.report.summary import Curve, Spread, Summary
from yolograft.report.words import Translator

__all__ = ["FIGURES"]

_BESIDE = 4.0  # points between two arms of equal cost, whose intervals would hide each other
_CELLS = 14  # maximum number of columns of a heat map with numbers in its cells


def forest(summary: Summary, say: Translator) -> Drawn | None:
    """Draw each arm's paired difference to the baseline: every seed, the mean and its 95% interval."""
    shown = [summary.verdicts[arm] for arm in summary.shown if arm in summary.verdicts and summary.verdicts[arm].seeds]
    if not shown:
        return None
    figure, tips = Figure(figsize=(9, 0.8 + 0.4 * len(shown))), Tips()
    axes = figure.add_subplot()
    if summary.floor is not None:
        axes.axvspan(*summary.floor, color=text_colour(), alpha=0.07, linewidth=0, zorder=0)
    for place, verdict in enumerate(reversed(shown)):
        colour, values = WORDS[verdict.word], list(verdict.differences.values())
        low, high = verdict.interval
        finite = math.isfinite(low) and math.isfinite(high)
        numbers = number(verdict.mean, sign=True)
        numbers += f"  [{number(low, sign=True)}, {number(high, sign=True)}]" if finite else ""
        word = say(str(verdict.word), margin=f"{verdict.margin or 0:g}")
        text = f"{verdict.arm}{say.punctuation.colon}{word}\n{numbers}"
        text += f"\np = {verdict.p_adjusted:.3g}" if finite else ""
        where = summary.places[verdict.arm], text
        tip(tips, axes.plot(values, [place - 0.24] * len(values), "|", color=colour, alpha=0.75, markersize=6)[0], *where)
        if finite:
            tip(tips, axes.plot([low, high], [place, place], color=colour, linewidth=2.6, solid_capstyle="butt")[0], *where)
        tip(tips, axes.plot(verdict.mean, place, "o", color=colour, markersize=7.5)[0], *where)
        axes.text(1.015, place, numbers, transform=axes.get_yaxis_transform(), va="center", fontsize=8.5,
                  color=colour)
    axes.axvline(0, color=text_colour(), linewidth=0.9, zorder=0)
    axes.set_yticks(range(len(shown)), [short(verdict.arm) for verdict in reversed(shown)])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.grid(axis="x")
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(summary.metric + say.punctuation.colon + say("difference to", base=short(summary.baseline)))
    return figure, tips


def tradeoff(summary: Summary, say: Translator) -> Drawn | None:
    """Draw accuracy with its 95% interval against each cost that differs, with the Pareto front where there is one."""
    rows = [row for row in summary.rows if row.name in summary.shown and row.metrics[summary.metric].runs]
    costs = summary.drawn_costs
    if not costs:
        return None
    figure, tips = Figure(figsize=(0.6 + 3.1 * len(costs), 3.9)), Tips()
    for axes, cost in zip(figure.subplots(1, len(costs), sharey=True, squeeze=False).flat, costs, strict=True):
        scale = 1e6 if cost == "parameters" else 1.0
        points = {row.name: (row.costs[cost] / scale, row.metrics[summary.metric].mean) for row in summary.rows
                  if cost in row.costs and row.metrics[summary.metric].runs}
        if front := [points[name] for name in summary.front(cost)]:
            axes.plot(*zip(*front, strict=True), color=text_colour(), linewidth=1, alpha=0.6, linestyle=(0, (4, 3)),
                      drawstyle="steps-post", zorder=1, label="_front")
        seen: Counter[float] = Counter()
        for row in (row for row in rows if row.name in points):
            x, y = points[row.name]
            beside = offset_copy(axes.transData, figure, x=_BESIDE * seen[x], units="points")  # arms of equal cost
            seen[x] += 1
            spread = row.metrics[summary.metric]
            look: Any = {"color": colour(summary, row.name), "transform": beside}
            line: Any = {"linewidth": 1.2, "alpha": 0.6, "zorder": 1.5, "label": "_interval", **look}
            if math.isfinite(spread.low):
                axes.plot([x, x], [spread.low, spread.high], **line)
            axes.update_datalim([(x, end) for end in (spread.low, y, spread.high) if math.isfinite(end)])
            timed = summary.latency.of(row.name) if cost == "latency_ms" and summary.latency is not None else None
            if timed is not None:
                axes.update_datalim([(end, y) for end in timed.interval])
                axes.plot(timed.interval, [y, y], **line)
            where = summary.places[row.name], (
                f"{row.name}\n{summary.metric} {y:.4f}{_span(spread)}\n{say(cost)} {x:.4g}{' M' if scale > 1 else ''}"
                + (_range(*timed.interval, 2) if timed is not None else ""))
            tip(tips, axes.plot(x, y, marker(summary, row.name), markersize=8, markeredgecolor=PAPER, markeredgewidth=0.8,
                                **look)[0], *where)
        axes.set_xlabel(say(cost) + (" (M)" if scale > 1 else ""))
        axes.xaxis.set_major_locator(MaxNLocator(3))  # labels of small differences are long
        axes.grid()
        axes.margins(0.12)  # the limits are set above, since lines beside their place do not count for them
    figure.axes[0].set_ylabel(summary.metric)
    legend(figure, tips, summary, [row.name for row in rows], columns=len(costs) + 1)
    return figure, tips


def _span(spread: Spread) -> str:
    return _range(spread.low, spread.high) if math.isfinite(spread.low) else ""


def _range(low: float, high: float, digits: int = 4) -> str:
    return f" [{number(low, digits)}, {number(high, digits)}]"


def curves(summary: Summary, say: Translator) -> Drawn | None:
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
    banded = summary.banded
    for arm, curve in drawn.items():
        where, line = summary.places[arm], colour(summary, arm)
        finite = np.isfinite(curve.lows)
        if finite.any() and arm in banded:
            tip(tips, axes.fill_between(curve.epochs, curve.lows, curve.highs, where=list(finite), color=line, alpha=alpha,
                                   linewidth=0), where, arm)
        tip(tips, axes.plot(curve.epochs, curve.means, color=line, linewidth=1.7, linestyle=dash(summary, arm))[0],
             where, f"{arm}\n{number(curve.means[-1])}")
    reached = [value for curve in drawn.values() for value in (*curve.means, *curve.lows, *curve.highs)
               if math.isfinite(value)]
    margin = 0.04 * (max(reached) - min(reached)) or 0.01
    axes.set_ylim(min(reached) - margin, max(reached) + margin)


def heat(summary: Summary, say: Translator) -> Drawn | None:
    """Draw the difference in average precision for each arm and class."""
    arms = [arm for arm in summary.shown if arm in summary.classes and arm != summary.baseline]
    names = list(summary.classes.get(summary.baseline, {}))
    if not arms or not names:
        return None
    table = np.array([[summary.classes[arm][name].mean for name in names] for arm in arms])
    reach = _rounded_up(float(np.nanmax(np.abs(table))))
    width = 0.95 if len(names) <= _CELLS else 0.24
    figure, tips = Figure(figsize=(3.6 + width * len(names), 1.3 + 0.36 * len(arms))), Tips()
    axes = figure.add_subplot()
    colours, norm = mpl.colormaps["RdBu"], TwoSlopeNorm(0, -reach, reach)
    for y, arm in enumerate(arms):
        for x, name in enumerate(names):
            one, base = summary.classes[arm][name], summary.classes[summary.baseline][name].mean
            if not math.isfinite(one.mean):
                continue
            interval = f" [{number(one.low, sign=True)}, {number(one.high, sign=True)}]" if math.isfinite(one.low) else ""
            where = (summary.places[arm],
                     f"{arm}\n{name}: {number(one.mean, sign=True)}{interval}\n{summary.baseline}: {base:.4f}")
            tip(tips, axes.fill_between([x, x + 1], y, y + 1, color=colours(norm(one.mean)), linewidth=0), *where)
            if len(names) <= _CELLS:
                strong = abs(one.mean) > 0.62 * reach
                tip(tips, axes.text(x + 0.5, y + 0.52, number(one.mean, 3, sign=True), ha="center", va="center",
                               fontsize=8.5, color="#ffffff" if strong else "#1c2127"), *where)
    axes.set_yticks(np.arange(len(arms)) + 0.5, [short(arm) for arm in arms])
    axes.set_xticks(np.arange(len(names)) + 0.5, [short(name, 18) for name in names], rotation=35, ha="right",
                    rotation_mode="anchor")
    axes.set_xlim(0, len(names))
    axes.set_ylim(len(arms), 0)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=axes, shrink=0.95, aspect=max(8, 3 * len(arms)), pad=0.02)
    ticks = [reach * part for part in (-1.0, -0.5, 0.0, 0.5, 1.0)]
    bar.set_ticks(ticks, labels=[number(tick, max(3, 1 - math.floor(math.log10(reach))), sign=True) for tick in ticks])
    full = len(arms) > 3  # with fewer arms, the bar is too short for the full label
    bar.set_label(f"{summary.class_metric}{say.punctuation.colon}{say('difference')}" if full else say("difference"))
    bar.outline.set_visible(False)
    return figure, tips


def _rounded_up(value: float) -> float:
    """Return the next number of the form 1, 2 or 5 times a power of ten, at least 0.001: the end of a colour scale.

    Smaller differences are printed as 0 and should not look strong.
    """
    if not value > 0.001:
        return 0.001
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 5, 10) if step * power >= value * (1 - 1e-9))


FIGURES: dict[str, Draw] = {"forest": forest, "tradeoff": tradeoff, "curves": curves, "classes": heat,
                           "network": network_figure.draw}
