"""A linter for hand-edited model YAML files: what the edit broke, row by row, why, and the mend.

Most such files are a stock one with rows inserted. So the file is laid beside the stock YAML that it came from, row by
row, and every reference that leads to another row than the stock file's is named, whatever numbers it is written in.
What holds for any file (numbers of rows that exist, known modules, one stride where maps are joined) is checked as well,
also in rows that cannot be read as a graft.

What this relies on in Ultralytics (8.3.0 to 8.4.x): the package ships its model YAML files under `cfg/models`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from ultralytics.nn import tasks
from ultralytics.utils import ROOT

from yolograft import blocks
from yolograft.errors import GraftError, HostError, nearest
from yolograft.host import config
from yolograft.host.arguments import SQUEEZE, block_of, settle
from yolograft.host.layout import IMAGE, Row, channels, is_stock, row, scales, sections, shown, strides, widths

__all__ = ["Finding", "lint", "text"]

_ALIKE = 0.8  # share of a stock file's rows that a file must have, in order, to come from it


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong, or looks it.

    Attributes:
        row: its number in the file, or None for the file as a whole.
        severity: `error`, or `warning` for what may be meant.
        what: is wrong.
        why: it is so.
        mend: what to write instead.
    """

    row: int | None
    severity: str
    what: str
    why: str
    mend: str


def lint(path: str | Path) -> tuple[Finding, ...]:
    """Return what is wrong with a model YAML file, in the order of its rows; empty for a sound one.

    Raises:
        HostError: no such file, or it is no model YAML at all.
    """
    cfg = config.load(path)
    found: list[Finding] = []
    every: list[Row] = []
    for number, part, raw in sections(cfg):
        try:
            every.append(row(number, part, raw))
        except HostError as error:
            found.append(Finding(row=number, severity="error", what="is no row that can be read", why=str(error),
                                 mend="write [from, repeats, module, args], as in [-1, 1, Conv, [64, 3, 2]]"))
    if found:  # without all rows no number means anything
        return tuple(found)
    file = _File(cfg, every)
    found = [*file.modules(), *file.references(), *file.origins(), *file.plain(), *file.strides(), *file.widths(),
             *file.unread()]
    return tuple(sorted(dict.fromkeys(found), key=lambda one: (one.row is None, one.row)))


def text(path: str | Path, findings: Iterable[Finding]) -> str:
    """Return findings as lines to read."""
    listed = list(findings)
    if not listed:
        return f"{path}: nothing wrong found"
    lines = []
    for one in listed:
        where = f"row {one.row}" if one.row is not None else "the file"
        lines += [f"{path}: {one.severity}: {where} {one.what}", f"    why:  {one.why}", f"    mend: {one.mend}"]
    errors = sum(one.severity == "error" for one in listed)
    return "\n".join([*lines, f"{errors} error{'s' * (errors != 1)}, {len(listed) - errors} "
                              f"warning{'s' * (len(listed) - errors != 1)}"])


@cache
def _shipped() -> tuple[tuple[str, tuple[Row, ...]], ...]:
    """Return the stock files' names and rows."""
    found = []
    for path in sorted((ROOT / "cfg" / "models").rglob("*.yaml")):
        cfg = yaml.safe_load(path.read_text(encoding="utf-8"))
        found.append((path.name, tuple(row(*one) for one in sections(cfg))))
    return tuple(found)


