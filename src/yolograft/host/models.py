"""Grafted task models: an Ultralytics model that carries blocks, and what it says when stock code would drop them.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a task model keeps its YAML dict in `model.yaml` and passes on keys
that it does not know; checkpoints pickle the whole model, so the class must be found again by module and name; and
whoever rebuilds a model from that dict reads `yaml["backbone"]`.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import yaml
from torch import nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import Conv, RepConv
from ultralytics.nn.modules.block import RepVGGDW
from ultralytics.utils import LOGGER
from yaml.representer import SafeRepresenter

from yolograft import __version__, attach
from yolograft.errors import HostError, SiteError
from yolograft.modelyaml.load import GRAFT_KEY, SCALE_KEY, VERSION_KEY, host_yaml, marked
from yolograft.patch import patched
from yolograft.sites import rows
from yolograft.spec import Graft

__all__ = ["GRAFT_KEY", "Grafted", "GraftedYaml", "build", "graft_of", "graft_onto", "host_yaml", "load_into",
           "own_activation"]

FRESH = "graft_is_fresh"  # marks a model whose blocks hold first weights of no training's seed


class GraftedYaml(dict):  # type: ignore[type-arg]
    """The YAML dict of a grafted model: stock code that would rebuild the bare host from it is stopped.

    Building a model starts with `yaml["backbone"]` (`nn/tasks.py`, in every supported version), while those that only
    look use `.get`; so that subscript raises the full message. Copies into plain dicts and files lose this class: the
    mark in the first row (`yolograft.modelyaml.load.marked`) stops stock code there.
    """

    def __getitem__(self, key: str) -> Any:
        if key == "backbone":
            raise HostError(
                f"This checkpoint carries the graft '{short(self.get(GRAFT_KEY, 'none'))}', and stock Ultralytics would "
                "rebuild the model without it. Train it with: yolograft train model=CHECKPOINT ... (or in Python: "
                "yolograft.YOLO(CHECKPOINT).train(...)). To continue from the bare host on purpose: graft=none."
            )
        return super().__getitem__(key)


# PyYAML refuses subclasses of dict unless it is told how to write them: as the plain mapping that this is.
for _dumper in ("SafeDumper", "Dumper", "CSafeDumper", "CDumper"):
    if hasattr(yaml, _dumper):  # the C ones are there only where libyaml is
        getattr(yaml, _dumper).add_representer(GraftedYaml, SafeRepresenter.represent_dict)


def carrying(config: dict[str, Any], graft: Graft | str) -> GraftedYaml:
    """Return a host's YAML dict with a graft in it, marked so that stock Ultralytics never builds the bare host."""
    added = {GRAFT_KEY: str(graft), VERSION_KEY: __version__}
    if config.get("scale"):
        added[SCALE_KEY] = config["scale"]
    named = Graft(tuple(replace(part, settings=()) for part in Graft.of(graft).parts))
    why = f"the model carries the graft '{named}'. Open it with yolograft.YOLO, or: yolograft train model=FILE"
    return GraftedYaml(marked({**config, **added}, why))


def short(text: str) -> str:
    """Return a graft's text without the settings that have their default values."""
    from yolograft import blocks

    value = Graft.parse(text)
    parts = []
    for part in value.parts:
        known = blocks.defaults(part.block)
        kept = tuple((key, setting) for key, setting in part.settings if known.get(key, ...) != setting)
        parts.append(type(part)(part.block, part.sites, kept))
    return str(Graft(tuple(parts)))


def graft_of(config: dict[str, Any]) -> Graft:
    """Return the graft that travels in a model's YAML dict; falsy where there is none."""
    return Graft.parse(str(config.get(GRAFT_KEY) or "none"))


class Grafted:
    """What a grafted task model does differently from its stock class; mixed in by `graft_onto`."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take the state of a checkpoint or a copy; the YAML dict of an early checkpoint gets the mark that it lacks."""
        super().__setstate__(state)  # type: ignore[misc]
        config = dict(self.__dict__["yaml"])
        if config.get(GRAFT_KEY):
            self.yaml = carrying(config, config[GRAFT_KEY])

    def fuse(self, *args: Any, **kwargs: Any) -> Any:
        """Fold batch norms as the stock model does, with every block kept.

        Folding deletes a Conv's `bn` and may replace its `conv`. After it the convolution's output is what the batch
        norm's was, so the blocks on `bn` go there, and those on the input of `conv` back to their place.
        """
        lifted = [(module, attach.detach_blocks(module.conv)[1], attach.detach_blocks(module.bn)[0])
                  for module in self.modules() if isinstance(module, Conv) and hasattr(module, "bn")]  # type: ignore[attr-defined]
        super().fuse(*args, **kwargs)  # type: ignore[misc]
        for module, before, after in lifted:
            for side, blocks in (("pre", before), ("out", after)):
                for block in blocks:
                    attach.attach_block(module.conv, block, side)
        return self


