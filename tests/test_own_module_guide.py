"""The guide "Your own module in ten minutes": each command and code block runs, in order, in both languages."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import ultralytics
from conftest import write_tiny_set
from ultralytics.utils import LOGGER

from yolograft import modules
from yolograft.cli import main
from yolograft.modules import plugin

DOCS = Path(__file__).resolve().parents[1] / "docs"
GUIDES = {"en": "own-module.md", "zh": "own-module.zh-CN.md"}
DATA_YAML = "datasets/NEU-DET/NEU-DET.yaml"
SMALL = "workers=0 batch=4 device=cpu speed=stock plots=False"
# What the guide says, and what is run: the same with less training, on small data
SUBSTITUTIONS = {
    "epochs=100 imgsz=640": f"epochs=1 imgsz=64 {SMALL}",
    "epochs=100, imgsz=640": ('epochs=1, imgsz=64, workers=0, batch=4, device="cpu", speed="stock", plots=False, '
                              'project=__import__("os").getcwd()'),
    "seeds=6 epochs=50": "seeds=2 epochs=1 imgsz=64 batch=4",
    "modules=mine.py data=datasets/NEU-DET/NEU-DET.yaml\n": f"modules=mine.py data={DATA_YAML} imgsz=64 workers=0\n",
    "best.pt data=datasets/NEU-DET/NEU-DET.yaml\n": f"best.pt data={DATA_YAML} imgsz=64 workers=0\n",
    "source=datasets/NEU-DET/images/val": "source=datasets/NEU-DET/images/val imgsz=64",
    "format=torchscript": "format=torchscript imgsz=64",
}
DATA_COMMAND = re.compile(r"^yolograft data .*\n", flags=re.M)
pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


def read(language: str) -> str:
    return (DOCS / GUIDES[language]).read_text(encoding="utf-8")


def blocks(text: str) -> list[tuple[str, str]]:
    """Return the language and the code of each block. No block is left out."""
    found = re.findall(r"^```(\w+)\n(.*?)^```$", text, flags=re.M | re.S)
    assert len(found) == text.count("```") // 2
    assert {language for language, _ in found} == {"bash", "python", "diff", "text"}
    return found


def small(code: str) -> str:
    code = DATA_COMMAND.sub("", code)
    for said, run in SUBSTITUTIONS.items():
        code = code.replace(said, run)
    return code


def edit(diff: str) -> tuple[Path, str, str]:
    """Return the file of a diff of one line, the old line and the new one."""
    (file, old, new) = re.fullmatch(r"--- (\S+)\n-(.*\n)\+(.*\n)", diff).groups()  # type: ignore[union-attr]
    return Path(file), old, new


def prepare(folder: Path, weights: Path) -> None:
    write_tiny_set(folder / "datasets/NEU-DET").rename(folder / DATA_YAML)
    (folder / "yolo11n.pt").symlink_to(weights)


def test_both_guides_have_the_same_code_and_are_short() -> None:
    code = [[(kind, re.sub(r" +#.*", "", re.sub(r'""".*?"""', "", text))) for kind, text in blocks(read(language))
             if kind != "text"] for language in GUIDES]
    assert code[0] == code[1]
    for language in GUIDES:
        text = read(language)
        assert len(text.splitlines()) < 150
        assert all(said in text for said in SUBSTITUTIONS)
        assert DATA_COMMAND.search(text)


def test_the_guide_runs_in_order(tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None,
                                 caplog: pytest.LogCaptureFixture, fresh_registry: None) -> None:
    """In this process, with the dummy host for the study. The next test runs all in bash, and stock `yolo`."""
    folder = tmp_path / "ten minutes"
    prepare(folder, weights)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(plugin, "_LOADED", {})
    monkeypatch.setattr(LOGGER, "propagate", True)
    caplog.set_level("INFO", LOGGER.name)
    expected, commands = [], []
    for kind, code in blocks(read("en")):
        if kind == "text":
            expected += code.splitlines()
        elif kind == "diff":
            file, old, new = edit(code)
            text = file.read_text(encoding="utf-8")
            assert text.count(old) == 1
            file.write_text(text.replace(old, new), encoding="utf-8")
        elif kind == "python" and code.startswith("# mine.py\n"):
            Path("mine.py").write_text(code, encoding="utf-8")
        elif kind == "python":
            exec(small(code), {"__name__": "example"})
        else:
            for line in small(code).replace("\\\n", " ").replace("$PWD", str(folder)).splitlines():
                words = shlex.split(line, comments=True)
                if words and words[0] == "yolograft":
                    commands.append(words[1])
                    assert main([*words[1:], *(["host=yolograft.study.dummy"] if words[1] == "study" else [])]) == 0
                elif words:
                    assert words[1:3] == ["yolo", "val"]
    assert set(commands) == {"yaml", "lint", "show", "train", "val", "predict", "export", "study", "report", "modules"}
    assert len(expected) == 2
    if not ultralytics.__version__.startswith("8.4"):  # the number of tensors in the head differs between versions
        expected = [line.partition(";")[2].rpartition(";")[0] or line for line in expected]
    assert not [line for line in expected if not any(line in message for message in caplog.messages)]
    assert (folder / "runs/mine/weights/best.torchscript").is_file()
    assert (folder / "runs/study/mine/report/report.html").is_file()
    assert modules.has_own("TwoPathDown")


@pytest.mark.slow
@pytest.mark.parametrize("language", GUIDES)
def test_the_guide_works_when_it_is_pasted(language: str, tmp_path: Path, weights: Path) -> None:
    folder = tmp_path / "new"
    prepare(folder, weights)
    script, expected = ["set -euo pipefail"], []
    for kind, code in blocks(read(language)):
        if kind == "text":
            expected += code.splitlines()
        elif kind == "diff":
            file, old, new = edit(code)
            replace = f"path.write_text(path.read_text().replace({old!r}, {new!r}))"
            script.append(f"python - <<'END'\nfrom pathlib import Path; path = Path('{file}'); {replace}\nEND")
        elif kind == "python":
            start = "cat > mine.py" if code.startswith("# mine.py\n") else "python -"
            script.append(f"{start} <<'END'\n{small(code)}END")
        else:
            script.append(small(code))
    done = subprocess.run(["bash", "-c", "\n".join(script)], cwd=folder, capture_output=True, text=True, check=False,
                          encoding="utf-8", errors="replace",
                          env={**os.environ, "YOLOGRAFT_LANG": language, "OMP_NUM_THREADS": "1"})
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-4000:]
    assert not [line for line in expected if line not in output]
    assert (folder / "runs/study/mine/report/report.html").is_file()

