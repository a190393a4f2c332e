"""The layer table and the summary that Ultralytics prints when it builds a model, with the blocks at their places.

Ultralytics prints both before the model has its blocks. Therefore `show_blocks` holds the log back, and prints it when the
blocks are attached: a line for each block in the table, and the summary of the grafted model.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `parse_model` logs one line per row, which starts with the row's number.
`model_info` logs the summary, and `BaseModel.load` the number of loaded tensors ("Transferred ..."). A log record has the
name of the function that made it.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from torch import nn
from ultralytics.utils import LOGGER

from yolograft import attach, blocks
from yolograft.language import tr
from yolograft.sites import probe, rows

__all__ = ["HeldLog", "block_lines", "carried", "show_blocks"]

_ROW = re.compile(r"\s*(\d+)\s")
_TRANSFERRED = re.compile(r"Transferred (\d+)/\d+ ")


@dataclass
class HeldLog:
    """Log records that are held back until the model is complete.

    Attributes:
        network: the complete model; None until it is built.
        transferred: the number of tensors that Ultralytics loaded from a checkpoint; None if it loaded none. Its own line
            is not printed for a grafted network, since that count does not include the blocks.
        has_own_count: whether yolograft prints the count for a network without blocks too.
        swapped: the network, if a swap replaced modules in it.
        swapped_lines: the table's lines of the rows that the swap changed. A line that starts with the row's number takes
            the place of Ultralytics' own line.
    """

    network: nn.Module | None = None
    transferred: int | None = None
    has_own_count: bool = False
    swapped: nn.Module | None = None
    swapped_lines: dict[int, list[str]] = field(default_factory=dict)
    _records: list[logging.LogRecord] = field(default_factory=list)

    def hold(self, record: logging.LogRecord) -> None:
        """Keep a record for later."""
        match = _TRANSFERRED.match(record.getMessage()) if record.funcName == "load" else None
        if match:
            self.transferred = int(match[1])
        self._records.append(record)

    def show_swap(self, network: nn.Module, lines: dict[int, list[str]]) -> None:
        """Show the modules of a swap in the table, and the summary of the swapped network."""
        if lines:
            self.swapped, self.swapped_lines = network, lines

    def release(self) -> None:
        """Print all records, with the blocks of `network`."""
        records, self._records = self._records, []
        network = self.network if self.network is not None and attach.grafts(self.network) else None
        before, after = block_lines(network) if network is not None and any(
            map(_is_of_table, records)) else ({}, {})
        for record in records:
            text = record.getMessage()
            row = _ROW.match(text) if _is_of_table(record) else None
            changed = network if network is not None else self.swapped
            if changed is not None and record.funcName == "model_info":
                changed.info()  # type: ignore[operator]  # the summary of the grafted model
                continue
            if (network is not None or self.has_own_count) and record.funcName == "load" and _TRANSFERRED.match(text):
                continue
            for line in before.pop(int(row[1]), []) if row else []:
                LOGGER.info(line)
            own = self.swapped_lines.pop(int(row[1]), []) if row else []
            if not any(_ROW.match(line) for line in own):
                LOGGER.handle(record)
            for line in own:
                LOGGER.info(line)
            for line in after.pop(int(row[1]), []) if row else []:
                LOGGER.info(line)


def _is_of_table(record: logging.LogRecord) -> bool:
    return record.funcName in ("parse_model", "log_rows")  # `log_rows`: that of `module_rows`


@contextmanager
def show_blocks() -> Iterator[HeldLog]:
    """Hold the log of this thread back inside a `with` block, and print it at its end with the blocks of `network`."""
    held, thread = HeldLog(), threading.get_ident()

    def hold(record: logging.LogRecord) -> bool:
        if record.thread != thread:
            return True
        held.hold(record)
        return False

    LOGGER.addFilter(hold)
    try:
        yield held
    finally:
        LOGGER.removeFilter(hold)
        held.release()


def block_lines(network: nn.Module) -> tuple[dict[int, list[str]], dict[int, list[str]]]:
    """Return the table's lines of the blocks before and after each row, by the row's number.

    Blocks with the same settings in the modules of one row share a line: its column `n` is their number.
    """
    shapes = probe(network).outputs
    reads = {row.index: row.reads for row in rows(network)}
    groups: dict[tuple[int, bool, str, int, int, str], list[str]] = {}
    for prefix, block in attach.grafts(network).items():
        parts = prefix.split(".")
        row = int(parts[1])
        container = next(part for part in parts if part in (attach.OUT, attach.PRE, attach.IN, attach.SKIP))
        inside = parts[2:parts.index(container)]
        if container == attach.IN:
            place = f"{reads[row][int(parts[-2])]}>{row}"
        else:
            place = ".".join([str(row), *inside]) + {attach.PRE: "/pre", attach.SKIP: "/skip"}.get(container, "")
        shape = shapes.get(prefix)
        arguments = ", ".join([*([str(shape[1])] if shape else []), *_changed_settings(network, block)])
        kind = f"{type(block).__module__}.{type(block).__qualname__}"
        is_before = container in (attach.IN, attach.PRE) and not inside
        parameters = sum(parameter.numel() for parameter in block.parameters())
        groups.setdefault((row, is_before, kind, parameters, len(inside), arguments), []).append(place)
    before: dict[int, list[str]] = {}
    after: dict[int, list[str]] = {}
    for (row, is_before, kind, parameters, _, arguments), places in groups.items():
        where = places[0] if len(places) == 1 else f"{places[0]}, ..."
        line = f"{'+':>3}{where:>20}{len(places):>3}{parameters * len(places):10.0f}  {kind:<45}{f'[{arguments}]':<30}"
        (before if is_before else after).setdefault(row, []).append(line)
    return before, after


def _changed_settings(network: nn.Module, block: nn.Module) -> list[str]:
    """Return the settings of a block that differ from the defaults, if its class appears with one set of settings only."""
    found = {part.settings for part in attach.grafted(network).parts if blocks.lookup(part.block) is type(block)}
    if len(found) != 1:
        return []
    (settings,) = found
    name = next(part.block for part in attach.grafted(network).parts if blocks.lookup(part.block) is type(block))
    defaults = blocks.defaults(name)
    return [f"{key}={value}" for key, value in settings if defaults.get(key, ...) != value]


def carried(network: Any, graft: str) -> str:
    """Return the sentence that says which graft a model carries.

    Args:
        network: the grafted model.
        graft: the short text of its graft.
    """
    found = attach.grafts(network).values()
    parameters = sum(parameter.numel() for block in found for parameter in block.parameters())
    return tr("yolograft: the model carries the graft {graft}: {count} attention blocks, {parameters} parameters in all",
              graft=graft, count=len(found), parameters=f"{parameters:,}") if len(found) != 1 else tr(
                  "yolograft: the model carries the graft {graft}: 1 attention block, {parameters} parameters", graft=graft,
                  parameters=f"{parameters:,}")
