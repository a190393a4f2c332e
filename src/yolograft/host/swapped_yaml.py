"""The model YAML of a swapped model: a swap in a row becomes that row's module, with its arguments.

Some stay as the key `swap` of the YAML: a swap inside a row; one whose channels the file's width and cap cannot
express; C2f_SE, C3k2_CBAM and the like, which mean a graft in a row; and all, if Ultralytics would build another head for
the new rows.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `parse_model` builds the class branches of heads as in v8 if no
row is a C3k2, A2C2f or C2fCIB.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from yolograft import modules
from yolograft.host import swaps
from yolograft.host.module_rows import stock_base
from yolograft.host.open import open_model
from yolograft.modelyaml import compounds, table
from yolograft.modelyaml.load import GRAFT_KEY, SWAP_KEY, host_yaml
from yolograft.modelyaml.module_rows import is_module
from yolograft.modelyaml.table import Row, Scaling
from yolograft.spec import Swap

__all__ = ["swapped_yaml"]

_NOT_LEGACY = {"C3k2", "A2C2f", "C2fCIB"}


def swapped_yaml(config: dict[str, Any], name: str, swap: str) -> dict[str, Any]:
    """Return a model's YAML dict with a swap, for the scale of the model.

    Args:
        config: the YAML dict of the model.
        name: the checkpoint or model YAML.
        swap: the text of the swap.

    Raises:
        GraftError: the swap does not fit the model, or the model carries one already.
    """
    model: Any = open_model(name).model
    swaps.refuse_second(model, Swap.parse(swap))
    planned = swaps.plan_swap(swaps.without_blocks(model), Swap.parse(swap))
    host = host_yaml(config)
    rows, scaling = table.parse_rows(host), table.scales(host)[0]
    edited = {**config, "backbone": list(host["backbone"]), "head": list(host["head"])}
    rest = []
    for one in planned:
        arguments = _arguments(rows[one.row], one, scaling) if one.is_row else None
        if arguments is None:
            rest.append(one)
            continue
        row = rows[one.row]
        source: Any = list(row.sources) if row.is_list else row.sources[0]
        at = row.number - (len(host["backbone"]) if row.part == "head" else 0)
        edited[row.part][at] = [source, row.repeats, one.part.block, arguments]
    if _is_legacy(table.parse_rows(edited)) != _is_legacy(rows):
        edited, rest = dict(config), planned
    if not rest:
        return edited
    marked = swaps.with_swap({key: value for key, value in edited.items() if key not in (GRAFT_KEY, SWAP_KEY)},
                             swaps.canonical(rest))
    return {**marked, **({GRAFT_KEY: config[GRAFT_KEY]} if GRAFT_KEY in config else {})}


def _is_legacy(rows: list[Row]) -> bool:
    bases = {row.module: stock_base(row) for row in rows if is_module(row.module)}
    names = {row.module for row in rows} | {base.__name__ for base in bases.values() if base is not None}
    return not names & _NOT_LEGACY


def _arguments(row: Row, one: swaps.Swapped, scaling: Scaling) -> list[Any] | None:
    """Return the arguments of the row with its new module; None if no row can express it."""
    renamed = replace(row, module=one.part.block)
    if compounds.host_row(renamed).module != renamed.module:
        return None
    base = stock_base(renamed)
    habit = modules.describe_channels(one.call.cls)
    settings = {key: list(value) if isinstance(value, tuple) else value for key, value in one.call.settings.items()}
    if base is not None and base.__name__ == row.module:  # Ultralytics parses both alike, at every scale
        own = {key: settings[key] for key, _ in one.part.settings}
        return [*row.args, *([own] if own else [])]
    if habit.takes_repeats:
        del settings[next(name for name in settings if name in one.call.repeats)]
    found: list[Any] = []
    if habit.kind in ("c1,c2", "[c],c2"):
        width = _width(row, one.call.output, scaling)
        if width is None:
            return None
        found.append(width)
    return [*found, *([settings] if settings else [])]


def _width(row: Row, output: int, scaling: Scaling) -> int | None:
    """Return the number of channels that the file's width scales to `output`; None if there is none."""
    own = row.args[0] if row.module in table.SCALED_WIDTH and row.args else None
    for width in (own, round(output / scaling.width)):
        if isinstance(width, int) and width > 0 and scaling.channels(width) == output:
            return width
    return None
