"""Hand-edited model YAML files: attention rows read as a graft on the host without them, and written back.

Inserting a row renumbers all that follow, and every `from` with it. `read` takes the attention rows out again, shifts
the indices back, and keeps the wiring exactly: an attended feature that some rows read while others go on reading the
plain one becomes a graft on those edges (`se@8>9&13`). `write` is its inverse, for those who need such a file.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import yaml

from yolograft import blocks
from yolograft.errors import GraftError, HostError, SiteError, SpecError, nearest
from yolograft.modelyaml.signatures import block_of, settle, spelling, written
from yolograft.modelyaml.table import IMAGE, NOMINAL, Row, channels, gives_map, rows, scales, shown, strides, widths
from yolograft.spec import Graft, Part, Site

__all__ = ["Edge", "Reading", "dump", "read", "write"]

_MOST = 64  # repeats of one attention row


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A block on one input of one row, where no site's text can say it: the row reads the same map attended and plain.

    Attributes:
        reader: the reading row, by its number in the host.
        position: which of its inputs.
        part: the block and its settings; its site names the row that is read, and the reader.
        shared: the attention row's number in the file. Edges of the same number share one block: one module, one
            set of weights, and one run of it for all of them.
    """

    reader: int
    position: int
    part: Part
    shared: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a hand-edited YAML means: a host and what is grafted on it.

    Attributes:
        host: the YAML dict without its attention rows, later indices shifted back; a deep copy.
        graft: the attention rows, by the stock numbers of the rows they follow.
        edges: what no text says (see `Edge`); nearly always empty. They apply after `graft`, in this order.
        notes: what was understood, a sentence an attention row.
    """

    host: dict[str, Any]
    graft: Graft
    edges: tuple[Edge, ...] = ()
    notes: tuple[str, ...] = ()


def read(cfg: dict[str, Any]) -> Reading:
    """Read a model YAML dict whose rows may name blocks; rows of the host, whatever they are, are left alone.

    A row of `n` repeats applies n blocks in sequence (n times the depth of the scale in use, as in Ultralytics).

    Raises:
        HostError: the dict is no model YAML, or an index names no row; every broken row is named.
        SpecError: an attention row's arguments are not what its block can take.
    """
    every = rows(cfg)
    named = {one.number: block for one in every if (block := block_of(one.module)) is not None}
    if not named:
        return Reading(host=copy.deepcopy(cfg), graft=Graft())
    return _Wiring(cfg, every, named).reading()


@dataclass(frozen=True)
class _Signal:
    """What an index stands for: the map of a host row (by its number in the file), after some attention rows."""

    origin: int
    chain: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Use:
    """One input of one host row."""

    reader: int
    position: int
    signal: _Signal


class _Wiring:
    """The file's attention rows followed from where they stand to who reads them."""

    def __init__(self, cfg: dict[str, Any], every: list[Row], named: dict[int, str]) -> None:
        self.cfg, self.every, self.named = cfg, every, named
        self.hosts = [one for one in every if one.number not in named]
        if not self.hosts:
            raise HostError("The model YAML has attention rows alone, and no host that they could be grafted on.")
        self.new = {one.number: at for at, one in enumerate(self.hosts)} | {IMAGE: IMAGE}
        self.signals = {IMAGE: _Signal(IMAGE)}
        self.uses: list[_Use] = []
        for one in every:
            targets = one.reads()
            if one.number in named:
                self.signals[one.number] = self._attended(one, targets)
            else:
                self.signals[one.number] = _Signal(one.number)
                self.uses += [_Use(one.number, at, self.signals[target]) for at, target in enumerate(targets)]
        self._check_ends()
        self.host = self._unattended()
        self.edge_names = _edge_names(rows(self.host))

    def _attended(self, one: Row, targets: tuple[int, ...]) -> _Signal:
        if one.several:
            raise HostError(f"{one} reads a list of rows, and '{self.named[one.number]}' takes one map. Write its number "
                            "alone, or -1 for the row before it.")
        before = self.signals[targets[0]]
        if before.origin != IMAGE and not gives_map(self.every[before.origin]):
            raise HostError(f"{one} follows {self.every[before.origin]}, which gives no single map (B, C, H, W). "
                            "Move it before that row.")
        return _Signal(before.origin, (*before.chain, one.number))

    def _check_ends(self) -> None:
        last = self.signals[self.every[-1].number]
        if last.origin != self.hosts[-1].number:
            raise HostError(f"{self.every[-1]} is the file's last row, so its output would be the model's. Move it before "
                            f"{self.hosts[-1]}, and let that row read it.")
        if last.chain:
            self.uses.append(_Use(len(self.every), 0, last))  # what the model returns is read as well
        for use in self.uses:
            if use.signal.origin == IMAGE and self.new.get(use.reader):
                raise HostError(f"{self.every[use.reader]} reads the image through an attention row, which only the host's "
                                "first row can.")

    def reading(self) -> Reading:
        wide = widths(self.every, self.cfg, frozenset(self.named))
        settings, said = {}, {}
        for number, block in self.named.items():
            settings[number], said[number] = settle(self.every[number], block, wide[number])
        placed: list[tuple[int, Site]] = []
        edges: list[Edge] = []
        for origin in dict.fromkeys(use.signal.origin for use in self.uses):
            uses = [use for use in self.uses if use.signal.origin == origin]
            shared = _common([use.signal.chain for use in uses])
            placed += [(number, self._plain(origin, number, uses)) for number in shared]
            rest = [_Use(u.reader, u.position, _Signal(origin, u.signal.chain[len(shared):])) for u in uses]
            texts = self._edge_sites(origin, rest)
            if texts is not None:
                placed += texts
            else:
                edges += self._edges(origin, rest, settings)
        placed.sort(key=lambda pair: pair[0])
        parts = [Part(self.named[number], (site,), settings[number])
                 for number, site in placed for _ in range(self._repeats(number))]
        edges.sort(key=lambda edge: (edge.shared, edge.reader, edge.position))
        return Reading(host=self.host, graft=Graft(tuple(_merged(parts))), edges=tuple(edges),
                       notes=tuple(self._notes(placed, edges, settings, said)))

    def _plain(self, origin: int, number: int, uses: list[_Use]) -> Site:
        if origin == IMAGE:
            return Site("0", pre=True)
        head = self.hosts[-1].number
        absolute = self.every[number].sources[0] >= 0
        if absolute and {use.reader for use in uses} == {head}:  # written for the head, so named for it
            name = self.edge_names.get(self.new[origin])
            if name:
                return Site(name)
        return Site(str(self.new[origin]))

    def _edge_sites(self, origin: int, uses: list[_Use]) -> list[tuple[int, Site]] | None:
        """Return the attention rows that some readers see, as sites; None where a reader sees two versions."""
        found = []
        for number in sorted({number for use in uses for number in use.signal.chain}):
            readers = sorted({use.reader for use in uses if number in use.signal.chain})
            if any(use.reader in readers and number not in use.signal.chain for use in uses):
                return None
            if origin == IMAGE or readers[-1] == len(self.every):
                raise HostError(f"{self.every[number]}: some rows read it and others the plain map, and one of them is "
                                "the image or the model's output, which a graft cannot tell apart.")
            name = self.edge_names.get(self.new[origin])
            if name and readers == [self.hosts[-1].number]:
                found.append((number, Site(name)))
            else:
                found.append((number, Site(str(self.new[origin]), readers=tuple(self.new[r] for r in readers))))
        return found

    def _edges(self, origin: int, uses: list[_Use], settings: dict[int, Any]) -> list[Edge]:
        found = []
        for use in uses:
            for number in use.signal.chain:
                if use.reader == len(self.every) or origin == IMAGE or self._repeats(number) > 1:
                    raise HostError(f"{self.every[number]}: one row reads both its result and the plain map; that works "
                                    "between rows of the host, and for one repeat, only.")
                site = Site(str(self.new[origin]), readers=(self.new[use.reader],))
                part = Part(self.named[number], (site,), settings[number])
                found.append(Edge(reader=self.new[use.reader], position=use.position, part=part, shared=number))
        return found

    def _repeats(self, number: int) -> int:
        one = self.every[number]
        n = one.repeats
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _MOST:
            raise SpecError(f"{one} has {shown(n)} repeats: expected a whole number from 1 to {_MOST}.")
        return scales(self.cfg)[0].repeats(n)

    def _unattended(self) -> dict[str, Any]:
        host = copy.deepcopy(self.cfg)
        for part in ("backbone", "head"):
            host[part] = [self._shifted(one) for one in self.hosts if one.part == part]
        return host

    def _shifted(self, one: Row) -> list[Any]:
        here = self.new[one.number]
        sources = [_reference(source, here, self.new[self.signals[target].origin])
                   for source, target in zip(one.sources, one.reads(), strict=True)]
        return [sources if one.several else sources[0], copy.deepcopy(one.repeats), one.module,
                copy.deepcopy(list(one.args))]

    def _notes(self, placed: list[tuple[int, Site]], edges: list[Edge], settings: dict[int, Any],
               said: dict[int, str]) -> Iterable[str]:
        for number, block in self.named.items():
            site = next((site for at, site in placed if at == number), None)
            mine = [edge for edge in edges if edge.shared == number]
            part = str(Part(block, (site or Site("x"),), settings[number])).removesuffix("@x")
            if mine:
                part = mine[0].part.block + " on " + ", ".join(f"input {e.position} of row {e.reader}" for e in mine)
            elif site is None:
                part = "nothing: no row reads it"
            times = f", {self._repeats(number)} times" if self._repeats(number) > 1 else ""
            yield f"{self.every[number]} -> {part}{times}{f' ({said[number]})' if said[number] else ''}"


