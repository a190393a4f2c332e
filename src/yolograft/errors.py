"""The exceptions for users' mistakes, and the "Did you mean" suggestion in their messages.

Every error that a user's input can cause is a `GraftError`. Its subclasses also inherit the matching built-in exception,
so that `except ValueError` works in code that does not import yolograft.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

from yolograft.language import tr

__all__ = ["BlockError", "DataError", "GraftError", "HostError", "ModuleError", "SiteError", "SpecError", "nearest"]


class GraftError(Exception):
    """Base class of all errors that a user's input can cause. The message is complete without a traceback."""

    def __str__(self) -> str:  # KeyError.__str__ returns the repr of the message
        return str(self.args[0]) if self.args else ""


class SpecError(GraftError, ValueError):
    """The text of a graft cannot be parsed."""


class BlockError(GraftError, ValueError):
    """The block or the setting does not exist, or the value does not work for the block."""


class ModuleError(GraftError, ValueError):
    """The module of a row does not exist, or an argument does not work for it."""


class SiteError(GraftError, KeyError):
    """The site does not exist in this host, or a block cannot be attached there."""


class HostError(GraftError, RuntimeError):
    """The host model, its checkpoint or its YAML file does not support the operation."""


class DataError(GraftError, ValueError):
    """The data set is missing or broken, or it does not match its description."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` with the choice most similar to `name`, or `""` if no choice is similar."""
    known = {choice.lower(): choice for choice in choices}
    match = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return tr(" Did you mean '{name}'?", name=known[match[0]]) if match else ""
