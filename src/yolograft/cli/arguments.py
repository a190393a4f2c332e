"""Reading of `key=value` arguments, shared by all commands. Standard library only, so that the help starts fast."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from yolograft.errors import GraftError, nearest

__all__ = ["UsageError", "parse_bool", "parse_pairs", "parse_positive_int", "parse_seed", "with_defaults"]


class UsageError(GraftError, ValueError):
    """The command line has an unknown command or argument, a missing one, or a value that cannot be read."""


def parse_pairs(words: Iterable[str]) -> dict[str, str]:
    """Parse `key=value` words as `yolo` does: spaces around '=' are allowed, and a key without a value means True.

    Raises:
        UsageError: a word ends with '='.
    """
    joined: list[str] = []
    for word in words:
        if joined and (word.startswith("=") or joined[-1].endswith("=")):
            joined[-1] += word
        else:
            joined.append(word)
    pairs: dict[str, str] = {}
    for word in joined:
        key, equals, value = word.removeprefix("--").partition("=")
        if equals and not value:
            raise UsageError(f"'{word}' has no value. Expected key=value.")
        pairs[key.strip()] = value.strip().rstrip(",") if equals else "True"
    return pairs


def with_defaults(command: str, pairs: Mapping[str, str], defaults: Mapping[str, str]) -> dict[str, str]:
    """Check the keys of `pairs` and add the defaults of the absent ones.

    Args:
        command: its name, for the message.
        pairs: the arguments from the command line.
        defaults: every key of the command with its default; a key with the default "" stays absent.

    Raises:
        UsageError: the command has no such key.
    """
    for key in pairs:
        if key not in defaults:
            listed = ", ".join(f"{name}={value}" for name, value in defaults.items())
            raise UsageError(f"'{key}' is no argument of '{command}'.{nearest(key, defaults)} It takes: {listed}")
    return {**{key: value for key, value in defaults.items() if value}, **pairs}


def parse_positive_int(key: str, text: str) -> int:
    """Parse a whole number of at least 1.

    Raises:
        UsageError: the text is not such a number.
    """
    if not text.isdecimal() or not int(text):
        raise UsageError(f"{key}={text} is not a positive whole number.")
    return int(text)


def parse_seed(text: str) -> int:
    """Parse a seed: a whole number of at least 0.

    Raises:
        UsageError: the text is not such a number.
    """
    if not text.isdecimal():
        raise UsageError(f"seed={text} is not a whole number of at least 0.")
    return int(text)


def parse_bool(key: str, text: str) -> bool:
    """Parse True, False, 1 or 0, in upper or lower case.

    Raises:
        UsageError: the text is something else.
    """
    if text.lower() not in ("true", "false", "1", "0"):
        raise UsageError(f"{key}={text}: expected True or False.")
    return text.lower() in ("true", "1")
