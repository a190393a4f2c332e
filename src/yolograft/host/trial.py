"""The old place of `yolograft.runner.train`, which plans of version 0.1.0 name as their `host`."""

from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from yolograft.runner import train  # at call time: `host` imports nothing of the later rooms

    return getattr(train, name)
