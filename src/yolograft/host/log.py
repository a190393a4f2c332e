"""Warnings in Ultralytics' log, which newer versions prefix with WARNING themselves, and a log whose reader has ended.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `LOGGER` is its logger, and its handlers write to standard output. The
formatters of its handlers, if they have the class `PrefixFormatter`, add the prefix.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable

from ultralytics.utils import LOGGER

from yolograft.language import tr

__all__ = ["go_on_without_reader", "warn"]


def warn(message: str) -> None:
    """Log a warning that starts with the word WARNING once."""
    adds_prefix = any(type(handler.formatter).__name__ == "PrefixFormatter" for handler in LOGGER.handlers)
    LOGGER.warning(f"yolograft: {message}" if adds_prefix else tr("WARNING yolograft: {text}", text=message))


def go_on_without_reader() -> None:
    """Let the log write to nowhere once the reader of a pipe has ended, as in `yolograft predict ... | head`.

    Otherwise `logging` prints a traceback for each further line. The work itself goes on.
    """
    for handler in LOGGER.handlers:
        if "handleError" in vars(handler):  # done by an earlier command of this process
            continue
        report = handler.handleError

        def handle(record: logging.LogRecord, report: Callable[[logging.LogRecord], None] = report) -> None:
            if isinstance(sys.exc_info()[1], BrokenPipeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            else:
                report(record)

        handler.handleError = handle
