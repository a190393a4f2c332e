"""Numbers as text on a page: a typographic minus sign, and no sign for a value that rounds to 0."""

from __future__ import annotations

import math

from yolograft.analysis.average_precision import Interval

__all__ = ["number", "number_and_interval"]


def number(value: float, digits: int = 4, *, sign: bool = False) -> str:
    """Format a number with a typographic minus sign; a value that rounds to 0 has no sign; "" if it is not finite."""
    if not math.isfinite(value):
        return ""
    text = f"{value:{'+' if sign else ''}.{digits}f}"
    return text.lstrip("+-") if float(text) == 0 else text.replace("-", "−")


def number_and_interval(found: Interval) -> str:
    """Format a difference with its interval, as in `+0.0021 [−0.0010, +0.0052]`."""
    return f"{number(found.estimate, sign=True)} [{number(found.low, sign=True)}, {number(found.high, sign=True)}]"
