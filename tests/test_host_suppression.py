"""Group by group keeps the same boxes in the same order."""

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st

from yolograft.host import suppression


@pytest.mark.parametrize("classes", [1, 6, 80])
@pytest.mark.parametrize("threshold", [0.0, 0.5, 0.7])
@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 3000))
def test_it_keeps_what_torchvision_keeps(classes: int, threshold: float, seed: int, count: int) -> None:
    torch.manual_seed(seed)
    centre, size = 224 * torch.rand(count, 2), 80 * torch.rand(count, 2)
    boxes = torch.cat([centre - size / 2, centre + size / 2], 1) + 7680 * torch.randint(classes, (count, 1))
    scores = torch.randint(100, (count,)) / 100  # so that many are the same
    found = suppression.grouped_nms(boxes, scores, threshold)
    assert torch.equal(found, torchvision.ops.nms(boxes, scores, threshold))


def test_it_is_used_meanwhile_and_only_then() -> None:
    try:
        from ultralytics.utils.nms import non_max_suppression
    except ImportError:  # 8.3
        from ultralytics.utils.ops import non_max_suppression
    torch.manual_seed(0)
    maps = torch.cat([200 * torch.rand(2, 4, 1000), torch.rand(2, 6, 1000)], 1)
    stock = torchvision.ops.nms
    plain = non_max_suppression(maps.clone(), 0.001, 0.7, multi_label=True)
    with suppression.quicker():
        assert torchvision.ops.nms is suppression.grouped_nms
        quick = non_max_suppression(maps.clone(), 0.001, 0.7, multi_label=True)
    assert torchvision.ops.nms is stock
    assert all(torch.equal(one, other) for one, other in zip(plain, quick, strict=True))
