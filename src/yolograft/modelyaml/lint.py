"""The linter for hand-edited model YAML files: each finding has its row, the reason and the fix.

The linter first finds the stock YAML that the file was edited from (`stock_match`). `comparison` then checks that each
`from` still names the row that it named in the stock file. `rules` has the rules for every model: the inputs of a Concat
have equal strides, every module is known, and so on. This file loads the YAML, and checks the file as a whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from yolograft.errors import GraftError, HostError
from yolograft.language import tr
from yolograft.modelyaml import catalog, compounds, dialects, load, reader, table, untrusted
from yolograft.modelyaml.attention import check_bypassed, describe_readers
from yolograft.modelyaml.comparison import Comparison
from yolograft.modelyaml.findings import Finding, Report
from yolograft.modelyaml.mends import Mend
from yolograft.modelyaml.rules import (
    check_blocks,
    check_head_inputs,
    check_modules,
    check_repetition,
    check_strides,
    check_unread,
)
from yolograft.modelyaml.table import Row
from yolograft.modelyaml.wiring import check_wiring

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
        raise HostError(tr("{path} has {count:,} rows. A model YAML has at most {most}.", path=path, count=len(raw_rows),
                           most=_MAX_ROWS))
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
                row=number, severity="error", what=str(error), why=tr("Ultralytics unpacks four values from each row."),
                fix=tr("Write the row as [from, repeats, module, args], such as [-1, 1, SE, [1024]].")))
    try:
        scale = table.scales(cfg)[0]
    except HostError as error:
        raise HostError(f"{path}: {error}") from error
    findings += _check_file(path, cfg)
    if len(rows) < len(raw_rows):
        return Report(path=str(path), compared=tr("not compared: fix the broken rows first"), findings=_sort(findings))
    comparison = Comparison(cfg, rows, Path(path).stem, scale)
    findings += _check_rows(comparison)
    notes: tuple[str, ...] = ()
    if not any(finding.severity == "error" for finding in findings):
        try:
            notes = reader.read(cfg_as_written).notes
        except GraftError as error:
            findings.append(_unreadable(error))
    stock = comparison.match
    if stock and "scales" in stock.cfg and not {"scales", "depth_multiple", "width_multiple"} & set(cfg):
        findings.append(Finding(
            row=None, severity="warning", what=tr("The file has no `scales`."),
            why=tr("Without them, every row has its full width and depth. That is much larger than any scale of {stock}.",
                   stock=stock.name),
            fix=tr("Copy the `scales` of {stock}.", stock=stock.name)))
    return Report(path=str(path), compared=comparison.describe(cfg), findings=_sort(findings),
                  notes=(*notes, *comparison.measured.texts.values(), *describe_readers(comparison)))


def _check_rows(comparison: Comparison) -> list[Finding]:
    """Run all row rules. Each rule sees the file with the mends of the rules before, so that one slip is one finding."""
    found = [*check_modules(comparison), *check_blocks(comparison)]
    broken = {finding.row for finding in found if finding.severity == "error" and finding.row not in comparison.unknown}
    wiring = check_wiring(comparison)
    broken |= {finding.row for finding in wiring if not finding.mends}
    found += wiring
    skip = frozenset(row for row in broken if row is not None)
    for rule in (check_strides, check_unread):
        found += rule(comparison.mended(_mends(found, "error")), skip)
    for warn in (check_head_inputs, check_bypassed):
        found += warn(comparison.mended(_mends(found, "error") + _mends(found, "warning")))
    found += check_repetition(comparison)
    return _settle_mends(found)


def _mends(findings: list[Finding], severity: str) -> list[Mend]:
    return [mend for finding in findings if finding.severity == severity for mend in finding.mends]


def _settle_mends(findings: list[Finding]) -> list[Finding]:
    """Give all mends of one row the same `from`, the last one found, so that their order does not matter.

    The mends of errors do not include those of warnings, which may be intended. Those of warnings include those of errors.
    """
    last = {severity: {mend.row: mend for finding in findings if finding.severity in severities for mend in finding.mends}
            for severity, severities in (("error", ("error",)), ("warning", ("error", "warning")))}
    return [replace(finding, mends=tuple(last[finding.severity][mend.row] for mend in finding.mends))
            for finding in findings]


def _sort(findings: list[Finding]) -> tuple[Finding, ...]:
    return tuple(sorted(findings, key=lambda finding: -1 if finding.row is None else finding.row))


def _load(path: str | Path) -> dict[str, Any]:
    """Load a file with the scale that its name contains. The name of a packaged model works too."""
    file = Path(path)
    if file.is_dir():
        raise HostError(tr("{path} is a folder. Name the model YAML files in it.", path=path))
    try:
        if not file.is_file():
            unscaled = file.with_name(re.sub(r"(\d+)[nslmx](?=\D)", r"\1", file.name))
            if not unscaled.is_file():
                return load.load(path)
            file = unscaled
        if file.stat().st_size > _MAX_BYTES:
            raise HostError(tr("{path} is not a model YAML: it has more than {most:,} bytes.", path=path, most=_MAX_BYTES))
        cfg = load.read_text(file)
    except OSError as error:
        raise HostError(tr("{path} cannot be read: {reason}.", path=path, reason=error.strerror)) from error
    if not isinstance(cfg, dict):
        raise HostError(tr("{path} is not a model YAML: expected a mapping with `backbone` and `head`.", path=path))
    cfg = load.unmarked(cfg)
    scale = catalog.guess_scale(path) or cfg.pop(load.SCALE_KEY, "")
    scales = cfg.get("scales")
    # Ultralytics ignores a `scale` in the file, so the linter does too.
    return {**cfg, "scale": scale if isinstance(scales, dict) and scale in scales else ""}


def _unreadable(error: GraftError) -> Finding:
    return Finding(row=error.row, severity="error", what=str(error),
                   why=tr("yolograft cannot convert these rows to a host and a graft."),
                   fix=tr("Change the row as described above."))


def _check_file(path: str | Path, cfg: dict[str, Any]) -> Iterator[Finding]:
    name = Path(path)
    scales = cfg.get("scales")
    try:
        untrusted.check_activation(cfg.get("activation"))
    except HostError as error:
        yield Finding(row=None, severity="error", what=str(error),
                      why=tr("Ultralytics evaluates the text of `activation` as Python code. yolograft does not open such "
                             "a file."),
                      fix=tr("Write an activation of torch.nn, such as nn.SiLU(). Do not open the file with `yolo`."))
    if "nc" not in cfg:
        yield Finding(row=None, severity="error", what=tr("The file has no `nc`."),
                      why=tr("Ultralytics reads the number of classes from `nc`, even if the data set overrides it later."),
                      fix=tr("Add a line: nc: 80"))
    if not isinstance(scales, dict) or len(scales) < 2:
        return
    scale, letters = catalog.guess_scale(name), ", ".join(map(str, scales))
    if scale and scale not in scales:
        yield Finding(row=None, severity="error",
                      what=tr("The name '{name}' says scale {scale}.", name=name.name, scale=scale),
                      why=tr("The file's `scales` are {letters}. Ultralytics stops at any other scale.", letters=letters),
                      fix=tr("Rename the file, or add the scale: {scale}: [depth, width, max_channels].", scale=scale))
    elif not scale and not re.search(r"yolo(e-)?v?\d+(?![0-9nslmx])", name.stem):
        yield Finding(row=None, severity="warning", what=tr("No scale can be chosen by the name '{name}'.", name=name.name),
                      why=tr("Ultralytics reads the scale after the version in a file's name (yolo11s-...). This name has "
                             "no version, so all scales ({letters}) build the first one, '{first}'.", letters=letters,
                             first=next(iter(scales))),
                      fix=tr("Rename the file so that it starts with its version, such as yolo11-{stem}.yaml. For scale s, "
                             "open it as yolo11s-{stem}.yaml.", stem=name.stem))
