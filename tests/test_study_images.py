"""The bootstrap over validation images: all trials use the same resamples, and stored results are reused."""

from pathlib import Path

import numpy as np
import pytest
from detection_files import picture_file

from yolograft.errors import GraftError
from yolograft.study import run
from yolograft.study.images import (
    RESAMPLED,
    Detections,
    crossed_interval,
    image_intervals,
    resampled_ap,
    store_resampled_ap,
)


def study_with_pictures(folder, **more):
    words = {"data": "somewhere", "model": "m", "arms": "none; se@8", "seeds": 2, "epochs": 1,
             "host": "yolograft.study.dummy"}
    study = run({**words, **more}, folder)
    for (arm, seed), row in study.latest.items():
        picture_file(study.folder_of(row.key) / "images.npz", skill=0.5 if arm == "none" else 0.8, seed=seed)
    return study


def test_the_interval_over_images_contains_the_effect_and_is_reproducible(tmp_path):
    study = study_with_pictures(tmp_path / "s", seeds=6)
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
    assert image_intervals(study) == {}, "one pair has no spread over seeds"
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


def test_the_crossed_interval_covers_the_noise_of_seeds_and_of_images():
    """Null studies of six seeds: image effects are shared by all seeds, and each seed has its own noise."""
    rng = np.random.default_rng(3)
    wrong = alone = 0
    for _ in range(300):
        images, noise = rng.normal(0, 1, 60), rng.normal(0, 0.3, (6, 1))
        drawn = rng.multinomial(60, np.full(60, 1 / 60), 200) / 60
        pairs = (drawn @ images)[None] + noise
        low, high = crossed_interval(pairs)
        wrong += not low <= 0 <= high
        low, high = np.quantile(pairs.mean(axis=0), [0.025, 0.975])
        alone += not low <= 0 <= high
    assert wrong <= 25
    assert alone > 50, "resampling the images alone leaves the noise of the seeds out"
