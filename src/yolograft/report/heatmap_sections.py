"""The section of the page of `yolograft explain` on heat maps: the same boxes in all models, and the checks beside them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import cv2
from matplotlib.figure import Figure

from yolograft.analysis import heatmap_findings
from yolograft.analysis.heatmap_folder import picture_of
from yolograft.analysis.heatmap_run import Explained, Settings, Subject
from yolograft.language import speaking
from yolograft.report.section import Build, Drawing, Section, Table
from yolograft.report.style import Drawn, Tips, short
from yolograft.report.words import Translator

__all__ = ["heatmap_sections"]

_SIDE = 1.9  # inches of one picture
_PIXELS = 420  # largest side of a picture in the figure


def heatmap_sections(found: Sequence[Explained], subjects: Sequence[Subject], settings: Settings) -> list[Build]:
    """Return the function that makes the section; none if no picture has a map.

    Args:
        found: the explained pictures.
        subjects: the models.
        settings: how the maps were made.
    """
    shown = [one for one in found if any(one.explanations)]
    return [partial(_maps, shown, subjects, settings)] if shown else []


def _maps(found: Sequence[Explained], subjects: Sequence[Subject], settings: Settings, say: Translator) -> Section:
    with speaking(say.language):
        conclusions = heatmap_findings.conclusions(found, subjects, settings)
        tables = heatmap_findings.tables(found, subjects)
    layers = ", ".join(settings.sites) or say("head inputs")
    return Section(
        title=say("Heat maps"),
        paragraphs=(say("maps_are_note", method=settings.method, layers=layers), *conclusions, say("checks_note")),
        figures=(Drawing(name="heat-maps", draw=partial(grid, found, subjects, say), caption=say("maps_caption")),),
        tables=tuple(Table(name=name, head=tuple(table[0]), rows=tuple(map(tuple, table[1:])), left=left)
                     for (name, left), table in zip((("heat-map-checks", ()), ("heat-map-pairs", (1,))), tables,
                                                    strict=False)))


def grid(found: Sequence[Explained], subjects: Sequence[Subject], say: Translator) -> Drawn:
    """Draw one row for each picture, and one column for each model."""
    figure = Figure(figsize=(_SIDE * len(subjects) + 0.4, _SIDE * len(found) + 0.3))
    cells = figure.subplots(len(found), len(subjects), squeeze=False)
    for one, row in zip(found, cells, strict=True):
        for subject, each, axes in zip(subjects, one.explanations, row, strict=True):
            axes.set_axis_off()
            if axes in cells[0]:
                axes.set_title(short(subject.name, 20), fontsize=9)
            if each is None:
                axes.text(0.5, 0.5, say("no box here"), ha="center", va="center", fontsize=8, transform=axes.transAxes)
                continue
            picture = picture_of(one, each, subject.detector.names)
            factor = min(1.0, _PIXELS / max(picture.shape[:2]))
            if factor < 1:
                picture = cv2.resize(picture, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            axes.imshow(picture[..., ::-1], interpolation="nearest")
    return figure, Tips()
