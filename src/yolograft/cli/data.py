"""Data sets: the commands `data neu-det`, `data voc` and `data steel`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from yolograft import shell
from yolograft.cli import data_pages
from yolograft.cli.arguments import UsageError, parse_bool, parse_pairs, parse_positive_int, parse_seed, with_defaults
from yolograft.errors import nearest
from yolograft.language import tr

__all__ = ["HELP", "run"]

HELP = """\
  yolograft data neu-det SOURCE DEST                    converts NEU-DET to Ultralytics' format
  yolograft data voc SOURCE DEST [names=a,b]            converts any Pascal VOC set; both: [split=source] [overwrite=True]
  yolograft data steel DEST [images=300] [size=200] [seed=0]   draws a small data set of steel defects in seconds"""

_PATHS = {"neu-det": ("SOURCE", "DEST"), "voc": ("SOURCE", "DEST"), "steel": ("DEST",)}  # kind -> positional arguments


def run(words: Sequence[str]) -> int:
    """Make a data set; returns 1 if the conversion skipped or changed something, and 0 otherwise."""
    if not words or words[0] not in _PATHS:
        problem = f"No kind of data is named '{words[0]}'.{nearest(words[0], _PATHS)} " if words else ""
        raise UsageError(f"{problem}Expected: yolograft data neu-det|voc SOURCE DEST, or yolograft data steel DEST")
    kind, paths = words[0], [word for word in words[1:] if "=" not in word]
    pairs = parse_pairs(word for word in words[1:] if "=" in word)
    paths += [pairs.pop(key.lower()) for key in _PATHS[kind] if key.lower() in pairs]
    if len(paths) != len(_PATHS[kind]):
        from yolograft.data import neudet

        where = f" {neudet.WHERE}" if kind == "neu-det" and not paths else ""
        raise UsageError(f"Expected: yolograft data {kind} {' '.join(_PATHS[kind])}; got {len(paths)} of them.{where}")
    return _steel(paths[0], pairs) if kind == "steel" else _voc(kind, paths[0], paths[1], pairs)


def _steel(dest: str, pairs: dict[str, str]) -> int:
    arguments = with_defaults("data steel", pairs, data_pages.defaults("steel"))
    from yolograft.data import steel

    path = steel.write(dest, images=parse_positive_int("images", arguments["images"]),
                       size=parse_positive_int("size", arguments["size"]), seed=parse_seed(arguments["seed"]),
                       overwrite=parse_bool("overwrite", arguments.get("overwrite", "False")))
    print(f"Data YAML: {path}")
    _print_next(path)
    return 0


def _voc(kind: str, source: str, dest: str, pairs: dict[str, str]) -> int:
    arguments = with_defaults(f"data {kind}", pairs, data_pages.defaults(kind))
    overwrite = parse_bool("overwrite", arguments.get("overwrite", "False"))
    from yolograft.data import neudet, voc

    if kind == "voc":
        names = [name.strip() for name in arguments["names"].split(",")] if "names" in arguments else None
        report = voc.convert(source, dest, names=names, split=arguments.get("split", "stratified"), overwrite=overwrite)
    else:
        report = neudet.convert(source, dest, split=arguments.get("split", "stratified"), overwrite=overwrite)
    print(report.text())
    _print_next(report.yaml)
    return report.exit_code


def _print_next(data: Path) -> None:
    command = shell.command("train", "model=yolo11n.pt", "graft=se@8", f"data={data}", "epochs=100", "imgsz=640")
    print(tr("Next, train with a block:\n  {command}", command=command))
