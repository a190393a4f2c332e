"""Whether Mosaic augmentation is on in any epoch of a training, by the installed version's rule.

What this relies on in Ultralytics: `BaseTrainer._do_train` closes Mosaic in the epoch `epochs - close_mosaic` (8.3.0), or
in that epoch and all later ones (newer versions).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import ultralytics
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import DEFAULT_CFG_DICT

__all__ = ["mosaic_warnings"]

_CLOSES_ONCE = "epoch == (self.epochs - self.args.close_mosaic)"  # 8.3.0's condition; newer versions write >=


def mosaic_warnings(arguments: Mapping[str, Any]) -> list[str]:
    """Return a warning if these train arguments leave no epoch with Mosaic on, or if versions disagree on that.

    Args:
        arguments: train arguments by name; a missing or None one has Ultralytics' default.
    """
    given = {**DEFAULT_CFG_DICT, **{key: value for key, value in arguments.items() if value is not None}}
    epochs, last, mosaic = int(given["epochs"]), int(given["close_mosaic"]), float(given["mosaic"])
    unused = given["rect"] or given["time"] or given["task"] == "classify"
    if unused or mosaic <= 0 or not last >= epochs > 0:
        return []
    if last > epochs and _closes_once():
        return [f"close_mosaic={last} is larger than epochs={epochs}. Ultralytics {ultralytics.__version__} then trains all "
                "epochs with Mosaic, but newer versions train all epochs without it. Set close_mosaic to a number below "
                f"{epochs}."]
    return [f"close_mosaic={last} with epochs={epochs} switches Mosaic, MixUp and copy-paste off before the first epoch: no "
            f"epoch trains with them. Set close_mosaic to a number below {epochs}, or mosaic=0 if this is what you want."]


def _closes_once() -> bool:
    """Whether the installed version closes Mosaic only in the epoch `epochs - close_mosaic`, which may never come."""
    try:
        return _CLOSES_ONCE in inspect.getsource(BaseTrainer._do_train)
    except OSError:  # no source is installed
        return False
