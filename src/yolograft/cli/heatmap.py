"""Heat maps: the command `heatmap`."""

from __future__ import annotations

from collections.abc import Sequence

from yolograft.cli.arguments import UsageError, parse_bool, parse_positive_int, parse_seed
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks, own_files
from yolograft.language import tr

__all__ = ["commands", "run"]


def commands() -> list[Command]:
    """Return the description of the command."""
    return [_heatmap()]


def _heatmap() -> Command:
    return Command(
        name="heatmap", summary=tr("draw heat maps of one box of each picture, with checks of what they are worth"),
        usage="model=MODEL[,MODEL ...] source=PICTURES [key=value ...]",
        arguments=[
            Argument("model", "", tr("a checkpoint, grafted or not; several are compared on the same boxes, as in "
                                     "model=a.pt,b.pt")),
            Argument("source", "", tr("an image, a folder, a pattern or a list of images; by default the validation images "
                                      "of data=")),
            Argument("data", "", tr("a data YAML, for ground truth")),
            Argument("method", "layercam", tr("layercam, gradcam or eigencam (the same map for every box)")),
            Argument("layer", "", tr("sites whose feature maps are shown, as in layer=8 or layer=p3; by default the inputs "
                                     "of the head")),
            Argument("box", "", tr("the box to explain: best, 2 (the second detection), truth, truth:2, a class, or "
                                   "x1,y1,x2,y2 in pixels; by default truth with data=, else best")),
            Argument("imgsz", "", tr("image size in pixels; by default that of the training")),
            Argument("conf", "0.25", tr("the confidence that a detection must exceed")),
            Argument("iou", "0.7", tr("the IoU threshold of NMS")),
            Argument("limit", "", tr("the number of pictures, chosen evenly; by default all")),
            Argument("checks", "True", tr("False leaves out deletion and randomised weights, which take most of the time")),
            Argument("seed", "0", tr("the seed of the checks")),
            Argument("project", "runs/heatmap", tr("the folder for the results")),
            Argument("name", "heatmap", tr("the folder in it; a number is added if it exists")),
            *own_files()],
        example="yolograft heatmap model=runs/detect/train/weights/best.pt source=images",
        notes=[tr("A heat map is no evidence by itself. So the command checks it. It removes the pixels of the map, and "
                  "prints how soon the logit of the box falls. It compares the map with that of random weights. It also "
                  "compares the maps of several models.")])


def run(words: Sequence[str]) -> int:
    """Write heat maps to a new folder, and print their checks."""
    arguments = _heatmap().read(words)
    if "model" not in arguments:
        raise UsageError(tr("'heatmap' needs a checkpoint. Expected: {usage}",
                            usage=f"yolograft heatmap {_heatmap().usage}"))
    numbers = {key: parse_positive_int(key, arguments[key]) for key in ("imgsz", "limit") if key in arguments}
    thresholds = {key: _parse_fraction(key, arguments[key]) for key in ("conf", "iou")}
    checks, seed = parse_bool("checks", arguments["checks"]), parse_seed(arguments["seed"])
    from yolograft.analysis.heatmap_folder import write_heat_maps
    from yolograft.analysis.heatmap_run import Settings

    load_own_blocks(arguments)
    settings = Settings(method=arguments["method"], sites=tuple(_split(arguments.get("layer", ""))),
                        imgsz=numbers.get("imgsz"), checks=checks, seed=seed, **thresholds)
    write_heat_maps(_split(arguments["model"]), arguments.get("source"), settings, box=arguments.get("box"),
                    data=arguments.get("data"), limit=numbers.get("limit"), project=arguments["project"],
                    name=arguments["name"])
    return 0


def _split(text: str) -> list[str]:
    return [part.strip() for part in text.strip("[]").split(",") if part.strip()]


def _parse_fraction(key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1
    if not 0 <= value <= 1:
        raise UsageError(tr("{key}={text} is no number from 0 to 1.", key=key, text=text))
    return value
