"""Forwards to `yolograft.runner.train`. Plans of version 0.1.0 store this module's name as their `host`."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from yolograft.runner import train  # at call time: `host` must not import `runner`, which imports `host`

    return getattr(train, name)
