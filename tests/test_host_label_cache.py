"""The label cache of a data set, when several trainings start on it at the same time."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from ultralytics.data import dataset

from yolograft.host.label_cache import safe_label_cache
from yolograft.host.yolo import YOLO

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
ROUNDS = 60


def write_and_read(path: Path) -> list[str]:
    """Write and read a cache in turn, and return what went wrong."""
    wrong = []
    for number in range(ROUNDS):
        try:
            dataset.save_dataset_cache_file("", path, {"labels": [[0.5] * 4] * 2000, "hash": "same"}, "1")
            found = dataset.load_dataset_cache_file(path)
            if found["hash"] != "same" or len(found["labels"]) != 2000:
                wrong.append(f"round {number}: {found.keys()}")
        except Exception as error:  # the stock functions raise many types
            wrong.append(f"round {number}: {error!r}")
    return wrong


def test_writers_and_readers_at_the_same_time_see_whole_files(tmp_path: Path) -> None:
    path = tmp_path / "train.cache"
    with safe_label_cache(), ThreadPoolExecutor(4) as pool:
        wrong = [line for lines in pool.map(write_and_read, [path] * 4) for line in lines]
    assert not wrong
    assert [file.name for file in tmp_path.iterdir()] == ["train.cache"]


def test_half_a_file_counts_as_no_file(tmp_path: Path) -> None:
    path = tmp_path / "train.cache"
    with safe_label_cache():
        dataset.save_dataset_cache_file("", path, {"labels": [[0.5] * 4] * 50}, "1")
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(FileNotFoundError):
            dataset.load_dataset_cache_file(path)
        path.unlink()
        dataset.save_dataset_cache_file("", path / "not a folder" / "x.cache", {}, "1")  # logged, and no error


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return open, (str(self.mark), "w")


def test_a_cache_of_a_stranger_runs_no_code(tiny_set: Path, tmp_path: Path,
                                            caplog: pytest.LogCaptureFixture) -> None:
    mark, path = tmp_path / "ran", tmp_path / "train.cache"
    for content in ({"labels": Malicious(mark)}, [Malicious(mark)]):
        with path.open("wb") as file:
            np.save(file, np.array(content, dtype=object))
        with safe_label_cache(), pytest.raises(FileNotFoundError):
            dataset.load_dataset_cache_file(path)
    assert not mark.exists()
    folder = tmp_path / "set"
    shutil.copytree(tiny_set.parent, folder)
    for cache in folder.rglob("*.cache"):
        cache.unlink()
    for labels in {file.parent for file in (folder / "labels").rglob("*.txt")}:
        shutil.copy(path, labels.with_suffix(".cache"))
    config = yaml.safe_load((folder / tiny_set.name).read_text())
    (folder / tiny_set.name).write_text(yaml.safe_dump({**config, "path": str(folder)}))
    YOLO("yolo11n.yaml").val(data=str(folder / tiny_set.name), imgsz=32, batch=4, workers=0, plots=False, verbose=False,
                             project=str(tmp_path), name="run")
    assert not mark.exists()
    assert "is no label cache of Ultralytics" in caplog.text


def test_the_cache_of_stock_ultralytics_is_read(tiny_set: Path, tmp_path: Path) -> None:
    path = tmp_path / "train.cache"
    labels = [{"im_file": "a.jpg", "shape": (np.int64(3), 4), "cls": np.ones((2, 1), np.float32), "segments": []}]
    dataset.save_dataset_cache_file("", path, {"labels": labels, "hash": "h", "msgs": []}, "1")
    with safe_label_cache():
        found = dataset.load_dataset_cache_file(path)
    assert found["version"] == "1"
    assert (found["labels"][0]["cls"] == labels[0]["cls"]).all()
    assert found["labels"][0]["shape"] == (3, 4)


def test_a_training_that_loses_the_race_for_the_stock_file_still_trains(
        tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def deleted_by_another(*_: Any) -> None:
        raise FileNotFoundError("train.cache")  # what the stock function raises then

    monkeypatch.setattr(dataset, "save_dataset_cache_file", deleted_by_another)
    for cache in tiny_set.parent.rglob("*.cache"):
        cache.unlink()
    arguments = {"data": str(tiny_set), "imgsz": 32, "batch": 4, "workers": 0, "plots": False, "verbose": False}
    model = YOLO("yolo11n.yaml")
    model.train(epochs=1, project=str(tmp_path), name="run", **arguments)
    for cache in tiny_set.parent.rglob("*.cache"):
        cache.unlink()
    model.val(project=str(tmp_path), name="val", **arguments)
