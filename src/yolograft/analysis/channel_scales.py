"""Move factors and offsets per channel through a network into its weights, without changing its outputs.

A factor per channel on one feature map can move into the weights before the map or after it, as in the cross-layer
equalization of quantization (Nagel, van Baalen, Blankevoort, Welling, "Data-Free Quantization Through Weight Equalization
and Bias Correction", ICCV 2019, arXiv:1906.04721). Every map v becomes g v' with one scale g per channel. Each operator
demands something of the scales of its maps:

- a convolution, a linear layer or a batch norm takes any scale of its input and of its output into its weights;
- a concatenation, a split, a sum, pooling and upsampling keep the scales: the scales of their maps are equal;
- an activation, an operator without a rule and the network's output accept only the scale 1;
- a block whose gate is the constant s demands g_out = s g_in.

The demands are equations between single channels, so weighted union-find solves them. A block whose equation contradicts
the others cannot be folded. `channel_offsets` moves what a block adds.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from yolograft.analysis.operator_graph import SITE, Graph, Map, Operator, Weight
from yolograft.language import tr

__all__ = ["Blocked", "ChannelScales", "Layer", "describe", "rescale", "short"]

_EQUAL = 1e-6  # relative difference of two scales that count as equal: float32 rounds by 6e-8
_LARGEST = 1e4  # no weight is multiplied by more: the copy of a checkpoint in float16 would overflow
_ZERO = 1e-30  # the scale of a channel whose gate is 0: a weight times this is 0 in every format
_KEEP_SCALE = {  # operators that compute each channel for itself, so that f(g x) = g f(x) for every g
    "clone", "detach", "alias", "contiguous", "_to_copy", "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d",
    "_upsample_nearest_exact2d", "avg_pool2d", "_adaptive_avg_pool2d", "adaptive_avg_pool2d",
}
_KEEP_POSITIVE = {"relu", "leaky_relu", "max_pool2d_with_indices", "adaptive_max_pool2d"}  # the same for g > 0
_SHAPE_ONLY = {"empty_like", "zeros_like", "ones_like", "full_like", "new_empty", "new_zeros", "new_ones", "new_full"}
_NAMES = {"silu": "SiLU", "native_batch_norm": "BatchNorm", "convolution": "Conv2d", "_softmax": "softmax"}


@dataclass(frozen=True)
class Layer:
    """A call of a layer whose weights take scales: a convolution, a linear layer or a batch norm.

    Attributes:
        operator: the call.
        x, y: its input and its output.
        weight, bias, mean: names of its tensors in the state dict; "" for none.
        groups: of a convolution.
        transposed: whether the first axis of the weight is that of the input.
    """

    operator: Operator
    x: Map
    y: Map
    weight: str
    bias: str = ""
    mean: str = ""
    groups: int = 1
    transposed: bool = False


class Blocked(Exception):
    """A factor or an offset cannot be moved; the message says which operators stop it."""


class ChannelScales:
    """The scale of each channel of each map of a network, as far as its operators determine it.

    Args:
        graph: the operators of the network.
        kept: names of the blocks that stay: their inputs and outputs keep the scale 1.
    """

    def __init__(self, graph: Graph, kept: Sequence[str] = ()) -> None:
        self.graph = graph
        self.layers: list[Layer] = []
        self._starts: list[int | None] = []
        total = 1  # channel 0 is that of all maps that must keep the scale 1
        for shape in graph.shapes:
            self._starts.append(total if len(shape) > 1 else None)
            total += shape[1] if len(shape) > 1 else 0
        self._parent = list(range(total))
        self._ratio = [1.0] * total  # the channel's scale divided by its parent's
        self._positive: list[Map] = []
        self._neighbours: dict[Map, list[tuple[Map, Operator | None]]] = {}
        self._pinned: dict[Map, Operator | None] = {}
        self._first_use: dict[str, Layer] = {}
        self._is_negative = self._is_extreme = False  # whether a block has a factor below 0, or near 0
        self.pin(Map(0), None)
        for operator in graph.operators:
            self._demand(operator, kept)
        for output in graph.outputs:
            self.pin(output, None)

    def copy(self) -> ChannelScales:
        """Return a copy to which a block can be added without changing this one."""
        copied = copy.copy(self)
        copied._parent, copied._ratio = self._parent.copy(), self._ratio.copy()
        return copied

    def add_block(self, calls: Sequence[Operator], factor: Tensor) -> None:
        """Demand that each call of a block multiplies its channels by a constant.

        Args:
            calls: the calls of the block; one that serves several edges has several.
            factor: (C,) the constant of each channel.

        Raises:
            Blocked: it contradicts the demands of the other operators. Some demands may have been added: use a copy.
        """
        values = [value if value else _ZERO for value in factor.double().tolist()]
        for call in calls:
            (x,), (y,) = call.inputs, call.outputs
            first, second = self._starts[x.number], self._starts[y.number]
            assert first is not None  # a block has maps (B, C, H, W)
            assert second is not None
            for channel, value in enumerate(values):
                if not self._join(second + channel, first + channel, value):
                    raise Blocked(self._reason(x, y))
        self._is_negative |= min(values) < 0
        self._is_extreme |= min(map(abs, values)) < 1 / _LARGEST or max(map(abs, values)) > _LARGEST
        if self._is_negative and any((self.scale(found) < 0).any() for found in self._positive):
            raise Blocked(tr("a negative factor cannot pass max pooling or ReLU"))
        if self._is_extreme:
            for layer in self.layers:
                if (_multipliers(self, layer).abs() > _LARGEST).any():
                    raise Blocked(tr("a factor of 0 would have to move backwards, which divides by it"))

    def scale(self, found: Map) -> Tensor:
        """Return the scale of each channel of a map, (C,) in float64. A free scale is 1 at the first map that has it."""
        start = self._starts[found.number]
        if start is None:
            return torch.ones(1, dtype=torch.float64)
        channels = range(start, start + self.graph.shapes[found.number][1])
        return torch.tensor([self._find(channel)[1] for channel in channels], dtype=torch.float64)

    def pin(self, found: Map, cause: Operator | None) -> None:
        """Demand the scale 1 of all channels of a map, because of an operator; None is an input or output of the network."""
        start = self._starts[found.number]
        if start is None or found in self._pinned:
            return
        self._pinned[found] = cause
        for channel in range(start, start + self.graph.shapes[found.number][1]):
            self._join(channel, 0, 1.0)

    def equal(self, one: Map, other: Map, operator: Operator | None, *, first: int = 0, second: int = 0,
              count: int | None = None) -> None:
        """Demand equal scales of `count` channels of two maps, from channel `first` and from channel `second` on."""
        a, b = self._starts[one.number], self._starts[other.number]
        if a is None or b is None:
            self.pin(one, operator)
            self.pin(other, operator)
            return
        self._neighbours.setdefault(one, []).append((other, operator))
        self._neighbours.setdefault(other, []).append((one, operator))
        for channel in range(self.graph.shapes[one.number][1] if count is None else count):
            self._join(a + first + channel, b + second + channel, 1.0)

    def positive(self, found: Map) -> None:
        """Demand positive scales of a map."""
        self._positive.append(found)

    def pin_all(self, operator: Operator) -> None:
        """Demand the scale 1 of all inputs and outputs of an operator."""
        for found in (*operator.inputs, *operator.outputs):
            for shared in self.graph.aliases[found.number] if operator.in_place else (found,):
                self.pin(shared, operator)

    def layer(self, layer: Layer) -> None:
        """Add a layer, which takes any scale of its input and of its output. Layers that share a weight share the scales."""
        first = self._first_use.setdefault(layer.weight, layer)
        if first is not layer:
            if (first.groups, first.transposed, first.bias) != (layer.groups, layer.transposed, layer.bias):
                self.pin_all(first.operator)
                self.pin_all(layer.operator)
            self.equal(first.x, layer.x, layer.operator)
            self.equal(first.y, layer.y, layer.operator)
        self.layers.append(layer)

    def _demand(self, operator: Operator, kept: Sequence[str]) -> None:
        if operator.name == SITE:
            if operator.module in kept:
                self.pin_all(operator)
        elif operator.name in _SHAPE_ONLY:
            for found in operator.outputs:
                self.pin(found, operator)
        elif operator.in_place or operator.name not in _RULES or not _RULES[operator.name](self, operator):
            self.pin_all(operator)

    def _find(self, channel: int) -> tuple[int, float]:
        parent, ratio = self._parent, self._ratio
        path = []
        while parent[channel] != channel:
            path.append(channel)
            channel = parent[channel]
        total = 1.0
        for passed in reversed(path):
            total *= ratio[passed]
            parent[passed], ratio[passed] = channel, total
        return channel, total

    def _join(self, one: int, other: int, ratio: float) -> bool:
        """Demand scale(one) = ratio * scale(other). Return False if it contradicts earlier demands."""
        (a, scale), (b, other_scale) = self._find(one), self._find(other)
        if a == b:
            return abs(scale - ratio * other_scale) <= _EQUAL * abs(scale)
        if a < b:  # the earlier channel stays the root: the scale of a root is 1, and channel 0 must have the scale 1
            self._parent[b], self._ratio[b] = a, scale / (ratio * other_scale)
        else:
            self._parent[a], self._ratio[a] = b, ratio * other_scale / scale
        return True

    def _reason(self, x: Map, y: Map) -> str:
        before, after = self._cause(x), self._cause(y)
        return tr("the factor can move neither into the layers before the block ({before}) nor into those after it "
                  "({after})", before=before, after=after)

    def _cause(self, start: Map) -> str:
        """Return what stops a factor of a map: the nearest operator that accepts only the scale 1, and a sum before it."""
        todo: list[tuple[Map, Operator | None]] = [(start, None)]
        seen = {start}
        while todo:
            found, last_sum = todo.pop(0)
            if found in self._pinned:
                if last_sum is not None:
                    return tr("the sum in {module}: its other term has no such factor", module=short(last_sum.module))
                cause = self._pinned[found]
                if cause is None:
                    return tr("input or output of the network")
                return describe(cause)
            for neighbour, operator in self._neighbours.get(found, ()):
                if neighbour not in seen:
                    seen.add(neighbour)
                    is_sum = operator is not None and operator.name == "add"
                    todo.append((neighbour, last_sum or (operator if is_sum else None)))
        return tr("another block")


def describe(operator: Operator) -> str:
    """Return an operator and its module, for a message."""
    if operator.name == SITE:
        return tr("another block")
    return tr("{operator} in {module}", operator=_NAMES.get(operator.name, operator.name.lstrip("_")),
              module=short(operator.module))


def short(module: str) -> str:
    """Return a module's name as sites have it: `2.m.0` for `model.2.m.0`."""
    return module.removeprefix("model.") or tr("the network")


