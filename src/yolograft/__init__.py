"""Graft attention blocks onto any Ultralytics YOLO, and measure with paired studies whether they help.

Importing this package does not import torch or Ultralytics: each public name is loaded at its first use. It sets two
environment variables of Ultralytics, so that nothing is installed or sent unasked (see `network`).
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from yolograft import network as _network
from yolograft import threads as _threads  # noqa: F401 (records OMP_NUM_THREADS before Ultralytics changes it)

_network.prepare()

__version__ = "0.1.0"
__all__ = ["YOLO", "Graft", "GraftError", "__version__", "block", "graft", "module", "prune", "sites"]

if TYPE_CHECKING:
    from yolograft.attach import graft, prune, sites
    from yolograft.blocks import block
    from yolograft.errors import GraftError
    from yolograft.host import YOLO
    from yolograft.modules import module
    from yolograft.spec import Graft

_MODULES = {
    "Graft": "yolograft.spec",
    "GraftError": "yolograft.errors",
    "YOLO": "yolograft.host",
    "block": "yolograft.blocks",
    "module": "yolograft.modules",
    "graft": "yolograft.attach",
    "prune": "yolograft.attach",
    "sites": "yolograft.attach",
}


def yolo_module() -> Any:
    """Import and return `yolograft.host.yolo`, for the earlier modules that it imports itself. Private."""
    return import_module("yolograft.host.yolo")


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        # importing the module `yolograft.sites` sets the attribute `sites` to the module: set it to the function again
        value = getattr(import_module(_MODULES[name]), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
