"""The linter's comparison of a file with its stock file, and the rules for each row's `from`.

The stock file gives each `from` its meaning: the same row in the stock file names a stock row, and that stock row has a
counterpart in the edited file. `check_wiring` reports each `from` that names another row than this counterpart.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from typing import Any

from yolograft.modelyaml import catalog, stock_match, table
from yolograft.modelyaml.findings import Finding
from yolograft.modelyaml.signatures import find_block
from yolograft.modelyaml.table import IMAGE, Row, short_text

__all__ = ["Comparison", "check_wiring"]


class Comparison:
    """The rows of one file next to the rows of the stock file that it was edited from.

    Attributes:
        rows: the file's rows.
        scale: the scale in use.
        blocks: the number of each attention row, with the name of its block.
        unknown: the numbers of the rows whose module is unknown.
        match: the stock file; None if no packaged file is similar enough.
        stock_rows: the stock file's rows.
        to_file: for each stock row with a counterpart, the number of the row in the file.
        to_stock: the inverse of `to_file`.
        certain: the stock rows whose counterpart is certain.
        inserted: the file's rows without a counterpart.
        known: `rows`, where a stock module takes the place of an unknown module that replaced it.
        strides: the stride of each row's output.
        channels: the number of channels that each row gives at the scale in use.
        nominal: the number of channels that each row gives before scaling.
        channels_by_scale: the same for each of the file's scales, by name.
        readers: for each row, the rows that read it.
    """

    def __init__(self, cfg: dict[str, Any], rows: list[Row], stem: str, scale: table.Scaling) -> None:
        self.rows, self.scale = rows, scale
        self.blocks = {row.number: block for row in rows if (block := find_block(row.module)) is not None}
        self.unknown = {row.number for row in rows
                        if row.number not in self.blocks and not catalog.has_module(row.module)}
        self.match = stock_match.match_stock(rows, stem)
        self.stock_rows = self.match.rows if self.match else ()
        self.to_file: dict[int, int] = dict(self.match.to_file) if self.match else {}
        self.to_stock = {number: stock for stock, number in self.to_file.items()}
        self.certain = self.match.certain if self.match else frozenset()
        self.inserted = [row.number for row in rows if row.number not in self.to_stock]
        passthrough = frozenset(self.blocks)
        # An unknown module that replaces a stock module is assumed to have the same stride and channels.
        self.known = [self._with_stock_module(row) for row in rows]
        self.strides = table.strides(self.known, passthrough)
        self.channels = table.channels(self.known, scale, passthrough)
        self.nominal = table.channels(self.known, table.NOMINAL, passthrough)
        self.channels_by_scale = {other.name: table.channels(self.known, other, passthrough) for other in table.scales(cfg)}
        self.stock_strides = table.strides(list(self.stock_rows)) if self.stock_rows else []
        self.readers: dict[int, list[int]] = {}
        for row in rows:
            for target in self.inputs(row):
                if target is not None:
                    self.readers.setdefault(target, []).append(row.number)

    def _with_stock_module(self, row: Row) -> Row:
        number = self.to_stock.get(row.number)
        if row.number not in self.unknown or number is None or number not in self.certain:
            return row
        return replace(row, module=self.stock_rows[number].module, args=self.stock_rows[number].args)

    @property
    def stock_name(self) -> str:
        """The stock file's name."""
        return self.match.name if self.match else "the stock file"

    def describe(self, cfg: dict[str, Any]) -> str:
        """Return a phrase that names the stock file, the inserted rows and the scale."""
        rows = ", ".join(map(str, self.inserted[:12])) + (", ..." if len(self.inserted) > 12 else "")
        edit = f", row{'s' * (len(self.inserted) > 1)} {rows} inserted" if self.inserted else ""
        base = f"compared with {self.match.name}{edit}" if self.match else "no packaged YAML is similar enough to compare"
        scales = cfg.get("scales")
        if not isinstance(scales, dict) or not scales:
            return base
        first = "" if cfg.get("scale") else ", the first in the file, because its name has no scale"
        return f"{base}; at scale {self.scale.name}{first}"

    def inputs(self, row: Row) -> list[int | None]:
        """Return the absolute number of each row that `row` reads; None for a number that is no earlier row."""
        return [row.target(source) for source in row.sources]

    def stock_row(self, row: Row) -> Row | None:
        """Return the stock row whose counterpart `row` is, or None for an inserted row."""
        return self.stock_rows[self.to_stock[row.number]] if row.number in self.to_stock else None

    def stride_of(self, number: int) -> Fraction | None:
        """Return the stride of a row's output; 1 for the image, None if it is unknown."""
        return Fraction(1) if number == IMAGE else self.strides[number]

    def counterpart(self, stock: int) -> int | None:
        """Return a stock row's number in the file. For a removed row, this is the counterpart of the row that it read."""
        for _ in range(len(self.stock_rows) + 1):
            if stock == IMAGE:
                return IMAGE
            if stock in self.to_file:
                return self.to_file[stock] if stock in self.certain else None
            row = self.stock_rows[stock]
            before = row.target(row.sources[0])
            if row.is_list or before is None:
                return None
            stock = before
        return None

    def stock_source(self, number: int) -> int | None:
        """Return the stock row whose map an inserted row passes on, or None for new structure."""
        while number not in self.to_stock:
            if number == IMAGE:
                return IMAGE
            row = self.rows[number]
            before = row.target(row.sources[0])
            keeps_stride = number in self.blocks or number in self.unknown or (
                before is not None and self.strides[number] is not None
                and self.strides[number] == self.stride_of(before))
            if row.is_list or before is None or not keeps_stride:
                return None
            number = before
        return self.to_stock[number]

    def last_block_after(self, number: int, reader: int) -> int:
        """Return the last of the blocks inserted directly after row `number`, before row `reader`; else `number`."""
        last = number
        for row in self.rows[number + 1:reader]:
            if row.number in self.to_stock or row.number not in self.blocks or self.inputs(row) != [last]:
                break
            last = row.number
        return last


