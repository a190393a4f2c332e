"""Tables of a model: its sites, and its rows with their blocks."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

from torch import nn

from yolograft import attach
from yolograft.analysis import profile
from yolograft.host import models
from yolograft.host.change_swap import set_swap
from yolograft.host.open import open_model
from yolograft.language import pad, tr
from yolograft.sites import probe, resolve, rows, sites
from yolograft.spec import Graft

__all__ = ["sites_table", "structure"]


def sites_table(name: str, imgsz: int, graft: str | None = None, swap: str | None = None) -> str:
    """Return a table of a model's sites, with feature map sizes for images of `imgsz` pixels.

    Args:
        name: a checkpoint or model YAML.
        imgsz: side of the image, in pixels.
        graft: its blocks are shown at the rows where they are. None: the model's own graft.
        swap: the modules that take the place of the host's own.

    Raises:
        GraftError: the model cannot be opened, or the graft or the swap does not fit it.
    """
    with profile.shape_only():
        return _sites(_open(name, swap), imgsz, graft)


def _open(name: str, swap: str | None) -> nn.Module:
    opened = open_model(_structure_file(name))
    set_swap(opened, swap, replace=True)
    network: nn.Module = opened.model
    return network


def _structure_file(name: str) -> str:
    """Return the file that `yolo11n` names: that checkpoint if it is here, and else the YAML, which needs no download."""
    if Path(name).suffix or Path(name).exists():
        return name
    return f"{name}.pt" if Path(f"{name}.pt").exists() else f"{name}.yaml"


def _sites(model: nn.Module, imgsz: int, graft: str | None) -> str:
    value = attach.grafted(model) if graft is None else Graft.parse(graft)
    if attach.grafted(model):
        models.ungraft(model)
    blocks = _blocks_by_row(model, value)
    lines = [f"{pad(tr('row'), 4, '>')}  {pad(tr('class'), 14)}{'C':>6}{pad(tr('stride'), 8, '>')}{'H x W':>12}"
             f"{pad(tr('params'), 12, '>')}  {tr('names')}"]
    for site in sites(model, imgsz=imgsz):
        height, width = site["size"]
        number = "" if site["row"] is None else site["row"]
        lines.append(f"{number:>4}  {site['kind']:<14}{site['channels']:>6}{site['stride']:>8}{f'{height} x {width}':>12}"
                     f"{site['parameters']:>12,}  {'  '.join(site['names'])}")
        lines += [f"{'':>4}  + {block}" for block in blocks.get(site["row"], [])]
    example = next((row.index for row in reversed(rows(model)) if row.part == "backbone"), 0)
    lines.append(tr("\nInside the rows: any module or class by name or glob, such as Bottleneck.cv2 or {example}.",
                    example=f"backbone.{example}.**"))
    lines.append(tr("On a module's input instead of its output: SITE/pre; on a residual unit's identity branch: SITE/skip."))
    lines.append(tr("p3, p4, p5: only the edge into the head."))
    return "\n".join(lines)


def _blocks_by_row(model: nn.Module, value: Graft) -> dict[int, list[str]]:
    """Return the blocks of a graft by the row whose output they get, or inside which they are."""
    shapes = probe(model)
    found: dict[int, list[str]] = {}
    for part in value.parts:
        for site in part.sites:
            one = models.short_text(str(Graft((replace(part, sites=(site,)),))))
            numbers = [int(place.module.split(".")[1]) for place in resolve(model, site, shapes)]
            for number, count in Counter(numbers).items():
                found.setdefault(number, []).append(one if count == 1 else f"{one}: {count}")
    return found


def structure(name: str, graft: str | None, imgsz: int, swap: str | None = None) -> str:
    """Return a table of a model's rows and blocks, and its parameters and GFLOPs compared with the bare host's.

    Args:
        name: a checkpoint or model YAML.
        graft: replaces the model's own graft, unless it is None.
        imgsz: side of the image for the GFLOPs, in pixels.
        swap: the modules that take the place of the host's own. Then the swapped host is the bare one.
    """
    with profile.shape_only():
        return _structure(_open(name, swap), graft, imgsz)


def _structure(model: nn.Module, graft: str | None, imgsz: int) -> str:
    own_graft = attach.grafted(model)
    value = Graft.parse(graft) if graft else own_graft
    if own_graft:
        models.ungraft(model)
    bare_parameters, bare_flops = profile.count_parameters(model), profile.count_gflops(profile.fused_copy(model), imgsz)
    models.graft_onto(model, value)
    block_lines: dict[str, list[str]] = {}
    for prefix, block in attach.grafts(model).items():
        parts = prefix.split(".")
        is_edge = "graft_in" in parts
        inside = ".".join(part for part in parts[2:-1] if part != "graft" and not is_edge)
        place = tr("input {number}: ", number=parts[-2]) if is_edge else f"{inside}: " if inside else ""
        cost = tr("({count:,} parameters)", count=profile.count_parameters(block))
        block_lines.setdefault(".".join(parts[:2]), []).append(f"+ {place}{type(block).__name__} {cost}")
    lines = [f"{pad(tr('row'), 4, '>')}  {pad(tr('reads'), 14)}{pad(tr('class'), 14)}{pad(tr('params'), 12, '>')}"]
    for row in rows(model):
        own = profile.count_parameters(model.get_submodule(row.name)) - sum(
            profile.count_parameters(block) for key, block in attach.grafts(model).items() if key.startswith(row.name + "."))
        reads = ",".join(tr("image") if read < 0 else str(read) for read in row.reads)
        lines.append(f"{row.index:>4}  {pad(reads, 14)}{row.kind:<14}{own:>12,}")
        lines += [f"{'':>4}  {'':<14}{line}" for line in block_lines.get(row.name, [])]
    lines += ["", pad(tr("host"), 9) + tr("{parameters:>12,} parameters  {gflops:8.3f} GFLOPs at {imgsz}",
                                          parameters=bare_parameters, gflops=bare_flops, imgsz=imgsz)]
    if value:
        parameters, flops = profile.count_parameters(model), profile.count_gflops(profile.fused_copy(model), imgsz)
        cost = tr("{parameters:>12,} parameters  {gflops:8.3f} GFLOPs at {imgsz}", parameters=parameters, gflops=flops,
                  imgsz=imgsz)
        lines.append(f"{pad(tr('grafted'), 9)}{cost}   {value}")
        lines.append(f"         {parameters - bare_parameters:>+12,} ({(parameters / bare_parameters - 1):+.2%})")
    return "\n".join(lines)
