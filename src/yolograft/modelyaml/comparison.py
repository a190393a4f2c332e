"""Checks a hand-edited model YAML: each finding has its row, the reason and the fix.

The file is compared with the packaged YAML that it came from (`stock_match`): which stock row each `from` meant, where that
row stands now, and whether the file still says so. Structure that no packaged file explains is checked against the rules
that hold for every model: references point backwards, the maps of a Concat have equal strides, modules are known.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import yaml

from yolograft import blocks
from yolograft.errors import GraftError, HostError, nearest
from yolograft.modelyaml import catalog, load, reader, stock_match
from yolograft.modelyaml import table as layout
from yolograft.modelyaml.signatures import SQUEEZE, block_of, settle
from yolograft.modelyaml.table import IMAGE, Row, shown

__all__ = ["Finding", "Report", "examine", "lint"]

_HUGE = 10**6  # bytes; the largest packaged YAML has 4,000
_MOST = 1000  # rows; the largest packaged YAML has 80


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong.

    Attributes:
        row: the row's number in the file; None for the file as a whole.
        severity: `error` (the model is not what the edit meant, or cannot be built) or `warning` (it may be meant).
        what: the row as it stands, and what is wrong with it.
        why: the reason.
        mend: what to write instead.
    """

    row: int | None
    severity: str
    what: str
    why: str
    mend: str

    def __str__(self) -> str:
        return f"{self.severity}: {self.what}\n    why:  {self.why}\n    mend: {self.mend}"


@dataclass(frozen=True, kw_only=True)
class Report:
    """The findings of one file, in the order of its rows, and what it was compared with, in words."""

    path: str
    compared: str
    findings: tuple[Finding, ...]

    @property
    def errors(self) -> int:
        """How many findings are errors."""
        return sum(one.severity == "error" for one in self.findings)

    def __str__(self) -> str:
        warnings = len(self.findings) - self.errors
        count = ", ".join([f"{n} {word}{'s' * (n > 1)}" for n, word in ((self.errors, "error"), (warnings, "warning")) if n])
        return "\n".join([f"{self.path}: {count or 'nothing wrong'} ({self.compared})", *map(str, self.findings)])


def lint(path: str | Path) -> tuple[Finding, ...]:
    """Return what is wrong in a model YAML, in the order of its rows; empty for a file that is as it should be.

    >>> lint("yolo11-se.yaml")
    ()

    Raises:
        HostError: there is no such file, or nothing in it that could be a model.
    """
    return examine(path).findings


def examine(path: str | Path) -> Report:
    """Return `lint(path)` with what the file was compared with; raises as `lint` does."""
    return _examined(_load(path), path)


def _examined(cfg: dict[str, Any], path: str | Path) -> Report:
    """Examine a YAML dict that was loaded; `path` is its file's name, which says the scale, and need not exist."""
    raws = layout.sections(cfg)
    if len(raws) > _MOST:
        raise HostError(f"{path} has {len(raws):,} rows: more than {_MOST} are no model.")
    findings: list[Finding] = []
    every: list[Row] = []
    for number, part, raw in raws:
        try:
            every.append(layout.row(number, part, raw))
        except HostError as error:
            findings.append(Finding(
                row=number, severity="error", what=str(error), why="Ultralytics unpacks four values from each row.",
                mend="Write the row as [from, repeats, module, args], such as [-1, 1, SE, [1024]]."))
    try:
        scale = layout.scales(cfg)[0]
    except HostError as error:
        raise HostError(f"{path}: {error}") from error
    findings += _file_findings(path, cfg)
    if len(every) < len(raws):
        return Report(path=str(path), compared="broken rows: mend these first", findings=_sorted(findings))
    check = _Check(cfg, every, Path(path).stem, scale)
    findings += check.findings()
    if not any(one.severity == "error" for one in findings):
        findings += _refused(cfg)
    if check.origin and "scales" in check.origin.cfg and not {"scales", "depth_multiple", "width_multiple"} & set(cfg):
        findings.append(Finding(
            row=None, severity="warning", what="The file has no `scales`.",
            why=f"Without them every row has its full width and depth: far more than any scale of {check.origin.name}.",
            mend=f"Copy the `scales` of {check.origin.name}."))
    return Report(path=str(path), compared=check.compared(cfg), findings=_sorted(findings))


