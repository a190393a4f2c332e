"""What a model and its blocks are: the commands `sites`, `show`, `blocks`, `modules` and `bench`."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from yolograft.cli.arguments import parse_bool, parse_positive_int
from yolograft.cli.command import Argument, Command
from yolograft.language import tr

__all__ = ["bench", "blocks", "commands", "load_own_blocks", "modules", "own_files", "show", "sites", "swap_argument"]


def commands() -> list[Command]:
    """Return the descriptions of this group's commands."""
    return [_sites(), _show(), _blocks(), _modules(), _bench()]


def _own_blocks() -> Argument:
    return Argument("blocks", "", tr("a Python file that defines your own blocks"))


def own_files() -> list[Argument]:
    """Return the descriptions of the arguments `blocks` and `modules`."""
    return [_own_blocks(), Argument("modules", "", tr("a Python file whose classes rows of the model YAML name"))]


def swap_argument() -> Argument:
    """Return the description of the argument `swap`."""
    return Argument("swap", "", tr("modules that take the place of the model's own, as in swap=dysample@Upsample"))


def _sites() -> Command:
    return Command(
        name="sites", summary=tr("list the sites of a model where a block can go, with their names"),
        usage="model=MODEL [graft=BLOCK@SITE] [key=value ...]",
        arguments=[Argument("model", "yolo11n.yaml", tr("a model YAML or a checkpoint")),
                   Argument("graft", "", tr("the blocks to mark in the list, as in graft=se@8")), swap_argument(),
                   Argument("imgsz", "640", tr("image size in pixels, for the sizes of the feature maps")), *own_files()],
        example="yolograft sites model=yolo11n.yaml")


def _show() -> Command:
    return Command(
        name="show", summary=tr("print the rows of a model with its blocks, parameters and GFLOPs"),
        usage="model=MODEL [graft=BLOCK@SITE] [key=value ...]",
        arguments=[Argument("model", "yolo11n.yaml", tr("a model YAML or a checkpoint")),
                   Argument("graft", "", tr("the blocks to add, as in graft=se@8")), swap_argument(),
                   Argument("imgsz", "640", tr("image size in pixels, for the GFLOPs")), *own_files()],
        example="yolograft show model=yolo11n.yaml graft=se@8")


def _blocks() -> Command:
    return Command(
        name="blocks", summary=tr("list the blocks with their settings, or print the page of one block"),
        usage="[BLOCK] [blocks=FILE.py]", arguments=[_own_blocks()], example="yolograft blocks cbam")


def _modules() -> Command:
    return Command(
        name="modules", summary=tr("list the modules that a row of a model YAML can name, or print the page of one module"),
        usage="[MODULE] [modules=FILE.py]",
        arguments=[Argument("modules", "", tr("a Python file whose classes rows of the model YAML name"))],
        example="yolograft modules dysample")


def _bench() -> Command:
    return Command(
        name="bench", summary=tr("measure parameters, GFLOPs and latency of grafts, compared with the bare host"),
        usage='model=MODEL graft="GRAFT; GRAFT ..." swap="SWAP; SWAP ..." [key=value ...]',
        arguments=[Argument("model", "yolo11n.yaml", tr("a model YAML or a checkpoint")),
                   Argument("graft", "", tr("the grafts to measure, with semicolons between them, as in graft=\"se@8; "
                                            "se@C3k2\"")),
                   Argument("swap", "", tr("the swaps to measure, with semicolons between them, as in "
                                           "swap=\"dysample@Upsample; c3k2_faster@C3k2\"")),
                   Argument("imgsz", "640", tr("image size in pixels")),
                   Argument("batch", "1", tr("images per forward pass")),
                   Argument("repeats", "30", tr("number of timed forward passes")),
                   Argument("runtime", "torch", tr("torch, onnxruntime or openvino, or several: runtime=torch,openvino")),
                   Argument("threads", "", tr("number of CPU threads; by default the runtime's own")),
                   Argument("device", "cpu", tr("cpu, or the number of a GPU")),
                   Argument("json", "", tr("True prints JSON")), *own_files()],
        example='yolograft bench model=yolo11n.yaml graft="se@8; se@C3k2"')


