"""Swaps: modules that take the place of modules of an Ultralytics model, with the same shapes of input and output.

A swap is text in the form of a graft, `dysample@Upsample + c3k2_faster@2,4`. Ultralytics builds the host's own network
first, and loads pretrained tensors into it. Then each module of the swap takes its place there, so all other modules are
the host's to the bit. In a row, the module gets the arguments that `parse_model` gave the row's own module, by the names of
the parameters: width, repeats, and the C3k flag of the scales m, l and x are right at every scale. Tensors of the same name
and shape are kept.

The swap travels in the model's YAML dict, as `swap`. The dict is marked, so that stock Ultralytics does not build a model
without the modules from it.

What this relies on in Ultralytics (8.3.0 to 8.4.x): what `module_rows.record_arguments` relies on. Each layer has `i`, `f`,
`type` and `np`. `initialize_weights` sets the constants of batch norms. `fuse` merges the batch norm of a `Conv` into its
convolution, and the branches of `RepConv` and `RepVGGDW`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import nn
from ultralytics.nn.modules import Conv, RepConv
from ultralytics.nn.modules.block import RepVGGDW
from ultralytics.utils.torch_utils import initialize_weights

from yolograft import __version__, attach, modules
from yolograft.errors import GraftError, HostError, ModuleError, SiteError
from yolograft.host.module_rows import default_activation, record_arguments, use_stock_convs
from yolograft.host.transfer import Transfer
from yolograft.language import tr
from yolograft.modelyaml import table
from yolograft.modelyaml.load import SCALE_KEY, SWAP_KEY, VERSION_KEY, host_yaml, marked
from yolograft.modelyaml.module_rows import describe_error, run_on_meta
from yolograft.modelyaml.signatures import find_block
from yolograft.modules.binding import Call, Replaced, bind, name_arguments
from yolograft.sites import Probe, light_copy, probe, resolve, rows
from yolograft.spec import Part, Site, Swap

__all__ = ["FRESH", "Swapped", "canonical", "describe_transfer", "load_swapped", "plan_swap", "read_swap", "refuse_second",
           "swap_onto", "table_lines", "with_swap", "without_blocks"]

FRESH = "swap_is_fresh"  # the attribute of a model with the names of the tensors that no training has decided
_LARGER = 4  # shapes are measured on maps of 256 pixels, since some modules need more than the probe's 64
_SHOWN = 6


@dataclass(frozen=True, kw_only=True)
class Swapped:
    """One module that takes the place of another.

    Attributes:
        path: the dotted name of the place in the network.
        part: the module, its settings, and this one place as `model.2.m.0.cv1`, or as the row's number.
        call: the call of the constructor.
        kind: the class of the module that it replaces.
        shapes: the names and shapes of the tensors of the replaced module.
        fresh: the names of the new module's tensors that the replaced module does not have in the same shape.
    """

    path: str
    part: Part
    call: Call
    kind: str
    shapes: dict[str, torch.Size]
    fresh: tuple[str, ...] = ()

    @property
    def is_row(self) -> bool:
        """Whether the place is a whole row."""
        return self.path.count(".") == 1

    @property
    def row(self) -> int:
        """The number of the row."""
        return int(self.path.split(".")[1])


def read_swap(config: Any) -> Swap:
    """Return the swap in a model's YAML dict. It is falsy if there is none."""
    return Swap.parse(str(config.get(SWAP_KEY) or "none")) if isinstance(config, dict) else Swap()


def with_swap(host: dict[str, Any], swap: Swap) -> dict[str, Any]:
    """Return a host's YAML dict with a swap and a mark, because of which stock Ultralytics cannot build the bare host."""
    if not swap:
        return host
    added = {SWAP_KEY: str(swap), VERSION_KEY: __version__, **({SCALE_KEY: host["scale"]} if host.get("scale") else {})}
    named = Swap(tuple(replace(part, settings=()) for part in swap.parts))
    return marked({**host, **added}, f"the model carries the swap '{named}'. Open it with yolograft.YOLO, or: yolograft "
                                     "train model=FILE")


