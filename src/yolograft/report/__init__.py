"""The report of a study: an HTML page, tables and figures. It reads finished trials and runs no model."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["write"]

if TYPE_CHECKING:
    from yolograft.report.page import write


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("yolograft.report.page"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
