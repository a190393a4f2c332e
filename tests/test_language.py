"""The language of messages: how it is chosen, and that every message of the code has its Chinese text."""

import ast
import importlib.util
import json
import re
import string
from pathlib import Path

import pytest

from yolograft import language
from yolograft.report import words

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


# What is never shown to a user, with the reason.
NOT_SHOWN = {
    "study/dummy.py": "failures that tests ask the dummy host for",
}
SHOWN = {"print", "GraftError", "SpecError", "BlockError", "SiteError", "HostError", "DataError", "UsageError",
         "DivergedError", "ForeignModelError", "UnpicklingError", "_loop_error"}
# Texts that are not messages: f-strings with words, by file, each with the reason.
FORMATS = {
    "data/steel.py": "a comment in the data YAML that is written",
    "host/models.py": "the docstring of a class, and a text that the checkpoint stores",
    "host/swaps.py": "a text that the checkpoint stores",
    "host/trainer.py": "the docstring of a class",
    "modelyaml/writer.py": "a comment in the model YAML that is written",
    "report/tables.py": "a verdict in the tables for papers, which are English",
    "runner/fingerprint.py": "a stored fingerprint",
    "runner/trainer.py": "the stored reason of a failed trial",
    "study/cluster.py": "the stored reason of a failed trial",
    "study/engine.py": "the stored reason of a failed trial",
    "study/local.py": "the stored reason of a failed trial",
    "study/worker.py": "the stored reason of a failed trial",
    "upstream.py": "for developers: the tests print it",
}


def untranslated(source: str) -> list[int]:
    """Return the lines of a source that print, log or raise literal words which do not go through `tr`."""
    found = []
    for call in ast.walk(ast.parse(source)):
        if not isinstance(call, ast.Call) or not call.args:
            continue
        name = getattr(call.func, "id", getattr(call.func, "attr", ""))
        is_log = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in (
            "LOGGER", "console", "self._console")
        if name not in SHOWN and not is_log:
            continue
        parts, inside = [call.args[0]], []
        while parts:  # texts in calls are the business of these calls
            part = parts.pop()
            inside.append(part)
            if not isinstance(part, ast.Call):
                parts += list(ast.iter_child_nodes(part))
        words = " ".join(part.value for part in inside if isinstance(part, ast.Constant) and isinstance(part.value, str))
        if any(len(word) > 1 and word.isalpha() and word != "yolograft" for word in words.replace(":", " ").split()):
            found.append(call.lineno)
    return found


@pytest.mark.parametrize(("source", "lines"), [
    ("print('two words')", [1]), ("print(f'{x} seconds')", [1]), ("raise HostError(f'no {x}')", [1]),
    ("LOGGER.info('text' + name)", [1]), ("print(tr('two words'))", []), ("print(f'{tr(\"two\")} {x}')", []),
    ("print(f'yolograft: {x}')", []), ("print(table)", []),
])
def test_the_law_finds_what_does_not_go_through_tr(source: str, lines: list[int]) -> None:
    assert untranslated(source) == lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_text_for_users_goes_through_tr(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    found = untranslated(path.read_text(encoding="utf-8"))
    if name not in NOT_SHOWN:
        assert found == []


def formats(source: str) -> list[int]:
    """Return the lines of f-strings with two words or more that are not inside `tr`.

    Command lines and Python's own wording of an AttributeError are the same in every language.
    """
    tree = ast.parse(source)
    inside = {id(node) for call in ast.walk(tree) if isinstance(call, ast.Call) and ast.unparse(call.func) == "tr"
              for node in ast.walk(call)}
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.JoinedStr) or id(node) in inside:
            continue
        text = "".join(part.value if isinstance(part, ast.Constant) else " 0 " for part in node.values)
        words = [word for word in text.replace(":", " ").replace(",", " ").split() if len(word) > 1 and word.isalpha()]
        if len(words) > 1 and "has no attribute" not in text and not text.strip().startswith("yolograft "):
            found.append(node.lineno)
    return found