def graft_onto(model: nn.Module, what: str | Graft | Iterable[str | Graft]) -> nn.Module:
    """Graft blocks onto an Ultralytics task model, in place, so that they survive whatever Ultralytics does with it.

    The graft is written into the model's YAML dict and the model's class becomes its grafted kind.

    Raises:
        GraftError: the graft does not fit; the model is then as it was.
    """
    value = Graft.of(what)
    if not value:
        return model
    _refuse_lost(model, value)
    attach.graft(model, value)
    model.yaml = carrying(dict(model.yaml), attach.grafted(model))  # type: ignore[arg-type, assignment]
    model.__class__ = grafted_class(type(model))
    return model


def ungraft(model: nn.Module) -> nn.Module:
    """Take every block off an Ultralytics task model, in place: class, YAML dict and tensors are the host's again."""
    attach.prune(model)
    if isinstance(model, Grafted):
        model.__class__ = type(model).__mro__[2]  # (grafted, Grafted, stock, ...)
    model.yaml = host_yaml(dict(model.yaml))  # type: ignore[arg-type, assignment]
    return model


def _refuse_lost(model: nn.Module, value: Graft) -> None:
    # fuse() merges these modules away; a block there would vanish when the model is deployed
    from yolograft.sites import probe, resolve

    shapes = probe(model)
    for part in value.parts:
        for site in part.sites:
            for place in resolve(model, site, shapes):
                parents = place.module.split(".")
                for depth in range(1, len(parents)):
                    owner = model.get_submodule(".".join(parents[:depth]))
                    leaf = parents[depth]
                    if isinstance(owner, (RepConv, RepVGGDW)):
                        raise SiteError(f"'{site}' lies inside {'.'.join(parents[:depth])} ({type(owner).__name__}), whose "
                                        f"branches fuse() merges into one. Did you mean '{'.'.join(parents[:depth])}'?")
                    between = (leaf == "conv" and place.side == "out") or (leaf == "bn" and place.side == "pre")
                    if isinstance(owner, Conv) and hasattr(owner, "bn") and depth == len(parents) - 1 and between:
                        raise SiteError(f"'{site}' lies between a convolution and its batch norm, which fuse() merges. "
                                        f"Did you mean '{'.'.join(parents[:depth])}.bn'?")


def grafted_class(stock: type[nn.Module]) -> type[nn.Module]:
    """Return the grafted kind of a task model's class, found again under its name when a checkpoint is opened."""
    if issubclass(stock, Grafted):
        return stock
    name = f"Grafted{stock.__name__}"
    here = sys.modules[__name__]
    if name not in here.__dict__ or here.__dict__[name].__mro__[2] is not stock:
        setattr(here, name, type(name, (Grafted, stock), {"__module__": __name__, "__qualname__": name,
                                                          "__doc__": f"`{stock.__name__}` that carries blocks."}))
    return here.__dict__[name]


def __getattr__(name: str) -> Any:
    # A checkpoint names its class by this module and 'Grafted' + the stock name: make it when it is first asked for.
    stock = getattr(tasks, name[len("Grafted"):], None) if re.fullmatch(r"Grafted\w+Model", name) else None
    if isinstance(stock, type) and issubclass(stock, nn.Module):
        return grafted_class(stock)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_into(model: nn.Module, weights: nn.Module) -> None:
    """Load the blocks' tensors that `weights` has too, and say how much of the host and of the grafts was loaded.

    The host's own tensors have been loaded by Ultralytics by then; its count would include or miss the grafts'. Blocks
    that were never trained are left as the training's own seed has just made them.
    """
    ours, theirs = model.state_dict(), weights.float().state_dict()
    prefixes = tuple(f"{prefix}." for prefix in attach.grafts(model))
    mine = {key for key in ours if prefixes and key.startswith(prefixes)}
    fitting = {key: value for key, value in theirs.items()
               if key in mine and ours[key].shape == value.shape and not getattr(weights, FRESH, False)}
    model.load_state_dict(fitting, strict=False)
    host = [key for key in ours if key not in mine]
    loaded = sum(key in theirs and theirs[key].shape == ours[key].shape for key in host)
    LOGGER.info(f"yolograft: {loaded} of {len(host)} host tensors loaded; {len(fitting)} loaded and "
                f"{len(mine) - len(fitting)} new in grafts")
    left = sorted({".".join(key.split(".")[:4]) for key in host
                   if key not in theirs or theirs[key].shape != ours[key].shape})
    if left:
        head = f"model.{len(rows(model)) - 1}."
        kind = "the head's class layers" if all(key.startswith(head) for key in left) else ", ".join(left[:6])
        LOGGER.info(f"yolograft: not loaded, for want of the same shape: {kind}")


def build(config: dict[str, Any], graft: Graft, cls: type[nn.Module], **kwargs: Any) -> nn.Module:
    """Build a task model of class `cls` from a YAML dict and graft it."""
    with own_activation():
        network = cls(host_yaml(config), **kwargs)
    return graft_onto(network, graft)


def own_activation() -> AbstractContextManager[None]:
    """Keep the activation that a YAML asks for (`activation: nn.ReLU()`, as yolov6 does) to the model built inside.

    `parse_model` sets it as `Conv.default_act`, for the whole process. Newer versions restore it; in 8.3.0 every model
    that is built afterwards has it too, so what a comparison trains would depend on what was built before.
    """
    return patched((Conv, "default_act", Conv.default_act))
