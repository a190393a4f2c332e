"""New splits of a data set's images: stratified, the same on every machine, and without the test split."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from yolograft.errors import GraftError
from yolograft.runner import resplit, train
from yolograft.runner.resplit import split_images, split_sizes, write_split
from yolograft.study.plan import Plan


def label_of(image: Path) -> Path:
    return Path(str(image).replace("/images/", "/labels/")).with_suffix(".txt")


@pytest.fixture
def steel(tmp_path: Path) -> Path:
    """40 images of class 0, 20 of class 1, 10 of both, 9 without an object, and a test split of 5."""
    root = tmp_path / "set"
    kinds = [(0,)] * 40 + [(1,)] * 20 + [(0, 1)] * 10 + [()] * 9
    for number, classes in enumerate(kinds):
        side = "val" if number % 5 == 4 else "train"
        for kind in ("images", "labels"):
            (root / kind / side).mkdir(parents=True, exist_ok=True)
        image = root / "images" / side / f"{number:03}.png"
        image.write_bytes(f"image {number}".encode())
        label_of(image).write_text("".join(f"{one} 0.5 0.5 0.2 0.2\n" for one in classes))
    (root / "images" / "test").mkdir()
    for number in range(5):
        (root / "images" / "test" / f"t{number}.png").write_bytes(b"test")
    file = root / "set.yaml"
    file.write_text(yaml.safe_dump({"path": str(root), "train": "images/train", "val": "images/val", "test": "images/test",
                                    "names": {0: "crack", 1: "scratch"}}))
    resplit._pool.cache_clear()
    return file


def shown(image: Path) -> str:
    return label_of(image).read_text()[:1] if "\n1" not in label_of(image).read_text() else "both"


def test_a_split_has_each_class_in_proportion_and_every_image_once(steel: Path) -> None:
    assert split_sizes(str(steel), "detect") == (64, 15)
    seen = []
    for number in range(4):
        training, validation = split_images(str(steel), "detect", number, 0)
        assert (len(training), len(validation)) == (64, 15)
        everything = [*training, *validation]
        assert len(set(everything)) == 79
        assert not any(image.parent.name == "test" for image in everything), "the held-out images stay held out"
        counts = Counter(map(shown, validation))
        share = 15 / 79
        for kind, size in (("0", 40), ("", 9)):
            assert abs(counts[kind] - share * size) < 1
        assert abs(counts["1"] + counts["both"] - share * 30) < 1, "an image belongs to its rarest class"
        seen.append(tuple(validation))
    assert len(set(seen)) == 4
    assert tuple(split_images(str(steel), "detect", 0, 1)[1]) != seen[0], "split_seed gives other splits"
    assert tuple(split_images(str(steel), "detect", 0, 0)[1]) == seen[0]


def test_a_split_does_not_depend_on_the_folder(steel: Path, tmp_path: Path) -> None:
    here = [path.name for path in split_images(str(steel), "detect", 2, 7)[1]]
    moved = tmp_path / "other" / "place"
    shutil.copytree(steel.parent, moved)
    content = yaml.safe_load(steel.read_text())
    (moved / "set.yaml").write_text(yaml.safe_dump({**content, "path": str(moved)}))
    assert [path.name for path in split_images(str(moved / "set.yaml"), "detect", 2, 7)[1]] == here


def test_identical_images_stay_on_one_side(steel: Path) -> None:
    twins = [steel.parent / "images" / name for name in ("train/000.png", "val/004.png", "train/001.png")]
    for twin in twins:
        twin.write_bytes(b"the same")
    sides = set()
    for number in range(12):
        training, _ = split_images(str(steel), "detect", number, 0)
        inside = {twin in training for twin in twins}
        assert len(inside) == 1
        sides |= inside
    assert sides == {True, False}


@pytest.mark.parametrize(("change", "task", "message"), [
    ({"test": "images/val"}, "detect", "15 images of its test split"), ({}, "classify", "task=classify"),
    ({"train": "images/none"}, "detect", "none")])
def test_data_that_cannot_be_split_are_refused(steel: Path, change: dict[str, Any], task: str, message: str) -> None:
    steel.write_text(yaml.safe_dump({**yaml.safe_load(steel.read_text()), **change}))
    with pytest.raises(GraftError, match=message):
        split_sizes(str(steel), task)


def test_the_data_yaml_of_a_split_keeps_what_else_the_set_has(steel: Path, tmp_path: Path) -> None:
    steel.write_text(yaml.safe_dump({**yaml.safe_load(steel.read_text()), "kpt_shape": [5, 3], "download": "x.zip"}))
    file = write_split(str(steel), "detect", {"number": 1, "seed": 0}, tmp_path)
    content = yaml.safe_load(file.read_text())
    assert content["names"] == {0: "crack", 1: "scratch"}
    assert content["kpt_shape"] == [5, 3]
    assert not {"download", "test", "path"} & set(content)
    images = Path(content["val"]).read_text().split()
    assert images == [str(path) for path in split_images(str(steel), "detect", 1, 0)[1]]


@pytest.mark.filterwarnings("default")
def test_a_trial_trains_and_validates_on_its_split(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOGRAFT_THREADS", "1")
    plan = Plan.of({"model": "yolo11n.yaml", "data": str(tiny_set), "arms": "none", "splits": 3, "epochs": 1, "imgsz": 32,
                    "batch": 4, "workers": 0, "device": "cpu", "close_mosaic": 0})
    assert plan.splits is not None
    assert (plan.splits.train, plan.splits.val) == (12, 8)
    loaded: list[str] = []
    names = []
    for trial in plan.trials()[:2]:
        folder = tmp_path / str(trial.seed)
        folder.mkdir()
        result = train.train(trial, folder, lambda *_: None)
        assert np.isfinite(result["metrics"]["mAP50-95"])
        with np.load(folder / "images.npz") as stored:
            names.append(sorted(Path(str(name)).name for name in stored["names"]))
        expected = split_images(str(tiny_set), "detect", trial.settings["split"]["number"], 0)
        assert len(names[-1]) == 8
        assert names[-1] == sorted(path.name for path in expected[1])
        loaded.append((folder / "run" / "args.yaml").read_text())
    assert names[0] != names[1]
    assert all("split.yaml" in text for text in loaded)