@pytest.mark.parametrize(("source", "lines"), [
    ("lines = [f'{count:>4} more rows']", [1]), ("why = f'no {x}: it is gone'", [1]), ("f'{x} to'", []),
    ("tr('two words {x}', x=f'two words {x}')", []), ("f'yolograft sites model={x} imgsz'", []),
])
def test_the_second_law_finds_formatted_texts(source: str, lines: list[int]) -> None:
    assert formats(source) == lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_every_formatted_text_goes_through_tr(path: Path) -> None:
    name = path.relative_to(PACKAGE).as_posix()
    found = formats(path.read_text(encoding="utf-8"))
    if name in NOT_SHOWN or name in FORMATS:
        assert found or name not in FORMATS, "the exception is not needed any more"
        return
    assert found == []


def chosen_punctuation(source: str) -> list[int]:
    """Return the lines of a source that choose punctuation or spaces by the language themselves."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.IfExp) and ast.unparse(node.test).endswith(("'zh'", "'en'")):
            parts = [part for branch in (node.body, node.orelse)
                     for part in (branch.elts if isinstance(branch, ast.Tuple) else [branch])]
            texts = [part.value for part in parts if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            if len(texts) == len(parts) and not any(character.isalnum() for character in "".join(texts)):
                found.append(node.lineno)
    return found


@pytest.mark.parametrize(("source", "lines"), [
    ("x = '、' if say.language == 'zh' else ', '", [1]), ("a, b = ('；', '。') if language != 'en' else ('; ', '.')", [1]),
    ("x = '' if say.language == 'zh' else ' '", [1]), ("name = 'a.html' if language == 'en' else 'b.html'", []),
    ("infix = '' if language == 'en' else f'.{language}'", []),
    ("x = '、' if many else ', '", []),
])
def test_the_law_on_punctuation_finds_what_it_is_for(source: str, lines: list[int]) -> None:
    assert chosen_punctuation(source) == lines


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_the_punctuation_of_a_language_stands_in_one_place(path: Path) -> None:
    assert chosen_punctuation(path.read_text(encoding="utf-8")) == [], "use PUNCTUATION of yolograft.language"


# One Chinese term per concept, as in the Chinese documentation of PyTorch and Ultralytics.
TERMS = {
    "checkpoint": "检查点", "stride": "步长", "baseline": "基线", "batch norm": "批归一化", "data YAML": "数据集",
    "study": "研究", "backbone": "骨干网络", "fork": "修改版", "host": "模型", "data set": "数据",
}
OTHER_TERMS = ("宿主", "权重文件", "步幅", "图片", "幅", "主干", "BatchNorm", "名字", "预留", "快照", "无证据")


@pytest.mark.parametrize("message", sorted(CATALOGUE))
def test_chinese_text_uses_the_same_term_for_the_same_thing(message: str) -> None:
    text = CATALOGUE[message]
    for term in OTHER_TERMS:
        assert term not in text
    prose = re.sub(r"\{[^{}]*\}|`[^`]*`|'[^']*'|\S*[=@/._]\S*", " ", message)  # without code
    for english, chinese in TERMS.items():
        if re.search(rf"(?<![\w-]){english}s?(?![\w-])", prose):
            assert chinese in text or english in text, english


def test_the_report_uses_the_terms_of_the_catalogue() -> None:
    for texts in words.TEXTS.values():
        assert not [term for term in OTHER_TERMS if term in texts[1]], texts[1]
    for verdict in ("helps", "hurts", "no evidence either way", "too few runs to say", "baseline", "arm", "verdict", "runs",
                    "difference", "95% interval", "stride", "reads", "parameters"):
        assert CATALOGUE[verdict] == words.TEXTS[verdict][1]


def test_no_space_follows_chinese_punctuation() -> None:
    wrong = [text for text in CATALOGUE.values() if re.search(r"[，。；：！？、）] +[\u4e00-\u9fff]", text)]
    assert not wrong, wrong
