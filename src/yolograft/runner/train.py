"""What a study asks of Ultralytics: train one arm with one seed, and say beforehand what is wrong or what it is.

The module is the `Host` of `study`, which knows it by its import path; `trial` is one of its trials.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `check_det_dataset` and `check_cls_dataset` resolve a data set's
YAML or folder, `BaseDataset.get_img_files` lists the pictures of a split and needs no more of the data set than `prefix`
and `fraction`, and `img2label_paths` says where a picture's labels are.
"""

from __future__ import annotations

import copy
import hashlib
import os
import platform
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import torch
from ultralytics.cfg import get_cfg
from ultralytics.data import base
from ultralytics.data.utils import IMG_FORMATS, check_cls_dataset, check_det_dataset, img2label_paths
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.torch_utils import strip_optimizer

from yolograft import attach, threads
from yolograft import blocks as zoo
from yolograft.errors import DataError, HostError, nearest
from yolograft.fast import acceleration
from yolograft.fast.modes import check_mode
from yolograft.host import models
from yolograft.host.mosaic import mosaic_warnings
from yolograft.host.open import open_model
from yolograft.patch import patched
from yolograft.runner import controls
from yolograft.runner.evaluate import evaluate
from yolograft.runner.trainer import BEST, STATE, lesson_trainer, read_state, replace
from yolograft.sites import sites
from yolograft.spec import Graft

__all__ = ["blocks", "check", "fingerprints", "forewarn", "hardware", "pictures", "rows", "spell", "test", "train",
           "versions"]

DEFAULTS = {"speed": "stock"}  # the same for all trials, on every machine

_SPLITS = ("train", "val", "test")
_WHOLE = SimpleNamespace(prefix="", fraction=1.0)  # all that `get_img_files` asks of its data set
_OWN = {"seed": "a study has seeds", "resume": "a study resumes by itself", "project": "a study has its own folder",
        "name": "a study has its own folder", "exist_ok": "a study has its own folder",
        "save_dir": "a study has its own folder", "mode": "a study trains", "save": "a trial keeps its best checkpoint",
        "time": "arms would get different numbers of epochs; say epochs", "val": "a study needs every epoch's metrics"}


def train(trial: Any, folder: Path, report: Callable[[int, Mapping[str, float]], None]) -> dict[str, Any]:
    """Train what a trial says, or go on where it was interrupted, and return its result's fields.

    What is left in `folder`: best.pt, images.npz (see `evaluation`), and Ultralytics' own files under run/.
    """
    folder, settings = Path(folder).resolve(), _here(trial.settings)
    pace = settings.pop("speed", "stock")
    state = read_state(folder)
    threads = state["threads"] if state else None
    spent = state["seconds"] if state else 0.0
    if state is None or not state["finished"]:
        begun = time.monotonic()
        model: Any = open_model(settings["model"], settings.get("task"))
        cls = lesson_trainer(model.task_map[model.task]["trainer"])
        overrides = {"plots": False, **settings, "task": model.task, "seed": trial.seed, "graft": trial.graft,
                     "project": str(folder), "name": "run", "exist_ok": True, "speed": pace}
        trainer = cls(overrides={**overrides, "control": trial.control, "folder": folder, "report": report, "state": state,
                                 "spent": spent})
        trainer.train()
        spent += time.monotonic() - begun
        threads = torch.get_num_threads()
        del trainer, model
    found = evaluate(folder / BEST, settings, folder, threads=threads)
    epochs = len(_lines(folder / "run" / "results.csv")) - 1
    _tidy(folder)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() and str(settings.get("device")) != "cpu" else "cpu"
    return {**found, "costs": {"seconds": spent, "epochs": epochs, **found["costs"]},
            "notes": {"device": device, "checkpoint": str(folder / BEST)}}


def test(trial: Any, folder: Path) -> dict[str, float]:
    """Score what `train` left in `folder` on the data set's test split; raises `DataError` if it has none."""
    settings = {key: value for key, value in _here(trial.settings).items() if key != "speed"}
    found = _resolve(str(settings["data"]), str(settings.get("task") or _open(str(settings["model"])).task))
    if not found.get("test"):
        raise DataError(f"data={settings['data']} has no test split: it names only train and val.")
    metrics: dict[str, float] = evaluate(folder / BEST, settings, folder / "test", split="test",
                                         threads=threads.asked())["metrics"]
    return metrics