def load_own_blocks(arguments: Mapping[str, str]) -> None:
    """Import the user's files of `blocks=FILE.py` and `modules=FILE.py`, if there are any.

    Raises:
        GraftError: a file cannot be imported.
    """
    if "blocks" in arguments or "modules" in arguments:
        from yolograft.modules.plugin import load_own

        for one in load_own(arguments):
            print(f"yolograft: {one}", file=sys.stderr)  # stdout can be a table or JSON that another program reads


def sites(words: Sequence[str]) -> int:
    """Print the sites of a model."""
    arguments = _sites().read(words)
    imgsz = parse_positive_int("imgsz", arguments["imgsz"])
    from yolograft.analysis import tables

    load_own_blocks(arguments)
    print(tables.sites_table(arguments["model"], imgsz, arguments.get("graft"), arguments.get("swap")))
    return 0


def show(words: Sequence[str]) -> int:
    """Print the rows of a model with its grafts."""
    arguments = _show().read(words)
    imgsz = parse_positive_int("imgsz", arguments["imgsz"])
    from yolograft.analysis import tables

    load_own_blocks(arguments)
    print(tables.structure(arguments["model"], arguments.get("graft"), imgsz, arguments.get("swap")))
    return 0


def blocks(words: Sequence[str]) -> int:
    """Print every block with its aliases and settings, or the page of each block that is named."""
    named = [word for word in words if "=" not in word]
    arguments = _blocks().read(word for word in words if word not in named)
    from yolograft import blocks as zoo

    load_own_blocks(arguments)
    from yolograft.analysis import block_page

    if named:
        print("\n\n".join(block_page.page(zoo.canonical(name)) for name in named))
        return 0
    for name in zoo.names():
        print("\n".join(block_page.entry(name)))
    print(tr("\nThe page of one block: yolograft blocks NAME, as in yolograft blocks cbam"))
    return 0


def modules(words: Sequence[str]) -> int:
    """Print every module for rows with its constructor, or the page of each module that is named."""
    named = [word for word in words if "=" not in word]
    arguments = _modules().read(word for word in words if word not in named)
    load_own_blocks(arguments)
    from yolograft import modules as known
    from yolograft.analysis import module_page

    if named:
        print("\n\n".join(map(module_page.page, named)))
        return 0
    for name in known.registered():
        print("\n".join(module_page.entry(name)))
    print(tr("C2f_BLOCK and C3k2_BLOCK exist for each block, as in C3k2_CBAM."))
    print(tr("\nThe page of one module: yolograft modules NAME, as in yolograft modules dysample"))
    return 0


def bench(words: Sequence[str]) -> int:
    """Print parameters, GFLOPs and latency of the host and of each graft, for each runtime."""
    arguments = _bench().read(words)
    numbers = {key: parse_positive_int(key, arguments[key]) for key in ("imgsz", "batch", "repeats", "threads")
               if key in arguments}
    as_json = parse_bool("json", arguments.get("json", "False"))
    from yolograft.analysis import runtimes
    from yolograft.analysis.bench import bench as measure

    load_own_blocks(arguments)
    grafts = [text.strip() for text in arguments.get("graft", "").split(";") if text.strip()]
    swaps = [text.strip() for text in arguments.get("swap", "").split(";") if text.strip()]
    names = [name.strip() for name in arguments["runtime"].split(",")]
    for name in names:
        runtimes.check(name)
    for number, name in enumerate(names):
        result = measure(arguments["model"], grafts, swaps=swaps, runtime=name, device=arguments["device"], **numbers)
        print(result.json() if as_json else f"{result}" if not number else f"\n{result}")
    return 0
