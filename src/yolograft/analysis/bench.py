"""Costs of a graft at inference, compared with the bare host: parameters, GFLOPs, memory and latency.

The arms run one after another in each turn, batch by batch, so that other load on the machine affects all of them. Each
ratio to the bare host is computed within a turn. PyTorch networks are fused as in `predict`. For other runtimes, models are
exported as in `export`.
"""

from __future__ import annotations

import copy
import json
import statistics
import tempfile
import weakref
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from yolograft import attach
from yolograft.analysis import profile, runtimes
from yolograft.analysis.timing import WARM_UP, median_interval, time_in_turns
from yolograft.errors import HostError
from yolograft.fast.cpu.memory import keep_freed_memory
from yolograft.host import models
from yolograft.host.open import open_model
from yolograft.host.swaps import swap_onto
from yolograft.language import pad, tr
from yolograft.spec import Graft, Swap

__all__ = ["Bench", "Cost", "bench", "prepare_run"]


@dataclass(frozen=True, kw_only=True)
class Cost:
    """The costs of one arm.

    Attributes:
        graft: the graft's text, or `swap=` and a swap's text. "none" is the bare host.
        parameters: number of parameters before fusing.
        gflops: of one image, fused: two operations per multiply-add of convolutions and matrix products.
        memory_mib: peak memory of the feature maps of one batch, in MiB, measured in PyTorch: the outputs of all operators
            in a forward pass, until they are freed. It excludes weights and workspaces of operators and runtimes.
        latency_ms: median latency of a batch.
        ratio: latency relative to the bare host's, median over turns.
        low, high: 95% bootstrap interval of this ratio.
    """

    graft: str
    parameters: int
    gflops: float
    memory_mib: float
    latency_ms: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The costs of all arms, the bare host first, and the conditions of the measurement. `str` gives a table."""

    model: str
    runtime: str
    version: str
    device: str
    imgsz: int
    batch: int
    threads: int
    repeats: int
    warm_up: int
    torch: str
    costs: tuple[Cost, ...]

    def json(self) -> str:
        """Return all fields as JSON."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        lines = [f"{pad(tr('graft'), 32)}{pad(tr('parameters'), 12, '>')}{'GFLOPs':>9}{'MiB':>8}{'ms':>10}"
                 f"{pad(tr('x bare'), 9, '>')}   {tr('95% interval')}"]
        lines += [f"{cost.graft:<32}{cost.parameters:>12,}{cost.gflops:>9.3f}{cost.memory_mib:>8.1f}{cost.latency_ms:>10.2f}"
                  f"{cost.ratio:>9.3f}   " + tr("{low:.3f} to {high:.3f}", low=cost.low, high=cost.high)
                  for cost in self.costs]
        device = self.device
        if device == "cpu":
            device = tr("the CPU, 1 thread") if self.threads == 1 else tr("the CPU, {threads} threads", threads=self.threads)
        export = "" if self.runtime == "torch" else tr("; exported by PyTorch {version}", version=self.torch)
        return "\n".join([*lines, tr("{model} at {imgsz}, batch {batch}: {version} on {device}, fused, {repeats} turns "
                                     "after {warm_up} to warm up{export}", model=self.model, imgsz=self.imgsz,
                                     batch=self.batch, version=self.version, device=device, repeats=self.repeats,
                                     warm_up=self.warm_up, export=export)])