def _sorted(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda one: -1 if one.row is None else one.row))


def _load(path: str | Path) -> dict[str, Any]:
    """Read one file as it stands, with the scale that its name says; a name of a packaged model does as well."""
    file = Path(path)
    if file.is_dir():
        raise HostError(f"{path} is a folder. Name the model YAML files in it.")
    try:
        if not file.is_file():
            unscaled = file.with_name(re.sub(r"(\d+)[nslmx](?=\D)", r"\1", file.name))
            if not unscaled.is_file():
                return load.load(path)
            file = unscaled
        if file.stat().st_size > _HUGE:
            raise HostError(f"{path} has more than {_HUGE:,} bytes: no model YAML.")
        cfg = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        where = " ".join(str(error).split())
        raise HostError(f"{path} cannot be read as YAML: {where}") from error
    if not isinstance(cfg, dict):
        raise HostError(f"{path} is no model YAML: expected a mapping with `backbone` and `head`.")
    cfg = load.unmarked(cfg)
    scale = catalog.guess_scale(path) or cfg.pop(load.SCALE_KEY, "")
    table = cfg.get("scales")
    return {**cfg, "scale": scale if isinstance(table, dict) and scale in table else ""}  # a `scale` in the file is ignored


def _refused(cfg: dict[str, Any]) -> Iterator[Finding]:
    try:
        reader.read(cfg)
    except GraftError as error:
        number = re.match(r"row (\d+)", str(error))
        yield Finding(row=int(number[1]) if number else None, severity="error", what=str(error),
                      why="The rows cannot be read as a host and a graft.", mend="See the message.")


def _file_findings(path: str | Path, cfg: dict[str, Any]) -> Iterator[Finding]:
    name = Path(path)
    table = cfg.get("scales")
    if "nc" not in cfg:
        yield Finding(row=None, severity="error", what="The file has no `nc`.",
                      why="Ultralytics reads the number of classes there, even where the data set overrides it.",
                      mend="Add a line: nc: 80")
    if not isinstance(table, dict) or len(table) < 2:
        return
    scale, names = catalog.guess_scale(name), "".join(map(str, table))
    if scale and scale not in table:
        yield Finding(row=None, severity="error", what=f"The name '{name.name}' says scale {scale}.",
                      why=f"The file's `scales` are {', '.join(map(str, table))}; Ultralytics stops at any other.",
                      mend=f"Rename the file, or add the scale: {scale}: [depth, width, max_channels].")
    elif not scale and not re.search(r"yolo(e-)?v?\d+(?![0-9nslmx])", name.stem):
        yield Finding(row=None, severity="warning", what=f"No scale can be chosen by the name '{name.name}'.",
                      why=f"Ultralytics finds it behind the version (yolo11s-...) and takes the file's first, "
                          f"'{next(iter(table))}', where there is none: {names} would all be the same network.",
                      mend=f"Rename the file so that it starts with its version, such as yolo11-{name.stem}.yaml, and open "
                           f"yolo11s-{name.stem}.yaml for scale s.")


