"""The linter's comparison of a file with its stock file.

The stock file gives each `from` its meaning: the same row in the stock file names a stock row, and that stock row has a
counterpart in the edited file.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from fractions import Fraction
from typing import Any

from yolograft.language import tr
from yolograft.modelyaml import catalog, stock_match, table
from yolograft.modelyaml.mends import Mend, mend_rows
from yolograft.modelyaml.signatures import find_block
from yolograft.modelyaml.table import IMAGE, Row, has_map_output

__all__ = ["Comparison"]


class Comparison:
    """The rows of one file next to the rows of the stock file that it was edited from.

    Attributes:
        rows: the file's rows; in a mended comparison, with the new `from` of mended rows.
        written: the rows as they are in the file.
        scale: the scale in use.
        blocks: the number of each attention row, with the name of its block.
        unknown: the numbers of the rows whose module is unknown.
        match: the stock file; None if no packaged file is similar enough.
        stock_rows: the stock file's rows.
        to_file: for each stock row with a counterpart, the number of the row in the file.
        to_stock: the inverse of `to_file`.
        certain: the stock rows whose counterpart is certain.
        inserted: the file's rows without a counterpart.
        is_restructured: whether the edit changed more than rows that pass their input's height and width on. A `from` of
            such a file can differ from the stock file for good reasons.
        known: `rows`, where a stock module takes the place of an unknown module that replaced it.
        strides: the stride of each row's output.
        channels: the number of channels that each row gives at the scale in use.
        nominal: the number of channels that each row gives before scaling.
        channels_by_scale: the same for each of the file's scales, by name.
        readers: for each row, the rows that read it.
    """

    def __init__(self, cfg: dict[str, Any], rows: list[Row], stem: str, scale: table.Scaling, *,
                 unmended: Comparison | None = None) -> None:
        self.cfg, self.rows, self.stem, self.scale = cfg, rows, stem, scale
        self.written: list[Row] = unmended.written if unmended else rows
        self.blocks = {row.number: block for row in rows if (block := find_block(row.module)) is not None}
        self.unknown = {row.number for row in rows
                        if row.number not in self.blocks and not catalog.has_module(row.module)}
        self.match: stock_match.StockMatch | None = unmended.match if unmended else stock_match.match_stock(rows, stem)
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
        self.is_restructured: bool = unmended.is_restructured if unmended else self._has_other_structure()

    def mended(self, mends: Iterable[Mend]) -> Comparison:
        """Return the comparison of the file with these mends applied. The counterparts do not change."""
        return Comparison(self.cfg, mend_rows(self.rows, mends), self.stem, self.scale, unmended=self)

    def _has_other_structure(self) -> bool:
        if any(self.rows[number].is_list or not self._passes_on(self.known[number]) for number in self.inserted):
            return True
        for row in self.stock_rows:
            number = self.to_file.get(row.number)
            if number is None and (row.is_list or not table.keeps_stride(row) or not has_map_output(row)):
                return True
            if number is not None and len(self.rows[number].sources) != len(row.sources):
                return True
        return False

    def _passes_on(self, row: Row) -> bool:
        return row.number in self.blocks or row.number in self.unknown or (table.keeps_stride(row) and has_map_output(row))

    def _with_stock_module(self, row: Row) -> Row:
        number = self.to_stock.get(row.number)
        if row.number not in self.unknown or number is None or number not in self.certain:
            return row
        return replace(row, module=self.stock_rows[number].module, args=self.stock_rows[number].args)

    @property
    def stock_name(self) -> str:
        """The stock file's name."""
        return self.match.name if self.match else tr("the stock file")

    def describe(self, cfg: dict[str, Any]) -> str:
        """Return a phrase that names the stock file, the inserted rows and the scale."""
        rows = ", ".join(map(str, self.inserted[:12])) + (", ..." if len(self.inserted) > 12 else "")
        if self.match is None:
            base = tr("no packaged YAML is similar enough to compare")
        elif not self.inserted:
            base = tr("compared with {stock}", stock=self.match.name)
        elif len(self.inserted) == 1:
            base = tr("compared with {stock}, row {rows} inserted", stock=self.match.name, rows=rows)
        else:
            base = tr("compared with {stock}, rows {rows} inserted", stock=self.match.name, rows=rows)
        scales = cfg.get("scales")
        if not isinstance(scales, dict) or not scales:
            return base
        if cfg.get("scale"):
            return tr("{compared}; at scale {scale}", compared=base, scale=self.scale.name)
        return tr("{compared}; at scale {scale}, the first in the file, because its name has no scale", compared=base,
                  scale=self.scale.name)

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
            if row.is_list or before is None or not self._passes_on(self.known[number]):
                return None
            number = before
        return self.to_stock[number]

    def meaning(self, row: Row, at: int) -> int | None:
        """Return the stock row that an input of `row` names in the stock file; None if the stock file does not say."""
        stock = self.stock_row(row)
        if stock is None:
            return None
        if len(stock.sources) == len(row.sources):
            return stock.target(stock.sources[at])
        # A list with more or fewer inputs: only a number that is still that of the stock file has a known meaning.
        target = row.target(row.sources[at])
        targets = [one for one in map(stock.target, stock.sources) if one is not None]
        source = self.stock_source(target) if target is not None else None
        return row.sources[at] if row.sources[at] in targets and source is not None and source not in targets else None

    def unshifted(self, source: int, reader: int) -> int | None:
        """Return the row that a number named before the attention rows were inserted, or the last row in line after it."""
        hosts = [row.number for row in self.rows if row.number not in self.blocks]
        if not self.blocks or not 0 <= source < len(hosts) or hosts[source] >= reader:
            return None
        return self.last_in_line(hosts[source], reader)

    def is_in_line(self, number: int) -> bool:
        """Whether a row was inserted directly behind the row before it (`from: -1`) and passes its map on."""
        row = self.rows[number]
        return number > 0 and number not in self.to_stock and row.sources == (-1,) and not row.is_list \
            and self._passes_on(self.known[number])

    def last_in_line(self, number: int, reader: int) -> int:
        """Return the last of the rows inserted in line directly after row `number`, before row `reader`; else `number`."""
        last = number
        while last + 1 < reader and self.is_in_line(last + 1):
            last += 1
        return last