def bench(model: str, grafts: Sequence[str], *, swaps: Sequence[str] = (), imgsz: int = 640, batch: int = 1,
          repeats: int = 30, runtime: str = "torch", threads: int | None = None, device: str = "cpu") -> Bench:
    """Measure the costs of the bare host and of each graft.

    Args:
        model: a checkpoint or model YAML. Its own graft, if it has one, is an additional arm.
        grafts: texts of grafts, such as `se@8`.
        swaps: texts of swaps, such as `dysample@Upsample`. Each is an arm.
        imgsz: side of the square images, in pixels.
        batch: images per batch.
        repeats: number of turns.
        runtime: one of `runtimes.RUNTIMES`, for the latency.
        threads: number of threads of the runtime. None: PyTorch's number.
        device: `cpu`, or the number of a CUDA device (only with `torch`).

    Raises:
        GraftError: the model cannot be opened, a graft does not fit, a number is not valid, or the runtime or the device is
            not available.
    """
    runtimes.check(runtime)
    target = _parse_device(device, runtime)
    for name, value in (("imgsz", imgsz), ("batch", batch), ("repeats", repeats), ("threads", threads)):
        if value is not None and value < 1:
            raise HostError(tr("{key}={text} is not a positive whole number.", key=name, text=value))
    host: nn.Module = open_model(model).model
    _check_size(host, imgsz)
    own_graft = str(attach.grafted(host))
    if own_graft != "none":
        models.ungraft(host)
    texts = list(dict.fromkeys(["none", own_graft, *(str(attach.spelled(Graft.parse(text))) for text in grafts)]))
    networks = []
    for text in texts:
        network = copy.deepcopy(host)
        models.graft_onto(network, Graft.parse(text))
        networks.append(network)
    arms: list[tuple[str, str | None]] = [(text, None) for text in texts]
    for text in dict.fromkeys(swaps):
        network = copy.deepcopy(host)
        swap_onto(network, Swap.parse(text))
        networks.append(network)
        arms.append(("none", text))
    labels = [models.short_text(text) if swap is None else f"swap={swap}" for text, swap in arms]
    parameters = [profile.count_parameters(network) for network in networks]
    networks = [profile.fused_copy(network) for network in networks]
    gflops = [profile.count_gflops(network, imgsz) for network in networks]
    networks = [network.to(target) for network in networks]
    images = torch.rand_like(profile.dummy_images(networks[0], imgsz, batch))
    previous_threads = torch.get_num_threads()
    threads = threads or previous_threads
    torch.set_num_threads(threads)
    try:
        # without keep_freed_memory, new memory pages cost some arms about 10% of their time, by chance
        with keep_freed_memory(), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
            memory = [_measure_memory(network, images) for network in networks]
            runs = [prepare_run(network, images) for network in networks]
            if runtime != "torch":
                sessions = [runtimes.export_and_load(model, text, runtime, Path(folder) / str(arm), imgsz=imgsz,
                                                     batch=batch, threads=threads, swap=swap)
                            for arm, (text, swap) in enumerate(arms)]
                runs = [lambda session=session: session(images.numpy()) for session in sessions]  # type: ignore[misc]
            turns = time_in_turns(runs, repeats)
    finally:
        torch.set_num_threads(previous_threads)
    costs = []
    for arm, label in enumerate(labels):
        ratios = [turn[arm] / turn[0] for turn in turns]
        low, high = median_interval(ratios)
        costs.append(Cost(graft=label, parameters=parameters[arm], gflops=gflops[arm],
                          memory_mib=memory[arm], latency_ms=1000 * statistics.median(turn[arm] for turn in turns),
                          ratio=statistics.median(ratios), low=low, high=high))
    return Bench(model=model, runtime=runtime, version=runtimes.describe(runtime), imgsz=imgsz, batch=batch, threads=threads,
                 device="cpu" if target.type == "cpu" else torch.cuda.get_device_name(target), repeats=repeats,
                 warm_up=WARM_UP, torch=torch.__version__, costs=tuple(costs))


def _parse_device(device: str, runtime: str) -> torch.device:
    if str(device).lower() == "cpu":
        return torch.device("cpu")
    number = str(device).removeprefix("cuda:")
    if not number.isdecimal():
        raise HostError(tr("device={device}: expected cpu, or the number of one CUDA device, such as 0.", device=device))
    if runtime != "torch":
        raise HostError(tr("device={device}: runtime={runtime} is measured on the CPU. Leave device out or use "
                           "runtime=torch.",
                           device=device, runtime=runtime))
    if int(number) >= torch.cuda.device_count():
        raise HostError(tr("device={device}: this PyTorch sees {count} CUDA devices.", device=device,
                           count=torch.cuda.device_count()))
    return torch.device("cuda", int(number))


def _check_size(host: nn.Module, imgsz: int) -> None:
    stride = int(max(getattr(host, "stride", torch.ones(1))))
    if imgsz % stride:
        low = imgsz // stride * stride
        raise HostError(tr("imgsz={imgsz} is not a multiple of {stride}, the model's largest stride. Multiples near it: "
                           "{sizes}.", imgsz=imgsz, stride=stride, sizes=f"{f'{low}, ' if low else ''}{low + stride}"))


def prepare_run(network: nn.Module, images: torch.Tensor) -> Callable[[], object]:
    """Return a function that runs a network on images (B, C, H, W) and, on a GPU, waits until it has finished."""
    def run_on_gpu() -> None:
        network(images)
        torch.cuda.synchronize(images.device)

    return run_on_gpu if images.device.type == "cuda" else lambda: network(images)


def _measure_memory(network: nn.Module, images: torch.Tensor) -> float:
    """Return the peak memory of the feature maps of one forward pass, in MiB."""
    network(images)  # creates what later passes reuse, such as anchors, which is not counted
    with _PeakMemory() as memory:
        network(images)
    return memory.peak / 2**20


class _PeakMemory(TorchDispatchMode):
    """Counts the bytes of all operators' outputs that are not yet freed. `peak` is the maximum."""

    def __init__(self) -> None:
        super().__init__()
        self.peak, self._current, self._storages = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = {leaf.untyped_storage()._cdata for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)}
        for leaf in tree_leaves(result):
            if isinstance(leaf, torch.Tensor) and leaf.untyped_storage()._cdata not in inputs | self._storages:
                self._add(leaf.untyped_storage())
        self.peak = max(self.peak, self._current)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        self._storages.add(address)
        self._current += size
        weakref.finalize(storage, self._remove, address, size)

    def _remove(self, address: int, size: int) -> None:
        self._storages.discard(address)
        self._current -= size