def _common(chains: list[tuple[int, ...]]) -> tuple[int, ...]:
    found: list[int] = []
    for column in zip(*chains, strict=False):
        if len(set(column)) > 1:
            break
        found.append(column[0])
    return tuple(found)


def _merged(parts: list[Part]) -> Iterable[Part]:
    """Join neighbours that differ in their sites alone: `se@4 + se@6` is `se@4,6`."""
    waiting: Part | None = None
    for part in parts:
        if waiting and (waiting.block, waiting.settings) == (part.block, part.settings) \
                and not set(waiting.sites) & set(part.sites):
            waiting = Part(part.block, waiting.sites + part.sites, part.settings)
        else:
            if waiting:
                yield waiting
            waiting = part
    if waiting:
        yield waiting


def _reference(source: int, here: int, target: int) -> int:
    """Return how row `here` names row `target`, relative or absolute as `source` was."""
    near = target - here
    if target == IMAGE or (source == -1 and near == -1) or source < -1:
        return near if here else IMAGE
    return target


def _edge_names(host: list[Row]) -> dict[int, str]:
    """Return `p3`, `p4`, ... for the rows that the last row reads, where their strides tell them apart."""
    steps = strides(host)
    found: dict[str, list[int]] = {}
    for target in host[-1].reads():
        step = steps[target] if target != IMAGE else None
        if step is not None and step.denominator == 1:
            found.setdefault(f"p{int(step).bit_length() - 1}", []).append(target)
    return {targets[0]: name for name, targets in found.items() if len(targets) == 1}


