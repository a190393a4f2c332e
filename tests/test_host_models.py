"""The YAML dict of a grafted model: stock code cannot build the bare host from it, nor from any copy of it."""

import copy
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics
import yaml
from ultralytics.nn.tasks import ClassificationModel, DetectionModel

from yolograft import YOLO
from yolograft.attach import grafted, grafts
from yolograft.errors import GraftError
from yolograft.host import models
from yolograft.modelyaml.lint import lint
from yolograft.modelyaml.load import SCALE_KEY, unmarked

COPIES: dict[str, Callable[[Any], Any]] = {
    "itself": lambda config: config,
    "dict": dict,
    "copy": copy.copy,
    "dict.copy": lambda config: config.copy(),
    "deepcopy": copy.deepcopy,
    "unpacked": lambda config: {**config},
    "json": lambda config: json.loads(json.dumps(config)),
    "safe_dump": lambda config: yaml.safe_load(yaml.safe_dump(config)),
    "dump": lambda config: yaml.safe_load(yaml.dump(config)),
}


@pytest.fixture(scope="module")
def model() -> Any:
    return YOLO("yolo11s.yaml", graft="se(ratio=8)@8 + eca@p3").model


@pytest.mark.parametrize("how", list(COPIES))
def test_stock_code_never_builds_the_bare_host_from_a_copy(how: str, model: Any) -> None:
    with pytest.raises((GraftError, KeyError), match=r"carries the graft .*yolograft train") as raised:
        DetectionModel(COPIES[how](model.yaml), verbose=False)
    assert "yolograft.YOLO" in str(raised.value)
    assert "se" in str(raised.value)


def test_stock_code_of_another_task_builds_no_bare_host_either() -> None:
    config = dict(YOLO("yolov8n-cls.yaml", graft="se@8").model.yaml)
    with pytest.raises(KeyError, match="carries the graft 'se@8'"):
        ClassificationModel(config, verbose=False)


@pytest.mark.parametrize("name", ["yolo11.yaml", "mine.yaml", "yolo11s-mine.yaml"])
def test_a_dumped_yaml_file_builds_the_same_grafted_model(name: str, model: Any, tmp_path: Path) -> None:
    file = tmp_path / name
    file.write_text(yaml.safe_dump(model.yaml))
    again = YOLO(file).model
    assert str(grafted(again)) == str(grafted(model))
    assert [(key, value.shape) for key, value in again.state_dict().items()] \
        == [(key, value.shape) for key, value in model.state_dict().items()]
    assert again.yaml["scale"] == "s"
    assert not [problem for problem in lint(file) if problem.severity == "error"]
    with pytest.raises(KeyError, match="yolograft"):
        ultralytics.YOLO(file)


def test_ungraft_restores_the_stock_yaml(model: Any) -> None:
    stock = DetectionModel("yolo11s.yaml", verbose=False)
    assert models.host_yaml(model.yaml) == stock.yaml
    bare = models.ungraft(copy.deepcopy(model))
    assert bare.yaml == stock.yaml
    assert type(bare.yaml) is dict
    DetectionModel(bare.yaml, verbose=False)


def test_opening_an_early_checkpoint_adds_the_mark(model: Any) -> None:
    early = copy.deepcopy(model)
    plain = {key: value for key, value in unmarked(early.yaml).items() if key != SCALE_KEY}
    early.yaml = models.GraftedYaml(plain)
    DetectionModel(dict(early.yaml), verbose=False)  # without the mark, stock code builds the bare host
    file = io.BytesIO()
    torch.save(early, file)
    file.seek(0)
    opened = torch.load(file, weights_only=False)
    assert opened.yaml == model.yaml
    assert len(grafts(opened)) == 2
    with pytest.raises(KeyError, match="carries the graft"):
        DetectionModel(dict(opened.yaml), verbose=False)
