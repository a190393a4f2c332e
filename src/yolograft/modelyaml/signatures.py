"""The arguments of attention rows in hand-edited YAML files: channels or settings.

Forks change `parse_model` in three ways. With `args = [ch[f], *args]`, rows have only settings: `[16]`, or `[7]` for
CBAM. With `args = [c1, *args[1:]]`, the first number is a placeholder for the channels: `[1024, 16]`. Without such a line,
rows have the width of one scale: `[256]`. The signatures of the blocks add `[c1, c2]` and `[c1, c2, ratio]`. One rule
covers all of them:

1. **Channels.** The first number is channels if it is a whole number of 64 or more. A smaller whole number is channels if
   another number follows, and either the first is one of the row's widths (before scaling, or at one of the file's scales)
   or there are more numbers than the block can take. At most two numbers are channels (`c1, c2`). They are not used: the
   width always comes from the host, so that the file works at every scale.
2. **Settings by position.** The other values are the block's settings, in the order of their declaration, without
   `minimum` (forks do not have it, except for CoordAtt's `[256, 32, 8]`). For a block with both a ratio and a kernel, an
   odd first number is the kernel (`[256, 7]` for CBAM, as in Ultralytics' own `CBAM(c1, kernel_size)`), and an even one is
   the ratio (`[256, 16]`, `[16, 7]`).
3. **Settings by name.** A mapping at the end names settings. It can express every setting:
   `[-1, 1, SE, [{ratio: 64, gate: tanh}]]`.
4. Stock Ultralytics can build `torchvision.ops.SqueezeExcitation`, `[C, squeeze]`. Both numbers are absolute. The ratio is
   C / squeeze, which gives the same hidden width.

Every other setting keeps the block's default, including `init`. To start like the fork's block, write `{init: paper}`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from yolograft import blocks
from yolograft.errors import BlockError, SpecError, nearest
from yolograft.modelyaml import catalog
from yolograft.modelyaml.table import Row, parse_literal, short_text
from yolograft.spec import Value

__all__ = ["SQUEEZE_EXCITATION", "find_block", "format_args", "parse_args", "row_name"]

SQUEEZE_EXCITATION = "torchvision.ops.SqueezeExcitation"
_MIN_CHANNELS = 64  # no ratio, kernel or number of groups in known forks is as large
# (block, number of values) -> the settings that forks mean, if they differ from the order of the block's declaration.
_FORK_ORDER: dict[tuple[str, int], tuple[str | None, ...]] = {
    ("coordatt", 2): ("ratio", "minimum"),
    ("shuffle", 2): (None, "groups"),  # ShuffleAttention(channels, reduction, groups) does not use its reduction
}

Settings = tuple[tuple[str, Value], ...]


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
    """Return a row's arguments as settings, sorted by name, and a note on the numbers that are no settings.

    Args:
        one: the attention row.
        block: the name of its block.
        widths: the widths of the row that it follows: before scaling, and at each of the file's scales.

    Raises:
        SpecError: the block does not take these arguments; the message names the row.
    """
    args = [parse_literal(arg) for arg in one.args]
    if one.module == SQUEEZE_EXCITATION:
        return _squeeze(one, args)
    named = dict(args.pop()) if args and isinstance(args[-1], dict) else {}
    count = 0
    while count < min(2, len(args)) and _is_channels(block, args[count:], widths):
        count += 1
    rest = args[count:]
    order = _order(block, rest)
    if len(rest) > len(order):
        known = ", ".join(blocks.defaults(block))
        raise SpecError(f"{one}: {short_text(rest)} is more than the settings of '{block}' ({known or 'none'}). Use a "
                        f"mapping instead, as in [{{{known.partition(',')[0]}: ...}}]." if known else
                        f"{one}: {short_text(rest)} is too much: '{block}' has no settings.")
    positional = [*zip(order, rest, strict=False)]
    found: dict[str, Value] = {}
    for key, value in [(key, value) for key, value in positional if key is not None] + list(named.items()):
        if key in found:
            raise SpecError(f"{one}: the setting '{key}' is given twice.")
        found[key] = _check(one, block, key, value)
    notes = [f"{' and '.join(map(short_text, args[:count]))} {'is' if count == 1 else 'are'} channels, read off the host"] \
        if count else []
    notes += [f"{short_text(value)} is not used by '{block}'" for key, value in positional if key is None]
    return tuple(sorted(found.items())), "; ".join(notes)


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


def _is_channels(block: str, rest: Sequence[Any], widths: frozenset[int]) -> bool:
    if not _is_number(rest[0]) or not isinstance(rest[0], int):
        return False
    numbers = next((at for at, one in enumerate(rest) if not _is_number(one)), len(rest))
    max_numbers = sum(1 for key in _order(block, rest) if key is None or _takes_number(blocks.defaults(block)[key]))
    return rest[0] >= _MIN_CHANNELS or (numbers > 1 and (rest[0] in widths or numbers > max_numbers))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _takes_number(default: Any) -> bool:
    return default is None or _is_number(default)


def _order(block: str, args: Sequence[Any]) -> list[str | None]:
    """Return the setting for each position; None for a number that only the original code takes."""
    if blocks.is_plain(block):
        return list(blocks.defaults(block))  # the user's own class: its signature is the order
    known: list[str | None] = [name for name in blocks.defaults(block) if name != "minimum"]
    if (block, len(args)) in _FORK_ORDER:
        return list(_FORK_ORDER[block, len(args)])
    if "ratio" in known and "kernel_size" in known:
        known.remove("kernel_size")
        odd = bool(args) and isinstance(args[0], int) and args[0] % 2 == 1 and args[0] > 1
        known.insert(known.index("ratio") + (0 if odd else 1), "kernel_size")
    return known


def _check(one: Row, block: str, key: Any, value: Any) -> Value:
    known = blocks.defaults(block)
    if key not in known:
        listed = ", ".join(f"{name}={default}" for name, default in known.items()) or "none"
        raise SpecError(f"{one}: the block '{block}' has no setting {short_text(key)}.{nearest(str(key), known)} "
                        f"Its settings and their defaults: {listed}.")
    default = known[key]
    wanted = {bool: "True or False", str: "a word", int: "a number", float: "a number"}.get(type(default), "")
    fits = {"True or False": isinstance(value, bool), "a word": isinstance(value, str),
            "a number": _is_number(value)}.get(wanted, True)
    frozen = _freeze(value)
    if not fits or frozen is ...:
        raise SpecError(f"{one}: {short_text(value)} is the value of '{key}' of '{block}', which takes "
                        f"{wanted or 'a plain value'} (its default is {default}).")
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


def _squeeze(one: Row, args: Sequence[Any]) -> tuple[Settings, str]:
    whole = [arg for arg in args if isinstance(arg, int) and not isinstance(arg, bool) and 0 < arg <= 10**6]
    if len(args) != 2 or len(whole) != 2 or whole[1] > whole[0]:
        raise SpecError(f"{one}: {SQUEEZE_EXCITATION} takes [channels, squeeze_channels] here, two whole numbers, the "
                        "second the smaller one, as in [256, 16].")
    wide, hidden = whole
    ratio = wide // hidden if wide % hidden == 0 else wide / hidden
    return (("ratio", ratio),), f"{wide} is channels, read off the host; ratio = {wide} / {hidden}"
