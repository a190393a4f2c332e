"""What a command is for its help page and for the check of its arguments: one description serves both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yolograft.cli.arguments import parse_pairs, with_defaults
from yolograft.language import tr, wrap

__all__ = ["Argument", "Command", "Stock"]

_MARK = 26  # the column in which the meaning of an argument starts


@dataclass(frozen=True)
class Argument:
    """One `key=value` argument of a command.

    Attributes:
        name: the key.
        default: its default as text; "" if the argument is absent by default.
        meaning: one line for the help page.
    """

    name: str
    default: str
    meaning: str


@dataclass(frozen=True)
class Stock:
    """Arguments of Ultralytics that a command accepts as well: a heading and the arguments below it."""

    heading: str
    arguments: Sequence[Argument]


@dataclass(frozen=True, kw_only=True)
class Command:
    """One command of the command line.

    Attributes:
        name: as it is typed after `yolograft`, such as `sites` or `data voc`.
        summary: what it does, in one line.
        usage: what follows the name, such as `model=MODEL [key=value ...]`.
        arguments: every key of its own, with its default.
        example: a complete command line.
        more: arguments of Ultralytics that the command accepts as well.
        notes: paragraphs at the end of the help page.
    """

    name: str
    summary: str
    usage: str
    arguments: Sequence[Argument]
    example: str
    more: Sequence[Stock] = ()
    notes: Sequence[str] = ()

    def defaults(self) -> dict[str, str]:
        """Return each key of the command with its default, as `with_defaults` takes them."""
        return {argument.name: argument.default for argument in self.arguments}

    def read(self, words: Iterable[str]) -> dict[str, str]:
        """Parse the command's `key=value` words and add the defaults.

        Raises:
            UsageError: a key is not one of the command's.
        """
        return with_defaults(self.name, parse_pairs(words), self.defaults())

    def help(self) -> str:
        """Return the help page."""
        lines = [f"yolograft {self.name}: {self.summary}", "", tr("Usage: {usage}",
                                                                  usage=f"yolograft {self.name} {self.usage}")]
        if self.arguments:
            lines += ["", tr("Arguments, with their defaults:"), *_listed(self.arguments)]
        for stock in self.more:
            lines += ["", *wrap(stock.heading), *_listed(stock.arguments)]
        for note in self.notes:
            lines += ["", *wrap(note)]
        lines += ["", tr("Example:"), f"  {self.example}"]
        return "\n".join(line.rstrip() for line in lines)


def _listed(arguments: Sequence[Argument]) -> list[str]:
    lines = []
    for argument in arguments:
        key = f"  {argument.name}={argument.default}"
        meaning = wrap(argument.meaning, 100 - _MARK) or [""]
        if len(key) + 2 > _MARK:
            lines.append(key)
            key = ""
        lines += [f"{key:<{_MARK}}{meaning[0]}", *(f"{'':<{_MARK}}{line}" for line in meaning[1:])]
    return lines
