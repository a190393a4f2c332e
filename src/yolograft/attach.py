"""Grafting: attach blocks to a host in place, and remove them again.

A block becomes a child of the module at its site, and a forward hook of that module applies it. No host module is wrapped,
renamed or renumbered. The children's names are part of the keys of every checkpoint and must not change: `graft` (on the
output), `graft_pre` (on the input), `graft_in.N` (on the N-th input of a row that reads several) and `graft_skip` (on the
identity branch of a residual unit).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from yolograft import blocks, yolo_module
from yolograft.errors import BlockError, GraftError, SiteError
from yolograft.language import tr
from yolograft.sites import Place, Probe, is_yolo, light_copy, probe, resolve, rows, sites
from yolograft.spec import Graft, Part

__all__ = ["attach_block", "detach_blocks", "graft", "grafted", "grafts", "hooked_module", "prune", "sites", "spelled"]

OUT, PRE, IN, SKIP = "graft", "graft_pre", "graft_in", "graft_skip"
_NAMES = (OUT, PRE, IN, SKIP)
_Host = TypeVar("_Host", bound=nn.Module)


def graft(host: _Host, what: str | Graft | Iterable[str | Graft], *, example: Tensor | None = None) -> _Host:
    """Attach blocks to `host`, in place, and return it.

    All checks run before the first change: if the graft raises an error, the host is unchanged. The blocks' initial weights
    come from a forked random generator, so the caller's random state is unchanged too.

    >>> graft(YOLO("yolo11n.pt").model, "se@backbone.-3 + eca@p3,p4,p5")  # doctest: +SKIP

    Args:
        host: any module that takes a batch of images (B, C, H, W), or a `YOLO` object, whose network gets the blocks.
        what: the text of a graft, a `Graft`, or several of them, which apply in this order.
        example: an input that the host accepts; needed if the host rejects zeros of the usual sizes.

    Raises:
        GraftError: a site, a block or a setting does not fit; the message names all problems.
    """
    value = Graft.of(what)
    if is_yolo(host):
        grafted_object: _Host = yolo_module().graft_yolo(host, value)
        return grafted_object
    if not value:
        return host
    shapes = probe(host, example)
    plan = _check(host, value, shapes)
    copied = light_copy(host)  # a dry run on a copy, so that an error in the grafted host's forward pass changes nothing
    _attach(copied, plan)
    _dry_run(copied, value, example, shapes)
    _attach(host, plan)
    host.yolograft = str(spelled(grafted(host) + value))  # type: ignore[assignment]
    return host


def prune(host: _Host) -> _Host:
    """Remove every block from `host`, in place, and return the host, which then equals the ungrafted host bit for bit."""
    if is_yolo(host):
        pruned: _Host = yolo_module().prune_yolo(host)
        return pruned
    for module in list(host.modules()):
        for name in _NAMES:
            if name in module._modules:
                del module._modules[name]
        for hooks in (module._forward_hooks, module._forward_pre_hooks):
            for key in [key for key, hook in hooks.items() if _is_graft_hook(hook)]:
                del hooks[key]
    if hasattr(host, "yolograft"):
        del host.yolograft
    return host


def grafted(host: nn.Module) -> Graft:
    """Return the graft of `host` with all settings; falsy for a bare host."""
    return Graft.parse(getattr(host, "yolograft", "none"))


def grafts(host: nn.Module) -> dict[str, nn.Module]:
    """Return the blocks in `host`, by the prefix of their keys in its state dict."""
    found = {}
    for name, module in host.named_modules():
        parent, _, leaf = name.rpartition(".")
        ancestors = parent.split(".")
        if leaf.isdecimal() and (ancestors[-1] in (OUT, PRE, SKIP) or ancestors[-2:-1] == [IN]):
            found[name] = module
    return found


def spelled(value: Graft) -> Graft:
    """Return the graft with all settings of every block, defaults included: the form in checkpoints and studies.

    Raises:
        BlockError: a block or a setting does not exist.
    """
    parts = []
    for part in value.parts:
        known = blocks.defaults(part.block)
        _check_settings(part, known)
        full = {**known, **dict(part.settings)}
        parts.append(Part(blocks.canonical(part.block), part.sites, tuple(sorted(full.items()))))
    return Graft(tuple(parts))


def _check_settings(part: Part, known: dict[str, Any]) -> None:
    for key, _ in part.settings:
        if key not in known:
            blocks.create(part.block, 1, **{key: None})  # raises the registry's error


def _check(host: nn.Module, value: Graft, shapes: Probe) -> list[tuple[Place, nn.Module]]:
    """Resolve every site and build every block, or raise one error that names all problems."""
    plan: list[tuple[Place, nn.Module]] = []
    errors: list[GraftError] = []
    devices = [host_device] if (host_device := _device(host)).type == "cuda" else []
    with torch.random.fork_rng(devices=devices):
        for part in value.parts:
            site_of: dict[Place, str] = {}
            try:
                blocks.lookup(part.block)
                _check_settings(part, blocks.defaults(part.block))
            except GraftError as error:
                errors.append(error)
                continue
            for site in part.sites:
                try:
                    for place in resolve(host, site, shapes):
                        if place in site_of:
                            raise SiteError(tr("'{part}': '{site}' and '{other}' are the same place ({place}). Name it "
                                               "once; to apply a block twice, join two grafts with ' + '.", part=part,
                                               site=site, other=site_of[place], place=place))
                        site_of[place] = str(site)
                        plan.append((place, _block(host, part, place, shapes)))
                except GraftError as error:
                    errors.append(error)
    if errors:
        messages = list(dict.fromkeys(map(str, errors)))
        text = messages[0] if len(messages) == 1 else "\n".join(
            [tr("{count} parts of the graft do not fit, so nothing was grafted:", count=len(messages)),
             *(f"- {message}" for message in messages)])
        raise type(errors[0])(text)
    return plan


def _block(host: nn.Module, part: Part, place: Place, shapes: Probe) -> nn.Module:
    shape = _shape(host, place, shapes)
    module = blocks.create(part.block, shape[1], **dict(part.settings))
    try:
        with torch.no_grad():
            result = module.eval()(torch.zeros(shape))
    except GraftError:
        raise
    except Exception as error:  # any error of a block's forward pass must stop the graft before it changes the host
        raise BlockError(tr("The block '{block}' cannot run at {place}, on {shape}: {error}", block=part.block, place=place,
                            shape=_format_shape(shape), error=error)) from error
    if not isinstance(result, Tensor) or result.shape != shape:
        got = _format_shape(tuple(result.shape)) if isinstance(result, Tensor) else type(result).__name__
        raise BlockError(tr("The block '{block}' turns {shape} into {result} at {place}: a block must keep the shape.",
                            block=part.block, shape=_format_shape(shape), result=got, place=place))
    weight = next((p for p in host.parameters() if p.is_floating_point()), torch.zeros(()))
    return module.to(device=weight.device, dtype=weight.dtype).train(host.training)


def _shape(host: nn.Module, place: Place, shapes: Probe) -> tuple[int, ...]:
    module = host.get_submodule(place.module)
    if place.module not in shapes.outputs:
        raise SiteError(tr("'{place}' ({kind}) is never called when the host runs. Name a module that is called, such as "
                           "its parent.", place=place, kind=type(module).__name__))
    inputs = shapes.inputs.get(place.module, ())
    if place.side in ("pre", "skip") and len(inputs) != 1:
        raise SiteError(tr("'{place}' cannot be grafted: {kind} reads {count} maps. Graft one of the rows it reads, or one "
                           "edge, as in 'p3' or '16>23'.", place=place, kind=type(module).__name__, count=len(inputs)))
    shape = inputs[0] if place.side in ("pre", "skip") else shapes.outputs[place.module]
    body = rows(host)
    if body and place.side == "out" and place.module == body[-1].name and shape is not None and len(shape) == 4:
        # Depth and SemanticSegment return a map only in eval mode, and different outputs in training and export
        raise SiteError(tr("'{place}' cannot be grafted: it is the head, and {kind} returns the model's output, which is "
                           "not always a map (B, C, H, W). Graft a row that it reads: {rows}.", place=place,
                           kind=type(module).__name__, rows=", ".join(map(str, body[-1].reads))))
    if shape is None or len(shape) != 4:
        edges = tr(" The head's inputs are 'p3', 'p4', 'p5'.") if body else ""
        what = tr("no single map") if shape is None else tr("shape {shape}", shape=_format_shape(shape))
        raise SiteError(tr("'{place}' cannot be grafted: a block needs (B, C, H, W), and {kind} gives {what} there.{edges}",
                           place=place, kind=type(module).__name__, what=what, edges=edges))
    return shape


def _format_shape(shape: tuple[int, ...]) -> str:
    return f"({', '.join(map(str, shape))})"


def _device(host: nn.Module) -> torch.device:
    return next((p.device for p in host.parameters()), torch.device("cpu"))


def _dry_run(copied: nn.Module, value: Graft, example: Tensor | None, shapes: Probe) -> None:
    try:
        after = probe(copied, example)
    except Exception as error:
        raise SiteError(tr("The host does not run with '{graft}': {error}", graft=value, error=error)) from error
    for name, shape in shapes.outputs.items():
        if after.outputs.get(name, shape) != shape and len(shape or ()) == 4:
            raise SiteError(tr("With '{graft}', the host's {name} returns {result} and not {shape}.", graft=value, name=name,
                               result=after.outputs[name], shape=shape))


def _attach(host: nn.Module, plan: list[tuple[Place, nn.Module]]) -> None:
    for place, block in plan:
        if place.side == "edge":
            _attach_to_edges(host, place, block)
        elif place.side == "skip":
            _attach_to_skip(host.get_submodule(place.module), place.branch, block)
        else:
            attach_block(hooked_module(host.get_submodule(place.module), place), block, place.side)


def hooked_module(module: nn.Module, place: Place) -> nn.Module:
    """Return the module that gets the block of a place on the output or the input of `module`.

    A `Sequential` runs all its children, so it would run a block as well: its last (first) child gets the block.
    """
    while type(module).forward is nn.Sequential.forward and len(module):  # type: ignore[arg-type]
        module = module[-1 if place.side == "out" else 0]  # type: ignore[index]
    return module


def _attach_to_edges(host: nn.Module, place: Place, block: nn.Module) -> None:
    # All edges share one block: it is a child of the first reader, and the hooks of the other readers refer to it.
    owner, position = host.get_submodule(place.readers[0][0]), str(place.readers[0][1])
    if IN not in owner._modules:
        owner.add_module(IN, nn.ModuleDict())
    containers: nn.ModuleDict = owner.get_submodule(IN)  # type: ignore[assignment]
    key = position
    if key not in containers:
        containers[key] = nn.Sequential()
    number = len(containers[key])  # type: ignore[arg-type]
    containers[key].append(block)  # type: ignore[operator]
    for name, at in place.readers:
        hook = partial(apply_in, owner=(owner,), key=key, number=number, position=at)
        host.get_submodule(name).register_forward_pre_hook(hook)


def _attach_to_skip(unit: nn.Module, branch: str, block: nn.Module) -> None:
    if SKIP not in unit._modules:
        unit.add_module(SKIP, nn.Sequential())
        unit.register_forward_pre_hook(apply_skip)
        unit.get_submodule(branch).register_forward_pre_hook(partial(apply_branch, owner=(unit,)))
    unit.get_submodule(SKIP).append(block)  # type: ignore[operator]


def detach_blocks(module: nn.Module) -> tuple[list[nn.Module], list[nn.Module]]:
    """Remove the blocks from one module, and return those on its output and those on its input."""
    detached = []
    for name in (OUT, PRE):
        container = module._modules.pop(name, None)
        detached.append([] if container is None else list(container.children()))
    for hooks, hook in ((module._forward_hooks, apply_out), (module._forward_pre_hooks, apply_pre)):
        for key in [key for key, known in hooks.items() if known is hook]:
            del hooks[key]
    return detached[0], detached[1]


def attach_block(module: nn.Module, block: nn.Module, side: str) -> None:
    """Attach one block to the output (`out`) or the input (`pre`) of one module, after the module's other blocks."""
    name = OUT if side == "out" else PRE
    if name not in module._modules:
        module.add_module(name, nn.Sequential())
        if side == "out":
            module.register_forward_hook(apply_out)
        else:
            # a block on the whole input runs before a block on the identity branch
            module.register_forward_pre_hook(apply_pre, prepend=SKIP in module._modules)
    module.get_submodule(name).append(block)  # type: ignore[operator]


