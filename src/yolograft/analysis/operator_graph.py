"""The operators of one forward pass of a network, in their order, with the feature maps and the weights that each reads.

The graph is recorded below autograd, so it has PyTorch's few basic operators (`aten.convolution`, `aten.cat`, ...) and no
class of Ultralytics. A block is one operator, `site`, whatever it computes.

What this relies on in PyTorch: a `TorchDispatchMode` sees each basic operator with the tensors that the network passes, as
the same Python objects.
What this relies on in Ultralytics (8.3.0 to 8.4.x): with `training` set on the head, a task model returns the head's raw
maps, those of both heads of an end-to-end model included.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from yolograft import attach
from yolograft.sites import light_copy, probe

__all__ = ["SITE", "Graph", "Map", "Operator", "Weight", "record", "results"]

SITE = "site"
_NORMS = (nn.modules.batchnorm._BatchNorm, nn.Dropout, nn.Dropout2d)


@dataclass(frozen=True)
class Map:
    """A tensor that an operator returned, or the image (number 0)."""

    number: int


@dataclass(frozen=True)
class Weight:
    """A parameter or buffer of the network, by its name in the state dict, or its transpose."""

    name: str
    transposed: bool = False


@dataclass(frozen=True)
class Operator:
    """One call of one operator.

    Attributes:
        number: its position in the forward pass.
        name: the name in `torch.ops.aten`, such as `convolution`; `site` for a block.
        module: the innermost module that ran it, by its name in the network; for `site`, the block's name.
        args: its arguments, with `Map` and `Weight` in the place of tensors; other tensors are `Ellipsis`.
        outputs: the tensors that it returned.
        in_place: whether it changes one of its inputs.
    """

    number: int
    name: str
    module: str
    args: tuple[Any, ...]
    outputs: tuple[Map, ...]
    in_place: bool = False

    @property
    def inputs(self) -> tuple[Map, ...]:
        """The maps among the arguments."""
        return tuple(leaf for leaf in tree_leaves(self.args) if isinstance(leaf, Map))


@dataclass(frozen=True)
class Graph:
    """The operators of one forward pass.

    Attributes:
        operators: in the order in which they ran.
        shapes: the shape of each map.
        outputs: the maps that the network returned.
        aliases: for each map, the maps that share its memory, itself included.
    """

    operators: tuple[Operator, ...]
    shapes: tuple[tuple[int, ...], ...]
    outputs: tuple[Map, ...]
    aliases: tuple[tuple[Map, ...], ...]


def record(network: nn.Module) -> Graph:
    """Run a copy of a network once, in eval mode with the head's raw maps as outputs, and return its operators.

    Args:
        network: any host, grafted or not. It is unchanged.

    Raises:
        SiteError: the network accepts none of the probe's image sizes.
    """
    size = probe(network).size
    copied = light_copy(network).eval()
    recorder = _Recorder(copied)
    for name in attach.grafts(copied):
        container, _, number = name.rpartition(".")
        setattr(copied.get_submodule(container), number, _Marker(recorder, name))
    seen = Counter(id(module) for _, module in copied.named_modules(remove_duplicate=False))
    for name, module in copied.named_modules():
        if isinstance(getattr(module, "inplace", None), bool):
            module.inplace = False
        if seen[id(module)] == 1:  # all convolutions of Ultralytics share one activation: its name would mislead
            recorder.watch(name, module)
    first = next((m for m in copied.modules() if isinstance(m, nn.Conv2d)), None)
    weight = next(iter(copied.parameters()), torch.zeros(()))
    # two images that are not square: axes of equal size could be mistaken for each other
    image = torch.zeros(2, 3 if first is None else first.in_channels, size, size + size // 2, dtype=weight.dtype,
                        device=weight.device)
    square = image[..., :size].contiguous()
    failure: Exception | None = None
    # RT-DETR's head needs labels for its raw maps, and some hosts accept only square images
    for tried, raw in ((image, True), (square, True), (image, False), (square, False)):
        try:
            return recorder.run(tried, raw)
        except Exception as error:  # hosts raise many types here
            failure = error
    assert failure is not None
    raise failure


def results(network: nn.Module, image: Tensor, *, raw: bool = True) -> list[Tensor]:
    """Run a network and return the tensors of its result, without feature maps that its head only passes on.

    Args:
        network: a network in eval mode.
        image: (B, C, H, W).
        raw: whether the head returns its raw maps, as in training. Batch norms stay in eval mode.
    """
    body = getattr(network, "model", None)
    head = body[-1] if isinstance(body, nn.Sequential) and len(body) else None
    passed: list[Tensor] = []
    # the last pre-hook, so that it sees the maps behind the blocks on the head's inputs
    handle = None if head is None else head.register_forward_pre_hook(
        lambda _, args: passed.extend(leaf for leaf in tree_leaves(args) if isinstance(leaf, Tensor)))
    changed = [] if head is None or not raw else [
        module for module in head.modules() if not module.training and not isinstance(module, _NORMS)]
    for module in changed:
        module.training = True
    try:
        result = network(image)
    finally:
        for module in changed:
            module.training = False
        if handle is not None:
            handle.remove()
    inputs = {id(tensor) for tensor in passed}
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor) and id(leaf) not in inputs]


class _Marker(nn.Module):
    """Takes the place of a block while the operators are recorded."""

    def __init__(self, recorder: _Recorder, name: str) -> None:
        super().__init__()
        self.recorder = (recorder,)
        self.name = name

    def forward(self, x: Tensor) -> Tensor:
        return self.recorder[0].mark(self.name, x)


class _Recorder(TorchDispatchMode):
    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network
        self.weights = {id(tensor): Weight(name) for name, tensor in (*network.named_parameters(),
                                                                      *network.named_buffers())}
        self._forget()

    def _forget(self) -> None:
        self.operators: list[Operator] = []
        self.maps: dict[int, Map] = {}
        self.tensors: list[Tensor] = []  # keeps them alive, so that no two have the same id
        self.derived = dict(self.weights)
        self.modules = [""]
        self.site = ""

    def run(self, image: Tensor, raw: bool) -> Graph:
        self._forget()
        self._add(image)
        with torch.no_grad(), self:
            returned = results(self.network, image, raw=raw)
        outputs = tuple(self.maps[id(leaf)] for leaf in returned if id(leaf) in self.maps)
        storages: dict[int, list[Map]] = {}
        for number, tensor in enumerate(self.tensors):
            storages.setdefault(tensor.untyped_storage()._cdata, []).append(Map(number))
        aliases = tuple(tuple(storages[tensor.untyped_storage()._cdata]) for tensor in self.tensors)
        return Graph(tuple(self.operators), tuple(tuple(tensor.shape) for tensor in self.tensors), outputs, aliases)

    def watch(self, name: str, module: nn.Module) -> None:
        # first before and last after the module's other hooks, so that blocks run inside
        module.register_forward_pre_hook(lambda *_: self.modules.append(name), prepend=True)
        module.register_forward_hook(lambda *_: (self.modules.pop(), None)[1])

    def mark(self, name: str, x: Tensor) -> Tensor:
        self.site = name
        return x.clone()

    def _add(self, tensor: Tensor) -> Map:
        added = Map(len(self.tensors))
        self.tensors.append(tensor)
        self.maps[id(tensor)] = added
        return added

    def _named(self, leaf: Any) -> Any:
        if not isinstance(leaf, Tensor):
            return leaf
        return self.maps.get(id(leaf)) or self.derived.get(id(leaf), ...)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        named = tree_map(self._named, tuple(args))
        result = func(*args, **(kwargs or {}))
        name = func._schema.name.partition("::")[2]
        if name == "t" and isinstance(named[0], Weight):
            self.derived[id(result)] = Weight(named[0].name, not named[0].transposed)
            self.tensors.append(result)
            return result
        outputs = tuple(self._add(leaf) for leaf in tree_leaves(result) if isinstance(leaf, Tensor))
        module = self.modules[-1]
        if self.site:
            name, module, self.site = SITE, self.site, ""
        named = (*named, *((kwargs or {}).values())) if kwargs else named
        self.operators.append(Operator(len(self.operators), name, module, tree_map(self._named, named), outputs,
                                       func._schema.is_mutable))
        return result
