"""The sections of the page of `yolograft explain` on gates: summary, channels and classes, space, causal value, training."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import numpy as np

from yolograft.analysis.average_precision import Interval
from yolograft.analysis.causal_value import ALL, CausalValue
from yolograft.analysis.explain import Explained, ExplainedPlace
from yolograft.analysis.health import Health
from yolograft.report import gate_figures
from yolograft.report.section import Build, Cell, Drawing, Section, Table
from yolograft.report.signed import number
from yolograft.report.words import Translator

__all__ = ["gate_sections", "headline"]

_LOOKS = {Health.DEAD: "hurts", Health.HALF: "hurts", Health.ONE: "open", Health.CONSTANT: "open", Health.UNCHANGED: "open",
          Health.CLASS: "helps", Health.VARYING: ""}
_HOW = {"one": "gate = 1", "mean": "gate = mean", "other": "gate of another image"}


def gate_sections(explained: Sequence[Explained], command: str) -> list[Build]:
    """Return the functions that make the sections.

    Args:
        explained: the networks, of which at least one has blocks.
        command: the command line that makes the page again.
    """
    grafted = [one for one in explained if one.places]
    found: list[Build] = [partial(summary, explained)]
    if grafted:
        found += [partial(channels, grafted), partial(causal, grafted), partial(training, grafted)]
    if any(one.examples for one in grafted):
        found.insert(2, partial(space, grafted))
    return [*found, partial(reproduce, command)]


def headline(explained: Sequence[Explained], say: Translator) -> str:
    """Return what the attention does, in a clause for each network, and in a second line what that does not show."""
    clauses = []
    for one in explained:
        if not one.places:
            clauses.append(say("bare", name=one.name))
            continue
        if len(one.places) == 1:
            (place,) = one.places
            clauses.append(say(f"one {place.health}", graft=place.graft))
        else:
            words = [place.health for place in one.places]
            counts = [say("several word", count=words.count(word), word=say(str(word))) for word in dict.fromkeys(words)]
            clauses.append(say("several", count=len(words), graft=one.graft, words=say.punctuation.items.join(counts)))
        value = one.value(ALL if len(one.places) > 1 else one.places[0].name, "one")
        if value is not None:
            found = value.differences.mean
            clauses.append(say("with gate 1", metric="mAP50-95", value=number(found.estimate, sign=True),
                               low=number(found.low, sign=True), high=number(found.high, sign=True)))
    text = say.punctuation.semicolon.join(clauses) + say.punctuation.stop
    return f"{text}\n{say('not shown')}" if any(one.places for one in explained) else text


def summary(explained: Sequence[Explained], say: Translator) -> Section:
    """Return the section with one row for each block."""
    several = len(explained) > 1
    head: list[str | Cell] = [say("model")] if several else []
    head += [say("block"), say("health"), Cell(text=say("mean"), hint=say("mean_hint")),
             Cell(text=say("spread"), hint=say("spread_hint")), Cell(text=say("in image"), hint=say("in_image_hint")),
             Cell(text=say("eta squared"), hint=say("eta_hint")), Cell(text=say("moved"), hint=say("moved_hint")),
             Cell(text=say("gate = 1"), hint=say("one_hint")), say("interval")]
    rows = []
    for one in explained:
        start: tuple[str | Cell, ...] = (Cell(text=one.name, look="arm"),) if several else ()
        rows += [(*start, *_summary_row(one, place, say)) for place in one.places]
        value = one.value(ALL, "one")
        if value is not None:
            rows.append((*start, Cell(text=say("all blocks"), look="word"), *[""] * 6,
                         *_interval_cells(value.differences.mean)))
        if not one.places:
            rows.append((*start, Cell(text="none", look="arm"), *[""] * 8))
    texts = [say("trained_note", name=one.name, value=number(one.validated.metrics["mAP50-95"]),
                 images=len(one.validated.files)) for one in explained]
    first = 1 if several else 0
    table = Table(name="gates", head=tuple(head), rows=tuple(rows), left=(first, first + 1, first + 8),
                  note=f"{say('summary_note')} {say('sort_note')}")
    return Section(title=say("What the blocks do"), paragraphs=tuple(texts), tables=(table,))


def _summary_row(one: Explained, place: ExplainedPlace, say: Translator) -> tuple[str | Cell, ...]:
    found = place.summary
    spread = float(np.sqrt(np.square(found.spread).mean()))
    is_spatial = place.kind in ("spatial", "both")
    value = one.value(place.name, "one")
    return (Cell(text=place.graft, look="arm"), Cell(text=say(str(place.health)), look=f"word {_LOOKS[place.health]}"),
            _number_cell(float(found.mean.mean()), 3), _number_cell(spread, 3),
            _number_cell(found.spread_in_image, 3) if is_spatial else "",
            Cell(text=f"{number(found.eta_squared, 2)} ({number(found.eta_chance, 2)})", value=found.eta_squared),
            _number_cell(found.moved, 3), *(_interval_cells(value.differences.mean) if value else ("", "")))


def channels(explained: Sequence[Explained], say: Translator) -> Section:
    """Return the section on the gates of each channel and class."""
    figures, rows = [], []
    for number_of_model, one in enumerate(explained):
        gates = [place for place in one.places if place.kind in ("channel", "both")]
        suffix = f"-{number_of_model + 1}" if len(explained) > 1 else ""
        title = f"{one.name}: " if len(explained) > 1 else ""
        if gates:
            figures.append(Drawing(name=f"channels{suffix}", caption=title + say("channels_note"),
                                   draw=partial(gate_figures.channels, gates, one.classes, say)))
            most = max(gates, key=lambda place: place.summary.eta_squared)
            figures.append(Drawing(name=f"classes{suffix}", caption=f"{title}{most.graft}. {say('classes_note')}",
                                   draw=partial(gate_figures.classes, most, one.classes, say)))
        for place in one.places:
            for kind, found in place.summary.classes.items():
                rows.append((Cell(text=one.name, look="arm"), Cell(text=place.graft, look="arm"),
                             one.classes.get(kind, say("no object")), Cell(text=str(found.images), value=found.images),
                             _number_cell(float(found.mean.mean()), 4),
                             _number_cell(float(np.sqrt(np.square(found.spread).mean())), 4)))
    table = Table(name="gates-by-class", left=(1, 2), rows=tuple(rows),
                  head=(say("model"), say("block"), say("class"), say("images"), say("mean"), say("spread in class")))
    return Section(title=say("Gates by channel and class"), figures=tuple(figures),
                   tables=(_without_model(table, explained),))


def space(explained: Sequence[Explained], say: Translator) -> Section:
    """Return the section on the maps of gates that vary in space."""
    figures, rows = [], []
    for number_of_model, one in enumerate(explained):
        if one.examples:
            suffix = f"-{number_of_model + 1}" if len(explained) > 1 else ""
            figures.append(Drawing(name=f"maps{suffix}", draw=partial(gate_figures.maps, one, say),
                                   caption=(f"{one.name}: " if len(explained) > 1 else "") + say("maps_note")))
        for place in one.places:
            for kind, found in place.summary.boxes.items():
                rows.append((Cell(text=one.name, look="arm"), Cell(text=place.graft, look="arm"), one.classes[kind],
                             Cell(text=str(found.boxes), value=found.boxes), _number_cell(found.inside, 4),
                             _number_cell(found.outside, 4),
                             _number_cell(found.inside / found.outside if found.outside else math.nan, 3)))
    table = Table(name="gates-in-boxes", left=(1, 2), rows=tuple(rows), note=say("boxes_note"),
                  head=(say("model"), say("block"), say("class"), say("boxes"), say("inside"), say("outside"), say("ratio")))
    return Section(title=say("Gates in space"), figures=tuple(figures), tables=(_without_model(table, explained),))


def causal(explained: Sequence[Explained], say: Translator) -> Section:
    """Return the section on the change of accuracy with replaced gates."""
    figures, rows = [], []
    for number_of_model, one in enumerate(explained):
        suffix = f"-{number_of_model + 1}" if len(explained) > 1 else ""
        title = f"{one.name}: " if len(explained) > 1 else ""
        figures.append(Drawing(name=f"causal{suffix}", caption=title + say("causal_note"),
                               draw=partial(gate_figures.causal, one, say)))
        figures.append(Drawing(name=f"causal-classes{suffix}", caption=title + say("causal_class_note"),
                               draw=partial(gate_figures.causal_classes, one, say)))
        rows += [(Cell(text=one.name, look="arm"), _place_cell(one, value, say), say(_HOW[value.how]),
                  _number_cell(value.map50_95, 4), *_interval_cells(value.differences.mean)) for value in one.values]
    table = Table(name="causal", left=(1, 2, 5), rows=tuple(rows),
                  head=(say("model"), say("block"), say("replaced by"), "mAP50-95", say("change of", metric="mAP50-95"),
                        say("interval")))
    return Section(title=say("What the network loses without its gates"), figures=tuple(figures),
                   tables=(_without_model(table, explained),))


def _place_cell(one: Explained, value: CausalValue, say: Translator) -> Cell:
    if value.place == ALL:
        return Cell(text=say("all blocks"), look="word")
    return Cell(text=next(place.graft for place in one.places if place.name == value.place), look="arm")


def training(explained: Sequence[Explained], say: Translator) -> Section:
    """Return the section on the weights of the blocks."""
    rows = []
    for one in explained:
        for place in one.places:
            found = place.training
            rows.append((Cell(text=one.name, look="arm"), Cell(text=place.graft, look="arm"),
                         Cell(text=f"{found.parameters:,}", value=found.parameters),
                         Cell(text=f"{found.known:,}", value=found.known),
                         Cell(text=f"{100 * found.moved:.0f}%" if math.isfinite(found.moved) else "",
                              value=_finite(found.moved)),
                         _number_cell(found.distance, 4),
                         Cell(text=number(found.relative_gradient, 3) if found.gradient else say("no gradient"),
                              value=_finite(found.relative_gradient), look="" if found.gradient else "hurts")))
    table = Table(name="block-training", left=(1,), rows=tuple(rows), note=say("training_note"),
                  head=(say("model"), say("block"), say("parameters"), say("known start"), say("weights moved"),
                        say("distance"), say("gradient")))
    return Section(title=say("Training of the blocks"), tables=(_without_model(table, explained),))


def reproduce(command: str, say: Translator) -> Section:
    """Return the section with the command line."""
    return Section(title=say("How to reproduce it"), paragraphs=(say("beside_note"),), code=command)


def _without_model(table: Table, explained: Sequence[Explained]) -> Table:
    """Remove the first column, the model, where all rows are of one model."""
    if len(explained) > 1:
        return table
    return replace(table, head=table.head[1:], rows=tuple(row[1:] for row in table.rows),
                   left=tuple(column - 1 for column in table.left if column))


def _number_cell(value: float, digits: int) -> Cell:
    return Cell(text=number(value, digits), value=_finite(value))


def _interval_cells(found: Interval) -> tuple[Cell, Cell]:
    look = "helps" if found.low > 0 else "hurts" if found.high < 0 else ""
    return (Cell(text=number(found.estimate, sign=True), value=_finite(found.estimate), look=f"word {look}".strip()),
            Cell(text=f"{number(found.low, sign=True)} … {number(found.high, sign=True)}", value=_finite(found.low),
                 look="sub"))


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