def write(cfg: dict[str, Any], graft: Graft | str) -> dict[str, Any]:
    """Return the hand-edited form of a model YAML dict: one row a block, later indices shifted; a new dict.

    Arguments are written as `[]`, `[16]` or a mapping (`yolograft.modelyaml.signatures`), and the widths left to be read off
    the host, so that the file works at every scale. `read` gives the same host and the same graft back.

    >>> write(yaml_model_load("yolo11n.yaml"), "se@8")["backbone"][9]  # doctest: +SKIP
    [-1, 1, 'SE', []]

    Raises:
        SiteError: a site is no place where a row can stand, such as a module inside a row.
        BlockError: no such block or setting, or a value that it cannot take here.
        HostError: the dict is no model YAML.
    """
    reading = read(cfg)
    if reading.edges:
        raise HostError("This file has a row that reads one map both attended and plain; it can be read, but no further "
                        "rows can be written into it.")
    return _Plan(reading.host, reading.graft + Graft.of(graft)).written()


def dump(cfg: dict[str, Any], graft: Graft | str) -> str:
    """Return `write(cfg, graft)` as the text of a YAML file, one line a row, each with its number."""
    made = write(cfg, graft)
    made.pop("yaml_file", None)  # where the stock file lay on this machine
    used, table = made.pop("scale", None), made.get("scales")
    if used and isinstance(table, dict) and used in table:  # Ultralytics takes the first where the file's name says none
        made["scales"] = {used: table[used], **table}
    lines = [f"# '{Graft.of(graft)}' as rows, written by yolograft (the same without a file: graft='{Graft.of(graft)}')"]
    number = 0
    for key, value in made.items():
        if key not in ("backbone", "head"):
            flow = None if isinstance(value, (dict, list)) else False
            lines.append(yaml.safe_dump({key: value}, default_flow_style=flow, sort_keys=False, width=10**6).rstrip())
    for part in ("backbone", "head"):
        lines += ["", f"{part}:  # [from, repeats, module, args]"] if made[part] else ["", f"{part}: []"]
        for one in made[part]:
            text = yaml.safe_dump(one, default_flow_style=True, sort_keys=False, width=10**6).strip()
            lines.append(f"  - {text}  # {number}")
            number += 1
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Insert:
    """One attention row to come: on the output of row `source` (no readers), or on some inputs of its readers."""

    part: Part
    source: int
    inputs: tuple[tuple[int, int], ...] = ()  # (reading row, position)


