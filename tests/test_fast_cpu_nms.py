"""The C kernel returns Ultralytics' boxes in the same order, bit for bit; Ultralytics' own NMS runs for the rest."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import torch
import torchvision  # without it, Ultralytics has another NMS and orders equal scores differently
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from yolograft.fast.cpu import nms

REASON = nms.KERNEL.unavailable_reason()
needs = pytest.mark.skipif(bool(REASON), reason=f"not on this machine: {REASON}")
stock = partial(nms._stock, max_time_img=1000.0)  # seconds: under load, Ultralytics leaves images out after its default
assert torchvision


def maps(seed: int, classes: int, count: int, size: float = 80, far: float = 0) -> Tensor:
    torch.manual_seed(seed)
    boxes = torch.cat([224 * torch.rand(2, 2, count), size * torch.rand(2, 2, count)], 1)
    boxes[:, 2] += far * (torch.rand(2, count) < 0.1)
    return torch.cat([boxes, torch.randint(-20, 101, (2, classes, count)).clamp(0) / 100], 1)  # with many equal scores


def same(found: list[Tensor], right: list[Tensor]) -> bool:
    return len(found) == len(right) and all(torch.equal(one, other) for one, other in zip(found, right, strict=True))


@needs
@pytest.mark.parametrize("classes", [1, 6, 80])
@pytest.mark.parametrize(("threshold", "max_det", "agnostic", "far"),
                         [(0.7, 300, False, 0), (0.7, 20, False, 0), (0.0, 300, True, 0), (0.5, 300, False, 9000)])
@settings(max_examples=4, deadline=None)
@given(st.integers(0, 2**31), st.integers(7, 400))
def test_it_selects_the_same_boxes_as_ultralytics(
    classes: int, threshold: float, max_det: int, agnostic: bool, far: float, seed: int, count: int
) -> None:
    given_maps = maps(seed, classes, count, far=far)  # far: boxes wide enough that different classes overlap
    options: dict[str, Any] = {"agnostic": agnostic, "multi_label": True, "max_det": max_det}
    found = nms.non_max_suppression(given_maps.clone(), 0.001, threshold, **options)
    assert same(found, stock(given_maps.clone(), 0.001, threshold, **options))


@needs
def test_ious_near_the_threshold_are_rounded_as_in_torchvision() -> None:
    torch.manual_seed(0)
    corner = torch.rand(1, 2, 3000).round(decimals=1) * 8
    boxes = torch.cat([100 + corner, torch.full_like(corner, 30)], 1)  # few different IoUs
    given_maps = torch.cat([boxes, torch.rand(1, 6, 3000)], 1)
    for threshold in {float(one) for one in torch.linspace(0.55, 0.95, 9)}:
        found = nms.non_max_suppression(given_maps.clone(), 0.5, threshold, multi_label=True)
        assert same(found, stock(given_maps.clone(), 0.5, threshold, multi_label=True))


@needs
def test_no_boxes_and_nan_values() -> None:
    given_maps = maps(0, 3, 50)
    given_maps[0, 4:] = 0
    given_maps[1, 4, :10] = float("nan")
    given_maps[1, 4:, 10] = 0.9
    given_maps[1, 0, 10] = float("nan")
    found, right = (one(given_maps.clone(), 0.25, 0.7, multi_label=True) for one in (nms.non_max_suppression, stock))
    assert [one.shape for one in found] == [one.shape for one in right]
    assert found[0].shape == (0, 6)
    assert all(torch.equal(one.nan_to_num(-1), other.nan_to_num(-1)) for one, other in zip(found, right, strict=True))


@needs
@pytest.mark.parametrize(
    "options", [{"nc": 2}, {"multi_label": False}, {"classes": [1]}, {"max_nms": 20}, {"rotated": True}])
def test_unsupported_settings_go_to_ultralytics(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    given_maps, seen = maps(1, 3, 200), []
    settings_ = {"multi_label": True, "max_det": 30, **options}
    right = stock(given_maps.clone(), 0.1, 0.7, **settings_)
    monkeypatch.setattr(nms, "_stock", lambda *args, **kwargs: seen.append(1) or stock(*args, **kwargs))
    assert same(nms.non_max_suppression(given_maps.clone(), 0.1, 0.7, **settings_), right)
    assert seen


def test_without_a_compiler_ultralytics_own_nms_runs(uncompiled: Callable[[Any], None]) -> None:
    uncompiled(nms)
    assert "no C compiler" in nms.KERNEL.unavailable_reason()
    found = nms.non_max_suppression(maps(2, 6, 300), 0.001, 0.7, multi_label=True)
    assert same(found, stock(maps(2, 6, 300), 0.001, 0.7, multi_label=True))


def test_the_patch_ends_with_the_block() -> None:
    module = nms._stock_module
    with nms.patch_nms():
        assert module.non_max_suppression is nms.non_max_suppression
    assert module.non_max_suppression is nms._stock
    with pytest.raises(ZeroDivisionError), nms.patch_nms():
        _ = 1 / 0
    assert module.non_max_suppression is nms._stock


@needs
def test_rows_of_six_numbers_are_boxes_and_not_anchors(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, seen = torch.cat([100 * torch.rand(2, 10, 4), torch.rand(2, 10, 1), torch.zeros(2, 10, 1)], 2), []
    right = stock(rows.clone(), 0.3, 0.7, multi_label=True)
    monkeypatch.setattr(nms, "_stock", lambda *args, **kwargs: seen.append(1) or stock(*args, **kwargs))
    assert same(nms.non_max_suppression(rows.clone(), 0.3, 0.7, multi_label=True), right)
    assert seen


@needs
@pytest.mark.parametrize("shape", [(2, 4, 50), (2, 10)])
def test_a_tensor_without_scores_or_with_two_dimensions_goes_to_ultralytics(
    shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    right, seen = [torch.ones(1, 6)], []
    monkeypatch.setattr(nms, "_stock", lambda prediction, *_, **__: seen.append(prediction.shape) or right)
    assert nms.non_max_suppression(torch.rand(shape), 0.3, 0.7, multi_label=True) == right
    assert seen == [shape]
