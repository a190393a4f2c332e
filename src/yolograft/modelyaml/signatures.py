"""The arguments of attention rows in hand-edited YAML files: which number is channels, which is a setting.

Forks patch `parse_model` in three ways: `args = [ch[f], *args]` (rows say `[16]`, or `[7]` for CBAM), `args = [c1,
*args[1:]]` (rows say `[1024, 16]`: the first number only holds the place of the channels), or literally (rows say the
width of one scale, `[256]`). The blocks' own signatures add `[c1, c2]` and `[c1, c2, ratio]`. One rule reads them all:

1. **Channels.** A leading whole number is channels if it is 64 or more, or if another number follows it and it is one of
   the row's widths (as the file says it, or at one of the file's scales) or one number more than the block can take. At
   most two numbers are channels (`c1, c2`). They are only looked at: the width is always read off the host, so that the
   file works at every scale.
2. **Settings by position.** What is left fills the block's settings in the order in which it declares them, without
   `minimum` (forks have none, but for CoordAtt's `[256, 32, 8]`). A block with both a ratio and a kernel takes an odd
   first number for the kernel (`[256, 7]` for CBAM, as in Ultralytics' own `CBAM(c1, kernel_size)`), an even one for the
   ratio (`[256, 16]`, `[16, 7]`).
3. **Settings by name.** A mapping at the end names settings, and says everything that numbers cannot:
   `[-1, 1, SE, [{ratio: 64, gate: tanh}]]`.
4. `torchvision.ops.SqueezeExcitation`, `[C, squeeze]`, is the one that stock Ultralytics can build: both numbers are
   absolute, and its ratio is C / squeeze, which gives the same hidden width.

What is not written keeps the block's default, its `init` among them: to start as a plain fork starts, say so
(`{init: paper}`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from yolograft import blocks
from yolograft.errors import BlockError, SpecError, nearest
from yolograft.modelyaml import catalog
from yolograft.modelyaml.table import Row, literal, shown
from yolograft.spec import Value

__all__ = ["SQUEEZE", "block_of", "settle", "spelling", "written"]

SQUEEZE = "torchvision.ops.SqueezeExcitation"
_CHANNELS = 64  # from here on a number is channels: no ratio, kernel or number of groups in the wild is as large
_HABITS: dict[tuple[str, int], tuple[str | None, ...]] = {  # where forks' numbers are not ours, by how many there are
    ("coordatt", 2): ("ratio", "minimum"),
    ("shuffle", 2): (None, "groups"),  # ShuffleAttention(channels, reduction, groups) never used its reduction
}

Settings = tuple[tuple[str, Value], ...]


def block_of(module: str) -> str | None:
    """Return the block that a row's module name means, or None for a module of the host.

    A name that the installed Ultralytics knows is the host's (its PSA, say), whatever blocks are registered.
    """
    if module == SQUEEZE:
        return "se"
    if catalog.has_module(module):
        return None
    try:
        return blocks.canonical(module.rpartition(".")[2])
    except BlockError:
        return None


def settle(one: Row, block: str, widths: frozenset[int] = frozenset()) -> tuple[Settings, str]:
    """Return the settings that a row's arguments mean, sorted by name, and what was understood, in words.

    Args:
        one: the attention row.
        block: the block that it names.
        widths: the widths of the row that it follows: as the file says it, and at each of the file's scales.

    Raises:
        SpecError: the arguments are not what the block can take; the message names the row.
    """
    args = [literal(arg) for arg in one.args]
    if one.module == SQUEEZE:
        return _squeeze(one, args)
    named = dict(args.pop()) if args and isinstance(args[-1], dict) else {}
    count = 0
    while count < min(2, len(args)) and _is_channels(block, args[count:], widths):
        count += 1
    rest = args[count:]
    order = _order(block, rest)
    if len(rest) > len(order):
        known = ", ".join(blocks.defaults(block))
        raise SpecError(f"{one}: {shown(rest)} is more than '{block}' has settings ({known or 'none'}). Name what is meant "
                        f"in a mapping, as in [{{{known.partition(',')[0]}: ...}}]." if known else
                        f"{one}: {shown(rest)} is left over, and '{block}' has no settings.")
    given = [*zip(order, rest, strict=False)]
    found: dict[str, Value] = {}
    for key, value in [(key, value) for key, value in given if key is not None] + list(named.items()):
        if key in found:
            raise SpecError(f"{one}: the setting '{key}' is given twice.")
        found[key] = _checked(one, block, key, value)
    said = [f"{' and '.join(map(shown, args[:count]))} {'is' if count == 1 else 'are'} channels, read off the host"] \
        if count else []
    said += [f"{shown(value)} is not used by '{block}'" for key, value in given if key is None]
    return tuple(sorted(found.items())), "; ".join(said)


def written(one: Row, block: str, settings: Settings) -> list[Any]:
    """Return arguments that `settle` reads as these settings: `[]`, `[16]` where one number says it, or a mapping.

    `[]` and `[16]` are also what forks that patch `args = [ch[f], *args]` take.
    """
    if not settings:
        return []
    plain = [_thawed(value) for _, value in settings]
    if len(settings) == 1 and isinstance(plain[0], (int, float)) and not isinstance(plain[0], bool):
        short = Row(one.number, one.part, one.sources, one.several, one.repeats, one.module, plain)
        try:
            if settle(short, block)[0] == settings:
                return plain
        except SpecError:
            pass  # a number that reads as something else: the mapping says it
    return [{key: _thawed(value) for key, value in settings}]


def spelling(block: str) -> str:
    """Return the name by which a hand-edited row calls a block: its class's, as forks do, where that is no other's."""
    name = blocks.lookup(block).__name__
    return name if block_of(name) == block else block


def _is_channels(block: str, rest: Sequence[Any], widths: frozenset[int]) -> bool:
    if not _is_number(rest[0]) or not isinstance(rest[0], int):
        return False
    numbers = next((at for at, one in enumerate(rest) if not _is_number(one)), len(rest))
    room = sum(1 for key in _order(block, rest) if key is None or _takes_number(blocks.defaults(block)[key]))
    return rest[0] >= _CHANNELS or (numbers > 1 and (rest[0] in widths or numbers > room))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _takes_number(default: Any) -> bool:
    return default is None or _is_number(default)


def _order(block: str, args: Sequence[Any]) -> list[str | None]:
    """Return the settings that positions stand for; None for a number that only the original's authors took."""
    known: list[str | None] = [name for name in blocks.defaults(block) if name != "minimum"]
    if (block, len(args)) in _HABITS:
        return list(_HABITS[block, len(args)])
    if "ratio" in known and "kernel_size" in known:
        known.remove("kernel_size")
        odd = bool(args) and isinstance(args[0], int) and args[0] % 2 == 1 and args[0] > 1
        known.insert(known.index("ratio") + (0 if odd else 1), "kernel_size")
    return known


