"""The pages on blocks match the code, and their examples run."""

from __future__ import annotations

import re
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from yolograft import blocks, graft
from yolograft.attach import grafts
from yolograft.blocks.plugin import load_plugin
from yolograft.errors import BlockError

DOCS = Path(__file__).resolve().parents[1] / "docs"


@pytest.fixture(scope="module")
def script() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "make_blocks.py"))


def test_the_tables_match_the_blocks(script: dict[str, Any]) -> None:
    for language, text in script["pages"]().items():
        assert script["FILES"][language].read_text(encoding="utf-8") == text, "run: python docs/make_blocks.py"


def test_operations_are_counted_as_the_page_says(script: dict[str, Any]) -> None:
    channels, pixels = script["CHANNELS"], script["SIZE"] ** 2
    count = script["operations"]
    assert count(nn.Conv2d(channels, 8, 3, padding=1, bias=False)) == 2 * 9 * channels * 8 * pixels
    assert count(nn.Linear(script["SIZE"], 4, bias=False)) == 2 * channels * pixels * 4
    assert count(nn.ReLU()) == channels * pixels
    assert count(nn.AdaptiveAvgPool2d(1)) == channels * pixels
    assert count(nn.Flatten()) == 0


def test_a_block_that_cannot_be_exported_is_listed_as_such(script: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    class NotTraceable(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            if torch.jit.is_tracing():
                raise RuntimeError("no")
            return x

    monkeypatch.setattr(script["blocks"], "create", lambda name, channels: NotTraceable())
    assert script["exports"]("se") == "no"


def test_the_examples_of_the_guide_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (DOCS / "write-a-block.md").read_text()
    source, check, use = re.findall(r"```python\n(.*?)```", text, flags=re.S)
    (tmp_path / "my_blocks.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    for registry in ("_BLOCKS", "_ALIASES"):
        monkeypatch.setattr(blocks, registry, getattr(blocks, registry).copy())
    try:
        exec(check, {})
        variables: dict[str, Any] = {}
        exec(use, variables)
        kinds = [repr(module) for module in grafts(variables["model"]).values()]
        assert kinds == ["Contrast(strength=2)"] * 2
        with pytest.raises(BlockError, match="at most 10"):
            graft(variables["model"], "contrast(strength=11)@8")
        assert blocks.canonical("contrast_attention") == "contrast"
        assert load_plugin(tmp_path / "my_blocks.py").Contrast is variables["my_blocks"].Contrast
    finally:
        sys.modules.pop("my_blocks", None)
