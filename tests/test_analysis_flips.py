"""Boxes that change between two networks."""

import dataclasses

import pytest
from errors_set import Box, detections, random_detections

from yolograft.analysis.flips import find_flips
from yolograft.errors import DataError

A: Box = (0, 0, 10, 10)
B: Box = (50, 50, 70, 70)
FAR: Box = (100, 100, 120, 120)
TRUTHS = [(0, 0, A), (1, 0, B)]


def test_each_change_by_hand() -> None:
    before = detections([(0, 0, A, 0.9), (0, 1, FAR, 0.8), (1, 1, FAR, 0.7)], TRUTHS)
    after = detections([(1, 0, B, 0.9), (1, 1, FAR, 0.6), (1, 0, FAR, 0.5)], TRUTHS)
    found = find_flips(before, after)
    assert found.counts == {("hit", "miss"): 1, ("miss", "hit"): 1, ("false alarm", "none"): 1,
                            ("false alarm", "false alarm"): 1, ("none", "false alarm"): 1}
    assert [one.box for one in found.changes] == [A, B, FAR, FAR]
    stayed = next(one for one in found.boxes if one.before == one.after)
    assert stayed.confidence == pytest.approx((0.7, 0.6))


def test_detections_below_the_confidence_do_not_count() -> None:
    before, after = detections([(0, 0, A, 0.24)], TRUTHS), detections([(0, 0, A, 0.25)], TRUTHS)
    assert find_flips(before, after).count("miss", "hit") == 1
    assert find_flips(before, after, conf=0.5).count("miss", "miss") == 2


def test_the_order_of_the_objects_does_not_matter() -> None:
    before, after = detections([(1, 0, B, 0.9)], TRUTHS), detections([(1, 0, B, 0.9)], TRUTHS[::-1])
    assert find_flips(before, after).counts == {("miss", "miss"): 1, ("hit", "hit"): 1}


@pytest.mark.parametrize("seed", range(8))
def test_a_network_does_not_change_against_itself(seed: int) -> None:
    one = random_detections(seed)
    assert not find_flips(one, one).changes


@pytest.mark.parametrize("seed", range(8))
def test_every_object_and_detection_is_there_once_and_the_reverse_is_the_mirror(seed: int) -> None:
    before, other = random_detections(seed), random_detections(seed + 100)
    after = dataclasses.replace(other, truth_image=before.truth_image, truth_kind=before.truth_kind,
                                truth_box=before.truth_box)
    there, back = find_flips(before, after), find_flips(after, before)
    assert {(two, one): count for (one, two), count in there.counts.items()} == back.counts
    objects = sum(one.before in ("hit", "miss") for one in there.boxes)
    assert objects == len(before.truth_image)
    for side, network in (("before", before), ("after", after)):
        detected = sum(getattr(one, side) in ("hit", "false alarm") for one in there.boxes)
        assert detected == (network.confidence >= 0.25).sum()


def test_other_images_are_an_error() -> None:
    with pytest.raises(DataError, match="different images: 2 and 3"):
        find_flips(detections([], TRUTHS), detections([], TRUTHS, images=3))
