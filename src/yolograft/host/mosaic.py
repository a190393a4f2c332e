"""Mosaic augmentation at the end of a training: warnings where no epoch uses it, and the rule of the installed version.

What this relies on in Ultralytics: `BaseTrainer._do_train` closes Mosaic when epoch == epochs - close_mosaic (8.3.0), or
when epoch >= epochs - close_mosaic (newer versions).
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import ultralytics
from ultralytics.engine.trainer import BaseTrainer
from ultralytics.utils import DEFAULT_CFG_DICT

from yolograft.language import tr

__all__ = ["closes_never", "mosaic_warnings"]

_CLOSES_ONCE = "epoch == (self.epochs - self.args.close_mosaic)"  # 8.3.0's condition; newer versions write >=


def mosaic_warnings(arguments: Mapping[str, Any]) -> list[str]:
    """Return a warning if no epoch would use Mosaic, or if that depends on the version of Ultralytics.

    Args:
        arguments: train arguments by name. An argument that is missing or None has Ultralytics' default value.

    Returns:
        A list with one warning, or an empty list.
    """
    values = {**DEFAULT_CFG_DICT, **{key: value for key, value in arguments.items() if value is not None}}
    epochs, close_mosaic, mosaic = int(values["epochs"]), int(values["close_mosaic"]), float(values["mosaic"])
    not_applicable = values["rect"] or values["time"] or values["task"] == "classify"
    if not_applicable or mosaic <= 0 or not close_mosaic >= epochs > 0:
        return []
    if closes_never(close_mosaic, epochs):
        return [tr("close_mosaic={close_mosaic} is larger than epochs={epochs}. Ultralytics {version} then trains all "
                   "epochs with Mosaic, but newer versions train all epochs without it. Set close_mosaic to a number below "
                   "{epochs}.",
                   close_mosaic=close_mosaic, epochs=epochs, version=ultralytics.__version__)]
    return [tr("close_mosaic={close_mosaic} with epochs={epochs} switches Mosaic, MixUp and copy-paste off before the first "
               "epoch: no epoch trains with them. Set close_mosaic to a number below {epochs}, or mosaic=0 if you want "
               "this.",
               close_mosaic=close_mosaic, epochs=epochs)]


def closes_never(close_mosaic: int, epochs: int) -> bool:
    """Return whether an uninterrupted training by the installed version trains all epochs with Mosaic for this reason."""
    return close_mosaic > epochs and _closes_once()


def _closes_once() -> bool:
    """Return whether the installed version closes Mosaic only when epoch == epochs - close_mosaic (never, if negative)."""
    try:
        return _CLOSES_ONCE in inspect.getsource(BaseTrainer._do_train)
    except OSError:  # the source code is not installed
        return False
