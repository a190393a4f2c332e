"""The language of everything that yolograft prints: English in the code, other languages in one catalogue each.

A message is written in English where it is used, with named placeholders: `tr("No site '{site}'.", site=text)`. The file
`locale/zh.json` maps each English message to its Chinese text. `python docs/make_messages.py` lists what it lacks.
"""

from __future__ import annotations

import json
import locale
import os
import sys
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["LANGUAGES", "requested", "tr"]

LANGUAGES = ("en", "zh")
# The order in which GNU gettext reads them; YOLOGRAFT_LANG overrides all of them.
_VARIABLES = ("LANGUAGE", "LC_ALL", "LC_MESSAGES", "LANG")


def requested() -> str:
    """Return the language of messages: that of YOLOGRAFT_LANG, else that of the locale, else English."""
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
