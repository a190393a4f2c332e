"""Where results go is said before a run, and a folder that cannot be written is an error before it."""

import os
from pathlib import Path
from typing import Any

import pytest
from ultralytics.utils import LOGGER

from yolograft import YOLO, GraftError
from yolograft.cli import main
from yolograft.host import run_folder

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "workers": 0, "plots": False, "verbose": False}


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(LOGGER, "info", lambda text, *args: lines.append(str(text)))
    return lines


@pytest.fixture
def blocked(tmp_path: Path) -> Path:
    """A path below a file: no user, not even root, can make a folder there."""
    (tmp_path / "file").touch()
    return tmp_path / "file" / "runs"


@pytest.mark.parametrize("mode", ["train", "val", "tune", "predict", "track"])
def test_a_folder_that_cannot_be_written_is_one_line_before_the_run(
    mode: str, blocked: Path, tiny_set: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    model = tmp_path / "a.pt"
    YOLO("yolo11n.yaml").save(model)
    words = [f"source={tiny_set.parent}" if mode in ("predict", "track") else f"data={tiny_set}"]
    assert main([mode, f"model={model}", f"project={blocked}", *words]) == 2
    printed = capsys.readouterr().err
    assert len(printed.splitlines()) == 1
    assert "cannot be written" in printed
    assert "project=FOLDER" in printed


def test_python_gets_the_same_error(blocked: Path, tiny_set: Path) -> None:
    for run in (lambda: YOLO("yolo11n.yaml").train(data=str(tiny_set), project=str(blocked), epochs=1, **FAST),
                lambda: YOLO("yolo11n.yaml").predict(str(tiny_set.parent), save=True, project=str(blocked))):
        with pytest.raises(GraftError, match="cannot be written"):
            run()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root can write to every folder")
def test_a_read_only_folder_is_an_error(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(GraftError, match="Permission denied"):
        run_folder.check_writable(tmp_path / "runs", "")


def test_an_export_to_a_folder_that_cannot_be_written_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from yolograft.host import yolo

    def refuse(folder: Path, remedy: str) -> None:
        raise GraftError(f"{folder}: {remedy}")

    YOLO("yolo11n.yaml").save(tmp_path / "a.pt")
    monkeypatch.setattr(yolo, "check_writable", refuse)
    for format in ("torchscript", "safetensors"):
        with pytest.raises(GraftError, match="Copy the checkpoint"):
            YOLO(tmp_path / "a.pt").export(format=format)


def test_the_check_leaves_no_file(tmp_path: Path) -> None:
    run_folder.check_writable(tmp_path / "new" / "folder", "")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("arguments", "expected"), [
    ({}, True), ({"project": "here"}, None), ({"project": "{here}/x"}, False), ({"save_dir": "{here}/x"}, False),
    ({"project": "{there}/x"}, False), ({"save_dir": "{there}"}, False),
])
def test_a_folder_that_the_user_did_not_name_is_said(
    arguments: dict[str, str], expected: bool | None, log: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    monkeypatch.chdir(here)
    given = {key: value.format(here=here, there=there) for key, value in arguments.items()}

    def save_dir(config: Any, name: str | None = None) -> Path:
        return Path(config.project or there / "runs" / "detect") / str(name)

    monkeypatch.setattr(run_folder, "get_save_dir", save_dir)
    run_folder.check_run_folder("train", {"task": "detect", **given})
    told = [line for line in log if "setting runs_dir" in line]
    assert bool(told) == bool(expected)
    assert not told or str(there / "runs" / "detect" / "train") in told[0]


@pytest.mark.slow
def test_a_study_runs_in_folders_with_blanks_and_chinese_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    import conftest

    home = tmp_path / "我的 项目"
    home.mkdir()
    monkeypatch.chdir(home)
    data = conftest.write_tiny_set(home / "数据 集")
    YOLO("yolo11n.yaml").save(home / "预训练 模型.pt")
    words = [f"data={data.relative_to(home)}", "model=预训练 模型.pt", "arms=none, se@8", "seeds=1", "epochs=1", "imgsz=32",
             "batch=4", "workers=1", "name=实验 1"]
    assert main(["study", *words]) == 0, capfd.readouterr().err
    assert list((home / "runs" / "study" / "实验 1").rglob("best.pt"))
