"""Tables of a model: its sites, and its rows with their blocks."""

from __future__ import annotations

from torch import nn

from yolograft import attach
from yolograft.analysis import profile
from yolograft.host import models
from yolograft.host.open import open_model
from yolograft.sites import rows, sites
from yolograft.spec import Graft

__all__ = ["sites_table", "structure"]


def sites_table(name: str, imgsz: int) -> str:
    """Return a table of a model's sites, with feature map sizes for images of `imgsz` pixels."""
    with profile.shape_only():
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
    lines.append("p3, p4, p5: only the edge into the head.")
    return "\n".join(lines)


def structure(name: str, graft: str | None, imgsz: int) -> str:
    """Return a table of a model's rows and blocks, and its parameters and GFLOPs compared with the bare host's.

    Args:
        name: a checkpoint or model YAML.
        graft: replaces the model's own graft, unless it is None.
        imgsz: side of the image for the GFLOPs, in pixels.
    """
    with profile.shape_only():
        return _structure(open_model(name).model, graft, imgsz)


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
        place = f"input {parts[-2]}: " if is_edge else f"{inside}: " if inside else ""
        text = f"+ {place}{type(block).__name__} ({profile.count_parameters(block):,} parameters)"
        block_lines.setdefault(".".join(parts[:2]), []).append(text)
    lines = [f"{'row':>4}  {'reads':<14}{'class':<14}{'params':>12}"]
    for row in rows(model):
        own = profile.count_parameters(model.get_submodule(row.name)) - sum(
            profile.count_parameters(block) for key, block in attach.grafts(model).items() if key.startswith(row.name + "."))
        reads = ",".join("image" if read < 0 else str(read) for read in row.reads)
        lines.append(f"{row.index:>4}  {reads:<14}{row.kind:<14}{own:>12,}")
        lines += [f"{'':>4}  {'':<14}{line}" for line in block_lines.get(row.name, [])]
    lines.append(f"\nhost     {bare_parameters:>12,} parameters  {bare_flops:8.3f} GFLOPs at {imgsz}")
    if value:
        parameters, flops = profile.count_parameters(model), profile.count_gflops(profile.fused_copy(model), imgsz)
        lines.append(f"grafted  {parameters:>12,} parameters  {flops:8.3f} GFLOPs at {imgsz}   {value}")
        lines.append(f"         {parameters - bare_parameters:>+12,} ({(parameters / bare_parameters - 1):+.2%})")
    return "\n".join(lines)
