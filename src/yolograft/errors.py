"""The exceptions for users' mistakes, and the "Did you mean" suggestion in their messages.

Every error that a user's input can cause is a `GraftError`. Its subclasses also inherit the matching built-in exception,
so that `except ValueError` works in code that does not import yolograft.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from difflib import SequenceMatcher, get_close_matches

from yolograft.language import tr

__all__ = ["BlockError", "DataError", "GraftError", "HostError", "SiteError", "SpecError", "errors_at_row", "nearest"]


class GraftError(Exception):
    """Base class of all errors that a user's input can cause. The message is complete without a traceback.

    Attributes:
        row: the number of the row in a model YAML that the error is about; None if it is about no single row.
    """

    row: int | None = None

    def __str__(self) -> str:  # KeyError.__str__ returns the repr of the message
        return str(self.args[0]) if self.args else ""


class SpecError(GraftError, ValueError):
    """The text of a graft cannot be parsed."""


class BlockError(GraftError, ValueError):
    """The block or the setting does not exist, or the value does not work for the block."""


class SiteError(GraftError, KeyError):
    """The site does not exist in this host, or a block cannot be attached there."""


class HostError(GraftError, RuntimeError):
    """The host model, its checkpoint or its YAML file does not support the operation."""


class DataError(GraftError, ValueError):
    """The data set is missing or broken, or it does not match its description."""


@contextmanager
def errors_at_row(number: int) -> Iterator[None]:
    """Set the attribute `row` of every `GraftError` that is raised inside."""
    try:
        yield
    except GraftError as error:
        error.row = number
        raise


def nearest(name: str, choices: Iterable[str]) -> str:
    """Return `" Did you mean 'x'?"` with the choice most similar to `name`, or `""` if no choice is similar.

    The words of both must agree, not only their letters: `CECA` is not suggested for `C2f_ECA`. `name` is never suggested.
    """
    known = {choice.lower(): choice for choice in choices if choice != name}
    matches = [match for match in get_close_matches(name.lower(), known, n=5, cutoff=0.6)
               if _have_same_words(name, known[match])]
    plain, words = _join(name), _words(name)
    matches.sort(key=lambda match: _join(match) != plain)
    if not matches and len(words) > 1:  # a word of the name is a choice: `se` for `C2f_SE`
        matches = [word for word in words if word in known and not word.isdecimal()]
    return tr(" Did you mean '{name}'?", name=known[matches[0]]) if matches else ""


def _have_same_words(name: str, choice: str) -> bool:
    words, others = _words(name), _words(choice)
    letters = [word for word in words if not word.isdecimal()]
    if not letters:
        return False  # a number is no misspelling of another
    return set(others) <= set(words) or (all(_is_in(word, choice) for word in letters) and all(
        _is_in(word, name) for word in others if not word.isdecimal()))


def _words(text: str) -> list[str]:
    """Split at punctuation and before capitals: `SE_Attention` and `SEAttention` are `se` and `attention`."""
    parted = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", text)
    return [word.lower() for word in re.split(r"[\W_]+", parted) if word]


def _join(text: str) -> str:
    return re.sub(r"[\W_]", "", text).lower()


def _is_in(word: str, text: str) -> bool:
    """Whether most letters of a word are in a text, in their order and together."""
    blocks = SequenceMatcher(None, word, _join(text), autojunk=False).get_matching_blocks()
    return sum(block.size for block in blocks) >= 0.6 * len(word)
