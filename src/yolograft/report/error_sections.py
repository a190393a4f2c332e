"""The sections of the page of `yolograft explain` on errors: their kinds and costs, AP by size, and boxes that change."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from yolograft.analysis.error_analysis import ErrorAnalysis
from yolograft.analysis.flips import Flip, Flips
from yolograft.analysis.heatmap_run import read_picture
from yolograft.analysis.size_ap import SIZES, SizeAP
from yolograft.analysis.tide import ERRORS
from yolograft.report.section import Build, Cell, Drawing, Section, Table
from yolograft.report.signed import number
from yolograft.report.style import COLOURS, Drawn, Tips, short, tip
from yolograft.report.words import Translator

__all__ = ["costs", "error_sections", "examples"]

_LISTED = 12  # changes of each pair of models in the table
_EXAMPLES = 4  # pictures with the most changes
_SIDE, _PIXELS = 2.3, 420  # inches and pixels of one picture
_STATES = {"hit": ("#1f9e77", "-"), "miss": ("#c8321f", (0, (3, 2))), "false alarm": ("#e0781e", "-")}


def error_sections(found: Sequence[ErrorAnalysis], flips: Sequence[Flips]) -> list[Build]:
    """Return the functions that make the sections.

    Args:
        found: the errors of each model.
        flips: the boxes that change from the first model to each other one.
    """
    sections: list[Build] = [partial(_errors, found)]
    return [*sections, partial(_changes, found, flips)] if flips else sections


def _errors(found: Sequence[ErrorAnalysis], say: Translator) -> Section:
    rows: list[tuple[str | Cell, ...]] = [(say("AP50"), *(f"{one.tide.ap:.3f}" for one in found))]
    rows += [(Cell(text=say("without error", error=say(f"error {error}")), hint=say(f"hint {error}")),
              *(f"{number(one.tide.costs[error], 3, sign=True)} ({one.tide.counts[error]})" for one in found))
             for error in ERRORS]
    rows += [(say("without false positives"), *(number(one.tide.false_positives, 3, sign=True) for one in found)),
             (say("without false negatives"), *(number(one.tide.false_negatives, 3, sign=True) for one in found))]
    notes = [say("tide_note")]
    if all(one.sizes is not None for one in found):
        rows += [(say(f"AP {size}"), *(_size(one.sizes, size) for one in found)) for size in SIZES]
        notes.append(say("size_note"))
    else:
        notes.append(say("no_sizes"))
    table = Table(name="errors", head=(say("error"), *(one.name for one in found)), rows=tuple(rows))
    return Section(title=say("Kinds of errors"), paragraphs=tuple(notes), tables=(table,),
                   figures=(Drawing(name="error-costs", draw=partial(costs, found, say), caption=say("costs_caption")),))


def _size(sizes: SizeAP | None, size: str) -> str:
    if sizes is None or not math.isfinite(sizes.ap[size]):
        return "–"
    return f"{sizes.ap[size]:.3f} ({sizes.objects[size]})"


def costs(found: Sequence[ErrorAnalysis], say: Translator) -> Drawn:
    """Draw the cost of each kind of error as bars, one colour for each model."""
    height = 0.8 / len(found)
    figure, tips = Figure(figsize=(7.2, 1.2 + 0.45 * len(ERRORS) * max(1, len(found) / 2))), Tips()
    axes = figure.add_subplot()
    for place, one in enumerate(found):
        for row, error in enumerate(ERRORS):
            bar = axes.barh(row + (place - (len(found) - 1) / 2) * height, one.tide.costs[error], 0.9 * height,
                            color=COLOURS[place % len(COLOURS)], label=short(one.name, 24) if not row else None)
            cost = number(one.tide.costs[error], 3, sign=True)
            tip(tips, bar[0], None, f"{one.name}\n{say(f'error {error}')}: {cost} "
                                    f"({one.tide.counts[error]})")
    axes.set_yticks(range(len(ERRORS)), [say(f"error {error}") for error in ERRORS])
    axes.invert_yaxis()
    axes.set_xlabel(say("cost axis"))
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    if len(found) > 1:
        axes.legend(loc="lower right", fontsize=9)
    return figure, tips


def _changes(found: Sequence[ErrorAnalysis], flips: Sequence[Flips], say: Translator) -> Section:
    first, others = found[0], found[1:]
    states = [("hit", "hit"), ("hit", "miss"), ("miss", "hit"), ("miss", "miss"), ("false alarm", "false alarm"),
              ("false alarm", "none"), ("none", "false alarm")]
    rows = tuple((say(f"{before} to {after}"), *(str(one.count(before, after)) for one in flips))
                 for before, after in states)
    pairs = (f"{first.name} → {one.name}" for one in others)
    table = Table(name="changed-boxes", head=(say("changed boxes"), *pairs), rows=rows)
    listed = Table(
        name="list-of-changed-boxes", left=(1, 2, 3, 4),
        head=(say("image"), say("class"), say("box"), say("before"), say("after"), say("confidences")),
        rows=tuple((first.detections.names[one.image], first.classes.get(one.kind, str(one.kind)),
                    ", ".join(f"{side:.0f}" for side in one.box), f"{first.name}: {say(one.before)}",
                    f"{other.name}: {say(one.after)}", "{:.2f} → {:.2f}".format(*one.confidence))
                   for other, each in zip(others, flips, strict=True) for one in _strongest(each)),
        note=say("list_note", count=_LISTED))
    drawings = tuple(Drawing(name=f"changes-{number}", draw=partial(examples, first, other, each, say),
                             caption=say("changes_caption", before=first.name, after=other.name))
                     for number, (other, each) in enumerate(zip(others, flips, strict=True), 1) if each.changes)
    return Section(title=say("Boxes that change"), paragraphs=(say("changes_note", conf=flips[0].conf, iou=flips[0].iou),),
                   tables=(table, listed), figures=drawings)


def _strongest(flips: Flips) -> list[Flip]:
    """Return the changes with the largest difference of confidence."""
    return sorted(flips.changes, key=lambda one: -abs(one.confidence[1] - one.confidence[0]))[:_LISTED]


def examples(first: ErrorAnalysis, other: ErrorAnalysis, flips: Flips, say: Translator) -> Drawn | None:
    """Draw the images with the most changes: the first model above, the other below."""
    counts = np.bincount([one.image for one in flips.changes], minlength=len(first.files))
    chosen = [int(image) for image in np.argsort(-counts, kind="stable")[:_EXAMPLES] if counts[image]]
    pictures = [(image, picture) for image in chosen if (picture := read_picture(Path(first.files[image]))) is not None]
    if not pictures:
        return None
    figure, tips = Figure(figsize=(_SIDE * len(pictures) + 0.2, 2 * _SIDE + 0.4)), Tips()
    cells = figure.subplots(2, len(pictures), squeeze=False)
    for column, (image, picture) in enumerate(pictures):
        factor = min(1.0, _PIXELS / max(picture.shape[:2]))
        if factor < 1:
            picture = np.asarray(cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA), np.uint8)
        for row, one in enumerate((first, other)):
            axes = cells[row][column]
            axes.set_axis_off()
            axes.imshow(picture[..., ::-1], interpolation="nearest")
            axes.set_title(short(one.name, 26), fontsize=8)
            for flip in (each for each in flips.boxes if each.image == image):
                state = (flip.before, flip.after)[row]
                if state == "none":
                    continue
                x1, y1, x2, y2 = (factor * side for side in flip.box)
                colour, line = _STATES[state]
                box = axes.add_patch(Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linestyle=line,
                                               linewidth=2.2 if flip.is_change else 0.9))
                tip(tips, box, None, f"{first.classes.get(flip.kind, '')}: {say(state)} {flip.confidence[row] or ''}")
    return figure, tips
