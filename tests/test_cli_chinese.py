"""The same commands in English and Chinese: the same exit codes and numbers, and no English sentence in Chinese."""

from __future__ import annotations

import contextlib
import io
import re
from collections import Counter
from pathlib import Path

import pytest

from yolograft.cli import main

WRONG = "nc: 80\nbackbone:\n  - [-1, 1, Conv, [64, 3, 2]]\n  - [-1, 1, CBAMM, [64]]\nhead:\n  - [[1], 1, Detect, [nc]]\n"
COMMANDS = {
    "sites": "sites model=yolo11n.yaml",
    "show": "show model=yolo11n.yaml graft=se@8",
    "bare": "show model=yolo11n.yaml",
    "wrong": "lint wrong.yaml",
    "blocks": "blocks",
    "cbam": "blocks cbam",
    "yaml": "yaml model=yolo11n.yaml graft=se@8",
    "right": "lint right.yaml",
    "steel": "data steel steel images=12 size=64",
    "check": "data check steel/steel.yaml",
    "help": "--help",
    "train": "train --help",
    "study": "study --help",
    "coco": "data coco --help",
    "a block's name": "show model=yolo11n.yaml graft=see@8",
    "a site's name": "show model=yolo11n.yaml graft=se@99",
    "a file's name": "sites model=nix.yaml",
    "a command's name": "sitess",
    "an argument's name": "sites model=yolo11n.yaml imgs=64",
    "an argument without a value": "show model=",
    "no arms": "study data=steel/steel.yaml model=yolo11n.yaml",
}
# What stays English: names, code, equations, comments in files, and the meanings that Ultralytics gives its own arguments.
ENGLISH = (
    r"^  .*[=\[\]].*",  # equations and rows of a model YAML
    r"^# '.*' as rows, written by yolograft .*",
    r"yolograft [a-z]+( [\w.=@/;\"'-]+)*", r"https?://\S+", r"'[^']*'", r"`[^`]*`",
)
ARGUMENTS = (r"^  \w+=\S* +\S.*", r"^ {26}[A-Za-z(\"'].*")
PAPER = re.compile(r"^论文：.*", flags=re.MULTILINE)
SENTENCE = re.compile(r"\b[A-Za-z]{2,}(?: [a-z]{2,}){2,}\b")


@pytest.fixture(scope="module")
def outputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, tuple[int, str]]]:
    """Language -> command -> exit code and everything that it printed."""
    import ultralytics.utils  # noqa: F401  # it prints when it makes its settings file

    found: dict[str, dict[str, tuple[int, str]]] = {}
    for language in ("en", "zh"):
        folder = tmp_path_factory.mktemp("commands") / "here"
        folder.mkdir()
        found[language] = _run_all(folder, language)
    return found


def _run_all(folder: Path, language: str) -> dict[str, tuple[int, str]]:
    results = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("YOLOGRAFT_LANG", language)
        Path("wrong.yaml").write_text(WRONG)
        for name, line in COMMANDS.items():
            out = io.StringIO()
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
                code = main(line.split())
            if name == "yaml":
                Path("right.yaml").write_text(out.getvalue())
            results[name] = code, out.getvalue()
    return results


@pytest.mark.parametrize("name", COMMANDS)
def test_chinese_output_has_the_same_exit_code_and_numbers(outputs, name: str) -> None:
    (code, english), (chinese_code, chinese) = outputs["en"][name], outputs["zh"][name]
    assert chinese_code == code
    assert _numbers(chinese) == _numbers(english)
    assert name == "yaml" or re.search(r"[\u4e00-\u9fff]", chinese)


def _numbers(text: str) -> Counter[str]:
    return Counter(re.findall(r"\d+(?:[.,]\d+)*", text.replace("1-D", "")))  # in Chinese a word


@pytest.mark.parametrize("name", COMMANDS)
def test_chinese_output_has_no_english_sentence(outputs, name: str) -> None:
    text = PAPER.sub("", outputs["zh"][name][1])
    sentences = []
    for line in text.splitlines():
        for allowed in (*ENGLISH, *(ARGUMENTS if name == "train" else ())):
            line = re.sub(allowed, " | ", line)
        sentences += SENTENCE.findall(line)
    assert sentences == []


def test_the_law_finds_english_sentences(outputs) -> None:
    for name in ("sites", "wrong", "blocks", "help", "study", "a block's name", "a site's name", "no arms"):
        assert SENTENCE.search(outputs["en"][name][1]), name
