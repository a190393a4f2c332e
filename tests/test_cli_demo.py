"""The demo trains both arms, prints their folders, and reports invalid arguments before it writes a file."""

import shlex
from pathlib import Path

import pytest

from yolograft.attach import grafted
from yolograft.cli import main
from yolograft.host import YOLO

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


def test_both_arms_are_trained_and_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "images=30", "epochs=1", "imgsz=32"]) == 0
    printed = capsys.readouterr().out
    assert "none" in printed
    assert "se@8" in printed
    checkpoints = {name: tmp_path / "runs" / "demo" / name / "weights" / "best.pt" for name in ("bare", "grafted")}
    assert all(str(path.parents[1]) in printed for path in checkpoints.values())
    assert not grafted(YOLO(checkpoints["bare"]).model)
    assert grafted(YOLO(checkpoints["grafted"]).model)
    *_, line = printed.splitlines()
    _, *study = shlex.split(line)
    assert {"arms=none; se@8", "epochs=1", "imgsz=32", "seeds=6", "model=yolo11n.yaml"} <= set(study)
    assert main([*study, "host=yolograft.study.dummy", "name=tried"]) == 0


@pytest.mark.parametrize("words", [["graft=none"], ["graft=se@88"], ["graft=sse@8"], ["imags=3"], ["epochs=x"], ["seed=-1"]])
def test_invalid_arguments_are_errors_before_a_file_is_written(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", *words]) == 2
    assert capsys.readouterr().err.startswith("yolograft: ")
    assert not list(tmp_path.iterdir())
