"""The arguments of attention rows in hand-edited YAML files: channels or settings.

Forks change `parse_model` in three ways. With `args = [ch[f], *args]`, rows have only settings: `[16]`, or `[7]` for
CBAM. With `args = [c1, *args[1:]]`, the first number is a placeholder for the channels: `[1024, 16]`. Without such a line,
rows have the width of one scale: `[256]`. The signatures of the blocks add `[c1, c2]` and `[c1, c2, ratio]`. The other
numbers have the order of the author's constructor. One function, `understand`, says what each number is; the reader and the
linter both use it. Its rules:

1. **Channels.** The first number is channels if it is a whole number of 64 or more. A smaller whole number is channels if
   another number follows, and either the first is one of the row's widths (before scaling, or at one of the file's scales)
   or there are more numbers than the block can take. At most two numbers are channels (`c1, c2`). They are not used: the
   width always comes from the host, so that the file works at every scale.
2. **Settings by position.** The other values have the order of the block's public implementations (`implementations`): the
   first implementation whose parameters can have these values, those of the row's class before others. So `[14, 14, 4]` for
   MHSA is width, height and heads, and `[16, 8]` after the channels of ShuffleAttention is reduction and groups. If none
   fits, the values have the order of our block's declaration, without `minimum`. In CBAM, an odd first number is the kernel.
3. **Settings by name.** A mapping at the end names settings. It can express every setting:
   `[-1, 1, SE, [{ratio: 64, gate: tanh}]]`.
4. Stock Ultralytics can build `torchvision.ops.SqueezeExcitation`, `[C, squeeze]`. Both numbers are absolute. The ratio is
   C / squeeze, which gives the same hidden width.

Every other setting keeps the block's default, including `init`. To start like the fork's block, write `{init: paper}`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yolograft import blocks
from yolograft.errors import BlockError, SpecError, nearest
from yolograft.language import tr
from yolograft.modelyaml import catalog
from yolograft.modelyaml.implementations import Implementation, Parameter, implementations_of
from yolograft.modelyaml.table import Row, parse_literal, short_text
from yolograft.spec import Value

__all__ = ["SQUEEZE_EXCITATION", "Understood", "find_block", "format_args", "parse_args", "row_name", "understand"]

SQUEEZE_EXCITATION = "torchvision.ops.SqueezeExcitation"
_MIN_CHANNELS = 64  # no ratio, kernel or number of groups in known forks is as large
_MAP_SIZES = range(4, 1025)  # heights and widths of feature maps in rows
_PAIRS = range(4, 161)  # the same, and inner widths, where they could be channels
_WORDS = {"att": "attention", "hard_sigmoid": "hardsigmoid", "channel_add": "add", "channel_mul": "scale"}
# ELA's four variants (Xu and Wan 2024): kernel size, channels in one group of the convolution (None: C / 8 groups), and
# groups of the normalisation.
_ELA: dict[str, tuple[int, int | None, int]] = {"T": (5, 1, 32), "B": (7, 1, 16), "S": (5, None, 16), "L": (7, None, 16)}

Settings = tuple[tuple[str, Value], ...]


@dataclass(frozen=True, kw_only=True)
class Understood:
    """The meaning of a row's arguments.

    Attributes:
        settings: the block's settings, sorted by name.
        channels: the numbers that are channels.
        note: what the numbers are that are no settings, and whose signature was used; empty if there is nothing to say.
    """

    settings: Settings
    channels: tuple[int, ...]
    note: str


def find_block(module: str) -> str | None:
    """Return the block that a row's module names, or None for a module of the host.

    A module of the installed Ultralytics (such as its PSA) always belongs to the host, even if a block has the same name.
    """
    if module == SQUEEZE_EXCITATION:
        return "se"
    if catalog.has_module(module):
        return None
    try:
        return blocks.canonical(module.rpartition(".")[2])
    except BlockError:
        return None


def parse_args(one: Row, block: str, widths: frozenset[int] = frozenset()) -> tuple[Settings, str]:
    """Return the settings and the note of `understand`."""
    understood = understand(one, block, widths)
    return understood.settings, understood.note


def understand(one: Row, block: str, widths: frozenset[int] = frozenset(), width: int | None = None) -> Understood:
    """Say what each argument of an attention row is.

    Args:
        one: the attention row.
        block: the name of its block.
        widths: the widths of the row that it follows: before scaling, and at each of the file's scales.
        width: its width at the scale in use. Needed for numbers that are an absolute width inside the block.

    Raises:
        SpecError: the block does not take these arguments; the message names the row.
    """
    args = [_parse(arg) for arg in one.args]
    if one.module == SQUEEZE_EXCITATION:
        return _squeeze(one, args)
    named = dict(args.pop()) if args and isinstance(args[-1], dict) else {}
    known = implementations_of(block, one.module)
    count = _count_channels(block, args, widths, known)
    rest = args[count:]
    implementation = next((each for each in known if _fits(each, rest, count, width or _first(args, count))), None)
    own = _order(block, rest)
    if implementation is None and len(rest) > len(own):
        raise SpecError(_too_many(one, block, rest))
    found: dict[str, Value] = {}
    unused: list[str] = []
    if implementation is not None:
        found, unused = _by_author(one, block, implementation, rest, width or _first(args, count))
    else:
        for key, value in zip(own, rest, strict=False):
            found[key] = _check(one, block, key, _ratio(value) if key == "ratio" else value)
    for name, given in named.items():
        for key, value in _by_name(block, known, name, given, width).items():
            if key in found:
                raise SpecError(tr("{row}: the setting '{key}' is given twice.", row=one, key=key))
            found[key] = _check(one, block, key, value)
    for key, implied in _implied(known, one.module):
        found.setdefault(key, implied)
    return Understood(settings=tuple(sorted(found.items())),
                      channels=tuple(arg for arg in args[:count] if isinstance(arg, int)),
                      note=_note([arg for arg in args[:count] if arg is not None], unused, implementation, block, found))


def format_args(one: Row, block: str, settings: Settings) -> list[Any]:
    """Return the arguments for these settings: `[]`, one number such as `[16]` if that is enough, or a mapping.

    `parse_args` converts them back. Forks with `args = [ch[f], *args]` take `[]` and `[16]` too.
    """
    if not settings:
        return []
    plain = [_thaw(value) for _, value in settings]
    if len(settings) == 1 and isinstance(plain[0], (int, float)) and not isinstance(plain[0], bool):
        short = Row(one.number, one.part, one.sources, one.is_list, one.repeats, one.module, plain)
        try:
            if parse_args(short, block)[0] == settings:
                return plain
        except SpecError:
            pass  # `parse_args` would misread the number, so a mapping is needed
    return [{key: _thaw(value) for key, value in settings}]


def row_name(block: str) -> str:
    """Return the block's module name in a row: the name of its class, as in forks, unless that name means another module."""
    name = blocks.lookup(block).__name__
    return name if find_block(name) == block else block