def plan_swap(model: nn.Module, swap: Swap) -> list[Swapped]:
    """Find the places of a swap in a host, and check every module there on meta tensors.

    Args:
        model: a task model without blocks and without a swap.
        swap: the swap.

    Raises:
        GraftError: a module, a setting or a site does not exist, or a module has another output shape than the one that it
            replaces. The message names all of them.
    """
    shapes = probe(model)
    planned: dict[str, Swapped] = {}
    errors: list[GraftError] = []
    found: list[tuple[Part, Site, str]] = []
    for part in swap.parts:
        try:
            name = _canonical(part.block)
        except GraftError as error:
            errors.append(error)
            continue
        for site in part.sites:
            try:
                found += [(replace(part, block=name), site, path) for path in _paths(model, site, shapes)]
            except GraftError as error:
                errors.append(error)
    recorded = _record(model, {path for _, _, path in found})
    for part, site, path in found:
        try:
            other = next((one for one in planned if _overlap(one, path)), None)
            if other is not None:
                raise SiteError(tr("'{part}' replaces {place} too, which is in the same place as {other}. A place has one "
                                   "module.", part=part, place=path, other=other))
            planned[path] = _check(model, part, site, path, shapes, recorded)
        except GraftError as error:
            errors.append(error)
    if errors:
        messages = list(dict.fromkeys(map(str, errors)))
        raise type(errors[0])(messages[0] if len(messages) == 1 else "\n".join(
            [tr("{count} parts of the swap do not fit, so nothing was replaced:", count=len(messages)),
             *(f"- {message}" for message in messages)]))
    return list(planned.values())


def canonical(planned: Iterable[Swapped]) -> Swap:
    """Return the swap with the registered names of the modules, and with each place by its number or dotted name."""
    parts: list[Part] = []
    for one in planned:
        if parts and (parts[-1].block, parts[-1].settings) == (one.part.block, one.part.settings):
            parts[-1] = replace(parts[-1], sites=parts[-1].sites + one.part.sites)
        else:
            parts.append(one.part)
    return Swap(tuple(parts))


def swap_onto(model: nn.Module, swap: Swap) -> list[Swapped]:
    """Replace modules of an Ultralytics task model, in place, and return what was replaced.

    The initial weights come from a forked random generator, so the random state is unchanged.

    Args:
        model: a task model without blocks and without a swap.
        swap: the swap.

    Raises:
        GraftError: the swap does not fit. The model is then unchanged.
    """
    if not swap:
        return []
    refuse_second(model, swap)
    planned = plan_swap(model, swap)
    weight = next(model.parameters())
    built = {}
    # the activation of the host's YAML: all convolutions of a model share one
    activation: Any = next((one.act for one in model.modules() if type(one) is Conv and type(one.act) is not nn.Identity),
                           Conv.default_act)
    with default_activation(activation), torch.random.fork_rng(
            devices=[weight.device] if weight.device.type == "cuda" else []):
        for one in planned:
            module = one.call.build()
            use_stock_convs(module)
            initialize_weights(module)
            built[one.path] = module.to(device=weight.device, dtype=weight.dtype).train(model.training)
    rehearsal = light_copy(model)  # an error in the forward pass changes nothing
    for path, module in built.items():
        _set(rehearsal, path, light_copy(module))
    try:
        probe(rehearsal)
    except GraftError as error:
        raise SiteError(tr("The host does not run with swap={swap}: {error}", swap=swap, error=error)) from error
    replaced = []
    for one in planned:
        previous, module = model.get_submodule(one.path), built[one.path]
        ours, theirs = module.state_dict(), previous.state_dict()
        kept = {key: value for key, value in theirs.items() if key in ours and ours[key].shape == value.shape}
        module.load_state_dict(kept, strict=False)
        replaced.append(replace(one, fresh=tuple(f"{one.path}.{key}" for key in ours if key not in kept)))
        _set(model, one.path, module)
    model.yaml = with_swap(host_yaml(dict(model.yaml)), canonical(planned))  # type: ignore[arg-type, assignment]
    return replaced