class _Check:
    """One file's rows beside those of the packaged file they came from."""

    def __init__(self, cfg: dict[str, Any], every: list[Row], stem: str, scale: layout.Scaling) -> None:
        self.every, self.scale = every, scale
        self.blocks = {one.number: block for one in every if (block := block_of(one.module)) is not None}
        self.unknown = {one.number for one in every
                        if one.number not in self.blocks and not catalog.has_module(one.module)}
        self.origin = stock_match.find(every, stem)
        stock = self.origin.rows if self.origin else ()
        self.stock = stock
        self.here: dict[int, int] = dict(self.origin.here) if self.origin else {}
        self.there = {file: number for number, file in self.here.items()}
        self.sure = self.origin.sure if self.origin else frozenset()
        self.inserted = [one.number for one in every if one.number not in self.there]
        self.passing = frozenset(self.blocks)
        # a module of somebody's fork that replaces one of the stock file is taken to keep its stride and channels
        self.known = [replace(one, module=stock[self.there[one.number]].module, args=stock[self.there[one.number]].args)
                      if one.number in self.unknown and self.there.get(one.number) in self.sure else one for one in every]
        self.strides = layout.strides(self.known, self.passing)
        self.wide = layout.channels(self.known, scale, self.passing)
        self.nominal = layout.channels(self.known, layout.NOMINAL, self.passing)
        self.others = {other.name: layout.channels(self.known, other, self.passing) for other in layout.scales(cfg)}
        self.stock_strides = layout.strides(list(stock)) if stock else []
        self.readers: dict[int, list[int]] = {}
        for one in every:
            for source in one.sources:
                target = one.target(source)
                if target is not None:
                    self.readers.setdefault(target, []).append(one.number)

    def compared(self, cfg: dict[str, Any]) -> str:
        """Say what the file was compared with, and at which scale."""
        rows = ", ".join(map(str, self.inserted[:12])) + (", ..." if len(self.inserted) > 12 else "")
        edit = f", row{'s' * (len(self.inserted) > 1)} {rows} inserted" if self.inserted else ""
        base = f"compared with {self.origin.name}{edit}" if self.origin else "no packaged YAML is near enough to compare"
        table = cfg.get("scales")
        if not isinstance(table, dict) or not table:
            return base
        first = "" if cfg.get("scale") else ", the file's first, as its name says none"
        return f"{base}; at scale {self.scale.name}{first}"

    def findings(self) -> list[Finding]:
        """Return everything that is wrong with the rows."""
        found: list[Finding] = []
        blamed: set[int] = set()
        for check in (self._modules, self._attention, self._wiring, self._strides, self._unread, self._twice):
            for one in check(blamed):
                found.append(one)
                if one.row is not None and check in (self._attention, self._wiring):
                    blamed.add(one.row)
        return found

    # Modules and arguments

    def _modules(self, blamed: set[int]) -> Iterator[Finding]:
        for one in self.every:
            n = one.repeats
            if isinstance(n, bool) or not isinstance(n, int) or n < 1:
                yield Finding(row=one.number, severity="error", what=f"{one} has {shown(n)} repeats.",
                              why="The second value says how often the module is repeated, a whole number from 1.",
                              mend=f"Write 1: {_written(one, None, 1)}")
            if one.number in self.unknown:
                near = nearest(one.module, _names(self.stock))
                yield Finding(row=one.number, severity="error", what=f"{one}: no module is named '{shown(one.module)}'.",
                              why="Neither the installed Ultralytics nor yolograft's blocks have it; a fork that did is "
                                  "not what runs here.",
                              mend=f"Name one of 'yolograft blocks', or give your own with blocks=FILE.py.{near}")

    def _attention(self, blamed: set[int]) -> Iterator[Finding]:
        for number, block in self.blocks.items():
            one = self.every[number]
            targets = self._inputs(one)
            if None in targets:
                continue  # _wiring says so
            if one.several:
                last = one.sources[-1]
                yield Finding(row=number, severity="error", what=f"{one} reads a list.",
                              why=f"'{block}' takes one map.", mend=f"Write {_written(one, last)}")
                continue
            before = targets[0]
            if before != IMAGE and before is not None and not layout.gives_map(self.known[before]):
                yield Finding(row=number, severity="error", what=f"{one} follows {self.every[before]}.",
                              why="That row gives no single map (B, C, H, W) that a block could take.",
                              mend=f"Move it before row {before}.")
                continue
            if number == len(self.every) - 1:
                yield Finding(row=number, severity="error", what=f"{one} is the file's last row.",
                              why="The last row's output is the model's: the head must be last.",
                              mend="Move it before the head, and let the head read it.")
                continue
            yield from self._arguments(one, block)
            if isinstance(one.repeats, int) and one.repeats > 1 and not isinstance(one.repeats, bool):
                times = self.scale.repeats(one.repeats)
                yield Finding(row=number, severity="warning",
                              what=f"{one} is repeated: {times} block{'s' * (times > 1)} at this scale.",
                              why="The second value is a number of repeats, and each block acts on the one before.",
                              mend=f"For one block: {_written(one, None, 1)}")

    def _arguments(self, one: Row, block: str) -> Iterator[Finding]:
        at = one.number
        widths = {column[at] for column in (self.nominal, *self.others.values())}
        try:
            _, said = settle(one, block, frozenset(c for c in widths if c is not None))
        except GraftError as error:
            yield Finding(row=at, severity="error", what=str(error), why=f"The arguments are not what '{block}' can take.",
                          mend=f"Write [] for its defaults: {_written(one, args=[])}")
            return
        actual, nominal = self.wide[at], self.nominal[at]
        wrong = [c for c in map(int, re.findall(r"\b\d+(?= (?:is|and|are)\b)", said)) if c not in (actual, nominal)] \
            if "channels" in said else []
        if one.module == SQUEEZE:
            wrong = [c for c in (layout.literal(one.args[0]),) if c != actual]
        if not wrong or actual is None or nominal is None:
            return
        where = [name for name, wide in self.others.items() if wide[at] == wrong[0]]
        of = f"It is its width at scale {', '.join(where)}." if where else "It is its width at no scale."
        stock, fork = "Stock Ultralytics builds the row as it is written", "A fork that takes the number as it stands fails"
        here = f" at scale {self.scale.name}" if self.scale.name else ""
        mend = [actual, max(1, actual * int(layout.literal(one.args[1])) // wrong[0])] if one.module == SQUEEZE else \
            [nominal if layout.literal(arg) in wrong and not isinstance(arg, bool) else arg for arg in one.args]
        yield Finding(
            row=at, severity="error", what=f"{one} says {wrong[0]} channels, and the map it reads has {actual}{here}.",
            why=f"{of} {stock if one.module == SQUEEZE else fork}; yolograft reads the width off the host.",
            mend=f"Write {_written(one, args=mend)}" + ("" if one.module == SQUEEZE else
                 f" (the width as the file says it, {nominal}, which is scaled) or {_written(one, args=[])}."))

    # Wiring

    def _origin_of(self, number: int) -> int | None:
        """Return the row of the packaged file whose map an inserted row passes on, or None for new structure."""
        while number not in self.there:
            if number == IMAGE:
                return IMAGE
            one = self.every[number]
            before = one.target(one.sources[0])
            keeps = number in self.passing or number in self.unknown or (
                before is not None and self.strides[number] is not None and self.strides[number] == (
                    Fraction(1) if before == IMAGE else self.strides[before]))
            if one.several or before is None or not keeps:
                return None
            number = before
        return self.there[number]

    def _now(self, stock: int) -> int | None:
        """Return where a row of the packaged file stands now; where it was removed, the row that it read."""
        for _ in range(len(self.stock) + 1):
            if stock == IMAGE:
                return IMAGE
            if stock in self.here:
                return self.here[stock] if stock in self.sure else None
            one = self.stock[stock]
            before = one.target(one.sources[0])
            if one.several or before is None:
                return None
            stock = before
        return None

    def _best(self, now: int, reads: int) -> int:
        """Return the row to read for `now`: the inserted block in line behind it, where there is one."""
        found = now
        for one in self.every[now + 1:reads]:
            if one.number in self.there or one.number not in self.passing or self._inputs(one) != [found]:
                break
            found = one.number
        return found

    def _inputs(self, one: Row) -> list[int | None]:
        return [one.target(source) for source in one.sources]

    def _wiring(self, blamed: set[int]) -> Iterator[Finding]:
        moved: dict[int, int] = {}  # inserted rows whose own `from` is at fault, and what it should be
        pending: list[Finding] = []
        for one in self.every:
            finding = self._reads(one, moved)
            if finding:
                pending.append(finding)
        for number, target in moved.items():
            one = self.every[number]
            stock = one.sources[0]
            yield Finding(row=number, severity="error",
                          what=f"{one} reads row {stock} ({self.every[stock].module}), and what reads it means row {target} "
                               f"({self.every[target].module}).",
                          why=f"Rows inserted before it moved row {stock} of {self._base} to {target}.",
                          mend=f"from: {target}")
        yield from pending

    @property
    def _base(self) -> str:
        return self.origin.name if self.origin else "the stock file"

    def _reads(self, one: Row, moved: dict[int, int]) -> Finding | None:
        stock = self.stock[self.there[one.number]] if one.number in self.there else None
        same = stock is not None and len(stock.sources) == len(one.sources)
        wrong: list[str] = []
        why: list[str] = []
        moves: list[tuple[int, int, int]] = []
        mended = list(one.sources)
        broken, stale = False, False
        for at, source in enumerate(one.sources):
            got = one.target(source)
            meant = stock.target(stock.sources[at]) if stock and same else None
            if stock and not same and got is not None:
                meant = self._meant_in_list(stock, source, got)
            now = self._now(meant) if meant is not None else None
            if now is not None and now >= one.number:
                now = None
            if got is None:
                broken = True
                wrong.append(f"{shown(source)} is " + ("itself" if source == one.number else "a row that comes later"
                             if one.number < source < len(self.every) else "no row of this file"))
                why.append("A row can only read rows before it")
                mended[at] = _numbered(one.number - 1 if now is None else self._best(now, one.number), one, source)
                continue
            if meant is None or now is None or self._fits(got, meant, now):
                continue
            fault = self._moved(got, meant, now)
            if fault is not None:
                moved[fault] = now
                continue
            assert stock is not None
            shifted = self._is_stale(source, stock.sources[at] if same else meant, now)
            stale |= shifted
            broken |= shifted or self._stride(got) != self._stride(now)
            best = self._best(now, one.number)
            mended[at] = _numbered(best, one, source)
            wrong.append(f"{source} is {self._named(got)}")
            moves.append((meant, now, best))
        if not wrong:
            return None
        because = ". ".join([*dict.fromkeys(why), *self._said(moves)])
        if stale and self.inserted:
            because += f". Inserted rows ({', '.join(map(str, self.inserted[:9]))}) move every later number"
        return Finding(row=one.number, severity="error" if broken else "warning", what=f"{one}: {'; '.join(wrong)}.",
                       why=f"{because}.",
                       mend=f"from: {shown(mended if one.several else mended[0])}{'' if broken else ', unless it is meant'}")

    def _said(self, moves: list[tuple[int, int, int]]) -> Iterator[str]:
        """Say where the stock file's rows stand now; each as its number there, here, and that of the block behind it."""
        if any(meant == IMAGE for meant, _, _ in moves):
            yield f"{self._base} reads the image there, which is -1"
        rows = [move for move in moves if move[0] != IMAGE]
        if not rows:
            return
        old = ", ".join(f"{meant} ({self.stock[meant].module})" for meant, _, _ in rows)
        new = ", ".join(str(now) + (f" (with {self.every[best].module} behind it: {best})" if best != now else "")
                        for _, now, best in rows)
        s, verb = ("s", "are rows") if len(rows) > 1 else ("", "is row")
        yield f"Row{s} {old} of {self._base} {verb} {new} here"

    def _fits(self, got: int, meant: int, now: int) -> bool:
        """Whether reading row `got` is what reading the stock file's row `meant` was, now at `now`; or new on purpose."""
        if got == now or self._twin(got, now):
            return True
        if got in self.there:
            return self.there[got] not in self.sure
        passed_on = self._origin_of(got)
        return passed_on is None or passed_on == meant

    def _meant_in_list(self, stock: Row, source: int, got: int) -> int | None:
        """Return the stock row that an input of a list with more or fewer inputs than stock's still names, if any."""
        targets = [t for t in map(stock.target, stock.sources) if t is not None]
        if self._origin_of(got) in targets or got not in self.there:
            return None
        return source if source in targets else None

    def _twin(self, got: int, now: int) -> bool:
        """Whether two rows are neighbours of the same text, of which either may be the inserted one."""
        return abs(got - now) == 1 and (self.every[got].module, list(self.every[got].args)) == (
            self.every[now].module, list(self.every[now].args)) and self.every[max(got, now)].sources == (-1,)

    def _moved(self, got: int, meant: int, now: int) -> int | None:
        """Return the inserted row on the way to `got` that reads the stock number of what is meant, not shifted."""
        while got not in self.there and got != IMAGE:
            one = self.every[got]
            if one.several:
                return None
            if one.sources[0] == meant and one.sources[0] >= 0 and now < got:
                return got
            before = one.target(one.sources[0])
            if before is None:
                return None
            got = before
        return None

    def _is_stale(self, source: int, written: int, now: int) -> bool:
        """Whether inserted or removed rows explain the difference: not shifted, or shifted too little or too much."""
        if source < 0 or written < 0:
            return source == written
        span = max(len(self.inserted), abs(now - written))
        return min(written, now) - span <= source <= max(written, now) + span

    def _stride(self, number: int) -> Fraction | None:
        return Fraction(1) if number == IMAGE else self.strides[number]

    def _named(self, number: int) -> str:
        if number == IMAGE:
            return "the image"
        step = self.strides[number]
        return f"{self.every[number].module}{f', stride {step}' if step is not None else ''}"

    def _strides(self, blamed: set[int]) -> Iterator[Finding]:
        for one in self.known:
            inputs = self._inputs(one)
            if one.number in blamed or None in inputs or not one.several:
                continue
            steps = [self._stride(target) for target in inputs if target is not None]
            if one.module == "Concat" and len({step for step in steps if step is not None}) > 1:
                yield self._clash(one, steps)
            elif one.number == len(self.every) - 1 and not layout.gives_map(one):
                yield from self._head(one, steps)

    def _clash(self, one: Row, steps: list[Fraction | None]) -> Finding:
        target = steps[0]
        mended = list(one.sources)
        for at, step in enumerate(steps):
            if step != target:
                same = [n for n in range(one.number) if self.strides[n] == target and self._is_end(n)
                        and n != one.target(one.sources[0])]
                if same:
                    mended[at] = min(same, key=lambda n: abs(n - (one.target(one.sources[at]) or 0)))
        rows = ", ".join(f"{source} has stride {step}" for source, step in zip(one.sources, steps, strict=True))
        fits = mended != list(one.sources)
        return Finding(row=one.number, severity="error", what=f"{self.every[one.number]}: {rows}.",
                       why="Maps of different size cannot be concatenated.",
                       mend=f"from: {shown(mended)} (the nearest map of stride {target})" if fits else
                       f"Read maps of one stride; none but {one.sources[0]} has {target}.")

    def _is_end(self, number: int) -> bool:
        """Whether a row is the last of its stride in a run: what is worth reading from afar."""
        return number + 1 >= len(self.every) or self.strides[number + 1] != self.strides[number]

    def _head(self, one: Row, steps: list[Fraction | None]) -> Iterator[Finding]:
        targets = self._inputs(one)
        doubled = [source for source, target in zip(one.sources, targets, strict=True) if targets.count(target) > 1]
        stock = self.stock[self.there[one.number]] if one.number in self.there else None
        expected: list[Fraction | None] = []
        if stock is not None and len(stock.sources) == len(one.sources):
            expected = [self.stock_strides[t] for t in map(stock.target, stock.sources) if t is not None]
        mended = list(one.sources)
        for at, (step, wanted) in enumerate(zip(steps, expected, strict=False)):
            if wanted is not None and step is not None and step != wanted:
                ends = [n for n in range(one.number) if self.strides[n] == wanted and layout.gives_map(self.known[n])]
                mended[at] = self._best(ends[-1], one.number) if ends else mended[at]
        if mended != list(one.sources) or doubled:
            rows = ", ".join(f"{source} has stride {step}" for source, step in zip(one.sources, steps, strict=True))
            scaled = "/".join(str(step) for step in expected) or "one map of each stride"
            yield Finding(row=one.number, severity="error", what=f"{self.every[one.number]}: {rows}.",
                          why=f"{one.kind} reads {scaled}" + (f" in {self._base}." if expected else "."),
                          mend=f"from: {shown(mended)}" if mended != list(one.sources) else
                          f"Read another row than {doubled[0]} for one of the two.")

    # Rows without effect, or with twice the effect

    def _unread(self, blamed: set[int]) -> Iterator[Finding]:
        unread = [self.every[number] for number in self.inserted
                  if number not in self.readers and number not in blamed and number != len(self.every) - 1]
        instead: dict[int, dict[int, int]] = {}  # what each later row could read: an unread row for the one it follows
        last: dict[int, int] = {}
        for one in unread:
            before = one.target(one.sources[0])
            if before is not None:
                later = [n for n in self.readers.get(before, []) if n > one.number]
                if later:
                    last[one.number] = later[-1]
                    instead.setdefault(later[-1], {})[before] = one.number
        for one in unread:
            mend = "Remove it, or let a later row read it."
            if one.number in last:
                to = self.every[last[one.number]]
                new = [instead[to.number].get(to.target(source), source) for source in to.sources]  # type: ignore[arg-type]
                mend = f"from: {shown(new if to.several else new[0])} in row {to.number} ({to.module}), to have it read."
            yield Finding(row=one.number, severity="error", what=f"{one}: no row reads it.",
                          why="The rows behind it name the rows that they read, and none names this one: it does nothing.",
                          mend=mend)

    def _twice(self, blamed: set[int]) -> Iterator[Finding]:
        for number in self.inserted:
            one = self.every[number]
            if not number or one.number not in self.blocks or one.several or one.target(one.sources[0]) != number - 1:
                continue
            before = self.every[number - 1]
            if before.number in self.blocks and (before.module, list(before.args)) == (one.module, list(one.args)):
                yield Finding(row=number, severity="warning", what=f"{one} follows another one like it, row {number - 1}.",
                              why="The second acts on what the first has weighted already; one block is usual.",
                              mend=f"If one is meant, remove row {number} and take 1 off every `from` of {number} or more.")


def _numbered(target: int, one: Row, source: int) -> int:
    return -1 if source == -1 and target == one.number - 1 else target


def _names(stock: tuple[Row, ...]) -> list[str]:
    """Return what a row may be called: the stock file's modules, the blocks' classes, names and aliases, and heads."""
    known = [row.module for row in stock] + [row.module for row in stock_match.packaged_rows()]
    for name in blocks.names():
        known += [*blocks.aliases(name), name, blocks.lookup(name).__name__]
    return list(dict.fromkeys(known))


def _written(one: Row, source: int | None = None, repeats: Any = None, args: Any = None) -> str:
    given: Any = list(one.sources) if one.several else one.sources[0]
    return shown([given if source is None else source, one.repeats if repeats is None else repeats, one.module,
                  one.args if args is None else args])

