"""What the checks of heat maps say, in sentences: whether the maps are evidence of anything, and why not."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from statistics import mean

from yolograft.analysis.heatmap_checks import Agreement
from yolograft.analysis.heatmap_run import Explained, Settings, Subject, agreement, chance_agreement, summarize
from yolograft.language import tr

__all__ = ["conclusions", "pair_kind", "tables"]

_RANDOM_LIMIT = 0.5  # a map whose ranks correlate more than this with that of random weights hardly depends on training
_SHARE = 0.9  # of the pictures in which a map must beat each control


def tables(found: Sequence[Explained], subjects: Sequence[Subject]) -> list[list[list[str]]]:
    """Return the tables of the checks as rows of cells: one of the models, and one of the pairs of models."""
    rows = [[tr("model"), tr("maps"), tr("deletion: map"), tr("random patches"), tr("box centre"), tr("below random"),
             tr("below centre"), tr("random head"), tr("random neck and head"), tr("random weights")]]
    for number, subject in enumerate(subjects):
        one = summarize(found, number)
        if one is not None:
            rows.append([subject.name, str(one.maps), f"{one.area:.2f}", f"{one.chance_area:.2f}", f"{one.centre_area:.2f}",
                         f"{one.beats_chance}/{one.maps}", f"{one.beats_centre}/{one.maps}",
                         *map(_both, one.randomised.values())])
    pairs = [[tr("pair of models"), tr("differ in"), tr("rank correlation of their maps (inside the box)")]]
    pairs += [[f"{subjects[one].name} / {subjects[other].name}", pair_kind(subjects[one], subjects[other]), _both(value)]
              for (one, other), value in agreement(found, len(subjects)).items()]
    if len(subjects) > 1:
        pairs.append([tr("maps of different pictures"), "", _both(chance_agreement(found))])
    return [table for table in (rows, pairs) if len(table) > 1]


def pair_kind(one: Subject, other: Subject) -> str:
    """Return what two models differ in: graft, seed, both, or neither."""
    parts = [tr("graft")] * (one.graft != other.graft) + [tr("seed")] * (one.seed != other.seed)
    return " + ".join(parts) or tr("neither graft nor seed")


def conclusions(found: Sequence[Explained], subjects: Sequence[Subject], settings: Settings) -> list[str]:
    """Return what can be concluded from the maps, and what cannot, one sentence each."""
    texts = []
    if settings.method == "eigencam":
        texts.append(tr("EigenCAM uses no gradient: its map is the same for every box of a picture."))
    for number, subject in enumerate(subjects):
        texts += _of_model(found, number, subject.name)
    return texts + _of_pairs(found, subjects)


def _of_model(found: Sequence[Explained], number: int, name: str) -> list[str]:
    empty = sum(one.explanations[number] is not None and one.explanations[number].is_empty  # type: ignore[union-attr]
                for one in found)
    texts = [tr("{model}: {count} maps are empty: no positive evidence for the box in this layer.", model=name,
                count=empty)] if empty else []
    one = summarize(found, number)
    if one is None:
        return texts
    if one.beats_chance < _SHARE * one.maps:
        texts.append(tr("{model}: the map is no evidence of what the network uses: random patches lower the logit as soon "
                        "in {count} of {total} pictures.", model=name, count=one.maps - one.beats_chance, total=one.maps))
    elif one.beats_centre < _SHARE * one.maps:
        texts.append(tr("{model}: the map finds what lowers the logit sooner than random patches do, but the centre of the "
                        "box does as well in {count} of {total} pictures: beyond the box's place, the map is no evidence.",
                        model=name, count=one.maps - one.beats_centre, total=one.maps))
    else:
        texts.append(tr("{model}: removing the map's pixels lowers the logit sooner than random patches and the centre of "
                        "the box do in {count} of {total} pictures.", model=name, count=one.beats_centre, total=one.maps))
    after = one.randomised["all"].box
    if math.isfinite(after) and after > _RANDOM_LIMIT:
        texts.append(tr("{model}: the map is no evidence of what was learned: with random weights it is much the same "
                        "inside the box (rank correlation {value}).", model=name, value=f"{after:.2f}"))
    return texts


def _of_pairs(found: Sequence[Explained], subjects: Sequence[Subject]) -> list[str]:
    values = agreement(found, len(subjects))
    by_graft: list[float] = []
    by_seed: list[float] = []
    for one, other in combinations(range(len(subjects)), 2):
        value = values[one, other].box
        if not math.isfinite(value):
            continue
        if subjects[one].graft != subjects[other].graft:
            by_graft.append(value)
        elif subjects[one].seed != subjects[other].seed:
            by_seed.append(value)
    if not by_graft:
        return []
    if not by_seed:
        return [tr("A difference between maps of different grafts is no evidence here: two seeds of one graft can differ as "
                   "much. Add a model of another seed to see it: model=a.pt,b.pt,c.pt")]
    if mean(by_seed) <= mean(by_graft):
        return [tr("A difference between maps of different grafts is no evidence: maps of two seeds differ as much (rank "
                   "correlation inside the box {seed}) as maps of two grafts ({graft}).", seed=f"{mean(by_seed):.2f}",
                   graft=f"{mean(by_graft):.2f}")]
    return [tr("Maps of two grafts (rank correlation inside the box {graft}) differ more than maps of two seeds "
               "({seed}). {count} pairs of seeds are compared.",
               seed=f"{mean(by_seed):.2f}", graft=f"{mean(by_graft):.2f}", count=len(by_seed))]


def _both(value: Agreement) -> str:
    return f"{_number(value.picture)} ({_number(value.box)})"


def _number(value: float) -> str:
    return f"{value:.2f}" if math.isfinite(value) else "-"
