"""The words of a study, and the outcome of its tests for one arm."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import Enum

__all__ = ["Decision", "Word", "one_side"]


class Word(str, Enum):
    """The possible verdicts."""

    HELPS = "helps"
    HURTS = "hurts"
    DIFFERS = "differs"  # a control that would help or hurt
    EQUIVALENT = "no difference larger than the margin"
    UNDECIDED = "no evidence either way"
    FEW = "too few runs to say"
    NONE = "no verdict"  # no planned look yet, or withheld

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, kw_only=True)
class Decision:
    """The outcome of the tests of one arm, over all looks so far; see `Verdict`."""

    word: Word
    mean: float = math.nan
    interval: tuple[float, float] = (-math.inf, math.inf)
    narrow: tuple[float, float] = (-math.inf, math.inf)
    p: float = 1.0
    p_holm: float = 1.0
    p_adjusted: float = 1.0
    level: float = 0.0
    look: int = 0
    looks: int = 0
    used: float = 0.0  # of the error rate, by this look and those before it
    skewed: bool = False


def one_side(interval: tuple[float, float], side: int) -> tuple[float, float]:
    """Return the part of an interval above 0 (side 1) or below it (-1), where a step-down test has found the arm to be."""
    low, high = interval
    return (max(low, 0.0), max(high, 0.0)) if side > 0 else (min(low, 0.0), min(high, 0.0))
