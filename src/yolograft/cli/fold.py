"""Fold blocks that do nothing into the weights: the command `fold`."""

from __future__ import annotations

from collections.abc import Sequence

from yolograft.cli.arguments import UsageError, parse_positive_int, parse_seed
from yolograft.cli.command import Argument, Command
from yolograft.cli.models import load_own_blocks, own_files
from yolograft.language import tr

__all__ = ["commands", "run"]

_NUMBERS = ("imgsz", "batch", "images", "repeats")


def commands() -> list[Command]:
    """Return the description of the command."""
    return [_fold()]


def _fold() -> Command:
    return Command(
        name="fold", usage="model=CHECKPOINT data=DATA.yaml [key=value ...]",
        summary=tr("fold blocks that are constants on your data into the weights, and drop them"),
        arguments=[
            Argument("model", "", tr("a grafted checkpoint, such as runs/detect/train/weights/best.pt")),
            Argument("data", "", tr("a data YAML; by default that of the checkpoint's training")),
            Argument("tolerance", "", tr("the largest loss of mAP50-95, at the lower end of its interval; 0 folds exact "
                                         "constants only; by default 0.005, and 0 for other tasks than detection")),
            Argument("name", "fold", tr("name of the run")),
            Argument("project", "", tr("folder of the run; by default runs/fold")),
            Argument("imgsz", "", tr("image size in pixels; by default that of the checkpoint's training")),
            Argument("batch", "16", tr("images per batch")),
            Argument("device", "cpu", tr("cpu, or the number of a GPU")),
            Argument("split", "val", tr("the split on which mAP is measured: val or test")),
            Argument("images", "300", tr("number of training images on which the constants are measured")),
            Argument("repeats", "30", tr("number of timed forward passes")),
            Argument("seed", "0", tr("seed of the choice of training images and of the intervals")),
            *own_files()],
        example="yolograft fold model=runs/detect/train/weights/best.pt data=NEU-DET.yaml")


def run(words: Sequence[str]) -> int:
    """Write a checkpoint with folded blocks, and print what became of each block."""
    arguments = _fold().read(words)
    if "model" not in arguments:
        raise UsageError(tr("'fold' needs model=CHECKPOINT. Expected: yolograft fold model=best.pt data=DATA.yaml"))
    numbers = {key: parse_positive_int(key, arguments[key]) for key in _NUMBERS if key in arguments}
    tolerance = _parse_tolerance(arguments["tolerance"]) if "tolerance" in arguments else None
    if arguments["split"] not in ("val", "test"):
        raise UsageError(tr("split={text}: expected val or test.", text=arguments["split"]))
    seed = parse_seed(arguments["seed"])
    from yolograft.analysis.fold import fold

    load_own_blocks(arguments)
    print(fold(arguments["model"], arguments.get("data"), tolerance=tolerance, name=arguments["name"],
               project=arguments.get("project"), device=arguments["device"], split=arguments["split"], seed=seed, **numbers))
    return 0


def _parse_tolerance(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise UsageError(tr("tolerance={text} is not a number. Expected a loss of mAP50-95, such as 0.005.",
                            text=text)) from None
