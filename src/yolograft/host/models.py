"""Grafted task models: Ultralytics models that carry blocks, and raise an error where stock code would drop the blocks.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a task model keeps its YAML dict in `model.yaml`, with keys that it
does not know. Checkpoints pickle the whole model, so its class must be importable by module and name. All code that
rebuilds a model from the dict reads `yaml["backbone"]`.
"""

from __future__ import annotations

import hashlib
import re
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
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
from yolograft.blocks import plugin
from yolograft.errors import HostError, SiteError
from yolograft.host import layer_table, swaps
from yolograft.host.module_rows import patch_parse_model
from yolograft.host.transfer import Transfer
from yolograft.host.unasked import nothing_unasked
from yolograft.language import tr
from yolograft.modelyaml.load import GRAFT_KEY, SCALE_KEY, VERSION_KEY, host_yaml, marked
from yolograft.patch import patched
from yolograft.sites import probe, resolve, rows
from yolograft.spec import Graft, Part, Swap

__all__ = [
    "GRAFT_KEY",
    "Grafted",
    "GraftedYaml",
    "added_graft",
    "build_model",
    "building",
    "fresh_blocks",
    "graft_onto",
    "host_yaml",
    "load_block_weights",
    "mark_fresh",
    "read_graft",
    "short_text",
    "ungraft",
]

# The attribute of a model with the prefixes of the blocks whose initial weights no training seed decided. In models of
# version 0.1.0 it is True, for all blocks.
FRESH = "graft_is_fresh"
_LONGEST_NAME = 60  # characters of `file_name_part`


class GraftedYaml(dict):  # type: ignore[type-arg]
    """The YAML dict of a grafted model. It raises an error when stock code would build the bare host from it.

    Code that builds a model reads `yaml["backbone"]` (`nn/tasks.py`, in every supported version), and code that only
    inspects the dict uses `.get`. Therefore the subscript raises the error. A copy into a plain dict or a file loses this
    class. There, the mark in the first row (`yolograft.modelyaml.load.marked`) stops stock code.
    """

    def __getitem__(self, key: str) -> Any:
        if key == "backbone":
            raise HostError(tr(
                "This checkpoint carries the graft '{graft}', and stock Ultralytics would rebuild the model without it. "
                "Train it with: yolograft train model=CHECKPOINT ... (or in Python: yolograft.YOLO(CHECKPOINT).train(...)). "
                "To continue from the bare host on purpose: graft=none.", graft=short_text(self.get(GRAFT_KEY, "none"))))
        return super().__getitem__(key)


# PyYAML writes a subclass of dict only if a representer is registered for it. Ours writes a plain mapping.
for _dumper in ("SafeDumper", "Dumper", "CSafeDumper", "CDumper"):
    if hasattr(yaml, _dumper):  # the C dumpers exist only where libyaml is installed
        getattr(yaml, _dumper).add_representer(GraftedYaml, SafeRepresenter.represent_dict)


def with_graft(config: dict[str, Any], graft: Graft | str) -> GraftedYaml:
    """Return a host's YAML dict with the graft and a mark, because of which stock Ultralytics cannot build the bare host."""
    added = {GRAFT_KEY: str(graft), VERSION_KEY: __version__}
    if config.get("scale"):
        added[SCALE_KEY] = config["scale"]
    named = Graft(tuple(replace(part, settings=()) for part in Graft.of(graft).parts))
    why = f"the model carries the graft '{named}'. Open it with yolograft.YOLO, or: yolograft train model=FILE"
    return GraftedYaml(marked({**config, **added}, why))


def short_text(text: str) -> str:
    """Return a graft's text without the settings that have their default values."""
    from yolograft import blocks

    value = Graft.parse(text)
    parts = []
    for part in value.parts:
        defaults = blocks.defaults(part.block)
        changed = tuple((key, setting) for key, setting in part.settings if defaults.get(key, ...) != setting)
        parts.append(type(part)(part.block, part.sites, changed))
    return str(Graft(tuple(parts)))


