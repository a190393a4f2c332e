"""Average precision from stored detections equals Ultralytics' own, and its bootstrap compares pairs of images."""

import subprocess
import sys

import numpy as np
import pytest
from detection_files import picture_file
from ultralytics.utils.metrics import ap_per_class

from yolograft.analysis.average_precision import (
    Bootstrap,
    Detections,
    average_precision,
    class_average_precision,
    coco_average_precision,
    difference,
)
from yolograft.analysis.validation import RecordingValidator, _goes_in_line_to_zero
from yolograft.errors import DataError


def ultralytics_ap(stored):
    """Return class -> AP at ten IoU thresholds, as the installed version computes it."""
    found, truths = stored["detections"], stored["truths"]
    result = ap_per_class(stored["correct"], found[:, 5], found[:, 6], truths[:, 1])
    return dict(zip(result[6].tolist(), result[5], strict=True))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("skill", [0.05, 0.7, 1.0])
def test_average_precision_equals_that_of_the_installed_ultralytics(tmp_path, skill, seed):
    file = picture_file(tmp_path / "images.npz", skill=skill, seed=seed, line_to_zero=_goes_in_line_to_zero())
    one, expected = Detections.read(file), ultralytics_ap(np.load(file))
    values, has_objects = class_average_precision(one, np.ones((1, 40)))
    assert np.flatnonzero(has_objects[0]).tolist() == sorted(expected)
    for kind, row in expected.items():
        np.testing.assert_allclose(values[0, kind], row, rtol=0, atol=1e-12)
    (mean,) = average_precision(one, np.ones((1, 40)))
    np.testing.assert_allclose(mean, np.mean(list(expected.values()), axis=0), atol=1e-12)


def test_a_detector_without_false_positives_or_misses(tmp_path):
    one = Detections.read(picture_file(tmp_path / "images.npz"))
    perfect = {"names": one.names, "shapes": one.shapes, "truths": np.c_[one.truth_image, one.truth_kind, one.truth_box],
               "detections": np.c_[one.truth_image, one.truth_box, np.linspace(1, 0.5, len(one.truth_kind)), one.truth_kind],
               "correct": np.ones((len(one.truth_kind), 10), bool), "line_to_zero": _goes_in_line_to_zero()}
    (found,) = average_precision(Detections.of(perfect), np.ones((1, 40)))
    np.testing.assert_allclose(found, np.mean(list(ultralytics_ap(perfect).values()), axis=0), atol=1e-12)
    assert found[0] > 0.99


def test_both_ends_of_the_curve_differ_below_full_recall(tmp_path):
    values = [average_precision(Detections.read(picture_file(tmp_path / "images.npz", skill=0.3, line_to_zero=line)),
                                np.ones((1, 40))).mean() for line in (True, False)]
    assert values[0] > values[1] + 0.02


def test_a_network_without_detections_has_the_ap_zero(tmp_path):
    arrays = dict(np.load(picture_file(tmp_path / "images.npz")))
    empty = {**arrays, "detections": np.zeros((0, 7), np.float32), "correct": np.zeros((0, 10), bool)}
    assert average_precision(Detections.of(empty), np.ones((2, 40))).tolist() == np.zeros((2, 10)).tolist()


def test_an_image_with_weight_two_equals_two_copies_of_the_image(tmp_path):
    stored = dict(np.load(picture_file(tmp_path / "images.npz")))
    shift = np.zeros(7)
    shift[0] = 40
    doubled = {"names": np.r_[stored["names"], [f"{name}b" for name in stored["names"]]], "shapes": np.ones((80, 2)),
               "detections": np.r_[stored["detections"], stored["detections"] + shift],
               "truths": np.r_[stored["truths"], stored["truths"] + shift[:6]],
               "correct": np.r_[stored["correct"], stored["correct"]]}
    both = Detections.of(doubled)
    half = np.zeros((1, 80))
    half[0, [i for i, name in enumerate(both.names) if not name.endswith("b")]] = 2
    np.testing.assert_allclose(average_precision(both, half),
                               average_precision(Detections.of(stored), np.full((1, 40), 2.0)))


def test_weights_of_a_resample_equal_a_validation_of_the_drawn_images(tmp_path):
    stored = dict(np.load(picture_file(tmp_path / "images.npz", line_to_zero=_goes_in_line_to_zero())))
    one = Detections.of(stored)
    weights = np.random.default_rng(3).multinomial(40, np.full(40, 1 / 40)).astype(float)
    copies = [int(weights[one.names.index(name)]) for name in map(str, stored["names"])]
    rows = np.repeat(np.arange(len(stored["detections"])), [copies[int(i)] for i in stored["detections"][:, 0]])
    truths = np.repeat(stored["truths"], [copies[int(i)] for i in stored["truths"][:, 0]], axis=0)
    # the copies of a detection have the same confidence, so they are one point of the weighted curve and several points
    # of the other: the two differ by less than a step of the grid
    drawn = {"detections": stored["detections"][rows], "correct": stored["correct"][rows], "truths": truths}
    expected = ultralytics_ap(drawn)
    (found,) = average_precision(one, weights[None])
    np.testing.assert_allclose(found, np.mean(list(expected.values()), axis=0), atol=0.02)