def _count_channels(block: str, args: Sequence[Any], widths: frozenset[int], known: Sequence[Implementation]) -> int:
    if args and widths and _is_number(args[0]) and args[0] not in widths and any(
            _has_no_channels(each, args) for each in known):
        return 0
    first = known[0] if known else None
    count = 0
    while count < min(2, len(args)):
        if count and args[count] is None and first is not None and len(first.channels) > 1:
            count += 1  # `c2=None` means the same channels
            continue
        parameter = first.parameters[0] if count and first is not None and first.parameters else None
        is_inner = parameter is not None and parameter.kind == "inner"
        is_groups = parameter is not None and parameter.setting == "groups" and args[count] != args[0] and \
            _is_plausible(parameter, args[count], None)
        if is_inner or is_groups or not _is_channels(block, args[count:], widths, known):
            break
        count += 1
    return count


def _has_no_channels(implementation: Implementation, args: Sequence[Any]) -> bool:
    """Whether numbers of 64 or more are no channels, if the first is none of the row's widths.

    True for the height and width of a map and for two equal inner widths, and in a constructor without channels.
    """
    if not _fits(implementation, args, 0, _MIN_CHANNELS):
        return False
    is_pair = len(args) > 1 and args[0] == args[1] and implementation.parameters[0].kind in ("size", "inner")
    return (is_pair and args[0] in _PAIRS) or (not implementation.channels and _is_whole(args[0]))


