"""What a study's results themselves say against it: seeds that changed nothing, and blocks that were not trained."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence

from yolograft.language import tr
from yolograft.study.study import Study

__all__ = ["equal_seeds", "sentences", "unmoved_runs"]


def equal_seeds(study: Study) -> dict[str, tuple[int, ...]]:
    """Return arm -> the seeds whose runs are identical: all metrics of all epochs, and the final ones.

    Runs that learned nothing can have equal metrics. Their losses differ, so a host that reports losses tells them apart.
    """
    found: dict[str, tuple[int, ...]] = {}
    groups: dict[str, dict[str, list[int]]] = {}
    for (arm, seed), row in study.latest.items():
        if row.state == "complete" and row.result is not None:
            whole = f"{row.points}\0{json.dumps(dict(row.result.metrics), sort_keys=True)}"
            groups.setdefault(arm, {}).setdefault(whole, []).append(seed)
    for arm, runs in groups.items():
        equal = [seed for seeds in runs.values() if len(seeds) > 1 for seed in seeds]
        if equal:
            found[arm] = tuple(equal)
    return found


def unmoved_runs(study: Study) -> dict[str, tuple[int, tuple[str, ...]]]:
    """Return arm -> (number of its runs in which a block did not change, names of such blocks)."""
    found: dict[str, tuple[int, tuple[str, ...]]] = {}
    for arm, by_seed in study.results.items():
        runs = [json.loads(result.notes.get("unmoved", "{}")) for result in by_seed.values()]
        names: Counter[str] = Counter(name for run in runs for name in run)
        if names:
            found[arm] = sum(map(bool, runs)), tuple(names)
    return found


def sentences(study: Study) -> list[str]:
    """Return the warnings as text, empty if all is well."""
    found = [tr("WARNING: {arm}: the runs of the seeds {seeds} are identical. The seed changed nothing, so they count as "
                "one run.", arm=arm, seeds=_list(seeds)) for arm, seeds in equal_seeds(study).items()]
    return found + [tr("WARNING: {arm}: runs in which a grafted block did not change: {count} ({names}). The verdict says "
                       "nothing about it.", arm=arm, count=count, names=_list(names))
                    for arm, (count, names) in unmoved_runs(study).items()]


def _list(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))
