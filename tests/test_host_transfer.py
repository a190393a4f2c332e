"""Pretrained weights follow the rows of an edited model YAML."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import yaml
from ultralytics.utils import LOGGER

from yolograft import YOLO
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


INSERTED = ([-1, 1, "Conv", [64, 3, 1]], [-1, 2, "C3k2", [256, False]], [-1, 1, "nn.Identity", []], [-1, 1, "My", []])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_an_inserted_row_loses_no_row(path: Any) -> None:
    check_insertions(path, 3)


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_inserted_row_loses_a_row(path: Any) -> None:
    check_insertions(path, None)


def check_insertions(path: Any, count: int | None) -> None:
    cfg = config_of(path)
    try:
        rows = table.parse_rows(cfg)
    except Exception:
        pytest.skip("not a file of rows")
    places = [(at, row) for at in range(1, len(rows)) for row in INSERTED]
    if count is not None:  # another choice for each file, the same in each run
        places = random.Random(path.stem).sample(places, count)
    for at, row in places:
        edited = insert(cfg, at, row)
        others = table.parse_rows(edited)
        mapping = transfer.match_rows(cfg, edited)
        assert mapping is not None
        for one in rows:
            expected, found = one.number + (one.number >= at), mapping.get(one.number)
            twin = found is not None and (others[found].module, others[found].args) == (one.module, one.args)
            assert found == expected or twin, f"{row} at {at}: {one} should be {expected}, and is {found}"


EDITS: dict[str, tuple[Any, int]] = {  # an edit of yolo11, and how many of the 499 tensors of yolo11n.pt load
    "a Conv is inserted": (lambda cfg: insert(cfg, 9, [-1, 1, "Conv", [1024, 3, 1]]), 499),
    "a row is replaced": (lambda cfg: replaced(cfg, 9, [-1, 1, "SPP", [1024, [5, 9, 13]]]), 499),
    "a Concat is replaced": (lambda cfg: replaced(cfg, 12, [[-1, 6], 1, "BiFPN_Concat2", []]), 499),
}


def replaced(cfg: dict[str, Any], at: int, row: list[Any]) -> dict[str, Any]:
    edited = copy.deepcopy(cfg)
    split = len(edited["backbone"])
    (edited["backbone"] if at < split else edited["head"])[at if at < split else at - split] = row
    return edited


@pytest.mark.parametrize("name", EDITS)
def test_real_tensors_follow_the_rows(name: str, weights: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture,
                                      one_thread: None) -> None:
    change, expected = EDITS[name]
    cfg = change(config_of(next(path for path in FILES if path.name == "yolo11.yaml")))
    file = tmp_path / "yolo11n-edited.yaml"
    file.write_text(yaml.safe_dump(cfg), encoding="utf-8")
    model = YOLO(file)
    LOGGER.addHandler(caplog.handler)
    try:
        model.load(weights)
    finally:
        LOGGER.removeHandler(caplog.handler)
    source, target = YOLO(weights).model.state_dict(), model.model.state_dict()
    shift = int("inserted" in name)
    same = sum(bool((value == target[f"model.{int(key.split('.')[1]) + shift * (int(key.split('.')[1]) >= 9)}."
                                     f"{key.split('.', 2)[2]}"]).all()) for key, value in source.items())
    assert same == expected
    assert f"yolograft: {expected} of {len(target)} host tensors loaded" in caplog.text
    assert "Transferred" not in caplog.text
