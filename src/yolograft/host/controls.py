"""Forwards to `yolograft.runner.controls`. Checkpoints of version 0.1.0 pickle its classes under this module's name."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from yolograft.runner import controls  # at call time: `host` must not import `runner`, which imports `host`

    return getattr(controls, name)