def _is_channels(block: str, rest: Sequence[Any], widths: frozenset[int], known: Sequence[Implementation]) -> bool:
    if not _is_number(rest[0]) or not isinstance(rest[0], int):
        return False
    numbers = next((at for at, one in enumerate(rest) if not _is_number(one)), len(rest))
    own = sum(1 for key in _order(block, rest) if _takes_number(blocks.defaults(block)[key]))
    is_taken = numbers <= own or any(_fits(each, rest, 0, None) for each in known)
    return rest[0] >= _MIN_CHANNELS or (numbers > 1 and (rest[0] in widths or not is_taken))


def _first(args: Sequence[Any], count: int) -> int | None:
    return args[0] if count and isinstance(args[0], int) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _takes_number(default: Any) -> bool:
    return default is None or _is_number(default)


def _order(block: str, args: Sequence[Any]) -> list[str]:
    """Return the setting for each position, in the order of our block's declaration."""
    if blocks.is_plain(block):
        return list(blocks.defaults(block))  # the user's own class: its signature is the order
    known = [name for name in blocks.defaults(block) if name != "minimum"]
    if "ratio" in known and "kernel_size" in known:
        known.remove("kernel_size")
        odd = bool(args) and isinstance(args[0], int) and args[0] % 2 == 1 and args[0] > 1
        known.insert(known.index("ratio") + (0 if odd else 1), "kernel_size")
    return known


def _fits(implementation: Implementation, values: Sequence[Any], count: int, width: int | None) -> bool:
    """Whether an author's constructor takes these values after `count` channels."""
    parameters = implementation.parameters
    if not values or len(values) > len(parameters):
        return False
    if len(values) == 1 and not count and _is_number(values[0]):  # our own short form: the first setting of our block
        own = _order(implementation.block, values)[:1]
        if own and own != [parameters[0].setting] and \
                _is_plausible(Parameter(name=own[0], setting=own[0], kind=""), values[0], width):
            return False
    return all(_is_plausible(parameter, value, width) for parameter, value in zip(parameters, values, strict=False))


def _is_plausible(parameter: Parameter, value: Any, width: int | None) -> bool:
    kind, setting = parameter.kind, parameter.setting
    if not setting:
        return {"ratio": _is_ratio(value), "size": _is_whole(value) and value in _MAP_SIZES, "number": _is_whole(value),
                "bool": isinstance(value, bool), "list": isinstance(value, list), "none": value is None}.get(kind, True)
    if kind == "inner":
        return value is None or (_is_whole(value) and value > 0 and width is not None)
    if kind in ("not", "halved", "attention", "scale", "conv"):
        return isinstance(value, bool)
    if kind in ("count", "first"):
        return isinstance(value, list) and bool(value)
    if kind == "top":
        return isinstance(value, str) and value[:3] in ("top", "low", "bot") and value[3:].isdecimal()
    if kind == "phi":
        return isinstance(value, str) and value.upper() in _ELA
    if kind == "word":
        return isinstance(value, str)
    plausible = {
        "ratio": _is_ratio(value),
        "kernel_size": _is_whole(value) and value % 2 == 1 and 0 < value < _MIN_CHANNELS,
        "heads": _is_whole(value) and 0 < value <= 16 and value & (value - 1) == 0,
        "groups": _is_whole(value) and 0 < value <= _MIN_CHANNELS,
        "branches": _is_whole(value) and 2 <= value <= 4,
        "size": _is_whole(value) and value in _MAP_SIZES,
        "gamma": _is_number(value) and 1 < value <= 8,
        "beta": _is_number(value) and 0 <= value <= 8,
        "energy": _is_number(value) and 0 < value < 1,
        "epsilon": _is_number(value) and 0 < value < 1,
        "local_weight": _is_number(value) and 0 < value < 1,
        "mlp": isinstance(value, bool),
        "norm": isinstance(value, str),
    }
    return plausible.get(setting, _is_whole(value) and value >= 0)