def _checked(one: Row, block: str, key: Any, value: Any) -> Value:
    known = blocks.defaults(block)
    if key not in known:
        listed = ", ".join(f"{name}={default}" for name, default in known.items()) or "none"
        raise SpecError(f"{one}: the block '{block}' has no setting {shown(key)}.{nearest(str(key), known)} "
                        f"Its settings and their defaults: {listed}.")
    default = known[key]
    wanted = {bool: "True or False", str: "a word", int: "a number", float: "a number"}.get(type(default), "")
    fits = {"True or False": isinstance(value, bool), "a word": isinstance(value, str),
            "a number": _is_number(value)}.get(wanted, True)
    frozen = _frozen(value)
    if not fits or frozen is ...:
        raise SpecError(f"{one}: {shown(value)} stands for '{key}' of '{block}', which takes {wanted or 'a plain value'} "
                        f"(its default is {default}).")
    return frozen


def _frozen(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        items = tuple(map(_frozen, value))
        return ... if ... in items else items
    finite = not isinstance(value, float) or math.isfinite(value)
    small = not isinstance(value, int) or abs(value) < 10**12
    return value if isinstance(value, (type(None), bool, int, float, str)) and finite and small else ...


def _thawed(value: Value) -> Any:
    return [_thawed(item) for item in value] if isinstance(value, tuple) else value


def _squeeze(one: Row, args: Sequence[Any]) -> tuple[Settings, str]:
    whole = [arg for arg in args if isinstance(arg, int) and not isinstance(arg, bool) and 0 < arg <= 10**6]
    if len(args) != 2 or len(whole) != 2 or whole[1] > whole[0]:
        raise SpecError(f"{one}: {SQUEEZE} takes [channels, squeeze_channels] here, two whole numbers, the second the "
                        "smaller one, as in [256, 16].")
    wide, hidden = whole
    ratio = wide // hidden if wide % hidden == 0 else wide / hidden
    return (("ratio", ratio),), f"{wide} is channels, read off the host; ratio = {wide} / {hidden}"
