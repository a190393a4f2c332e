"""Hosts and constants for the tests of `analysis.fold` and its parts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv

from yolograft.analysis.constant_gate import Constant
from yolograft.analysis.gates import Place, places
from yolograft.host.models import graft_onto
from yolograft.sites import probe

CLASSES = {"-seg": "SegmentationModel", "-pose": "PoseModel", "-obb": "OBBModel", "-cls": "ClassificationModel"}


def settled(name: str, **settings: Any) -> Any:
    """A task model with random batch norms and their statistics, so that every map matters for the output."""
    torch.manual_seed(0)
    cls = next((cls for suffix, cls in CLASSES.items() if suffix in name), "DetectionModel")
    model = getattr(tasks, cls)(name, verbose=False, **settings)
    norms = [module for module in model.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.reset_running_stats()  # 8.3.0 has run an image of zeros through them already
        nn.init.uniform_(norm.weight, 0.8, 1.2)
        nn.init.normal_(norm.bias, 0, 0.2)
    with torch.no_grad():
        model.train()(torch.rand(2, 3, 64, 64))
    for norm in norms:
        norm.momentum = 0.03
    return model.eval()


def all_sites(model: nn.Module) -> list[str]:
    """Every output of a module that fits a block, but those that fusing would remove."""
    shapes = probe(model)
    between = {f"{name}.conv" for name, module in model.named_modules() if isinstance(module, Conv)}
    shared = {name for name, module in model.named_modules() if isinstance(module, nn.SiLU)}  # one of all convolutions
    head = f"model.{len(model.model) - 1}"  # type: ignore[arg-type]
    return [name for name, shape in shapes.outputs.items()
            if name and len(shape or ()) == 4 and name not in between | shared | {head}]


def with_blocks(model: nn.Module, sites: Sequence[str], block: str = "gct") -> Sequence[Place]:
    """Graft one block to every site, and return the places."""
    graft_onto(model, f"{block}@{','.join(sites)}")
    return places(model)


def random_constants(found: Sequence[Place], seed: int = 0, *, offset: bool = False) -> dict[Place, Constant]:
    """Factors between 0.5 and 1.5."""
    generator = torch.Generator().manual_seed(seed)

    def draw(count: int) -> Tensor:
        return torch.rand(count, generator=generator, dtype=torch.float64)

    return {place: Constant(factor=draw(place.channels) + 0.5, error=0.0, varies="",
                            offset=draw(place.channels) - 0.5 if offset else torch.zeros(place.channels).double())
            for place in found}


def sample(sites: Sequence[str], count: int, seed: int = 0) -> list[str]:
    """Some of the sites, in their order."""
    chosen = set(random.Random(seed).sample(range(len(sites)), min(count, len(sites))))
    return [site for number, site in enumerate(sites) if number in chosen]
