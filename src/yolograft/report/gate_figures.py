"""The figures of the page of `yolograft explain` on gates, drawn with matplotlib."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import TwoSlopeNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from yolograft.analysis.causal_value import ALL, HOW
from yolograft.analysis.explain import Explained, ExplainedPlace
from yolograft.report.signed import number, number_and_interval
from yolograft.report.style import COLOURS, PAPER, Drawn, Tips, short, text_colour, tip
from yolograft.report.words import Translator

__all__ = ["causal", "causal_classes", "channels", "classes", "maps"]

_COLUMNS = 3  # panels in a row
_MOST_PANELS = 12
_MOST_CLASSES = 7  # lines of classes in one panel
_MOST_MAPS = 5  # blocks of which maps are shown
_CELLS = 14  # maximum number of columns of a heat map with numbers in its cells
_LABELS = {"one": "gate = 1", "mean": "gate = mean", "other": "gate of another image"}


def channels(places: Sequence[ExplainedPlace], names: Mapping[int, str], say: Translator) -> Drawn | None:
    """Draw the mean gate of each channel for each class, one panel for each block."""
    shown = list(places[:_MOST_PANELS])
    columns = min(_COLUMNS, len(shown))
    lines = math.ceil(len(shown) / columns)
    figure, tips = Figure(figsize=(9.6, 0.5 + (3.4 if columns == 1 else 2.5) * lines)), Tips()
    panels = figure.subplots(lines, columns, squeeze=False)
    for axes, place in zip(panels.flat, shown, strict=False):
        order = np.argsort(place.summary.mean)
        x = np.arange(len(order))
        axes.axhline(1, color=text_colour(), linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7)
        for kind, colour in _colours(place, names).items():
            found = place.summary.classes[kind]
            tip(tips, axes.plot(x, found.mean[order], color=colour, linewidth=1.1)[0], None,
                f"{place.graft}\n{names.get(kind, say('no object'))}: {found.images}")
        axes.set_title(short(place.graft, 30), fontsize=9.5, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid()
    for axes in panels.flat[len(shown):]:
        axes.set_visible(False)
    _label(panels, len(shown), say)
    handles = [Line2D([], [], color=colour, label=short(names.get(kind, say("no object")), 24))
               for kind, colour in _colours(shown[0], names).items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=min(6, len(handles)), fontsize=9)
    return figure, tips


def classes(place: ExplainedPlace, names: Mapping[int, str], say: Translator) -> Drawn | None:
    """Draw the mean gate of each channel with its standard deviation within a class, one panel for each class."""
    kinds = list(_colours(place, names).items())[: 2 * _COLUMNS]
    if not kinds:
        return None
    columns = min(_COLUMNS, len(kinds))
    lines = math.ceil(len(kinds) / columns)
    figure, tips = Figure(figsize=(9.6, 0.4 + 2.4 * lines)), Tips()
    panels = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    order = np.argsort(place.summary.mean)
    x = np.arange(len(order))
    for axes, (kind, colour) in zip(panels.flat, kinds, strict=False):
        found = place.summary.classes[kind]
        mean, spread = found.mean[order], found.spread[order]
        name = names.get(kind, say("no object"))
        axes.axhline(1, color=text_colour(), linewidth=0.9, linestyle=(0, (4, 3)), alpha=0.7)
        tip(tips, axes.fill_between(x, mean - spread, mean + spread, color=colour, alpha=0.25, linewidth=0), None, name)
        tip(tips, axes.plot(x, mean, color=colour, linewidth=1.1)[0], None, f"{name}: {found.images} {say('images')}")
        axes.set_title(short(name, 28), fontsize=9.5, loc="left")
        axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(5))
        axes.grid()
    for axes in panels.flat[len(kinds):]:
        axes.set_visible(False)
    _label(panels, len(kinds), say)
    return figure, tips


def _label(panels: Any, shown: int, say: Translator) -> None:
    """Label the axes at the left, and the lowest panel of each column."""
    columns = panels.shape[1]
    for place in range(shown):
        if not place % columns:
            panels.flat[place].set_ylabel(say("gate"))
        if place + columns >= shown:
            panels.flat[place].set_xlabel(say("channel sorted") if columns == 1 else say("channel"))


def _colours(place: ExplainedPlace, names: Mapping[int, str]) -> dict[int, str]:
    """Return the classes to draw, those with the most images, in the order of their numbers, with their colours."""
    most = sorted(place.summary.classes, key=lambda kind: -place.summary.classes[kind].images)[:_MOST_CLASSES]
    return {kind: COLOURS[number] for number, kind in enumerate(sorted(most))}


def maps(one: Explained, say: Translator) -> Drawn | None:
    """Draw images with their ground truth, and beside them the gate maps of the blocks whose gates vary in space."""
    shown = [place for place in one.places if place.kind in ("spatial", "both")][:_MOST_MAPS]
    if not shown or not one.examples:
        return None
    columns, lines = len(shown) + 1, len(one.examples)
    figure, tips = Figure(figsize=(min(9.6, 1.9 * columns), 0.75 + 1.75 * lines)), Tips()
    panels = figure.subplots(lines, columns, squeeze=False)
    reach = {place.name: max(float(np.nanmax(np.abs(example.maps[place.name] - 1))) for example in one.examples) or 1e-6
             for place in shown}
    colours = mpl.colormaps["RdBu"]
    for row, example in zip(panels, one.examples, strict=True):
        _image(row[0], example.image)
        for box, kind in zip(example.boxes, example.kinds, strict=True):
            rectangle = Rectangle((box[0], box[1]), box[2] - box[0], box[3] - box[1], fill=False, edgecolor="#ffd53d",
                                  linewidth=1.2)
            tip(tips, row[0].add_patch(rectangle), None, one.classes[int(kind)])
        row[0].set_ylabel(short(one.classes[int(example.kinds[0])], 16), fontsize=8.5)
        for axes, place in zip(row[1:], shown, strict=True):
            norm = TwoSlopeNorm(1, 1 - reach[place.name], 1 + reach[place.name])
            height, width = example.image.shape[:2]
            axes.imshow(example.maps[place.name], cmap=colours, norm=norm, interpolation="nearest",
                        extent=(0, width, height, 0))
            _bare(axes)
    panels[0][0].set_title(say("images"), fontsize=9)
    for column, place in enumerate(shown, 1):
        panels[0][column].set_title(short(place.graft, 22), fontsize=9)
        norm = TwoSlopeNorm(1, 1 - reach[place.name], 1 + reach[place.name])
        bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=list(panels[:, column]), location="bottom", aspect=14,
                              shrink=0.9, pad=0.02)
        bar.set_ticks([1 - reach[place.name], 1, 1 + reach[place.name]])
        bar.ax.set_xticklabels([f"{1 - reach[place.name]:.2f}", "1", f"{1 + reach[place.name]:.2f}"], fontsize=8)
        bar.outline.set_visible(False)
    return figure, tips


def _image(axes: Axes, image: Any) -> None:
    axes.imshow(image, interpolation="nearest")
    _bare(axes)


def _bare(axes: Axes) -> None:
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set_visible(False)


def causal(one: Explained, say: Translator) -> Drawn | None:
    """Draw the change of mAP50-95 with replaced gates, with its interval: one row for each block and all at once."""
    if not one.values:
        return None
    names = list(dict.fromkeys(value.place for value in one.values))
    labels = {place.name: place.graft for place in one.places} | {ALL: say("all blocks")}
    figure, tips = Figure(figsize=(9.6, 1.2 + 0.52 * len(names))), Tips()
    axes = figure.add_subplot()
    used = [how for how in HOW if any(value.how == how for value in one.values)]
    for line, name in enumerate(reversed(names)):
        for place, how in enumerate(used):
            value = one.value(name, how)
            if value is None:
                continue
            found, y = value.differences.mean, line + 0.24 * (len(used) - 1) / 2 - 0.24 * place
            text = f"{labels[name]}\n{say(_LABELS[how])}: {number_and_interval(found)}"
            tip(tips, axes.plot([found.low, found.high], [y, y], color=COLOURS[place], linewidth=2,
                                solid_capstyle="butt")[0], None, text)
            tip(tips, axes.plot(found.estimate, y, "o", color=COLOURS[place], markersize=5.5, markeredgecolor=PAPER,
                                markeredgewidth=0.6)[0], None, text)
    axes.axvline(0, color=text_colour(), linewidth=0.9, zorder=0)
    axes.set_yticks(range(len(names)), [short(labels[name]) for name in reversed(names)])
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.grid(axis="x")
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlabel(say("change of", metric="mAP50-95"))
    handles = [Line2D([], [], color=COLOURS[place], marker="o", label=say(_LABELS[how])) for place, how in enumerate(used)]
    figure.legend(handles=handles, loc="outside lower center", ncols=3, fontsize=9)
    return figure, tips


def causal_classes(one: Explained, say: Translator) -> Drawn | None:
    """Draw the change of AP50-95 of each class when the gate of a block is 1, as a heat map centred on 0."""
    shown = [value for value in one.values if value.how == "one"]
    kinds = sorted({kind for value in shown for kind in value.differences.classes})
    if not shown or not kinds:
        return None
    labels = {place.name: place.graft for place in one.places} | {ALL: say("all blocks")}
    table = np.array([[value.differences.classes[kind].estimate for kind in kinds] for value in shown])
    reach = max(1e-4, float(np.nanmax(np.abs(table))))
    width = 0.95 if len(kinds) <= _CELLS else 0.24
    figure, tips = Figure(figsize=(3.6 + width * len(kinds), 1.4 + 0.36 * len(shown))), Tips()
    axes = figure.add_subplot()
    colours, norm = mpl.colormaps["RdBu"], TwoSlopeNorm(0, -reach, reach)
    for y, value in enumerate(shown):
        for x, kind in enumerate(kinds):
            found = value.differences.classes[kind]
            text = f"{labels[value.place]}\n{one.classes[kind]}: {number_and_interval(found)}"
            tip(tips, axes.fill_between([x, x + 1], y, y + 1, color=colours(norm(found.estimate)), linewidth=0), None, text)
            if len(kinds) <= _CELLS:
                is_strong = abs(found.estimate) > 0.62 * reach
                tip(tips, axes.text(x + 0.5, y + 0.52, number(found.estimate, sign=True), ha="center", va="center",
                                    fontsize=8.5, color="#ffffff" if is_strong else "#1c2127"), None, text)
    axes.set_yticks(np.arange(len(shown)) + 0.5, [short(labels[value.place]) for value in shown])
    axes.set_xticks(np.arange(len(kinds)) + 0.5, [short(one.classes[kind], 18) for kind in kinds], rotation=35, ha="right",
                    rotation_mode="anchor")
    axes.set_xlim(0, len(kinds))
    axes.set_ylim(len(shown), 0)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    bar = figure.colorbar(mpl.cm.ScalarMappable(norm, colours), ax=axes, shrink=0.95, aspect=max(8, 3 * len(shown)),
                          pad=0.02)
    bar.locator = MaxNLocator(3 if len(shown) < 4 else 5)
    bar.update_ticks()
    bar.outline.set_visible(False)
    return figure, tips
