"""A fake host that trains nothing, for tests, for measuring the overhead of a study, and for trying a study out.

Its metrics are computed from the arm and the seed of a trial. Train arguments control it: `epochs`, `pause` (seconds per
epoch), `noise` (standard deviation of a run), `shared` (standard deviation of a seed's effect, equal for all arms),
`effect` (added to every arm with a graft; with `only`, on this data set alone) and `fail` (the kind of failure: see
`_fail`). Plans store its import path, so the module keeps its name. A study can try out `blocks=`, `modules=` and model
YAMLs with it: the user's files are loaded and hashed, and a model YAML must have rows. Swaps and box losses are not checked.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from yolograft.atomic import atomic_write
from yolograft.errors import DataError, SpecError, nearest
from yolograft.language import tr
from yolograft.spec import Graft
from yolograft.study.trial import Report, Result, Trial

_DEFAULTS = {"se": {"ratio": 16}, "cbam": {"ratio": 16, "kernel": 7}, "eca": {"gamma": 2}}
_OWN: dict[str, dict[str, Any]] = {}  # the blocks of the user's files that were loaded, with their settings
_KNOWN = {"model", "data", "epochs", "imgsz", "batch", "lr0", "freeze",
          "pause", "noise", "shared", "effect", "only", "fail", "blocks", "modules", "swap", "iou"}
_CLASSES = ("crazing", "inclusion", "patches")


def _gaussian(*key: object) -> float:
    return random.Random(hashlib.sha256(repr(key).encode()).hexdigest()).gauss(0, 1)


def train(trial: Trial, folder: Path, report: Report) -> Result:
    """Pretend to train. The epoch is saved in `checkpoint.json`, from which a second call resumes."""
    s = trial.settings
    _fail(str(s.get("fail", "")))
    epochs, checkpoint = int(s.get("epochs", 3)), folder / "checkpoint.json"
    start = _read_epoch(checkpoint) + 1
    noise, shared = float(s.get("noise", 0.01)), float(s.get("shared", 0.02))
    effect = float(s.get("effect", 0)) if trial.graft != "none" and s.get("only", s.get("data")) == s.get("data") else 0.0
    final = 0.7 + shared * _gaussian("seed", trial.seed) + effect
    own = (*((hashlib.sha256(trial.yaml.encode()).hexdigest(),) if trial.yaml else ()),
           *(f"{key}={s[key]}" for key in ("swap", "iou") if s.get(key)))
    if split := s.get("split"):
        final += shared * _gaussian("split", split["number"], split["seed"])
    final += noise * _gaussian(trial.graft, trial.control, trial.seed, s.get("lr0"), *own)
    for epoch in range(start, epochs + 1):
        time.sleep(float(s.get("pause", 0)))
        value = final * (1 - 0.6 ** epoch)
        report(epoch, {"mAP50-95": value, "mAP50": min(1, value * 1.3)})
        state = json.dumps({"epoch": epoch})
        atomic_write(checkpoint, partial(Path.write_text, data=state))
    with (folder / "finished").open("a") as file:  # the kill test counts its lines
        file.write(trial.key + "\n")
    classes = {name: final * (1 + 0.1 * i) for i, name in enumerate(_CLASSES)}
    grafted = trial.graft != "none" or bool(trial.yaml)
    metrics = {"mAP50-95": final, "mAP50": min(1, final * 1.3), "precision": final, "recall": final}
    costs = {"seconds": epochs * float(s.get("pause", 0)), "epochs": epochs, "gflops": 6.4 + 0.01 * grafted,
             "parameters": 2_600_000 + 8_000 * grafted}
    sizes = {size: final * factor for size, factor in (("small", 0.5), ("medium", 0.9), ("large", 1.1))}
    return Result(metrics=metrics, classes={"AP50-95": classes}, costs=costs, sizes=sizes,
                  objects={"small": 12, "medium": 340, "large": 71})


def time_networks(trials: Sequence[Trial]) -> tuple[list[list[float]], dict[str, Any]]:
    """Pretend to measure latency: 2 ms and a tenth more for a graft, with 1% of noise."""
    turns = [[(0.002 + 0.0002 * (one.graft != "none" or bool(one.yaml))) * (1 + 0.01 * _gaussian("ms", one.graft, turn))
              for one in trials] for turn in range(20)]
    return turns, {"batch": 1, "imgsz": 640, "device": "dummy", "threads": 1, "precision": "float32", "fused": True,
                   "nms": False, "warm_up": 3, "repeats": len(turns), "busy": 0.0, "torch": "0"}


def _read_epoch(checkpoint: Path) -> int:
    """Return the last epoch in a checkpoint; 0 if there is none or it is damaged."""
    try:
        return int(json.loads(checkpoint.read_text())["epoch"])
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return 0


def test(trial: Trial, folder: Path) -> dict[str, float]:
    """Pretend to score the test split, with noise that is independent of the validation noise."""
    if trial.settings.get("fail") == "no-test":
        raise DataError(tr("The data set has no test split."))
    effect = float(trial.settings.get("effect", 0)) if trial.graft != "none" else 0.0
    return {"mAP50-95": 0.7 + effect + 0.01 * _gaussian("test", trial.graft, trial.seed)}


def _fail(kind: str) -> None:
    if kind.startswith("full:") and Path(kind[5:]).exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    if kind in ("hang", "busy") or kind.startswith("hang:"):
        _hang(kind)
    if kind == "error":
        raise RuntimeError("the dummy was told to fail")
    if kind == "memory":
        raise MemoryError("the dummy has no memory left")
    if kind == "exit":
        raise SystemExit("the dummy left")
    if kind == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if kind == "cuda-memory":
        raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 8.00 GiB")
    if kind == "nan":
        Result(metrics={"mAP50-95": float("nan")}).check()


def _hang(kind: str) -> None:
    """Wait for ever (`hang`), once only (`hang:FILE`, a file that is made), or for two seconds in which the CPU is busy."""
    if kind == "busy":
        end = time.monotonic() + 2
        while time.monotonic() < end:
            pass
        return
    if kind != "hang":
        try:
            Path(kind[5:]).touch(exist_ok=False)
        except FileExistsError:
            return
    threading.Event().wait()


def load_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Load the user's files of blocks and modules as the real host does, and return the settings with their full paths."""
    found = dict(settings)
    for key in ("modules", "blocks"):
        if settings.get(key):
            found[key] = ",".join(str(one.file) for one in _load_own({key: settings[key]}))
    return found


