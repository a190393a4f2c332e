"""TIDE: each kind of error by hand, and what must hold for all detections."""

import numpy as np
import pytest
from errors_set import Box, detections, random_detections

from yolograft.analysis.average_precision import average_precision
from yolograft.analysis.tide import ERRORS, find_errors, fix, tide

OBJECT: Box = (0, 0, 10, 10)
SHIFTED: Box = (4, 0, 14, 10)  # IoU 6/14 with OBJECT
FAR: Box = (100, 100, 120, 120)
PERFECT = 0.995  # AP of a perfect detector in Ultralytics, whose sum leaves out half of the last of 101 points


@pytest.mark.parametrize(("found", "error"), [
    ((0, 0, SHIFTED, 0.8), "localisation"), ((0, 1, OBJECT, 0.8), "classification"), ((0, 1, SHIFTED, 0.8), "both"),
    ((0, 0, FAR, 0.8), "background"), ((1, 0, OBJECT, 0.8), "background"),
])
def test_the_error_of_one_detection(found: tuple[int, int, Box, float], error: str) -> None:
    errors = find_errors(detections([found], [(0, 0, OBJECT)]))
    assert errors.kind.tolist() == [error]
    assert errors.missed.tolist() == [error not in ("localisation", "classification")]


def test_a_second_detection_of_an_object_is_a_duplicate() -> None:
    one = detections([(0, 0, OBJECT, 0.9), (0, 0, (0, 0, 10, 9), 0.8)], [(0, 0, OBJECT)])
    errors = find_errors(one)
    assert errors.kind.tolist() == ["", "duplicate"]
    assert not errors.missed.any()


def test_localisation_comes_before_classification() -> None:
    one = detections([(0, 0, SHIFTED, 0.9)], [(0, 0, OBJECT), (0, 1, SHIFTED)])
    assert find_errors(one).kind.tolist() == ["localisation"]


def test_an_image_without_objects_has_background_errors_only() -> None:
    assert find_errors(detections([(1, 0, OBJECT, 0.9)], [(0, 0, OBJECT)])).kind.tolist() == ["background"]


def test_fixing_keeps_the_most_confident_detection_of_an_object() -> None:
    one = detections([(0, 0, SHIFTED, 0.9), (0, 0, (4.5, 0, 14.5, 10), 0.8)], [(0, 0, OBJECT)])
    fixed = fix(one, find_errors(one), ("localisation",))
    assert fixed.correct.tolist() == [[True]]
    assert fixed.confidence.tolist() == pytest.approx([0.9])


def test_fixing_an_error_of_a_matched_object_removes_the_detection() -> None:
    one = detections([(0, 0, OBJECT, 0.9), (0, 1, OBJECT, 0.8)], [(0, 0, OBJECT)])
    assert find_errors(one).kind.tolist() == ["", "classification"]
    assert len(fix(one, find_errors(one), ("classification",)).image) == 1


def test_the_costs_of_hand_made_errors() -> None:
    """Two objects of one class: one is found, one is found with a wrong class, which costs half of the AP."""
    one = detections([(0, 0, OBJECT, 0.9), (1, 1, OBJECT, 0.8)], [(0, 0, OBJECT), (1, 0, OBJECT)])
    found = tide(one)
    assert found.counts == dict.fromkeys(ERRORS, 0) | {"classification": 1}
    assert found.ap == pytest.approx(0.5, abs=0.011)
    assert found.costs["classification"] == pytest.approx(PERFECT - found.ap)
    assert all(found.costs[error] == 0 for error in ERRORS if error != "classification")


def test_a_missed_object_costs_what_recall_loses() -> None:
    found = tide(detections([(0, 0, OBJECT, 0.9)], [(0, 0, OBJECT), (1, 0, OBJECT)]))
    assert found.counts["missed"] == 1
    assert found.costs["missed"] == pytest.approx(PERFECT - found.ap)
    assert found.false_negatives == pytest.approx(PERFECT - found.ap)
    assert found.false_positives == 0


@pytest.mark.parametrize("seed", range(12))
def test_fixing_all_errors_gives_the_ap_of_a_perfect_detector(seed: int) -> None:
    one = random_detections(seed)
    fixed = fix(one, find_errors(one), ERRORS)
    has_objects = len(fixed.truth_image) > 0
    assert average_precision(fixed, np.ones((1, len(one.names))))[0, 0] == pytest.approx(PERFECT * has_objects)
    assert fixed.correct.all()
    assert len(fixed.image) == len(fixed.truth_image)


@pytest.mark.parametrize("seed", range(12))
def test_each_detection_and_object_has_one_fate(seed: int) -> None:
    one = random_detections(seed)
    errors = find_errors(one)
    assert ((errors.matched >= 0) == (errors.kind == "")).all()
    assert set(errors.kind) <= {"", *ERRORS}
    objects = np.arange(len(one.truth_image))
    covered = np.isin(objects, errors.matched) | np.isin(objects, errors.target)
    assert (covered != errors.missed).all()


@pytest.mark.parametrize("seed", range(12))
def test_fixing_costs_nothing(seed: int) -> None:
    """Removing errors of one kind never lowers AP, but for a class whose matched detection changes its rank."""
    found = tide(random_detections(seed))
    assert all(cost > -0.02 for cost in found.costs.values())
    assert found.costs["duplicate"] >= 0
    assert found.costs["background"] >= 0
    assert found.costs["both"] >= 0
    assert found.false_positives >= max(found.costs["background"], found.costs["duplicate"], found.costs["both"])


def test_nothing_found_and_nothing_there() -> None:
    assert tide(detections([], [(0, 0, OBJECT)])).counts["missed"] == 1
    assert tide(detections([(0, 0, OBJECT, 0.5)], [])).counts["background"] == 1
