"""Run a study's trials with Ultralytics: train one arm with one seed, test it, and check its arguments before.

The module implements `yolograft.study.trial.Host`. A plan stores its name as `host: ultralytics`.
"""

from __future__ import annotations

import copy
import json
import os
import time
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import cv2
import torch
from ultralytics.cfg import get_cfg
from ultralytics.nn.tasks import RTDETRDetectionModel
from ultralytics.utils import DEFAULT_CFG_DICT
from ultralytics.utils.torch_utils import strip_optimizer

from yolograft import attach, threads
from yolograft import blocks as zoo
from yolograft.atomic import atomic_write
from yolograft.errors import DataError, GraftError, HostError, nearest
from yolograft.fast import acceleration
from yolograft.fast.modes import check_mode
from yolograft.host import models, swaps
from yolograft.host.box_loss import check_task, read_iou, without_box_loss
from yolograft.host.mosaic import mosaic_warnings
from yolograft.host.open import open_model
from yolograft.language import tr
from yolograft.modelyaml.load import SWAP_KEY
from yolograft.modules.plugin import load_own
from yolograft.runner import controls, data_warnings, fingerprint, model_yaml, resplit
from yolograft.runner.evaluate import evaluate
from yolograft.runner.latency import time_networks
from yolograft.runner.machine import hardware
from yolograft.runner.model_yaml import find_yaml
from yolograft.runner.trainer import BEST, STATE, read_state, trial_trainer
from yolograft.sites import sites
from yolograft.spec import Graft, Swap

__all__ = ["blocks", "check", "find_yaml", "fingerprints", "forewarn", "hardware", "load_files", "pictures",
           "rehearse_yaml", "rows", "spell", "split_sizes", "test", "time_networks", "train", "versions"]

DEFAULTS = {"speed": "stock"}  # train arguments that a new plan stores, so that they are the same on every machine


_OWN = ("speed", "blocks", "modules", "swap")  # our train arguments, which an arm can have


def _rejected() -> dict[str, str]:
    """Return the train arguments that a study rejects, each with the reason."""
    folder = tr("a study has its own folder")
    return {"seed": tr("a study has seeds"), "resume": tr("a study resumes by itself"), "project": folder, "name": folder,
            "exist_ok": folder, "save_dir": folder, "mode": tr("a study trains"), "save":
                tr("a trial keeps its best checkpoint"),
            "time": tr("arms would get different numbers of epochs; use epochs instead"),
            "val": tr("a study needs the metrics of every epoch")}


def train(trial: Any, folder: Path, report: Callable[[int, Mapping[str, float]], None]) -> dict[str, Any]:
    """Train a trial, or resume it if it was interrupted, and return the fields of its result.

    `folder` then contains best.pt, images.npz (see `evaluate`), and Ultralytics' own files under run/.

    Args:
        trial: the settings, graft, control and seed.
        folder: the trial's folder. It may contain the state of an interrupted run.
        report: called after each epoch with its number, from 1, and its metrics.
    """
    folder, settings = Path(folder).resolve(), _usable_settings(trial.settings)
    if split := trial.settings.get("split"):
        task = str(settings.get("task") or _open_cached(str(settings["model"])).task)
        settings["data"] = str(resplit.write_split(str(settings["data"]), task, split, folder))
    speed = settings.pop("speed", "stock")
    state = read_state(folder)
    threads = state["threads"] if state else None
    seconds = state["seconds"] if state else 0.0
    unmoved = state.get("unmoved", {}) if state else {}
    if state is None or not state["finished"]:
        started = time.monotonic()
        model: Any = open_model(settings["model"], settings.get("task"))
        cls = trial_trainer(model.task_map[model.task]["trainer"])
        overrides = {"plots": False, **settings, "task": model.task, "seed": trial.seed, "graft": trial.graft,
                     "project": str(folder), "name": "run", "exist_ok": True, "speed": speed}
        text = getattr(trial, "yaml", "")
        config = model_yaml.read_config(text, trial.yaml_name, model.model) if text else None
        trainer = cls(overrides={**overrides, "control": trial.control, "folder": folder, "report": report, "state": state,
                                 "seconds": seconds, "config": config})
        trainer.train()
        seconds += time.monotonic() - started
        threads = torch.get_num_threads()
        unmoved = trainer.unmoved_blocks
        del trainer, model
    result = evaluate(folder / BEST, settings, folder, threads=threads)
    gates = result.pop("gates", [])
    epochs = len(_read_lines(folder / "run" / "results.csv")) - 1
    _remove_training_files(folder)
    device = torch.cuda.get_device_name() if torch.cuda.is_available() and str(settings.get("device")) != "cpu" else "cpu"
    return {**result, "costs": {"seconds": seconds, "epochs": epochs, **result["costs"]},
            "notes": {"device": device, "checkpoint": str(folder / BEST), **({"gates": json.dumps(gates)} if gates else {}),
                      **({"unmoved": json.dumps(unmoved)} if unmoved else {})}}


