"""What a graft costs when it is deployed: parameters, operations, memory and latency beside the bare host's.

The arms take turns, picture by picture, so that what else the machine does meets all of them; each ratio to the bare host
is formed within a turn. PyTorch's networks are fused as `predict` fuses them, the other runtimes' are exported as `export`
does it.
"""

from __future__ import annotations

import copy
import json
import random
import statistics
import tempfile
import time
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
from yolograft.errors import HostError
from yolograft.fast.cpu.memory import keep_freed_memory
from yolograft.host import models
from yolograft.host.open import open_model
from yolograft.spec import Graft

__all__ = ["Bench", "Cost", "bench"]

_WARM_UP = 3
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What one arm costs.

    Attributes:
        graft: its text; "none" is the bare host.
        parameters: before fusing.
        gflops: of one picture, fused: two for each multiply-add of convolutions and matrix products.
        memory_mib: the most that the maps of a batch fill at any time, in PyTorch: what every operator of one forward pass
            gives, for as long as it is kept. Not the weights, and not what an operator or a runtime sets up for itself.
        latency_ms: of a batch, median.
        ratio: of its latency to the bare host's, median over turns.
        low, high: the 95% bootstrap interval of that ratio.
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
    """The costs of all arms, the bare host's first, and how they were measured; prints as a table."""

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
        """Return everything as JSON."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        lines = [f"{'graft':<32}{'parameters':>12}{'GFLOPs':>9}{'MiB':>8}{'ms':>10}{'x bare':>9}   95% interval"]
        lines += [f"{one.graft:<32}{one.parameters:>12,}{one.gflops:>9.3f}{one.memory_mib:>8.1f}{one.latency_ms:>10.2f}"
                  f"{one.ratio:>9.3f}   {one.low:.3f} to {one.high:.3f}" for one in self.costs]
        where = f"the CPU, {self.threads} thread{'s' * (self.threads > 1)}" if self.device == "cpu" else self.device
        made = "" if self.runtime == "torch" else f"; exported by PyTorch {self.torch}"
        return "\n".join([*lines, f"{self.model} at {self.imgsz}, batch {self.batch}: {self.version} on {where}, fused, "
                                  f"{self.repeats} turns after {self.warm_up} to warm up{made}"])


def bench(model: str, grafts: Sequence[str], *, imgsz: int = 640, batch: int = 1, repeats: int = 30,
          runtime: str = "torch", threads: int | None = None, device: str = "cpu") -> Bench:
    """Measure the bare host and each graft on it.

    Args:
        model: a checkpoint or model YAML; what it carries itself is one more arm.
        grafts: texts of grafts, as in `se@8`.
        imgsz: side of the square pictures.
        batch: pictures at once.
        repeats: turns.
        runtime: `torch`, `onnxruntime` or `openvino`: what latency is measured in.
        threads: of the runtime; as many as PyTorch's by default.
        device: `cpu`, or the number of a CUDA device, for `torch` alone.

    Raises:
        GraftError: the model cannot be opened, a graft does not fit, a number makes no sense, or the runtime or the device
            is not there.
    """
    runtimes.check(runtime)
    where = _device(device, runtime)
    for name, value in (("imgsz", imgsz), ("batch", batch), ("repeats", repeats), ("threads", threads)):
        if value is not None and value < 1:
            raise HostError(f"{name}={value} is not a positive whole number.")
    host: nn.Module = open_model(model).model
    _check_size(host, imgsz)
    own = str(attach.grafted(host))
    if own != "none":
        models.ungraft(host)
    texts = list(dict.fromkeys(["none", own, *(str(attach.spelled(Graft.parse(text))) for text in grafts)]))
    networks = []
    for text in texts:
        network = copy.deepcopy(host)
        models.graft_onto(network, Graft.parse(text))
        networks.append(network)
    parameters = [profile.parameters(network) for network in networks]
    networks = [profile.deployed(network) for network in networks]
    gflops = [profile.gflops(network, imgsz) for network in networks]
    networks = [network.to(where) for network in networks]
    pictures = torch.rand_like(profile.pictures(networks[0], imgsz, batch))
    before = torch.get_num_threads()
    threads = threads or before
    torch.set_num_threads(threads)
    try:
        # keep_memory: otherwise it is chance which arm's maps come as new pages, a tenth of its time
        with keep_freed_memory(), torch.inference_mode(), tempfile.TemporaryDirectory() as folder:
            memory = [_memory(network, pictures) for network in networks]
            runs = [_run(network, pictures) for network in networks]
            if runtime != "torch":
                opened = [runtimes.deployed(model, text, runtime, Path(folder) / str(at), imgsz=imgsz, batch=batch,
                                            threads=threads) for at, text in enumerate(texts)]
                runs = [lambda one=one: one(pictures.numpy()) for one in opened]  # type: ignore[misc]
            turns = _turns(runs, repeats)
    finally:
        torch.set_num_threads(before)
    found = []
    for at, text in enumerate(texts):
        ratios = [turn[at] / turn[0] for turn in turns]
        low, high = _interval(ratios)
        found.append(Cost(graft=models.short(text), parameters=parameters[at], gflops=gflops[at], memory_mib=memory[at],
                          latency_ms=1000 * statistics.median(turn[at] for turn in turns),
                          ratio=statistics.median(ratios), low=low, high=high))
    return Bench(model=model, runtime=runtime, version=runtimes.title(runtime), imgsz=imgsz, batch=batch, threads=threads,
                 device="cpu" if where.type == "cpu" else torch.cuda.get_device_name(where), repeats=repeats,
                 warm_up=_WARM_UP, torch=torch.__version__, costs=tuple(found))


def _device(device: str, runtime: str) -> torch.device:
    if str(device).lower() == "cpu":
        return torch.device("cpu")
    number = str(device).removeprefix("cuda:")
    if not number.isdecimal():
        raise HostError(f"device={device}: expected cpu, or the number of one CUDA device, such as 0.")
    if runtime != "torch":
        raise HostError(f"device={device}: runtime={runtime} is measured on the CPU. Leave device out, or runtime=torch.")
    if int(number) >= torch.cuda.device_count():
        raise HostError(f"device={device}: this PyTorch sees {torch.cuda.device_count()} CUDA devices.")
    return torch.device("cuda", int(number))


def _check_size(host: nn.Module, imgsz: int) -> None:
    stride = int(max(getattr(host, "stride", torch.ones(1))))
    if imgsz % stride:
        low = imgsz // stride * stride
        raise HostError(f"imgsz={imgsz} is not a multiple of {stride}, the model's largest stride. "
                        f"The nearest are {f'{low} and ' if low else ''}{low + stride}.")


def _run(network: nn.Module, pictures: torch.Tensor) -> Callable[[], object]:
    def on_gpu() -> None:
        network(pictures)
        torch.cuda.synchronize(pictures.device)

    return on_gpu if pictures.device.type == "cuda" else lambda: network(pictures)


def _memory(network: nn.Module, pictures: torch.Tensor) -> float:
    """Return the most MiB of maps that are there at once beyond what was there before."""
    network(pictures)  # what it keeps for the next time, such as anchors, is no map of this one
    with _Held() as held:
        network(pictures)
    return held.most / 2**20


class _Held(TorchDispatchMode):
    """Counts the bytes that operators' results fill, and the most at any time."""

    def __init__(self) -> None:
        super().__init__()
        self.most, self._now, self._known = 0, 0, set[int]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        given = {one.untyped_storage()._cdata for one in tree_leaves((args, kwargs)) if isinstance(one, torch.Tensor)}
        for one in tree_leaves(result):
            if isinstance(one, torch.Tensor) and one.untyped_storage()._cdata not in given | self._known:
                self._hold(one.untyped_storage())
        self.most = max(self.most, self._now)
        return result

    def _hold(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
        self._known.add(address)
        self._now += size
        weakref.finalize(storage, self._release, address, size)

    def _release(self, address: int, size: int) -> None:
        self._known.discard(address)
        self._now -= size


def _turns(runs: Sequence[Callable[[], object]], repeats: int,
           clock: Callable[[], float] = time.perf_counter) -> list[list[float]]:
    order = list(range(len(runs)))
    shuffled = random.Random(0)  # no arm always runs after the same other one, whose weights fill the caches
    turns = []
    for turn in range(_WARM_UP + repeats):
        taken = [0.0] * len(runs)
        shuffled.shuffle(order)
        for at in order:
            begun = clock()
            runs[at]()
            taken[at] = clock() - begun
        if turn >= _WARM_UP:
            turns.append(taken)
    return turns


def _interval(values: Sequence[float]) -> tuple[float, float]:
    drawn = random.Random(0)
    medians = sorted(statistics.median(drawn.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES) - 1]
