"""The command `screen`: train a block at all places at once, and rank the places by their causal values.

    runs/screen/NAME/plan.yaml, study.db, trials/KEY/   the training of each seed, as in a study with one arm
    runs/screen/NAME/places/KEY/PLACE.npz               the record of each place; `all.npz` with all blocks
    runs/screen/NAME/screen.json, screen.md             the ranking
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from yolograft import shell
from yolograft.cli import ultralytics_arguments
from yolograft.cli.arguments import UsageError, parse_bool, parse_pairs, parse_positive_int, rename
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import own_files
from yolograft.language import tr

if TYPE_CHECKING:
    from yolograft.analysis.screen import Candidates, Record, Screening
    from yolograft.study import Study
    from yolograft.study.engine import Running
    from yolograft.study.trial import Trial

__all__ = ["commands", "measured", "run"]

_STUDY_SEEDS = 6  # of the study that the screening proposes: fewer cannot give an answer
_METRIC = "fitness"  # every task has it
_ALL = "all"  # the record with all blocks


def commands() -> list[Command]:
    """Return the descriptions of this group's commands."""
    return [_screen()]


def _screen() -> Command:
    return Command(
        name="screen", summary=tr("rank the places for a block by one training with the block at all of them"),
        usage="model=MODEL block=BLOCK data=DATA.yaml [key=value ...]",
        arguments=[
            Argument("model", "", tr("a model YAML or a checkpoint without blocks")),
            Argument("block", "", tr("the block, without a site: block=se or block=\"se(ratio=8)\"")),
            Argument("data", "", tr("the data YAML")),
            Argument("seeds", "1", tr("number of trainings, or a list of seeds such as 0,1,2")),
            Argument("images", "", tr("measure the places on this number of validation images, drawn at random; by default "
                                      "on all")),
            *own_files(),
            Argument("name", "", tr("name of the screening's folder; by default from data and model")),
            Argument("project", "runs/screen", tr("the folder of the screenings")),
            Argument("workers", "", tr("number of trainings at the same time; by default one on each GPU")),
            Argument("retry", "False", tr("True runs failed trainings again")),
        ],
        example="yolograft screen model=yolo11n.pt block=se data=NEU-DET.yaml epochs=50 imgsz=640",
        notes=[tr("Every other argument is a train argument, as in epochs=50 imgsz=640. List them: yolograft train --help"),
               tr("You can stop a screening at any time. The same command continues it."),
               tr("The ranking is a guess of where a study can pay. How far it agreed with studies of the same places is "
                  "measured in docs/results/screen.")])


def run(words: Sequence[str]) -> int:
    """Run or continue a screening; returns 1 if a training failed, 130 if the user stopped it, and 0 otherwise."""
    given = parse_pairs(words)
    pairs = rename(given, {*_screen().defaults(), *ultralytics_arguments.names()} - {"workers"})
    for key, example in (("model", "yolo11n.pt"), ("block", "se"), ("data", "NEU-DET.yaml")):
        if key not in pairs:
            raise UsageError(tr("The screening names no {key}. Add for example: {key}={example}", key=key, example=example))
    if "seed" in pairs:
        raise UsageError(tr("A screening has seeds: write seeds={seed} or seeds=3.", seed=pairs["seed"]))
    for key in ("graft", "arms"):
        if key in pairs:
            raise UsageError(tr("'{key}' is not an argument of 'yolograft screen': it puts the block at all places. Name "
                                "the block alone: block=se", key=key))
    block = pairs.pop("block")
    images = parse_positive_int("images", pairs.pop("images")) if "images" in pairs else None
    workers = parse_positive_int("workers", pairs.pop("workers")) if "workers" in pairs else None
    retry = parse_bool("retry", pairs.pop("retry", "False"))
    location = {"project": pairs.pop("project", "runs/screen")}
    if "name" in pairs:
        location["name"] = pairs.pop("name")
    return _run(block, pairs, location, images=images, workers=workers, retry=retry)


def _run(block: str, pairs: dict[str, str], location: Mapping[str, str], *, images: int | None, workers: int | None,
         retry: bool) -> int:
    from yolograft.cli.console import choose_folder, sigterm_as_interrupt
    from yolograft.cli.models import load_own_blocks
    from yolograft.study import engine
    from yolograft.study.plan import Plan

    load_own_blocks(pairs)
    found = _candidates(pairs, block)
    print(tr("{count} places for {block}: {places}", count=len(found.places), block=block, places=", ".join(found.places)))
    for place, reason in found.left_out.items():
        print(tr("left out: {place} ({reason})", place=place, reason=reason))
    words = {"seeds": "1", **pairs, "arms": [found.graft], "baseline": found.graft, "metric": _METRIC}
    folder = choose_folder(None, words, location)
    print(tr("Screening {folder}: checking the data and the model ...", folder=folder), flush=True)
    plan = Plan.of(words, folder)
    engine.begin(plan, folder)
    for warning in engine.host_warnings(plan):
        print(tr("WARNING: {warning}", warning=warning), flush=True)
    try:
        with sigterm_as_interrupt():
            study = engine.run(plan, folder, workers=workers, retry=retry, view=_Epochs())
            if study.failures():
                for (_, seed), reason in study.failures().items():
                    print(tr("failed: seed {seed}: {reason}", seed=seed, reason=reason))
                print(tr("The same command with retry=True runs failed trainings again."))
                return 1
            screening = measured(study, found, images)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(tr("finished epochs and places are saved, and the same command continues")) from None
    _report(screening, study, pairs)
    return 0