def read_graft(config: dict[str, Any]) -> Graft:
    """Return the graft in a model's YAML dict. It is falsy if there is none."""
    return Graft.parse(str(config.get(GRAFT_KEY) or "none"))


class Grafted:
    """Mixin of all grafted task models. `graft_onto` combines it with the stock class."""

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle as any module. The files of the user's blocks come first, so that a reader can say what is missing."""
        needs = plugin.needs_of(self)  # type: ignore[arg-type]
        state = self.__getstate__() if hasattr(self, "__getstate__") else self.__dict__  # object has it since Python 3.11
        return (plugin.restore, (type(self), needs), state) if needs else super().__reduce_ex__(protocol)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore the state of a checkpoint or a copy, and mark its YAML dict, because early checkpoints lack the mark."""
        super().__setstate__(state)  # type: ignore[misc]
        config = dict(self.__dict__["yaml"])
        if config.get(GRAFT_KEY):
            self.yaml = with_graft(config, config[GRAFT_KEY])

    def info(self, detailed: bool = False, verbose: bool = True, imgsz: int = 640) -> Any:
        """Log the stock summary, and which graft the model carries."""
        result = super().info(detailed=detailed, verbose=verbose, imgsz=imgsz)  # type: ignore[misc]
        if verbose:
            LOGGER.info(layer_table.carried(self, short_text(str(attach.grafted(self)))))  # type: ignore[arg-type]
        return result

    def fuse(self, *args: Any, **kwargs: Any) -> Any:
        """Fuse batch norms into convolutions as the stock model does, and keep every block.

        Fusing deletes a Conv's `bn` and may replace its `conv`. The fused convolution gives the output that `bn` gave, so
        blocks on the output of `bn` move to the output of `conv`. Blocks on the input of `conv` stay there.
        """
        removed = [(module, attach.detach_blocks(module.conv)[1], attach.detach_blocks(module.bn)[0])
                  for module in self.modules() if isinstance(module, Conv) and hasattr(module, "bn")]  # type: ignore[attr-defined]
        super().fuse(*args, **kwargs)  # type: ignore[misc]
        for module, input_blocks, output_blocks in removed:
            for side, blocks in (("pre", input_blocks), ("out", output_blocks)):
                for block in blocks:
                    attach.attach_block(module.conv, block, side)
        return self


def graft_onto(model: nn.Module, graft: str | Graft | Iterable[str | Graft]) -> nn.Module:
    """Graft blocks onto an Ultralytics task model, in place, so that training, fusing and checkpoints keep them.

    The model's YAML dict gets the graft, and the model's class becomes the grafted subclass.

    Raises:
        GraftError: the graft does not fit. The model is then unchanged.
    """
    value = Graft.of(graft)
    if not value:
        return model
    _check_survives_fusing(model, value)
    attach.graft(model, value)
    model.yaml = with_graft(dict(model.yaml), attach.grafted(model))  # type: ignore[arg-type, assignment]
    model.__class__ = grafted_class(type(model))
    return model


def ungraft(model: nn.Module) -> nn.Module:
    """Remove all blocks from an Ultralytics task model, in place. Its class, YAML dict and tensors are the host's again.

    Modules of a swap stay.
    """
    attach.prune(model)
    if isinstance(model, Grafted):
        model.__class__ = type(model).__mro__[2]  # (grafted, Grafted, stock, ...)
    config: Any = dict(model.yaml)  # type: ignore[arg-type]
    model.yaml = swaps.with_swap(host_yaml(config), swaps.read_swap(config))  # type: ignore[assignment]
    return model


def added_graft(model: nn.Module, value: Graft) -> Graft | None:
    """Return what `value` adds to the graft of a model, or None if it does not start with all blocks of the model.

    Sites are compared by the places that they name in this model: `8` and `backbone.8` are the same.

    Raises:
        GraftError: a block, a setting or a site does not exist.
    """
    shapes = probe(model)

    def places(part: Part) -> list[tuple[Any, ...]]:
        return [(part.block, part.settings, place) for site in part.sites for place in resolve(model, site, shapes)]

    own = [one for part in attach.grafted(model).parts for one in places(part)]
    added: list[Part] = []
    for part in attach.spelled(value).parts:
        for site in part.sites:
            single = replace(part, sites=(site,))
            found = places(single)
            head, own = own[:len(found)], own[len(found):]
            if not head:
                added.append(single)
            elif head != found:
                return None
    return None if own else Graft(tuple(added))


def refusal(name: str, carried: str, value: Graft) -> str:
    """Return the sentences that refuse a graft which would drop the blocks of a model, and say how to keep them.

    Args:
        name: the model's file.
        carried: the short text of the graft that the model carries.
        value: the refused graft.
    """
    return tr("{name} carries the graft '{carried}', and graft={value} would drop these blocks with their weights. To keep "
              "them and add the new ones: graft=\"{carried} + {value}\".", name=name, carried=carried, value=value)


def file_name_part(graft: Graft) -> str:
    """Return a graft or a swap as a part of a file name: letters, digits, `-` and `_`. Two grafts never have the same.

    >>> file_name_part(Graft.parse("se@8 + eca@p3,p4"))
    'se-8_eca-p3-p4'
    """
    if not graft:
        return "bare"
    text = str(graft) if isinstance(graft, Swap) else short_text(str(graft))
    name = "_".join(re.sub(r"[^A-Za-z0-9]+", "-", part).strip("-") for part in text.split(" + "))
    if re.fullmatch(r"[A-Za-z0-9@,+ ]+", text) and len(name) <= _LONGEST_NAME:
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:6]  # since the name lacks some of the characters
    return f"{name[:_LONGEST_NAME].rstrip('-_')}-{digest}"


def fresh_blocks(model: nn.Module) -> set[str]:
    """Return the prefixes of the blocks that were attached to a model after it was opened, and never trained."""
    stored: Any = getattr(model, FRESH, ())
    return set(attach.grafts(model)) if stored is True else set(stored or ()) & set(attach.grafts(model))


def mark_fresh(model: nn.Module, prefixes: Iterable[str]) -> None:
    """Record which blocks of a model were never trained."""
    setattr(model, FRESH, tuple(sorted(prefixes)))


def _check_survives_fusing(model: nn.Module, value: Graft) -> None:
    """Raise `SiteError` for sites in modules that `fuse()` merges into others: it would remove a block there."""
    shapes = probe(model)
    for part in value.parts:
        for site in part.sites:
            for place in resolve(model, site, shapes):
                parents = place.module.split(".")
                for depth in range(1, len(parents)):
                    owner = model.get_submodule(".".join(parents[:depth]))
                    leaf = parents[depth]
                    if isinstance(owner, (RepConv, RepVGGDW)):
                        raise SiteError(tr("'{site}' lies inside {module} ({kind}), whose branches fuse() merges into one. "
                                           "Did you mean '{module}'?", site=site, module=".".join(parents[:depth]),
                                           kind=type(owner).__name__))
                    between = (leaf == "conv" and place.side == "out") or (leaf == "bn" and place.side == "pre")
                    if isinstance(owner, Conv) and hasattr(owner, "bn") and depth == len(parents) - 1 and between:
                        raise SiteError(tr("'{site}' lies between a convolution and its batch norm, which fuse() merges. "
                                           "Did you mean '{module}.bn'?", site=site, module=".".join(parents[:depth])))


def grafted_class(stock: type[nn.Module]) -> type[nn.Module]:
    """Return the grafted subclass of a task model's class. It is an attribute of this module, so that pickle finds it."""
    if issubclass(stock, Grafted):
        return stock
    name = f"Grafted{stock.__name__}"
    module = sys.modules[__name__]
    if name not in module.__dict__ or module.__dict__[name].__mro__[2] is not stock:
        setattr(module, name, type(name, (Grafted, stock), {"__module__": __name__, "__qualname__": name,
                                                            "__doc__": f"`{stock.__name__}` that carries blocks."}))
    return module.__dict__[name]


