"""Sites: find the modules that a site's text names in a host, and the shapes of their inputs and outputs.

A host is any `nn.Module`. If its `model` is a sequence of numbered rows (an Ultralytics task model), sites can also use row
numbers, `backbone`, `neck` and head edges (`p3`). The rows are read from the model itself, so this module has no list of
architectures.
"""

from __future__ import annotations

import copy
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from itertools import product
from math import prod
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from yolograft.errors import SiteError, nearest
from yolograft.language import tr
from yolograft.spec import Site

__all__ = ["ModelRow", "Place", "Probe", "find_rows", "is_yolo", "name_strides", "network_of", "probe", "resolve", "rows",
           "sites"]

# Sizes of the probe's square input; the probe uses the smallest that the host accepts. With 64 a stride of 32 still gives
# more than one pixel. The other sizes are for classifiers that accept only one size.
_PROBE_SIZES = (64, 128, 224, 256, 299, 384, 518, 640)


@dataclass(frozen=True)
class Place:
    """The position of one block: on the output of `module`, on its input, or on the inputs of some of its readers.

    Attributes:
        module: the dotted name of the module in the host.
        side: `out` (the output), `pre` (the input), `edge` (the inputs of `readers`), or `skip` (the input, except for the
            child `branch`).
        readers: for an edge, the name of each reading module and the index of this input among the module's inputs.
        branch: for `skip`, the child module that starts the residual branch.
    """

    module: str
    side: str = "out"
    readers: tuple[tuple[str, int], ...] = ()
    branch: str = ""

    def __str__(self) -> str:
        return self.module + (f"/{self.side}" if self.side in ("pre", "skip") else "")


@dataclass(frozen=True)
class ModelRow:
    """One row of a built model: its absolute number, its module's name and class, and the rows that it reads.

    `yolograft.modelyaml.table.Row` is a row of a YAML file, which may be invalid.
    """

    index: int
    name: str
    kind: str
    part: str  # backbone, neck or head
    reads: tuple[int, ...]  # absolute numbers; -1 is the image


@dataclass(frozen=True)
class Probe:
    """Shapes (B, C, H, W) of each module's inputs and output in one forward pass, by module name.

    Attributes:
        size: the height and width of the square input.
        outputs: the shape of each module's output; None if the output is not a tensor. Modules that did not run are absent.
        inputs: the shapes of each module's first argument: one for a tensor, several for a list of tensors.
    """

    size: int
    outputs: dict[str, tuple[int, ...] | None]
    inputs: dict[str, tuple[tuple[int, ...], ...]]


def rows(host: nn.Module) -> list[ModelRow]:
    """Return the rows of an Ultralytics model; an empty list for any other module."""
    body = getattr(host, "model", None)
    if not isinstance(body, nn.Sequential) or not len(body) or not all(hasattr(m, "f") and hasattr(m, "i") for m in body):
        return []
    config = getattr(host, "yaml", None)
    backbone = len(config.get("backbone", ())) if isinstance(config, dict) else 0
    found = []
    for number, module in enumerate(body):
        source: Any = module.f
        sources: list[int] = list(source) if isinstance(source, (list, tuple)) else [source]
        reads = tuple(number + f if f < 0 else f for f in sources)
        part = "backbone" if number < backbone else "head" if number == len(body) - 1 else "neck"
        kind = str(getattr(module, "type", type(module).__name__)).rpartition(".")[2]
        found.append(ModelRow(number, f"model.{number}", kind, part, reads))
    return found


def find_rows(parts_and_kinds: Sequence[tuple[str, str]], scope: str, name: str) -> list[int]:
    """Return the numbers of the rows that a row number or a class names; empty if there is no such row.

    Args:
        parts_and_kinds: the part (backbone, neck or head) and the class of each row.
        scope: the part to search; empty for all rows.
        name: a row's absolute number, a negative number that counts from the end of `scope`, or a class.
    """
    numbers = [number for number, (part, _) in enumerate(parts_and_kinds) if not scope or part == scope]
    if not re.fullmatch(r"-?[0-9]+", name):
        return [number for number in numbers if parts_and_kinds[number][1] == name]
    number = int(name)
    if number < 0:
        return [numbers[number]] if scope and -number <= len(numbers) else []
    return [number] if number in numbers else []


