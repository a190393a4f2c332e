"""The mend of a finding as data: a row of the file and its new `from`."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from yolograft.modelyaml.table import Row

__all__ = ["Mend", "apply_mends", "mend_rows"]


@dataclass(frozen=True, kw_only=True)
class Mend:
    """A new `from` for one row.

    Attributes:
        row: the row's number in the file.
        sources: the numbers of the new `from`, one per input.
        is_list: whether the new `from` is a list.
    """

    row: int
    sources: tuple[int, ...]
    is_list: bool

    @property
    def value(self) -> int | list[int]:
        """The new `from` as it is written in the file."""
        return list(self.sources) if self.is_list else self.sources[0]


def apply_mends(cfg: dict[str, Any], mends: Iterable[Mend]) -> dict[str, Any]:
    """Return a copy of a model YAML dict with each mend's `from` in its row. The numbers of the rows do not change."""
    mended = {**cfg, "backbone": copy.deepcopy(cfg["backbone"]), "head": copy.deepcopy(cfg["head"])}
    count = len(mended["backbone"])
    for mend in mends:
        rows, at = (mended["backbone"], mend.row) if mend.row < count else (mended["head"], mend.row - count)
        rows[at] = [mend.value, *rows[at][1:]]
    return mended


def mend_rows(rows: Iterable[Row], mends: Iterable[Mend]) -> list[Row]:
    """Return the rows with each mend applied."""
    by_row = {mend.row: mend for mend in mends}
    return [replace(row, sources=by_row[row.number].sources, is_list=by_row[row.number].is_list)
            if row.number in by_row else row for row in rows]