def test(trial: Any, folder: Path) -> dict[str, float]:
    """Return the metrics, on the data set's test split, of the checkpoint that `train` wrote to `folder`.

    Raises:
        DataError: the data set has no test split, or cannot be resolved.
    """
    settings = {key: value for key, value in _usable_settings(trial.settings).items() if key != "speed"}
    task = str(settings.get("task") or _open_cached(str(settings["model"])).task)
    if not fingerprint.resolve_dataset(str(settings["data"]), task).get("test"):
        raise DataError(tr("data={data} has no test split: it names only train and val.", data=settings["data"]))
    metrics: dict[str, float] = evaluate(folder / BEST, settings, folder / "test", split="test",
                                         threads=threads.requested())["metrics"]
    return metrics


def _usable_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return a trial's settings, without a GPU's number if the study has already selected this process's GPU.

    The user's files of blocks and modules are loaded here.
    """
    load_own(settings)
    is_selected = "CUDA_VISIBLE_DEVICES" in os.environ and str(settings.get("device")).isdecimal()
    return {key: value for key, value in settings.items()
            if key not in ("blocks", "modules", "split") and (key != "device" or not is_selected)}


def _read_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines() if line.strip()]


def _remove_training_files(folder: Path) -> None:
    """Remove what only a resumption needs: the optimizer in the best checkpoint, the state and the other checkpoints."""
    atomic_write(folder / BEST, lambda part: strip_optimizer(str(folder / BEST), s=str(part)))
    for name in (STATE, "run/weights/last.pt", "run/weights/best.pt"):
        (folder / name).unlink(missing_ok=True)


def load_files(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Load the user's files of blocks and modules, and return the settings with their full paths.

    Raises:
        GraftError: a file does not exist, cannot be imported, or has no class that the argument needs.
    """
    found = dict(settings)
    for key in ("modules", "blocks"):
        if settings.get(key):
            found[key] = ",".join(str(one.file) for one in load_own({key: settings[key]}))
    return found


def spell(graft: str) -> str:
    """Return the graft's text with all settings. Raises `GraftError` for an unknown block."""
    return str(attach.spelled(Graft.parse(graft)))


def rows(model: str) -> list[str]:
    """Return the site names of the model's backbone and neck rows whose output is one feature map."""
    found = sites(_open_cached(model))
    return [site["names"][1] for site in found if site["row"] is not None and not site["names"][1].startswith("head")]


def blocks() -> list[str]:
    """Return the names of all blocks."""
    return zoo.names()