def _is_ratio(value: Any) -> bool:
    return _is_number(value) and 0 < value <= _MIN_CHANNELS


def _ratio(value: Any) -> Any:
    """Return a ratio below 1 (1/16, as in timm) as its inverse."""
    if not isinstance(value, float) or not 0 < value < 1:
        return value
    inverse = 1 / value
    return round(inverse) if abs(inverse - round(inverse)) < 0.01 else inverse


def _by_author(one: Row, block: str, implementation: Implementation, values: Sequence[Any], width: int | None
               ) -> tuple[dict[str, Value], list[str]]:
    """Return the settings that an author's constructor means, and a phrase for each value that our block does not need."""
    found: dict[str, Value] = {}
    unused = []
    for parameter, value in zip(implementation.parameters, values, strict=False):
        if not parameter.setting:
            unused.append(tr("{value} is {name}, which '{block}' does not use", value=short_text(value), name=parameter.name,
                             block=block))
            continue
        for key, converted in _convert(block, parameter, value, width).items():
            found[key] = _check(one, block, key, converted)
    return found, unused


def _parse(arg: Any) -> Any:
    """Convert an argument as `parse_model` does, and a fraction such as 1/16, which the `eval` of many forks computes."""
    fraction = re.fullmatch(r"([0-9]{1,4})\s*/\s*([1-9][0-9]{0,3})", arg.strip()) if isinstance(arg, str) else None
    return int(fraction[1]) / int(fraction[2]) if fraction else parse_literal(arg)


def _by_name(block: str, known: Sequence[Implementation], name: Any, value: Any, width: int | None) -> dict[Any, Any]:
    """Return the setting that a name in a mapping means: our name, or an author's name for it."""
    parameters = [] if name in blocks.defaults(block) else \
        [one for each in known for one in each.parameters if one.name == name and one.setting]
    if parameters and _is_plausible(parameters[0], value, width):
        return _convert(block, parameters[0], value, width)
    return {name: value}


def _convert(block: str, parameter: Parameter, value: Any, width: int | None) -> dict[str, Any]:
    key, kind = parameter.setting, parameter.kind
    if kind == "inner":
        return {} if value is None or width is None else {key: _quotient(width, value)}
    if kind == "phi":
        kernel, group, norm_groups = _ELA[str(value).upper()]
        return {"kernel_size": kernel, "norm_groups": norm_groups} | ({} if group else {"width": 8})
    if kind == "count":
        return {key: len(value)}
    if kind == "top":
        return {key: int(value[3:])}
    if kind == "first":
        return {key: _WORDS.get(str(value[0]), value[0])}
    converted = {"not": not value, "halved": 2 if value else 1, "attention": "attention" if value else "avg",
                 "scale": "scale" if value else "add", "conv": "conv" if value else "pool"}
    if kind in converted:
        return {key: converted[kind]}
    if kind == "word":
        return {key: _WORDS.get(value, value)}
    return {key: _ratio(value) if key == "ratio" else value}


