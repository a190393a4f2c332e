"""Commands and URLs in messages: commands that work when they are pasted into a shell, and URLs without their passwords."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from urllib.parse import unquote

__all__ = ["command", "hide_password", "hide_secrets"]

_HIDDEN = "***"
# Up to the last @: a password may have one that is not encoded. A URL can also lack its `postgresql://`.
_USER = re.compile(r"((?:://|^(?![\w+.-]*://))[^:@/?#]*:)(.*)(@)", re.DOTALL)
_QUERY = re.compile(r"([?&;]\s*)([^=&;?]*)=([^&;]*)")
_WORD = re.compile(r"(?i)(\w*(?:pass|pwd|secret|token)\w*\s*=\s*)('[^']*'|[^\s&;]+)")  # as in libpq's `password=...`
# keys of a query whose value is no secret; any other value is hidden
_PLAIN = {"charset", "sslmode", "ssl_mode", "connect_timeout", "timeout", "application_name", "host", "port", "mode", "uri"}


def command(*words: object) -> str:
    """Return `yolograft WORDS` as one line for this system's shell, with quotes where a word needs them.

    >>> command("study", "arms=none; se@8")
    "yolograft study 'arms=none; se@8'"
    """
    texts = [str(word) for word in words]
    return "yolograft " + (subprocess.list2cmdline(texts) if sys.platform == "win32" else shlex.join(texts))


def hide_password(url: str) -> str:
    """Return the URL of a data base for messages, with *** for its password, also if it is no correct URL.

    The password is in the user part or in the query. Of the query only the values of a few harmless keys are shown.

    >>> hide_password("postgresql://me:hunter2@host/db?sslmode=require&password=hunter2")
    'postgresql://me:***@host/db?sslmode=require&password=***'
    """
    return _hide(url)[0]


def hide_secrets(text: str, url: str) -> str:
    """Return a text, such as the error of a driver, without the URL's password: as it is in the URL, and decoded.

    >>> hide_secrets("no user me with hunter@2", "postgresql://me:hunter%402@host/db")
    'no user me with ***'
    """
    hidden, secrets = _hide(url)
    text = text.replace(url, hidden)
    for secret in sorted({*secrets, *map(unquote, secrets)}, key=len, reverse=True):
        # a short password can be part of a word, which stays
        pattern = re.escape(secret) if len(secret) > 3 else rf"(?<!\w){re.escape(secret)}(?!\w)"
        text = re.sub(pattern, _HIDDEN, text)
    return text


def _hide(url: str) -> tuple[str, list[str]]:
    """Return a URL without its secrets, and the secrets."""
    secrets: list[str] = []

    def value(match: re.Match[str]) -> str:
        if match[2].strip().lower() in _PLAIN:
            return match[0]
        secrets.append(match[3])
        return f"{match[1]}{match[2]}={_HIDDEN}"

    def word(match: re.Match[str]) -> str:
        secrets.append(match[2].strip("'"))
        return match[1] + _HIDDEN

    def user(match: re.Match[str]) -> str:
        secrets.append(match[2])
        return match[1] + _HIDDEN + match[3]

    shown = _WORD.sub(word, _QUERY.sub(value, _USER.sub(user, url)))
    return shown, [secret for secret in secrets if secret not in ("", _HIDDEN)]
