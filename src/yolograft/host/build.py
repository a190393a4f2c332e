"""The model YAML for a build: attention rows of a hand-edited file become a graft, and errors name the row of the file.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `parse_model` builds the rows in a loop with the local name `i`, and
`_predict_once` runs them in a loop with the local name `m`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from ultralytics.utils import LOGGER

from yolograft.errors import GraftError, HostError
from yolograft.host.log import warn
from yolograft.language import tr
from yolograft.modelyaml import catalog, compounds, dialects, module_rows, reader, table, torchvision_weights
from yolograft.modelyaml.lint import lint
from yolograft.modelyaml.load import GRAFT_KEY, load
from yolograft.modelyaml.signatures import find_block
from yolograft.modelyaml.unknown import explain_unknown
from yolograft.spec import Graft

__all__ = ["model_config", "name_failing_row"]


def model_config(path: str | Path) -> dict[str, Any]:
    """Load a model YAML for a build. Attention rows become the graft in the `graft` key; the log says how each was read.

    Raises:
        GraftError: the file does not exist, is not a model YAML, or has invalid attention rows or unknown modules.
    """
    config = load(path)
    try:
        reading = reader.read(config)
    except GraftError as error:
        raise type(error)(tr("model={path}: {error}", path=path, error=error)) from error
    if reading.edges:
        raise HostError(tr("model={path}: a row reads one map both with and without attention, through two of its inputs. "
                           "A graft cannot express this. {note}", path=path, note=reading.notes[-1]))
    _check_modules(path, reading)
    for note in (*reading.notes, *_describe_modules(path, config)):
        LOGGER.info(f"yolograft: {note}")
    if reading.graft:
        errors = [finding for finding in lint(path) if finding.severity == "error"]
        if errors:
            warn(tr("model={path} has an error, and is used unchanged. {what} {why} To see every error and its fix: "
                    "yolograft lint {path}", path=path, what=errors[0].what, why=errors[0].why))
    graft = Graft.parse(str(config.get(GRAFT_KEY) or "none")) + reading.graft
    host = dict(reading.host)
    host.pop(GRAFT_KEY, None)
    return {**host, GRAFT_KEY: str(graft)} if graft else host


def _check_modules(path: str | Path, reading: reader.Reading) -> None:
    rows = table.parse_rows(reading.host)
    unknown = [row for row in rows if not catalog.has_module(row.module) and not module_rows.is_module(row.module)]
    for row in rows:
        if not unknown and (url := torchvision_weights.find_download(row)) is not None:
            raise HostError(tr("model={path}: {error}", path=path,
                               error=torchvision_weights.describe(row, reading.numbers[row.number], url)))
    if not unknown:
        return
    known = [row.module for row in rows if row not in unknown]
    _, fix = explain_unknown(unknown[0].module, [*known, *table.STOCK_MODULES])
    number = reading.numbers[unknown[0].number]
    others = [str(reading.numbers[row.number]) for row in unknown[1:]]
    more = tr(" (rows {numbers} have unknown modules too)", numbers=", ".join(others)) if others else ""
    raise HostError(tr("model={path}: row {number} {row}: no module is named '{module}'{more}. {fix} To see every error and "
                       "its fix: yolograft lint {path}", path=path, number=number, row=unknown[0].text,
                       module=unknown[0].module, more=more, fix=fix))


def _describe_modules(path: str | Path, config: dict[str, Any]) -> list[str]:
    """Return how the arguments of each row of a registered module were read.

    Raises:
        HostError: such a row cannot be built.
    """
    config, _ = dialects.translate(config)
    rows = [compounds.host_row(row) for row in table.parse_rows(config)]
    if not any(module_rows.is_module(row.module) for row in rows):
        return []
    attention = [row.number for row in rows if find_block(row.module) is not None]
    measured = module_rows.measure_table(rows, table.scales(config)[0], config.get("channels", 3), attention)
    for error in measured.errors.values():
        raise HostError(tr("model={path}: {error}", path=path, error=error)) from error
    return list(measured.texts.values())


@contextmanager
def name_failing_row(path: str | Path) -> Iterator[None]:
    """Turn an error of `parse_model` or of the first forward pass into a `HostError` that names the row in the file."""
    try:
        yield
    except GraftError:
        raise
    except Exception as error:  # constructors and layers of Ultralytics and PyTorch raise many types
        found = _failing_row(error.__traceback__)
        if found is None:
            raise
        number, is_built = found
        reason = " ".join(str(error).split()) or type(error).__name__
        reason = (reason if len(reason) <= 300 else reason[:297] + "...").rstrip(".")
        if number < 0:
            raise HostError(tr("model={path} cannot be built: {reason}. Check `scales`, `activation` and the other lines "
                               "before the rows.", path=path, reason=reason)) from error
        row = _describe(path, number)
        if is_built:
            raise HostError(tr("model={path}: {row} does not fit the maps that it reads: {reason}. To see every error and "
                               "its fix: yolograft lint {path}", path=path, row=row, reason=reason)) from error
        raise HostError(tr("model={path}: {row} cannot be built: {reason}. Check its arguments, and the channels of the "
                           "rows that it reads: yolograft lint {path}", path=path, row=row, reason=reason)) from error


def _failing_row(traceback: TracebackType | None) -> tuple[int, bool] | None:
    """Return the number of the row that failed, -1 before the first, and whether it was built; None for other errors."""
    found = None
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_code.co_name == "parse_model":
            number = frame.f_locals.get("i", -1)
            found = (number if isinstance(number, int) else -1), False
        elif frame.f_code.co_name == "_predict_once" and isinstance(getattr(frame.f_locals.get("m"), "i", None), int):
            found = frame.f_locals["m"].i, True
        traceback = traceback.tb_next
    return found


def _describe(path: str | Path, number: int) -> str:
    """Return the text of a row of the host, with its number in the file."""
    try:
        reading = reader.read(load(path))
        row = table.parse_rows(reading.host)[number]
    except (GraftError, IndexError):
        return tr("row {number}", number=number)
    return tr("row {number} {row}", number=reading.numbers[number], row=row.text)
