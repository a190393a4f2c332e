"""Warnings in Ultralytics' log, which newer versions prefix with WARNING themselves.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `LOGGER` is its logger. The formatters of its handlers, if they have
the class `PrefixFormatter`, add the prefix.
"""

from __future__ import annotations

from ultralytics.utils import LOGGER

__all__ = ["warn"]


def warn(message: str) -> None:
    """Log a warning that starts with the word WARNING once."""
    adds_prefix = any(type(handler.formatter).__name__ == "PrefixFormatter" for handler in LOGGER.handlers)
    LOGGER.warning(f"yolograft: {message}" if adds_prefix else f"WARNING yolograft: {message}")
