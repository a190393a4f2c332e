"""Near-duplicates: found after changes that keep the content, and not among other images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from yolograft.data import check
from yolograft.data.near_duplicates import SIDE, near_pairs, reduce
from yolograft.data.shared_files import shared_files

Image = NDArray[np.uint8]


def image(seed: int) -> Image:
    """A smooth image with structure of several sizes."""
    generator = np.random.default_rng(seed)
    layers = [cv2.resize(generator.random((side, side), dtype=np.float32), (200, 200)) for side in (5, 10, 40)]
    return cv2.normalize(np.sum(layers, axis=0), None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def darker_to_the_right(one: Image) -> Image:
    return (one * np.linspace(1, 0.4, one.shape[1])).astype(np.uint8)


def noisy(one: Image) -> Image:
    return np.clip(one + np.random.default_rng(0).normal(0, 8, one.shape), 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[Image], Image]] = {
    "none": lambda one: one,
    "compressed": lambda one: cv2.imdecode(cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 0),
    "brighter": lambda one: cv2.convertScaleAbs(one, alpha=0.7, beta=40),
    "smaller": lambda one: cv2.resize(one, (120, 120), interpolation=cv2.INTER_AREA),
    "cropped": lambda one: one[3:-3, 3:-3],
    "noisy": noisy,
    "colour": lambda one: cv2.cvtColor(one, cv2.COLOR_GRAY2BGR),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_copy_is_found_and_no_other_pair(change: str) -> None:
    images = [image(seed) for seed in range(40)]
    copies = [CHANGES[change](one) for one in images[5:15]]
    assert near_pairs([reduce(one) for one in images], [reduce(one) for one in copies]) == [
        (at + 5, at) for at in range(10)]


@pytest.mark.parametrize("make", [
    lambda seed: np.random.default_rng(seed).integers(0, 256, (64, 64), dtype=np.uint8),  # noise
    lambda seed: darker_to_the_right(noisy(np.full((64, 64), 100 + seed, np.uint8))) if seed % 2 else
    darker_to_the_right(np.random.default_rng(seed).integers(150, 200, (64, 64), dtype=np.uint8)),  # the same light
    lambda seed: image(seed)[:, ::-1],
])
def test_other_images_are_not_alike(make: Callable[[int], Image]) -> None:
    first, second = ([reduce(make(seed)) for seed in seeds] for seeds in (range(0, 40, 2), range(1, 41, 2)))
    assert near_pairs(first, second) == []


def test_images_without_any_structure_are_not_alike() -> None:
    """Constant images and ramps have no structure. Their rounding errors differ between processors."""
    y, x = np.mgrid[:64, :64]
    slopes = ((0, 3, 0), (9, 1.7, 0.9), (60, 0, 1))
    ramps = [(offset + across * x + down * y).astype(np.uint8) for offset, across, down in slopes]
    flat = [reduce(one) for one in [*(np.full((64, 64), value, np.uint8) for value in range(256)), *ramps]]
    assert near_pairs(flat, flat) == []


def test_an_empty_split_and_the_size() -> None:
    assert near_pairs([], [reduce(image(0))]) == near_pairs([reduce(image(0))], []) == []
    assert len(reduce(image(0))) == SIDE * SIDE


def test_many_images_are_searched_in_parts() -> None:
    generator = np.random.default_rng(0)
    many = [generator.integers(0, 256, SIDE * SIDE, dtype=np.uint8).tobytes() for _ in range(2100)]
    assert near_pairs(many, many[::700]) == [(0, 0), (700, 1), (1400, 2)]


def write_set(root: Path, val: dict[str, Image]) -> Path:
    for split, images in (("train", {f"t{at}": image(at) for at in range(6)}), ("val", val)):
        for name, one in images.items():
            for folder, suffix, content in (("images", ".png", cv2.imencode(".png", one)[1].tobytes()),
                                            ("labels", ".txt", b"0 0.5 0.5 0.2 0.2\n")):
                file = root / folder / split / f"{name}{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_bytes(content)
    file = root / "data.yaml"
    file.write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: [a]\n")
    return file


def test_the_check_notes_the_number_and_three_examples(tmp_path: Path) -> None:
    alike = {f"v{at}": CHANGES["brighter"](image(at)) for at in range(4)}
    report = check.check(write_set(tmp_path, {**alike, "other": image(50)}))
    (note,) = (note for note in report.notes if "almost the same" in note)
    assert note.startswith("images of train that look almost the same as an image of val: 4, such as ")
    assert note.count(" and images") == 3
    assert "images/train/t0.png and images/val/v0.png" in note
    assert report.exit_code == 0


def test_the_check_says_nothing_of_other_images_and_does_not_repeat_identical_ones(tmp_path: Path) -> None:
    report = check.check(write_set(tmp_path / "a", {"v0": image(50)}))
    assert not any("almost the same" in note for note in report.notes)
    report = check.check(write_set(tmp_path / "b", {"v0": image(0)}))
    assert [problem.kind for problem in report.problems] == ["identical image"]
    assert not any("almost the same" in note for note in report.notes)


def test_shared_files_are_found_by_path_and_by_content(tmp_path: Path) -> None:
    names = {"a": b"1" * 9000, "b": b"2" * 9000, "c": b"3" * 10, "copy of a": b"1" * 9000,
             "nearly a": b"0" + b"1" * 8999, "other": b"4" * 10}  # of the size of a file in the other list
    files = {}
    for name, content in names.items():
        files[name] = tmp_path / name
        files[name].write_bytes(content)
    first = [files["a"], files["b"], files["c"], tmp_path / "missing"]
    second = [files["copy of a"], files["nearly a"], files["c"], files["other"], tmp_path / "missing"]
    assert shared_files(first, second) == [(files["c"], files["c"]), (files["a"], files["copy of a"])]
    assert shared_files(first, [files["nearly a"], files["other"]]) == []
