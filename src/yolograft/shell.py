"""Commands in messages, written so that they work when they are pasted into a shell."""

from __future__ import annotations

import shlex
import subprocess
import sys

__all__ = ["command"]


def command(*words: object) -> str:
    """Return `yolograft WORDS` as one line for this system's shell, with quotes where a word needs them.

    >>> command("study", "arms=none; se@8")
    "yolograft study 'arms=none; se@8'"
    """
    texts = [str(word) for word in words]
    return "yolograft " + (subprocess.list2cmdline(texts) if sys.platform == "win32" else shlex.join(texts))