def test_the_difference_is_paired(tmp_path):
    one, other = (Detections.read(picture_file(tmp_path / f"{skill}.npz", skill=skill)) for skill in (0.8, 0.4))
    same = difference(one, one)
    assert (same.estimate, same.low, same.high) == (0, 0, 0)
    found = difference(one, other, resamples=200)
    assert 0 < found.low < found.estimate < found.high < 1
    assert found == difference(one, other, resamples=200), "every call uses the same resamples"
    back = difference(other, one, resamples=200)
    assert back.estimate == -found.estimate
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low))


def test_the_difference_of_a_class_is_its_own(tmp_path):
    arrays = dict(np.load(picture_file(tmp_path / "images.npz")))
    worse = {**arrays, "correct": arrays["correct"] & (arrays["detections"][:, 6] != 1)[:, None]}
    found = Bootstrap(Detections.of(arrays), resamples=100).difference(Detections.of(worse))
    assert found.classes[1].high < -0.2
    assert found.classes[0].estimate == found.classes[0].low == 0
    assert found.mean.estimate == pytest.approx(np.mean([one.estimate for one in found.classes.values()]))


def test_a_class_without_objects_has_no_difference(tmp_path):
    arrays = dict(np.load(picture_file(tmp_path / "images.npz")))
    kept = arrays["truths"][:, 1] != 2
    one = Detections.of({**arrays, "truths": arrays["truths"][kept]})
    assert set(Bootstrap(one, resamples=10).difference(one).classes) == {0, 1}


def test_networks_with_other_images_are_not_compared(tmp_path):
    one = Detections.read(picture_file(tmp_path / "one.npz"))
    other = Detections.read(picture_file(tmp_path / "other.npz", images=30))
    with pytest.raises(DataError, match="different images: 40 and 30"):
        difference(one, other)


def test_the_order_of_the_images_in_the_file_does_not_matter(tmp_path):
    names = [f"{(7 * i) % 40}.jpg" for i in range(40)]
    one = Detections.read(picture_file(tmp_path / "images.npz", names=names))
    assert list(one.names) == sorted(names)
    weights = np.zeros((1, 40))
    weights[0, one.names.index("7.jpg")] = 1
    assert (weights @ one.truths).sum() == (np.load(tmp_path / "images.npz")["truths"][:, 0] == 1).sum()


@pytest.mark.parametrize("content", [b"PK nonsense", b""])
def test_a_broken_file_is_named(tmp_path, content):
    (tmp_path / "images.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"images\.npz' is not a readable file of detections"):
        Detections.read(tmp_path / "images.npz")


def test_the_study_needs_no_torch():
    code = "import sys, yolograft.study.images; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_recorder_says_how_the_curve_ends():
    class Empty(RecordingValidator, dict):
        pass

    one = Empty()
    one.tables = {key: [np.zeros((0, 7))] for key in one.tables}
    assert one.arrays()["line_to_zero"] == _goes_in_line_to_zero()


def test_coco_rule_equals_its_definition(tmp_path):
    """Precision at a recall is the largest precision at that recall or above, as loops over 101 recall values."""
    one = Detections.read(picture_file(tmp_path / "images.npz", skill=0.6))
    expected = np.zeros((one.truths.shape[1], 10))
    for kind in range(one.truths.shape[1]):
        for at in range(10):
            hits = one.correct[one.kind == kind, at].cumsum()
            points = [(hit / one.truths[:, kind].sum(), hit / (place + 1)) for place, hit in enumerate(hits)]
            expected[kind, at] = np.mean([max((p for recall, p in points if recall >= wanted - 1e-9), default=0)
                                          for wanted in np.linspace(0, 1, 101)])
    np.testing.assert_allclose(coco_average_precision(one), expected[one.truths.sum(axis=0) > 0].mean(axis=0))


def test_coco_counts_a_hundred_detections_in_an_image(tmp_path):
    arrays = {"names": np.array(["a.jpg"]), "shapes": np.array([[64, 64]]), "truths": np.zeros((1, 6), np.float32),
              "detections": np.column_stack([np.zeros((150, 5)), np.linspace(1, 0.1, 150), np.zeros(150)]),
              "correct": np.arange(150)[:, None].repeat(10, 1) == 120}
    assert coco_average_precision(Detections.of(arrays)).tolist() == [0.0] * 10
    arrays["correct"] = np.arange(150)[:, None].repeat(10, 1) == 0
    assert coco_average_precision(Detections.of(arrays)).tolist() == [1.0] * 10
