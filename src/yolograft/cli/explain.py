"""What the attention of a trained network does: the command `explain`."""

from __future__ import annotations

import json
import shlex
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from yolograft.cli.arguments import UsageError, parse_positive_int
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks, own_files
from yolograft.language import requested, tr

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
    seed = int(arguments["seed"]) if arguments["seed"].isdecimal() else None
    if seed is None:
        raise UsageError(tr("{key}={text}: expected a whole number, such as 0.", key="seed", text=arguments["seed"]))
    from yolograft.analysis.explain import explain
    from yolograft.atomic import atomic_write
    from yolograft.host.commands import check_device, find_data
    from yolograft.host.run_folder import check_writable
    from yolograft.report import explain_page, explain_words, gate_sections
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
    folder = _new_folder(project, arguments.get("name") or "-".join(one.name for one in found))
    folder.mkdir(parents=True)
    content = json.dumps([one.json() for one in found], indent=1, ensure_ascii=False)
    atomic_write(folder / "explain.json", lambda part: part.write_text(content, encoding="utf-8"))
    command = "yolograft explain " + " ".join(shlex.quote(word) for word in words)
    pages = explain_page.write(
        gate_sections.gate_sections(found, command), folder, title=folder.name, languages=languages,
        headline=lambda say: gate_sections.headline(found, say),
        facts={"model" if len(found) == 1 else "models": ", ".join(models), "data": arguments["data"],
               "images": f"{len(found[0].validated.files)} ({arguments['split']})", "imgsz": str(found[0].imgsz)})
    say = Translator(requested(), explain_words.TEXTS)
    for section in (gate_sections.summary(found, say), gate_sections.causal([one for one in found if one.places], say)):
        print("\n".join([*section.tables[0].lines(), ""]))
    for page in pages:
        print(page)
    return 0


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


def _new_folder(project: Path, name: str) -> Path:
    """Return the first folder of this name that does not exist: NAME, NAME2, NAME3 ..., as Ultralytics names them."""
    folder, number = project / name, 2
    while folder.exists():
        folder, number = project / f"{name}{number}", number + 1
    return folder
