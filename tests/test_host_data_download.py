"""The `download:` key of a data YAML runs nothing and downloads nothing without permission, in every command."""

import os
from pathlib import Path

import pytest
import yaml

from yolograft.cli import main
from yolograft.errors import DataError
from yolograft.host import data_download
from yolograft.host.data_download import check_download
from yolograft.host.yolo import YOLO
from yolograft.runner.fingerprint import hash_dataset

SCRIPTS = ("open('{mark}', 'w').close()", "bash {folder}/run.sh", "https://example.invalid/set.zip",
           "import os\nos.system('touch {mark}')\n")
COMMANDS = (("train", "model=yolo11n.yaml", "data={data}", "epochs=1"), ("val", "model=yolo11n.yaml", "data={data}"),
            ("tune", "model=yolo11n.yaml", "data={data}", "iterations=1"),
            ("benchmark", "model=yolo11n.yaml", "data={data}"),
            ("export", "model=yolo11n.yaml", "data={data}", "format=openvino", "int8=True"),
            ("study", "model=yolo11n.yaml", "data={data}", "arms=none; se@8"))


@pytest.fixture
def empty_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data YAML whose images do not exist."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(data_download.ALLOW, raising=False)
    file = tmp_path / "stranger.yaml"
    file.write_text(yaml.safe_dump({"path": str(tmp_path / "none"), "train": "images", "val": "images", "names": ["a"]}))
    return file


def add_script(file: Path, script: str) -> Path:
    """Add the key `download`, and return the file that the script would create."""
    mark = file.with_name("ran")
    file.with_name("run.sh").write_text(f"touch {mark}")
    config = yaml.safe_load(file.read_text())
    file.write_text(yaml.safe_dump({**config, "download": script.format(mark=mark, folder=file.parent)}))
    return mark


@pytest.mark.parametrize("script", SCRIPTS)
def test_nothing_runs_in_python(script: str, empty_set: Path) -> None:
    mark = add_script(empty_set, script)
    model = YOLO("yolo11n.yaml")
    for run in (model.train, model.val, model.tune):
        with pytest.raises(DataError, match="allow_download=True"):
            run(data=str(empty_set), epochs=1)
    with pytest.raises(DataError, match="allow_download=True"):
        hash_dataset(str(empty_set), "detect")
    assert not mark.exists()


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: words[0])
def test_every_command_shows_the_script_and_does_not_run_it(
        words: tuple[str, ...], empty_set: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mark = add_script(empty_set, SCRIPTS[0])
    assert main([word.format(data=empty_set) for word in words]) != 0
    output = capsys.readouterr()
    assert not mark.exists()
    assert f"open('{mark}', 'w').close()" in output.err
    assert "Traceback" not in output.err
    assert not list(empty_set.parent.glob("runs/*/*"))


def test_with_permission_the_script_runs(empty_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = add_script(empty_set, SCRIPTS[0])
    monkeypatch.setenv(data_download.ALLOW, "")  # restored afterwards; the command sets it
    words = ["val", "model=yolo11n.yaml", f"data={empty_set}", f"project={empty_set.parent}", "allow_download=True"]
    assert main(words) != 0  # still no images
    assert mark.exists()
    assert os.environ[data_download.ALLOW] == "1"


def test_a_set_with_images_and_a_script_is_used(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(data_download.ALLOW, raising=False)
    config = yaml.safe_load(tiny_set.read_text())
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump({"path": str(tiny_set.parent), **config}))
    mark = add_script(file, SCRIPTS[0])
    check_download(str(file))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["coco8.yaml", None, {"a": 1}, "folder", "no-file.yaml", "set.zip"])
def test_packaged_files_and_other_values_are_accepted(name: object, empty_set: Path) -> None:
    check_download(name)


def test_names_that_ultralytics_completes_are_checked(empty_set: Path, tmp_path: Path) -> None:
    add_script(empty_set, SCRIPTS[0])
    world = tmp_path / "world.yaml"
    world.write_text(yaml.safe_dump({"train": {"yolo_data": [str(empty_set)]}, "val": {"yolo_data": [str(empty_set)]}}))
    for name in (str(empty_set.with_suffix("")), empty_set, str(world), "https://example.invalid/data.yaml"):
        with pytest.raises(DataError):
            check_download(name)
    with pytest.raises(DataError):
        check_download(str(empty_set.parent))  # the folder of the file
