"""Checks of heat maps, on detectors whose answer is known."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from test_analysis_heatmap import images, target_of, tiny
from torch import Tensor, nn

from yolograft.analysis.candidates import Detector, Letterbox, Target
from yolograft.analysis.heatmap import heat_map, tap_layers
from yolograft.analysis.heatmap_checks import (
    STAGES,
    Agreement,
    RandomisedCascade,
    _estimate_statistics,
    deletion,
    rank_correlation,
)
from yolograft.errors import GraftError

__all__ = ["images"]

BOX = Letterbox.of((64, 64), 64)
TARGET = Target(anchor=0, kind=0, name="a", logit=0, confidence=0.5, box=(32, 32, 64, 64))


class BrightCorner(nn.Module):
    """A detector whose only logit is the brightness of the top left quarter."""

    def forward(self, images: Tensor) -> Tensor:
        return images[:, :, :32, :32].mean((1, 2, 3)).view(-1, 1, 1)


def picture() -> Tensor:
    found = torch.zeros(1, 3, 64, 64)
    found[:, :, :32, :32] = 1
    return found


def run(heat: np.ndarray) -> Any:
    detector: Any = BrightCorner()
    return deletion(detector, picture(), TARGET, heat.astype(np.float32), BOX, cell=8)


def test_the_right_map_beats_chance_and_the_wrong_one_does_not() -> None:
    right = np.zeros((64, 64))
    right[:32, :32] = 1
    good, bad = run(right), run(1 - right)
    assert good.by_map[0] == 1
    assert good.by_map[-1] == pytest.approx(0.25)  # the mean colour of the picture
    assert good.by_map[3] == pytest.approx(0.25)  # the corner is gone when a quarter is removed
    assert good.beats_chance
    assert good.beats_centre  # the target's box is elsewhere
    assert not bad.beats_chance
    assert good.area < min(good.chance_areas) <= max(good.chance_areas) < bad.area


def test_equal_pixels_are_removed_in_random_order_and_not_from_the_top() -> None:
    flat = run(np.ones((64, 64)))
    assert flat.by_map[5] == pytest.approx(1 - 0.75 * 0.5, abs=0.03)


def test_deletion_is_the_same_each_time_and_padding_is_not_removed() -> None:
    heat = np.random.default_rng(0).random((64, 64))
    assert run(heat) == run(heat)
    narrow = Letterbox.of((64, 40), 64)
    detector: Any = BrightCorner()
    seen = deletion(detector, picture(), TARGET, heat.astype(np.float32), narrow, cell=8)
    inside = picture()[:, :, :, 12:52].mean()
    expected = (12 * 1 + 20 * float(inside)) / 32  # 12 columns of the quarter are padding
    assert seen.by_map[-1] == pytest.approx(expected)


def test_rank_correlation_by_hand() -> None:
    one = np.array([[1, 2], [3, 4.0]])
    assert rank_correlation(one, one**3) == pytest.approx(1)
    assert rank_correlation(one, -one) == pytest.approx(-1)
    assert math.isnan(rank_correlation(one, np.zeros((2, 2))))
    assert math.isnan(rank_correlation(one[:0], one[:0]))


def test_agreement_inside_the_box_is_of_the_box_alone() -> None:
    one = np.zeros((10, 10), np.float32)
    one[2:4, 2:4] = [[1, 2], [3, 4]]
    other = np.zeros((10, 10), np.float32)
    other[2:4, 2:4] = [[4, 3], [2, 1]]
    found = Agreement.of(one, other, (2, 2, 4, 4))
    assert found.box == pytest.approx(-1)
    assert found.picture > 0.9  # both are 0 in the rest of the picture
    mean = Agreement.mean([found, Agreement(picture=math.nan, box=0.0)])
    assert mean.picture == found.picture
    assert mean.box == pytest.approx(-0.5)


def test_random_weights_change_the_copy_alone_and_each_stage_more_of_it(images: Tensor) -> None:
    pytest.importorskip("pytorch_grad_cam", reason="grad-cam is not installed")
    detector = Detector(tiny("se@8"))
    layers = tap_layers(detector, ["3"])
    target = target_of(detector, images)
    heat = heat_map(detector, images, target, layers)
    before = {key: value.clone() for key, value in detector.state_dict().items()}
    cascade = RandomisedCascade(detector, ["3"], "layercam")
    found = cascade.correlations(images, target, heat, BOX, seed=3)
    assert list(found) == list(STAGES)
    assert all(-1 <= one.picture <= 1 or math.isnan(one.picture) for one in found.values())
    assert all(torch.equal(value, before[key]) for key, value in detector.state_dict().items())
    copied = cascade.detector.network.state_dict()
    changed = {key.split(".")[1] for key, value in detector.network.state_dict().items()
               if not torch.equal(value, copied[key])}
    assert changed == {"0", "1", "2", "3", "4", "5", "8", "9"}  # all rows with weights
    # as texts, since nan is not equal to itself
    assert repr(cascade.correlations(images, target, heat, BOX, seed=3)) == repr(found)
    assert repr(cascade.correlations(images, target, heat, BOX, seed=4)) != repr(found)


def test_maps_of_one_pixel_are_an_error_that_names_imgsz() -> None:
    network: Any = nn.Sequential(nn.Conv2d(3, 4, 32, 32), nn.BatchNorm2d(4))
    with pytest.raises(GraftError, match="images of 32x32 pixels do not give"):
        _estimate_statistics(network, list(network), torch.rand(1, 3, 32, 32))
    _estimate_statistics(network, list(network), torch.rand(1, 3, 64, 64))
    assert network[1].running_mean.abs().sum() > 0
