"""The linter for hand-edited model YAML files: each finding has its row, the reason and the fix.

The linter first finds the stock YAML that the file was edited from (`stock_match`). `comparison` then checks that each
`from` still names the row that it named in the stock file. `rules` has the rules for every model: the inputs of a Concat
have equal strides, every module is known, and so on. This file loads the YAML, and checks the file as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from yolograft.errors import GraftError, HostError
from yolograft.language import tr
from yolograft.modelyaml import catalog, compounds, dialects, load, reader, table
from yolograft.modelyaml.comparison import Comparison, check_wiring
from yolograft.modelyaml.findings import Finding, Report
from yolograft.modelyaml.rules import check_blocks, check_modules, check_repetition, check_strides, check_unread
from yolograft.modelyaml.table import Row

__all__ = ["examine", "lint"]

_MAX_BYTES = 10**6  # the largest packaged YAML has 4,000
_MAX_ROWS = 1000  # the largest packaged YAML has 80


def lint(path: str | Path) -> tuple[Finding, ...]:
    """Return the problems of a model YAML file, sorted by row; empty if there are none.

    >>> lint("yolo11-se.yaml")
    ()

    Raises:
        HostError: the file does not exist, or is not a model YAML.
    """
    return examine(path).findings


def examine(path: str | Path) -> Report:
    """Return the findings of a model YAML file, with the stock file it was compared with.

    Raises:
        HostError: the file does not exist, or is not a model YAML.
    """
    return _examine_config(_load(path), path)


def _examine_config(cfg: dict[str, Any], path: str | Path) -> Report:
    """Examine a loaded YAML dict. The scale comes from the name `path`; that file need not exist."""
    cfg_as_written = cfg
    raw_rows = table.raw_rows(cfg)
    if len(raw_rows) > _MAX_ROWS:
        raise HostError(f"{path} has {len(raw_rows):,} rows. A model YAML has at most {_MAX_ROWS}.")
    findings: list[Finding] = []
    rows: list[Row] = []
    try:
        cfg, _ = dialects.translate(cfg)
    except dialects.ForeignModelError as error:
        return Report(path=str(path), compared=tr("not compared"), findings=(
            Finding(row=None, severity="error", what=error.what, why=error.why, fix=error.fix),))
    for number, part, raw in table.raw_rows(cfg):
        try:
            rows.append(compounds.host_row(table.parse_row(number, part, raw)))
        except HostError as error:
            findings.append(Finding(
                row=number, severity="error", what=str(error), why="Ultralytics unpacks four values from each row.",
                fix="Write the row as [from, repeats, module, args], such as [-1, 1, SE, [1024]]."))
    try:
        scale = table.scales(cfg)[0]
    except HostError as error:
        raise HostError(f"{path}: {error}") from error
    findings += _check_file(path, cfg)
    if len(rows) < len(raw_rows):
        return Report(path=str(path), compared="not compared: fix the broken rows first", findings=_sort(findings))
    comparison = Comparison(cfg, rows, Path(path).stem, scale)
    findings += _check_rows(comparison)
    notes: tuple[str, ...] = ()
    if not any(finding.severity == "error" for finding in findings):
        try:
            notes = reader.read(cfg_as_written).notes
        except GraftError as error:
            findings.append(_unreadable(error, rows))
    stock = comparison.match
    if stock and "scales" in stock.cfg and not {"scales", "depth_multiple", "width_multiple"} & set(cfg):
        findings.append(Finding(
            row=None, severity="warning", what="The file has no `scales`.",
            why=f"Without them, every row has its full width and depth. That is much larger than any scale of {stock.name}.",
            fix=f"Copy the `scales` of {stock.name}."))
    return Report(path=str(path), compared=comparison.describe(cfg), findings=_sort(findings), notes=notes)


def _check_rows(comparison: Comparison) -> list[Finding]:
    """Run all row rules. The later rules skip the rows in which the rules for blocks and wiring found a problem."""
    found = [*check_modules(comparison)]
    blocks_and_wiring = [*check_blocks(comparison), *check_wiring(comparison)]
    wrong = frozenset(finding.row for finding in blocks_and_wiring if finding.row is not None)
    return [*found, *blocks_and_wiring, *check_strides(comparison, wrong), *check_unread(comparison, wrong),
            *check_repetition(comparison)]


def _sort(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: -1 if finding.row is None else finding.row))


def _load(path: str | Path) -> dict[str, Any]:
    """Load a file with the scale that its name contains. The name of a packaged model works too."""
    file = Path(path)
    if file.is_dir():
        raise HostError(f"{path} is a folder. Name the model YAML files in it.")
    try:
        if not file.is_file():
            unscaled = file.with_name(re.sub(r"(\d+)[nslmx](?=\D)", r"\1", file.name))
            if not unscaled.is_file():
                return load.load(path)
            file = unscaled
        if file.stat().st_size > _MAX_BYTES:
            raise HostError(f"{path} is not a model YAML: it has more than {_MAX_BYTES:,} bytes.")
        cfg = load.read_text(file)
    except OSError as error:
        raise HostError(f"{path} cannot be read: {error.strerror}.") from error
    if not isinstance(cfg, dict):
        raise HostError(f"{path} is not a model YAML: expected a mapping with `backbone` and `head`.")
    cfg = load.unmarked(cfg)
    scale = catalog.guess_scale(path) or cfg.pop(load.SCALE_KEY, "")
    scales = cfg.get("scales")
    # Ultralytics ignores a `scale` in the file, so the linter does too.
    return {**cfg, "scale": scale if isinstance(scales, dict) and scale in scales else ""}


def _unreadable(error: GraftError, rows: list[Row]) -> Finding:
    number = next((row.number for row in rows if str(row) in str(error)), None)
    return Finding(row=number, severity="error", what=str(error),
                   why="yolograft cannot convert these rows to a host and a graft.",
                   fix="Change the row as described above.")


def _check_file(path: str | Path, cfg: dict[str, Any]) -> Iterator[Finding]:
    name = Path(path)
    scales = cfg.get("scales")
    if "nc" not in cfg:
        yield Finding(row=None, severity="error", what="The file has no `nc`.",
                      why="Ultralytics reads the number of classes from `nc`, even if the data set overrides it later.",
                      fix="Add a line: nc: 80")
    if not isinstance(scales, dict) or len(scales) < 2:
        return
    scale, letters = catalog.guess_scale(name), ", ".join(map(str, scales))
    if scale and scale not in scales:
        yield Finding(row=None, severity="error", what=f"The name '{name.name}' says scale {scale}.",
                      why=f"The file's `scales` are {letters}. Ultralytics stops at any other scale.",
                      fix=f"Rename the file, or add the scale: {scale}: [depth, width, max_channels].")
    elif not scale and not re.search(r"yolo(e-)?v?\d+(?![0-9nslmx])", name.stem):
        yield Finding(row=None, severity="warning", what=f"No scale can be chosen by the name '{name.name}'.",
                      why=f"Ultralytics reads the scale after the version in a file's name (yolo11s-...). This name has no "
                          f"version, so all scales ({letters}) build the first one, '{next(iter(scales))}'.",
                      fix=f"Rename the file so that it starts with its version, such as yolo11-{name.stem}.yaml. "
                          f"For scale s, open it as yolo11s-{name.stem}.yaml.")
