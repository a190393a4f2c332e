"""IoU of boxes, and COCO's matching of detections with objects."""

import numpy as np
from errors_set import detections

from yolograft.analysis.matching import box_iou, confident, match


def test_iou_of_hand_made_boxes() -> None:
    one = np.array([[0, 0, 10, 10], [0, 0, 0, 0]])
    other = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 0, 0]])
    np.testing.assert_allclose(box_iou(one, other), [[1, 1 / 3, 0, 0], [0, 0, 0, 0]])
    assert box_iou(one[:0], other).shape == (0, 4)


def test_the_most_confident_detection_gets_the_object() -> None:
    one = detections([(0, 0, (0, 0, 10, 9), 0.6), (0, 0, (0, 0, 10, 10), 0.5)], [(0, 0, (0, 0, 10, 10))])
    assert match(one).tolist() == [0, -1]


def test_a_detection_takes_the_free_object_that_it_overlaps_most() -> None:
    one = detections([(0, 0, (0, 0, 10, 10), 0.9), (0, 0, (0, 1, 10, 11), 0.8)],
                     [(0, 0, (0, 1, 10, 11)), (0, 0, (0, 0, 10, 10))])
    assert match(one).tolist() == [1, 0]


def test_class_image_and_iou_must_agree() -> None:
    truths = [(0, 0, (0, 0, 10, 10))]
    for wrong in ((0, 1, (0, 0, 10, 10), 0.9), (1, 0, (0, 0, 10, 10), 0.9), (0, 0, (6, 0, 16, 10), 0.9)):
        assert match(detections([wrong], truths)).tolist() == [-1]


def test_a_threshold_of_confidence_keeps_the_equal() -> None:
    one = detections([(0, 0, (0, 0, 1, 1), 0.5), (0, 0, (0, 0, 1, 1), 0.25)], [])
    assert len(confident(one, 0.5).image) == 1
    assert len(confident(one, 0.25).image) == 2
