"""The command `screen`, from training to the table; its records are reused, and wrong arguments name the right ones."""

import json
from pathlib import Path

import pytest

from yolograft.cli import main

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings

HOST = """nc: 2
backbone:
  - [-1, 1, Conv, [8, 3, 2]]
  - [-1, 1, Conv, [16, 3, 2]]
  - [-1, 1, C2f, [16, True]]
  - [-1, 1, Conv, [32, 3, 2]]
head:
  - [-1, 1, C2f, [32, True]]
  - [[2, 4], 1, Detect, [nc]]
"""


def test_a_screening_trains_once_measures_every_place_and_reuses_its_records(
        tiny_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tiny-host.yaml").write_text(HOST)
    words = ["screen", "model=tiny-host.yaml", "block=se", f"data={tiny_set}", "epochs=2", "imgsz=64", "batch=4",
             "close_mosaic=1", "device=cpu", "name=one", "lr0=0.01", "images=6"]
    assert main(words) == 0
    out = capsys.readouterr().out
    assert "7 places for se: 0, 1, 2, 3, 4, 2.m.0.cv2, 4.m.0.cv2" in out
    assert "left out: 5 (Detect is the head)" in out
    assert out.count("seed 0: measured") == 8
    assert f"yolograft study data={tiny_set} model=tiny-host.yaml 'arms=none; se@" in out
    assert "epochs=2 imgsz=64" in out.splitlines()[-2]
    assert "NEU-DET: Kendall's tau" in out
    assert "Do not choose a place by this ranking alone." in out
    folder = tmp_path / "runs" / "screen" / "one"
    found = json.loads((folder / "screen.json").read_text())
    assert found["images"] == 6
    assert sorted(value["place"] for value in found["values"]) == sorted(
        ["0", "1", "2", "3", "4", "2.m.0.cv2", "4.m.0.cv2"])
    assert (folder / "screen.md").read_text().startswith("|  | arm |")

    next((folder / "places").glob("*/3.npz")).unlink()
    assert main(words) == 0
    again = capsys.readouterr().out
    assert again.count("seed 0: measured") == 1
    assert json.loads((folder / "screen.json").read_text()) == found


@pytest.mark.parametrize(("words", "message"), [
    (["model=yolo11n.yaml", "data=x.yaml"], "names no block"),
    (["block=se", "data=x.yaml"], "names no model"),
    (["model=yolo11n.yaml", "block=se"], "names no data"),
    (["model=yolo11n.yaml", "block=se", "data=x.yaml", "seed=3"], "seeds=3"),
    (["model=yolo11n.yaml", "block=se", "data=x.yaml", "graft=se@8"], "block=se"),
    (["model=yolo11n.yaml", "block=se", "data=x.yaml", "images=0"], "images=0"),
    (["model=yolo11n.yaml", "block=se@8", "data=x.yaml"], "finds the sites"),
    (["model=yolo11m0.yaml", "block=se", "data=x.yaml"], "yolo11m0.yaml"),
])
def test_a_wrong_argument_is_one_line(words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                      capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["screen", *words]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_an_unknown_train_argument_is_named_before_anything_is_made(
        tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["screen", "model=yolo11n.yaml", "block=se", f"data={tiny_set}", "epoch5=3"]) == 2
    assert "epoch5" in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()