def refuse_second(model: Any, swap: Swap) -> None:
    """Raise `HostError` if a model carries a swap already."""
    if carried := read_swap(model.yaml):
        raise HostError(tr("The model carries the swap '{carried}' already, so swap={swap} cannot be added here. Start from "
                           "the checkpoint or the YAML without it.", carried=carried, swap=swap))


def without_blocks(model: nn.Module) -> nn.Module:
    """Return a copy of a task model without blocks, which shares its tensors."""
    return attach.prune(light_copy(model))


def load_swapped(model: nn.Module, planned: Iterable[Swapped], weights: nn.Module, loaded: int) -> int:
    """Load the tensors of the modules of a swap from a checkpoint. Return how many host tensors are loaded in all.

    Args:
        model: the swapped model, before it gets its blocks.
        planned: what `swap_onto` returned.
        weights: the model of the checkpoint.
        loaded: how many tensors Ultralytics loaded into the network before the swap.
    """
    fresh = getattr(weights, FRESH, ())
    everything = weights.state_dict()  # Ultralytics has loaded from all of them
    source = {key: value for key, value in everything.items() if key not in fresh}
    target = model.state_dict()
    fitting: dict[str, torch.Tensor] = {}
    for one in planned:
        loaded -= sum(key in everything and everything[key].shape == shape for key, shape in one.shapes.items())
        fitting |= {key: source[key] for key, value in target.items()
                    if key.startswith(f"{one.path}.") and key in source and source[key].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    return loaded + len(fitting)


def describe_transfer(planned: Iterable[Swapped], host: dict[str, Any], weights: nn.Module, transfer: Transfer | None
                      ) -> Transfer:
    """Return how the tensors of a checkpoint reach the rows, with the modules of a swap."""
    found = transfer or Transfer(weights=weights, replaced={}, inserted=frozenset(), rows=tuple(table.parse_rows(host)))
    swapped = {one.row: one for one in planned}
    return replace(found, replaced={**found.replaced, **{row: one.kind for row, one in swapped.items()}},
                   rows=tuple(replace(row, module=swapped[row.number].part.block) if row.number in swapped else row
                              for row in found.rows))


def table_lines(model: nn.Module, planned: Iterable[Swapped]) -> dict[int, list[str]]:
    """Return the lines of the layer table for the rows that a swap changed, by the number of the row."""
    lines: dict[int, list[str]] = {}
    for one in planned:
        layer: Any = model.get_submodule(one.path)
        size = sum(parameter.numel() for parameter in layer.parameters())
        name = f"{one.call.cls.__module__}.{one.call.cls.__qualname__}"
        arguments = str(one.call).partition("(")[2].removesuffix(")")
        number, source = (f"{one.row}", f"{layer.f!s}") if one.is_row else ("~", one.path.removeprefix("model."))
        lines.setdefault(one.row, []).append(
            f"{number:>3}{source:>20}{one.call.times:>3}{size:10.0f}  {name:<45}{f'[{arguments}]':<30}")
    return lines


def _canonical(name: str) -> str:
    try:
        return modules.canonical(name)
    except ModuleError as error:
        if find_block(name) is None:
            raise
        raise ModuleError(tr("'{name}' is a block, and a swap takes modules. Graft it: graft={name}@SITE. C3k2_{name} is a "
                             "C3k2 with it.", name=name)) from error


def _paths(model: nn.Module, site: Site, shapes: Probe) -> list[str]:
    if site.pre or site.skip or site.readers:
        raise SiteError(tr("'{site}': a swap replaces a whole module. Write '{path}'.", site=site, path=site.path))
    places = resolve(model, site, shapes)
    if any(place.side == "edge" for place in places):
        numbers = ", ".join(place.module.removeprefix("model.") for place in places)
        raise SiteError(tr("'{site}' is an input of the head, and no module. Name the row that it reads: {rows}.", site=site,
                           rows=numbers))
    return [place.module for place in places]


def _overlap(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")


def _record(model: Any, paths: set[str]) -> dict[int, tuple[type[nn.Module], tuple[Any, ...], int]]:
    numbers = [int(path.split(".")[1]) for path in paths if path.count(".") == 1]
    if not numbers:
        return {}
    config = host_yaml(dict(model.yaml))
    first = next((one for one in model.modules() if isinstance(one, nn.Conv2d)), None)
    return record_arguments(config, first.in_channels if first is not None else 3, numbers)


def _check(model: nn.Module, part: Part, site: Site, path: str, shapes: Probe,
           recorded: dict[int, tuple[type[nn.Module], tuple[Any, ...], int]]) -> Swapped:
    module = model.get_submodule(path)
    _check_place(model, site, path, shapes)
    replaced = _replaced(model, path, shapes, recorded)
    problem, call = _try(part, replaced, path, shapes)
    if call is None:
        single = replace(part, sites=(site,))
        where = tr("'{part}' does not fit {place} ({kind}): {problem}", part=single, place=_name(path),
                   kind=_kind(model, path), problem=problem)
        raise ModuleError(f"{where}{_suggest(model, part, path, shapes)}")
    name = path.removeprefix("model.") if path.count(".") == 1 else path
    return Swapped(path=path, part=replace(part, sites=(Site.parse(name),)), call=call, kind=_kind(model, path),
                   shapes={f"{path}.{key}": value.shape for key, value in module.state_dict().items()})


def _kind(model: nn.Module, path: str) -> str:
    module = model.get_submodule(path)
    return str(vars(module).get("type", type(module).__name__)).rpartition(".")[2]


def _name(path: str) -> str:
    return tr("row {number}", number=path.split(".")[1]) if path.count(".") == 1 else path


def _check_place(model: nn.Module, site: Site, path: str, shapes: Probe) -> None:
    body = rows(model)
    if body and path == body[-1].name:
        raise SiteError(tr("'{site}' is the head, {kind}, which gives no single map. A swap can replace rows {first} to "
                           "{last}, and modules inside rows.", site=site, kind=body[-1].kind, first=0, last=len(body) - 2))
    if path not in shapes.outputs:
        raise SiteError(tr("'{site}' names {place}, which is never called when the host runs. Name a module that is called, "
                           "such as its parent.", site=site, place=path))
    output, inputs = shapes.outputs[path], shapes.inputs.get(path, ())
    if output is None or len(output) != 4 or not inputs or any(len(shape) != 4 for shape in inputs):
        raise SiteError(tr("'{site}' names {place} ({kind}), which does not turn maps (B, C, H, W) into one map.", site=site,
                           place=path, kind=_kind(model, path)))
    names = path.split(".")
    for depth in range(1, len(names)):
        owner: Any = model.get_submodule(".".join(names[:depth]))
        is_merged = isinstance(owner, Conv) and names[depth] in ("conv", "bn") and hasattr(owner, "bn")
        if isinstance(owner, (RepConv, RepVGGDW)) or is_merged:
            raise SiteError(tr("'{site}' names {place}, which fuse() merges with its neighbours. Did you mean '{other}'?",
                               site=site, place=path, other=".".join(names[:depth])))


def _replaced(model: nn.Module, path: str, shapes: Probe,
              recorded: dict[int, tuple[type[nn.Module], tuple[Any, ...], int]]) -> Replaced:
    module: Any = model.get_submodule(path)
    inputs, output = shapes.inputs[path], shapes.outputs[path]
    assert output is not None
    is_row = path.count(".") == 1
    is_list = is_row and isinstance(module.f, (list, tuple))
    given: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    times = 1
    if is_row:
        cls, args, times = recorded[int(path.split(".")[1])]
        given, defaults = name_arguments(cls, args)
    else:
        given = _inside_arguments(module)
    return Replaced(inputs=tuple(shape[1] for shape in inputs), output=output[1], is_list=is_list, times=times, given=given,
                    defaults=defaults)


def _inside_arguments(module: Any) -> dict[str, Any]:
    """Return the settings of a module inside a row that can be read off it: those of a convolution, or of an up-sampling."""
    conv = module if isinstance(module, nn.Conv2d) else getattr(module, "conv", None)
    if isinstance(conv, nn.Conv2d):
        values = {"k": conv.kernel_size, "s": conv.stride, "d": conv.dilation}
        return {"g": conv.groups, **{key: pair[0] for key, pair in values.items() if pair[0] == pair[1]}}
    if isinstance(module, nn.Upsample) and module.scale_factor is not None:
        factor: Any = module.scale_factor
        return {"scale_factor": int(factor) if int(factor) == factor else factor}
    return {"shortcut": module.add} if isinstance(getattr(module, "add", None), bool) else {}


def _try(part: Part, replaced: Replaced, path: str, shapes: Probe) -> tuple[str, Call | None]:
    """Return the call that builds a module with the right shapes at a place, or why there is none."""
    expected = shapes.outputs[path]
    assert expected is not None
    inputs = [(shape[1], shape[2] * _LARGER, shape[3] * _LARGER) for shape in shapes.inputs[path]]
    wanted = (expected[1], expected[2] * _LARGER, expected[3] * _LARGER)
    try:
        call = bind(part.block, replaced, dict(part.settings))
    except GraftError as error:
        return str(error), None

    def fail(error: Exception) -> Exception:
        sizes = ", ".join("x".join(map(str, shape)) for shape in inputs)
        return ModuleError(tr("{call} cannot run on {sizes} (channels x height x width): {problem}.", call=call, sizes=sizes,
                              problem=describe_error(error, call.cls)))

    try:
        output = run_on_meta(call.build, inputs, is_list=replaced.is_list, fail=fail)
    except GraftError as error:
        return str(error), None
    except Exception as error:  # the user's constructor can raise anything
        return tr("{call} cannot be built: {problem}.", call=call, problem=describe_error(error, call.cls)), None
    if not isinstance(output, torch.Tensor) or output.dim() != 4:
        return tr("{call} gives {what}, and not one map (B, C, H, W).", call=call,
                  what=type(output).__name__ if not isinstance(output, torch.Tensor) else tuple(output.shape)), None
    got = (int(output.shape[1]), int(output.shape[2]), int(output.shape[3]))
    if got != wanted:
        given, gives, needs = (", ".join("x".join(map(str, shape)) for shape in group)
                               for group in (inputs, [got], [wanted]))
        return tr("{call} turns {inputs} into {got} (channels x height x width), and {wanted} is needed there.", call=call,
                  inputs=given, got=gives, wanted=needs), None
    return "", call


def _suggest(model: nn.Module, part: Part, path: str, shapes: Probe) -> str:
    """Return which rows the module fits, or if it fits none, which modules fit the place."""
    places = [row.name for row in rows(model)[:-1]
              if (shapes.outputs.get(row.name) or (0,))[1:] and len(shapes.outputs[row.name] or ()) == 4
              and all(len(shape) == 4 for shape in shapes.inputs.get(row.name, ((),)))]
    recorded = _record(model, {*places, path})
    fitting = [int(one.split(".")[1]) for one in places
               if _try(part, _replaced(model, one, shapes, recorded), one, shapes)[1] is not None]
    if fitting:
        near = sorted(fitting, key=lambda number: abs(number - int(path.split(".")[1])))[:_SHOWN]
        return tr(" {module} fits rows {rows}.", module=part.block, rows=", ".join(map(str, sorted(near))))
    replaced = _replaced(model, path, shapes, recorded)
    names = sorted(modules.names(), key=lambda name: (modules.lookup(name).__module__.endswith(".attention"), name))
    others: list[str] = []
    for name in names:
        if len(others) < _SHOWN and _try(Part(name, part.sites), replaced, path, shapes)[1] is not None:
            others.append(name)
    return tr(" These modules fit there: {names}.", names=", ".join(others)) if others else ""


def _set(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, leaf = path.rpartition(".")
    owner = model.get_submodule(parent)
    previous: Any = owner._modules[leaf]
    facts = {key: vars(previous)[key] for key in ("i", "f", "type", "np") if key in vars(previous)}
    if facts:  # a row
        cls = type(module[0]) if type(module) is nn.Sequential else type(module)
        facts["type"] = f"{cls.__module__}.{cls.__qualname__}"
        facts["np"] = sum(parameter.numel() for parameter in module.parameters())
        vars(module).update(facts)
    owner._modules[leaf] = module
