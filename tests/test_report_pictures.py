import re
import shutil
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from yolograft.errors import DataError
from yolograft.report import write
from yolograft.report.pictures import gallery
from yolograft.report.summary import Summary
from yolograft.study import Study, run
from yolograft.study.images import FILE, RESAMPLED, store_resampled_ap

WORDS = {"data": "somewhere", "model": "yolo11n.pt", "epochs": 2, "host": "yolograft.study.dummy"}
TRUTH = (20, 20, 60, 60)


def save_record(folder, hits_by_picture, *, names=("a.png", "b.png", "c.png")):
    """Save one object per image, detected or not, and a false positive with low confidence in the first image."""
    detections = [[at, 21, 21, 61, 61, 0.9, 1] for at, hit in enumerate(hits_by_picture) if hit]
    correct = [[True] * 10 for _ in detections]
    detections.append([0, 70, 70, 90, 90, 0.1, 0])
    correct.append([False] * 10)
    np.savez_compressed(folder / "images.npz", names=np.array(names), shapes=np.full((3, 2), 100, np.int32),
                        detections=np.array(detections, np.float32), correct=np.array(correct),
                        truths=np.array([[at, 1, *TRUTH] for at in range(3)], np.float32))


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The arm detects `a`, which the baseline does not with seed 1, and does not detect `b`, which the baseline does."""
    found = run({**WORDS, "arms": "none; se@8; aa", "seeds": 2}, tmp_path_factory.mktemp("a") / "s", workers=2)
    for (arm, seed), row in found.latest.items():
        hits = {"none": (seed == 0, True, True), "se@8": (True, False, True), "aa": (True, True, True)}[arm]
        save_record(found.folder_of(row.key), hits)
    return found


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pictures") / "images" / "val"
    folder.mkdir(parents=True)
    for name in "abc":
        cv2.imwrite(str(folder / f"{name}.png"), np.full((1000, 500, 3), 128, np.uint8))
    return folder


def test_images_are_those_with_the_largest_gain_and_loss(study, pictures):
    shown = gallery(Summary(study), pictures).examples
    assert [(one.name, one.gain, one.seed) for one in shown] == [("a.png", 0.5, 1), ("b.png", -1.0, 0)]
    first = shown[0]
    assert [side.score for side in first.sides] == [0.0, 1.0]
    assert [[box.kind for box in side.boxes] for side in first.sides] == [["missed"], ["hit"]]
    assert (first.width, first.height) == (210, 420), "scaled down"
    missed = first.sides[0].boxes[0]
    assert (missed.x, missed.y, missed.width, missed.height) == tuple(0.42 * v for v in (20, 20, 40, 40))
    assert missed.label == "inclusion", "the class name of the results"


def test_controls_are_not_shown(study, pictures):
    assert list(gallery(Summary(study), pictures).by_arm) == ["se@8"]


def test_the_page_contains_each_image_once_with_both_arms(study, pictures, tmp_path):
    text = write(study, tmp_path, pictures=pictures)[0].read_text()
    assert text.count("data:image/jpeg;base64,") == 2
    assert len(re.findall(r'<use href="#picture-', text)) == 2
    assert set(re.findall(r'<use href="#(picture-[^"]+)"', text)) == set(re.findall(r'id="(picture-[^"]+)"', text))
    assert 'data-tip="false negative: inclusion"' in text


def test_a_report_opens_each_file_of_a_trial_once(study, pictures, tmp_path, monkeypatch):
    opened, load = Counter(), np.load

    def counted(file, **options):
        opened[file if isinstance(file, Path) else Path(file.name)] += 1
        return load(file, **options)

    folders = [study.folder_of(row.key) for row in study.latest.values()]
    for folder in folders:
        store_resampled_ap(folder)
    monkeypatch.setattr(np, "load", counted)
    text = write(study, tmp_path, pictures=pictures)[0].read_text()
    assert "seeds and images" in text
    assert "data:image/jpeg" in text
    assert set(opened.values()) == {1}
    assert {path for path in opened if path.name == RESAMPLED} == {folder / RESAMPLED for folder in folders}
    assert {path.parent for path in opened if path.name == FILE} <= set(folders)


@pytest.mark.parametrize("entry", ["images/val", ["images/val"], "val.txt"])
def test_images_are_found_at_the_paths_of_the_data_yaml(pictures, tmp_path, entry):
    root = pictures.parents[1]
    (root / "val.txt").write_text("".join(f"./images/val/{name}.png\n" for name in "abc"))
    (root / "data.yaml").write_text(f"path: .\ntrain: images/val\nval: {entry}\n")
    study = run({**WORDS, "data": str(root / "data.yaml"), "arms": "none; se@8", "seeds": 1}, tmp_path / "s")
    for (arm, _), row in study.latest.items():
        save_record(study.folder_of(row.key), (arm == "none", True, True))
    assert [one.name for one in gallery(Summary(study)).examples] == ["a.png"]


def test_a_section_without_images_gives_the_reason(study, tmp_path):
    shown = gallery(Summary(study))
    assert "not at its path" in shown.why
    assert "pictures=FOLDER" in shown.why
    assert shown.why.partition(";")[0] in write(study, tmp_path)[0].read_text().replace("&#39;", "'")


def test_a_study_without_saved_detections_gives_the_reason(tmp_path):
    study = run({**WORDS, "arms": "none; se@8", "seeds": 1}, tmp_path / "s")
    assert "images.npz" in gallery(Summary(study)).why


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 and no more", b"text"])
def test_damaged_detections_are_reported(study, pictures, tmp_path, content):
    shutil.copytree(study.folder, tmp_path / "s")
    copied = Study.load(tmp_path / "s")
    for row in copied.latest.values():
        (copied.folder_of(row.key) / "images.npz").write_bytes(content)
    assert "cannot be read" in gallery(Summary(copied), pictures).why


def test_arms_with_the_same_detections_have_no_images_to_show(study, pictures, tmp_path):
    shutil.copytree(study.folder, tmp_path / "s")
    copied = Study.load(tmp_path / "s")
    for row in copied.latest.values():
        save_record(copied.folder_of(row.key), (True, True, True))
    assert "the same objects" in gallery(Summary(copied), pictures).why


def test_an_image_folder_that_does_not_exist_is_an_error(study, tmp_path):
    with pytest.raises(DataError, match="not a folder"):
        write(study, tmp_path / "out", pictures=tmp_path / "nowhere")
    assert not (tmp_path / "out").exists()
