"""The text form of a graft, and the values that it describes.

    BLOCK[(key=value, ...)]@SITE[,SITE...] [+ BLOCK@SITE ...]        "none" is the bare host

A swap has the same form, with a module in the place of the block. This module checks the grammar only. Later modules check
that blocks, modules, settings and sites exist. It needs only the standard library.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Union

from yolograft.errors import SpecError
from yolograft.language import tr

__all__ = ["Graft", "Part", "Site", "Swap", "Value", "parse_value", "split_outside"]

Value = Union[None, bool, int, float, str, "tuple[Value, ...]"]

_NAME = re.compile(r"[A-Za-z_]\w*")
_WORD = re.compile(r"[A-Za-z_][\w.\-]*")
_SITE = re.compile(
    r"(?P<path>[\w*?.\-]+)(?:\[(?P<index>-?[0-9]{1,9})\])?(?:>(?P<readers>[0-9]{1,9}(?:&[0-9]{1,9})*)|/(?P<side>pre|skip))?"
)
_MAX_LENGTH = 50_000  # characters: a file of a stranger can have any text here
_MAX_PARTS = 500
_MAX_NUMBER = 10**400  # Python cannot write a whole number of thousands of digits
_SHOWN = 200  # characters of a text in a message
_CONSTANTS: dict[str, Value] = {"true": True, "false": False, "none": None, "null": None}
_PAIRS = {"(": ")", "[": "]"}


def _short(text: str) -> str:
    """Return a text for a message: shortened, if it is long."""
    text = text.strip()
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


_READS_SWAP: ContextVar[bool] = ContextVar("reads_swap", default=False)  # for the grammar in messages


def _grammar() -> str:
    if _READS_SWAP.get():
        return tr("Expected MODULE@SITE, as in 'dysample@Upsample', 'c3k2_faster@backbone.C3k2' or "
                  "'dysample(groups=8)@11 + spdconv@3,5'.")
    return tr("Expected BLOCK@SITE, as in 'se@8', 'se(ratio=16)@backbone.8' or 'cbam@p3,p4,p5 + se@C3k2'.")


@dataclass(frozen=True)
class Site:
    """A named place in a host: a path (a row, a class or a glob), the selected match, and the side.

    Attributes:
        path: for example `8`, `backbone.-3`, `p3`, `C3k2`, `Bottleneck.cv2` or `model.*.m.**.cv2`.
        index: the number of the selected match, as a Python index; None selects all matches.
        pre: whether the block goes on the module's input instead of its output.
        readers: the rows that read the block's result; other rows still read the row's own output (`8>9&13`). Hand-edited
            YAML files can express this.
        skip: whether the block goes only on the identity branch of a residual unit (`Bottleneck/skip`): the first layer
            inside the module reads the input without the block, everything else reads it with the block.
    """

    path: str
    index: int | None = None
    pre: bool = False
    readers: tuple[int, ...] = ()
    skip: bool = False

    @classmethod
    def parse(cls, text: str) -> Site:
        """Parse one site, such as `neck.C3k2[-1]/pre`. Raises `SpecError`."""
        match = _SITE.fullmatch(text.strip())
        if match is None:
            raise SpecError(tr("'{text}' is not a site. Expected a row (8, backbone.8, neck.-1), a head edge (p3), a class "
                               "(C3k2, C3k2[-1]), or a module path or glob (model.*.cv2), and '/pre' for the input or "
                               "'/skip' for the identity branch.", text=_short(text)))
        path, index = match["path"], match["index"]
        parts = path.split(".")
        if not all(parts) or any("**" in part and part != "**" for part in parts):
            raise SpecError(tr("'{text}' is not a site: '.' separates names, and '**' must stand alone between dots.",
                               text=_short(text)))
        parts = [str(int(part)) if re.fullmatch(r"-?[0-9]{1,9}", part) else part for part in parts]
        readers = tuple(int(reader) for reader in match["readers"].split("&")) if match["readers"] else ()
        return cls(".".join(parts), None if index is None else int(index), match["side"] == "pre", readers,
                   match["side"] == "skip")

    def __str__(self) -> str:
        index = "" if self.index is None else f"[{self.index}]"
        side = f">{'&'.join(map(str, self.readers))}" if self.readers else "/pre" * self.pre + "/skip" * self.skip
        return self.path + index + side


@dataclass(frozen=True)
class Part:
    """One block with its settings, at one or more sites. Settings are sorted by name."""

    block: str
    sites: tuple[Site, ...]
    settings: tuple[tuple[str, Value], ...] = ()

    def __str__(self) -> str:
        inner = ", ".join(f"{key}={_format(value)}" for key, value in self.settings)
        return f"{self.block}{f'({inner})' if inner else ''}@{','.join(map(str, self.sites))}"


@dataclass(frozen=True)
class Graft:
    """Blocks, their settings and their sites: an immutable value with one text form. Falsy when it is "none".

    >>> str(Graft.parse("se( ratio = 8 ) @ p3 , p4"))
    'se(ratio=8)@p3,p4'
    """

    parts: tuple[Part, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Graft:
        """Parse the text form of a graft; `str` of the result is canonical and parses back to an equal value.

        Raises:
            SpecError: the text is not a graft; the message says what was expected.
        """
        if not isinstance(text, str):
            raise SpecError(tr("A graft's text must be a string, not {kind}. {grammar}", kind=type(text).__name__,
                               grammar=_grammar()))
        if len(text) > _MAX_LENGTH:
            raise SpecError(tr("A graft's text has {count:,} characters, and at most {most:,} are read.", count=len(text),
                               most=_MAX_LENGTH))
        if text.strip().lower() == "none":
            return cls()
        if not text.strip():
            raise SpecError(tr("The graft is empty. {grammar} For the bare host, write 'none'.", grammar=_grammar()))
        pieces = split_outside(text, "+")
        if len(pieces) > _MAX_PARTS:
            raise SpecError(tr("A graft has {count:,} blocks, and at most {most} are read.", count=len(pieces),
                               most=_MAX_PARTS))
        return cls(tuple(map(_part, pieces)))

    def __str__(self) -> str:
        return " + ".join(map(str, self.parts)) or "none"

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __add__(self, other: Graft) -> Graft:
        return Graft(self.parts + other.parts)

    @classmethod
    def of(cls, what: str | Graft | Iterable[str | Graft]) -> Graft:
        """Make one graft from a text, a graft, or several of them, which apply in this order."""
        if isinstance(what, Graft):
            return what
        if isinstance(what, str):
            return cls.parse(what)
        if not isinstance(what, Iterable):
            raise SpecError(tr("A graft must be a text, a Graft or a list of them, not {kind}. {grammar}",
                               kind=type(what).__name__, grammar=_grammar()))
        return sum((cls.of(item) for item in what), cls())


@dataclass(frozen=True)
class Swap(Graft):
    """Modules, their settings and the sites whose modules they replace, in the text form of a graft.

    >>> str(Swap.parse("dysample( groups = 8 ) @ 11 , 14"))
    'dysample(groups=8)@11,14'
    """

    @classmethod
    def parse(cls, text: str) -> Swap:
        """Parse the text form of a swap. Raises `SpecError`; the message says what was expected."""
        token = _READS_SWAP.set(True)
        try:
            if isinstance(text, str) and not text.strip():
                raise SpecError(tr("The swap is empty. {grammar} For the host's own modules, write 'none'.",
                                   grammar=_grammar()))
            return cls(super().parse(text).parts)
        finally:
            _READS_SWAP.reset(token)


def _part(text: str) -> Part:
    head, at, tail = _partition_at(text)
    if not at:
        raise SpecError(tr("'{text}' names no site. {grammar}", text=_short(text), grammar=_grammar()))
    sites = tuple(Site.parse(site) for site in tail.split(","))
    repeated = sorted({str(site) for site in sites if sites.count(site) > 1})
    if repeated:
        raise SpecError(tr("'{text}' names {sites} twice. To apply a block twice, write it twice: '{one} + {one}'.",
                           text=_short(text), sites=_short(", ".join(repeated)),
                             one=_short(f"{head.strip()}@{repeated[0]}")))
    name, paren, inner = head.strip().partition("(")
    if not _NAME.fullmatch(name.strip()):
        raise SpecError(tr("'{name}' in '{text}' is not a block's name. {grammar}", name=_short(name), text=_short(text),
                           grammar=_grammar()))
    if paren and not inner.endswith(")"):
        raise SpecError(tr("'{text}' lacks its closing parenthesis. {grammar}", text=_short(head), grammar=_grammar()))
    return Part(name.strip(), sites, _settings(inner[:-1]) if paren else ())


def _partition_at(text: str) -> tuple[str, str, str]:
    pieces = split_outside(text, "@")
    if len(pieces) > 2:
        raise SpecError(tr("'{text}' has more than one '@'. {grammar} Join several grafts with ' + '.", text=_short(text),
                           grammar=_grammar()))
    return pieces[0], "@" if len(pieces) == 2 else "", pieces[1] if len(pieces) == 2 else ""


def _settings(text: str) -> tuple[tuple[str, Value], ...]:
    found: dict[str, Value] = {}
    for item in split_outside(text, ",") if text.strip() else []:
        key, equals, value = item.partition("=")
        if not equals or not _NAME.fullmatch(key.strip()):
            raise SpecError(tr("'{text}' is not a setting. Expected key=value, as in 'se(ratio=16)'.", text=_short(item)))
        if key.strip() in found:
            raise SpecError(tr("The setting '{key}' is given twice.", key=_short(key)))
        found[key.strip()] = parse_value(value.strip())
    return tuple(sorted(found.items()))


def parse_value(text: str) -> Value:
    """Parse the value of one setting: a word, True, False, None, a number, a quoted text or a list. Raises `SpecError`."""
    if text.lower() in _CONSTANTS:
        return _CONSTANTS[text.lower()]
    if _WORD.fullmatch(text):
        return text
    try:
        return _to_value(ast.literal_eval(text))
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        raise SpecError(tr("'{text}' is not a value. Expected a number, a word, True, False, None, a 'quoted text' or a "
                           "list such as [3,5].", text=_short(text))) from None


def _to_value(value: object) -> Value:
    if isinstance(value, (list, tuple)):
        return tuple(_to_value(item) for item in value)
    finite = not isinstance(value, (int, float)) or (value - value == 0 and -_MAX_NUMBER < value < _MAX_NUMBER)
    if not isinstance(value, (type(None), bool, int, float, str)) or not finite:
        raise ValueError(value)
    return value


def _format(value: Value) -> str:
    if isinstance(value, tuple):
        return f"[{','.join(map(_format_literal, value))}]"
    if isinstance(value, str) and _WORD.fullmatch(value) and value.lower() not in _CONSTANTS:
        return value
    return repr(value)


def _format_literal(value: Value) -> str:
    return _format(value) if isinstance(value, tuple) else repr(value)


def split_outside(text: str, separator: str) -> list[str]:
    """Split at the separators that are outside parentheses, brackets and quotes. Raises `SpecError`."""
    pieces, closers, quote, escaped, start = [], [""], "", False, 0
    for at, char in enumerate(text):
        if quote:
            quote, escaped = ("" if char == quote and not escaped else quote), char == "\\" and not escaped
        elif char in "'\"":
            quote = char
        elif char in _PAIRS:
            closers.append(_PAIRS[char])
        elif char in _PAIRS.values():
            if char != closers.pop():
                raise SpecError(tr("'{text}' has a '{char}' without an opening one. {grammar}", text=_short(text), char=char,
                                   grammar=_grammar()))
        elif char == separator and len(closers) == 1:
            pieces.append(text[start:at])
            start = at + 1
    if quote or len(closers) > 1:
        closer = quote or closers[-1]
        raise SpecError(tr("'{text}' lacks a closing {char}. {grammar}", text=_short(text), char=closer, grammar=_grammar()))
    return [*pieces, text[start:]]
