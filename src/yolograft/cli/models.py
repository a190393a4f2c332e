"""What a model and its blocks are: the commands `sites`, `show`, `blocks` and `bench`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from yolograft.cli.arguments import parse_bool, parse_pairs, parse_positive_int, with_defaults

__all__ = ["HELP", "bench", "blocks", "load_own_blocks", "show", "sites"]

HELP = """\
  yolograft sites model=yolo11n.yaml [graft=se@8]       the sites where a block can go, and their names
  yolograft show  model=yolo11n.yaml graft=se@8         the model's rows with the grafts, parameters and GFLOPs
  yolograft blocks                                      the blocks, their settings and defaults
  yolograft bench model=yolo11n.pt graft="se@8; se@C3k2" [imgsz=640] [batch=1] [repeats=30] [json=True]
                 [runtime=torch,onnxruntime,openvino] [threads=N] [device=0]
                                                        parameters, GFLOPs and latency, compared with the bare host"""


def load_own_blocks(arguments: Mapping[str, str]) -> None:
    """Import the user's file of `blocks=FILE.py`, if there is one.

    Raises:
        BlockError: the file cannot be imported.
    """
    if "blocks" in arguments:
        from yolograft.blocks import plugin

        for one in plugin.load_plugins(arguments["blocks"]):
            print(f"yolograft: {one}", file=sys.stderr)  # stdout can be a table or JSON that another program reads


def sites(words: Sequence[str]) -> int:
    """Print the sites of a model."""
    arguments = with_defaults("sites", parse_pairs(words), {"model": "yolo11n.yaml", "graft": "", "imgsz": "640",
                                                          "blocks": ""})
    imgsz = parse_positive_int("imgsz", arguments["imgsz"])
    from yolograft.analysis import tables

    load_own_blocks(arguments)
    print(tables.sites_table(arguments["model"], imgsz, arguments.get("graft")))
    return 0


def show(words: Sequence[str]) -> int:
    """Print the rows of a model with its grafts."""
    defaults = {"model": "yolo11n.yaml", "graft": "", "imgsz": "640", "blocks": ""}
    arguments = with_defaults("show", parse_pairs(words), defaults)
    imgsz = parse_positive_int("imgsz", arguments["imgsz"])
    from yolograft.analysis import tables

    load_own_blocks(arguments)
    print(tables.structure(arguments["model"], arguments.get("graft"), imgsz))
    return 0


def blocks(words: Sequence[str]) -> int:
    """Print every block with its settings and their defaults."""
    arguments = with_defaults("blocks", parse_pairs(words), {"blocks": ""})
    from yolograft import blocks as zoo

    load_own_blocks(arguments)
    for name in zoo.names():
        settings = ", ".join(f"{key}={value}" for key, value in zoo.defaults(name).items())
        summary = (zoo.lookup(name).__doc__ or "").strip().split("\n")[0]
        print(f"{name:<14} {summary}\n{'':<14} {name}({settings})")
    return 0


def bench(words: Sequence[str]) -> int:
    """Print parameters, GFLOPs and latency of the host and of each graft, for each runtime."""
    defaults = {"model": "yolo11n.yaml", "graft": "", "imgsz": "640", "batch": "1", "repeats": "30", "runtime": "torch",
                "threads": "", "device": "cpu", "json": "", "blocks": ""}
    arguments = with_defaults("bench", parse_pairs(words), defaults)
    numbers = {key: parse_positive_int(key, arguments[key]) for key in ("imgsz", "batch", "repeats", "threads")
               if key in arguments}
    as_json = parse_bool("json", arguments.get("json", "False"))
    from yolograft.analysis import runtimes
    from yolograft.analysis.bench import bench as measure

    load_own_blocks(arguments)
    grafts = [text.strip() for text in arguments.get("graft", "").split(";") if text.strip()]
    names = [name.strip() for name in arguments["runtime"].split(",")]
    for name in names:
        runtimes.check(name)
    for number, name in enumerate(names):
        result = measure(arguments["model"], grafts, runtime=name, device=arguments["device"], **numbers)
        print(result.json() if as_json else f"{result}" if not number else f"\n{result}")
    return 0
