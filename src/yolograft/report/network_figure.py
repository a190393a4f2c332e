"""The figure of the network: its rows from left to right, with marks for the arms that have blocks in a row."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from yolograft.report.network import Node
from yolograft.report.style import PAPER, Drawn, Tips, colour, legend, marker, text_colour, tip
from yolograft.report.summary import Summary
from yolograft.report.words import Translator

__all__ = ["draw"]

_INCH = 0.46  # distance between two rows, which is the unit of all lengths below
_WIDE, _HIGH = 0.4, 0.34  # half width and half height of a row's box
_PER_LINE, _PER_NODE, _MARK = 4, 8, 0.2  # marks per line, marks per row at most, distance of two marks
_SHADES = {"backbone": 0.04, "neck": 0.12, "head": 0.22}


def draw(summary: Summary, say: Translator) -> Drawn | None:
    """Draw the rows from left to right, larger strides further down, with a mark above a row for each arm with a block."""
    network = summary.network
    if not network.nodes:
        return None
    arms = [arm for arm in summary.shown if network.places.get(arm)]
    levels = {stride: place for place, stride in enumerate(sorted({node.stride for node in network.nodes}))}
    crowd = max((sum(node.number in network.places[arm] for arm in arms) for node in network.nodes), default=0)
    step = 1.5 + _MARK * math.ceil(min(crowd, _PER_NODE) / _PER_LINE)  # space below a row for lines, above it for marks
    limits = (-1.3, len(network.nodes) - 0.4), (-step * (len(levels) - 1) - 0.8, _HIGH + step - 1.2)
    wide, high = ((high - low) * _INCH for low, high in limits)
    figure, tips = Figure(figsize=(wide + 0.1, high + 0.22 * math.ceil(len(arms) / 4) + 0.2)), Tips()
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.axis("off")
    at = {node.number: (float(node.number), -step * levels[node.stride]) for node in network.nodes}
    head = next((node for node in network.nodes if node.part == "head"), None)
    for stride, level in levels.items():
        axes.text(-0.75, -step * level, f"/{stride}", ha="right", va="center", fontsize=8, alpha=0.65)
    for node in network.nodes:
        for source in node.reads:
            if source >= 0:
                _line(axes, at, network.nodes, source, node)
    for node in network.nodes:
        x, y = at[node.number]
        low = min(at[source][1] for source in node.reads) if node is head and min(node.reads) >= 0 else y
        top = max(at[source][1] for source in node.reads) if node is head and min(node.reads) >= 0 else y
        box = FancyBboxPatch((x - _WIDE, low - _HIGH), 2 * _WIDE, top - low + 2 * _HIGH, linewidth=0.9,
                             edgecolor=text_colour(), facecolor=to_rgba(text_colour(), _SHADES[node.part]),
                             boxstyle="round,pad=0,rounding_size=0.12")
        reads = ", ".join("image" if source < 0 else str(source) for source in node.reads)
        tip(tips, axes.add_patch(box), None,
            f"{node.number} {node.kind}\n{say('stride')} {node.stride}{say.punctuation.clauses}{say('reads')} {reads}")
        axes.text(x, (low + top) / 2 + 0.13, str(node.number), ha="center", va="center", fontsize=8, fontweight="bold")
        axes.text(x, (low + top) / 2 - 0.16, node.kind, ha="center", va="center", fontsize=min(6.4, 43 / len(node.kind)))
        present = [arm for arm in arms if node.number in network.places[arm]]
        for place, arm in enumerate(present[:_PER_NODE]):
            spot = x - _WIDE + _MARK * (0.5 + place % _PER_LINE), top + _HIGH + _MARK * (0.75 + place // _PER_LINE)
            tip(tips, axes.plot(*spot, marker(summary, arm), color=colour(summary, arm), markersize=6, markeredgecolor=PAPER,
                                markeredgewidth=0.5)[0], summary.places[arm],
                f"{arm}\n{node.number} {node.kind}: {network.places[arm][node.number]}")
        if len(present) > _PER_NODE:
            axes.text(x + _WIDE, top + _HIGH + 0.2, f"+{len(present) - _PER_NODE}", fontsize=6, ha="left", va="center")
    axes.set_xlim(*limits[0])
    axes.set_ylim(*limits[1])
    if arms:
        legend(figure, tips, summary, arms)
    return figure, tips


def _line(axes: Axes, at: Mapping[int, tuple[float, float]], nodes: tuple[Node, ...], source: int, node: Node) -> None:
    """Draw the line from a row to its reader: straight, below the rows between them, or with one corner."""
    (x, y), (to_x, to_y) = at[source], at[node.number]
    between = any(at[one.number][1] == y and source < one.number < node.number for one in nodes)
    if node.part == "head":
        to_y = y  # the head spans the levels of all its inputs
    if y == to_y and not between:
        path = [(x + _WIDE, y), (to_x - _WIDE, y)]
    elif y == to_y:
        path = [(x, y - _HIGH), (x, y - 0.62), (to_x - (node.part == "head") * 0.62, y - 0.62)]
        path += [(to_x - 0.62, y), (to_x - _WIDE, y)] if node.part == "head" else [(to_x, to_y - _HIGH)]
    elif y > to_y:
        path = [(x, y - _HIGH), (x, to_y), (to_x - _WIDE, to_y)]
    else:
        path = [(x + _WIDE, y), (to_x, y), (to_x, to_y - _HIGH)]
    axes.plot(*zip(*path, strict=True), color=text_colour(), linewidth=0.9, alpha=0.55, solid_joinstyle="round", zorder=0.5)
    axes.annotate("", path[-1], path[-2], arrowprops={"arrowstyle": "-|>,head_width=0.13,head_length=0.26",
                                                      "color": text_colour(), "linewidth": 0, "shrinkA": 0, "shrinkB": 0})
