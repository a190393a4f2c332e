"""The errors that users meet, and how a message finds the nearest thing that would have worked.

Every error that a user's input can cause is a `GraftError`; its children also inherit the built-in exception
that fits, so that `except ValueError` goes on working in code that does not know yolograft.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

__all__ = ["BlockError", "DataError", "GraftError", "HostError", "SiteError", "SpecError", "nearest"]


class GraftError(Exception):
    """Base of every error that a user's input can cause; its message is meant to be read as it is."""

    def __str__(self) -> str:  # KeyError would show the message's repr
        return str(self.args[0]) if self.args else ""


class SpecError(GraftError, ValueError):
    """A graft's text does not parse."""


class BlockError(GraftError, ValueError):
    """No such block, no such setting, or a value that the block cannot take."""


class SiteError(GraftError, KeyError):
    """A site names nothing in this host, or a place where the block cannot go."""


class HostError(GraftError, RuntimeError):
    """The host model, its checkpoint or its YAML cannot do what was asked."""


class DataError(GraftError, ValueError):
    """A data set is missing, broken, or not what its description says."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` for the choice nearest to `name`, or `""` when none is near."""
    known = {choice.lower(): choice for choice in choices}
    match = get_close_matches(name.lower(), known, n=1, cutoff=0.6)
    return f" Did you mean '{known[match[0]]}'?" if match else ""
