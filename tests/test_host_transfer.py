"""Pretrained weights follow the rows of an edited model YAML."""

import copy
from typing import Any

import pytest
import yaml

from yolograft.host import transfer
from yolograft.modelyaml import catalog, table

FILES = catalog.packaged_files()


def config_of(path: Any) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def insert(cfg: dict[str, Any], at: int, row: list[Any]) -> dict[str, Any]:
    """Insert a row that reads the row before it, and shift every later number."""
    edited = copy.deepcopy(cfg)
    split = len(edited["backbone"])

    def moved(source: int, reader: int) -> int:
        if source >= 0:
            return source + (source >= at)
        return source if reader + source >= at or reader < at or source == -1 else source - 1

    rows = [[[moved(s, n) for s in one[0]] if isinstance(one[0], list) else moved(one[0], n), *one[1:]]
            for n, one in enumerate(edited["backbone"] + edited["head"])]
    rows.insert(at, row)
    split += at <= split - 1 or at == split
    edited["backbone"], edited["head"] = rows[:split], rows[split:]
    return edited


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_inserted_row_loses_no_row(path: Any) -> None:
    cfg = config_of(path)
    try:
        rows = table.parse_rows(cfg)
    except Exception:
        pytest.skip("not a file of rows")
    for at in range(1, len(rows)):
        for row in ([-1, 1, "Conv", [64, 3, 1]], [-1, 2, "C3k2", [256, False]], [-1, 1, "nn.Identity", []],
                    [-1, 1, "My", []]):
            edited = insert(cfg, at, row)
            others = table.parse_rows(edited)
            mapping = transfer.match_rows(cfg, edited)
            assert mapping is not None
            for one in rows:
                expected, found = one.number + (one.number >= at), mapping.get(one.number)
                twin = found is not None and (others[found].module, others[found].args) == (one.module, one.args)
                assert found == expected or twin, f"{row} at {at}: {one} should be {expected}, and is {found}"
