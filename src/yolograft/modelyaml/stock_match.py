"""The search for the stock file: the packaged YAML that a file was edited from, and the counterpart of each of its rows.

The text of the rows is aligned as two sequences, because an edit inserts or replaces a few rows and keeps the others. The
`from` numbers have little weight: an edit often breaks them. Rows of different strides are never counterparts: in a file
with another pyramid (a P2 head, no bottom-up path), equal text alone pairs a Concat of stride 4 with one of stride 16.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from fractions import Fraction
from functools import cache
from typing import Any

from yolograft import yaml_text
from yolograft.errors import GraftError
from yolograft.modelyaml import catalog
from yolograft.modelyaml.signatures import find_block
from yolograft.modelyaml.table import Row, has_map_output, parse_rows, strides

__all__ = ["StockMatch", "correspond", "match_stock", "packaged_rows"]

_GAP = -1.0  # the score of a row without a counterpart
_LIST_GAP = -4.0  # the score of a stock row of several inputs (Concat) without a counterpart: few edits remove one
_NEVER = -20.0  # less than two gaps, so that these rows are never paired
_SAME_VERSION = 8.0  # the score of a file name with the same version: about one row
_MAX_ALIGNED = 8  # the number of packaged files that are aligned


@dataclass(frozen=True, kw_only=True)
class StockMatch:
    """The packaged YAML that a file was edited from.

    Attributes:
        name: the name of the packaged file.
        cfg: its YAML dict.
        rows: its rows.
        to_file: for each of its rows that has a counterpart in the edited file, the number of the counterpart.
        certain: its rows whose counterpart is certain: the same module, or a replacement of one row by one.
    """

    name: str
    cfg: dict[str, Any]
    rows: tuple[Row, ...]
    to_file: dict[int, int]
    certain: frozenset[int]


def match_stock(edited: list[Row], name: str = "") -> StockMatch | None:
    """Return the packaged YAML most similar to these rows, or None if no file is similar.

    `name`, the stem of the edited file's name, adds to the score of packaged files of the same version.
    """
    texts = Counter(map(_key, edited))
    near = sorted(_packaged(), key=lambda one: -sum((texts & one[2]).values()) + 0.5 * len(one[1]) / len(edited))
    best: tuple[float, float] | None = None
    found = None
    edited_strides = _strides_of_chain(edited)
    for stem, stock, _, cfg, stock_strides in near[:_MAX_ALIGNED]:
        score, pairs = _align(edited, stock, edited_strides, stock_strides)
        is_same_version = bool(_version(stem)) and _version(stem) == _version(name)
        rank = (score + (_SAME_VERSION if is_same_version else 0), SequenceMatcher(None, stem, name).ratio())
        if best is None or rank > best:
            best, found = rank, (stem, stock, cfg, pairs)
    if found is None:
        return None
    stem, stock, cfg, pairs = found
    same = sum(i is not None and j is not None and edited[i].module == stock[j].module for i, j in pairs)
    if same < 6 or same < 0.5 * len(stock):
        return None
    to_file, certain = _find_counterparts(edited, stock, pairs, edited_strides)
    return StockMatch(name=f"{stem}.yaml", cfg=cfg, rows=tuple(stock), to_file=to_file, certain=frozenset(certain))


def correspond(edited: list[Row], stock: list[Row]) -> dict[int, int]:
    """Return, for each row of `stock` that has a counterpart among the edited rows, the number of the counterpart."""
    mine = _strides_of_chain(edited)
    pairs = _align(edited, stock, mine, _strides_of_chain(stock))[1]
    return _find_counterparts(edited, stock, pairs, mine)[0]


def _version(stem: str) -> str:
    """Return the version in a file's name: `11` for yolo11s-se, `v8` for yolov8-p2; empty if there is none."""
    match = re.match(r"(?:yoloe?-?|rtdetr-?)(v?\d+)", stem)
    return match[1] if match else ""


def packaged_rows() -> list[Row]:
    """Return the rows of all packaged YAML files."""
    return [row for _, stock, *_ in _packaged() for row in stock]


@cache
def _packaged() -> tuple[tuple[str, list[Row], Counter[str], dict[str, Any], list[Fraction | None]], ...]:
    found = []
    for path in catalog.packaged_files():
        cfg = yaml_text.read(path).value
        try:
            stock = parse_rows(cfg)
        except GraftError:  # not a model YAML, or a form that `parse_rows` does not support
            continue
        found.append((path.stem, stock, Counter(map(_key, stock)), cfg, _strides_of_chain(stock)))
    return tuple(found)


def _key(one: Row) -> str:
    return f"{one.module} {list(one.args)}"


