"""Studies made in this process with the dummy host, for laws that hold for the page of any study."""

import json
import math
import tempfile
from dataclasses import replace
from pathlib import Path

from yolograft.errors import GraftError
from yolograft.study import Study, dummy, latency
from yolograft.study.plan import Plan
from yolograft.study.storage import Row

USUAL = "none; se@8 effect=0.05; cbam@8; se@8 fail=error; aa; params(se@8)"
LONG = "none; se@8 + cbam@backbone.2 + eca@backbone.4 + se@neck.12; cbam(kernel=5, ratio=8)@neck.16 lr0=0.00123; aa"
KINDS = {
    "usual": {"arms": USUAL, "epochs": 4},
    "one epoch": {"arms": "none; se@8 effect=0.05; aa", "epochs": 1},
    "one seed": {"arms": "none; se@8; cbam@8", "seeds": 1},
    "baseline alone": {"arms": "none"},
    "no results": {"arms": "none; se@8", "done": 0},
    "unfinished": {"arms": "none; se@8; cbam@8; aa", "seeds": 8, "looks": "6,8", "done": 22},
    "equal": {"arms": "none; se@8; cbam@8; aa", "noise": 0},
    "nearly equal": {"arms": "none; se@8; cbam@8; aa", "noise": 2e-5},
    "constant gain": {"arms": "none; se@8 effect=0.03; cbam@8; aa", "noise": 1e-5},
    "huge": {"arms": "none; se@8 effect=0.25; cbam@8 effect=-0.65; aa", "noise": 0.05},
    "many arms": {"arms": "none; positions(se); ratios(se, 8); aa"},
    "long names": {"arms": LONG},
    "many classes": {"arms": "none; se@8; cbam@8; aa", "classes": 40},
    "copies": {"arms": "none; aa(2); se@8 effect=0.02", "seeds": 8},
    "splits": {"arms": "none; se@8 effect=0.03; cbam@8; aa", "splits": 5, "seeds": 10},
    "splits, unfinished": {"arms": "none; se@8 effect=0.03; se@8 fail=error; aa", "splits": 3, "seeds": 6, "done": 17},
    "data sets": {"arms": "none; se@8 effect=0.05; cbam@8; aa", "data": "steel,copper plates,tin", "only": "steel"},
    "old": {"arms": "none; se@8; aa", "old": True},  # as version 0.1.0 stored it
}


def make(folder: Path, arms: str, *, seeds: int = 6, done: int | None = None, classes: int = 0, old: bool = False,
         **words: object) -> Study:
    """Return a study whose first `done` trials have ended, with latencies, and without them if it is `old`."""
    plan = Plan.of({"data": "somewhere", "model": "yolo11n.pt", "host": "yolograft.study.dummy", "arms": arms, "epochs": 3,
                    "seeds": seeds, **words})
    rows = []
    for number, trial in enumerate(plan.trials()[:done]):
        row = Row(id=number, number=number, key=trial.key, arm=trial.arm, seed=trial.seed, state="failed", seconds=75.0)
        points: list[dict[str, float]] = []
        try:
            with tempfile.TemporaryDirectory() as place:
                result = dummy.train(trial, Path(place), lambda epoch, metrics, to=points: to.append(
                    {"epoch": epoch, **metrics}))
        except (GraftError, RuntimeError) as error:
            rows.append(replace(row, reason=str(error)))
            continue
        if classes:
            each = {f"class {place}": result.metrics["mAP50-95"] * (1 + math.sin(place) / 9) for place in range(classes)}
            result = replace(result, classes={"AP50-95": each})
        if old:
            result = replace(result, sizes={}, objects={}, costs={**result.costs, "latency_ms": 15.0 + number % 5})
        rows.append(replace(row, state="complete", result=result, points=json.dumps(points)))
    study = Study(folder, plan, tuple(rows))
    folder.mkdir(parents=True)
    if not old:
        latency.measure(study)
    return study
