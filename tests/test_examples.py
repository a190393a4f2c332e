"""The model YAML files of examples/architectures are sound, build, and have the table that their script wrote."""

import json
import re
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import DATA

from yolograft.host.yolo import YOLO
from yolograft.modelyaml.lint import examine
from yolograft.modules import plugin

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "examples" / "architectures"
SCRIPT = runpy.run_path(str(ROOT / "benchmarks" / "architectures.py"))
RESULTS: dict[str, dict[str, Any]] = json.loads((FOLDER / "results.json").read_text(encoding="utf-8"))
NAMES = sorted(SCRIPT["SOURCES"])
pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


@pytest.fixture
def own_modules(fresh_registry: None) -> Iterator[None]:
    pytest.importorskip("timm")
    plugin.load_file(FOLDER / "modules.py")
    yield
    sys.modules.pop("modules", None)


def test_each_file_has_a_source_and_results() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == NAMES == sorted(RESULTS)


def test_the_table_is_that_of_the_results() -> None:
    rows = re.findall(r"^\| \[([\w-]+)\]\((.*)\.yaml\) \|.*\| (\d+ of \d+) \| ([\d,]+) \|", (FOLDER / "README.md").read_text(
        encoding="utf-8"), flags=re.MULTILINE)
    assert {name: (loaded, count) for name, file, loaded, count in rows if name == file} == {
        name: (one["loaded"], f"{one['parameters']:,}") for name, one in RESULTS.items()}
    assert all(one[key] < 1e-4 for one in RESULTS.values() for key in ("onnx", "openvino", "safetensors"))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_sound_and_has_the_parameters_of_the_table(name: str, tmp_path: Path, own_modules: None) -> None:
    file = FOLDER / f"{name.replace('yolo11', 'yolo11n')}.yaml"
    assert not [finding for finding in examine(file).findings if finding.severity == "error"]
    if name == "yolo11-p2":  # has an output more than the weights, so its head is new, and built for six classes
        text = (FOLDER / f"{name}.yaml").read_text(encoding="utf-8").replace("nc: 80", "nc: 6")
        (tmp_path / file.name).write_text(text, encoding="utf-8")
        count = sum(parameter.numel() for parameter in YOLO(tmp_path / file.name).model.parameters())
        assert count == RESULTS[name]["parameters"]
        return
    model = YOLO(file).model
    # the pretrained class branches keep their width, and their last layers get 6 classes in the place of 80
    last = [branch[-1] for branch in model.model[-1].cv3]
    removed = sum((80 - 6) * (layer.in_channels + 1) for layer in last)
    assert sum(parameter.numel() for parameter in model.parameters()) - removed == RESULTS[name]["parameters"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo11-bifpn", "yolo11-timm"])
def test_a_file_trains_reopens_and_exports(name: str, tmp_path: Path) -> None:
    from yolograft.cli import main

    if not (DATA / "NEU-DET.zip").is_file():
        pytest.skip(f"{DATA / 'NEU-DET.zip'} does not exist")
    assert main(["data", "neu-det", str(DATA / "NEU-DET.zip"), str(tmp_path / "set")]) == 0
    found = SCRIPT["measure"](name, str(tmp_path / "set" / "NEU-DET.yaml"), str(DATA / "weights" / "yolo11n.pt"), 1, 0.05)
    assert found["loaded"] == RESULTS[name]["loaded"]
    assert all(found[key] < 1e-4 for key in ("onnx", "openvino", "safetensors"))


def test_both_languages_have_the_same_table_of_architectures() -> None:
    tables = [re.findall(r"^\| \[(\S+)\].*?\| (\d+)(?: of |/)(\d+) \| ([\d,]+) \| (\S+) \| (\S+) \|", text, flags=re.M)
              for text in ((FOLDER / name).read_text(encoding="utf-8") for name in ("README.md", "README.zh-CN.md"))]
    assert len(tables[0]) == len(list(FOLDER.glob("yolo*.yaml")))
    assert tables[0] == tables[1]
