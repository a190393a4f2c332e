"""A study: every arm is trained with every seed on one data set, and each arm is compared with the baseline.

Importing this package does not import torch, scipy or Optuna. A public name is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["Arm", "Study", "Trial", "Verdict", "run", "status"]

if TYPE_CHECKING:
    from yolograft.study.arms import Arm
    from yolograft.study.engine import run
    from yolograft.study.progress import status
    from yolograft.study.study import Study
    from yolograft.study.trial import Trial
    from yolograft.study.verdict import Verdict

_MODULES = {"Arm": "arms", "Study": "study", "Trial": "trial", "Verdict": "verdict", "run": "engine",
          "status": "progress"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
