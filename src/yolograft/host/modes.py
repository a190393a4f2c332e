"""What the command line asks of Ultralytics: a mode run on a model that may be grafted, and two tables to read.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `DEFAULT_CFG_DICT` lists every argument, `get_cfg` checks their
types and values, `smart_value` reads a value as `yolo` does, and `check_file(hard=False)` finds a data YAML or is falsy.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from ultralytics.cfg import get_cfg, smart_value
from ultralytics.utils import DEFAULT_CFG_DICT, LOGGER
from ultralytics.utils.checks import check_file

from yolograft import attach, checkpoint
from yolograft.errors import GraftError, HostError, nearest
from yolograft.host import costs, models, plugins, speed
from yolograft.host.yolo import YOLO
from yolograft.sites import rows, sites
from yolograft.spec import Graft

__all__ = ["open_model", "run", "sites_table", "structure"]


def run(mode: str, pairs: dict[str, str]) -> Any:
    """Run `mode` with arguments as the command line gives them; returns what Ultralytics returns.

    Raises:
        GraftError: an argument, the graft, the model or the data cannot be used; nothing was run.
    """
    given = {key: value if key in ("graft", "blocks") else smart_value(value) for key, value in pairs.items()}
    # the run folder of a training that Ultralytics launches is given to it in `save_dir`, which is no default's key
    known = {**DEFAULT_CFG_DICT, "graft": None, "blocks": None, "speed": None, "save_dir": None}
    for key in given:
        if key not in known and not (mode == "tune" and key in ("iterations", "use_ray")):
            raise HostError(f"'{key}' is no argument of 'yolograft {mode}'.{nearest(key, known)} "
                            "List them: yolo cfg, and graft=, blocks=")
    graft, blocks = given.pop("graft", None), given.pop("blocks", None)
    if blocks:
        plugins.load_blocks(blocks)
    if graft is not None:
        Graft.parse(graft)
    if "speed" in given and mode not in ("train", "tune"):
        raise HostError(f"'speed' is no argument of 'yolograft {mode}': it is one of train and tune.")
    if "speed" in given:
        speed.check(str(given["speed"]))
    try:
        get_cfg(overrides={key: value for key, value in given.items() if key in DEFAULT_CFG_DICT})
    except (TypeError, ValueError, SyntaxError) as error:
        raise HostError(str(error)) from error
    if mode in ("train", "val", "tune"):
        _check_data(given.get("data"))
    resume = given.get("resume")
    name = given.pop("model", None) or (resume if isinstance(resume, str) else None) or "yolo11n.pt"
    model = open_model(name, given.pop("task", None))
    if mode == "train" and graft is not None:
        given["graft"] = graft
    elif graft is not None:
        model._apply_graft(graft)
    if blocks and mode in ("train", "tune"):
        given["blocks"] = blocks
    try:
        made = getattr(model, mode)(**given)
        if mode == "export" and given.get("format") == checkpoint.SUFFIX[1:]:
            LOGGER.info(f"yolograft: {made}")  # of every other format Ultralytics tells where it lies
        return made
    except KeyboardInterrupt:
        last = getattr(model.trainer, "last", None) if mode == "train" else None
        if last is None or not Path(last).is_file():
            raise
        raise KeyboardInterrupt(f"go on from its last whole epoch with: yolograft train resume=True model={last}") from None
    except FileNotFoundError as error:
        raise HostError(str(error)) from error
    except RuntimeError as error:  # Ultralytics wraps whatever is wrong with a data YAML in a RuntimeError
        if isinstance(error, GraftError) or "Dataset" not in str(error):
            raise
        raise HostError(str(error)) from error


def _check_data(data: Any) -> None:
    # Ultralytics looks for the data after it has made the run's folder, and says less
    for one in data if isinstance(data, (list, tuple)) else [data]:
        text = str(one)
        if text.endswith((".yaml", ".yml")) and "://" not in text and not check_file(text, download=False, hard=False):
            folder = Path(text).parent
            beside = [path.name for path in folder.glob("*.y*ml")] if folder.is_dir() else []
            raise HostError(f"data={text} does not exist.{nearest(Path(text).name, beside)} Expected a data YAML as "
                            "Ultralytics defines it; 'yolograft data' makes one from a Pascal VOC set, NEU-DET, or nothing.")


def open_model(name: str | Path, task: str | None = None) -> Any:
    """Open a checkpoint or a model YAML as a `YOLO`; raises `HostError` where that cannot be done."""
    try:
        return YOLO(name, task=task)
    except GraftError:
        raise
    except (FileNotFoundError, TypeError, KeyError, AttributeError, ModuleNotFoundError, ConnectionError) as error:
        files = [str(path) for pattern in ("*.pt", "*.yaml") for path in sorted(Path.cwd().glob(pattern))]
        near = nearest(str(name), [Path(file).name for file in files])
        raise HostError(f"model={name} cannot be opened: {error}.{near}") from error


def sites_table(name: str, imgsz: int) -> str:
    """Return the sites of a model as a table."""
    with costs.ShapesAlone():
        return _sites(open_model(name).model, imgsz)


def _sites(model: nn.Module, imgsz: int) -> str:
    lines = [f"{'row':>4}  {'class':<14}{'C':>6}{'stride':>8}{'H x W':>12}{'params':>12}  names"]
    for site in sites(model, imgsz=imgsz):
        height, width = site["size"]
        number = "" if site["row"] is None else site["row"]
        lines.append(f"{number:>4}  {site['kind']:<14}{site['channels']:>6}{site['stride']:>8}{f'{height} x {width}':>12}"
                     f"{site['parameters']:>12,}  {'  '.join(site['names'])}")
    example = next((row.index for row in reversed(rows(model)) if row.part == "backbone"), 0)
    lines.append(f"\nInside the rows: any module or class by name or glob, such as Bottleneck.cv2 or backbone.{example}.**.")
    lines.append("On a module's input instead of its output: SITE/pre; on a residual unit's identity branch: SITE/skip.")
    lines.append("p3, p4, p5: the edge into the head alone.")
    return "\n".join(lines)


def structure(name: str, graft: str | None, imgsz: int) -> str:
    """Return a model's rows with its grafts marked, and its parameters and GFLOPs beside the bare host's."""
    with costs.ShapesAlone():
        return _structure(open_model(name).model, graft, imgsz)


def _structure(model: nn.Module, graft: str | None, imgsz: int) -> str:
    carried = attach.grafted(model)
    value = Graft.parse(graft) if graft else carried
    if carried:
        models.ungraft(model)
    bare_parameters, bare_flops = costs.parameters(model), costs.gflops(costs.deployed(model), imgsz)
    models.graft_onto(model, value)
    carriers: dict[str, list[str]] = {}
    for prefix, block in attach.grafts(model).items():
        parts = prefix.split(".")
        edge = "graft_in" in parts
        inside = ".".join(part for part in parts[2:-1] if part != "graft" and not edge)
        where = f"input {parts[-2]}: " if edge else f"{inside}: " if inside else ""
        size = sum(p.numel() for p in block.parameters())
        carriers.setdefault(".".join(parts[:2]), []).append(f"+ {where}{type(block).__name__} ({size:,} parameters)")
    lines = [f"{'row':>4}  {'reads':<14}{'class':<14}{'params':>12}"]
    for row in rows(model):
        module = model.get_submodule(row.name)
        own = sum(p.numel() for p in module.parameters()) - sum(
            p.numel() for key, block in attach.grafts(model).items() if key.startswith(row.name + ".")
            for p in block.parameters())
        reads = ",".join("image" if read < 0 else str(read) for read in row.reads)
        lines.append(f"{row.index:>4}  {reads:<14}{row.kind:<14}{own:>12,}")
        lines += [f"{'':>4}  {'':<14}{mark}" for mark in carriers.get(row.name, [])]
    lines.append(f"\nhost     {bare_parameters:>12,} parameters  {bare_flops:8.3f} GFLOPs at {imgsz}")
    if value:
        parameters, flops = costs.parameters(model), costs.gflops(costs.deployed(model), imgsz)
        lines.append(f"grafted  {parameters:>12,} parameters  {flops:8.3f} GFLOPs at {imgsz}   {value}")
        lines.append(f"         {parameters - bare_parameters:>+12,} ({(parameters / bare_parameters - 1):+.2%})")
    return "\n".join(lines)
