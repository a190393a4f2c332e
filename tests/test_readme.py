"""Both READMEs can be pasted from top to bottom, agree with each other, and show the numbers of our study."""

from __future__ import annotations

import csv
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conftest import DATA

from yolograft.analysis import explain, fold
from yolograft.cli import COMMANDS, main
from yolograft.cli.modes import MODES
from yolograft.host import commands

ROOT = Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
READMES = ["README.md", "README.zh-CN.md"]
OPENING: dict[str, Any] = {"explain": explain, "fold": fold}  # commands that open a trained checkpoint
PAGES = [*READMES, *(f"docs/{path.name}" for path in sorted(DOCS.glob("*.md")))]
pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


@pytest.fixture(scope="module")
def runner() -> dict[str, Any]:
    return runpy.run_path(str(DOCS / "run_readme.py"))


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def needs_data() -> None:
    for file in (DATA / "NEU-DET.zip", DATA / "weights" / "yolo11n.pt"):
        if not file.is_file():
            pytest.skip(f"{file} does not exist")


def test_both_languages_have_the_same_code(runner: dict[str, Any]) -> None:
    english, chinese = ([(language, re.sub(r" +#.*", "", code)) for language, code in runner["blocks"](read(name))]
                        for name in READMES)
    for blocks in (english, chinese):
        for number, (language, code) in enumerate(blocks):
            blocks[number] = language, re.sub(r'""".*?"""', "", code)
    assert english == chinese
    assert len(english) >= 6


@pytest.mark.parametrize("name", READMES)
def test_every_substitution_is_of_something_that_the_readme_says(name: str, runner: dict[str, Any]) -> None:
    code = "".join(code for _, code in runner["blocks"](read(name)))
    assert all(said in code for said in runner["SUBSTITUTIONS"])
    assert runner["INSTALL"] in code


def test_the_commands_of_the_readme_run_in_order(
        runner: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with the dummy host for the study, and the modes of Ultralytics stopped before they open the model.

    The next test runs everything, in both languages.
    """
    needs_data()
    folder = tmp_path / "first steps"
    runner["prepare"](folder, DATA)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PWD", str(folder))
    opened: list[str] = []

    class Opened(Exception):
        pass

    def open_model(model: str, task: Any = None) -> None:
        opened.append(model)
        raise Opened

    script = runner["shell_script"](read(READMES[0]), whole=False, install=False).replace("\\\n", " ")
    lines = [shlex.split(line, comments=True) for line in re.findall(r"^yolograft .*", script, flags=re.MULTILINE)]
    assert {line[1] for line in lines} >= {"data", "train", "val", "predict", "export", "study", "status",
                                            "report", "blocks"}
    for _, *words in lines:
        if words[0] in (*MODES, *OPENING):
            monkeypatch.setattr(OPENING.get(words[0], commands), "open_model", open_model)
            with pytest.raises(Opened):
                main([word.replace("$PWD", str(folder)) for word in words])
            monkeypatch.undo()
            monkeypatch.chdir(folder)
        else:
            assert words[0] in COMMANDS
            assert main(words) == 0
    assert opened[0] == "yolo11n.pt"
    assert set(opened[1:]) == {"runs/se/weights/best.pt", "yolo11n-dysample.yaml"}
    assert (folder / "runs/study/first/report/report.html").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("name", READMES)
def test_a_readme_works_when_it_is_pasted(name: str, tmp_path: Path) -> None:
    needs_data()
    script = [sys.executable, str(DOCS / "run_readme.py"), str(ROOT / name), str(tmp_path / "new"), "--whole"]
    done = subprocess.run(script, capture_output=True, text=True, check=False, encoding="utf-8", errors="replace")
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    assert (tmp_path / "new/runs/se/weights/best.torchscript").is_file()


@pytest.mark.parametrize("name", READMES)
def test_the_block_of_a_readme_passes_the_check(name: str, runner: dict[str, Any], tmp_path: Path) -> None:
    (code,) = (code for language, code in runner["blocks"](read(name)) if code.startswith("# my_blocks.py\n"))
    (tmp_path / "my_blocks.py").write_text(code, encoding="utf-8")
    check = "from my_blocks import Gate; from yolograft.testing import check_block; check_block(Gate); print('passed')"
    done = subprocess.run([sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout == "passed\n", done.stderr


@pytest.mark.parametrize("name", READMES)
def test_the_table_has_the_numbers_of_the_study(name: str) -> None:
    with (DOCS / "results/neu-det-se/tables/verdicts.csv").open(encoding="utf-8") as file:
        study = {row["arm"]: row for row in csv.DictReader(file)}
    rows = dict(re.findall(r"^\| `(none|se@8|se@Bottleneck\.cv2|aa)`[^|`]*\| (0\..*)\|$", read(name), flags=re.MULTILINE))
    assert rows.keys() == study.keys()
    for arm, text in rows.items():
        found = [float(number) for number in re.findall(r"[+-]?\d\.\d+", text)]
        told = " ".join(study[arm][key] for key in (
            "mAP50-95", "difference", "difference 95% interval", "p (max-T)") if study[arm][key])
        expected = [float(number) for number in re.findall(r"[+-]?\d\.\d+", told)]
        assert found == pytest.approx(expected, abs=5e-4)


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_to_files_of_the_repository(name: str) -> None:
    links = re.findall(r"\]\((?!https?:|#)([^)#]+)", read(name))
    assert not [link for link in links if not (ROOT / name).parent.joinpath(link).exists()]


def test_the_picture_is_that_of_the_published_study() -> None:
    script = runpy.run_path(str(DOCS / "make_picture.py"))
    for language, file in script["FILES"].items():
        assert file.read_text(encoding="utf-8") == script["picture"](language), "run: python docs/make_picture.py"
        ids = re.findall(r'\bid="([^"]+)"', script["picture"](language))
        assert len(ids) == len(set(ids))
        used = set(re.findall(r'(?:href="#|url\(#)([^")]+)', script["picture"](language)))
        assert used <= set(ids)
