"""The values of `speed`, and the train arguments that exclude a faster mode. Imports neither torch nor Ultralytics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from yolograft.errors import HostError, nearest
from yolograft.language import tr

__all__ = ["CPU_MODES", "GPU_MODES", "MIN_SPEEDUP", "MODES", "check_mode", "wrapping_arguments"]

CPU_MODES = ("float32", "bfloat16")
GPU_MODES = ("resident", "graphed")
MODES = ("auto", "stock", *CPU_MODES, *GPU_MODES)
MIN_SPEEDUP = 1.2  # of a mode over stock, for speed=auto: a smaller one might win in one run and lose in the next


def check_mode(mode: str) -> str:
    """Return the mode. Raises `HostError` if it is not one of `MODES`."""
    if mode not in MODES:
        raise HostError(tr("speed={mode} is not known: {modes}.{nearest}", mode=mode, modes=", ".join(MODES),
                           nearest=nearest(mode, MODES)))
    return mode


def wrapping_arguments(settings: Mapping[str, Any], *more: str) -> list[str]:
    """Return the arguments by which Ultralytics wraps the network in another module, as `key=value`.

    Args:
        settings: the train arguments.
        more: further arguments to return if they are set.
    """
    return [f"{key}={settings[key]}" for key in ("compile", "distill_model", *more) if settings.get(key)]
