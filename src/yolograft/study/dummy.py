"""A host that trains nothing: for the tests, for measuring a study's own overhead, and for trying one out.

Its numbers follow from a trial's arm and seed alone. Train arguments steer it: `epochs`, `pause` (seconds per
epoch), `noise`, `shared` (what a seed does to all arms alike), `effect` (of any graft), and `fail` (a word:
see `_misbehave`).
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
from yolograft.spec import Graft
from yolograft.study.trial import Report, Result, Trial

_DEFAULTS = {"se": {"ratio": 16}, "cbam": {"ratio": 16, "kernel": 7}, "eca": {"gamma": 2}}
_KNOWN = {"model", "data", "epochs", "imgsz", "batch", "lr0", "freeze",
          "pause", "noise", "shared", "effect", "fail"}
_CLASSES = ("crazing", "inclusion", "patches")


def _draw(*what: object) -> float:
    return random.Random(hashlib.sha256(repr(what).encode()).hexdigest()).gauss(0, 1)


def train(trial: Trial, folder: Path, report: Report) -> Result:
    """Pretend: one line per epoch in `checkpoint.json`, from which a second call goes on."""
    s = trial.settings
    _misbehave(str(s.get("fail", "")))
    epochs, checkpoint = int(s.get("epochs", 3)), folder / "checkpoint.json"
    start = json.loads(checkpoint.read_text())["epoch"] + 1 if checkpoint.exists() else 1
    noise, shared = float(s.get("noise", 0.01)), float(s.get("shared", 0.02))
    effect = float(s.get("effect", 0)) if trial.graft != "none" else 0.0
    final = 0.7 + shared * _draw("seed", trial.seed) + effect
    final += noise * _draw(trial.graft, trial.control, trial.seed, s.get("lr0"))
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
    """Pretend again, with noise of the test split's own."""
    if trial.settings.get("fail") == "no-test":
        raise DataError("The data set has no test split.")
    effect = float(trial.settings.get("effect", 0)) if trial.graft != "none" else 0.0
    return {"mAP50-95": 0.7 + effect + 0.01 * _draw("test", trial.graft, trial.seed)}


def _misbehave(how: str) -> None:
    if how.startswith("full:") and Path(how[5:]).exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if how == "error":
        raise RuntimeError("the dummy was told to fail")
    if how == "memory":
        raise MemoryError("the dummy has no memory left")
    if how == "exit":
        raise SystemExit("the dummy left")
    if how == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if how == "nan":
        Result(metrics={"mAP50-95": float("nan")}).check()


def spell(graft: str) -> str:
    """Spell the settings of the three blocks that the dummy knows."""
    parts = []
    for part in Graft.parse(graft).parts:
        if part.block not in _DEFAULTS:
            raise SpecError(f"No block is named '{part.block}'.{nearest(part.block, _DEFAULTS)}")
        settings = {**_DEFAULTS[part.block], **dict(part.settings)}
        inner = ", ".join(f"{key}={value}" for key, value in sorted(settings.items()))
        parts.append(f"{part.block}({inner})@{','.join(map(str, part.sites))}")
    return str(Graft.parse(" + ".join(parts) or "none"))


def rows(model: str) -> list[str]:
    """Eleven rows of backbone and twelve of neck, as YOLO11 has."""
    return [f"backbone.{i}" for i in range(11)] + [f"neck.{i}" for i in range(11, 23)]


def blocks() -> list[str]:
    """Return the three blocks' names."""
    return sorted(_DEFAULTS)


def check(model: str, graft: str, settings: Mapping[str, Any], control: str = "") -> None:
    """Refuse unknown train arguments."""
    for key in settings:
        if key not in _KNOWN:
            raise DataError(f"No train argument is named '{key}'.{nearest(key, _KNOWN)}")


def fingerprints(settings: Mapping[str, Any]) -> dict[str, str]:
    """Hash `data` if it is a file; a name that ends in .yaml must be one."""
    path = Path(str(settings.get("data", "")))
    if path.is_file():
        return {"data": hashlib.sha256(path.read_bytes()).hexdigest()[:20]}
    if path.suffix == ".yaml":
        raise DataError(f"The data set '{path}' is not there.")
    return {"data": str(path)}


def pictures(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return that there are none."""
    return {}


def versions() -> dict[str, str]:
    """Return the dummy's version, or the one that the environment pretends."""
    return {"dummy": os.environ.get("YOLOGRAFT_DUMMY_VERSION", "1")}


def hardware() -> dict[str, str]:
    """Return nothing much."""
    return {"cpu": f"{os.cpu_count()} cores"}