class _Plan:
    """Where each block's row goes among the rows of the host."""

    def __init__(self, host: dict[str, Any], graft: Graft) -> None:
        self.host, self.rows = host, rows(host)
        self.reads = [one.reads() for one in self.rows]
        self.wide = channels(self.rows, scales(host)[0])
        self.nominal = channels(self.rows, NOMINAL)
        self.inserts: list[_Insert] = []
        errors: list[GraftError] = []
        for part in graft.parts:
            for site in part.sites:
                try:
                    self.inserts += [self._checked(insert) for insert in self._resolve(part, site)]
                except GraftError as error:
                    errors.append(error)
        if errors:
            raise type(errors[0])("\n".join(dict.fromkeys(map(str, errors))))

    def _resolve(self, part: Part, site: Site) -> list[_Insert]:
        name = site.path.removeprefix("model.")
        names = _edge_names(self.rows)
        if name in names.values() and not site.pre and not site.readers:
            source = next(row for row, edge in names.items() if edge == name)
            head = len(self.rows) - 1
            return [_Insert(part, source, ((head, self.reads[head].index(source)),))]
        found = self._rows(site, name)
        if site.index is not None:
            if not -len(found) <= site.index < len(found):
                raise SiteError(f"No site '{site}': '{site.path}' names {len(found)} row(s).")
            found = [found[site.index]]
        return [self._placed(part, site, number) for number in found]

    def _rows(self, site: Site, name: str) -> list[int]:
        scope, _, rest = name.rpartition(".")
        backbone = sum(one.part == "backbone" for one in self.rows)
        parts = {"backbone": range(backbone), "neck": range(backbone, len(self.rows) - 1), "": range(len(self.rows))}
        if scope not in parts:
            raise SiteError(f"'{site}' cannot be a row of a YAML file: it names what is inside a row. Graft it without a "
                            f"file (graft='...@{site}'), or name a row, such as '8'.")
        numbers = parts[scope]
        if rest.lstrip("-").isdecimal():
            number = int(rest)
            if number < 0 and scope and -number <= len(numbers):
                return [numbers[number]]
            if number not in numbers or number < 0:
                whose = f"its {scope} is rows" if scope else "its rows are"
                bounds = f"{numbers[0]} to {numbers[-1]}" if numbers else "none"
                near = f" Did you mean 'backbone.{number}'?" if number < 0 and not scope else ""
                raise SiteError(f"No site '{site}' in this YAML: {whose} {bounds}.{near}")
            return [number]
        found = [number for number in numbers if self.rows[number].kind == rest]
        if not found:
            kinds = {self.rows[number].kind: None for number in numbers}
            raise SiteError(f"'{site}' cannot be a row of a YAML file: no row of it is of that class, and modules inside "
                            f"rows have no rows of their own.{nearest(rest, [*kinds, *_edge_names(self.rows).values()])}")
        return found

    def _placed(self, part: Part, site: Site, number: int) -> _Insert:
        one = self.rows[number]
        if site.skip:
            raise SiteError(f"'{site}' cannot be a row: the identity branch of {one} is inside it. Graft it without a file "
                            f"(graft='...@{site}').")
        if site.pre:
            if len(self.reads[number]) > 1:
                raise SiteError(f"'{site}' cannot be a row: {one} reads {len(self.reads[number])} maps. Name a row that it "
                                f"reads ({', '.join(map(str, self.reads[number]))}).")
            return _Insert(part, self.reads[number][0], ((number, 0),))
        if site.readers:
            inputs = [(reader, at) for reader in site.readers if reader < len(self.rows)
                      for at, source in enumerate(self.reads[reader]) if source == number]
            strangers = set(site.readers) - {reader for reader, _ in inputs}
            if strangers:
                actual = [str(other.number) for other in self.rows if number in self.reads[other.number]]
                raise SiteError(f"'{site}': row {min(strangers)} does not read row {number}; its readers are rows "
                                f"{', '.join(actual) or '(none)'}.")
            return _Insert(part, number, tuple(sorted(inputs)))
        return _Insert(part, number)

    def _checked(self, insert: _Insert) -> _Insert:
        source = insert.source
        if source != IMAGE and (source == len(self.rows) - 1 or not gives_map(self.rows[source])):
            raise SiteError(f"'{insert.part}' cannot be a row: {self.rows[source]} gives no map (B, C, H, W) to other rows.")
        import torch

        wide = 3 if source == IMAGE else self.wide[source]
        with torch.random.fork_rng(devices=[]):  # a value that the block refuses must not reach the file
            blocks.create(insert.part.block, wide or 1024, **dict(insert.part.settings))
        return insert

    def written(self) -> dict[str, Any]:
        self._check_shared()
        made: dict[str, list[Any]] = {"backbone": [], "head": []}
        outputs = {IMAGE: IMAGE}  # host row -> the file's row that its readers see
        inputs: dict[tuple[int, int], int] = {}
        count = 0

        def insert(what: _Insert, source: int, part: str) -> int:
            name = spelling(blocks.canonical(what.part.block))
            for_head = bool(what.inputs) and self.rows[what.inputs[0][0]].several  # absolute: `read` tells p5 from 22
            near = source if source != count - 1 or for_head else -1
            one = Row(count, part, (near,), False, 1, name, [])
            made[part].append([near, 1, name, written(one, blocks.canonical(what.part.block), what.part.settings)])
            return count

        for one in self.rows:
            for what in [w for w in self.inserts if w.inputs and w.inputs[0][0] == one.number]:
                at = insert(what, inputs.get(what.inputs[0], outputs[what.source]), one.part)
                inputs |= dict.fromkeys(what.inputs, at)
                count += 1
            sources = [_reference(source, count, inputs.get((one.number, at), outputs[target]))
                       for at, (source, target) in enumerate(zip(one.sources, self.reads[one.number], strict=True))]
            made[one.part].append([sources if one.several else sources[0], one.repeats, one.module, list(one.args)])
            outputs[one.number] = count
            count += 1
            for what in [w for w in self.inserts if not w.inputs and w.source == one.number]:
                outputs[one.number] = insert(what, outputs[one.number], one.part)
                count += 1
        return {**copy.deepcopy(self.host), **copy.deepcopy(made)}

    def _check_shared(self) -> None:
        chains: dict[tuple[int, int], tuple[int, ...]] = {}
        for at, what in enumerate(self.inserts):
            before = {chains.get(one, ()) for one in what.inputs}
            if len(before) > 1:
                raise SiteError(f"'{what.part}' cannot be a row: its readers read different maps by then. Write the graft "
                                "that all of them share first.")
            chains |= {one: (*chains.get(one, ()), at) for one in what.inputs}
