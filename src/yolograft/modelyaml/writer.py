"""The writer of hand-edited model YAML files: each block of a graft becomes a row, and later indices are shifted.

`write` is the inverse of `reader.read`, for users who need the graft in a file.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import yaml

from yolograft import blocks
from yolograft.errors import GraftError, HostError, SiteError, nearest
from yolograft.language import tr
from yolograft.modelyaml.reader import read
from yolograft.modelyaml.signatures import format_args, row_name
from yolograft.modelyaml.table import (
    IMAGE,
    Row,
    channels,
    format_source,
    has_map_output,
    name_head_inputs,
    parse_rows,
    scales,
)
from yolograft.sites import find_rows
from yolograft.spec import Graft, Part, Site

__all__ = ["dump", "write"]


def write(cfg: dict[str, Any], graft: Graft | str) -> dict[str, Any]:
    """Return a new model YAML dict with one row per block, and with later indices shifted.

    Arguments are `[]`, `[16]` or a mapping (see `signatures`). They contain no channels, so the file works at every scale.
    `reader.read` returns the same host and the same graft.

    >>> write(yaml_model_load("yolo11n.yaml"), "se@8")["backbone"][9]  # doctest: +SKIP
    [-1, 1, 'SE', []]

    Raises:
        SiteError: no row can express a site, such as a module inside a row.
        BlockError: a block or a setting does not exist, or a value is invalid at this site.
        HostError: the dict is not a model YAML.
    """
    reading = read(cfg)
    if reading.edges:
        raise HostError(tr("A row of this file reads one map both attended and plain. yolograft can read such a file, but "
                           "cannot write more rows into it."))
    return _Plan(reading.host, reading.graft + Graft.of(graft)).rows_with_blocks()


def dump(cfg: dict[str, Any], graft: Graft | str, swap: str = "") -> str:
    """Return `write(cfg, graft)` as the text of a YAML file: one line per row, with the row's number as a comment.

    Args:
        cfg: the YAML dict.
        graft: the blocks to write.
        swap: the text of the swap that the dict has already, for the first line.
    """
    edited = write(cfg, graft)
    edited.pop("yaml_file", None)  # a path of this machine
    used, table = edited.pop("scale", None), edited.get("scales")
    if used and isinstance(table, dict) and used in table:  # if a file's name has no scale, Ultralytics takes the first one
        edited["scales"] = {used: table[used], **table}
    value = Graft.of(graft)
    texts = {**({"swap": swap} if swap else {}), **({"graft": str(value)} if value or not swap else {})}
    lines = [f"# {', '.join(map(repr, texts.values()))} as rows, written by yolograft (the same without a file: "
             f"{' '.join(f'{key}={text!r}' for key, text in texts.items())})"]
    number = 0
    for key, value in edited.items():
        if key not in ("backbone", "head"):
            flow = None if isinstance(value, (dict, list)) else False
            lines.append(yaml.safe_dump({key: value}, default_flow_style=flow, sort_keys=False, width=10**6).rstrip())
    for part in ("backbone", "head"):
        lines += ["", f"{part}:  # [from, repeats, module, args]"] if edited[part] else ["", f"{part}: []"]
        for row in edited[part]:
            text = yaml.safe_dump(row, default_flow_style=True, sort_keys=False, width=10**6).strip()
            lines.append(f"  - {text}  # {number}")
            number += 1
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Insert:
    """An attention row to insert: on the output of row `source` (`inputs` is empty), or on some inputs of its readers."""

    part: Part
    source: int
    inputs: tuple[tuple[int, int], ...] = ()  # (reading row, position)


class _Plan:
    """The position of each block's row among the rows of the host."""

    def __init__(self, host: dict[str, Any], graft: Graft) -> None:
        self.host, self.rows = host, parse_rows(host)
        self.reads = [row.reads() for row in self.rows]
        self.channels = channels(self.rows, scales(host)[0])
        self.edge_names = name_head_inputs(self.rows)
        self.parts_and_kinds = [(self._part(row), row.kind) for row in self.rows]
        self.inserts: list[_Insert] = []
        errors: list[GraftError] = []
        for part in graft.parts:
            for site in part.sites:
                try:
                    self.inserts += [self._check(insert) for insert in self._resolve(part, site)]
                except GraftError as error:
                    errors.append(error)
        if errors:
            raise type(errors[0])("\n".join(dict.fromkeys(map(str, errors))))

    def _part(self, row: Row) -> str:
        return row.part if row.part == "backbone" else "head" if row.number == len(self.rows) - 1 else "neck"

    def _resolve(self, part: Part, site: Site) -> list[_Insert]:
        name = site.path.removeprefix("model.")
        if name in self.edge_names.values() and not site.pre and not site.readers:
            source = next(number for number, edge in self.edge_names.items() if edge == name)
            head = len(self.rows) - 1
            return [_Insert(part, source, ((head, self.reads[head].index(source)),))]
        found = self._find_rows(site, name)
        if site.index is not None:
            if not -len(found) <= site.index < len(found):
                raise SiteError(tr("No site '{site}': '{path}' names {count} row(s).", site=site, path=site.path,
                                   count=len(found)))
            found = [found[site.index]]
        return [self._place(part, site, number) for number in found]

    def _find_rows(self, site: Site, name: str) -> list[int]:
        scope, _, rest = name.rpartition(".")
        if scope not in ("backbone", "neck", ""):
            hint = nearest(name, [f"backbone.{rest}", f"neck.{rest}"])
            if hint and rest.lstrip("-").isdecimal():
                raise SiteError(tr("No site '{site}' in this YAML.{hint}", site=site, hint=hint))
            raise SiteError(tr("'{site}' cannot be a row of a YAML file: it names what is inside a row. Graft it without a "
                               "file (graft='...@{site}'), or name a row, such as '8'.", site=site))
        found = find_rows(self.parts_and_kinds, scope, rest)
        if found:
            return found
        numbers = [row.number for row in self.rows if not scope or self._part(row) == scope]
        if rest.lstrip("-").isdecimal():
            number = int(rest)
            bounds = tr("{first} to {last}", first=numbers[0], last=numbers[-1]) if numbers else tr("none")
            near = tr(" Did you mean '{name}'?", name=f"backbone.{number}") if number < 0 and not scope else ""
            if scope:
                raise SiteError(tr("No site '{site}' in this YAML: its {scope} is rows {bounds}.{hint}", site=site,
                                   scope=scope, bounds=bounds, hint=near))
            raise SiteError(tr("No site '{site}' in this YAML: its rows are {bounds}.{hint}", site=site, bounds=bounds,
                               hint=near))
        kinds = {self.rows[number].kind: None for number in numbers}
        raise SiteError(tr("'{site}' cannot be a row of a YAML file: no row of it is of that class, and modules inside rows "
                           "have no rows of their own.{hint}", site=site,
                           hint=nearest(rest, [*kinds, *self.edge_names.values()])))

    def _place(self, part: Part, site: Site, number: int) -> _Insert:
        row = self.rows[number]
        if site.skip:
            raise SiteError(tr("'{site}' cannot be a row: the identity branch of {row} is inside it. Graft it without a "
                               "file (graft='...@{site}').", site=site, row=row))
        if site.pre:
            if len(self.reads[number]) > 1:
                raise SiteError(tr("'{site}' cannot be a row: {row} reads {count} maps. Name a row that it reads ({reads}).",
                                   site=site, row=row, count=len(self.reads[number]),
                                   reads=", ".join(map(str, self.reads[number]))))
            return _Insert(part, self.reads[number][0], ((number, 0),))
        if site.readers:
            inputs = [(reader, at) for reader in site.readers if reader < len(self.rows)
                      for at, source in enumerate(self.reads[reader]) if source == number]
            not_readers = set(site.readers) - {reader for reader, _ in inputs}
            if not_readers:
                actual = [str(other.number) for other in self.rows if number in self.reads[other.number]]
                raise SiteError(tr("'{site}': row {reader} does not read row {number}; these rows read it: {readers}.",
                                   site=site, reader=min(not_readers), number=number,
                                   readers=", ".join(actual) or tr("(none)")))
            return _Insert(part, number, tuple(sorted(inputs)))
        return _Insert(part, number)

    def _check(self, insert: _Insert) -> _Insert:
        source = insert.source
        if source != IMAGE and (source == len(self.rows) - 1 or not has_map_output(self.rows[source])):
            raise SiteError(tr("'{part}' cannot be a row: {row} gives no map (B, C, H, W) to other rows.", part=insert.part,
                               row=self.rows[source]))
        import torch

        width = 3 if source == IMAGE else self.channels[source]
        with torch.random.fork_rng(devices=[]):  # building the block here finds invalid values before they reach the file
            blocks.create(insert.part.block, width or 1024, **dict(insert.part.settings))
        return insert

    def rows_with_blocks(self) -> dict[str, Any]:
        """Return the YAML dict with the attention rows inserted."""
        self._check_shared()
        edited: dict[str, list[Any]] = {"backbone": [], "head": []}
        outputs = {IMAGE: IMAGE}  # host row -> the row of the file that its readers read
        inputs: dict[tuple[int, int], int] = {}
        count = 0

        def append_block(insert: _Insert, source: int, part: str) -> int:
            block = blocks.canonical(insert.part.block)
            name = row_name(block)
            # A row for some readers only has an absolute `from`: so the reader tells `p5` from `22`, and the linter an
            # intended branch from a number that was not shifted.
            is_branch = bool(insert.inputs) and (self.rows[insert.inputs[0][0]].is_list or len(insert.inputs) < sum(
                targets.count(insert.source) for targets in self.reads))
            number = source if source != count - 1 or is_branch else -1
            row = Row(count, part, (number,), False, 1, name, [])
            edited[part].append([number, 1, name, format_args(row, block, insert.part.settings)])
            return count

        for row in self.rows:
            for insert in [insert for insert in self.inserts if insert.inputs and insert.inputs[0][0] == row.number]:
                at = append_block(insert, inputs.get(insert.inputs[0], outputs[insert.source]), row.part)
                inputs |= dict.fromkeys(insert.inputs, at)
                count += 1
            sources = [format_source(source, count, inputs.get((row.number, at), outputs[target]))
                       for at, (source, target) in enumerate(zip(row.sources, self.reads[row.number], strict=True))]
            edited[row.part].append([sources if row.is_list else sources[0], row.repeats, row.module, list(row.args)])
            outputs[row.number] = count
            count += 1
            for insert in [insert for insert in self.inserts if not insert.inputs and insert.source == row.number]:
                outputs[row.number] = append_block(insert, outputs[row.number], row.part)
                count += 1
        return {**copy.deepcopy(self.host), **copy.deepcopy(edited)}

    def _check_shared(self) -> None:
        chains: dict[tuple[int, int], tuple[int, ...]] = {}
        for number, insert in enumerate(self.inserts):
            before = {chains.get(at, ()) for at in insert.inputs}
            if len(before) > 1:
                raise SiteError(tr("'{part}' cannot be a row: earlier blocks of this graft give its readers different maps. "
                                   "Write the graft that all of them share first.", part=insert.part))
            chains |= {at: (*chains.get(at, ()), number) for at in insert.inputs}