def check_wiring(comparison: Comparison) -> Iterator[Finding]:
    """Report every `from` that names no earlier row, or another row than in the stock file."""
    rows = comparison.rows
    corrections: dict[int, int] = {}  # an inserted row with a wrong `from` -> the row that it should read
    findings = [finding for row in rows if (finding := _check_sources(comparison, row, corrections))]
    for number, target in corrections.items():
        row = rows[number]
        source = row.sources[0]
        yield Finding(row=number, severity="error",
                      what=f"{row} reads row {source} ({rows[source].module}). The rows that read it need row {target} "
                           f"({rows[target].module}).",
                      why=f"Rows inserted before it moved row {source} of {comparison.stock_name} to {target}.",
                      fix=f"from: {target}")
    yield from findings


def _check_sources(comparison: Comparison, row: Row, corrections: dict[int, int]) -> Finding | None:
    stock = comparison.stock_row(row)
    is_same_length = stock is not None and len(stock.sources) == len(row.sources)
    wrong: list[str] = []
    reasons: list[str] = []
    moves: list[tuple[int, int, int]] = []
    fixed = list(row.sources)
    is_error, is_shifted = False, False
    for at, source in enumerate(row.sources):
        target = row.target(source)
        meant = stock.target(stock.sources[at]) if stock and is_same_length else None  # a row of the stock file
        if stock and not is_same_length and target is not None:
            meant = _meant_in_list(comparison, stock, source, target)
        expected = comparison.counterpart(meant) if meant is not None else None
        if expected is not None and expected >= row.number:
            expected = None
        if target is None:
            is_error = True
            wrong.append(f"{short_text(source)} is " + (
                "the row itself" if source == row.number else "a later row"
                if row.number < source < len(comparison.rows) else "not a row of this file"))
            reasons.append("A row can only read earlier rows")
            fixed[at] = _format_source(row.number - 1 if expected is None else
                                       comparison.last_block_after(expected, row.number), row, source)
            continue
        if meant is None or expected is None or _is_right(comparison, target, meant, expected):
            continue
        inserted = _wrong_inserted_row(comparison, target, meant, expected)
        if inserted is not None:
            corrections[inserted] = expected
            continue
        assert stock is not None
        by_shift = _is_explained_by_shift(comparison, source, stock.sources[at] if is_same_length else meant, expected)
        is_shifted |= by_shift
        is_error |= by_shift or comparison.stride_of(target) != comparison.stride_of(expected)
        best = comparison.last_block_after(expected, row.number)
        fixed[at] = _format_source(best, row, source)
        wrong.append(f"{source} is {_describe_row(comparison, target)}")
        moves.append((meant, expected, best))
    if not wrong:
        return None
    why = ". ".join([*dict.fromkeys(reasons), *_describe_moves(comparison, moves)])
    if is_shifted and comparison.inserted:
        why += f". Inserted rows ({', '.join(map(str, comparison.inserted[:9]))}) move every later number"
    return Finding(row=row.number, severity="error" if is_error else "warning", what=f"{row}: {'; '.join(wrong)}.",
                   why=f"{why}.", fix=f"from: {short_text(fixed if row.is_list else fixed[0])}"
                                      f"{'' if is_error else ', unless the change is intended'}")


