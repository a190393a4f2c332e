"""Give an opened `YOLO` object the modules of a swap, or take them out again."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn
from ultralytics.utils import LOGGER

from yolograft import attach
from yolograft.errors import HostError
from yolograft.host import models, safetensors_file, swaps
from yolograft.language import tr
from yolograft.sites import light_copy
from yolograft.spec import Swap

__all__ = ["canonical_swap", "loaded_fresh", "set_swap"]


def canonical_swap(yolo: Any, swap: str | Swap) -> Swap:
    """Return a swap with the places that it names in the host of an opened model, before any swap.

    Raises:
        GraftError: the swap does not fit, or the model is an exported one.
    """
    return swaps.canonical(swaps.plan_swap(_host_of(yolo.model), Swap(Swap.of(swap).parts)))


def set_swap(yolo: Any, swap: str | Swap | None, *, replace: bool = False) -> None:
    """Give an opened model the modules of a swap. Blocks that the model carries are attached again, with their weights.

    Modules that the model carries keep their weights, if the swap names them too.

    Args:
        yolo: a `YOLO` or `RTDETR`.
        swap: the new swap. "none" restores the host's own modules, with new weights. None changes nothing.
        replace: whether modules that the model carries may be dropped. Modules that were never trained always may.

    Raises:
        GraftError: the swap does not fit or would drop modules, a block has no place any more, or the model is an exported
            one. The model is then unchanged.
    """
    if swap is None:
        return
    value = Swap(Swap.of(swap).parts)
    if not isinstance(yolo.model, nn.Module):
        raise HostError(tr("swap={swap} needs a PyTorch model (.pt or .yaml), not '{model}': the modules of an exported "
                           "model cannot be changed.", swap=value, model=yolo.model))
    previous = yolo.swap
    if not value and not previous:
        return
    host = _host_of(yolo.model)
    planned = swaps.plan_swap(host, value)
    if swaps.canonical(planned) == previous:
        return
    dropped = _places(previous) - _places(swaps.canonical(planned))
    fresh = set(getattr(yolo.model, swaps.FRESH, ()))
    is_trained = any(key not in fresh for path in _paths(dropped) for key in _keys(yolo.model, path))
    if value and is_trained and not replace:
        raise HostError(tr("{name} carries the swap '{carried}', and swap={swap} would drop these modules with their "
                           "weights. To keep them and add others: swap=\"{carried} + MODULE@SITE\". To drop them: "
                           "replace=True, or swap=none for the host's own modules.", name=yolo.model_name, carried=previous,
                           swap=value))
    graft = attach.grafted(yolo.model)
    state = yolo.model.state_dict()
    replaced = swaps.swap_onto(host, value)
    new = {key for one in replaced for key in one.fresh}
    if graft:
        models.graft_onto(host, graft)
        models.mark_fresh(host, models.fresh_blocks(yolo.model))
    # a module of the previous swap that another one, or the host's own, takes the place of has other tensors
    other = tuple(f"{path}." for path in _paths(dropped))
    fitting = {key: tensor for key, tensor in state.items() if key in host.state_dict()
               and host.state_dict()[key].shape == tensor.shape and not (other and key.startswith(other))}
    host.load_state_dict(fitting, strict=False)
    missing = {key for key in host.state_dict() if key.startswith(other)} if other else set()
    vars(host)[swaps.FRESH] = tuple(sorted((new - set(fitting)) | (fresh & set(fitting)) | missing))
    if isinstance(yolo.ckpt, dict) and yolo.ckpt.get("model") is yolo.model:
        yolo.ckpt = {**yolo.ckpt, "model": host}
    yolo.model = host
    if value:
        LOGGER.info(_describe(yolo, value, replaced))
    else:
        LOGGER.info(tr("yolograft: removed the swap {swap} from {name}; the host's own modules there are new", swap=previous,
                       name=yolo.model_name))


def loaded_fresh(model: nn.Module, source: Any) -> None:
    """Record that tensors of `source` are loaded into a model: those of the same name and shape are no longer new."""
    fresh = getattr(model, swaps.FRESH, ())
    if not fresh or not isinstance(source, nn.Module):
        return
    ours, theirs = model.state_dict(), source.state_dict()
    vars(model)[swaps.FRESH] = tuple(key for key in fresh if key not in theirs or theirs[key].shape != ours[key].shape)


def _describe(yolo: Any, value: Swap, replaced: Iterable[swaps.Swapped]) -> str:
    groups: dict[tuple[str, str], list[str]] = {}
    for one in replaced:
        groups.setdefault((one.part.block, one.kind), []).append(str(one.part.sites[0]))
    shown = "; ".join(tr("{module} replaced {kind} at {places}", module=module, kind=kind, places=", ".join(places))
                      for (module, kind), places in groups.items())
    return tr("yolograft: swap={swap} in {name}: {replaced}", swap=value, name=yolo.model_name, replaced=shown)


def _host_of(model: nn.Module) -> Any:
    """Return a copy of a task model without blocks, and with the host's own modules in the places of a swap.

    A module that a swap replaced is new, with the tensors of the same name and shape.
    """
    swap = swaps.read_swap(model.yaml)
    with torch.random.fork_rng(devices=[]):
        if not swap:
            copied = light_copy(model)
            models.ungraft(copied)
            return copied
        stock = type(model).__mro__[2] if isinstance(model, models.Grafted) else type(model)
        config = models.host_yaml(dict(model.yaml))  # type: ignore[arg-type]
        with models.building():
            host: Any = stock(config, verbose=False)
        safetensors_file.fit_class_branches(host, config, model.state_dict())
    target = host.state_dict()
    host.load_state_dict({key: value for key, value in model.state_dict().items()
                          if key in target and target[key].shape == value.shape}, strict=False)
    weight = next(model.parameters())
    own = set(vars(nn.Module())) | {"yaml", "save", "criterion", swaps.FRESH, models.FRESH, "yolograft"}
    vars(host).update({key: value for key, value in vars(model).items() if key not in own and key != "model"})
    return host.to(device=weight.device, dtype=weight.dtype).train(model.training)


def _places(swap: Swap) -> set[tuple[str, str, str]]:
    return {(part.block, str(part.settings), str(site)) for part in swap.parts for site in part.sites}


def _paths(places: Iterable[tuple[str, str, str]]) -> list[str]:
    return [f"model.{site.removeprefix('model.')}" for _, _, site in places]


def _keys(model: nn.Module, path: str) -> list[str]:
    return [f"{path}.{key}" for key in model.get_submodule(path).state_dict()]