def name_strides(strides: Sequence[int | None]) -> dict[str, list[int]]:
    """Return the positions of the head's inputs by name: `p3` for stride 8, `p4` for 16; None is an unknown stride."""
    found: dict[str, list[int]] = {}
    for position, stride in enumerate(strides):
        if stride is not None:
            found.setdefault(f"p{stride.bit_length() - 1}", []).append(position)
    return found


def is_yolo(host: Any) -> bool:
    """Return whether `host` is a `YOLO` object, ours or Ultralytics', and not a network."""
    return hasattr(type(host), "task_map")  # only these objects have the table of tasks


def network_of(host: Any) -> nn.Module:
    """Return the network of a `YOLO` object, and any other host unchanged.

    Raises:
        SiteError: the object has no network, because its model is an exported one.
    """
    found = host.model if is_yolo(host) else host
    if not isinstance(found, nn.Module):
        raise SiteError(tr("{model} has no modules. Expected a PyTorch model (.pt or .yaml), or any nn.Module.",
                           model=repr(found)))
    return found


def light_copy(host: nn.Module) -> nn.Module:
    """Return a copy of the host that shares its tensors. It is cheap, and hooks or children added to it stay in the copy."""
    tensors = [*host.parameters(), *host.buffers()]
    return copy.deepcopy(host, {id(tensor): tensor for tensor in tensors})


def probe(host: nn.Module, example: Tensor | None = None) -> Probe:
    """Run a light copy of the host once in eval mode, and return the shapes of all modules. The host is unchanged.

    Args:
        host: any module that takes a batch of images (B, C, H, W).
        example: the input; by default zeros of the smallest size that the host accepts.

    Raises:
        SiteError: the host accepts none of the probe's sizes.
    """
    if example is not None:
        return _run(host, example)
    first = next((m for m in host.modules() if isinstance(m, nn.Conv2d)), None)
    weight = next(iter(host.parameters()), torch.zeros(()))
    failure: Exception | None = None
    # a layer before the first convolution can change the channels, as the Focus of YOLOv5 does: then try three
    tried = dict.fromkeys((first.in_channels if first is not None else 3, 3))
    for channels, size in product(tried, _PROBE_SIZES):
        try:
            return _run(host, torch.zeros(1, channels, size, size, dtype=weight.dtype, device=weight.device))
        except Exception as error:  # hosts raise many types for an unsuitable image size
            failure = error
    raise SiteError(tr("{kind} accepts no square image of {low} to {high} pixels ({error}). Pass an input that it accepts: "
                       "graft(model, text, example=tensor).", kind=type(host).__name__, low=_PROBE_SIZES[0],
                       high=_PROBE_SIZES[-1], error=failure)) from failure