def _describe_moves(comparison: Comparison, moves: list[tuple[int, int, int]]) -> Iterator[str]:
    """Say where stock rows are in the file.

    A move is the number of a stock row, its counterpart in the file, and the last block directly after that.
    """
    if any(meant == IMAGE for meant, _, _ in moves):
        yield f"{comparison.stock_name} reads the image (-1) there"
    rows = [move for move in moves if move[0] != IMAGE]
    if not rows:
        return
    old = ", ".join(f"{meant} ({comparison.stock_rows[meant].module})" for meant, _, _ in rows)
    new = ", ".join(str(number) + (f" (followed by {comparison.rows[best].module}, row {best})" if best != number else "")
                    for _, number, best in rows)
    s, verb = ("s", "are rows") if len(rows) > 1 else ("", "is row")
    yield f"Row{s} {old} of {comparison.stock_name} {verb} {new} in this file"


def _is_right(comparison: Comparison, target: int, meant: int, expected: int) -> bool:
    """Whether reading row `target` has the stock meaning (row `meant`, now row `expected`), or is an intended change."""
    if target == expected or _is_same_text(comparison, target, expected):
        return True
    if target in comparison.to_stock:
        return comparison.to_stock[target] not in comparison.certain
    source = comparison.stock_source(target)
    return source is None or source == meant


def _meant_in_list(comparison: Comparison, stock: Row, source: int, target: int) -> int | None:
    """Return the stock row that `source` still names; for a list with more or fewer inputs than the stock list."""
    targets = [t for t in map(stock.target, stock.sources) if t is not None]
    if comparison.stock_source(target) in targets or target not in comparison.to_stock:
        return None
    return source if source in targets else None


def _is_same_text(comparison: Comparison, number: int, other: int) -> bool:
    """Whether two rows are neighbours with the same text: either of them may be the inserted row."""
    first, second = comparison.rows[number], comparison.rows[other]
    return abs(number - other) == 1 and (first.module, list(first.args)) == (second.module, list(second.args)) \
        and comparison.rows[max(number, other)].sources == (-1,)


def _wrong_inserted_row(comparison: Comparison, target: int, meant: int, expected: int) -> int | None:
    """Return the inserted row between `target` and the stock rows that still has the stock file's number; else None."""
    while target not in comparison.to_stock and target != IMAGE:
        row = comparison.rows[target]
        if row.is_list:
            return None
        if row.sources[0] == meant and row.sources[0] >= 0 and expected < target:
            return target
        before = row.target(row.sources[0])
        if before is None:
            return None
        target = before
    return None


def _is_explained_by_shift(comparison: Comparison, source: int, stock_source: int, expected: int) -> bool:
    """Whether inserted or removed rows explain the difference: the number was not shifted, or by a wrong amount."""
    if source < 0 or stock_source < 0:
        return source == stock_source
    span = max(len(comparison.inserted), abs(expected - stock_source))
    return min(stock_source, expected) - span <= source <= max(stock_source, expected) + span


def _describe_row(comparison: Comparison, number: int) -> str:
    if number == IMAGE:
        return "the image"
    stride = comparison.strides[number]
    return f"{comparison.rows[number].module}{f', stride {stride}' if stride is not None else ''}"


def _format_source(target: int, row: Row, source: int) -> int:
    return -1 if source == -1 and target == row.number - 1 else target
