"""Match the tensors of a fork's attention module with one of our blocks: its settings, and which tensor is which.

A checkpoint has tensors with names and shapes, the names of classes, and plain attributes. It has no code. So the match is a
search: which settings of the block give exactly the tensors that the fork has? Where several tensors have one shape, the
names of the public implementations below decide, else their order. What only code could show is listed as an assumption.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, product
from typing import Any

import torch
from torch import Tensor, nn

from yolograft import blocks
from yolograft.errors import BlockError
from yolograft.host.pickled import Record, walk
from yolograft.language import tr

__all__ = ["KNOWN", "NONLINEAR", "Known", "Match", "match_block", "match_exactly"]

_ULTRALYTICS_EPS = 1e-3  # of every BatchNorm2d of a model that Ultralytics builds (`initialize_weights`)
_MAX_OPTIONS = 8  # values to try of one setting
_MAX_CHANGES = 3  # settings that differ from those of the YAML row at the same time


@dataclass(frozen=True, kw_only=True)
class Known:
    """The names in one public implementation of a block.

    Attributes:
        block: our block.
        source: the repository and the file that has these names.
        units: the end of a module's (or a parameter's) name there -> the name of ours.
        swapped: our convolution whose two input maps have the other order there.
        transposed: our parameter that is transposed there.
        bias_as_norm: (convolution, norm) of ours: the convolution has a bias there, which our norm can express.
    """

    block: str
    source: str
    units: Mapping[str, str]
    swapped: str = ""
    transposed: str = ""
    bias_as_norm: tuple[str, str] | None = None


KNOWN = (
    Known(block="cbam", source="Jongchan/attention-module MODELS/cbam.py", swapped="conv",
          units={"mlp.1": "fc1", "mlp.3": "fc2", "spatial.conv": "conv", "spatial.bn": "norm"}),
    Known(block="cbam", source="xmu-xiaoma666/External-Attention-pytorch model/attention/CBAM.py", swapped="conv",
          bias_as_norm=("conv", "norm"), units={"se.0": "fc1", "se.2": "fc2", "sa.conv": "conv"}),
    Known(block="cbam", source="luuuyi/CBAM.PyTorch model/resnet_cbam.py",
          units={"fc1": "fc1", "fc2": "fc2", "conv1": "conv"}),
    Known(block="cbam", source="luuuyi/CBAM.PyTorch model/resnet_cbam.py, later version",
          units={"fc.0": "fc1", "fc.2": "fc2", "conv1": "conv"}),
    Known(block="triplet", source="landskape-ai/triplet-attention MODELS/triplet_attention.py",
          units={"cw.conv.conv": "cw.0", "cw.conv.bn": "cw.1", "hc.conv.conv": "hc.0", "hc.conv.bn": "hc.1",
                 "hw.conv.conv": "hw.0", "hw.conv.bn": "hw.1"}),
    Known(block="shuffle", source="wofmanaf/SA-Net models/sa_resnet.py",
          units={"cweight": "channel_weight", "cbias": "channel_bias", "sweight": "spatial_weight",
                 "sbias": "spatial_bias", "gn": "norm"}),
    Known(block="sge", source="implus/PytorchInsight classification/models/imagenet/resnet_sge.py",
          units={"weight": "gamma", "bias": "beta"}),
    Known(block="srm", source="hyunjaelee410/style-based-recalibration-module models/recalibration_modules.py",
          transposed="style", units={"cfc": "style", "bn": "norm"}),
    Known(block="psa", source="xmu-xiaoma666/External-Attention-pytorch model/attention/PolarizedSelfAttention.py",
          units={"ch_wv": "channel_value", "ch_wq": "channel_query", "ch_wz": "channel_out", "ln": "norm",
                 "sp_wv": "spatial_value", "sp_wq": "spatial_query"}),
    Known(block="coordatt", source="houqb/CoordAttention coordatt.py",
          units={"conv1": "conv1", "bn1": "norm", "conv_h": "conv_h", "conv_w": "conv_w"}),
    Known(block="lsk", source="zcablii/Large-Selective-Kernel-Network mmrotate/models/backbones/lsknet.py",
          units={"conv0": "near", "conv_spatial": "far", "conv1": "conv1", "conv2": "conv2", "conv_squeeze": "select",
                 "conv": "conv"}),
    Known(block="double", source="xmu-xiaoma666/External-Attention-pytorch model/attention/A2Atttention.py",
          units={"convA": "features", "convB": "gather", "convV": "distribute", "conv_reconstruct": "out"}),
)

# The nonlinear functions of each block, as the modules of public implementations name them. A fork's module with another
# one, such as SiLU in place of ReLU, computes something else.
_SIGMOID, _HARD = {"Sigmoid"}, {"Hardsigmoid", "h_sigmoid", "hsigmoid", "HSigmoid", "ReLU6"}
_SWISH = {"Hardswish", "h_swish", "hswish", "HSwish"}
NONLINEAR: dict[str, set[str]] = {
    "bam": {"ReLU", *_SIGMOID}, "cam": {"Softmax"}, "cbam": {"ReLU", *_SIGMOID}, "ceca": _SIGMOID,
    "coordatt": {*_SWISH, *_HARD, *_SIGMOID}, "double": {"Softmax"}, "eca": _SIGMOID, "ela": _SIGMOID,
    "ema": {"Softmax", *_SIGMOID}, "ese": _HARD, "fca": {"ReLU", *_SIGMOID}, "gam": {"ReLU", *_SIGMOID},
    "gc": {"ReLU", "Softmax", *_SIGMOID}, "gct": set(), "ge": {"ReLU", *_SIGMOID}, "lsk": _SIGMOID, "lska": set(),
    "mhsa": {"Softmax"}, "mlca": _SIGMOID, "nam": _SIGMOID, "nonlocal": {"Softmax"}, "pam": {"Softmax"},
    "parnet": {"SiLU", *_SIGMOID}, "psa": {"Softmax", *_SIGMOID}, "scse": {"ReLU", *_SIGMOID}, "se": {"ReLU"},
    "sge": _SIGMOID, "shuffle": _SIGMOID, "simam": _SIGMOID, "sk": {"ReLU", "Softmax"}, "srm": _SIGMOID,
    "triplet": _SIGMOID,
}
# The module of a fork -> the value of our setting `gate`.
_GATES = {"Sigmoid": "sigmoid", "Hardsigmoid": "hardsigmoid", "h_sigmoid": "hardsigmoid", "hsigmoid": "hardsigmoid",
          "HSigmoid": "hardsigmoid", "Tanh": "tanh"}
_HARD_PARTS = {"h_sigmoid", "hsigmoid", "HSigmoid", "h_swish", "hswish", "HSwish"}  # classes that are made of a ReLU6
# Our setting -> the attributes of public implementations with its value.
_ATTRIBUTES = {
    "groups": ("groups", "group", "factor", "G", "g"), "heads": ("heads", "num_heads", "n_heads"), "energy": ("e_lambda",),
    "kernel_size": ("kernel_size", "k_size"), "ratio": ("reduction", "ratio", "r"), "local_size": ("local_size",),
    "local_weight": ("local_weight",), "epsilon": ("epsilon", "eps"), "gamma": ("gamma",),
}
_NOT_TENSOR = ("training", "init", "minimum")
_NORM_LEAVES = {"weight", "bias", "running_mean", "running_var", "num_batches_tracked"}


@dataclass
class Match:
    """How a fork's module is expressed by a block.

    Attributes:
        settings: every setting of the block.
        tensors: our key -> the tensor in our shape.
        pairs: the fork's name -> ours, for each module or parameter.
        assumptions: what the checkpoint cannot show.
        problems: why the block cannot compute the same; empty if all tensors fit.
    """

    settings: dict[str, Any]
    tensors: dict[str, Tensor] = field(default_factory=dict)
    pairs: dict[str, str] = field(default_factory=dict)
    assumptions: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


_Unit = tuple[str, dict[str, Tensor]]  # the name of a module, and its own tensors


def match_block(name: str, channels: int, settings: Mapping[str, Any], tensors: Mapping[str, Tensor],
                record: Record | None) -> Match:
    """Find the settings of a block with which it has exactly a fork's tensors.

    Args:
        name: our block.
        channels: C.
        settings: those of the YAML row. They are kept where they fit.
        tensors: the state dict of the fork's module.
        record: the module as the pickle describes it; None for a file that has only a state dict.
    """
    start = {**blocks.defaults(name), **settings}
    if "init" in start and "init" not in settings:
        start["init"] = "paper"  # forks compute the published form
    seen = [_leaf(one.path) for _, one in walk(record)] if record else []
    gates = [_GATES[one] for one in seen if one in _GATES]
    if start.get("gate") in _GATES.values() and gates and "gate" not in settings:
        start["gate"] = gates[-1]
    best: Match | None = None
    for candidate in _candidates(start, channels, tensors, record):
        try:
            with torch.device("meta"):
                module = blocks.create(name, channels, **candidate)
        except (BlockError, RuntimeError, NotImplementedError):
            continue
        found = _pair(name, module, candidate, tensors)
        if best is None or len(found.problems) < len(best.problems):
            best = found
        if not found.problems:
            break
    if best is None:
        return Match(dict(start), problems=[tr("no setting of '{block}' works for {channels} channels", block=name,
                                               channels=channels)])
    _check_functions(name, best, seen)
    _fold_eps(name, channels, best, record)
    return best


def match_exactly(name: str, channels: int, settings: Mapping[str, Any], tensors: Mapping[str, Tensor],
                  record: Record | None) -> Match:
    """Match the tensors of a block whose class is the fork's own: the keys are the same."""
    found = Match({**blocks.defaults(name), **settings})
    ours = blocks.create(name, channels, **found.settings).state_dict()
    found.tensors = {key: tensors[key] for key in ours if key in tensors and tensors[key].shape == ours[key].shape}
    found.pairs = {key: key for key in found.tensors}
    found.problems = [_describe(key, value) for key, value in tensors.items() if key not in found.tensors]
    found.problems += [tr("no tensor for its {key} {shape}", key=key, shape=tuple(value.shape))
                       for key, value in ours.items() if key not in tensors]
    _fold_eps(name, channels, found, record)
    return found