def _quotient(wide: int, hidden: int) -> int | float:
    return max(1, wide // hidden if wide % hidden == 0 else wide / hidden)


def _implied(known: Sequence[Implementation], module: str) -> Settings:
    """Return the settings that the name of the class means, such as SequentialPolarizedSelfAttention."""
    name = module.rpartition(".")[2].lower().replace("_", "")
    defaults = {key: value for each in known[:1] if name in each.classes for key, value in each.implied}
    return tuple((key, value) for key, value in defaults.items() if blocks.defaults(known[0].block).get(key) != value)


def _note(channels: Sequence[Any], unused: list[str], implementation: Implementation | None, block: str,
          found: dict[str, Value]) -> str:
    if len(channels) == 1:
        notes = [tr("{number} is channels, read off the host", number=short_text(channels[0]))]
    else:
        notes = [tr("{one} and {other} are channels, read off the host", one=short_text(channels[0]),
                    other=short_text(channels[1]))] if channels else []
    notes += unused
    own = [key for key in blocks.defaults(block) if key != "minimum"]
    if implementation is not None and (unused or [*found] != own[:len(found)]):
        notes.append(tr("the order is that of {signature}", signature=implementation.shown))
    return "; ".join(notes)


def _too_many(one: Row, block: str, rest: Sequence[Any]) -> str:
    known = ", ".join(blocks.defaults(block))
    if not known:
        return tr("{row}: {values} is too much: '{block}' has no settings.", row=one, values=short_text(rest), block=block)
    shown = implementations_of(block, one.module)
    signatures = tr(" Known constructors: {signatures}.", signatures="; ".join(each.shown for each in shown[:3])) \
        if shown else ""
    return tr("{row}: {values} is more than the settings of '{block}' ({known}).{signatures} Use a mapping instead, as in "
              "[{{{first}: ...}}].", row=one, values=short_text(rest), block=block, known=known, signatures=signatures,
              first=known.partition(",")[0])


def _check(one: Row, block: str, key: Any, value: Any) -> Value:
    known = blocks.defaults(block)
    if key not in known:
        listed = ", ".join(f"{name}={default}" for name, default in known.items()) or tr("none")
        raise SpecError(tr("{row}: the block '{block}' has no setting {key}.{hint} Its settings and their defaults: "
                           "{listed}.", row=one, block=block, key=short_text(key), hint=nearest(str(key), known),
                           listed=listed))
    default = known[key]
    fits = {bool: isinstance(value, bool), str: isinstance(value, str), int: _is_number(value),
            float: _is_number(value)}.get(type(default), True)
    frozen = _freeze(value)
    if not fits or frozen is ...:
        wanted = {bool: tr("True or False"), str: tr("a word"), int: tr("a number"), float: tr("a number")}
        raise SpecError(tr("{row}: {value} is the value of '{key}' of '{block}', which takes {wanted} (its default is "
                           "{default}).", row=one, value=short_text(value), key=key, block=block, default=default,
                           wanted=wanted.get(type(default), tr("a plain value"))))
    return frozen


def _freeze(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        items = tuple(map(_freeze, value))
        return ... if ... in items else items
    finite = not isinstance(value, float) or math.isfinite(value)
    small = not isinstance(value, int) or abs(value) < 10**12
    return value if isinstance(value, (type(None), bool, int, float, str)) and finite and small else ...


def _thaw(value: Value) -> Any:
    return [_thaw(item) for item in value] if isinstance(value, tuple) else value


def _squeeze(one: Row, args: Sequence[Any]) -> Understood:
    whole = [arg for arg in args if _is_whole(arg) and 0 < arg <= 10**6]
    if len(args) != 2 or len(whole) != 2 or whole[1] > whole[0]:
        raise SpecError(tr("{row}: {name} takes [channels, squeeze_channels] here, two whole numbers, the second the "
                           "smaller one, as in [256, 16].", row=one, name=SQUEEZE_EXCITATION))
    wide, hidden = whole
    note = tr("{wide} is channels, read off the host; ratio = {wide} / {hidden}", wide=wide, hidden=hidden)
    return Understood(settings=(("ratio", _quotient(wide, hidden)),), channels=(wide,), note=note)
