"""The reader of hand-edited model YAML files: attention rows become a graft on the host without these rows.

An inserted row changes the number of every later row, and so every `from` that names one. `read` removes the attention rows
and shifts the numbers back. It keeps the wiring exactly: if some rows read the attended map, and others read the plain map,
then the graft is on the edges to the first (`se@8>9&13`). `writer.write` is the inverse.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from yolograft.errors import HostError, SpecError, errors_at_row
from yolograft.language import tr
from yolograft.modelyaml import dialects
from yolograft.modelyaml.compounds import Compound, find_compound
from yolograft.modelyaml.signatures import find_block, understand
from yolograft.modelyaml.table import (
    IMAGE,
    Row,
    channels,
    format_source,
    has_map_output,
    name_head_inputs,
    parse_rows,
    scales,
    short_text,
    widths,
)
from yolograft.spec import Graft, Part, Site

__all__ = ["Edge", "Reading", "read"]

_MAX_REPEATS = 64  # of one attention row


@dataclass(frozen=True, kw_only=True)
class Edge:
    """A block on one input of one row that reads the same map both attended and plain. No site's text can express this.

    Attributes:
        reader: the number of the reading row in the host.
        position: the position of the input among the row's inputs.
        part: the block and its settings. Its site names the source row and the reader.
        shared: the attention row's number in the file. Edges with the same number share one block: one module with one
            set of weights, which runs once for all of them.
    """

    reader: int
    position: int
    part: Part
    shared: int


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The content of a hand-edited YAML: a host and a graft.

    Attributes:
        host: a deep copy of the YAML dict without its attention rows, and with later indices shifted back.
        graft: the attention rows as a graft, with the row numbers of the host.
        edges: the blocks that no graft text can express (see `Edge`); almost always empty. They apply after `graft`, in this
            order.
        origins: for each site of each part of `graft`, in their order, the number of the attention row in the file.
        notes: for each row that is not read as it stands, a sentence that says how it was read.
        numbers: for each row of the host, its number in the file.
    """

    host: dict[str, Any]
    graft: Graft
    edges: tuple[Edge, ...] = ()
    origins: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()
    numbers: tuple[int, ...] = field(default=(), compare=False)


def read(cfg: dict[str, Any]) -> Reading:
    """Read a model YAML dict whose rows may name blocks. Rows of the host are not changed or checked.

    A row of `n` repeats applies n blocks in sequence (n times the depth of the scale in use, as in Ultralytics).

    Raises:
        HostError: the dict is not a model YAML, or an index names no row. The message names every broken row.
        SpecError: the block of an attention row does not take its arguments.
    """
    cfg, translated = dialects.translate(cfg)
    rows = parse_rows(cfg)
    attention = {row.number: block for row in rows if (block := find_block(row.module)) is not None}
    compounds = {row.number: compound for row in rows if row.number not in attention
                 and (compound := find_compound(row)) is not None}
    if not attention and not compounds:
        return Reading(host=copy.deepcopy(cfg), graft=Graft(), notes=translated, numbers=tuple(range(len(rows))))
    rows = [compounds[row.number].host if row.number in compounds else row for row in rows]
    reading = _Wiring(cfg, rows, attention, compounds).reading()
    return replace(reading, notes=translated + reading.notes)


@dataclass(frozen=True)
class _Signal:
    """The map that an index names: the output of a host row (its number in the file), after some attention rows."""

    source: int
    chain: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Use:
    """One input of one host row."""

    reader: int
    position: int
    signal: _Signal


