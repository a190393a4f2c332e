"""docs/architecture.svg shows the rooms and imports of the code as it is, and can be read."""

from __future__ import annotations

import re
import runpy
from itertools import combinations
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

DOCS = Path(__file__).resolve().parents[1] / "docs"
TAG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_architecture.py"))


@pytest.fixture(scope="module")
def svg() -> ElementTree.Element:
    return ElementTree.parse(DOCS / "architecture.svg").getroot()


def test_the_picture_is_up_to_date(script: dict[str, Any]) -> None:
    assert (DOCS / "architecture.svg").read_text(encoding="utf-8") == script["picture"](), (
        "run: python docs/make_architecture.py")


def test_the_picture_has_every_room_and_arrow(script: dict[str, Any], svg: ElementTree.Element) -> None:
    names = [text.text for text in svg.iter(f"{TAG}text") if text.get("class") == "name"]
    assert sorted(names) == sorted(script["ROOMS"])
    titles = [title.text for line in svg.iter(f"{TAG}line") for title in line]
    assert titles == ([f"{one} imports {other}" for one, other in script["arrows"]()]
                      + [f"{one} loads {other} by name" for one, other in script["by_name"]()])
    assert "study loads runner by name" in titles
    blue = sum(box.get("class") == "ultralytics" for box in svg.iter(f"{TAG}rect"))
    assert blue == len(script["touching"]()) > 0


def test_the_arrows_say_all_imports(script: dict[str, Any]) -> None:
    graph: dict[str, set[str]] = {name: set() for name in script["ROOMS"]}
    for one, other in script["arrows"]():
        graph[one].add(other)
    for name, others in script["imports"]().items():
        assert others - {script["GROUND"]} <= script["reach"](graph, name), name


def test_arrows_point_down_and_pass_between_the_boxes(script: dict[str, Any], svg: ElementTree.Element) -> None:
    boxes = {name: script["box"](name) for name in script["ROOMS"]}
    for one, other in combinations(boxes, 2):
        (x, y, width, height), (to_x, to_y, to_width, to_height) = boxes[one], boxes[other]
        assert x + width < to_x or to_x + to_width < x or y + height < to_y or to_y + to_height < y, (
            f"{one} and {other} overlap. Change their places in ROOMS.")
    for line in svg.iter(f"{TAG}line"):
        x, y, to_x, to_y = (float(line.get(key) or "nan") for key in ("x1", "y1", "x2", "y2"))
        assert line.get("class") == "by-name" or y < to_y, f"'{line[0].text}' points up. Change the places in ROOMS."
        for step in range(2, 99):
            at = x + (to_x - x) * step / 100, y + (to_y - y) * step / 100
            crossed = [name for name, (left, top, width, height) in boxes.items()
                       if left < at[0] < left + width and top < at[1] < top + height]
            assert not crossed, f"'{line[0].text}' crosses {crossed}. Change the places in ROOMS."


def test_the_texts_fit_their_boxes(script: dict[str, Any]) -> None:
    for name, (_, lines, _) in script["ROOMS"].items():
        for line in lines:
            assert 7.3 * len(line) < script["box"](name)[2], f"{name}: '{line}' is too long"


@pytest.mark.parametrize("page", ["architecture.md", "architecture.zh-CN.md"])
def test_the_pages_name_every_room_and_files_that_exist(script: dict[str, Any], page: str) -> None:
    text = (DOCS / page).read_text(encoding="utf-8")
    assert "](architecture.svg)" in text
    for name, (members, *_) in script["ROOMS"].items():
        assert name == script["GROUND"] or all(f"`{member}" in text for member in members), name
    homes = script["SOURCE"], DOCS.parent
    for file in re.findall(r"`([a-z_/]+(?:\.py|/))`", text):
        assert any((home / file).exists() for home in homes), f"{page} names {file}, which does not exist"