def __getattr__(name: str) -> Any:
    # A checkpoint stores its class as this module and 'Grafted' + the stock name. Create the class on first access.
    stock = getattr(tasks, name[len("Grafted"):], None) if re.fullmatch(r"Grafted\w+Model", name) else None
    if isinstance(stock, type) and issubclass(stock, nn.Module):
        return grafted_class(stock)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def load_block_weights(model: nn.Module, weights: nn.Module, host_loaded: int | None = None,
                       transfer: Transfer | None = None) -> None:
    """Load the tensors of the blocks that `weights` has too, and log how many tensors of host and blocks were loaded.

    Ultralytics has loaded the host's tensors before this is called. Blocks of `weights` that were never trained are not
    loaded: the new blocks keep the weights from this training's seed.

    Args:
        model: the grafted model, with the host's tensors loaded.
        weights: the model of the checkpoint.
        host_loaded: the number of the host's tensors that Ultralytics has loaded. None: those of the same shape.
        transfer: how the tensors reached the rows, if the checkpoint has other rows.
    """
    target = model.state_dict()
    source = {key: value for key, value in weights.float().state_dict().items()
              if key not in getattr(weights, swaps.FRESH, ())}
    prefixes, fresh = attach.grafts(model), tuple(f"{prefix}." for prefix in fresh_blocks(weights))
    block_keys = {key for key in target if prefixes and key.startswith(tuple(f"{prefix}." for prefix in prefixes))}
    fitting = {key: value for key, value in source.items()
               if key in block_keys and target[key].shape == value.shape and not (fresh and key.startswith(fresh))}
    model.load_state_dict(fitting, strict=False)
    host_keys = [key for key in target if key not in block_keys]
    not_loaded = [key for key in host_keys if key not in source or source[key].shape != target[key].shape]
    host_loaded = len(host_keys) - len(not_loaded) if host_loaded is None else host_loaded
    new, left = len(block_keys) - len(fitting), len(host_keys) - host_loaded
    notes = [tr("{count} new in the graft", count=new)] if new else []
    if transfer is not None:
        notes = transfer.describe(not_loaded) + notes
        LOGGER.info(tr("yolograft: {loaded} of {total} host tensors loaded{notes}", loaded=host_loaded, total=len(host_keys),
                       notes="".join(f"; {note}" for note in notes)))
        return
    if left and not_loaded:
        head = f"model.{len(rows(model)) - 1}."
        layers = sorted({".".join(key.split(".")[:4]) for key in not_loaded})
        names = tr("the head's class layers") if all(key.startswith(head) for key in layers) else ", ".join(layers[:6])
        notes.append(tr("{count} of another shape in the checkpoint: {names}", count=left, names=names))
    LOGGER.info(tr("Transferred {loaded}/{total} items from pretrained weights{notes}", loaded=host_loaded + len(fitting),
                   total=len(target), notes=f" ({'; '.join(notes)})" if notes else ""))


def build_model(config: dict[str, Any], graft: Graft, cls: type[nn.Module], **kwargs: Any) -> nn.Module:
    """Build a task model of class `cls` from a YAML dict, replace the modules of its swap, and graft it."""
    with layer_table.show_blocks() as log, building():
        network = cls(host_yaml(config), **kwargs)
        log.show_swap(network, swaps.table_lines(network, swaps.swap_onto(network, swaps.read_swap(config))))
        log.network = graft_onto(network, graft)
    return log.network


@contextmanager
def building() -> Iterator[None]:
    """Let Ultralytics build rows of registered modules, without downloads, and restore `Conv.default_act` on exit.

    `parse_model` sets it for the whole process if a YAML has an activation (`activation: nn.ReLU()` in yolov6). Newer
    versions restore it. 8.3.0 does not, so all models that are built later would have this activation too.
    """
    with nothing_unasked(), patched((Conv, "default_act", Conv.default_act)), patch_parse_model():
        yield
