"""docs/modules.md and its Chinese version match the code, and their examples run."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from yolograft import modules
from yolograft.modules import _habits, describe_channels, lookup
from yolograft.modules._channels import KINDS

DOCS = Path(__file__).resolve().parents[1] / "docs"
TEXT, CHINESE = ((DOCS / name).read_text(encoding="utf-8") for name in ("modules.md", "modules.zh-CN.md"))
modules.names()
OURS = list(modules._MODULES)


def rows(text: str) -> dict[str, list[str]]:
    return {name: [cell.strip() for cell in rest.split("|")]
            for name, rest in re.findall(r"^\| `(\w+)` \| (.*arXiv.*) \|$", text, flags=re.M)}


@pytest.mark.parametrize("text", [TEXT, CHINESE], ids=["en", "zh"])
def test_the_table_has_every_module(text: str) -> None:
    assert sorted(rows(text)) == sorted(OURS)


def test_both_languages_have_the_same_code() -> None:
    english, chinese = (re.findall(r"```.*?```", text, flags=re.S) for text in (TEXT, CHINESE))
    assert english == chinese


@pytest.mark.parametrize("text", [TEXT, CHINESE], ids=["en", "zh"])
@pytest.mark.parametrize("name", OURS)
def test_a_row_of_the_table_is_true(name: str, text: str) -> None:
    cls = lookup(name)
    paper, constructor, _, count, call = rows(text)[name]
    parameters = list(inspect.signature(cls.__init__).parameters.values())[1:]
    assert constructor == "`(" + ", ".join(
        one.name + ("" if one.default is one.empty else f"={one.default!r}") for one in parameters) + ")`"
    built = eval(call.strip("`"), {name: cls})
    assert int(count.replace(",", "")) == sum(one.numel() for one in built.parameters())
    assert re.search(r"arXiv:\d{4}\.\d{5}", paper)[0] in inspect.getmodule(cls).__doc__  # type: ignore[index]


@pytest.mark.parametrize(("text", "start"), [(TEXT, "These names are understood"), (CHINESE, "能识别下列名称")],
                         ids=["en", "zh"])
def test_every_habit_is_listed(text: str, start: str) -> None:
    listed = set(re.findall(r"`([a-z0-9_]+)`", text[text.index(start):]))
    assert {name for role in {*_habits.__all__} - {"SAME"} for name in getattr(_habits, role)} <= listed


@pytest.mark.parametrize("text", [TEXT, CHINESE], ids=["en", "zh"])
def test_every_kind_is_listed(text: str) -> None:
    assert re.findall(r'^\| `"(.*)"` \|', text, flags=re.M) == list(KINDS)


def test_the_examples_run(fresh_registry: None) -> None:
    shelf, family, own, unclear = re.findall(r"```python\n(.*?)```", TEXT, flags=re.S)
    variables: dict[str, Any] = {"__name__": "example"}
    for example in (shelf, family, own, unclear):
        exec(example, variables)
    assert variables["upsample"](torch.rand(1, 64, 20, 20)).shape == (1, 64, 40, 40)
    assert variables["row"].m[0].attention is not None
    assert lookup("half_conv")(4, 8)(torch.rand(1, 4, 6, 6)).shape == (1, 8, 3, 3)
    assert describe_channels(variables["Halve"]).kind == "c1,c2"
    assert describe_channels(variables["Stem"]).names == ("c1",)
