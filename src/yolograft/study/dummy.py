"""A fake host that trains nothing, for tests, for measuring the overhead of a study, and for trying a study out.

Its metrics are computed from the arm and the seed of a trial. Train arguments control it: `epochs`, `pause` (seconds per
epoch), `noise` (standard deviation of a run), `shared` (standard deviation of a seed's effect, equal for all arms),
`effect` (added to every arm with a graft) and `fail` (the kind of failure: see `_fail`). Plans store its import path, so
the module keeps its name.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from yolograft.atomic import atomic_write
from yolograft.errors import DataError, SpecError, nearest
from yolograft.language import tr
from yolograft.spec import Graft
from yolograft.study.trial import Report, Result, Trial

_DEFAULTS = {"se": {"ratio": 16}, "cbam": {"ratio": 16, "kernel": 7}, "eca": {"gamma": 2}}
_KNOWN = {"model", "data", "epochs", "imgsz", "batch", "lr0", "freeze",
          "pause", "noise", "shared", "effect", "fail"}
_CLASSES = ("crazing", "inclusion", "patches")


def _gaussian(*key: object) -> float:
    return random.Random(hashlib.sha256(repr(key).encode()).hexdigest()).gauss(0, 1)


def train(trial: Trial, folder: Path, report: Report) -> Result:
    """Pretend to train. The epoch is saved in `checkpoint.json`, from which a second call resumes."""
    s = trial.settings
    _fail(str(s.get("fail", "")))
    epochs, checkpoint = int(s.get("epochs", 3)), folder / "checkpoint.json"
    start = json.loads(checkpoint.read_text())["epoch"] + 1 if checkpoint.exists() else 1
    noise, shared = float(s.get("noise", 0.01)), float(s.get("shared", 0.02))
    effect = float(s.get("effect", 0)) if trial.graft != "none" else 0.0
    final = 0.7 + shared * _gaussian("seed", trial.seed) + effect
    final += noise * _gaussian(trial.graft, trial.control, trial.seed, s.get("lr0"))
    for epoch in range(start, epochs + 1):
        time.sleep(float(s.get("pause", 0)))
        value = final * (1 - 0.6 ** epoch)
        report(epoch, {"mAP50-95": value, "mAP50": min(1, value * 1.3)})
        state = json.dumps({"epoch": epoch})
        atomic_write(checkpoint, partial(Path.write_text, data=state))
    with (folder / "finished").open("a") as file:  # the kill test counts its lines
        file.write(trial.key + "\n")
    classes = {name: final * (1 + 0.1 * i) for i, name in enumerate(_CLASSES)}
    grafted = trial.graft != "none"
    metrics = {"mAP50-95": final, "mAP50": min(1, final * 1.3), "precision": final, "recall": final}
    costs = {"seconds": epochs * float(s.get("pause", 0)), "epochs": epochs, "gflops": 6.4 + 0.01 * grafted,
             "parameters": 2_600_000 + 8_000 * grafted, "latency_ms": 2.0 + 0.1 * grafted}
    return Result(metrics=metrics, classes={"AP50-95": classes}, costs=costs)


def test(trial: Trial, folder: Path) -> dict[str, float]:
    """Pretend to score the test split, with noise that is independent of the validation noise."""
    if trial.settings.get("fail") == "no-test":
        raise DataError(tr("The data set has no test split."))
    effect = float(trial.settings.get("effect", 0)) if trial.graft != "none" else 0.0
    return {"mAP50-95": 0.7 + effect + 0.01 * _gaussian("test", trial.graft, trial.seed)}


def _fail(kind: str) -> None:
    if kind.startswith("full:") and Path(kind[5:]).exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if kind == "error":
        raise RuntimeError("the dummy was told to fail")
    if kind == "memory":
        raise MemoryError("the dummy has no memory left")
    if kind == "exit":
        raise SystemExit("the dummy left")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "nan":
        Result(metrics={"mAP50-95": float("nan")}).check()


def spell(graft: str) -> str:
    """Return a graft with all settings written out, for the three blocks that the dummy knows."""
    parts = []
    for part in Graft.parse(graft).parts:
        if part.block not in _DEFAULTS:
            raise SpecError(tr("No block is named '{block}'.{nearest}", block=part.block,
                               nearest=nearest(part.block, _DEFAULTS)))
        settings = {**_DEFAULTS[part.block], **dict(part.settings)}
        inner = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
        parts.append(f"{part.block}({inner})@{','.join(map(str, part.sites))}")
    return str(Graft.parse(" + ".join(parts) or "none"))


def rows(model: str) -> list[str]:
    """Return eleven rows of the backbone and twelve of the neck, as in YOLO11."""
    return [f"backbone.{i}" for i in range(11)] + [f"neck.{i}" for i in range(11, 23)]


def blocks() -> list[str]:
    """Return the names of the three blocks."""
    return sorted(_DEFAULTS)


def check(model: str, graft: str, settings: Mapping[str, Any], control: str = "") -> None:
    """Raise `DataError` for an unknown train argument."""
    for key in settings:
        if key not in _KNOWN:
            raise DataError(tr("No train argument is named '{key}'.{nearest}", key=key, nearest=nearest(key, _KNOWN)))


def fingerprints(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return the hash of `data` if it is a file, else its name; raises `DataError` for a .yaml file that does not exist."""
    path = Path(str(settings.get("data", "")))
    if path.is_file():
        return {"data": hashlib.sha256(path.read_bytes()).hexdigest()[:20]}
    if path.suffix == ".yaml":
        raise DataError(tr("The data set '{path}' does not exist.", path=path))
    return {"data": str(path)}


def pictures(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return an empty description: the dummy has no data set."""
    return {}


def versions() -> dict[str, str]:
    """Return the version of the dummy, which tests can set in YOLOGRAFT_DUMMY_VERSION."""
    return {"dummy": os.environ.get("YOLOGRAFT_DUMMY_VERSION", "1")}


def hardware() -> dict[str, str]:
    """Return the number of CPU cores."""
    return {"cpu": f"{os.cpu_count()} cores"}