class _File:
    """The rows of one file, those of the stock file it came from, and which is which."""

    def __init__(self, cfg: dict[str, Any], every: list[Row]) -> None:
        self.cfg, self.every = cfg, every
        self.blocks = {one.number: block for one in every if (block := block_of(one.module)) is not None}
        self.hosts = [one for one in every if one.number not in self.blocks]
        self.stock_name, self.stock = self._came_from()
        self.to_stock = self._aligned()
        self.to_file = {theirs: ours for ours, theirs in self.to_stock.items()}

    def _came_from(self) -> tuple[str, tuple[Row, ...]]:
        mine = [one.module for one in self.hosts]
        best: tuple[tuple[float, int], str, tuple[Row, ...]] = ((_ALIKE, 0), "", ())
        for name, theirs in _shipped():
            matcher = SequenceMatcher(None, mine, [one.module for one in theirs], autojunk=False)
            if matcher.real_quick_ratio() < best[0][0]:
                continue
            alike = sum(block.size for block in matcher.get_matching_blocks()) / len(theirs)
            share = min(alike, matcher.ratio())
            same = sum((a.repeats, list(a.args), a.sources) == (b.repeats, list(b.args), b.sources)
                       for a, b in zip(self.hosts, theirs, strict=False))
            if (share, same) > best[0]:
                best = ((share, same), name, theirs)
        return best[1], best[2]

    def _aligned(self) -> dict[int, int]:
        """Return the file's number -> the stock number, for the rows that are the stock file's."""
        mine, theirs = [one.module for one in self.hosts], [one.module for one in self.stock]
        found: dict[int, int] = {}
        for tag, a0, a1, b0, b1 in SequenceMatcher(None, mine, theirs, autojunk=False).get_opcodes():
            if tag == "equal" or (tag == "replace" and a1 - a0 == b1 - b0):  # a row exchanged for another stays in place
                found |= {self.hosts[a].number: b for a, b in zip(range(a0, a1), range(b0, b1), strict=True)}
        return found

    def origin(self, number: int) -> int:
        """Return the host row whose map an index stands for, through the attention rows on it."""
        seen = set()
        while number in self.blocks and number not in seen:
            seen.add(number)
            target = self.every[number].target(self.every[number].sources[0])
            if target is None:
                return number
            number = target
        return number

    def latest(self, number: int, reader: int) -> int:
        """Return the last attention row that stands right behind a host row, or the row itself."""
        while number + 1 in self.blocks and number + 1 < reader and self.origin(number + 1) == self.origin(number):
            number += 1
        return number

    def modules(self) -> Iterator[Finding]:
        """Modules that neither Ultralytics nor the registry knows, and blocks' arguments that make no sense."""
        wide = widths(self.every, self.cfg, frozenset(self.blocks))
        known = [name for name, item in vars(tasks).items() if isinstance(item, type) and is_stock(name)]
        for one in self.every:
            if one.number in self.blocks:
                try:
                    settle(one, self.blocks[one.number], wide[one.number])
                except GraftError as error:
                    yield Finding(row=one.number, severity="error", why=str(error),
                                  what=f"has arguments that '{self.blocks[one.number]}' cannot take",
                                  mend=f"[{shown(one.sources[0])}, {shown(one.repeats)}, {one.module}, []]")
            elif not is_stock(one.module):
                yield Finding(row=one.number, severity="error", what=f"names the module '{one.module}'",
                              why=f"neither the installed Ultralytics nor yolograft has one of that name."
                                  f"{nearest(one.module, [*known, *blocks.names()])}",
                              mend="correct the name, or register a block of that name (blocks=my_blocks.py)")

    def references(self) -> Iterator[Finding]:
        """Numbers that name no earlier row."""
        for one in self.every:
            for at, source in enumerate(one.sources):
                if one.target(source) is not None:
                    continue
                kind = "itself" if source == one.number else "no earlier row"
                expected = self._expected(one, at)
                mend = self._mended(one, at, expected) if expected is not None else \
                    f"name one of rows 0 to {one.number - 1}" if one.number else "row 0 reads the image: -1"
                yield Finding(row=one.number, severity="error", what=f"reads {source}, which is {kind}",
                              why=f"{one}: `from` names rows before this one", mend=mend)

    def origins(self) -> Iterator[Finding]:
        """References that lead to another row than in the stock file."""
        for one in self.every:
            theirs = self.to_stock.get(one.number)
            if theirs is None or len(self.stock[theirs].sources) != len(one.sources):
                continue
            for at, source in enumerate(one.sources):
                target, expected = one.target(source), self._expected(one, at)
                if target is None or expected is None or target == IMAGE:
                    continue
                origin = self.origin(target)
                if origin == self.origin(expected) or origin not in self.to_stock:
                    continue  # as in the stock file, or a row that the author added
                stock = self.stock[theirs]
                was = stock.target(stock.sources[at])
                inserted = sum(number < one.number for number in range(len(self.every)) if number not in self.to_stock)
                unshifted = source >= 0 and was is not None and was <= source <= was + inserted
                kinds = f"{self.every[origin].kind} (row {self.to_stock[origin]} of {self.stock_name})"
                why = f"the stock row reads row {was}, {self.stock[was].kind}; " if was is not None and was >= 0 else ""
                why += f"here {source} leads to {kinds}"
                if unshifted and inserted:
                    why += f", because {inserted} inserted row{'s' * (inserted > 1)} above moved the numbers and this stayed"
                severity = "error" if unshifted or self._stride(origin) != self._stride(expected) else "warning"
                yield Finding(row=one.number, severity=severity, what=f"reads row {target} as its input {at + 1}", why=why,
                              mend=self._mended(one, at, expected))

    def plain(self) -> Iterator[Finding]:
        """References to a map before the attention right behind it: a wiring that is kept, but often a number left over."""
        for one in self.every:
            for at, source in enumerate(one.sources):
                target = one.target(source)
                if one.number in self.blocks or target is None or target == IMAGE or target in self.blocks:
                    continue
                behind = self.latest(target, one.number)
                if behind != target and self._expected(one, at) == behind:
                    yield Finding(row=one.number, severity="warning", what=f"reads row {target} before the attention on it",
                                  why=f"row {behind}, {self.every[behind].kind}, stands right behind row {target}, and this "
                                      "row goes on reading the plain map", mend="if that is not meant: "
                                  + self._mended(one, at, behind))

    def _expected(self, one: Row, at: int) -> int | None:
        """Return the file's number of what the stock file's row reads there, attention behind it included."""
        theirs = self.to_stock.get(one.number)
        if theirs is None or at >= len(self.stock[theirs].sources):
            return None
        was = self.stock[theirs].target(self.stock[theirs].sources[at])
        if was is None or was not in self.to_file:
            return None
        found = self.latest(self.to_file[was], one.number)
        return found if found < one.number else None

    def _mended(self, one: Row, at: int, expected: int) -> str:
        sources = list(one.sources)
        sources[at] = -1 if expected == one.number - 1 and sources[at] < 0 else expected
        # the other inputs may be wrong as well: one line mends the row
        for other in range(len(sources)):
            right = self._expected(one, other)
            target = one.target(sources[other])
            if other != at and right is not None and (target is None or self.origin(target) != self.origin(right)):
                sources[other] = right
        return f"[{shown(sources if one.several else sources[0])}, {shown(one.repeats)}, {one.module}, {shown(one.args)}]"

    def _stride(self, number: int) -> Any:
        return strides(self.every, frozenset(self.blocks))[number]

    def strides(self) -> Iterator[Finding]:
        """Maps of different sizes joined in one row, and a head that reads one stride twice."""
        steps = strides(self.every, frozenset(self.blocks))
        for one in self.every:
            targets = [one.target(source) for source in one.sources]
            if len(targets) < 2 or any(target is None or target == IMAGE for target in targets):
                continue
            read = [(target, steps[target]) for target in targets if target is not None]
            if any(step is None for _, step in read):
                continue
            told = ", ".join(f"row {target} has stride {step}" for target, step in read)
            mend = self._whole(one)
            if one.module in ("Concat", "CBFuse") and len({step for _, step in read}) > 1 and one.module == "Concat":
                yield Finding(row=one.number, severity="error", what="joins maps of different sizes", why=told, mend=mend)
            elif one is self.every[-1] and len({step for _, step in read}) < len(read):
                yield Finding(row=one.number, severity="error", what="is a head that reads one stride twice", why=told,
                              mend=mend)

    def _whole(self, one: Row) -> str:
        expected = [self._expected(one, at) for at in range(len(one.sources))]
        if any(right is None for right in expected):
            return "let `from` name maps of the same stride"
        sources = [source if (target := one.target(source)) is not None and self.origin(target) == self.origin(right or 0)
                   else right for source, right in zip(one.sources, expected, strict=True)]
        return f"[{shown(sources)}, {shown(one.repeats)}, {one.module}, {shown(one.args)}]"

    def widths(self) -> Iterator[Finding]:
        """Attention rows whose channels are those of another scale, or of none."""
        passing = frozenset(self.blocks)
        try:
            used, *_ = scales(self.cfg)
        except HostError as error:
            yield Finding(row=None, severity="error", what="has scales that make no sense", why=str(error),
                          mend="scales: {n: [depth, width, max_channels], ...}")
            return
        here, wide = channels(self.every, used, passing), widths(self.every, self.cfg, passing)
        for number in self.blocks:
            one = self.every[number]
            given = one.args[0] if one.args else None
            actual, known = here[number], wide[number]
            if isinstance(given, bool) or not isinstance(given, int) or actual is None or given == actual:
                continue
            scale = f" at scale {used.name}" if used.name else ""
            if one.module == SQUEEZE:
                yield Finding(row=number, severity="error", what=f"says {given} channels",
                              why=f"the row it follows has {actual}{scale}, and Ultralytics takes this module's numbers "
                                  "literally: the model would not run", mend=f"[{one.sources[0]}, 1, SE, []] reads the "
                              f"channels off the host; with Ultralytics alone, [{actual}, {max(1, actual // 16)}]")
            elif given >= 64 and given not in known:
                yield Finding(row=number, severity="warning", what=f"says {given} channels",
                              why=f"the row it follows has {actual}{scale}, and {given} at no scale; a fork that takes the "
                                  "number literally would not run", mend=f"[{one.sources[0]}, {shown(one.repeats)}, "
                              f"{one.module}, []]: the channels are read off the host")

    def unread(self) -> Iterator[Finding]:
        """Attention rows whose result nobody reads."""
        read = {target for one in self.every for source in one.sources if (target := one.target(source)) is not None}
        for number in self.blocks:
            if number not in read and number != len(self.every) - 1:
                yield Finding(row=number, severity="error", what="is read by no row, so it does nothing",
                              why=f"{self.every[number]}: a later row that should read it names another number",
                              mend=f"let the row that needs it read {number}, or -1 right behind it")
        if self.every[-1].number in self.blocks:
            yield Finding(row=self.every[-1].number, severity="error", what="is the last row",
                          why="the model's output would be this block's, and the head must be last", mend="move it up")
