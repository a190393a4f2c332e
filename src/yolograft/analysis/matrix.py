"""The published matrix of blocks and deployment targets, and the nearest block that passes where one fails.

`benchmarks/deploy_matrix.py` measures it, and the package contains it as deploy_matrix.json.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

from yolograft import blocks
from yolograft.analysis import targets
from yolograft.analysis.profile import count_parameters
from yolograft.blocks._about import About

__all__ = ["FILE", "load_matrix", "nearest_passing", "versions_of"]

FILE = Path(__file__).with_name("deploy_matrix.json")
_CHANNELS = 256


@cache
def load_matrix() -> dict[str, Any]:
    """Return the matrix: `blocks` is block -> target -> what was found, besides `date`, `versions`, `sizes` and `sites`."""
    if not FILE.is_file():
        return {"blocks": {}}
    found: dict[str, Any] = json.loads(FILE.read_text(encoding="utf-8"))
    return found


def versions_of(names: Iterable[str]) -> dict[str, str]:
    """Return package -> version of all packages that these targets use."""
    return {package: found for name in names for package, found in targets.versions(targets.TARGETS[name]).items()}


def nearest_passing(block: str, target: str) -> str:
    """Return the block of the same kind that passes on a target and is nearest in parameters; empty if there is none.

    The kind is what the attention weights differ over: channel, spatial, mixed or global. A user's block has none: then all
    blocks are compared.
    """
    passing = [name for name, row in load_matrix()["blocks"].items()
               if name != block and row.get(target, {}).get("status") == "passes"]
    kind = _kind(block)
    same = [name for name in passing if kind is None or _kind(name) == kind]
    size = _parameters(block)
    return min(same, key=lambda name: (abs(_parameters(name) - size), name), default="")


def _kind(block: str) -> str | None:
    about = vars(blocks.lookup(block)).get("about")
    return about.kind if isinstance(about, About) else None


def _parameters(block: str) -> int:
    required = [key for key, value in blocks.defaults(block).items() if value is None and key != "kernel_size"]
    return 0 if required and blocks.is_plain(block) else count_parameters(blocks.create(block, _CHANNELS))
