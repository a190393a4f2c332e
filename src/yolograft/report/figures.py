"""The report's figures, drawn by matplotlib: as SVG for the page, which themes and annotates it, and for papers.

Text and axes are drawn in one colour that the page replaces by its own, so that a figure fits light and dark;
what a reader may hover over carries a number that the page replaces by a title.
"""

from __future__ import annotations

import io
import math
import re
import warnings
from collections.abc import Callable
from html import escape
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure

from yolograft.report.summary import COSTS, Summary
from yolograft.study.verdict import Word

__all__ = ["FIGURES", "inline", "save"]

INK = "#123456"  # stands for the page's text colour
COLOURS = ("#7a7a7a", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b8860b", "#56b4e9", "#8c564b")  # Okabe and Ito
WORDS = {Word.HELPS: "#1a8f3c", Word.HURTS: "#c8321f", Word.UNDECIDED: "#7a7a7a", Word.FEW: "#b0b0b0"}
_STYLE: Any = {
    "font.size": 10, "font.family": "sans-serif", "svg.fonttype": "none", "svg.hashsalt": "yolograft",
    "pdf.fonttype": 42, "figure.constrained_layout.use": True, "axes.spines.top": False, "axes.spines.right": False,
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK),
}
Say = Callable[[str], str]
Draw = Callable[[Summary, Say], "tuple[Figure, list[str]] | None"]


def forest(summary: Summary, say: Say) -> tuple[Figure, list[str]] | None:
    """Each arm's paired difference to the baseline: every seed, the mean and its 95% interval."""
    shown = [verdict for verdict in summary.verdicts.values() if verdict.seeds]
    if not shown:
        return None
    figure, tips = Figure(figsize=(8, 0.9 + 0.42 * len(shown))), list[str]()
    axes = figure.add_subplot()
    for place, verdict in enumerate(reversed(shown)):
        colour, values = WORDS[verdict.word], list(verdict.differences.values())
        axes.plot(values, [place - 0.22] * len(values), "|", color=colour, alpha=0.7, markersize=6)
        low, high = verdict.t_interval
        if math.isfinite(low):
            axes.plot([low, high], [place, place], "-", color=colour, linewidth=2.5, solid_capstyle="butt")
        _tip(axes.plot(verdict.mean, place, "o", color=colour, markersize=8)[0], tips,
             f"{verdict.arm}: {say(str(verdict.word))}; {verdict.mean:+.4f} ({low:+.4f} … {high:+.4f}), "
             f"p = {verdict.p_adjusted:.3g}")
    axes.axvline(0, color=mpl.rcParams["text.color"], linewidth=1, linestyle=":")
    axes.set_yticks(range(len(shown)), [verdict.arm for verdict in reversed(shown)])
    axes.set_ylim(-0.6, len(shown) - 0.4)
    axes.set_xlabel(f"{summary.metric}: {say('difference to')} {summary.baseline}")
    return figure, tips


def tradeoff(summary: Summary, say: Say) -> tuple[Figure, list[str]] | None:
    """Accuracy against parameters, GFLOPs and latency, with the Pareto front of each."""
    costs = [cost for cost in COSTS if sum(cost in row.costs for row in summary.rows) > 1]
    if not costs:
        return None
    figure, tips = Figure(figsize=(4.2 * len(costs), 3.6)), list[str]()
    for axes, cost in zip(np.atleast_1d(figure.subplots(1, len(costs), sharey=True)), costs, strict=True):
        scale = 1e6 if cost == "parameters" else 1.0
        points = {row.name: (row.costs[cost] / scale, row.metrics[summary.metric].mean) for row in summary.rows
                  if cost in row.costs and row.metrics[summary.metric].runs}
        front = [points[name] for name in summary.front(cost)]
        axes.plot(*zip(*front, strict=True), "--", color=mpl.rcParams["text.color"], linewidth=1, alpha=0.6,
                  drawstyle="steps-post")
        for name, (x, y) in points.items():
            _tip(axes.plot(x, y, "o", color=_colour(summary, name), markersize=7)[0], tips,
                 f"{name}: {summary.metric} {y:.4f}, {say(cost)} {x:.4g}")
        axes.set_xlabel(say(cost) + (" (M)" if scale > 1 else ""))
        axes.margins(0.12)
    figure.axes[0].set_ylabel(summary.metric)
    _legend(figure, summary, [row.name for row in summary.rows if row.metrics[summary.metric].runs])
    return figure, tips


