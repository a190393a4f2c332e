"""Pretrained weights follow the rows of an edited model YAML."""

import copy
import random
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ultralytics.nn.tasks import RTDETRDetectionModel, guess_model_task
from ultralytics.utils import LOGGER

from yolograft import YOLO
from yolograft.errors import HostError
from yolograft.host import models, transfer
from yolograft.modelyaml import catalog, table
from yolograft.sites import probe

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


TENSOR_SAMPLE = set(random.Random(4).sample(FILES, 4))
SAMPLE = set(random.Random(15).sample(FILES, 12))  # the others are slow tests


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem, marks=[] if path in SAMPLE else pytest.mark.slow)
                                  for path in FILES])
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


def build(cfg: dict[str, Any], path: Path) -> Any:
    """Build a task model of a packaged file at its smallest scale, without weights that are downloaded."""
    scales = cfg.get("scales")
    text = yaml.safe_dump(cfg).replace("DEFAULT", "null")
    config = {**yaml.safe_load(text), **({"scale": next(iter(scales))} if scales else {}), "yaml_file": path.name}
    task = guess_model_task(config)
    family = path.name if "world" in path.stem or "yoloe" in path.stem else "yolo11n.yaml"
    cls = RTDETRDetectionModel if "rtdetr" in path.stem else YOLO(family).task_map[task]["model"]
    with models.building():
        return cls(config, verbose=False)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem, marks=[] if path in TENSOR_SAMPLE else pytest.mark.slow)
                                  for path in FILES])
def test_an_inserted_row_loses_no_tensor(path: Path, one_thread: None) -> None:
    cfg = config_of(path)
    try:
        count = len(table.parse_rows(cfg))
    except HostError:
        pytest.skip("not a file of rows")
    source = build(cfg, path)
    outputs = probe(source).outputs
    places = [number for number in range(1, count - 1) if len(outputs.get(f"model.{number - 1}") or ()) == 4]
    if not places:
        pytest.skip("no row behind another one gives a map")
    at = random.Random(path.stem).choice(places)
    target = build(insert(cfg, at, [-1, 1, "nn.Identity", []]), path)
    plan = transfer.plan_transfer(source, target.yaml)
    assert plan is not None
    target.load(plan.weights, verbose=False)
    found = target.state_dict()
    for key, value in source.state_dict().items():
        number = int(key.split(".")[1])
        moved = f"model.{number + (number >= at)}.{key.split('.', 2)[2]}"
        assert torch.equal(value, found[moved]), f"a row at {at}: {key} is lost"


EDITS: dict[str, tuple[Any, int]] = {  # an edit of yolo11, and how many of the 499 tensors of yolo11n.pt load
    "a Conv is inserted": (lambda cfg: insert(cfg, 9, [-1, 1, "Conv", [1024, 3, 1]]), 499),
    "a row is replaced": (lambda cfg: replaced(cfg, 9, [-1, 1, "SPP", [1024, [5, 9, 13]]]), 499),
    "a row is removed": (lambda cfg: removed(cfg, 10), 499 - 42),
    "a Concat is replaced": (lambda cfg: replaced(cfg, 12, [[-1, 6], 1, "BiFPN_Concat2", []]), 499),
}


def replaced(cfg: dict[str, Any], at: int, row: list[Any]) -> dict[str, Any]:
    edited = copy.deepcopy(cfg)
    split = len(edited["backbone"])
    (edited["backbone"] if at < split else edited["head"])[at if at < split else at - split] = row
    return edited


def removed(cfg: dict[str, Any], at: int) -> dict[str, Any]:
    """Remove a row of the backbone, and let its readers read the row before it."""
    edited = copy.deepcopy(cfg)
    del edited["backbone"][at]
    for row in edited["head"]:
        if isinstance(row[0], list):
            row[0] = [source - (source >= at) for source in row[0]]
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
    shift, at = {"a Conv is inserted": (1, 9), "a row is removed": (-1, 11)}.get(name, (0, 0))
    same = 0
    for key, value in source.items():
        _, number, rest = key.split(".", 2)
        moved = target.get(f"model.{int(number) + shift * (int(number) >= at)}.{rest}")
        same += moved is not None and value.shape == moved.shape and bool((value == moved).all())
    assert same == expected
    assert f"yolograft: {expected} of {len(target)} host tensors loaded" in caplog.text
    assert "Transferred" not in caplog.text
