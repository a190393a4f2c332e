"""Gate health: one word for what a block does over a data set, by thresholds on its statistics.

The words, in the order in which they are tried, and what each one needs:

    dead near 0         at least 50% of the gate values are below 0.05: the block switches these features off
    collapsed to 0.5    at least 90% are within 0.05 of 0.5: a sigmoid whose logits are 0, as in a block that learned nothing
    saturated near 1    at least 90% are within 0.05 of 1: the block passes its input
    constant            the gate varies by less than 1% between images and positions: a fixed factor for each channel
    class-dependent     the classes of the image explain at least 14% of the gate's variance between images, besides what
                        chance explains (0.14 is Cohen's (1988) "large effect" of eta squared)
    varying             anything else

A block that adds or mixes has no gate. `no change`: |y - x| is below 1% of |x|. Otherwise `class-dependent` or `varying`.
"""

from __future__ import annotations

from enum import Enum

import numpy as np

from yolograft.analysis.gate_statistics import GateSummary
from yolograft.analysis.gates import Kind

__all__ = ["Health", "judge"]

_DEAD_SHARE = 0.5
_SAME_SHARE = 0.9
_CONSTANT = 0.01
_CLASS_ETA = 0.14


class Health(str, Enum):
    """The word for a block's gate."""

    DEAD = "dead near 0"
    HALF = "collapsed to 0.5"
    ONE = "saturated near 1"
    CONSTANT = "constant"
    CLASS = "class-dependent"
    VARYING = "varying"
    UNCHANGED = "no change"

    def __str__(self) -> str:
        return self.value


def judge(summary: GateSummary, kind: Kind) -> Health:
    """Return the word for a block's statistics."""
    depends_on_class = summary.eta_squared - summary.eta_chance >= _CLASS_ETA
    if kind == "none":
        if summary.change < _CONSTANT:
            return Health.UNCHANGED
        return Health.CLASS if depends_on_class else Health.VARYING
    if summary.near[0.0] >= _DEAD_SHARE:
        return Health.DEAD
    if summary.near[0.5] >= _SAME_SHARE:
        return Health.HALF
    if summary.near[1.0] >= _SAME_SHARE:
        return Health.ONE
    if total_spread(summary) < _CONSTANT * max(float(np.abs(summary.mean).mean()), 1e-12):
        return Health.CONSTANT
    return Health.CLASS if depends_on_class else Health.VARYING


def total_spread(summary: GateSummary) -> float:
    """Return the standard deviation of a channel's gate over images and positions, root mean square over the channels."""
    return float(np.sqrt(np.square(summary.spread).mean() + summary.spread_in_image**2))