def _load_own(settings: Mapping[str, Any]) -> list[Any]:
    if not (settings.get("blocks") or settings.get("modules")):
        return []  # without such files, the dummy imports no PyTorch
    from yolograft import blocks as registry
    from yolograft.blocks.plugin import Plugin
    from yolograft.modules.plugin import load_own

    found = list(load_own(settings))
    for one in found:
        if isinstance(one, Plugin):
            _OWN.update({name: dict(registry.defaults(name)) for name in (*one.registered, *one.plain)})
    return found


def find_yaml(name: str) -> Path | None:
    """Return the path of a model YAML; None if there is no such file."""
    return Path(name) if Path(name).is_file() else None


def rehearse_yaml(text: str, file: str, graft: str, settings: Mapping[str, Any], control: str = "") -> tuple[str, list[str]]:
    """Return the graft with all settings, and a sentence for the user; raises `DataError` for a YAML without rows."""
    from yolograft import yaml_text  # a worker does without it

    content = yaml_text.parse(text, file)
    if not isinstance(content, dict) or not content.get("backbone") or not content.get("head"):
        raise DataError(tr("model={path} is no model YAML: expected backbone and head rows.", path=file))
    return spell(graft), []


def spell(graft: str) -> str:
    """Return a graft with all settings written out, for the dummy's three blocks and those of the user."""
    parts = []
    for part in Graft.parse(graft).parts:
        defaults = {**_DEFAULTS, **_OWN}.get(part.block)
        if defaults is None:
            raise SpecError(tr("No block is named '{block}'.{nearest}", block=part.block,
                               nearest=nearest(part.block, [*_DEFAULTS, *_OWN])))
        settings = {**defaults, **dict(part.settings)}
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
    own = {key: ",".join(one.digest for one in _load_own({key: settings[key]}))
           for key in ("blocks", "modules") if settings.get(key)}
    if path.is_file():
        return {"data": hashlib.sha256(path.read_bytes()).hexdigest()[:20], **own}
    if path.suffix == ".yaml":
        raise DataError(tr("The data set '{path}' does not exist.", path=path))
    return {"data": str(path), **own}


def pictures(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return an empty description: the dummy has no data set."""
    return {}


def split_sizes(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return the numbers of images that a split of the dummy's data set would have."""
    return 80, 20


def versions() -> dict[str, str]:
    """Return the version of the dummy, which tests can set in YOLOGRAFT_DUMMY_VERSION."""
    return {"dummy": os.environ.get("YOLOGRAFT_DUMMY_VERSION", "1")}


def hardware() -> dict[str, str]:
    """Return the number of CPU cores."""
    return {"cpu": f"{os.cpu_count()} cores"}
