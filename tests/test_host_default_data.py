"""Data that no argument names is not downloaded, in any mode; data that is here, and data that is named, is used."""

from pathlib import Path
from typing import Any

import pytest
import ultralytics
from ultralytics.utils import ASSETS

from yolograft import GraftError, network
from yolograft.errors import DataError, HostError
from yolograft.host import YOLO, default_data
from yolograft.host.data_download import ALLOW, check_download

MODES = {"train": {"epochs": 1}, "val": {}, "tune": {"iterations": 1}, "benchmark": {}, "export": {"int8": True}}


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A model, on a machine without data sets, whose methods of Ultralytics do nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(network.ASSETS, raising=False)
    monkeypatch.setattr(default_data, "DATASETS_DIR", tmp_path / "datasets")
    monkeypatch.setattr(default_data, "is_here", lambda _: False)
    for mode in (*MODES, "predict"):
        monkeypatch.setattr(ultralytics.engine.model.Model, mode, lambda *_, **kwargs: kwargs)
    return YOLO("yolo11n.yaml")


@pytest.mark.parametrize("mode", MODES)
def test_no_mode_downloads_data_that_was_not_named(mode: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match=r"'data' is missing.*coco.*Name the data YAML"):
        getattr(model, mode)(**MODES[mode])
    monkeypatch.setenv(network.ASSETS, "1")
    getattr(model, mode)(**MODES[mode])


@pytest.mark.parametrize("mode", MODES)
def test_named_data_is_downloaded_as_with_yolo(mode: str, model: Any) -> None:
    getattr(model, mode)(data="coco8.yaml", **MODES[mode])


@pytest.mark.parametrize("mode", MODES)
def test_data_that_is_here_is_used(mode: str, model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(default_data, "is_here", lambda _: True)
    getattr(model, mode)(**MODES[mode])


@pytest.mark.parametrize("stored", ["coco.yaml", "https://example.invalid/set.zip"])
def test_the_data_that_a_checkpoint_names_is_not_downloaded(stored: str, model: Any) -> None:
    model.overrides["data"] = stored
    with pytest.raises(HostError, match=f"'data' is missing.*{stored}"):
        model.val()


def test_the_data_of_a_training_on_this_machine_is_validated_without_a_name(model: Any, tiny_set: Path) -> None:
    model.overrides["data"] = str(tiny_set)
    model.val()


def test_an_export_without_calibration_needs_no_data(model: Any) -> None:
    model.export(format="onnx")


def test_data_in_a_file_of_arguments_is_named(model: Any, tmp_path: Path) -> None:
    (tmp_path / "args.yaml").write_text("data: coco8.yaml\n")
    model.train(cfg=str(tmp_path / "args.yaml"))


@pytest.mark.parametrize("mode", ["train", "val"])
def test_the_folder_of_a_classification_is_not_looked_for_on_github(mode: str, model: Any, tmp_path: Path) -> None:
    model.task = "classify"
    for name in ("misspelt", str(tmp_path / "misspelt"), "folder/misspelt", "flowers.yaml"):
        with pytest.raises(DataError, match=r"is not a folder.*mnist160"):
            getattr(model, mode)(data=name)
    (tmp_path / "flowers").mkdir()
    (tmp_path / "datasets" / "pets").mkdir(parents=True)
    for name in ("flowers", "pets", "mnist160", "imagenet10", "https://example.invalid/set.zip"):
        getattr(model, mode)(data=name)


def test_the_default_image_of_rotated_boxes_is_not_downloaded(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model.task = "obb"
    assert model.predict(verbose=False)["source"] == ASSETS
    assert model.predict("my.jpg", verbose=False)["source"] == "my.jpg"
    monkeypatch.setenv(network.ASSETS, "1")
    assert model.predict(verbose=False)["source"] is None


def test_addresses_of_images_in_ndjson_need_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(ALLOW, raising=False)
    file = tmp_path / "set.ndjson"
    file.write_text('{"type": "dataset"}\n{"type": "image", "file": "a.jpg", "url": "https://example.invalid/a.jpg"}\n')
    for data in (str(file), file, "https://example.invalid/set.ndjson"):
        with pytest.raises(GraftError, match="images by their addresses"):
            check_download(data)
    monkeypatch.setenv(ALLOW, "1")
    check_download(str(file))
    monkeypatch.delenv(ALLOW)
    file.write_text('{"type": "dataset"}\n{"type": "image", "file": "a.jpg"}\n')
    check_download(str(file))
