"""Latency of the networks of a study's arms: all of them in turns, as `predict` runs them, on random images.

Only the structure of a network decides its latency, so the networks are built anew, with the data set's number of classes.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import nn

from yolograft.analysis import profile
from yolograft.analysis.bench import prepare_run
from yolograft.analysis.runtimes import quiet
from yolograft.analysis.timing import WARM_UP, OtherPrograms, time_in_turns
from yolograft.fast.cpu.memory import keep_freed_memory
from yolograft.host import models
from yolograft.host.open import open_model
from yolograft.modelyaml.load import SWAP_KEY
from yolograft.runner import controls, fingerprint, machine, model_yaml
from yolograft.spec import Graft
from yolograft.threads import share

__all__ = ["build", "time_networks"]

_SECONDS = 60.0  # the measurement should not take longer, with at least _LEAST turns
_LEAST, _MOST = 10, 100


def time_networks(trials: Sequence[Any]) -> tuple[list[list[float]], dict[str, Any]]:
    """Measure the networks of trials; see `study.trial.Host.time_networks`."""
    settings: Mapping[str, Any] = trials[0].settings
    on_gpu = torch.cuda.is_available() and str(settings.get("device")) != "cpu"
    target = torch.device("cuda" if on_gpu else "cpu")
    with quiet():  # Ultralytics logs each network's number of classes
        networks = [profile.fused_copy(build(trial)).to(target) for trial in trials]
    sizes = [int(trial.settings.get("imgsz") or 640) for trial in trials]
    images = [torch.rand_like(profile.dummy_images(network, size)) for network, size in zip(networks, sizes, strict=True)]
    runs = [prepare_run(network, image) for network, image in zip(networks, images, strict=True)]
    before, threads = torch.get_num_threads(), share(1)
    torch.set_num_threads(threads)
    try:
        with keep_freed_memory(), torch.inference_mode():
            started = time.perf_counter()
            time_in_turns(runs, 1)
            each = (time.perf_counter() - started) / (WARM_UP + 1)
            repeats = min(_MOST, max(_LEAST, int(_SECONDS / each)))
            with OtherPrograms() as others:
                turns = time_in_turns(runs, repeats)
    finally:
        torch.set_num_threads(before)
    return turns, {"batch": 1, "imgsz": int(settings.get("imgsz") or 640), "threads": threads, "precision": "float32",
                   "device": torch.cuda.get_device_name() if on_gpu else f"cpu, {machine.processor()}",
                   "fused": True, "nms": False, "warm_up": 2 * WARM_UP + 1, "repeats": repeats,
                   "busy": round(others.share, 3), "torch": torch.__version__}


def build(trial: Any) -> nn.Module:
    """Build the network of a trial, with new weights.

    Raises:
        GraftError: the data set or the model is not on this machine, or the network cannot be built.
    """
    settings = trial.settings
    host: Any = open_model(str(settings["model"])).model
    task = str(settings.get("task") or getattr(host, "task", None) or "detect")
    classes = fingerprint.resolve_dataset(str(settings["data"]), task).get("nc")
    config = model_yaml.read_config(trial.yaml, trial.yaml_name, host) if trial.yaml else models.host_yaml(dict(host.yaml))
    if settings.get("swap") is not None:
        config[SWAP_KEY] = str(settings["swap"])
    network = model_yaml.build(config, Graft.parse(trial.graft), host, classes)
    controls.apply(network, trial.control, trial.seed)
    return network
