"""The modes of Ultralytics (train, val, predict, track, export, benchmark, tune), with grafts."""

from __future__ import annotations

from collections.abc import Sequence

from yolograft.cli.arguments import parse_pairs, rename

__all__ = ["EXAMPLES", "HELP", "MODES", "TASKS", "find_mode", "run"]

MODES = ("train", "val", "predict", "track", "export", "benchmark", "tune")
TASKS = ("detect", "segment", "classify", "pose", "obb", "semantic", "depth")

HELP = f"""\
  yolograft MODE key=value ...        MODE: {' '.join(MODES)}; all arguments of `yolo`, and
      graft=BLOCK@SITE                the blocks to add, as in graft=se@8 or graft="se(ratio=8)@p3,p4,p5 + eca@C3k2"
      blocks=my_blocks.py             a Python file that defines your own blocks
      speed=auto|stock|float32|bfloat16    training on a CPU: auto (default) times the ways to train and takes the fastest;
                                      stock is Ultralytics unchanged; float32 and bfloat16 choose the number type
      speed=resident|graphed          training on a GPU: images stay in GPU memory; graphed also uses CUDA graphs"""
EXAMPLES = """\
  yolograft train model=yolo11n.pt graft=se@8 data=NEU-DET.yaml epochs=100 imgsz=640
  yolograft val   model=runs/detect/train/weights/best.pt data=NEU-DET.yaml"""


def find_mode(words: Sequence[str]) -> tuple[str, list[str]] | None:
    """Return the mode of a command and its arguments, or None if the command is no mode.

    As in `yolo`, the mode and the task can stand at the beginning in either order, or be arguments: `detect train ...`,
    `task=detect mode=train ...`.
    """
    mode, rest = "", []
    for number, word in enumerate(words):
        key, _, value = word.lstrip("-").partition("=")
        if key == "mode" and value in MODES:
            mode = mode or value
        elif number < 2 and word in MODES and not mode:
            mode = word
        elif number < 2 and word in TASKS:
            rest.append(f"task={word}")
        elif not number and "=" not in word:
            return None  # another command
        else:
            rest.append(word)
    return (mode, rest) if mode else None


def run(mode: str, words: Sequence[str]) -> int:
    """Run one mode of Ultralytics on a model that may be grafted."""
    pairs = rename(parse_pairs(words))
    from yolograft.host import commands

    commands.run(mode, pairs)
    return 0