def _multipliers(scales: ChannelScales, layer: Layer) -> Tensor:
    """Return by how much a layer's weight is multiplied: (out, in) per group, or (C,) for a batch norm."""
    x, y = scales.scale(layer.x), scales.scale(layer.y)
    if layer.mean:
        return torch.stack((x / y, 1 / x))
    grouped = x.view(layer.groups, 1, -1)
    return (grouped / y.view(layer.groups, -1, 1)).flatten(0, 1)


def rescale(network: nn.Module, scales: ChannelScales) -> None:
    """Move the scales of all maps into the weights, in place. The blocks that were added must be removed afterwards."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    done: set[str] = set()
    for layer in scales.layers:
        if layer.weight in done:
            continue
        done.add(layer.weight)
        factor, y = _multipliers(scales, layer), scales.scale(layer.y)
        if bool((factor == 1).all() and (y == 1).all()):
            continue
        factor = torch.where(factor.abs() <= _ZERO * _LARGEST, 0, factor)
        weight = tensors[layer.weight]
        if layer.mean:
            _multiply(weight, factor[0])
            _multiply(tensors[layer.mean], factor[1])
        elif layer.transposed:
            # (in, out / groups, ...): the input channels of a group are rows
            _multiply(weight, _by_input(factor, layer.groups)[(...,) + (None,) * (weight.ndim - 2)])
        else:
            _multiply(weight, factor[(...,) + (None,) * (weight.ndim - 2)])
        if layer.bias:
            _multiply(tensors[layer.bias], 1 / y)


def _by_input(factor: Tensor, groups: int) -> Tensor:
    """Turn (out, in / groups) into (in, out / groups)."""
    return factor.view(groups, -1, factor.shape[1]).transpose(1, 2).flatten(0, 1)


def _multiply(tensor: Tensor, factor: Tensor) -> None:
    with torch.no_grad():
        tensor.copy_((tensor.double() * factor.to(tensor.device)).to(tensor.dtype))


# Rules: each adds the demands of one operator, and returns False if it has none for these arguments.
_Rule = Callable[[ChannelScales, Operator], bool]


def _convolution(scales: ChannelScales, operator: Operator) -> bool:
    x, weight, bias = operator.args[:3]
    if not (isinstance(x, Map) and isinstance(weight, Weight) and (bias is None or isinstance(bias, Weight))):
        return False
    scales.layer(Layer(operator, x, operator.outputs[0], weight.name, bias.name if bias else "", groups=operator.args[8],
                       transposed=operator.args[6]))
    return True


def _batch_norm(scales: ChannelScales, operator: Operator) -> bool:
    x, weight, bias, mean = operator.args[:4]
    is_layer = all(isinstance(tensor, Weight) for tensor in (weight, bias, mean))
    if not is_layer or not isinstance(x, Map) or operator.args[5:6] == (True,):
        return False
    scales.layer(Layer(operator, x, operator.outputs[0], weight.name, bias.name, mean.name))
    return True


def _linear(scales: ChannelScales, operator: Operator) -> bool:
    bias, x, weight = operator.args[:3] if operator.name == "addmm" else (None, *operator.args[:2])
    if not (isinstance(x, Map) and isinstance(weight, Weight) and weight.transposed):
        return False
    if not (bias is None or isinstance(bias, Weight)) or len(operator.args) > 3:
        return False
    scales.layer(Layer(operator, x, operator.outputs[0], weight.name, bias.name if bias else ""))
    return True


def _keep(scales: ChannelScales, operator: Operator) -> bool:
    x = operator.args[0]
    if not isinstance(x, Map) or len(operator.inputs) != 1:
        return False
    scales.equal(x, operator.outputs[0], operator)
    if operator.name in _KEEP_POSITIVE:
        scales.positive(x)
    return True


def _keep_axes(scales: ChannelScales, operator: Operator) -> bool:
    """A reshape, or a mean over other axes: equal if the first two axes stay."""
    x, y = operator.args[0], operator.outputs[0]
    if not isinstance(x, Map) or scales.graph.shapes[x.number][:2] != scales.graph.shapes[y.number][:2]:
        return False
    if operator.name in ("mean", "amax") and not all(
            axis % len(scales.graph.shapes[x.number]) > 1 for axis in operator.args[1] or (0,)):
        return False
    if operator.name in ("transpose", "permute", "select") and not _moves_positions_only(scales, operator):
        return False
    scales.equal(x, y, operator)
    if operator.name == "amax":
        scales.positive(x)
    return True


def _moves_positions_only(scales: ChannelScales, operator: Operator) -> bool:
    rank = len(scales.graph.shapes[operator.args[0].number])
    if operator.name == "permute":
        return [axis % rank for axis in operator.args[1][:2]] == [0, 1]
    axes = operator.args[1:3] if operator.name == "transpose" else operator.args[1:2]
    return all(axis % rank > 1 for axis in axes)


def _sum(scales: ChannelScales, operator: Operator) -> bool:
    terms = operator.args[:2]
    shapes = {scales.graph.shapes[found.number] for found in operator.inputs}
    if not all(isinstance(term, Map) for term in terms) or len(shapes) != 1:
        return False
    for term in terms:
        scales.equal(term, operator.outputs[0], operator)
    return True


def _product(scales: ChannelScales, operator: Operator) -> bool:
    """A map times a number or a weight that does not widen the map."""
    (y,) = operator.outputs
    if len(operator.inputs) != 1 or scales.graph.shapes[operator.inputs[0].number] != scales.graph.shapes[y.number]:
        return False
    if operator.name == "div" and not isinstance(operator.args[0], Map):
        return False
    scales.equal(operator.inputs[0], y, operator)
    return True


def _cat(scales: ChannelScales, operator: Operator) -> bool:
    terms, axis = operator.args[0], operator.args[1] if len(operator.args) > 1 else 0
    (y,) = operator.outputs
    shapes = scales.graph.shapes
    if not all(isinstance(term, Map) for term in terms):
        return False
    start = 0
    for term in terms:
        if axis % len(shapes[y.number]) == 1:
            count = shapes[term.number][1]
            scales.equal(term, y, operator, second=start, count=count)
            start += count
        else:
            scales.equal(term, y, operator)
    return True


def _split(scales: ChannelScales, operator: Operator) -> bool:
    x, axis = operator.args[0], operator.args[2] if len(operator.args) > 2 else 0
    if not isinstance(x, Map):
        return False
    start = 0
    for part in operator.outputs:
        if axis % len(scales.graph.shapes[x.number]) == 1:
            count = scales.graph.shapes[part.number][1]
            scales.equal(x, part, operator, first=start, count=count)
            start += count
        else:
            scales.equal(x, part, operator)
    return True


def _slice(scales: ChannelScales, operator: Operator) -> bool:
    x = operator.args[0]
    defaults: tuple[Any, ...] = (0, 0, None, 1)
    axis, start, _, step = operator.args[1:] + defaults[len(operator.args) - 1:]
    if not isinstance(x, Map):
        return False
    shape, (y,) = scales.graph.shapes[x.number], operator.outputs
    if axis % len(shape) != 1:
        scales.equal(x, y, operator)
    elif step == 1:
        start = start or 0
        scales.equal(x, y, operator, first=start + shape[1] if start < 0 else start, count=scales.graph.shapes[y.number][1])
    else:
        return False
    return True


_RULES: Mapping[str, _Rule] = {
    **dict.fromkeys((*_KEEP_SCALE, *_KEEP_POSITIVE), _keep),
    **dict.fromkeys(("view", "_unsafe_view", "mean", "amax", "transpose", "permute", "select"), _keep_axes),
    **dict.fromkeys(("native_batch_norm", "cudnn_batch_norm", "_native_batch_norm_legit_no_training"), _batch_norm),
    "convolution": _convolution, "addmm": _linear, "mm": _linear, "add": _sum, "mul": _product, "div": _product, "cat": _cat,
    "split": _split, "split_with_sizes": _split, "slice": _slice,
}
