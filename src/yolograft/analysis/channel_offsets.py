"""Move a constant that a block adds to each channel into the biases of a network, without changing its outputs.

The constant moves back into the bias that produces the map, or on through the operators that read it. A convolution with
zero padding stops it: at the border its output would differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from math import prod

import torch
from torch import Tensor, nn

from yolograft.analysis.channel_scales import Blocked, ChannelScales, Layer, describe, short
from yolograft.analysis.operator_graph import SITE, Map, Operator
from yolograft.language import tr

__all__ = ["Additions", "add", "merge", "move_offset"]

Additions = dict[str, Tensor]  # what is added to each tensor of the state dict, in float64

_KEEP = {  # operators that give f(x + c) = f(x) + c for a constant c per channel
    "clone", "detach", "alias", "contiguous", "_to_copy", "upsample_nearest2d", "upsample_bilinear2d",
    "_upsample_nearest_exact2d", "_adaptive_avg_pool2d", "max_pool2d_with_indices", "adaptive_max_pool2d", "view",
    "_unsafe_view", "mean", "amax",
}


def move_offset(network: nn.Module, scales: ChannelScales, calls: Sequence[Operator], factor: Tensor, offset: Tensor,
                factors: Mapping[str, Tensor]) -> Additions:
    """Return what to add to which tensors so that a block y = factor x + offset can become y = factor x.

    The additions of several blocks can be summed: apply them with `add` before the scales are moved.

    Args:
        network: the network of `scales`, with its original weights.
        scales: its layers and operators.
        calls: the calls of the block.
        factor, offset: (C,) the constants of the block.
        factors: the factors of all blocks that are folded, by their names.

    Raises:
        Blocked: no way of the offset ends in biases only.
    """
    mover = _Mover(network, scales, factors)
    offset = offset.double()
    numbers = {call.number for call in calls}
    try:
        if bool((factor == 0).any()):
            raise Blocked(tr("a factor of 0"))
        added: Additions = {}
        for x in dict.fromkeys(call.inputs[0] for call in calls):
            merge(added, mover.back(x, offset / factor.double(), numbers))
        return added
    except Blocked as before:
        try:
            added = {}
            for call in calls:
                merge(added, mover.on(call.outputs[0], offset))
            return added
        except Blocked as after:
            raise Blocked(tr("what the block adds can move neither into the layers before it ({before}) nor into those "
                             "after it ({after})", before=before, after=after)) from after


def add(network: nn.Module, additions: Additions) -> None:
    """Add to the tensors of a network, in place."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    with torch.no_grad():
        for name, value in additions.items():
            tensor = tensors[name]
            tensor.copy_((tensor.double() + value.to(tensor.device)).to(tensor.dtype))


def merge(total: Additions, more: Additions) -> None:
    """Add `more` to `total`, in place."""
    for name, value in more.items():
        total[name] = total[name] + value if name in total else value


