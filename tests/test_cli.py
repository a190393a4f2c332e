"""The command line: its output and exit codes. Help must not import torch."""

import subprocess
import sys
from pathlib import Path

import pytest

from yolograft.cli import main


@pytest.mark.parametrize("words", [[], ["--help"], ["help"], ["--version"]])
def test_help_imports_no_torch(words: list[str]) -> None:
    code = (f"import sys; from yolograft.cli import main; code = main({words!r}); "
            "sys.exit(code or ('torch' in sys.modules) or ('ultralytics' in sys.modules))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


def test_importing_the_package_imports_no_torch() -> None:
    code = "import sys, yolograft; yolograft.Graft.parse('se@8'); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian", "model=yolo11n.yaml"], "Did you mean 'train'"),
        (["train", "mdoel=yolo11n.yaml"], "Did you mean 'model'"),
        (["export", "model=yolo11n.yaml", "graft=se@88"], "rows 0 to 22. List them"),
        (["train", "model=yolo11n.yaml", "epochs=many"], "epochs"),
        (["train", "model=yolo11n.yaml", "graft="], "has no value"),
        (["val", "model=nix.yaml"], "does not exist"),
        (["sites", "imgsz=big"], "positive whole number"),
        (["show", "grfat=se@8"], "Did you mean 'graft'"),
        (["show", "model=yolo11n.yaml", "graft=cbma@8"], "Did you mean 'cbam'"),
        (["blocks", "blocks=nix.py"], "is not a Python file"),
        (["sites", "grfat=se@8"], "'grfat' is no argument of 'sites'. Did you mean 'graft'?"),
        (["sites", "graft=se@88"], "rows 0 to 22. List them"),
        (["sites", "blocks=nix.py"], "is not a Python file"),
    ],
)
def test_a_mistake_gives_a_message_without_traceback(
    capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_sites_show_and_blocks_print_their_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sites", "model=yolo11n.yaml", "imgsz=320"]) == 0
    assert "backbone.-3" in capsys.readouterr().out
    assert main(["show", "model=yolo11n.yaml", "graft=se@8 + se@p3"]) == 0
    printed = capsys.readouterr().out
    assert "+ SE (8,464 parameters)" in printed
    assert "input 0: SE" in printed
    assert "2,624,080 parameters" in printed
    assert main(["blocks"]) == 0
    assert "ratio=16" in capsys.readouterr().out


@pytest.mark.parametrize("mode", ["train", "val"])
def test_missing_data_is_an_error_before_a_run_folder_is_made(
    mode: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "steel.yaml").write_text("names: [a]\n")
    assert main([mode, "model=yolo11n.yaml", "graft=se@8", "data=stel.yaml"]) == 2
    assert "Did you mean 'steel.yaml'?" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["steel.yaml"]


def test_resuming_without_an_earlier_training_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train", "model=yolo11n.yaml", "resume=True", "data=coco8.yaml"]) == 2
    assert "needs the last.pt of an interrupted training" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("site", ["24", "88", "50", "neck.88", "model.24.cv2", "model.99"])
def test_a_row_out_of_range_is_answered_with_the_range_and_no_guess(
    site: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "model=yolo11n.yaml", f"graft=se@{site}"]) == 2
    printed = capsys.readouterr().err
    assert "Did you mean" not in printed
    assert "to 22" in printed or "to model.23" in printed
