"""The report of a study, and the page of `yolograft explain`: HTML, tables and figures. Nothing here runs a model."""

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