# Checkpoints contain the hooks by these names: do not rename them.


def apply_out(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    """Forward hook: apply the blocks to the module's output."""
    return module.graft(output)  # type: ignore[operator]


def apply_pre(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook: apply the blocks to the module's input."""
    x = args[0]
    first = [module.graft_pre(x[0])] if isinstance(x, list) else module.graft_pre(x)  # type: ignore[operator]
    return (first, *args[1:])


def apply_in(
    module: nn.Module, args: tuple[Any, ...], *, owner: tuple[nn.Module], key: str, number: int, position: int
) -> tuple[Any, ...]:
    """Forward pre-hook: apply one block to one of the maps that a row reads."""
    block: nn.Module = owner[0].graft_in[key][number]  # type: ignore[index, assignment]
    if isinstance(args[0], Tensor):
        return (block(args[0]), *args[1:])
    maps = list(args[0])  # a new list, because other rows may read the same list
    maps[position] = block(maps[position])
    return (maps, *args[1:])


def apply_skip(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
    """Forward pre-hook of a residual unit: apply the blocks to its input; `apply_branch` undoes it for the first layer."""
    module.graft_skip.untouched = args[0]  # type: ignore[union-attr]
    return (module.graft_skip(args[0]), *args[1:])  # type: ignore[operator]


def apply_branch(module: nn.Module, args: tuple[Any, ...], *, owner: tuple[nn.Module]) -> tuple[Any, ...]:
    """Forward pre-hook of the first layer of the residual branch: pass it the unit's input without the blocks."""
    container: nn.Sequential = owner[0].graft_skip  # type: ignore[assignment]
    # remove the reference at once: the map is large and not part of the model
    untouched, container.untouched = container.untouched, None  # type: ignore[assignment]
    return (untouched, *args[1:])


def _is_graft_hook(hook: Any) -> bool:
    known = (apply_out, apply_pre, apply_in, apply_skip, apply_branch)
    return (hook.func if isinstance(hook, partial) else hook) in known
