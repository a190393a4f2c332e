"""The captions of the report's figures: each sentence speaks of something that the figure shows."""

from __future__ import annotations

import math

from yolograft.report.summary import COSTS, Summary
from yolograft.report.words import Translator

__all__ = ["caption", "missing"]


def caption(name: str, summary: Summary, say: Translator) -> str:
    """Return the caption of a figure that was drawn.

    Args:
        name: a key of `figures.FIGURES`.
        summary: the study.
        say: the language.
    """
    keys = {"forest": _forest, "tradeoff": _tradeoff, "curves": _curves, "classes": _classes, "network": _network}[name]
    sentences = [say(key) for key in keys(summary)]
    if name != "network" and len(summary.shown) < len(summary.rows):
        sentences.append(say("shown_note", n=len(summary.shown) - 1))
    return say.punctuation.space.join(sentences)


def missing(name: str, summary: Summary, say: Translator) -> str:
    """Return why a figure was not drawn."""
    if name == "forest":
        return say("no_forest")
    if name == "tradeoff":
        return say("no_tradeoff" if any("parameters" in row.costs for row in summary.rows) else "no_figure")
    if name == "curves" and any(summary.curves.values()):
        return say("no_curves")
    return say("no_figure")


def _forest(summary: Summary) -> list[str]:
    shown = [summary.verdicts[arm] for arm in summary.shown if arm in summary.verdicts and summary.verdicts[arm].seeds]
    has_bars = any(math.isfinite(one.interval[0]) and math.isfinite(one.interval[1]) for one in shown)
    return ["forest_note", *(["forest_bars"] if has_bars else []), *(["forest_band"] if summary.floor is not None else [])]


def _tradeoff(summary: Summary) -> list[str]:
    rows = [row for row in summary.rows if row.name in summary.shown]
    known = {cost for row in rows for cost in row.costs if cost in COSTS}
    timed = "latency_ms" in summary.drawn_costs
    keys = ["cost_note"] if len(known) > len(summary.drawn_costs) else []
    keys.append("cost_dots")
    if timed or any(math.isfinite(row.metrics[summary.metric].low) for row in rows):
        keys.append("cost_intervals")
    if any(summary.front(cost) for cost in summary.drawn_costs):
        keys.append("cost_front")
    return keys


def _curves(summary: Summary) -> list[str]:
    keys = ["curve_both" if summary.curve_differences else "curve_note"]
    has_bands = any(math.isfinite(low) for arm in summary.banded for low in summary.curves[arm].lows)
    if has_bands:
        keys.append("curve_bands" if len(summary.banded) == len(summary.curves) else "curve_some_bands")
    return keys


def _classes(summary: Summary) -> list[str]:
    return ["class_note"]


def _network(summary: Summary) -> list[str]:
    has_marks = any(summary.network.places.get(arm) for arm in summary.shown)
    return ["network_note", *(["network_marks"] if has_marks else [])]