def _candidates(pairs: Mapping[str, str], block: str) -> Candidates:
    from yolograft.analysis.screen import candidates
    from yolograft.host.change_swap import set_swap
    from yolograft.host.open import open_model

    opened = open_model(pairs["model"], pairs.get("task"))
    set_swap(opened, pairs.get("swap"), replace=True)
    return candidates(opened.model, block)


class _Epochs:
    """Prints a line for each epoch of each training that ends."""

    def __init__(self) -> None:
        self.shown: dict[int, int] = {}

    def __call__(self, study: Study, running: Sequence[Running], left: float) -> None:
        total = study.plan.settings.get("epochs", 100)
        for one in running:
            if one.epoch > self.shown.get(one.trial.seed, 0):
                self.shown[one.trial.seed] = one.epoch
                print(tr("seed {seed}: epoch {epoch} of {total}", seed=one.trial.seed, epoch=one.epoch, total=total),
                      flush=True)


def measured(study: Study, found: Candidates, images: int | None) -> Screening:
    """Measure every place in the trained network of each seed. Records that exist already are not measured again.

    Args:
        study: the trainings: one arm, with the block at all places.
        found: the places to measure.
        images: number of validation images; None: all.
    """
    from yolograft.analysis.screen import Screening, rank

    complete: list[Record] = []
    without: dict[str, list[Record]] = {place: [] for place in found.places}
    for trial in study.plan.trials():
        record, by_place = _measure_seed(study, trial, found, images)
        complete.append(record)
        for place, one in by_place.items():
            without[place].append(one)
    return Screening(block=found.block, seeds=study.plan.seeds, images=len(complete[0].names),
                     values=tuple(rank(found.block, complete, without)), left_out=dict(found.left_out))


def _measure_seed(study: Study, trial: Trial, found: Candidates, images: int | None) -> tuple[Record, dict[str, Record]]:
    from yolograft.analysis.gates import replaced
    from yolograft.analysis.image_loss import measure
    from yolograft.analysis.screen import Record, find_places
    from yolograft.host.open import open_model

    what = f"{trial.key}, images={images or 'all'}"
    files = {place: study.folder / "places" / trial.key / f"{place}.npz" for place in (_ALL, *found.places)}
    records = {place: record for place, file in files.items() if (record := Record.read(file, what)) is not None}
    todo = [place for place in files if place not in records]
    if todo:
        opened = open_model(study.folder_of(trial.key) / "best.pt")
        places = find_places(opened.model, found.places)
    settings, started = study.plan.settings, time.monotonic()
    for number, place in enumerate(todo, 1):
        with replaced(opened.model, {} if place == _ALL else {places[place]: "one"}):
            result = measure(opened, settings["data"], imgsz=int(settings.get("imgsz") or 640),
                             batch=int(settings.get("batch") or 16), device=str(settings.get("device") or ""), limit=images)
        records[place] = Record.of(result)
        records[place].write(files[place], what)
        left = (time.monotonic() - started) / number * (len(todo) - number)
        print(tr("seed {seed}: measured {number} of {total} ({place}), about {minutes} min left", seed=trial.seed,
                 number=number, total=len(todo), place=tr("all blocks") if place == _ALL else place,
                 minutes=math.ceil(left / 60)), flush=True)
    return records[_ALL], {place: records[place] for place in found.places}


def _report(screening: Screening, study: Study, pairs: Mapping[str, str]) -> None:
    from yolograft.analysis.screen import AGREEMENTS
    from yolograft.atomic import atomic_write

    command = _study_command(screening, pairs)
    notes = [tr("Loss and mAP50-95 of the network that was trained with {block} at all places, with one block left out. "
                "{images} validation images; the intervals are a paired bootstrap over them, and do not contain the spread "
                "between trainings.", block=screening.block, images=screening.images)]
    if len(screening.seeds) > 1:
        notes.append(tr("Kendall's tau between the rankings of two seeds: {tau:.2f} (1: equal, 0: unrelated).",
                        tau=screening.agreement()))
    if not any(value.is_above_zero for value in screening.values):
        notes.append(tr("No place has an interval above 0: in this network, no single block matters measurably."))
    notes += [tr("{data}: Kendall's tau between such a ranking and a study of the same places was {tau:+.2f} (95% interval "
                 "{low:+.2f} to {high:+.2f}); two halves of that study agreed with {repeated:+.2f}.",
                 data=one.data, tau=one.tau, low=one.low, high=one.high, repeated=one.repeated) for one in AGREEMENTS]
    notes.append(tr("Do not choose a place by this ranking alone."))
    print(f"\n{screening}\n")
    for note in notes:
        print(note)
    print(tr("Study these places next:\n  {command}", command=command))
    texts = {"screen.json": screening.json(), "screen.md": "\n\n".join([screening.markdown(), *notes, f"    {command}"])}
    for name, text in texts.items():
        def write(part: Path, text: str = text) -> Any:
            return part.write_text(text + "\n", encoding="utf-8")

        atomic_write(study.folder / name, write)
    print(tr("Written: {files}", files=f"{study.folder / 'screen.json'}, {study.folder / 'screen.md'}"))


def _study_command(screening: Screening, pairs: Mapping[str, str]) -> str:
    kept = {key: value for key, value in pairs.items() if key not in ("model", "data", "seeds")}
    return shell.command("study", f"data={pairs['data']}", f"model={pairs['model']}", f"arms={screening.arms()}",
                         f"seeds={_STUDY_SEEDS}", *(f"{key}={value}" for key, value in kept.items()))
