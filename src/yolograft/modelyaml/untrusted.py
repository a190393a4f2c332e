"""Check a model YAML dict before Ultralytics builds it, since the file can come from a stranger.

Ultralytics evaluates the text of `activation:` as Python, and calls whatever the name of a row's module is in the globals
of `ultralytics.nn.tasks`, functions included. So the text must be a class of `torch.nn` with literal arguments, and every
module must be a class of a layer. The limits keep a short file from taking minutes or all memory.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from typing import Any

from yolograft.errors import HostError, nearest
from yolograft.language import tr
from yolograft.modelyaml import catalog, module_rows, table

__all__ = ["MAX_REPEATS", "check", "check_activation", "check_repeats"]

MAX_REPEATS = 200  # at a scale's depth of 1; the packaged files have at most 9
_MAX_NUMBER = 10**4  # in the arguments of an activation: PReLU allocates as many parameters as its argument says
_MAX_LENGTH = 200  # characters


def check(config: Mapping[str, Any]) -> None:
    """Raise `HostError` if a model YAML dict has a text that could run code, or a number that is too large to build."""
    check_activation(config.get("activation"))
    check_repeats(config)
    for row in table.parse_rows(dict(config)):
        if not catalog.has_module(row.module) and not module_rows.is_module(row.module):
            raise HostError(tr("{row}: '{module}' is not the class of a layer, so it is not built.", row=row,
                               module=row.module[:60]))


def check_repeats(config: Mapping[str, Any]) -> None:
    """Raise `HostError` if a row repeats its module too often, at the largest depth of the file's scales."""
    try:
        depth = max(1.0, *(scale.depth for scale in table.scales(dict(config))))
    except HostError:  # reported where the scale is used
        depth = 1.0
    for number, _, row in table.raw_rows(dict(config)):
        repeats = row[1] if isinstance(row, (list, tuple)) and len(row) > 1 else 1
        if isinstance(repeats, (int, float)) and not repeats * (depth if repeats > 1 else 1) <= MAX_REPEATS:  # NaN as well
            raise HostError(tr("row {number} {row} repeats its module more than {most} times.", number=number,
                               row=table.short_text(row), most=MAX_REPEATS))


def check_activation(text: Any) -> None:
    """Raise `HostError` unless a file's `activation` is absent, or an activation of `torch.nn` with literal arguments.

    >>> check_activation("nn.LeakyReLU(0.1)")
    """
    if not text:
        return
    names = _activations()
    try:
        name, values = _parse(text)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        name, values = "", []
    if name not in names:
        hint = nearest(name, names) if name else ""
        raise HostError(tr("activation: {text} is not an activation of torch.nn with plain arguments, and Ultralytics would "
                           "run it as code. Write it as nn.SiLU() or nn.LeakyReLU(0.1).{hint}",
                           text=table.short_text(text), hint=hint))
    if any(isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) > _MAX_NUMBER) for value in values):
        raise HostError(tr("activation: {text} has an argument that no activation needs: expected numbers up to {most:,}.",
                           text=table.short_text(text), most=_MAX_NUMBER))


def _parse(text: Any) -> tuple[str, list[Any]]:
    """Return the class and the arguments of `nn.Class(...)`; raises `ValueError` or `SyntaxError` for any other text."""
    if not isinstance(text, str) or len(text) > _MAX_LENGTH:
        raise ValueError("no short text")
    call = ast.parse(text.strip(), mode="eval").body
    if not isinstance(call, ast.Call) or any(word.arg is None for word in call.keywords):
        raise ValueError("no call")
    place, _, name = ast.unparse(call.func).rpartition(".")
    if place not in ("nn", "torch.nn"):
        raise ValueError("not of torch.nn")
    return name, [ast.literal_eval(one) for one in (*call.args, *(word.value for word in call.keywords))]


def _activations() -> list[str]:
    """Return the names of PyTorch's activations that work on a map (B, C, H, W)."""
    from torch import nn

    return [*(name for name in nn.modules.activation.__all__ if name != "MultiheadAttention"), "Identity"]
