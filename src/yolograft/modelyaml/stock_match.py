"""Which packaged YAML a hand-edited one came from, and which of its rows is which row there.

The text of both is compared, row by row, as two sequences: an edit inserts rows, replaces some, and leaves the most. The
`from` numbers take no part in it, for they are what an edit breaks.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from typing import Any

import yaml

from yolograft.errors import GraftError
from yolograft.modelyaml import catalog
from yolograft.modelyaml.signatures import block_of
from yolograft.modelyaml.table import Row, gives_map, rows

__all__ = ["Origin", "find", "packaged_rows"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_GAP = -1.0
_NEVER = -10.0  # less than two gaps: these rows cannot stand for each other
_FAMILY = 8.0  # what a name of the same version is worth: about one row
_CANDIDATES = 8  # packaged files worth a full comparison


@dataclass(frozen=True, kw_only=True)
class Origin:
    """The packaged YAML that a file came from.

    Attributes:
        name: its file's name.
        cfg: its YAML dict.
        rows: its rows.
        here: for each of its rows that has a counterpart in the file, the file's row.
        sure: those of its rows whose counterpart is beyond doubt: the same module, or one replaced by one.
    """

    name: str
    cfg: dict[str, Any]
    rows: tuple[Row, ...]
    here: dict[int, int]
    sure: frozenset[int]


def find(every: list[Row], name: str = "") -> Origin | None:
    """Return the packaged YAML nearest to these rows, or None where none is near; `name` decides between equals."""
    mine = Counter(map(_key, every))
    near = sorted(_packaged(), key=lambda one: -sum((mine & one[2]).values()) + 0.5 * len(one[1]) / len(every))
    best: tuple[float, float] | None = None
    found = None
    for stem, stock, _, cfg in near[:_CANDIDATES]:
        score, pairs = _aligned(every, stock)
        family = bool(_family(stem)) and _family(stem) == _family(name)
        rank = (score + (_FAMILY if family else 0), SequenceMatcher(None, stem, name).ratio())
        if best is None or rank > best:
            best, found = rank, (stem, stock, cfg, pairs)
    if found is None:
        return None
    stem, stock, cfg, pairs = found
    same = sum(i is not None and j is not None and every[i].module == stock[j].module for i, j in pairs)
    if same < 6 or same < 0.5 * len(stock):
        return None
    here, sure = _counterparts(every, stock, pairs)
    return Origin(name=f"{stem}.yaml", cfg=cfg, rows=tuple(stock), here=here, sure=frozenset(sure))


def _family(stem: str) -> str:
    """Return the version that a file's name says: `11` for yolo11s-se, `v8` for yolov8-p2."""
    said = re.match(r"(?:yoloe?-?|rtdetr-?)(v?\d+)", stem)
    return said[1] if said else ""


def packaged_rows() -> list[Row]:
    """Return the rows of all packaged YAML files."""
    return [row for _, stock, _, _ in _packaged() for row in stock]


@cache
def _packaged() -> tuple[tuple[str, list[Row], Counter[str], dict[str, Any]], ...]:
    found = []
    for path in catalog.packaged_files():
        cfg = yaml.load(path.read_text(encoding="utf-8"), Loader=_LOADER)
        try:
            stock = rows(cfg)
        except GraftError:  # no model, or of a form that no file here could have come from
            continue
        found.append((path.stem, stock, Counter(map(_key, stock)), cfg))
    return tuple(found)


def _key(one: Row) -> str:
    return f"{one.module} {list(one.args)}"


def _alike(one: Row, stock: Row, block: bool) -> float:
    """Return how well a row stands for a stock row: high for the same text, low for a replacement."""
    if one.module == stock.module:
        near = sum(a == b for a, b in zip(map(str, one.args), map(str, stock.args), strict=False))
        share = near / max(len(one.args), len(stock.args), 1)
        return 2 + 5 * share + (one.repeats == stock.repeats) + (one.part == stock.part) \
            + (len(one.sources) == len(stock.sources)) + 0.5 * (one.sources == stock.sources)
    if one.several != stock.several or "Concat" in (one.module, stock.module):
        return _NEVER
    if not gives_map(stock):
        return 0.5 if not block else _NEVER
    return -0.5 if block else 0.5


def _aligned(every: list[Row], stock: list[Row]) -> tuple[float, list[tuple[int | None, int | None]]]:
    """Align two lists of rows (Needleman and Wunsch 1970): the best sum over pairs, with a price for each gap."""
    blocks = [block_of(one.module) is not None for one in every]
    table = [[_GAP * j for j in range(len(stock) + 1)]]
    for i, one in enumerate(every):
        line = [_GAP * (i + 1)]
        for j, other in enumerate(stock):
            line.append(max(table[i][j] + _alike(one, other, blocks[i]), table[i][j + 1] + _GAP, line[j] + _GAP))
        table.append(line)
    pairs: list[tuple[int | None, int | None]] = []
    i, j = len(every), len(stock)
    while i or j:
        if i and j and table[i][j] == table[i - 1][j - 1] + _alike(every[i - 1], stock[j - 1], blocks[i - 1]):
            i, j = i - 1, j - 1
            pairs.append((i, j))
        elif i and table[i][j] == table[i - 1][j] + _GAP:
            i -= 1
            pairs.append((i, None))
        else:
            j -= 1
            pairs.append((None, j))
    return table[-1][-1], pairs[::-1]


def _counterparts(every: list[Row], stock: list[Row], pairs: list[tuple[int | None, int | None]]
                  ) -> tuple[dict[int, int], set[int]]:
    here: dict[int, int] = {}
    sure: set[int] = set()
    run: list[tuple[int | None, int | None]] = []  # between two rows that are in both: what was replaced by what

    def settle_run() -> None:
        new = [i for i, _ in run if i is not None]
        old = [j for _, j in run if j is not None]
        hosts = [i for i in new if block_of(every[i].module) is None]
        for chosen in (hosts, new):
            if old and len(chosen) == len(old):
                here.update(zip(old, chosen, strict=True))
                sure.update(old)
                break
        else:
            here.update((j, i) for i, j in run if i is not None and j is not None)
        run.clear()

    for i, j in pairs:
        if i is not None and j is not None and every[i].module == stock[j].module:
            settle_run()
            here[j] = i
            sure.add(j)
        else:
            run.append((i, j))
    settle_run()
    return here, sure
