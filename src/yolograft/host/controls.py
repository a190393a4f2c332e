"""The old place of `yolograft.runner.controls`: checkpoints of version 0.1.0 name its classes by this module."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from yolograft.runner import controls  # at call time: `host` imports nothing of the later rooms

    return getattr(controls, name)
