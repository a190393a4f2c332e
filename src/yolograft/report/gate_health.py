"""The health of the gates of each arm, and the page of `yolograft explain` of its checkpoints, if there is one."""

from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from yolograft.study import Study

__all__ = ["ArmGates", "arm_gates", "explain_page"]


@dataclass(frozen=True)
class ArmGates:
    """The gates of an arm's blocks in all of its runs.

    Attributes:
        words: word of gate health -> number of blocks in all runs, the most frequent first.
        blocks: for each graft, its words in the same form.
    """

    words: dict[str, int]
    blocks: dict[str, dict[str, int]]


def arm_gates(study: Study) -> dict[str, ArmGates]:
    """Return arm -> the words that its trials recorded. Arms without a record, such as the bare host, are left out."""
    found = {}
    for arm, by_seed in study.results.items():
        gates = [gate for result in by_seed.values() for gate in json.loads(result.notes.get("gates", "[]"))]
        if gates:
            grafts = dict.fromkeys(gate["graft"] for gate in gates)
            found[arm] = ArmGates(_counted(gates), {
                graft: _counted([gate for gate in gates if gate["graft"] == graft]) for graft in grafts})
    return found


def _counted(gates: list[dict[str, Any]]) -> dict[str, int]:
    return dict(Counter(str(gate["health"]) for gate in gates).most_common())


def explain_page(study: Study, folder: Path) -> dict[str, str]:
    """Return arm -> the relative link from a folder to the page of `yolograft explain` of one of the arm's checkpoints.

    The pages are looked for in `explain` beside the folder of the studies, and in runs/explain of the current folder.
    """
    pages: dict[Path, Path] = {}
    places = [place for place in (study.folder.resolve().parent.parent / "explain", Path.cwd() / "runs" / "explain")
              if place.is_dir()]
    for file in sorted(file for place in dict.fromkeys(places) for file in place.glob("*/explain.json")):
        page = file.with_name("explain.html")
        if page.is_file():
            pages |= dict.fromkeys(_checkpoints(file), page)
    found: dict[str, str] = {}
    for (arm, _), row in study.latest.items():
        page_of_trial = pages.get((study.folder_of(row.key) / "best.pt").resolve())
        if page_of_trial is not None:
            found.setdefault(arm, Path(os.path.relpath(page_of_trial, folder.resolve())).as_posix())
    return found


def _checkpoints(file: Path) -> list[Path]:
    try:
        entries = json.loads(file.read_text(encoding="utf-8"))
        return [Path(entry["checkpoint"]) for entry in entries]
    except (OSError, ValueError, TypeError, KeyError):  # a file of another program, or half a file: no page to link
        return []