def check(model: str, graft: str, settings: Mapping[str, Any], control: str = "") -> None:
    """Check a graft, train arguments and a control before a study starts.

    Args:
        model: a checkpoint or model YAML.
        graft: the graft's text.
        settings: the train arguments.
        control: the name of a control, or "".

    Raises:
        GraftError: the graft does not fit the model, the control cannot act on it, or a study cannot use an argument.
    """
    arguments = {key: value for key, value in settings.items() if key not in ("model", *_OWN)}
    speed = check_mode(str(settings.get("speed", "stock")))
    if speed == "auto":
        raise HostError(tr("speed=auto would choose for each trial, and arms might differ because of this. Use "
                           "speed=stock, float32, bfloat16 or resident."))
    acceleration.check(speed, arguments, is_local=False)  # other machines of a cluster may have GPUs that this one lacks
    rejected = _rejected()
    for key, value in arguments.items():
        if key in rejected:
            raise HostError(tr("'{key}={value}' cannot be an argument of a study: {reason}.", key=key, value=value,
                               reason=rejected[key]))
        if key not in DEFAULT_CFG_DICT:
            raise HostError(tr("'{key}' is not a train argument.{nearest} List them: yolo cfg", key=key,
                               nearest=nearest(key, DEFAULT_CFG_DICT)))
    try:
        get_cfg(overrides=without_box_loss(arguments))
    except (TypeError, ValueError, SyntaxError) as error:
        raise HostError(str(error)) from error
    device, batch = str(arguments.get("device") or ""), arguments.get("batch", 16)
    if isinstance(arguments.get("device"), (list, tuple)) or "," in device:
        raise HostError(tr("device={device} names several devices, but a trial runs on one. Leave device out: a study "
                           "distributes its trials over all GPUs.", device=device))
    if not isinstance(batch, int) or batch < 1:
        raise HostError(tr("batch={batch} would let the free memory decide the batch size, so arms could differ. Use "
                           "a positive number, such as batch=16.", batch=batch))
    network = copy.deepcopy(_open_cached(model))
    swap = Swap.parse(str(settings.get("swap") or "none"))
    if (loss := read_iou(arguments.get("iou"))) is not None:
        check_task(loss, str(arguments.get("task") or getattr(network, "task", "detect")),
                   isinstance(network, RTDETRDetectionModel))
    if isinstance(network, models.Grafted):
        value = Graft.parse(graft)
        if value and models.added_graft(network, value) is None:
            raise HostError(models.refusal(model, models.short_text(str(attach.grafted(network))), value)
                            + tr(" To study {value}, give the study the checkpoint without blocks.", value=value))
        models.ungraft(network)
    if settings.get("swap") is not None:
        swaps.swap_onto(network, swap)
    models.graft_onto(network, graft)
    controls.apply(network, control, 0)


def rehearse_yaml(text: str, file: str, graft: str, settings: Mapping[str, Any], control: str = "") -> tuple[str, list[str]]:
    """Build the network of an arm that has a model YAML, with its graft and control, as its trials will.

    Args:
        text: the text of the model YAML.
        file: its path, for messages.
        graft: the graft on its rows.
        settings: the train arguments, `model` and `data` included.
        control: the name of a control, or "".

    Returns:
        The graft with all settings, the attention rows of the YAML included, and a sentence for the user.

    Raises:
        GraftError: the YAML cannot be built as the study's model, or the graft or the control does not fit it.
    """
    name = str(settings["model"])
    host = _open_cached(name)
    task = str(settings.get("task") or getattr(host, "task", None) or "detect")
    classes = fingerprint.resolve_dataset(str(settings["data"]), task).get("nc")
    config = model_yaml.read_config(text, file, host)
    if settings.get("swap") is not None:
        config[SWAP_KEY] = str(settings["swap"])
    value = model_yaml.full_graft(config, graft)
    try:
        network = model_yaml.build(config, value, host, classes)
    except GraftError as error:
        raise type(error)(tr("The arm cannot be built from {file}: {problem}", file=file, problem=error)) from error
    if control in ("params", "gate1") and not value:
        raise HostError(tr("The control '{control}' needs a graft, and {file} has no attention rows: write "
                           "'{control}({name} + se@8)'.", control=control, file=file, name=Path(file).name))
    controls.apply(network, control, 0)
    baseline = model_yaml.build(models.host_yaml(dict(host.yaml)), Graft(), host, classes)  # type: ignore[arg-type]
    loaded, total, others = model_yaml.count_transferred(network, baseline)
    scale = model_yaml.scale_of(host)
    at_scale = tr(" at scale {scale}, that of {model}", scale=scale, model=Path(name).name) if scale else ""
    return str(value), [tr("{file} is built{at_scale}; {loaded} of its {total} tensors start as in the baseline{others}.",
                           file=Path(file).name, at_scale=at_scale, loaded=loaded, total=total,
                           others="".join(f"; {one}" for one in others))]