class _Wiring:
    """The path of each map from a host row, through attention rows, to the rows that read it."""

    def __init__(self, cfg: dict[str, Any], rows: list[Row], attention: dict[int, str], compounds: dict[int, Compound]
                 ) -> None:
        self.cfg, self.rows, self.attention, self.compounds = cfg, rows, attention, compounds
        self.host_rows = [row for row in rows if row.number not in attention]
        if not self.host_rows:
            raise HostError(tr("The model YAML has only attention rows, and no host for the graft."))
        self.to_host = {row.number: at for at, row in enumerate(self.host_rows)} | {IMAGE: IMAGE}
        self.signals = {IMAGE: _Signal(IMAGE)}
        self.uses: list[_Use] = []
        for row in rows:
            with errors_at_row(row.number):
                targets = row.reads()
            if row.number in attention:
                with errors_at_row(row.number):
                    self.signals[row.number] = self._attend(row, targets)
            else:
                self.signals[row.number] = _Signal(row.number)
                self.uses += [_Use(row.number, at, self.signals[target]) for at, target in enumerate(targets)]
        with errors_at_row(rows[-1].number):
            self._check_ends()
        self.host = self._remove_attention()
        self.edge_names = name_head_inputs(parse_rows(self.host))

    def _attend(self, row: Row, targets: tuple[int, ...]) -> _Signal:
        if row.is_list:
            raise HostError(tr("{row} reads a list of rows, and '{block}' takes one map. Write one number without brackets, "
                               "or -1 for the row before it.", row=row, block=self.attention[row.number]))
        before = self.signals[targets[0]]
        if before.source != IMAGE and not has_map_output(self.rows[before.source]):
            raise HostError(tr("{row} follows {other}, which gives no single map (B, C, H, W). Move it before that row.",
                               row=row, other=self.rows[before.source]))
        return _Signal(before.source, (*before.chain, row.number))

    def _check_ends(self) -> None:
        last = self.signals[self.rows[-1].number]
        if last.source != self.host_rows[-1].number:
            raise HostError(tr("{row} is the file's last row, so its output would be the output of the model. Move it "
                               "before {other}, and let that row read it.", row=self.rows[-1], other=self.host_rows[-1]))
        if last.chain:
            self.uses.append(_Use(len(self.rows), 0, last))  # the model's output counts as a reader
        for use in self.uses:
            if use.signal.source == IMAGE and self.to_host.get(use.reader):
                raise HostError(tr("{row} reads the image through an attention row. Only the host's first row can do this.",
                                   row=self.rows[use.reader]))

    def reading(self) -> Reading:
        passthrough = frozenset(self.attention)
        row_widths = widths(self.rows, self.cfg, passthrough)
        used_widths = channels(self.rows, scales(self.cfg)[0], passthrough)
        settings, arg_notes = {}, {}
        for number, block in self.attention.items():
            with errors_at_row(number):
                understood = understand(self.rows[number], block, row_widths[number], used_widths[number])
            settings[number], arg_notes[number] = understood.settings, understood.note
        scale = scales(self.cfg)[0].name
        placed: list[tuple[int, Site]] = [(number, compound.site(self.to_host[number], scale))
                                          for number, compound in self.compounds.items()]
        edges: list[Edge] = []
        for source in dict.fromkeys(use.signal.source for use in self.uses):
            uses = [use for use in self.uses if use.signal.source == source]
            shared = _common_prefix([use.signal.chain for use in uses])
            placed += [(number, self._site(source, number, uses)) for number in shared]
            rest = [_Use(u.reader, u.position, _Signal(source, u.signal.chain[len(shared):])) for u in uses]
            texts = self._edge_sites(source, rest)
            if texts is not None:
                placed += texts
            else:
                edges += self._edges(source, rest, settings)
        placed.sort(key=lambda pair: pair[0])
        parts = []
        for number, site in placed:
            if number in self.compounds:
                parts.append(Part(self.compounds[number].block, (site,), self.compounds[number].settings))
            else:
                parts += [Part(self.attention[number], (site,), settings[number])] * self._repeats(number)
        edges.sort(key=lambda edge: (edge.shared, edge.reader, edge.position))
        origins = tuple(number for number, _ in placed
                        for _ in range(1 if number in self.compounds else self._repeats(number)))
        return Reading(host=self.host, graft=Graft(tuple(_join_sites(parts))), edges=tuple(edges), origins=origins,
                       notes=tuple(self._notes(placed, edges, settings, arg_notes)),
                       numbers=tuple(row.number for row in self.host_rows))

    def _site(self, source: int, number: int, uses: list[_Use]) -> Site:
        if source == IMAGE:
            return Site("0", pre=True)
        head = self.host_rows[-1].number
        is_absolute = self.rows[number].sources[0] >= 0
        if is_absolute and {use.reader for use in uses} == {head}:  # a row with an absolute `from` was written for the head
            name = self.edge_names.get(self.to_host[source])
            if name:
                return Site(name)
        return Site(str(self.to_host[source]))

    def _edge_sites(self, source: int, uses: list[_Use]) -> list[tuple[int, Site]] | None:
        """Return the attention rows that only some readers read, as sites; None if one reader reads both maps."""
        found = []
        for number in sorted({number for use in uses for number in use.signal.chain}):
            readers = sorted({use.reader for use in uses if number in use.signal.chain})
            if any(use.reader in readers and number not in use.signal.chain for use in uses):
                return None
            if source == IMAGE or readers[-1] == len(self.rows):
                raise HostError(tr("{row}: some rows read it, and others read the plain map. A graft cannot express this "
                                   "for the image or for the model's output.", row=self.rows[number]))
            name = self.edge_names.get(self.to_host[source])
            if name and readers == [self.host_rows[-1].number]:
                found.append((number, Site(name)))
            else:
                found.append((number, Site(str(self.to_host[source]), readers=tuple(self.to_host[r] for r in readers))))
        return found

    def _edges(self, source: int, uses: list[_Use], settings: dict[int, Any]) -> list[Edge]:
        found = []
        for use in uses:
            for number in use.signal.chain:
                if use.reader == len(self.rows) or source == IMAGE or self._repeats(number) > 1:
                    raise HostError(tr("{row}: one row reads both its result and the plain map. This works only between "
                                       "rows of the host, and for one repeat.", row=self.rows[number]))
                site = Site(str(self.to_host[source]), readers=(self.to_host[use.reader],))
                part = Part(self.attention[number], (site,), settings[number])
                found.append(Edge(reader=self.to_host[use.reader], position=use.position, part=part, shared=number))
        return found

    def _repeats(self, number: int) -> int:
        row = self.rows[number]
        n = row.repeats
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _MAX_REPEATS:
            raise SpecError(tr("{row} has {value} repeats: expected a whole number from 1 to {most}.", row=row,
                               value=short_text(n), most=_MAX_REPEATS))
        return scales(self.cfg)[0].repeats(n)

    def _remove_attention(self) -> dict[str, Any]:
        host = copy.deepcopy(self.cfg)
        for part in ("backbone", "head"):
            host[part] = [self._shift(row) for row in self.host_rows if row.part == part]
        return host

    def _shift(self, row: Row) -> list[Any]:
        number = self.to_host[row.number]
        sources = [format_source(source, number, self.to_host[self.signals[target].source])
                   for source, target in zip(row.sources, row.reads(), strict=True)]
        return [sources if row.is_list else sources[0], copy.deepcopy(row.repeats), row.module,
                copy.deepcopy(list(row.args))]

    def _notes(self, placed: list[tuple[int, Site]], edges: list[Edge], settings: dict[int, Any],
               arg_notes: dict[int, str]) -> Iterable[str]:
        scale = scales(self.cfg)[0].name
        for number in sorted({*self.attention, *self.compounds}):
            if number in self.compounds:
                yield self.compounds[number].note(self.to_host[number], scale)
                continue
            block = self.attention[number]
            site = next((site for at, site in placed if at == number), None)
            own_edges = [edge for edge in edges if edge.shared == number]
            part = str(Part(block, (site or Site("x"),), settings[number])).removesuffix("@x")
            if own_edges:
                inputs = ", ".join(tr("input {position} of row {number}", position=edge.position, number=edge.reader)
                                   for edge in own_edges)
                part = tr("{block} on {inputs}", block=own_edges[0].part.block, inputs=inputs)
            elif site is None:
                part = tr("nothing: no row reads it")
            times = tr(", {count} times", count=self._repeats(number)) if self._repeats(number) > 1 else ""
            yield f"{self.rows[number]} -> {part}{times}{f' ({arg_notes[number]})' if arg_notes[number] else ''}"


def _common_prefix(chains: list[tuple[int, ...]]) -> tuple[int, ...]:
    found: list[int] = []
    for column in zip(*chains, strict=False):
        if len(set(column)) > 1:
            break
        found.append(column[0])
    return tuple(found)


def _join_sites(parts: list[Part]) -> Iterable[Part]:
    """Join neighbours that differ only in their sites: `se@4 + se@6` becomes `se@4,6`."""
    joined: Part | None = None
    for part in parts:
        if joined and (joined.block, joined.settings) == (part.block, part.settings) \
                and not set(joined.sites) & set(part.sites):
            joined = Part(part.block, joined.sites + part.sites, part.settings)
        else:
            if joined:
                yield joined
            joined = part
    if joined:
        yield joined