def _similarity(one: Row, stock: Row, block: bool) -> float:
    """Return the score of pairing a row with a stock row: high for the same text, low for a replacement."""
    if one.module == stock.module:
        near = sum(a == b for a, b in zip(map(str, one.args), map(str, stock.args), strict=False))
        share = near / max(len(one.args), len(stock.args), 1)
        return 2 + 5 * share + (one.repeats == stock.repeats) + (one.part == stock.part) \
            + (len(one.sources) == len(stock.sources)) + 0.5 * (one.sources == stock.sources)
    if one.is_list != stock.is_list or "Concat" in (one.module, stock.module):
        return _NEVER
    if not has_map_output(stock):
        return 0.5 if not block else _NEVER
    return -0.5 if block else 0.5


def _strides_of_chain(rows: list[Row]) -> list[Fraction | None]:
    """Return each row's stride as far as relative numbers determine it, -1 first: an edit rarely breaks these."""
    relative = []
    for row in rows:
        sources = [source if source < 0 else row.number for source in row.sources]  # its own number: unknown
        if row.module != "CBFuse":  # the one module whose stride is not that of its first input
            sources.sort(key=lambda source: source != -1)
        relative.append(replace(row, sources=tuple(sources)))
    found = strides(relative, frozenset(row.number for row in rows if find_block(row.module) is not None))
    return [stride if has_map_output(row) else None for row, stride in zip(rows, found, strict=True)]


def _align(edited: list[Row], stock: list[Row], edited_strides: list[Fraction | None], stock_strides: list[Fraction | None]
           ) -> tuple[float, list[tuple[int | None, int | None]]]:
    """Align two lists of rows (Needleman and Wunsch 1970): maximise the sum of the pairs' scores and the gaps' scores."""
    blocks = [find_block(one.module) is not None for one in edited]
    scores = [[_NEVER if None not in (mine, theirs) and mine != theirs else _similarity(one, other, block)
               for other, theirs in zip(stock, stock_strides, strict=True)]
              for one, mine, block in zip(edited, edited_strides, blocks, strict=True)]
    gaps = [_LIST_GAP if other.is_list else _GAP for other in stock]
    table = [[0.0, *itertools.accumulate(gaps)]]
    for i in range(len(edited)):
        line = [_GAP * (i + 1)]
        for j in range(len(stock)):
            line.append(max(table[i][j] + scores[i][j], table[i][j + 1] + _GAP, line[j] + gaps[j]))
        table.append(line)
    pairs: list[tuple[int | None, int | None]] = []
    i, j = len(edited), len(stock)
    while i or j:
        if i and j and table[i][j] == table[i - 1][j - 1] + scores[i - 1][j - 1]:
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and table[i][j] == table[i - 1][j] + _GAP:
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return table[-1][-1], pairs[::-1]


def _find_counterparts(edited: list[Row], stock: list[Row], pairs: list[tuple[int | None, int | None]],
                       edited_strides: list[Fraction | None]) -> tuple[dict[int, int], set[int]]:
    """Return the counterpart of each stock row, and the stock rows whose counterpart is certain."""
    to_file: dict[int, int] = {}
    certain: set[int] = set()
    run: list[tuple[int | None, int | None]] = []  # the pairs between two rows that both files have

    stock_strides = _strides_of_chain(stock)

    def can_replace(old: int, new: int) -> bool:
        is_list = {edited[new].is_list, stock[old].is_list}
        both = {edited_strides[new], stock_strides[old]} - {None}
        return len(is_list) == 1 and len(both) < 2

    def pair_run() -> None:
        new = [i for i, _ in run if i is not None]
        old = [j for _, j in run if j is not None]
        hosts = [i for i in new if find_block(edited[i].module) is None]
        for chosen in (hosts, new):
            if old and len(chosen) == len(old) and all(map(can_replace, old, chosen)):
                to_file.update(zip(old, chosen, strict=True))
                certain.update(old)
                break
        else:
            to_file.update((j, i) for i, j in run if i is not None and j is not None)
        run.clear()

    for i, j in pairs:
        if i is not None and j is not None and edited[i].module == stock[j].module:
            pair_run()
            to_file[j] = i
            certain.add(j)
        else:
            run.append((i, j))
    pair_run()
    _pair_first_copies(edited, edited_strides, to_file)
    return to_file, certain


def _pair_first_copies(edited: list[Row], edited_strides: list[Fraction | None], to_file: dict[int, int]) -> None:
    """Pair a stock row with the first of two equal neighbours: the second, which reads the first, is the inserted one."""
    for old in sorted(to_file, reverse=True):
        number = to_file[old]
        while number and number - 1 not in to_file.values() and edited[number].sources == (-1,) \
                and _key(edited[number]) == _key(edited[number - 1]) \
                and edited_strides[number] == edited_strides[number - 1]:
            number -= 1
        to_file[old] = number