def _here(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's settings, without a GPU's number where the study has chosen the GPU for this process already."""
    chosen = "CUDA_VISIBLE_DEVICES" in os.environ and str(settings.get("device")).isdecimal()
    return {key: value for key, value in settings.items() if key != "device" or not chosen}


def _lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip()]


def _tidy(folder: Path) -> None:
    replace(folder / BEST, lambda part: strip_optimizer(str(folder / BEST), s=str(part)))
    for name in (STATE, "run/weights/last.pt", "run/weights/best.pt"):
        (folder / name).unlink(missing_ok=True)


def spell(graft: str) -> str:
    """Return the graft's text with all settings spelled; raises `GraftError` for an unknown block."""
    return str(attach.spelled(Graft.parse(graft)))


def rows(model: str) -> list[str]:
    """Return the site of each row of the model's backbone and neck that gives one map."""
    listed = sites(_open(model))
    return [site["names"][1] for site in listed if site["row"] is not None and not site["names"][1].startswith("head")]


def blocks() -> list[str]:
    """Return the names of all blocks."""
    return zoo.names()


def check(model: str, graft: str, settings: Mapping[str, Any], control: str = "") -> None:
    """Raise `GraftError` if the graft does not fit the model, or a train argument cannot be one of a study's."""
    given = {key: value for key, value in settings.items() if key not in ("model", "speed")}
    pace = check_mode(str(settings.get("speed", "stock")))
    if pace == "auto":
        raise HostError("speed=auto would let each trial choose by itself, and arms might differ by that. Say speed=stock, "
                        "float32 or bfloat16, or resident.")
    acceleration.check(pace, given, is_local=False)  # a cluster's machines may have the GPUs that this one lacks
    for key, value in given.items():
        if key in _OWN:
            raise HostError(f"'{key}={value}' cannot be an argument of a study: {_OWN[key]}.")
        if key not in DEFAULT_CFG_DICT:
            raise HostError(f"'{key}' is no train argument.{nearest(key, DEFAULT_CFG_DICT)} List them: yolo cfg")
    try:
        get_cfg(overrides=dict(given))
    except (TypeError, ValueError, SyntaxError) as error:
        raise HostError(str(error)) from error
    device, batch = str(given.get("device") or ""), given.get("batch", 16)
    if isinstance(given.get("device"), (list, tuple)) or "," in device:
        raise HostError(f"device={device} names several devices, but a trial runs on one. Leave it out: a study puts its "
                        "trials on all GPUs in turn.")
    if not isinstance(batch, int) or batch < 1:
        raise HostError(f"batch={batch} would fit the batch to the memory of the moment, which no two arms share. Say a "
                        "number, such as batch=16.")
    twin = copy.deepcopy(_open(model))
    if isinstance(twin, models.Grafted):
        models.ungraft(twin)
    models.graft_onto(twin, graft)
    controls.apply(twin, control, 0)


def forewarn(settings: Mapping[str, Any]) -> list[str]:
    """Return what to tell the user before a study with these train arguments starts; nothing of it is an error."""
    return mosaic_warnings(settings)


@lru_cache(maxsize=4)
def _open(model: str) -> torch.nn.Module:
    found: torch.nn.Module = open_model(model).model
    return found


def fingerprints(settings: Mapping[str, Any]) -> dict[str, str]:
    """Hash the model's file, and the data set's pictures, labels and class names; raises `DataError` if one is missing.

    Where the files lie does not count, so that several machines may share a study.
    """
    name = str(settings["model"])
    _open(name)  # which finds it where Ultralytics does, or fetches it
    file = Path(name)
    model = _digest([("", file)], file.parent) if file.is_file() else name
    task = getattr(_open(name), "task", None)
    return {"model": model, "data": _data(str(settings["data"]), str(settings.get("task") or task or "detect"))}


def _resolve(name: str, task: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = check_cls_dataset(name) if task == "classify" else check_det_dataset(name)
    except Exception as error:  # Ultralytics raises whatever it meets
        raise DataError(f"data={name} cannot be used: {' '.join(str(error).split())}") from error
    return found


def _data(name: str, task: str) -> str:
    found = _resolve(name, task)
    files: list[tuple[str, Path]] = []
    for split in _SPLITS:
        pictures = _pictures(name, found, split, task)
        labels = map(Path, img2label_paths([str(picture) for picture in pictures])) if task != "classify" else ()
        files += [(split, path) for path in (*pictures, *(label for label in labels if label.is_file()))]
    words = repr((sorted(found["names"].items()), found.get("kpt_shape"), found.get("flip_idx")))
    return _digest([*files], Path(found.get("path") or "."), words)


def pictures(settings: Mapping[str, Any]) -> dict[str, str]:
    """Say how the data set is split: how many pictures each part has, and a hash of their names."""
    name, task = str(settings["data"]), str(settings.get("task") or _open(str(settings["model"])).task)
    found, said = _resolve(name, task), {}
    for split in _SPLITS:
        names = sorted(path.name for path in _pictures(name, found, split, task))
        if names:
            said[split] = f"{len(names)} pictures, names {hashlib.sha256(chr(10).join(names).encode()).hexdigest()[:12]}"
    return said


def _pictures(name: str, found: Mapping[str, Any], split: str, task: str) -> list[Path]:
    """Return the pictures of a split as Ultralytics would train on them: of folders, list files, or a list of both.

    Raises:
        DataError: the split has no pictures, or names some that do not exist. Ultralytics would leave those out.
    """
    source = found.get(split)
    if not source:
        return []
    if task == "classify":
        listed = [path for path in Path(source).rglob("*") if path.suffix[1:].lower() in IMG_FORMATS]
    else:
        sources = [str(one) for one in source] if isinstance(source, (list, tuple)) else str(source)
        try:
            with patched((base, "check_file_speeds", lambda *_, **__: None)):  # 8.4's, which reads files and logs
                listed = [Path(file) for file in base.BaseDataset.get_img_files(_WHOLE, sources)]
        except Exception as error:  # Ultralytics wraps whatever it meets
            why = " ".join(str(error.__cause__ or error).split())
            raise DataError(f"data={name} has no pictures in {source}, which it names as its {split} set: {why}") from error
    if not listed:
        raise DataError(f"data={name} has no pictures in {source}, which it names as its {split} set.")
    missing = [path for path in listed if not path.is_file()]
    if missing:
        raise DataError(f"data={name}: {len(missing)} of the {len(listed)} pictures of its {split} set do not exist. The "
                        f"first is {missing[0]}. In a list file, a path that starts with ./ is relative to the file's "
                        f"folder, and any other relative path to the current folder, {Path.cwd()}.")
    return sorted(path.absolute() for path in listed)


def _digest(files: list[tuple[str, Path]], root: Path, words: str = "") -> str:
    listed = []
    for split, path in files:
        facts, inside = path.stat(), os.path.relpath(path, root)
        listed.append((split, inside if not inside.startswith("..") else path.name, str(path), facts.st_size,
                       facts.st_mtime_ns))
    return _hashed(tuple(listed), words)


@lru_cache(maxsize=16)
def _hashed(files: tuple[tuple[str, str, str, int, int], ...], words: str) -> str:
    total = hashlib.sha256(words.encode())
    for split, inside, path, _, _ in sorted(files):
        if len(files) > 1:  # a single file is what it holds, whatever it is called
            total.update(f"{split}:{Path(inside).as_posix()}\0".encode())
        total.update(hashlib.sha256(Path(path).read_bytes()).digest())
    return total.hexdigest()[:20]


def versions() -> dict[str, str]:
    """Return the versions of the packages whose code decides a trial's number."""
    found = {}
    for name in ("ultralytics", "torch", "torchvision", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    import ultralytics

    # of the one in use, where there are two
    return {**found, "ultralytics": ultralytics.__version__, "opencv-python": _opencv()}


def _opencv() -> str:
    """Return the version of the cv2 that is imported, and its package's name if that is not opencv-python.

    Four packages install the same module `cv2`, and the last one installed wins, whatever the others' metadata say.
    """
    built = getattr(cv2, "version", None)  # a file of the packages on PyPI
    number = str(getattr(built, "opencv_version", cv2.__version__))
    contrib, headless = getattr(built, "contrib", False), getattr(built, "headless", False)
    package = f"opencv{'-contrib' * contrib}-python{'-headless' * headless}"
    return number if package == "opencv-python" else f"{number} ({package})"


def hardware() -> dict[str, str]:
    """Return what this machine is, for the record."""
    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        name = next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass  # not Linux: the plain name will do
    return {"cpu": f"{name}, {os.cpu_count()} cores", "gpu": ", ".join(gpus) or "none", "system": platform.platform(),
            "python": platform.python_version()}
