"""The language of messages: how it is chosen, and that every message of the code has its Chinese text."""

import ast
import importlib.util
import json
import string
from pathlib import Path

import pytest

from yolograft import language

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "yolograft"
FILES = sorted(PACKAGE.rglob("*.py"))
CATALOGUE: dict[str, str] = json.loads((PACKAGE / "locale" / "zh.json").read_text(encoding="utf-8"))

_spec = importlib.util.spec_from_file_location("make_messages", ROOT / "docs" / "make_messages.py")
assert _spec is not None
assert _spec.loader is not None
make_messages = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_messages)


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


@pytest.fixture(autouse=True)
def _no_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("YOLOGRAFT_LANG", "LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(("variables", "expected"), [
    ({}, "en"),
    ({"LANG": "zh_CN.UTF-8"}, "zh"),
    ({"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, "en"),
    ({"LANG": "en_US.UTF-8", "LANGUAGE": "zh_TW:en"}, "zh"),
    ({"LANG": "zh_CN.UTF-8", "YOLOGRAFT_LANG": "en"}, "en"),
    ({"LANG": "de_DE.UTF-8", "YOLOGRAFT_LANG": "zh"}, "zh"),
    ({"LANG": "fr_FR.UTF-8"}, "en"),
])
def test_language_is_taken_from_the_environment(
        variables: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert language.requested() == expected


def test_an_unknown_message_stays_english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("YOLOGRAFT_LANG", "zh")
    assert language.tr("not in {where}, {{braces}}", where="the catalogue") == "not in the catalogue, {braces}"


def test_every_message_of_the_code_has_a_chinese_text() -> None:
    used = make_messages.messages()
    assert sorted(used - {message for message, text in CATALOGUE.items() if text.strip()}) == []
    assert sorted(set(CATALOGUE) - used) == [], "the catalogue has messages that no code uses"


@pytest.mark.parametrize("message", sorted(CATALOGUE))
def test_chinese_text_has_the_same_placeholders(message: str) -> None:
    assert placeholders(CATALOGUE[message]) == placeholders(message)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_each_call_gives_exactly_the_placeholders_of_its_message(path: Path) -> None:
    for call in make_messages.calls(path):
        text = call.args[0]
        assert isinstance(text, ast.Constant), f"line {call.lineno}"
        assert isinstance(text.value, str), f"line {call.lineno}"
        given = {keyword.arg for keyword in call.keywords}
        assert given == placeholders(text.value), f"line {call.lineno}: {text.value!r}"
