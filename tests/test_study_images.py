"""The bootstrap over validation images: average precision equals the reference, and all trials use the same resamples."""

from pathlib import Path

import numpy as np
import pytest

from yolograft.errors import GraftError
from yolograft.study import run
from yolograft.study.images import (
    RESAMPLED,
    Detections,
    average_precision,
    image_intervals,
    resampled_ap,
    store_resampled_ap,
)


def picture_file(path, *, images=40, classes=3, skill=0.7, seed=0, names=None):
    """Write detections of a detector that finds an object with probability `skill`, and some false positives."""
    rng = np.random.default_rng(seed)
    truths, found, correct = [], [], []
    for image in range(images):
        for _ in range(rng.integers(1, 4)):
            kind = rng.integers(classes)
            truths.append([image, kind, 0, 0, 1, 1])
            if rng.random() < skill:
                found.append([image, 0, 0, 1, 1, rng.beta(5, 2), kind])
                correct.append(np.arange(10) <= rng.integers(2, 10))
        for _ in range(rng.integers(0, 6)):
            found.append([image, 0, 0, 1, 1, rng.beta(2, 5), rng.integers(classes)])
            correct.append(np.zeros(10, bool))
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, names=np.array(names or [f"{i}.jpg" for i in range(images)]), shapes=np.ones((images, 2)),
                        detections=np.array(found, np.float32), correct=np.array(correct),
                        truths=np.array(truths, np.float32))
    return path


def reference(stored):
    """Compute average precision with every detection as a point of the curve, as `compute_ap` of Ultralytics does."""
    found, truths, correct = stored["detections"], stored["truths"], stored["correct"]
    order = np.argsort(-found[:, 5], kind="stable")
    table = []
    for kind in np.unique(truths[:, 1]):
        mine = order[found[order, 6] == kind]
        total = (truths[:, 1] == kind).sum()
        row = []
        for overlap in range(10):
            hits = correct[mine, overlap].cumsum()
            recall, precision = hits / total, hits / np.arange(1, len(mine) + 1)
            recall, precision = np.r_[0, recall, 1], np.r_[1, precision, 0]
            falling = np.maximum.accumulate(precision[::-1])[::-1]
            read = np.interp(np.linspace(0, 1, 101), recall, falling)
            row.append(((read[1:] + read[:-1]) / 2).sum() / 100)
        table.append(row)
    return np.mean(table, axis=0)


@pytest.mark.parametrize("skill", [0.2, 0.7, 1.0])
def test_average_precision_equals_the_reference(tmp_path, skill):
    file = picture_file(tmp_path / "images.npz", skill=skill)
    one = Detections.read(file)
    (found,) = average_precision(one, np.ones((1, 40)))
    np.testing.assert_allclose(found, reference(np.load(file)), atol=0.005)


def test_an_image_with_weight_two_equals_two_copies_of_the_image(tmp_path):
    file = picture_file(tmp_path / "images.npz")
    stored = dict(np.load(file))
    shift = np.zeros(7)
    shift[0] = 40
    doubled = {"names": np.r_[stored["names"], [f"{name}b" for name in stored["names"]]],
               "detections": np.r_[stored["detections"], stored["detections"] + shift],
               "truths": np.r_[stored["truths"], stored["truths"] + shift[:6]],
               "correct": np.r_[stored["correct"], stored["correct"]]}
    np.savez(tmp_path / "twice.npz", shapes=np.ones((80, 2)), **doubled)
    half = np.zeros((1, 80))
    half[0, [i for i, name in enumerate(Detections.read(tmp_path / "twice.npz").names) if not name.endswith("b")]] = 2
    np.testing.assert_allclose(average_precision(Detections.read(tmp_path / "twice.npz"), half),
                               average_precision(Detections.read(file), np.full((1, 40), 2.0)))


def study_with_pictures(folder, **more):
    words = {"data": "somewhere", "model": "m", "arms": "none; se@8", "seeds": 2, "epochs": 1,
             "host": "yolograft.study.dummy"}
    study = run({**words, **more}, folder)
    for (arm, seed), row in study.latest.items():
        picture_file(study.folder_of(row.key) / "images.npz", skill=0.5 if arm == "none" else 0.8, seed=seed)
    return study


def test_the_interval_over_images_contains_the_effect_and_is_reproducible(tmp_path):
    study = study_with_pictures(tmp_path / "s")
    low, high = image_intervals(study)["se@8"]
    assert 0 < low < high < 1
    one, other = image_intervals(study, metric="mAP50", level=0.5)["se@8"]
    assert low < (one + other) / 2
    assert image_intervals(study, metric="recall") == {}
    assert image_intervals(study) == {"se@8": (low, high)}, "every call uses the same resamples"


def test_the_interval_of_an_arm_equal_to_the_baseline_is_zero(tmp_path):
    study = study_with_pictures(tmp_path / "s")
    for (_, seed), row in study.latest.items():
        picture_file(study.folder_of(row.key) / "images.npz", seed=seed)
    assert image_intervals(study) == {"se@8": (0.0, 0.0)}


def test_missing_and_broken_files_of_detections(tmp_path):
    study = study_with_pictures(tmp_path / "s")
    files = {which: study.folder_of(row.key) / "images.npz" for which, row in study.latest.items()}
    files["se@8", 1].unlink()
    assert "se@8" in image_intervals(study), "the interval uses the pair that is left"
    picture_file(files["se@8", 0], names=[f"other{i}.jpg" for i in range(40)])
    with pytest.raises(GraftError, match="other images"):
        image_intervals(study)
    Path(files["se@8", 0]).write_bytes(b"PK nonsense")
    with pytest.raises(GraftError, match="not a readable file of detections"):
        image_intervals(study)
    files["se@8", 0].unlink()
    assert image_intervals(study) == {}


def test_the_stored_resampled_ap_equals_the_computed_one(tmp_path, monkeypatch):
    file = picture_file(tmp_path / "images.npz")
    images, values = resampled_ap(file)
    assert values.shape == (200, 10)
    store_resampled_ap(tmp_path)
    kept = resampled_ap(file)
    assert kept[0] == images
    assert np.array_equal(kept[1], values)
    assert resampled_ap(file, resamples=7)[1].shape == (7, 10), "for another number of resamples it is computed"
    whole = (tmp_path / RESAMPLED).read_bytes()
    for broken in (b"", b"torn", whole[:-9], b"PK nonsense"):
        (tmp_path / RESAMPLED).write_bytes(broken)
        assert np.array_equal(resampled_ap(file)[1], values), "a broken file is computed again"
    np.save(tmp_path / RESAMPLED, np.zeros(3))
    assert np.array_equal(resampled_ap(file)[1], values), "a file with other content is computed again"
    (tmp_path / RESAMPLED).unlink()
    store_resampled_ap(tmp_path)
    monkeypatch.setattr(Detections, "read", None)
    assert np.array_equal(resampled_ap(file)[1], values), "an intact file is reused"
    monkeypatch.undo()
    picture_file(tmp_path / "images.npz", images=30, seed=4)
    assert not np.array_equal(resampled_ap(file)[1], values), "a result of older detections is not reused"
    store_resampled_ap(tmp_path / "nothing there")
