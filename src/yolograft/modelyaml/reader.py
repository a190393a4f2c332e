"""The reader of hand-edited model YAML files: attention rows become a graft on the host without these rows.

An inserted row changes the number of every later row, and so every `from` that names one. `read` removes the attention rows
and shifts the numbers back. It keeps the wiring exactly: if some rows read the attended map, and others read the plain map,
then the graft is on the edges to the first (`se@8>9&13`). `writer.write` is the inverse.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from yolograft.errors import HostError, SpecError
from yolograft.modelyaml.signatures import find_block, parse_args
from yolograft.modelyaml.table import (
    IMAGE,
    Row,
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
        notes: for each attention row, a sentence that says how it was read.
    """

    host: dict[str, Any]
    graft: Graft
    edges: tuple[Edge, ...] = ()
    origins: tuple[int, ...] = ()
    notes: tuple[str, ...] = ()


def read(cfg: dict[str, Any]) -> Reading:
    """Read a model YAML dict whose rows may name blocks. Rows of the host are not changed or checked.

    A row of `n` repeats applies n blocks in sequence (n times the depth of the scale in use, as in Ultralytics).

    Raises:
        HostError: the dict is not a model YAML, or an index names no row. The message names every broken row.
        SpecError: the block of an attention row does not take its arguments.
    """
    rows = parse_rows(cfg)
    attention = {row.number: block for row in rows if (block := find_block(row.module)) is not None}
    if not attention:
        return Reading(host=copy.deepcopy(cfg), graft=Graft())
    return _Wiring(cfg, rows, attention).reading()


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

    def __init__(self, cfg: dict[str, Any], rows: list[Row], attention: dict[int, str]) -> None:
        self.cfg, self.rows, self.attention = cfg, rows, attention
        self.host_rows = [row for row in rows if row.number not in attention]
        if not self.host_rows:
            raise HostError("The model YAML has only attention rows, and no host for the graft.")
        self.to_host = {row.number: at for at, row in enumerate(self.host_rows)} | {IMAGE: IMAGE}
        self.signals = {IMAGE: _Signal(IMAGE)}
        self.uses: list[_Use] = []
        for row in rows:
            targets = row.reads()
            if row.number in attention:
                self.signals[row.number] = self._attend(row, targets)
            else:
                self.signals[row.number] = _Signal(row.number)
                self.uses += [_Use(row.number, at, self.signals[target]) for at, target in enumerate(targets)]
        self._check_ends()
        self.host = self._remove_attention()
        self.edge_names = name_head_inputs(parse_rows(self.host))

    def _attend(self, row: Row, targets: tuple[int, ...]) -> _Signal:
        if row.is_list:
            raise HostError(f"{row} reads a list of rows, and '{self.attention[row.number]}' takes one map. Write one "
                            "number without brackets, or -1 for the row before it.")
        before = self.signals[targets[0]]
        if before.source != IMAGE and not has_map_output(self.rows[before.source]):
            raise HostError(f"{row} follows {self.rows[before.source]}, which gives no single map (B, C, H, W). "
                            "Move it before that row.")
        return _Signal(before.source, (*before.chain, row.number))

    def _check_ends(self) -> None:
        last = self.signals[self.rows[-1].number]
        if last.source != self.host_rows[-1].number:
            raise HostError(f"{self.rows[-1]} is the file's last row, so its output would be the output of the "
                            f"model. Move it before {self.host_rows[-1]}, and let that row read it.")
        if last.chain:
            self.uses.append(_Use(len(self.rows), 0, last))  # the model's output counts as a reader
        for use in self.uses:
            if use.signal.source == IMAGE and self.to_host.get(use.reader):
                raise HostError(f"{self.rows[use.reader]} reads the image through an attention row. Only the host's first "
                                "row can do this.")

    def reading(self) -> Reading:
        row_widths = widths(self.rows, self.cfg, frozenset(self.attention))
        settings, arg_notes = {}, {}
        for number, block in self.attention.items():
            settings[number], arg_notes[number] = parse_args(self.rows[number], block, row_widths[number])
        placed: list[tuple[int, Site]] = []
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
        parts = [Part(self.attention[number], (site,), settings[number])
                 for number, site in placed for _ in range(self._repeats(number))]
        edges.sort(key=lambda edge: (edge.shared, edge.reader, edge.position))
        origins = tuple(number for number, _ in placed for _ in range(self._repeats(number)))
        return Reading(host=self.host, graft=Graft(tuple(_join_sites(parts))), edges=tuple(edges), origins=origins,
                       notes=tuple(self._notes(placed, edges, settings, arg_notes)))

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
                raise HostError(f"{self.rows[number]}: some rows read it, and others read the plain map. A graft cannot "
                                "express this for the image or for the model's output.")
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
                    raise HostError(f"{self.rows[number]}: one row reads both its result and the plain map. This works only "
                                    "between rows of the host, and for one repeat.")
                site = Site(str(self.to_host[source]), readers=(self.to_host[use.reader],))
                part = Part(self.attention[number], (site,), settings[number])
                found.append(Edge(reader=self.to_host[use.reader], position=use.position, part=part, shared=number))
        return found

    def _repeats(self, number: int) -> int:
        row = self.rows[number]
        n = row.repeats
        if isinstance(n, bool) or not isinstance(n, int) or not 1 <= n <= _MAX_REPEATS:
            raise SpecError(f"{row} has {short_text(n)} repeats: expected a whole number from 1 to {_MAX_REPEATS}.")
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
        for number, block in self.attention.items():
            site = next((site for at, site in placed if at == number), None)
            own_edges = [edge for edge in edges if edge.shared == number]
            part = str(Part(block, (site or Site("x"),), settings[number])).removesuffix("@x")
            if own_edges:
                inputs = ", ".join(f"input {edge.position} of row {edge.reader}" for edge in own_edges)
                part = f"{own_edges[0].part.block} on {inputs}"
            elif site is None:
                part = "nothing: no row reads it"
            times = f", {self._repeats(number)} times" if self._repeats(number) > 1 else ""
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