def curves(summary: Summary, say: Say) -> tuple[Figure, list[str]] | None:
    """The metric by epoch: mean over seeds, with a band for its 95% interval."""
    if not any(len(curve.epochs) > 1 for curve in summary.curves.values()):
        return None
    figure, tips = Figure(figsize=(8, 4)), list[str]()
    axes = figure.add_subplot()
    for name, curve in summary.curves.items():
        colour = _colour(summary, name)
        finite = np.isfinite(curve.lows)
        if finite.any():
            axes.fill_between(curve.epochs, curve.lows, curve.highs, where=list(finite), color=colour, alpha=0.12,
                              linewidth=0)
        _tip(axes.plot(curve.epochs, curve.means, color=colour, linewidth=1.8)[0], tips, name)
    tops = [max(curve.means) for curve in summary.curves.values()]
    floor = min(min(curve.means) for curve in summary.curves.values())
    axes.set_ylim(max(0.0, floor - 0.05), max(tops) * 1.12)
    axes.set_xlabel(say("epoch"))
    axes.set_ylabel(summary.metric)
    _legend(figure, summary, list(summary.curves))
    return figure, tips


def heat(summary: Summary, say: Say) -> tuple[Figure, list[str]] | None:
    """The difference in average precision by class, arm by arm."""
    arms = [arm for arm in summary.classes if arm != summary.baseline]
    names = list(next(iter(summary.classes.values()), {}))
    if not arms or not names:
        return None
    table = np.array([[summary.classes[arm][name].mean for name in names] for arm in arms])
    if np.isnan(table).all():
        return None
    reach = max(1e-6, float(np.nanmax(np.abs(table))))
    figure, tips = Figure(figsize=(2.6 + 0.95 * min(len(names), 14), 1.6 + 0.42 * len(arms))), list[str]()
    axes = figure.add_subplot()
    mesh = axes.pcolormesh(table, cmap="PuOr_r", norm=TwoSlopeNorm(0, -reach, reach), edgecolor="none")
    for y, arm in enumerate(arms):
        for x, name in enumerate(names):
            one = summary.classes[arm][name]
            if len(names) <= 14 and math.isfinite(one.mean):
                text = axes.text(x + 0.5, y + 0.5, f"{one.mean:+.3f}", ha="center", va="center", fontsize=8,
                                 color="white" if abs(one.mean) > 0.6 * reach else "black")
                _tip(text, tips, f"{arm}, {name}: {one.mean:+.4f} ({one.low:+.4f} … {one.high:+.4f})")
    axes.set_yticks(np.arange(len(arms)) + 0.5, arms)
    axes.set_xticks(np.arange(len(names)) + 0.5, names, rotation=30, ha="right")
    axes.invert_yaxis()
    axes.tick_params(length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    figure.colorbar(mesh, ax=axes, label=f"{summary.class_metric}: {say('difference')}", shrink=0.9)
    return figure, tips


FIGURES: dict[str, Draw] = {"forest": forest, "tradeoff": tradeoff, "curves": curves, "classes": heat}


def inline(name: str, summary: Summary, say: Say) -> str | None:
    """Return a figure as SVG for a page: its ink is the page's, its marks carry titles; None if it has no data."""
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph")  # the browser has the glyphs that matplotlib's font lacks
        drawn = FIGURES[name](summary, say)
        if drawn is None:
            return None
        figure, tips = drawn
        text = _bytes(figure, "svg").decode()
    text = text[text.index("<svg"):].replace(INK, "currentColor")
    text = re.sub(r'<g id="tip-(\d+)">', lambda m: '<g '
                                                   f'class="tip"><title>{escape(tips[int(m[1])])}</title>', text)
    # several figures share a page: their ids must not
    text = re.sub(r'(id="|url\(#|href="#)', lambda m: m[1] + name + "-", text)
    width = round(figure.get_figwidth() * 100)
    return re.sub(r'<svg [^>]*viewBox="([^"]*)"[^>]*>', lambda m: (
        f'<svg viewBox="{m[1]}" style="max-width:{width}px" role="img" aria-label="{name}">'), text, count=1)


def save(name: str, summary: Summary, format: str) -> bytes | None:
    """Return a figure as `svg` or `pdf`, in black on nothing; None if it has no data."""
    black: Any = {key: "black" for key, value in _STYLE.items() if value == INK}
    with mpl.rc_context({**_STYLE, **black}):
        drawn = FIGURES[name](summary, lambda text: text)
        return _bytes(drawn[0], format) if drawn else None


def _bytes(figure: Figure, format: str) -> bytes:
    FigureCanvasAgg(figure)
    file = io.BytesIO()
    dateless = {"Date": None} if format == "svg" else {"CreationDate": None}
    figure.savefig(file, format=format, transparent=True, metadata=dateless)
    return file.getvalue()


def _tip(artist: Any, tips: list[str], text: str) -> None:
    artist.set_gid(f"tip-{len(tips)}")
    tips.append(text)


def _colour(summary: Summary, arm: str) -> str:
    place = [row.name for row in summary.rows].index(arm)
    return COLOURS[0] if place == 0 else COLOURS[1 + (place - 1) % (len(COLOURS) - 1)]


def _legend(figure: Figure, summary: Summary, arms: list[str]) -> None:
    axes: Axes = figure.axes[-1]
    handles = [axes.plot([], [], color=_colour(summary, arm), linewidth=4, label=arm)[0] for arm in arms]
    if len(arms) <= 24:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(arms)), frameon=False, fontsize=9)
