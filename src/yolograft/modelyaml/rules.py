"""The linter's rules for any model: modules, the arguments of blocks, strides, unread rows, and doubled blocks.

A stock file improves the suggested fixes, but is not required.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from yolograft import blocks
from yolograft.errors import GraftError
from yolograft.modelyaml import stock_match
from yolograft.modelyaml.comparison import Comparison
from yolograft.modelyaml.findings import Finding
from yolograft.modelyaml.signatures import SQUEEZE_EXCITATION, understand
from yolograft.modelyaml.table import IMAGE, Row, has_map_output, parse_literal, short_text
from yolograft.modelyaml.unknown import check_argument_count, explain_unknown

__all__ = ["check_blocks", "check_modules", "check_repetition", "check_strides", "check_unread"]


def check_modules(comparison: Comparison) -> Iterator[Finding]:
    """Report repeats that are no whole number from 1, and unknown modules."""
    for row in comparison.rows:
        n = row.repeats
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            yield Finding(row=row.number, severity="error", what=f"{row} has {short_text(n)} repeats.",
                          why="The second value is the number of repeats: a whole number from 1.",
                          fix=f"Write 1: {_format_row(row, repeats=1)}")
        if row.number in comparison.unknown:
            why, fix = explain_unknown(row.module, _module_names(comparison.stock_rows))
            yield Finding(row=row.number, severity="error", what=f"{row}: no module is named '{short_text(row.module)}'.",
                          why=why, fix=fix)
        elif (finding := check_argument_count(row)) is not None:
            yield finding


def check_blocks(comparison: Comparison) -> Iterator[Finding]:
    """Report attention rows with a wrong position, wrong arguments, or repeats."""
    for number, block in comparison.blocks.items():
        row = comparison.rows[number]
        targets = comparison.inputs(row)
        if None in targets:
            continue  # `check_wiring` reports it
        if row.is_list:
            yield Finding(row=number, severity="error", what=f"{row} reads a list.",
                          why=f"'{block}' takes one feature map.", fix=f"Write {_format_row(row, source=row.sources[-1])}")
            continue
        before = targets[0]
        if before != IMAGE and before is not None and not has_map_output(comparison.known[before]):
            yield Finding(row=number, severity="error", what=f"{row} follows {comparison.rows[before]}.",
                          why="A block needs one map (B, C, H, W). That row does not give one.",
                          fix=f"Move it before row {before}.")
            continue
        if number == len(comparison.rows) - 1:
            yield Finding(row=number, severity="error", what=f"{row} is the file's last row.",
                          why="The output of the last row is the output of the model, so the head must be last.",
                          fix="Move it before the head, and let the head read it.")
            continue
        yield from _check_args(comparison, row, block)
        if isinstance(row.repeats, int) and row.repeats > 1 and not isinstance(row.repeats, bool):
            times = comparison.scale.repeats(row.repeats)
            yield Finding(row=number, severity="warning",
                          what=f"{row} is repeated: {times} block{'s' * (times > 1)} at this scale.",
                          why="The second value is the number of repeats. Each block reads the block before.",
                          fix=f"For one block: {_format_row(row, repeats=1)}")


def _check_args(comparison: Comparison, row: Row, block: str) -> Iterator[Finding]:
    number = row.number
    widths = {column[number] for column in (comparison.nominal, *comparison.channels_by_scale.values())}
    try:
        understood = understand(row, block, frozenset(c for c in widths if c is not None), comparison.channels[number])
    except GraftError as error:
        yield Finding(row=number, severity="error", what=str(error), why=f"'{block}' does not take these arguments.",
                      fix=f"Write [] for its defaults: {_format_row(row, args=[])}")
        return
    actual, nominal = comparison.channels[number], comparison.nominal[number]
    is_squeeze = row.module == SQUEEZE_EXCITATION
    wrong = [c for c in understood.channels if c not in (actual, nominal)]
    if is_squeeze:
        wrong = [c for c in (parse_literal(row.args[0]),) if c != actual]
    if not wrong or actual is None or nominal is None:
        return
    scales = [name for name, channels in comparison.channels_by_scale.items() if channels[number] == wrong[0]]
    width_at = f"It is its width at scale {', '.join(scales)}." if scales else "It is not its width at any scale."
    consequence = "Stock Ultralytics builds the row with this number" if is_squeeze else \
        "A fork that uses this number fails"
    at_scale = f" at scale {comparison.scale.name}" if comparison.scale.name else ""
    args = [actual, max(1, actual * int(parse_literal(row.args[1])) // wrong[0])] if is_squeeze else \
        [nominal if parse_literal(arg) in wrong and not isinstance(arg, bool) else arg for arg in row.args]
    yield Finding(
        row=number, severity="error", what=f"{row} says {wrong[0]} channels. The map it reads has {actual}{at_scale}.",
        why=f"{width_at} {consequence}; yolograft takes the width from the host.",
        fix=f"Write {_format_row(row, args=args)}" + ("" if is_squeeze else
            f" ({nominal} is the width before scaling) or {_format_row(row, args=[])}."))


def check_strides(comparison: Comparison, skip: frozenset[int]) -> Iterator[Finding]:
    """Report a Concat whose inputs differ in stride, and a head with wrong strides; rows in `skip` are not checked."""
    for row in comparison.known:
        inputs = comparison.inputs(row)
        if row.number in skip or None in inputs or not row.is_list:
            continue
        strides = [comparison.stride_of(target) for target in inputs if target is not None]
        if row.module == "Concat" and len({stride for stride in strides if stride is not None}) > 1:
            yield _unequal_strides(comparison, row, strides)
        elif row.number == len(comparison.rows) - 1 and not has_map_output(row):
            yield from _check_head(comparison, row, strides)


def _unequal_strides(comparison: Comparison, row: Row, strides: list[Fraction | None]) -> Finding:
    wanted = strides[0]
    fixed = list(row.sources)
    for at, stride in enumerate(strides):
        if stride != wanted:
            same = [n for n in range(row.number) if comparison.strides[n] == wanted and _is_last_of_stride(comparison, n)
                    and n != row.target(row.sources[0])]
            if same:
                fixed[at] = min(same, key=lambda n: abs(n - (row.target(row.sources[at]) or 0)))
    return Finding(row=row.number, severity="error",
                   what=f"{comparison.rows[row.number]}: {_describe_strides(row, strides)}.",
                   why="Concat needs maps of equal height and width.",
                   fix=f"from: {short_text(fixed)} (the nearest map of stride {wanted})" if fixed != list(row.sources) else
                   f"Read maps of equal stride. Only {row.sources[0]} has stride {wanted}.")


def _is_last_of_stride(comparison: Comparison, number: int) -> bool:
    """Whether the next row has another stride: later rows usually read such a row."""
    return number + 1 >= len(comparison.rows) or comparison.strides[number + 1] != comparison.strides[number]


def _describe_strides(row: Row, strides: list[Fraction | None]) -> str:
    return ", ".join(f"{source} has stride {stride}" for source, stride in zip(row.sources, strides, strict=True))


def _check_head(comparison: Comparison, row: Row, strides: list[Fraction | None]) -> Iterator[Finding]:
    targets = comparison.inputs(row)
    doubled = [source for source, target in zip(row.sources, targets, strict=True) if targets.count(target) > 1]
    stock = comparison.stock_row(row)
    expected: list[Fraction | None] = []
    if stock is not None and len(stock.sources) == len(row.sources):
        expected = [comparison.stock_strides[t] for t in map(stock.target, stock.sources) if t is not None]
    fixed = list(row.sources)
    for at, (stride, wanted) in enumerate(zip(strides, expected, strict=False)):
        if wanted is not None and stride is not None and stride != wanted:
            same = [n for n in range(row.number) if comparison.strides[n] == wanted and has_map_output(comparison.known[n])]
            fixed[at] = comparison.last_block_after(same[-1], row.number) if same else fixed[at]
    if fixed != list(row.sources) or doubled:
        wanted_strides = "/".join(str(stride) for stride in expected) or "one map of each stride"
        yield Finding(row=row.number, severity="error",
                      what=f"{comparison.rows[row.number]}: {_describe_strides(row, strides)}.",
                      why=f"{row.kind} reads {wanted_strides}" + (f" in {comparison.stock_name}." if expected else "."),
                      fix=f"from: {short_text(fixed)}" if fixed != list(row.sources) else
                      f"Row {doubled[0]} appears twice. Change one of the two to another row.")


def check_unread(comparison: Comparison, skip: frozenset[int]) -> Iterator[Finding]:
    """Report inserted rows that no row reads; rows in `skip` are not checked."""
    unread = [comparison.rows[number] for number in comparison.inserted
              if number not in comparison.readers and number not in skip and number != len(comparison.rows) - 1]
    replacements: dict[int, dict[int, int]] = {}  # reader -> {row that it reads: the unread row after that row}
    last_reader: dict[int, int] = {}  # unread row -> the last row that reads past it
    for row in unread:
        before = row.target(row.sources[0])
        if before is not None:
            later = [n for n in comparison.readers.get(before, []) if n > row.number]
            if later:
                last_reader[row.number] = later[-1]
                replacements.setdefault(later[-1], {})[before] = row.number
    for row in unread:
        fix = "Remove it, or let a later row read it."
        if row.number in last_reader:
            reader = comparison.rows[last_reader[row.number]]
            sources = [replacements[reader.number].get(reader.target(source), source)  # type: ignore[arg-type]
                       for source in reader.sources]
            fix = f"from: {short_text(sources if reader.is_list else sources[0])} in row {reader.number} " \
                  f"({reader.module}), so that it reads this row."
        yield Finding(row=row.number, severity="error", what=f"{row}: no row reads it.",
                      why="No later `from` names this row, so it has no effect.", fix=fix)


def check_repetition(comparison: Comparison) -> Iterator[Finding]:
    """Report an inserted block that directly follows an equal block."""
    for number in comparison.inserted:
        row = comparison.rows[number]
        if not number or number not in comparison.blocks or row.is_list or row.target(row.sources[0]) != number - 1:
            continue
        before = comparison.rows[number - 1]
        if before.number in comparison.blocks and (before.module, list(before.args)) == (row.module, list(row.args)):
            yield Finding(row=number, severity="warning", what=f"{row} repeats the block of row {number - 1}.",
                          why="The second block acts on the output of the first. Usually there is one block.",
                          fix=f"For one block, remove row {number} and subtract 1 from every `from` of {number} or more.")


def _module_names(stock_rows: tuple[Row, ...]) -> list[str]:
    """Return the known module names: those of the stock file and of all packaged files, and each block's names."""
    known = [row.module for row in stock_rows] + [row.module for row in stock_match.packaged_rows()]
    for name in blocks.names():
        known += [*blocks.aliases(name), name, blocks.lookup(name).__name__]
    return list(dict.fromkeys(known))


def _format_row(row: Row, *, source: int | None = None, repeats: int | None = None, args: list[Any] | None = None) -> str:
    """Return the row's text, with the given values changed."""
    sources: Any = list(row.sources) if row.is_list else row.sources[0]
    return short_text([sources if source is None else source, row.repeats if repeats is None else repeats, row.module,
                       row.args if args is None else args])
