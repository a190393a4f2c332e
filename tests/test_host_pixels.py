"""Pictures of bytes become what Ultralytics makes of them, bit for bit, however they lie in memory."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from yolograft.host import pixels

needs = pytest.mark.skipif(bool(pixels.refused()), reason=f"not on this machine: {pixels.refused()}")
LAST = torch.channels_last


def stock(batch: dict[str, Any]) -> dict[str, Any]:
    return {**batch, "img": batch["img"].float() / 255}


@needs
@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3), st.integers(1, 5), st.integers(1, 90), st.integers(1, 90),
       st.sampled_from(["planes", "last", "part"]))
def test_the_numbers_are_those_of_floats_that_are_divided_and_rounded(
    batch: int, channels: int, height: int, width: int, lie: str
) -> None:
    pictures = torch.randint(0, 256, (batch, channels, height, width + 1), dtype=torch.uint8)
    pictures = pictures[..., :width]
    if lie != "part":
        pictures = pictures.contiguous(memory_format=LAST if lie == "last" else torch.contiguous_format)
    found = pixels.scaled(pictures)
    assert torch.equal(found, (pictures.float() / 255).bfloat16())
    assert found.is_contiguous(memory_format=LAST)


@needs
def test_each_of_the_256_values_is_there() -> None:
    pictures = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    assert torch.equal(pixels.scaled(pictures), (pictures.float() / 255).bfloat16())
    assert len(pixels.scaled(pictures).unique()) > 200


@needs
def test_all_else_of_a_batch_is_prepared_by_ultralytics() -> None:
    seen: list[tuple[int, ...]] = []

    def watched(batch: dict[str, Any]) -> dict[str, Any]:
        seen.append(tuple(batch["img"].shape))
        return {**stock(batch), "cls": batch["cls"] + 1}

    pictures = torch.randint(0, 256, (2, 3, 8, 6), dtype=torch.uint8)
    given = {"img": pictures, "cls": torch.zeros(2, 1)}
    found = pixels.prepared(given, watched)
    assert seen == [(0, 3, 8, 6)], "height and width are there to be read"
    assert torch.equal(found["cls"], torch.ones(2, 1))
    assert torch.equal(found["img"], (pictures.float() / 255).bfloat16())
    assert given["img"] is pictures


def test_other_pictures_are_left_to_ultralytics(monkeypatch: pytest.MonkeyPatch) -> None:
    pictures: Tensor = torch.rand(2, 3, 8, 6)
    assert torch.equal(pixels.prepared({"img": pictures}, stock)["img"], pictures / 255)
    monkeypatch.setattr(pixels, "refused", lambda: "no C compiler is installed")
    found = pixels.prepared({"img": (255 * pictures).byte()}, stock)["img"]
    assert found.dtype == torch.float32
    assert found.is_contiguous(memory_format=LAST)


@pytest.mark.parametrize(("task", "multi_scale", "enough"), [
    ("detect", False, True), ("detect", 0.0, True), ("detect", 0.5, False), ("detect", True, False),
    ("segment", 0.0, False)])
def test_sizes_that_change_and_other_tasks_are_ultralytics_own(task: str, multi_scale: float, enough: bool) -> None:
    assert pixels.enough(SimpleNamespace(task=task, multi_scale=multi_scale)) == enough


def test_without_a_compiler_the_reason_is_told(uncompiled: Callable[[Any], None]) -> None:
    uncompiled(pixels)
    assert "no C compiler" in pixels.refused()
