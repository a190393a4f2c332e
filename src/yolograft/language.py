"""The language of everything that yolograft prints: English in the code, other languages in one catalogue each.

A message is written in English where it is used, with named placeholders: `tr("No site '{site}'.", site=text)`. The file
`locale/zh.json` maps each English message to its Chinese text. `python docs/make_messages.py` lists what it lacks.
"""

from __future__ import annotations

import json
import locale
import os
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["LANGUAGES", "PUNCTUATION", "Punctuation", "pad", "requested", "speaking", "tr", "translate", "width_of",
           "wrap"]


@dataclass(frozen=True, kw_only=True)
class Punctuation:
    """How a language joins words, clauses and sentences.

    Attributes:
        items: between the items of a list, such as names of arms.
        clauses: between clauses, such as settings with their values.
        semicolon: between parts that have such separators inside.
        colon: between a name and what is said of it.
        stop: at the end of a sentence.
        space: between two sentences.
    """

    items: str
    clauses: str
    semicolon: str
    colon: str
    stop: str
    space: str


PUNCTUATION = {
    "en": Punctuation(items=", ", clauses=", ", semicolon="; ", colon=": ", stop=".", space=" "),
    "zh": Punctuation(items="、", clauses="，", semicolon="；", colon="：", stop="。", space=""),
}
LANGUAGES = tuple(PUNCTUATION)
_SPOKEN: ContextVar[str] = ContextVar("language of messages", default="")
# The order in which GNU gettext reads them; YOLOGRAFT_LANG overrides all of them.
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


@contextmanager
def speaking(language: str) -> Iterator[None]:
    """Return messages in this language inside the context, as for a page in another language than the terminal's."""
    token = _SPOKEN.set(language)
    try:
        yield
    finally:
        _SPOKEN.reset(token)


def requested() -> str:
    """Return the language of messages: that of `speaking`, else of YOLOGRAFT_LANG, else of the locale, else English."""
    if spoken := _SPOKEN.get():
        return spoken
    own = os.environ.get("YOLOGRAFT_LANG", "")
    if own:
        return _language_of(own)
    for name in _VARIABLES:
        value = os.environ.get(name, "")
        if value:
            return _language_of(value.partition(":")[0])
    return _language_of(_windows_locale()) if sys.platform == "win32" else "en"


def tr(message: str, **values: Any) -> str:
    """Return a message in the requested language, with its placeholders filled in.

    Args:
        message: the English text, a literal with placeholders as in `str.format`. Write `{{` for a brace.
        values: the value of each placeholder.
    """
    text = _catalogue(requested()).get(message, message)
    return text.format(**values)


def translate(text: str) -> str:
    """Return a text that is data, such as the first line of a block's docstring, in the requested language.

    A text that the catalogue lacks, such as one of a user's block, is returned as it is.
    """
    return _catalogue(requested()).get(text, text)


def pad(text: str, width: int, align: str = "<") -> str:
    """Return a text with spaces up to `width` columns, after it (`<`) or before it (`>`). A Chinese character takes two."""
    spaces = " " * (width - width_of(text))
    return spaces + text if align == ">" else text + spaces


def wrap(text: str, width: int = 100) -> list[str]:
    """Break a text into lines of at most `width` columns. A Chinese character takes two columns and may end a line."""
    pieces: list[str] = []  # words of Latin text with the space before them, and single Chinese characters
    for character in text:
        if pieces and not _is_wide(character) and character != " " and not _is_wide(pieces[-1][-1]):
            pieces[-1] += character
        else:
            pieces.append(character)
    lines = [""]
    for piece in pieces:
        # a full stop or a comma never starts a line
        if lines[-1] and width_of(lines[-1] + piece) > width and unicodedata.category(piece[0]) not in ("Po", "Pe", "Pf"):
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines if line.strip()]


def _language_of(name: str) -> str:
    return "zh" if name.lower().startswith(("zh", "chinese")) else "en"


def _windows_locale() -> str:
    import ctypes

    number = ctypes.windll.kernel32.GetUserDefaultUILanguage()  # type: ignore[attr-defined, unused-ignore]
    return locale.windows_locale.get(number, "")


@lru_cache
def _catalogue(language: str) -> dict[str, str]:
    if language == "en":
        return {}
    path = Path(__file__).with_name("locale") / f"{language}.json"
    found: dict[str, str] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _is_wide(character: str) -> bool:
    return unicodedata.east_asian_width(character) in ("W", "F")


def width_of(text: str) -> int:
    """Return the number of columns of a text. A Chinese character takes two."""
    return sum(2 if _is_wide(character) else 1 for character in text)
