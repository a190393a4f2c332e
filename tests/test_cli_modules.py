"""`yolograft modules` lists the modules for rows, and each page is true of the class and its row."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from yolograft import modules
from yolograft.analysis import block_page, module_page
from yolograft.cli import main
from yolograft.host.models import building
from yolograft.host.open import open_model
from yolograft.modelyaml.catalog import read_yaml
from yolograft.modelyaml.lint import examine

SHELF = modules.registered()


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["modules", *words]) == 0
    return capsys.readouterr().out


def test_the_list_has_each_module(capsys: pytest.CaptureFixture[str], tmp_path: Path, fresh_registry: None) -> None:
    file = tmp_path / "own_modules.py"
    file.write_text("from torch import nn\n\nclass Twice(nn.Module):\n    '''Double the input.'''\n\n"
                    "    def __init__(self, c1):\n        super().__init__()\n", encoding="utf-8")
    text = printed(capsys, f"modules={file}")
    assert "Twice          Double the input.\n               Twice(c1)\n" in text
    for name in SHELF:
        assert "\n".join(module_page.entry(name)) in text


@pytest.mark.parametrize("name", SHELF)
def test_a_page_explains_every_setting_and_names_the_paper(name: str) -> None:
    text, cls = module_page.page(name), modules.lookup(name)
    described = block_page.describe(cls)
    assert "arXiv:" in text
    assert all(alias in text for alias in modules.aliases(name))
    channels = {*modules.describe_channels(cls).names, "n"}
    for key in module_page._constructor(cls).strip("()").split(", "):
        setting = key.partition("=")[0]
        assert setting in described.settings or setting in channels, f"{name}: the docstring does not explain {setting}"


@pytest.mark.parametrize("name", SHELF)
def test_the_row_of_a_page_builds_in_yolo11(name: str, tmp_path: Path) -> None:
    number, row = module_page._ROWS[name]
    cfg: dict[str, Any] = read_yaml("yolo11n.yaml")
    del cfg["scale"], cfg["yaml_file"]
    rows, at = (cfg["backbone"], number) if number < len(cfg["backbone"]) else (cfg["head"], number - len(cfg["backbone"]))
    rows[at] = yaml.safe_load(row)
    file = tmp_path / "yolo11n-page.yaml"
    file.write_text(yaml.safe_dump(cfg), encoding="utf-8")
    assert not [finding for finding in examine(file).findings if finding.severity == "error"]
    with building():
        model = open_model(str(file)).model
    assert type(model.model[number]).__name__ == name


def test_an_unknown_module_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["modules", "dysmple"]) == 2
    assert "Did you mean 'DySample'?" in capsys.readouterr().err
