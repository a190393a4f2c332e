"""YAML files as people save them: any common encoding, and errors that name line, column and remedy.

The one module that reads YAML text, for model files, data files and plans. It opens the files that Ultralytics opens, and
also files in UTF-16 and GBK, whose characters Ultralytics drops. It knows the mistakes that a Chinese or an English keyboard
leads to: full-width punctuation, tabs, and a missing blank after a colon.

A file can come from a stranger. So only the safe loader is used, which makes no object of a class, and `load` refuses what a
short file could fill the memory with: aliases of aliases, deep nesting and numbers of thousands of digits.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from yolograft.errors import DataError, GraftError
from yolograft.language import tr

__all__ = ["FullWidth", "RefusedError", "YamlText", "check_keys", "decode", "find_full_width", "load", "parse", "read"]

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF32_LE, "utf-32"), (codecs.BOM_UTF32_BE, "utf-32"),
         (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))
_MAX_CHARACTERS = 8 * 2**20  # of a file; the largest that Ultralytics packages has 60,000
_MAX_DEPTH = 60  # of nested lists and mappings; a row of a model YAML needs five
_MAX_VALUES = 500_000  # with every alias counted as often as it is used
_MAX_NUMBER = 300  # characters
_NUMBER = re.compile(r"[-+.]?[0-9]")
# What PyYAML raises for a text that a tag does not fit, such as `!!int ""`, besides its own errors.
_ERRORS = (yaml.YAMLError, ValueError, RecursionError, LookupError, AttributeError, TypeError, ArithmeticError, MemoryError)
# Ultralytics removes every character outside these ranges before it gives a file up.
_NOT_PRINTABLE = re.compile(r"[^\x09\x0A\x0D\x20-\x7E\x85\xA0-\uD7FF\uE000-\uFFFD\U00010000-\U0010ffff]+")
# Punctuation whose half-width form Unicode does not define.
_LOOKALIKES = {"【": "[", "】": "]", "“": '"', "”": '"', "‘": "'", "’": "'", "、": ",", "。": ".", "—": "-", "–": "-",
               "−": "-", "\u3000": " ", "\u00a0": " "}


@dataclass(frozen=True, kw_only=True)
class YamlText:
    """The content of a YAML file.

    Attributes:
        value: the content; None for an empty file.
        encoding: Python's name of the encoding.
        is_lossy: whether Ultralytics, which reads UTF-8 only, would read other content.
        text: the text of the file.
    """

    value: Any
    text: str
    encoding: str
    is_lossy: bool


@dataclass(frozen=True, kw_only=True)
class FullWidth:
    """A full-width character where YAML needs the ASCII one: its place, counted from 1, and the text to write."""

    line: int
    column: int
    character: str
    ascii: str

    def __str__(self) -> str:
        return tr("line {line}, column {column}: '{character}' is a full-width character. Write '{ascii}'", line=self.line,
                  column=self.column, character=self.character, ascii=self.ascii)


def read(path: str | Path, *, error: type[GraftError] = DataError) -> YamlText:
    """Read a YAML file in any common encoding.

    Args:
        path: the file.
        error: the type of the error to raise.

    Raises:
        GraftError: the file cannot be read, or is not YAML; the message names line, column and remedy.
    """
    try:
        raw = Path(path).read_bytes()
    except OSError as problem:
        raise error(tr("{path} cannot be read: {problem}.", path=path, problem=problem.strerror or problem)) from problem
    text, encoding = decode(raw)
    value = parse(text, path, error=error)
    is_lossy = encoding not in ("utf-8", "utf-8-sig") and _is_lossy(raw, value)
    return YamlText(value=value, text=text, encoding=encoding, is_lossy=is_lossy)


def parse(text: str, name: str | Path, *, error: type[GraftError] = DataError) -> Any:
    """Parse YAML text, such as that of a file which a study stores.

    Args:
        text: the text.
        name: of the file, for the message.
        error: the type of the error to raise.

    Raises:
        GraftError: it is not YAML; the message names line, column and remedy.
    """
    try:
        return load(text)
    except yaml.YAMLError as problem:
        raise error(tr("{path} cannot be read as YAML: {problem}", path=name, problem=_explain(text, problem))) from problem


def load(text: str) -> Any:
    """Parse YAML text as Ultralytics does: a second time without unprintable characters if the first fails.

    Raises:
        yaml.YAMLError: it is not YAML, or it exceeds a limit (`RefusedError`).
    """
    try:
        return _load(text)
    except yaml.YAMLError:
        cleaned = _NOT_PRINTABLE.sub("", text)
        if cleaned == text:
            raise
        return _load(cleaned)


class RefusedError(yaml.YAMLError):
    """A text that is YAML, but is not read: it exceeds a limit, or gives one key two values."""


def check_keys(path: str | Path, content: YamlText, keys: Iterable[str], *, error: type[GraftError] = DataError) -> None:
    """Raise an error if full-width punctuation hides a key, or joins class names, as in `names: [裂纹，划痕]`."""
    value = content.value if isinstance(content.value, dict) else {}
    hidden = next((place for place in find_full_width(content.text)), None)
    missing = [key for key in keys if key not in value]
    if hidden is not None and missing:
        raise error(tr("{path} has no '{key}'. {place}.", path=path, key=missing[0], place=hidden))
    names = value.get("names")
    listed = [*names.values()] if isinstance(names, dict) else names if isinstance(names, list) else [names]
    joined = [name for name in listed if isinstance(name, str) and ("，" in name or "：" in name or name is names)]
    place = next((place for place in find_full_width(content.text) if place.character in "，："), None)
    if joined and place is not None:
        raise error(tr("{path}: '{name}' is read as one class name. {place}, or put the name in quotes.", path=path,
                       name=joined[0], place=place))


def decode(raw: bytes) -> tuple[str, str]:
    """Return the text of a file and the name of its encoding: by its byte order mark, else UTF-8, UTF-16, GBK, cp1252."""
    for mark, encoding in _BOMS:
        if raw.startswith(mark):
            return raw.decode(encoding, errors="replace"), encoding
    if b"\0" in raw:
        encoding = "utf-16-le" if raw[1::2].count(0) >= raw[::2].count(0) else "utf-16-be"
        return raw.decode(encoding, errors="replace"), encoding
    for encoding in ("utf-8", "gb2312"):
        try:
            return raw.decode(encoding), "gbk" if encoding == "gb2312" else encoding
        except UnicodeDecodeError:
            continue
    # a Chinese character has two bytes, mostly both of 128 or more; an accented letter of Western Europe has one
    is_paired = any(len(run) > 1 for run in re.findall(rb"[\x80-\xff]+", raw))
    for encoding in (("gb18030",) if is_paired else ()) + ("cp1252",):
        try:
            return raw.decode(encoding), encoding
        except UnicodeDecodeError:
            continue
    return raw.decode("utf-8", errors="ignore"), "utf-8"


def find_full_width(text: str) -> Iterator[FullWidth]:
    """Yield the full-width punctuation and digits of a YAML text that are outside comments and quotes."""
    for number, line in enumerate(text.splitlines(), 1):
        quote = ""
        for column, character in enumerate(line, 1):
            if quote:
                quote = "" if character == quote else quote
            elif character in "'\"":
                quote = character
            elif character == "#" and (column == 1 or line[column - 2].isspace() or line[column - 2] in ",["):
                break
            elif ord(character) > 127:
                plain = _LOOKALIKES.get(character) or unicodedata.normalize("NFKC", character)
                if len(plain) == 1 and ord(plain) < 128 and not plain.isalpha():
                    yield FullWidth(line=number, column=column, character=character,
                                    ascii={":": ": ", ",": ", "}.get(plain, plain))


def _load(text: str) -> Any:
    if len(text) > _MAX_CHARACTERS:
        raise RefusedError(tr("it has more than {most} MiB", most=_MAX_CHARACTERS // 2**20))
    try:
        _check_events(text)
        return yaml.load(text, Loader=_LOADER)
    except yaml.YAMLError:
        raise
    except _ERRORS as error:
        raise RefusedError(tr("a value does not fit its tag ({reason})",
                              reason=f"{type(error).__name__}: {error}")) from error


@dataclass
class _Open:
    """A list or a mapping that is being read: how many values it has so far, and the keys of a mapping."""

    anchor: str | None
    is_mapping: bool
    values: int = 1
    items: int = 0  # keys and values of a mapping: the next one is a key if the number is even
    key: tuple[str, bool] | None = None
    keys: dict[tuple[str, bool], tuple[int, str | None]] = field(default_factory=dict)  # -> line, value


def _check_events(text: str) -> None:
    """Raise `RefusedError` if a text exceeds a limit. Nothing is built: the memory stays in proportion to the text."""
    opened: list[_Open] = []
    sizes: dict[str, int] = {}  # anchor -> number of values that an alias of it stands for
    events: Iterable[Any] = yaml.parse(text, Loader=_LOADER)
    for event in events:
        line: int = event.start_mark.line + 1
        if isinstance(event, (yaml.SequenceStartEvent, yaml.MappingStartEvent)):
            opened.append(_Open(event.anchor, isinstance(event, yaml.MappingStartEvent)))
            if len(opened) > _MAX_DEPTH:
                raise RefusedError(tr("line {line}: lists are nested more than {most} deep", line=line,
                                      most=_MAX_DEPTH))
            continue
        size, anchor, value = 1, None, None
        if isinstance(event, yaml.AliasEvent):
            # an alias inside the list that it names makes a list that contains itself
            size = sizes.get(str(event.anchor), _MAX_VALUES + 1 if any(one.anchor == event.anchor for one in opened) else 1)
        elif isinstance(event, yaml.ScalarEvent):
            anchor, value = event.anchor, event.value
            if event.implicit[0] and len(value) > _MAX_NUMBER and _NUMBER.match(value):
                raise RefusedError(tr("line {line}: a number of more than {most} characters", line=line,
                                      most=_MAX_NUMBER))
        elif isinstance(event, (yaml.SequenceEndEvent, yaml.MappingEndEvent)):
            ended = opened.pop()
            size, anchor = ended.values, ended.anchor
        else:
            continue
        if anchor:
            sizes[anchor] = size
        if opened:
            opened[-1].values += size
            if opened[-1].is_mapping:
                _note_item(opened[-1], event, value)
        if max(size, opened[-1].values if opened else 0) > _MAX_VALUES:
            raise RefusedError(tr("line {line}: it has more than {most:,} values, with those that aliases (*name) repeat",
                                  line=line, most=_MAX_VALUES))


def _note_item(mapping: _Open, event: Any, value: str | None) -> None:
    """Note a key or a value of a mapping; raises `RefusedError` if a key has two different values."""
    mapping.items += 1
    if mapping.items % 2:
        # `1` and `"1"` are two keys
        mapping.key = None if value is None else (value, event.implicit[0] and bool(_NUMBER.match(value)))
        return
    if mapping.key is None or mapping.key[0] == "<<":
        return
    line = event.start_mark.line + 1
    first, other = mapping.keys.setdefault(mapping.key, (line, value))
    if (first, other) != (line, value) and (value is None or value != other):
        raise RefusedError(tr("line {line}: the key '{key}' is there twice, with different values (before: line {first}). "
                              "Delete one of them", line=line, key=mapping.key[0][:60], first=first))


def _is_lossy(raw: bytes, value: Any) -> bool:
    try:
        return bool(load(raw.decode("utf-8", errors="ignore")) != value)
    except (yaml.YAMLError, RecursionError):
        return True


def _explain(text: str, problem: Exception) -> str:
    if isinstance(problem, RefusedError):
        return f"{problem}."
    tag = re.search(r"tag:yaml\.org,2002:(python/[\w./:-]*)", str(problem))
    if tag:
        return tr("it has the tag '!!{tag}', which stands for Python code. yolograft runs no code from a file.",
                  tag=tag[1][:80])
    lines = text.splitlines()
    mark = getattr(problem, "problem_mark", None)
    at = min(mark.line, len(lines) - 1) if mark is not None and lines else 0
    full_width = next(find_full_width(text), None)
    if full_width is not None:
        return f"{full_width}."
    unbalanced = _find_unbalanced(lines[:at + 1])
    if unbalanced is not None:
        return tr("line {line}, column {column}: a bracket of this row is missing or too many: {shown}", line=unbalanced + 1,
                  column=len(lines[unbalanced].partition("#")[0].rstrip()), shown=lines[unbalanced].strip()[:80])
    tab = next((number for number, line in enumerate(lines, 1) if _has_bad_tab(line)), None)
    if tab is not None:
        return tr("line {line}, column {column}: a tab. YAML allows only blanks here: replace each tab with two blanks.",
                  line=tab, column=lines[tab - 1].index("\t") + 1)
    for number in range(max(0, at - 3), min(at + 1, len(lines))):
        joined = re.match(r"\s*(?:- )?([A-Za-z_]\w*):[^\s/\\]", lines[number])
        if joined:
            return tr("line {line}, column {column}: no blank after the colon. Write '{key}: '.", line=number + 1,
                      column=joined.end(), key=joined[1])
    if mark is None:
        return " ".join(str(problem).split())
    reason = " ".join(str(getattr(problem, "problem", None) or problem).split())
    shown = lines[at].strip() if lines else ""
    return tr("line {line}, column {column}: {reason}. Compare its brackets, quotes and indentation with the lines before "
              "it: {shown}", line=mark.line + 1, column=mark.column + 1, reason=reason,
              shown=shown if len(shown) <= 80 else shown[:77] + "...")


def _find_unbalanced(lines: list[str]) -> int | None:
    """Return the first line with a whole row of a list, such as `[-1, 1, SE, [8]],`, whose brackets are not paired."""
    opens = False  # whether the line before opened the list of rows, as in `backbone:`
    for number, line in enumerate(lines):
        code = re.sub(r"'[^']*'|\"[^\"]*\"", "", line).partition("#")[0].strip()
        balance = code.count("[") - code.count("]")
        is_listed = code.startswith("- ")  # otherwise the last row may close the list of rows: `...]]`
        if re.match(r"(- )?\[.*\w", code) and balance and not (opens and balance == 1) and (
                is_listed or not code.endswith("]]")):
            return number
        opens = (code.endswith((":", "[")) or opens) if code in ("", "[") or code.endswith((":", "[")) else False
    return None


def _has_bad_tab(line: str) -> bool:
    code = line.partition("#")[0]
    return "\t" in code.rstrip() and not code.isspace()
