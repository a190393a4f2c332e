"""A demo, a training, a study and a conversion end with the next command, which works when it is pasted."""

import re
import shlex
from pathlib import Path

import pytest

from yolograft import shell
from yolograft.cli import main

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
SMALL = ["epochs=1", "imgsz=32", "batch=8", "workers=0", "device=cpu", "plots=False"]


@pytest.fixture(autouse=True)
def _working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "my data 数据"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("YOLO_RUNS_DIR", str(folder))


def pasted(text: str, command: str) -> list[str]:
    """Return the words of the last printed command, as a POSIX shell splits the line."""
    lines = re.findall(rf"^ *(yolograft {command} .*)$", text, flags=re.MULTILINE)
    assert lines, text
    return shlex.split(lines[-1])[1:]


def test_words_survive_the_shell() -> None:
    words = ["study", "data=a folder/数据.yaml", "arms=none; se(ratio=8)@8", "it's"]
    assert shlex.split(shell.command(*words)) == ["yolograft", *words]


def test_words_are_quoted_for_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    line = shell.command("study", "arms=none; se@8", "data=C:\\d.yaml")
    assert line == 'yolograft study "arms=none; se@8" data=C:\\d.yaml'


def test_a_conversion_leads_to_a_training_and_this_to_a_validation(
        weights: Path, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    Path("yolo11n.pt").symlink_to(weights)
    assert main(["data", "steel", "set", "images=30", "size=64"]) == 0
    train = pasted(capfd.readouterr().out, "train")
    assert "graft=se@8" in train
    assert main([*train, *SMALL, "speed=stock", f"project={Path.cwd() / 'runs'}"]) == 0
    val = pasted("\n".join(caplog.messages), "val")
    assert (Path("runs") / "train" / "weights" / "best.pt").is_file()
    assert main([*val, *SMALL[1:], f"project={Path.cwd() / 'runs'}"]) == 0


def test_a_voc_conversion_leads_to_a_training(capsys: pytest.CaptureFixture[str]) -> None:
    import cv2
    import numpy as np

    box = ("<annotation><object><name>{}</name><bndbox><xmin>3</xmin><ymin>3</ymin><xmax>20</xmax><ymax>20</ymax></bndbox>"
           "</object></annotation>")
    Path("voc").mkdir()
    for number in range(6):
        picture = np.full((32, 32, 3), 20 * number, np.uint8)
        cv2.imencode(".png", picture)[1].tofile(f"voc/{number}.png")
        Path(f"voc/{number}.xml").write_text(box.format("dent"))
    assert main(["data", "voc", "voc", "my set"]) == 0
    words = pasted(capsys.readouterr().out, "train")
    data = next(word.partition("=")[2] for word in words if word.startswith("data="))
    assert Path(data).is_file()


def test_a_study_leads_to_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    Path("set.yaml").write_text("names: [a]\n")
    assert main(["study", "data=set.d", "model=yolo11n.pt", "arms=none; se@8", "seeds=2", "epochs=1",
                 "host=yolograft.study.dummy", "name=my study"]) == 0
    report = pasted(capsys.readouterr().out, "report")
    assert report == ["report", "runs/study/my study"]
    assert main(report) == 0
    assert Path("runs/study/my study/report/report.html").is_file()


@pytest.mark.slow
def test_the_study_of_the_demo_trains(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "images=30", "epochs=1", "imgsz=32"]) == 0
    study = pasted(capfd.readouterr().out, "study")
    assert main([*study, "seeds=2", "name=tried"]) == 0
    assert Path("runs/study/tried/study.db").is_file()