def _run(host: nn.Module, example: Tensor) -> Probe:
    copied = light_copy(host).eval()
    outputs: dict[str, tuple[int, ...] | None] = {}
    inputs: dict[str, tuple[tuple[int, ...], ...]] = {}

    def record(name: str) -> Callable[[nn.Module, tuple[Any, ...], Any], None]:
        def hook(module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            shape = tuple(output.shape) if isinstance(output, Tensor) else None
            outputs[name] = shape if name not in outputs or outputs[name] == shape else _same_map(outputs[name], shape)
            argument = args[0] if args else ()
            tensors = argument if isinstance(argument, (list, tuple)) else [argument]
            inputs[name] = tuple(tuple(tensor.shape) for tensor in tensors if isinstance(tensor, Tensor))

        return hook

    for name, module in copied.named_modules():
        module.register_forward_hook(record(name))
    with torch.no_grad():
        copied(example)
    return Probe(int(example.shape[-1]), outputs, inputs)


def _same_map(one: tuple[int, ...] | None, other: tuple[int, ...] | None) -> tuple[int, ...] | None:
    # A module that runs several times (an activation shared by many layers) is a site only if the channels are the same.
    return other if one and other and len(one) == len(other) == 4 and one[1] == other[1] else None


def resolve(host: nn.Module, site: Site, shapes: Probe | None = None) -> list[Place]:
    """Return the places that `site` names in `host`, in the order of the host's modules.

    Args:
        host: any module.
        site: the site to find.
        shapes: the result of `probe(host)`, if available; head edges (`p3`) are found by their stride.

    Raises:
        SiteError: the site does not exist; the message has a similar name, and the command that lists all sites.
    """
    index = _Index(host)
    if re.fullmatch(r"p[0-9]+", site.path) and index.rows and site.path not in index.modules:
        places = _head_edges(index, site, shapes or probe(host))
    else:
        places = [Place(name, "pre" if site.pre else "out") for name in index.find(site)]
        if site.skip:
            shapes = shapes or probe(host)
            places = [_skip(index, place.module, site, shapes) for place in places]
        if site.readers:
            places = [_edge(index, place, site) for place in places]
    if site.index is not None:
        if not -len(places) <= site.index < len(places):
            raise SiteError(tr("No site '{site}' in {model}: '{path}' names {count} places, so its index goes from {first} "
                               "to {last}. {hint}", site=site, model=index.title, path=site.path, count=len(places),
                               first=-len(places), last=len(places) - 1, hint=index.hint))
        places = [places[site.index]]
    return places


class _Index:
    """The names of one host: its modules, rows and classes."""

    def __init__(self, host: nn.Module) -> None:
        self.host = host
        self.modules = {name: module for name, module in host.named_modules() if name and "graft" not in name.split(".")
                        and not {"graft_pre", "graft_in", "graft_skip"} & set(name.split("."))}
        self.rows = rows(host)
        self.parts_and_kinds = [(row.part, row.kind) for row in self.rows]
        config = getattr(host, "yaml", None)
        source = str(config.get("yaml_file", "")) if isinstance(config, dict) else ""
        stem = re.split(r"[\\/]", source)[-1].rpartition(".")[0]
        self.title = stem or type(host).__name__
        command = f"yolograft sites model={stem}.yaml" if stem else "yolograft.sites(model)"
        self.hint = tr("List them: {command}", command=command)

    def find(self, site: Site) -> list[str]:
        """Return the names of the modules that match the site's path. Raises `SiteError`."""
        parts = site.path.split(".")
        scope = parts[0] if self.rows and parts[0] in ("backbone", "neck") else ""
        rest = parts[1:] if scope else parts
        if scope and not self._numbers(scope):
            raise SiteError(tr("No site '{site}' in {model}: it has no {part}. Did you mean 'backbone.-1'? {hint}",
                               site=site, model=self.title, part=scope, hint=self.hint))
        if scope and not rest:
            raise SiteError(tr("'{site}' names the whole {part} of {model}. Name a row of it, as in '{row}', or a class, as "
                               "in '{part}.C3k2'. {hint}", site=site, part=scope, model=self.title,
                               row=f"{scope}.{self._numbers(scope)[-1]}", hint=self.hint))
        if self.rows and re.fullmatch(r"-?[0-9]+", rest[0]):
            anchor = f"model.{self._row(site, scope, int(rest[0]))}"
            found = [anchor] if len(rest) == 1 else self._below([anchor], rest[1:])
        else:
            found = self._named(scope, rest)
        if not found:
            raise self._nothing(site)
        return found

    def _row(self, site: Site, scope: str, number: int) -> int:
        found = find_rows(self.parts_and_kinds, scope, str(number))
        if found:
            return found[0]
        numbers = self._numbers(scope) if scope else [row.index for row in self.rows]
        if scope and number < 0:
            raise SiteError(tr("No site '{site}' in {model}: its {part} has {count} rows, {first} to {last}. {hint}",
                               site=site, model=self.title, part=scope, count=len(numbers), first=numbers[0],
                               last=numbers[-1], hint=self.hint))
        if number < 0:
            near = f"backbone.{number}" if -number <= len(self._numbers("backbone")) else "backbone.-1"
            raise SiteError(tr("No site '{site}' in {model}: negative numbers count from the end of backbone or neck. Did "
                               "you mean '{other}'? {hint}", site=site, model=self.title, other=near, hint=self.hint))
        if scope and number < len(self.rows) and self.rows[number].part != "head":
            raise SiteError(tr("No site '{site}' in {model}: its {part} has rows {first} to {last}. Did you mean '{other}'? "
                               "{hint}", site=site, model=self.title, part=scope, first=numbers[0], last=numbers[-1],
                               other=f"{self.rows[number].part}.{number}", hint=self.hint))
        takers = [known for known in numbers if self.rows[known].part != "head"] or numbers  # the head cannot have a block
        raise SiteError(tr("No site '{site}' in {model}: a block can follow rows {first} to {last}. {hint}", site=site,
                           model=self.title, first=takers[0], last=takers[-1], hint=self.hint))

    def _numbers(self, part: str) -> list[int]:
        return [row.index for row in self.rows if row.part == part]

    def _named(self, scope: str, parts: list[str]) -> list[str]:
        bodies = [row.name for row in self.rows if row.part == scope]
        names = [n for n in self.modules if any(n == b or n.startswith(b + ".") for b in bodies)] if scope else \
            list(self.modules)
        if not scope and ".".join(parts) in self.modules:
            return [".".join(parts)]
        kinds = {name: type(self.modules[name]).__name__ for name in names}
        if len(parts) == 1:
            of_kind = find_rows(self.parts_and_kinds, scope, parts[0])
            if of_kind:
                return [self.rows[number].name for number in of_kind]
        if parts[0] in kinds.values():
            anchors = [name for name in names if kinds[name] == parts[0]]
            return anchors if len(parts) == 1 else self._below(anchors, parts[1:])
        if scope:  # in `backbone.` or `neck.` a glob starts with the row number
            return [name for name in names if _glob(tuple(parts), tuple(name.split(".")[1:]))]
        return [name for name in names if _glob(tuple(parts), tuple(name.split(".")))]

    def _below(self, anchors: list[str], parts: list[str]) -> list[str]:
        found = []
        for anchor in anchors:
            depth = anchor.count(".") + 1
            found += [name for name in self.modules
                      if name.startswith(anchor + ".") and _glob(tuple(parts), tuple(name.split(".")[depth:]))]
        return list(dict.fromkeys(found))

    def _nothing(self, site: Site) -> SiteError:
        parts = site.path.split(".")
        if self.rows and parts[0] == "model" and len(parts) > 1 and parts[1].isdecimal() and int(parts[1]) >= len(self.rows):
            return SiteError(tr("No site '{site}' in {model}: its rows are model.0 to model.{last}. {hint}", site=site,
                                model=self.title, last=len(self.rows) - 1, hint=self.hint))
        words = dict.fromkeys(row.kind for row in self.rows)
        words |= dict.fromkeys(f"{row.part}.{row.index}" for row in self.rows if row.part != "head")
        words |= dict.fromkeys(self.modules)
        words |= dict.fromkeys(type(module).__name__ for module in self.modules.values())
        near = nearest(site.path, words)
        if not near and len(parts) > 1:
            near = nearest(parts[0], ["backbone", "neck", *words])
        return SiteError(tr("No site '{site}' in {model}: no row, class or module has that name.{near} {hint}", site=site,
                            model=self.title, near=near, hint=self.hint))


@cache
def _glob(pattern: tuple[str, ...], name: tuple[str, ...]) -> bool:
    if not pattern:
        return not name
    if pattern[0] == "**":
        return _glob(pattern[1:], name) or (bool(name) and _glob(pattern, name[1:]))
    return bool(name) and fnmatchcase(name[0], pattern[0]) and _glob(pattern[1:], name[1:])


def _head_edges(index: _Index, site: Site, shapes: Probe) -> list[Place]:
    if site.pre or site.readers or site.skip:
        raise SiteError(tr("'{site}': '{path}' is already the input of the head. Did you mean '{path}'?", site=site,
                           path=site.path))
    head = index.rows[-1]
    strides = [shapes.size // shape[2] if len(shape) == 4 else 0 for shape in shapes.inputs.get(head.name, ())]
    edges = name_strides(strides[:len(head.reads)])
    found = [Place(f"model.{head.reads[position]}", "edge", ((head.name, position),))
             for position in edges.get(site.path, [])]
    if len(found) == 1:
        return found
    if found:
        raise SiteError(tr("'{site}' is not one place in {model}: its {kind} reads {count} maps of that stride. Name the "
                           "row instead: {rows}.", site=site, model=index.title, kind=head.kind, count=len(found),
                           rows=", ".join(place.module[6:] for place in found)))
    named = ", ".join(f"'{name}'" for name in sorted(edges)) or tr("(none)")
    raise SiteError(tr("No site '{site}' in {model}: its {kind} reads the edges {edges}.{near} {hint}", site=site,
                       model=index.title, kind=head.kind, edges=named, near=nearest(site.path, edges), hint=index.hint))


def _edge(index: _Index, place: Place, site: Site) -> Place:
    source = next((row.index for row in index.rows if row.name == place.module), None)
    if source is None:
        raise SiteError(tr("'{site}': '{module}' is not a row, and '>' picks the readers of a row.", site=site,
                           module=place.module))
    actual = [row for row in index.rows if source in row.reads]
    unknown = [reader for reader in site.readers if reader not in [row.index for row in actual]]
    if unknown:
        raise SiteError(tr("'{site}': row {reader} of {model} does not read row {row}; these rows read it: {readers}.",
                           site=site, reader=unknown[0], model=index.title, row=source,
                           readers=", ".join(str(row.index) for row in actual) or tr("(none)")))
    readers = tuple((row.name, position) for row in actual if row.index in site.readers
                    for position, read in enumerate(row.reads) if read == source)
    return Place(place.module, "edge", readers)


def _skip(index: _Index, name: str, site: Site, shapes: Probe) -> Place:
    """Find the first layer of the residual branch of one unit, and check that something else reads the unit's input too."""
    unit = light_copy(index.modules[name]).eval()
    for module in unit.modules():  # ignore blocks that are attached already
        module._forward_pre_hooks.clear()
        module._forward_hooks.clear()
    inputs = shapes.inputs.get(name, ())
    kind = type(unit).__name__
    error = SiteError(tr("No site '{site}' in {model}: '{name}' ({kind}) has no identity branch: only its first layer reads "
                         "its input. Did you mean '{path}/pre'?", site=site, model=index.title, name=name, kind=kind,
                         path=site.path))
    if len(inputs) != 1 or len(inputs[0]) != 4:
        raise error
    weight = next(iter(unit.parameters()), torch.zeros(()))
    x = torch.linspace(-1, 1, prod(inputs[0]), dtype=weight.dtype, device=weight.device).view(inputs[0])
    first: list[str] = []
    for child, module in unit.named_children():
        module.register_forward_pre_hook(lambda _, args, child=child: first.append(child) if args[0] is x else None)
    with torch.no_grad():
        expected = unit(x)
        if not first:
            raise error
        unit.get_submodule(first[0]).register_forward_pre_hook(lambda _, args: (x, *args[1:]))
        if not isinstance(expected, Tensor) or torch.equal(unit(2 * x + 1), expected):
            raise error
    return Place(name, "skip", branch=first[0])


def sites(host: nn.Module, *, imgsz: int = 640) -> list[dict[str, Any]]:
    """List the sites of a host and the names that resolve to each.

    Args:
        host: any module, or a `YOLO` object.
        imgsz: the image size in pixels for `size`.

    Returns:
        One dict per site: `row` (None for a host without rows), `module`, `kind`, `names`, `channels`, `stride`, `size`
        (H x W at `imgsz`) and `parameters`. For a host without rows: every module that returns a map (B, C, H, W).
    """
    host = network_of(host)
    shapes = probe(host)
    return list(_listed(_Index(host), shapes, imgsz))


def _listed(index: _Index, shapes: Probe, imgsz: int) -> Iterator[dict[str, Any]]:
    head = index.rows[-1] if index.rows else None
    seen: dict[tuple[str, str], int] = {}
    places: list[tuple[ModelRow | None, str]] = [(row, row.name) for row in index.rows] or [(None, n) for n in index.modules]
    for row, name in places:
        shape = shapes.outputs.get(name)
        if shape is None or len(shape) != 4 or (row is not None and row is head):
            continue
        stride = max(1, round(shapes.size / shape[2]))
        names = [name]
        if row is not None:
            numbers = [other.index for other in index.rows if other.part == row.part]
            nth = seen[(row.part, row.kind)] = seen.get((row.part, row.kind), -1) + 1
            names = [str(row.index), f"{row.part}.{row.index}", f"{row.part}.{row.index - numbers[-1] - 1}",
                     f"{row.part}.{row.kind}[{nth}]"]
            if head is not None and row.index in head.reads and stride & (stride - 1) == 0:
                names.append(f"p{stride.bit_length() - 1}")
        yield {"row": None if row is None else row.index, "module": name,
               "kind": row.kind if row is not None else type(index.modules[name]).__name__, "names": names,
               "channels": shape[1], "stride": stride, "size": (-(-imgsz // stride), -(-imgsz // stride)),
               "parameters": sum(p.numel() for p in index.modules[name].parameters())}


class _Callable(ModuleType):
    # `yolograft.sites` is a public function and also the name of this module. Importing the module sets the attribute to the
    # module, so the module is callable: `yolograft.sites(model)` works in every order of imports.
    def __call__(self, host: nn.Module, *, imgsz: int = 640) -> list[dict[str, Any]]:
        return sites(host, imgsz=imgsz)


sys.modules[__name__].__class__ = _Callable
