"""Data sets: the commands `data voc`, `coco`, `labelme`, `neu-det`, `check` and `steel`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from yolograft import shell
from yolograft.cli import data_pages
from yolograft.cli.arguments import UsageError, parse_bool, parse_pairs, parse_positive_int, parse_seed, with_defaults
from yolograft.errors import nearest
from yolograft.language import tr

__all__ = ["run"]

_BOTH = ("SOURCE", "DEST")
_PATHS = {"voc": _BOTH, "coco": _BOTH, "labelme": _BOTH, "neu-det": _BOTH, "check": ("DATA",), "steel": ("DEST",)}


def run(words: Sequence[str]) -> int:
    """Make or check a data set; returns 1 if something was skipped, changed or wrong, and 0 otherwise."""
    if not words or words[0] not in _PATHS:
        problem = tr("No kind of data is named '{kind}'.{nearest} ", kind=words[0],
                     nearest=nearest(words[0], _PATHS)) if words else ""
        raise UsageError(problem + tr("Expected: yolograft data voc|coco|labelme|neu-det SOURCE DEST, yolograft data check "
                                      "DATA.yaml, or yolograft data steel DEST"))
    kind, paths = words[0], [word for word in words[1:] if "=" not in word]
    pairs = parse_pairs(word for word in words[1:] if "=" in word)
    paths += [pairs.pop(key.lower()) for key in _PATHS[kind] if key.lower() in pairs]
    if len(paths) != len(_PATHS[kind]):
        from yolograft.data import neudet

        where = f" {neudet.where()}" if kind == "neu-det" and not paths else ""
        raise UsageError(tr("Expected: yolograft data {kind} {paths}; got {count} of them.", kind=kind,
                            paths=" ".join(_PATHS[kind]), count=len(paths)) + where)
    if kind == "steel":
        return _steel(paths[0], pairs)
    return _check(paths[0], pairs) if kind == "check" else _convert(kind, paths[0], paths[1], pairs)


def _steel(dest: str, pairs: dict[str, str]) -> int:
    arguments = with_defaults("data steel", pairs, data_pages.defaults("steel"))
    from yolograft.data import steel

    path = steel.write(dest, images=parse_positive_int("images", arguments["images"]),
                       size=parse_positive_int("size", arguments["size"]), seed=parse_seed(arguments["seed"]),
                       overwrite=parse_bool("overwrite", arguments.get("overwrite", "False")))
    print(tr("Data YAML: {yaml}", yaml=path))
    _print_next(path)
    return 0


def _check(data: str, pairs: dict[str, str]) -> int:
    arguments = with_defaults("data check", pairs, data_pages.defaults("check"))
    from yolograft.data import check

    report = check.check(data)
    print(report.text(None if parse_bool("all", arguments.get("all", "False")) else 20))
    if not report.problems:
        print(tr("No problem was found."))
    return report.exit_code


def _convert(kind: str, source: str, dest: str, pairs: dict[str, str]) -> int:
    """Convert a set. `split` has no default here: each format has its own."""
    arguments = with_defaults(f"data {kind}", pairs, data_pages.defaults(kind))
    from yolograft.data import coco, labelme, neudet, voc
    from yolograft.data.classes import parse_merge, parse_names

    parsers: dict[str, Callable[[str], object]] = {
        "split": str, "overwrite": lambda text: parse_bool("overwrite", text), "merge": parse_merge,
        "names": parse_names, "crowd": lambda text: parse_bool("crowd", text)}
    options = {key: parsers[key](text) for key, text in arguments.items()}
    converters: dict[str, Callable[..., voc.Report]] = {
        "voc": voc.convert, "coco": coco.convert, "labelme": labelme.convert, "neu-det": neudet.convert}
    report = converters[kind](source, dest, **options)
    print(report.text())
    _print_next(report.yaml)
    return report.exit_code


def _print_next(data: Path) -> None:
    command = shell.command("train", "model=yolo11n.pt", "graft=se@8", f"data={data}", "epochs=100", "imgsz=640")
    print(tr("Next, train with a block:\n  {command}", command=command))
