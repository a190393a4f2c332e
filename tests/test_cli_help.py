"""Help: each command has a page, made from the description that also checks its arguments."""

import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from yolograft import language, network
from yolograft.cli import COMMANDS, arguments, completion, data, descriptions, main, overview, study
from yolograft.cli.command import Command
from yolograft.cli.modes import MODES
from yolograft.host import commands as host_commands
from yolograft.study import plan

PAGES = descriptions()
TRAINING = ("study", "screen")  # commands that also take each train argument
OWN = {name: page for name, page in PAGES.items() if name not in (*MODES, *TRAINING)}
FIRST_WORDS = {"lint": ["x.yaml"], "status": ["runs"], "report": ["runs"], "paper": ["runs"],
               "compare": ["runs"],
               **{f"data {kind}": list("ab")[:len(paths)] for kind, paths in data._PATHS.items()}}


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(list(words)) == 0
    return capsys.readouterr().out


def accepted(page: Command) -> list[str]:
    """Return the keys that the page says the command takes, Ultralytics' own included."""
    return [argument.name for argument in (*page.arguments, *(one for stock in page.more for one in stock.arguments))]


def test_every_command_has_a_description() -> None:
    kinds = {"study merge", *(f"data {kind}" for kind in data._PATHS)}
    assert set(PAGES) == {*MODES, *COMMANDS, *kinds} - {"data"}
    assert all(f"  {name:<16} " in overview() for name in PAGES)


@pytest.mark.parametrize("name", PAGES)
def test_each_way_to_ask_prints_the_page(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, *name.split(), "--help")
    for words in ([*name.split(), "-h"], ["help", *name.split()], [*name.split(), *FIRST_WORDS.get(name, []), "-h"]):
        assert printed(capsys, *words) == page
    shown = dict(re.findall(r"^  (\w+)=(\S*)", page, flags=re.MULTILINE))
    assert {argument.name: argument.default for argument in PAGES[name].arguments}.items() <= shown.items()
    assert shown.keys() >= set(accepted(PAGES[name]))
    assert page.splitlines()[0].endswith(PAGES[name].summary)
    assert page.splitlines()[-1] == f"  {PAGES[name].example}"


@pytest.mark.parametrize("name", PAGES)
def test_the_example_uses_arguments_of_its_command(name: str) -> None:
    words = shlex.split(PAGES[name].example)
    if name != "completion":
        assert " ".join(words[1:]).startswith(name)
    trains = accepted(PAGES["train"]) if name in TRAINING else []
    assert {word.partition("=")[0] for word in words if "=" in word} <= {*accepted(PAGES[name]), *trains}


def test_data_has_a_page_for_each_kind(capsys: pytest.CaptureFixture[str]) -> None:
    page = printed(capsys, "help", "data")
    assert all(f"yolograft {name}: " in page for name in PAGES if name.startswith("data "))


def test_help_on_an_unknown_command_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["help", "sitse"]) == 2
    assert "Did you mean 'sites'?" in capsys.readouterr().err
    assert main(["sitse", "--help"]) == 2


@pytest.mark.parametrize(("name", "key"), [(name, key.name) for name, page in OWN.items() for key in page.arguments])
def test_the_check_of_arguments_knows_what_the_page_lists(
        name: str, key: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*name.split(), *FIRST_WORDS.get(name, []), f"{key}x=1"]) == 2
    assert f"Did you mean '{key}'?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", [name for name, page in OWN.items() if page.arguments])
def test_the_page_lists_what_the_check_of_arguments_takes(
        name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    checked: list[Mapping[str, str]] = []

    def with_defaults(command: str, pairs: Mapping[str, str], defaults: Mapping[str, str]) -> Any:
        checked.append(defaults)
        raise arguments.UsageError("stop")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("yolograft.cli.command.with_defaults", with_defaults)
    monkeypatch.setattr(data, "with_defaults", with_defaults)
    assert main([*name.split(), *FIRST_WORDS.get(name, []), "x=1"]) == 2
    assert checked == [PAGES[name].defaults()]


def test_a_study_takes_what_its_page_lists() -> None:
    assert {key.name for key in PAGES["study"].arguments} == {
        "data", "model", "blocks", "modules", "allow_download", *plan._STUDY_KEYS, "name", "project", *study._RUN}


@pytest.mark.parametrize("mode", MODES)
def test_a_mode_takes_what_its_page_lists(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Reached(Exception):
        pass

    def open_model(*_: object) -> None:
        raise Reached

    monkeypatch.setattr(host_commands, "open_model", open_model)
    monkeypatch.setattr(host_commands, "load_own", lambda files: [])
    monkeypatch.setenv(network.ASSETS, "1")  # without model= and data=, Ultralytics' defaults are not on this machine
    values = {"graft": "se@8", "blocks": "mine.py", "modules": "mine.py", "replace": "True"}
    for key in (*PAGES[mode].arguments, *PAGES[mode].more[0].arguments):
        with pytest.raises(Reached):
            host_commands.run(mode, {key.name: values.get(key.name, key.default or "None")})
    for key in ("speed", "iterations"):
        if key not in accepted(PAGES[mode]):
            with pytest.raises(host_commands.HostError, match=key):
                host_commands.run(mode, {key: "auto"})


def test_a_mode_lists_the_arguments_of_ultralytics_that_act_in_it() -> None:
    assert {"epochs", "lr0", "mosaic", "model", "data", "imgsz"} <= set(accepted(PAGES["train"]))
    assert {"source", "conf", "save_txt", "model", "imgsz"} <= set(accepted(PAGES["predict"]))
    assert {"tracker", "source"} <= set(accepted(PAGES["track"]))
    assert {"format", "opset", "dynamic"} <= set(accepted(PAGES["export"]))
    assert not {"lr0", "mosaic", "source"} & set(accepted(PAGES["export"]))
    epochs = next(one for one in PAGES["train"].more[0].arguments if one.name == "epochs")
    assert (epochs.default, epochs.meaning) == ("100", "number of epochs to train for")


def test_every_page_appears_without_torch() -> None:
    code = ("import sys; from yolograft.cli import descriptions, main\n"
            "assert not any(main([*name.split(), '-h']) for name in descriptions())\n"
            "sys.exit(any(name in sys.modules for name in ('torch', 'numpy', 'ultralytics', 'yaml')))")
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", PAGES)
def test_chinese_pages_have_no_english_sentence(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOGRAFT_LANG", "zh")
    page = descriptions()[name]
    texts = [page.summary, *(key.meaning for key in page.arguments), *page.notes, *(stock.heading for stock in page.more)]
    assert all(re.search("[\u4e00-\u9fff]", text) for text in texts)


@pytest.mark.parametrize("width", [20, 76, 100])
def test_lines_are_broken_by_their_width_on_the_screen(width: int) -> None:
    for text in ("one block at a time " * 12, "嫁接模块的位置可以是行号、类名或者模块路径。" * 6,
                 "在 backbone 之后 use se@8 即可，" * 7):
        lines = language.wrap(text.strip(), width)
        assert len(lines) > 1
        assert all(language.width_of(line) <= width + 2 for line in lines)  # a punctuation mark may stand beyond
        assert not any(line[0] in "，。、" for line in lines)
        assert "".join(lines).replace(" ", "") == text.replace(" ", "")


def test_completion_offers_the_arguments_of_help() -> None:
    text = completion.script("bash", [*MODES, *COMMANDS])
    assert all(f"{key}=" in text for mode in MODES for key in accepted(PAGES[mode]) if key not in ("iterations", "use_ray"))
