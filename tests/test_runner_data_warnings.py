"""What is wrong with the data is said before a study starts."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from conftest import write_tiny_set

from yolograft.cli import main
from yolograft.data.pictures import Pixels, read_pixels
from yolograft.runner import data_warnings, train
from yolograft.runner.data_warnings import read_reduced
from yolograft.study import engine

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "yolograft"


def warnings_of(data: Path, **more: Any) -> tuple[str, ...]:
    return data_warnings.data_warnings(str(data), "detect", **more)


def test_a_sound_set_has_no_warning(tmp_path: Path) -> None:
    data = write_tiny_set(tmp_path / "data")
    assert warnings_of(data) == ()
    assert train.forewarn({"model": "yolo11n.yaml", "data": str(data), "epochs": 20}) == []


def test_shared_images_and_invalid_labels_are_counted_with_examples(tmp_path: Path) -> None:
    data = write_tiny_set(tmp_path / "data")
    root = data.parent
    for number in range(4):
        shutil.copy(root / "images" / "train" / f"{number}.png", root / "images" / "val" / f"copy{number}.png")
    (root / "labels" / "val" / "0.txt").write_text("2 0.5 0.5 0.1 0.1\n")
    (root / "labels" / "train" / "1.txt").write_text("0 0.5 1.5 0.1 0.1\n")
    shared, wrong, other = train.forewarn({"model": "yolo11n.yaml", "data": str(data), "epochs": 20})
    assert shared.startswith("4 of the 12 validation images are training images too: 0.png and copy0.png; 1.png and ")
    assert shared.count(" and copy") == 3
    assert "1 of the 12 images of train have invalid labels (1.png: line 1: the value 1.5 is outside 0 to 1)" in wrong
    assert "1 of the 12 images of val have invalid labels (0.png: line 1: the class 2 is not in names" in other


def test_images_that_look_alike_are_counted(tmp_path: Path) -> None:
    data = write_tiny_set(tmp_path / "data")
    images = data.parent / "images"
    brighter = cv2.convertScaleAbs(cv2.imread(str(images / "train" / "5.png")), alpha=0.9, beta=10)
    cv2.imwrite(str(images / "val" / "bright.jpg"), brighter, [cv2.IMWRITE_JPEG_QUALITY, 60])
    (line,) = warnings_of(data)
    assert line.startswith("images of train that look almost the same as an image of val: 1, such as 5.png and bright.jpg.")


def test_the_plan_of_a_study_has_the_warnings_of_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(engine, "run", lambda *_, **__: pytest.fail("a trial was started"))
    data, other = write_tiny_set(tmp_path / "data"), write_tiny_set(tmp_path / "other")
    shutil.copy(data.parent / "images" / "train" / "0.png", data.parent / "images" / "val" / "copy.png")
    words = ["study", "model=yolo11n.yaml", "arms=none; se@8", "seeds=5", "epochs=4", "plan=True"]
    assert main([*words, f"data={data}"]) == 0
    warnings = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING: ")]
    assert len(warnings) == 3
    assert "close_mosaic" in warnings[0]
    assert warnings[1].startswith("WARNING: 1 of the 9 validation images are training images too: 0.png and copy.png")
    assert "5 seeds cannot give a result" in warnings[2]
    assert main([*words, f"data={data},{other}"]) == 0
    both = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING: ")]
    assert [both[0], both[2]] == [warnings[0], warnings[2]], "what is said of all data sets names none"
    assert both[1] == warnings[1].replace("WARNING: ", "WARNING: data/tiny: ")
    assert not (tmp_path / "runs").exists()


def test_a_set_that_takes_too_long_is_left_to_the_check(tmp_path: Path) -> None:
    data = write_tiny_set(tmp_path / "data")
    (line,) = warnings_of(data, seconds=-1.0)
    assert "were not looked for" in line
    assert f"yolograft data check {data}" in line


def test_reduced_images_are_read_once(tmp_path: Path, own_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_tiny_set(tmp_path / "data")
    images = sorted((data.parent / "images" / "train").iterdir())
    images[3].write_bytes(b"no image")
    first = read_reduced(images, 30)
    assert first is not None
    assert [bool(one) for one in first] == [at != 3 for at in range(12)]
    pixels = read_pixels(images[0].read_bytes())
    assert isinstance(pixels, Pixels)
    assert first[0] == pixels.reduced
    monkeypatch.setattr(data_warnings, "read_pixels", lambda raw: pytest.fail("an image was read again"))
    assert read_reduced(images, -1) == first
    (file,) = own_cache.glob("reduced-images-*.npy")
    monkeypatch.undo()
    monkeypatch.setenv("XDG_CACHE_HOME", str(own_cache.parent))
    for content in (b"", b"damaged", file.read_bytes()[:200]):
        file.write_bytes(content)
        assert read_reduced(images, 30) == first
    images[0].write_bytes(images[1].read_bytes())
    again = read_reduced(images, 30)
    assert again is not None
    assert again[0] == first[1], "a changed image has another key"


def test_the_cache_keeps_few_sets_and_may_be_missing(tmp_path: Path, own_cache: Path,
                                                     monkeypatch: pytest.MonkeyPatch) -> None:
    data = write_tiny_set(tmp_path / "data")
    images = sorted((data.parent / "images" / "train").iterdir())
    for count in range(1, 12):
        read_reduced(images[:count], 30)
    assert len(list(own_cache.glob("reduced-images-*.npy"))) == 8
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    found = read_reduced(images, 30)
    assert found is not None
    assert len(found) == 12


def test_an_object_array_in_the_cache_is_not_unpickled(tmp_path: Path, own_cache: Path) -> None:
    data = write_tiny_set(tmp_path / "data")
    images = sorted((data.parent / "images" / "train").iterdir())
    first = read_reduced(images, 30)
    (file,) = own_cache.glob("reduced-images-*.npy")
    np.save(file, np.array([{"a": 1}], dtype=object))
    assert read_reduced(images, 30) == first


def test_classes_in_another_order_are_named(tmp_path: Path) -> None:
    from ultralytics.nn.tasks import DetectionModel

    data = write_tiny_set(tmp_path / "data")
    model = DetectionModel("yolo11n.yaml", nc=2, verbose=False)
    model.names = {0: "bright", 1: "dim"}
    (line,) = data_warnings.name_warnings(model, str(data), "detect")
    assert "the same classes in another order" in line
    model.names = {0: "dim", 1: "bright"}
    assert data_warnings.name_warnings(model, str(data), "detect") == []
