"""What the attention of a trained network does: the command `explain`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from yolograft.cli.arguments import UsageError, parse_positive_int
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks, own_files
from yolograft.language import requested, tr

if TYPE_CHECKING:
    from yolograft.analysis.explain import Explained
    from yolograft.report.section import Build

__all__ = ["commands", "run"]


def commands() -> list[Command]:
    """Return the descriptions of this group's commands."""
    return [_explain()]


def _explain() -> Command:
    return Command(
        name="explain", summary=tr("say what the blocks of a trained model do, and what the model loses without them"),
        usage="model=BEST.pt data=DATA.yaml [key=value ...]",
        arguments=[
            Argument("model", "", tr("a checkpoint, or several with commas between them")),
            Argument("data", "", tr("the data YAML")),
            Argument("imgsz", "", tr("image size in pixels; by default that of the training")),
            Argument("batch", "16", tr("images per batch")),
            Argument("device", "cpu", tr("cpu, or the number of a GPU")),
            Argument("split", "val", tr("train, val or test")),
            Argument("limit", "", tr("number of images, drawn at random; by default all")),
            Argument("heatmaps", "6", tr("number of images with heat maps, chosen evenly; 0 for none")),
            Argument("seed", "0", tr("seed of the random images and of the intervals")),
            Argument("name", "", tr("name of the folder with the results; by default that of the model's run")),
            Argument("project", "runs/explain", tr("the folder of that folder")),
            Argument("lang", "", tr("en or zh; by default both")), *own_files()],
        example="yolograft explain model=runs/detect/train/weights/best.pt data=NEU-DET.yaml")


def run(words: Sequence[str]) -> int:
    """Explain the models, print the table of their blocks, write the page, and print its path."""
    arguments = _explain().read(words)
    for key in ("model", "data"):
        if not arguments.get(key):
            raise UsageError(tr("'{command}' needs {key}=, as in: {example}", command="explain", key=key,
                                example=_explain().example))
    numbers = {key: parse_positive_int(key, arguments[key]) for key in ("imgsz", "batch", "limit") if key in arguments}
    for key in ("heatmaps", "seed"):
        if not arguments[key].isdecimal():
            raise UsageError(tr("{key}={text}: expected a whole number, such as 0.", key=key, text=arguments[key]))
    heatmaps, seed = int(arguments["heatmaps"]), int(arguments["seed"])
    from yolograft.analysis.error_analysis import analyse_errors
    from yolograft.analysis.explain import explain
    from yolograft.analysis.flips import find_flips
    from yolograft.atomic import atomic_write
    from yolograft.host.commands import check_device, find_data
    from yolograft.host.run_folder import check_writable, new_folder
    from yolograft.report import error_words, explain_page, explain_words, gate_sections
    from yolograft.report.error_sections import error_sections
    from yolograft.report.words import LANGUAGES, Translator

    load_own_blocks(arguments)
    languages = [arguments["lang"]] if "lang" in arguments else list(LANGUAGES)
    for language in languages:
        Translator(language)  # raises for an unknown language, before the work starts
    project = Path(arguments["project"])
    check_writable(project.absolute(), tr("Choose another folder: project=FOLDER"))
    data = find_data(arguments["data"], "detect")
    device = check_device(arguments["device"])
    models = [name.strip() for name in arguments["model"].split(",") if name.strip()]
    progress = _Progress()
    found = [explain(model, data, device=device, split=arguments["split"], seed=seed, progress=progress.tell,
                     **numbers) for model in models]
    errors = [analyse_errors(one.name, one.validated.detections, one.validated.files, one.classes) for one in found]
    flips = [find_flips(errors[0].detections, one.detections) for one in errors[1:]]
    maps = _heat_maps(found[0], models, heatmaps, seed) if heatmaps else []
    folder = new_folder(project, arguments.get("name") or "-".join(one.name for one in found))
    folder.mkdir(parents=True)
    changes = [None, *(errors[0].changes_json(one, each) for one, each in zip(errors[1:], flips, strict=True))]
    content = json.dumps([{**one.json(), "errors": each.json(), "changes_from_first_model": change} for one, each, change in
                          zip(found, errors, changes, strict=True)], indent=1, ensure_ascii=False)
    atomic_write(folder / "explain.json", lambda part: part.write_text(content, encoding="utf-8"))
    command = "yolograft explain " + " ".join(shlex.quote(word) for word in words)
    sections = gate_sections.gate_sections(found, command)
    pages = explain_page.write(
        [*sections[:-1], *maps, *error_sections(errors, flips), sections[-1]], folder, title=folder.name,
        languages=languages, texts=error_words.TEXTS,
        headline=lambda say: gate_sections.headline(found, say),
        facts={"model" if len(found) == 1 else "models": ", ".join(models), "data": arguments["data"],
               "images": f"{len(found[0].validated.files)} ({arguments['split']})", "imgsz": str(found[0].imgsz)})
    say = Translator(requested(), explain_words.TEXTS)
    for section in (gate_sections.summary(found, say), gate_sections.causal([one for one in found if one.places], say)):
        print("\n".join([*section.tables[0].lines(), ""]))
    for page in pages:
        print(page)
    return 0


def _heat_maps(one: Explained, models: Sequence[str], count: int, seed: int) -> list[Build]:
    """Return the section with heat maps of all models on the same images; none if the package is not installed."""
    from importlib.util import find_spec

    from yolograft.analysis.heatmap_run import Choice, Settings, evenly, explain_pictures, open_subjects
    from yolograft.data import data_yaml
    from yolograft.report.heatmap_sections import heatmap_sections

    if find_spec("pytorch_grad_cam") is None:
        print(tr("The page has no heat maps, because the package grad-cam is not installed: "
                 "pip install \"yolograft[inside]\""), file=sys.stderr)
        return []
    settings = Settings(imgsz=one.imgsz, seed=seed)
    subjects = open_subjects(models, settings)
    known = data_yaml.read(one.data)
    with_objects = {one.validated.detections.names[image] for image in set(one.validated.detections.truth_image.tolist())}
    files = evenly([Path(file) for file in one.validated.files if Path(file).name in with_objects], count)
    found = []
    for number, each in enumerate(explain_pictures(subjects, files, settings, Choice(rule="truth"), known), 1):
        found.append(each)
        print(tr("heat map {number} of {total}: {image}", number=number, total=len(files), image=each.path.name),
              file=sys.stderr)
    return heatmap_sections(found, subjects, settings)


class _Progress:
    """Prints one line to the standard error before each validation, with the time that is left."""

    def __init__(self) -> None:
        self._started: dict[str, float] = {}

    def tell(self, model: str, what: str, done: int, total: int) -> None:
        started = self._started.setdefault(model, time.monotonic())
        left = (time.monotonic() - started) / done * (total - done) if done else 0
        name = what or tr("the gates")
        print(tr("{model}: validation {number} of {total}, {what}", model=model, number=done + 1, total=total, what=name)
              + (tr("; about {minutes} min left", minutes=max(1, round(left / 60))) if done else ""), file=sys.stderr)