def forewarn(settings: Mapping[str, Any]) -> list[str]:
    """Return warnings about train arguments and the data, to print before a study starts."""
    found = mosaic_warnings(settings)
    if settings.get("model") and settings.get("data"):
        network = _open_cached(str(settings["model"]))
        task = str(settings.get("task") or getattr(network, "task", None) or "detect")
        has_remap = bool(settings.get("cls_remap", DEFAULT_CFG_DICT.get("cls_remap")))  # classes are matched by name
        if not settings.get("single_cls") and not has_remap:
            found += data_warnings.name_warnings(network, str(settings["data"]), task)
        found += data_warnings.data_warnings(str(settings["data"]), task)
    return found


@lru_cache(maxsize=4)
def _open_cached(model: str) -> torch.nn.Module:
    network: torch.nn.Module = open_model(model).model
    return network


def fingerprints(settings: Mapping[str, Any]) -> dict[str, str]:
    """Hash the model's file, the data set's images, labels and class names, and the user's files of blocks.

    The folder of the files does not change the hashes, so several machines can share a study.

    Raises:
        GraftError: the model or the data set cannot be used, or images are missing.
    """
    name = str(settings["model"])
    network = _open_cached(name)  # may download the file, so it comes before the hash
    task = str(settings.get("task") or getattr(network, "task", None) or "detect")
    found = {"model": fingerprint.hash_model(name), "data": fingerprint.hash_dataset(str(settings["data"]), task)}
    for key in ("blocks", "modules"):
        if settings.get(key):  # a changed class gives other results
            found[key] = ",".join(one.digest for one in load_own({key: settings[key]}))
    return found


def pictures(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return, for each split of the data set, how many images it has and a hash of their names.

    Raises:
        GraftError: the model or the data set cannot be used.
    """
    task = str(settings.get("task") or _open_cached(str(settings["model"])).task)
    return fingerprint.describe_splits(str(settings["data"]), task)


def split_sizes(settings: Mapping[str, Any]) -> tuple[int, int]:
    """Return how many images of train and val a new split trains and validates on (see `resplit`).

    Raises:
        GraftError: the data set cannot be split.
    """
    task = str(settings.get("task") or _open_cached(str(settings["model"])).task)
    return resplit.split_sizes(str(settings["data"]), task)


def versions() -> dict[str, str]:
    """Return the versions of the packages that can change a trial's metrics."""
    found = {}
    for name in ("ultralytics", "torch", "torchvision", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    import ultralytics

    # the metadata can describe another installation of Ultralytics than the imported one
    return {**found, "ultralytics": ultralytics.__version__, "opencv-python": _opencv()}


def _opencv() -> str:
    """Return the version of the imported cv2, and its package's name if that is not opencv-python.

    Four packages install the module `cv2`. The last one installed is imported, but the metadata of the others remain.
    """
    build = getattr(cv2, "version", None)  # a module in the packages from PyPI
    number = str(getattr(build, "opencv_version", cv2.__version__))
    contrib, headless = getattr(build, "contrib", False), getattr(build, "headless", False)
    package = f"opencv{'-contrib' * contrib}-python{'-headless' * headless}"
    return number if package == "opencv-python" else f"{number} ({package})"