class _Mover:
    """Finds the ways of an offset through one network."""

    def __init__(self, network: nn.Module, scales: ChannelScales, factors: Mapping[str, Tensor]) -> None:
        self.tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self.shapes, self.outputs, self.factors = scales.graph.shapes, set(scales.graph.outputs), factors
        self.layers: dict[int, Layer] = {layer.operator.number: layer for layer in scales.layers}
        self.uses = Counter(layer.weight for layer in scales.layers)
        self.producers = {found: operator for operator in scales.graph.operators for found in operator.outputs}
        self.readers: dict[Map, list[Operator]] = {}
        for operator in scales.graph.operators:
            for found in dict.fromkeys(operator.inputs):
                self.readers.setdefault(found, []).append(operator)

    def on(self, found: Map, lack: Tensor, but: Sequence[int] | set[int] = ()) -> Additions:
        """Let all readers of a map act as before when the map has lost `lack`, (C,). `but` are calls that do not care."""
        added: Additions = {}
        if not bool(lack.any()):
            return added
        if found in self.outputs:
            raise Blocked(tr("output of the network"))
        for reader in self.readers.get(found, ()):
            if reader.number not in but:
                merge(added, self._through(reader, found, lack))
        return added

    def back(self, found: Map, gain: Tensor, readers: set[int]) -> Additions:
        """Add `gain`, (C,), to a map for some of its readers only."""
        if not bool(gain.any()):
            return {}
        producer = self.producers.get(found)
        if producer is None or found in self.outputs:
            raise Blocked(tr("input or output of the network"))
        added = self.on(found, -gain, readers)
        layer = self.layers.get(producer.number)
        if layer is not None:
            if not layer.bias or self.uses[layer.weight] > 1:
                raise _stopped_by(producer)
            merge(added, {layer.bias: gain})
        elif producer.name == SITE and producer.module in self.factors:
            factor = self.factors[producer.module].double()
            if bool((factor == 0).any()):
                raise _stopped_by(producer)
            merge(added, self.back(producer.inputs[0], gain / factor, {producer.number}))
        elif producer.name == "cat" and self._axis(producer) == 1:
            start = 0
            for term in producer.inputs:
                count = self.shapes[term.number][1]
                merge(added, self.back(term, gain[start:start + count], {producer.number}))
                start += count
        elif producer.name in ("split", "split_with_sizes") and self._axis(producer) == 1:
            merge(added, self.back(producer.inputs[0], self._widened(producer, found, gain), {producer.number}))
        elif producer.name == "add" and len(producer.inputs) == 2:
            try:
                merge(added, self.back(producer.inputs[1], gain, {producer.number}))
            except Blocked:
                merge(added, self.back(producer.inputs[0], gain, {producer.number}))
        elif self._keeps(producer):
            merge(added, self.back(producer.inputs[0], gain, {producer.number}))
        else:
            raise _stopped_by(producer)
        return added

    def _through(self, reader: Operator, found: Map, lack: Tensor) -> Additions:
        """Let one reader give its former output, or let the readers of its output act as before."""
        layer = self.layers.get(reader.number)
        y = reader.outputs[0]
        if layer is not None:
            if self.uses[layer.weight] > 1:
                raise _stopped_by(reader)
            if layer.mean:
                return {layer.mean: -lack}
            lost = self._lost(layer, lack)
            return {layer.bias: lost} if layer.bias else self.on(y, lost)
        if reader.name == SITE and reader.module in self.factors:
            return self.on(y, lack * self.factors[reader.module].double())
        if reader.name == "cat" and self._axis(reader) == 1:
            start, parts = 0, []
            for term in reader.inputs:
                count = self.shapes[term.number][1]
                parts.append(lack if term == found else torch.zeros(count, dtype=torch.float64))
                start += count
            return self.on(y, torch.cat(parts))
        if reader.name in ("split", "split_with_sizes") and self._axis(reader) == 1:
            added: Additions = {}
            counts = [self.shapes[part.number][1] for part in reader.outputs]
            for part, piece in zip(reader.outputs, lack.split(counts), strict=True):
                merge(added, self.on(part, piece))
            return added
        if reader.name == "add" and len(reader.inputs) == 2 and len(reader.args) == 2:
            return self.on(y, lack * reader.inputs.count(found))
        if self._keeps(reader):
            return self.on(y, lack)
        raise _stopped_by(reader)

    def _lost(self, layer: Layer, lack: Tensor) -> Tensor:
        """Return the constant that the output of a convolution or linear layer loses with its input."""
        weight = self.tensors[layer.weight].detach().double().cpu()
        if layer.operator.name == "convolution":
            stride, padding = layer.operator.args[3:5]
            if any(padding) or (layer.transposed and (prod(weight.shape[2:]) > 1 or prod(stride) > 1)):
                raise Blocked(tr("the zero padding of {module}", module=short(layer.operator.module)))
        sums = weight.flatten(2).sum(2) if weight.ndim > 2 else weight
        if layer.transposed:
            grouped = sums.view(layer.groups, -1, sums.shape[1])
            return torch.einsum("gio,gi->go", grouped, lack.view(layer.groups, -1)).flatten()
        return torch.einsum("goi,gi->go", sums.view(layer.groups, -1, sums.shape[1]), lack.view(layer.groups, -1)).flatten()

    def _keeps(self, operator: Operator) -> bool:
        shapes = [self.shapes[found.number][:2] for found in (*operator.inputs, operator.outputs[0])]
        return operator.name in _KEEP and len(operator.inputs) == 1 and shapes[0] == shapes[1]

    def _axis(self, operator: Operator) -> int:
        position = 1 if operator.name == "cat" else 2
        axis: int = operator.args[position] if len(operator.args) > position else 0
        return axis % len(self.shapes[operator.outputs[0].number])

    def _widened(self, split: Operator, part: Map, gain: Tensor) -> Tensor:
        """Return a constant of one part of a split as one of the whole map."""
        return torch.cat([gain if other == part else torch.zeros(self.shapes[other.number][1], dtype=torch.float64)
                          for other in split.outputs])


def _stopped_by(operator: Operator) -> Blocked:
    return Blocked(describe(operator))
