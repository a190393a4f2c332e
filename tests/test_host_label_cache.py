"""The label cache of a data set, when several trainings start on it at the same time."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from ultralytics.data import dataset

from yolograft.host.label_cache import atomic_label_cache
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
    with atomic_label_cache(), ThreadPoolExecutor(4) as pool:
        wrong = [line for lines in pool.map(write_and_read, [path] * 4) for line in lines]
    assert not wrong
    assert [file.name for file in tmp_path.iterdir()] == ["train.cache"]


def test_half_a_file_counts_as_no_file(tmp_path: Path) -> None:
    path = tmp_path / "train.cache"
    with atomic_label_cache():
        dataset.save_dataset_cache_file("", path, {"labels": [[0.5] * 4] * 50}, "1")
        path.write_bytes(path.read_bytes()[:200])
        with pytest.raises(FileNotFoundError):
            dataset.load_dataset_cache_file(path)
        path.unlink()
        dataset.save_dataset_cache_file("", path / "not a folder" / "x.cache", {}, "1")  # logged, and no error


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
