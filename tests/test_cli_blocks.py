"""`yolograft blocks` lists every block in whole sentences; `yolograft blocks NAME` prints the page of one."""

import re
from pathlib import Path

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel

from yolograft import Graft, attach, blocks, prune
from yolograft.analysis import block_page
from yolograft.cli import main

NAMES = blocks.names()


@pytest.fixture(scope="module")
def host() -> DetectionModel:
    return DetectionModel("yolo11n.yaml", verbose=False)


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["blocks", *words]) == 0
    return capsys.readouterr().out


def test_the_list_has_each_block_with_a_sentence_settings_and_aliases(capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys)
    for name in NAMES:
        first, settings, also = block_page.entry(name)
        assert f"{first}\n{settings}\n{also}\n" in text
        assert first.endswith(".")
        assert all(f"{key}=" in settings for key in blocks.defaults(name))
        assert set(also.partition(": ")[2].split(", ")) == set(blocks.aliases(name)) - {name}


def test_a_sentence_that_spans_two_lines_is_whole(
        tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in ("_BLOCKS", "_ALIASES"):
        monkeypatch.setattr(blocks, registry, getattr(blocks, registry).copy())
    file = tmp_path / "long_words.py"
    file.write_text("from torch import nn\nfrom yolograft import block\n\n@block('wordy')\nclass Wordy(nn.Module):\n"
                    "    '''Return the input as it is, which is said here in a sentence\n    of two lines.'''\n"
                    "    def __init__(self, channels):\n        super().__init__()\n"
                    "    def forward(self, x):\n        return x\n\n"
                    "@block('mute')\nclass Mute(Wordy):\n    pass\n")
    text = printed(capsys, f"blocks={file}")
    assert "wordy          Return the input as it is, which is said here in a sentence of two lines.\n" in text
    page = printed(capsys, "wordy", f"blocks={file}")
    assert "sentence of two lines." in page
    assert "0 parameters, 0.000 million multiply-adds" in page
    assert printed(capsys, "mute", f"blocks={file}").startswith("mute\n")


@pytest.mark.parametrize("name", NAMES)
def test_the_page_has_paper_equations_settings_places_and_cost(name: str) -> None:
    text, about = block_page.page(name), vars(blocks.lookup(name))["about"]
    assert about.paper in text
    described = block_page.describe(blocks.lookup(name))
    assert "=" in described.equations or name == "ceca"
    for key, value in blocks.defaults(name).items():
        assert f"{key}={value}" in text
        assert len(described.settings[key].split()) > 1, f"{name}: the docstring does not explain {key}"
    parameters = sum(p.numel() for p in blocks.create(name, 256).parameters())
    assert f"{parameters:,} parameters" in " ".join(text.split())
    assert all(alias in text for alias in blocks.aliases(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_usual_place_exists_in_yolo11(name: str, host: DetectionModel) -> None:
    text, site = block_page.place(name)
    assert text != block_page.place("a block of the user")[0], "no usual place is known"
    attach.graft(host, f"{name}@{site}")
    try:
        assert attach.grafted(host) == attach.spelled(Graft.parse(f"{name}@{site}"))
    finally:
        prune(host)


def test_multiply_adds_are_counted() -> None:
    c, h, pixels = 256, 16, block_page.SIZE**2
    assert block_page.measure(blocks.create("se", c)).macs == 2 * c * h  # two layers, once per image
    assert block_page.measure(torch.nn.Conv2d(c, 8, 3, padding=1, bias=False)).macs == 9 * c * 8 * pixels
    assert block_page.measure(blocks.create("simam", c)).macs == 0


def test_an_alias_names_its_block_and_a_typing_error_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "SE_Block") == printed(capsys, "se")
    assert main(["blocks", "cbma"]) == 2
    assert "Did you mean 'cbam'?" in capsys.readouterr().err


def test_the_page_is_chinese_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOGRAFT_LANG", "zh")
    for name in NAMES:
        assert re.search("[\u4e00-\u9fff]", block_page.entry(name)[0])
        known = block_page.describe(blocks.lookup(name)).settings
        text = block_page.page(name)
        assert not [meaning for meaning in known.values() if meaning in text]
