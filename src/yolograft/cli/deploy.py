"""The command `deploy-check`: does a grafted network work in the formats of a deployment?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from yolograft.cli.arguments import UsageError, parse_positive_int
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks, own_files
from yolograft.language import tr

__all__ = ["commands", "run"]


def commands() -> list[Command]:
    """Return the description of this group's command."""
    return [_describe()]


def _describe() -> Command:
    return Command(
        name="deploy-check",
        summary=tr("export a grafted model to each format, and compare outputs, speed and INT8 with the bare host"),
        usage="model=MODEL [graft=BLOCK@SITE] [targets=onnx,ncnn] [data=DATA.yaml] [key=value ...]",
        arguments=[
            Argument("model", "", tr("a grafted checkpoint; or any checkpoint or model YAML, with graft=")),
            Argument("graft", "", tr("the blocks to add, as in graft=se@8")),
            Argument("targets", "torchscript,onnx,openvino,ncnn", tr("the formats, or all")),
            Argument("data", "", tr("a data YAML: the comparison uses its validation images, and so does INT8 with mAP")),
            Argument("host", "", tr("the checkpoint of a bare host, for INT8; by default the model without its blocks")),
            Argument("limit", "", tr("number of validation images for INT8; by default all")),
            Argument("imgsz", "640", tr("image size in pixels; the second size is half of it")),
            Argument("repeats", "20", tr("number of timed forward passes; 0 leaves the timing out")),
            Argument("threads", "", tr("number of CPU threads; by default PyTorch's own")),
            Argument("project", "runs/deploy-check", tr("the folder of the results")),
            Argument("name", "", tr("the results' name in that folder; by default that of the graft")),
            *own_files()],
        example="yolograft deploy-check model=runs/detect/train/weights/best.pt targets=onnx,ncnn imgsz=640",
        notes=[tr("Exit code 1: a target fails. 'not checked' means that a package is missing or that the bare host fails "
                  "too. Nothing is installed.")])


def run(words: Sequence[str]) -> int:
    """Check a grafted model in each target, print the table and write result.json; returns 1 if a target fails."""
    arguments = _describe().read(words)
    if "model" not in arguments:
        raise UsageError(tr("'{command}' needs model=, as in: {example}", command="deploy-check",
                            example=_describe().example))
    numbers = {key: parse_positive_int(key, arguments[key]) for key in ("imgsz", "threads", "limit") if key in arguments}
    repeats = 0 if arguments["repeats"] == "0" else parse_positive_int("repeats", arguments["repeats"])
    from yolograft.analysis import targets
    from yolograft.analysis.deploy_check import deploy_check
    from yolograft.analysis.int8 import check_data, check_int8, validation_images
    from yolograft.atomic import atomic_write
    from yolograft.host.commands import find_data
    from yolograft.host.run_folder import new_folder

    names = targets.parse_targets(arguments["targets"])
    load_own_blocks(arguments)
    data = find_data(arguments["data"], "detect") if "data" in arguments else None
    if "host" in arguments and not data:
        raise UsageError(tr("host={host} is for the INT8 run, which needs data=DATA.yaml.", host=arguments["host"]))
    if data:
        check_data(data)
    images: Callable[[int], Any] | None = (lambda size: validation_images(data, size)) if data else None
    folder = new_folder(arguments["project"], arguments.get("name") or _default_name(arguments), separator="-")
    result = deploy_check(arguments["model"], arguments.get("graft"), names=names, folder=folder, imgsz=numbers["imgsz"],
                          repeats=repeats, threads=numbers.get("threads"), images=images, say=_say,
                          own_files={key: arguments[key] for key in ("blocks", "modules") if key in arguments})
    if data:
        result = check_int8(result, data, folder, host=arguments.get("host"), limit=numbers.get("limit"), say=_say)
    atomic_write(folder / "result.json", lambda part: part.write_text(result.json() + "\n", encoding="utf-8"))
    print(f"\n{result}")
    print(tr("\nAll exports, logs and numbers: {folder}", folder=folder))
    return 1 if result.failed else 0


def _say(line: str) -> None:
    print(line, flush=True)


def _default_name(arguments: dict[str, str]) -> str:
    from yolograft.host.models import file_name_part
    from yolograft.spec import Graft

    if "graft" in arguments:
        return file_name_part(Graft.parse(arguments["graft"]))
    path = Path(arguments["model"])
    return path.parent.parent.name if path.parent.name == "weights" and path.parent.parent.name else path.stem