def _candidates(start: dict[str, Any], channels: int, tensors: Mapping[str, Tensor],
                record: Record | None) -> Iterator[dict[str, Any]]:
    """Give settings to try, those with the fewest changes of `start` first."""
    sizes = sorted({size for tensor in tensors.values() for size in tensor.shape}, reverse=True)
    options = {key: _options(key, value, channels, sizes, record)[:_MAX_OPTIONS] for key, value in start.items()
               if key not in _NOT_TENSOR}
    options = {key: values for key, values in options.items() if values}
    for count in range(min(_MAX_CHANGES, len(options)) + 1):
        for keys in combinations(options, count):
            for values in product(*(options[key] for key in keys)):
                changed = dict(zip(keys, values, strict=True))
                if "ratio" in changed and "minimum" in start:
                    changed["minimum"] = 1
                yield {**start, **changed}


def _options(key: str, value: Any, channels: int, sizes: list[int], record: Record | None) -> list[Any]:
    """Return other values of one setting that the fork's tensors and attributes suggest."""
    if isinstance(value, bool):
        return [not value]
    found: list[Any] = []
    if record is not None and key in _ATTRIBUTES:
        found += [one.state[name] for _, one in walk(record) for name in _ATTRIBUTES[key]
                  if isinstance(one.state.get(name), (int, float)) and not isinstance(one.state[name], bool)]
    if key == "ratio":
        found += [channels // size if channels % size == 0 else channels / size for size in sizes if 1 <= size <= channels]
    elif key in ("kernel_size", "local_size"):
        found += [size for size in sizes if size % 2 and size < 64]
    elif key in ("groups", "norm_groups"):
        found += [channels // size for size in sizes if size and channels % size == 0]
        found += [channels // (2 * size) for size in sizes if size and channels % (2 * size) == 0]
        found += [size for size in sizes if size and channels % size == 0]
    elif key == "branches":
        found += [2, 3, 4]
    return [one for one in dict.fromkeys(found) if one != value]


def _units(tensors: Iterable[tuple[str, Tensor]]) -> list[_Unit]:
    """Group a state dict by modules. A parameter that is not part of a layer is a unit of its own."""
    grouped: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors:
        prefix, _, leaf = key.rpartition(".")
        if leaf in _NORM_LEAVES and prefix:
            grouped.setdefault(prefix, {})[leaf] = tensor
        else:
            grouped[key] = {"": tensor}
    return list(grouped.items())


def _fits(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(_has_shape(one[leaf], other[leaf]) for leaf in one)


def _has_shape(one: Tensor, other: Tensor) -> bool:
    if one.dim() == other.dim():
        return one.shape == other.shape
    return [size for size in one.shape if size != 1] == [size for size in other.shape if size != 1]


def _pair(name: str, module: nn.Module, settings: dict[str, Any], tensors: Mapping[str, Tensor]) -> Match:
    ours, theirs = _units(module.state_dict().items()), _units(tensors.items())
    for known in KNOWN:
        if known.block == name:
            found = _pair_known(known, ours, theirs, settings)
            if found is not None:
                return found
    found = Match(dict(settings))
    left = list(theirs)
    for unit, mine in ours:
        fitting = [one for one in left if _fits(mine, one[1])]
        if not fitting:
            shapes = ", ".join(f"{unit}.{leaf} {tuple(value.shape)}".replace(". ", " ") for leaf, value in mine.items())
            found.problems.append(tr("no tensor for the block's {shapes}", shapes=shapes))
            continue
        same = [one for one in fitting if one[0].rpartition(".")[2] == unit.rpartition(".")[2]]
        chosen = same[0] if len(same) == 1 else fitting[0]
        if len(fitting) > 1 and not same:
            found.assumptions.append(tr("{theirs} is {ours}, by order: {others} has the same shape", theirs=chosen[0],
                                        ours=unit, others=", ".join(one[0] for one in fitting if one is not chosen)))
        left.remove(chosen)
        _take(found, chosen, (unit, mine))
    found.problems += [_describe(f"{unit}.{leaf}".rstrip("."), value) for unit, values in left
                       for leaf, value in values.items()]
    return found


def _pair_known(known: Known, ours: list[_Unit], theirs: list[_Unit], settings: dict[str, Any]) -> Match | None:
    """Match by the names of one implementation; None if this is another one."""
    mine = dict(ours)
    found = Match(dict(settings))
    for unit, values in theirs:
        ends = [end for end in known.units if unit == end or unit.endswith(f".{end}")]
        target = known.units[max(ends, key=len)] if ends else ""
        if target not in mine or target in found.pairs.values():
            return None
        values = dict(values)
        extra: Tensor | None = None
        if known.bias_as_norm and target == known.bias_as_norm[0]:
            extra = values.pop("bias", None)
            if extra is None or known.bias_as_norm[1] not in mine:
                return None
        if known.swapped == target:
            values["weight"] = values["weight"].flip(1)
        if known.transposed == target:
            values = {leaf: value.transpose(-1, -2) for leaf, value in values.items()}
        if not _fits(mine[target], values):
            return None
        _take(found, (unit, values), (target, mine[target]))
        if extra is not None and known.bias_as_norm:
            norm = known.bias_as_norm[1]
            eps = 1e-5  # of our norm
            ready = {"weight": torch.ones(1), "bias": extra, "running_mean": torch.zeros(1),
                     "running_var": torch.full((1,), 1.0 - eps), "num_batches_tracked": torch.zeros((), dtype=torch.int64)}
            _take(found, (f"{unit}.bias", ready), (norm, mine[norm]))
    if set(found.pairs.values()) != set(mine):
        return None
    found.assumptions.append(tr("computed as in {source}, which has these names", source=known.source))
    return found


def _take(found: Match, theirs: _Unit, ours: _Unit) -> None:
    for leaf, value in theirs[1].items():
        found.tensors[f"{ours[0]}.{leaf}" if leaf else ours[0]] = value.reshape(ours[1][leaf].shape)
    found.pairs[theirs[0]] = ours[0]


def _describe(key: str, value: Tensor) -> str:
    return tr("{key} {shape} has no place in the block", key=key, shape=tuple(value.shape))


def _check_functions(name: str, found: Match, seen: list[str]) -> None:
    """Compare the nonlinear functions that the fork's module contains with those of the block."""
    functions = {one for one in seen if one in nn.modules.activation.__all__ or one in _HARD_PARTS}
    allowed = set(NONLINEAR.get(name, functions))
    if "gate" in found.settings:
        allowed |= {key for key, gate in _GATES.items() if gate == found.settings["gate"]}
        allowed |= _HARD if found.settings["gate"] == "hardsigmoid" else set()
    if functions & _HARD_PARTS:
        allowed.add("ReLU6")
    for other in sorted(functions - allowed):
        found.problems.append(tr("its {function}: '{block}' has {known} there", function=other, block=name,
                                 known=", ".join(sorted(NONLINEAR.get(name, ()))) or tr("no such function")))
    if not functions:
        found.assumptions.append(tr("'{block}' as published: the checkpoint does not show the functions between the layers",
                                    block=name))


def _fold_eps(name: str, channels: int, found: Match, record: Record | None) -> None:
    """Change the running variances so that our batch norms give the fork's output in spite of another `eps`.

    Ultralytics sets `eps` of every batch norm of a model that it builds to 1e-3, also inside a fork's modules.
    """
    theirs = {prefix: one.state.get("eps", _ULTRALYTICS_EPS) for prefix, one in walk(record)} if record else {}
    ours = blocks.create(name, channels, **found.settings)
    names = {mine: other for other, mine in found.pairs.items()}
    for prefix, module in ours.named_modules():
        key = f"{prefix}.running_var"
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and key in found.tensors:
            other = names.get(prefix, prefix)
            if other.endswith(".bias"):
                continue  # made of a bias: exact as it is
            eps = theirs.get(other, _ULTRALYTICS_EPS)
            folded = found.tensors[key].double() + (float(eps) - module.eps)
            if bool((folded < 0).any()):
                found.problems.append(tr("{key} has a batch norm with eps={eps}, which ours cannot express", key=key,
                                         eps=eps))
            found.tensors[key] = folded.clamp(min=0).float()


def _leaf(path: str) -> str:
    return path.rpartition(".")[2]
