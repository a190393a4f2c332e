"""What a graft costs when it is deployed: parameters, operations and latency beside the bare host's, in PyTorch on the CPU.

The arms take turns, picture by picture, so that what else the machine does meets all of them; each ratio to the bare host
is formed within a turn. Networks are fused as `predict` fuses them.
"""

from __future__ import annotations

import copy
import json
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolograft import attach
from yolograft.host import models, modes
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
        latency_ms: of a batch, median.
        ratio: of its latency to the bare host's, median over turns.
        low, high: the 95% bootstrap interval of that ratio.
    """

    graft: str
    parameters: int
    gflops: float
    latency_ms: float
    ratio: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Bench:
    """The costs of all arms, the bare host's first, and how they were measured; prints as a table."""

    model: str
    imgsz: int
    batch: int
    threads: int
    repeats: int
    torch: str
    costs: tuple[Cost, ...]

    def json(self) -> str:
        """Return everything as JSON."""
        return json.dumps(asdict(self))

    def __str__(self) -> str:
        lines = [f"{'graft':<32}{'parameters':>12}{'GFLOPs':>9}{'ms':>10}{'x bare':>9}   95% interval"]
        lines += [f"{one.graft:<32}{one.parameters:>12,}{one.gflops:>9.3f}{one.latency_ms:>10.2f}{one.ratio:>9.3f}   "
                  f"{one.low:.3f} to {one.high:.3f}" for one in self.costs]
        return "\n".join([*lines, f"{self.model} at {self.imgsz}, batch {self.batch}: PyTorch {self.torch} on the CPU, "
                                  f"{self.threads} threads, fused, {self.repeats} turns after {_WARM_UP} to warm up"])


def bench(model: str, grafts: Sequence[str], *, imgsz: int = 640, batch: int = 1, repeats: int = 30) -> Bench:
    """Measure the bare host and each graft on it.

    Args:
        model: a checkpoint or model YAML; what it carries itself is one more arm.
        grafts: texts of grafts, as in `se@8`.
        imgsz: side of the square pictures.
        batch: pictures at once.
        repeats: turns.

    Raises:
        GraftError: the model cannot be opened, or a graft does not fit.
    """
    host: nn.Module = modes.open_model(model).model
    own = str(attach.grafted(host))
    if own != "none":
        models.ungraft(host)
    texts = list(dict.fromkeys(["none", own, *(str(Graft.parse(text)) for text in grafts)]))
    networks = []
    for text in texts:
        network = copy.deepcopy(host)
        models.graft_onto(network, Graft.parse(text))
        networks.append(network.float().eval())
    parameters = [sum(one.numel() for one in network.parameters()) for network in networks]
    networks = [network.fuse(verbose=False) for network in networks]  # type: ignore[operator]
    with torch.inference_mode():
        gflops = [_gflops(network, imgsz) for network in networks]
        turns = _turns(networks, torch.rand(batch, 3, imgsz, imgsz), repeats)
    costs = []
    for at, text in enumerate(texts):
        ratios = [turn[at] / turn[0] for turn in turns]
        low, high = _interval(ratios)
        costs.append(Cost(graft=text, parameters=parameters[at], gflops=gflops[at], ratio=statistics.median(ratios),
                          latency_ms=1000 * statistics.median(turn[at] for turn in turns), low=low, high=high))
    return Bench(model=model, imgsz=imgsz, batch=batch, threads=torch.get_num_threads(), repeats=repeats,
                 torch=torch.__version__, costs=tuple(costs))


def _gflops(network: nn.Module, imgsz: int) -> float:
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, imgsz, imgsz))
    return float(counter.get_total_flops()) / 1e9


def _turns(networks: Sequence[nn.Module], pictures: torch.Tensor, repeats: int) -> list[list[float]]:
    order = list(range(len(networks)))
    shuffled = random.Random(0)  # no arm always runs after the same other one, whose weights fill the caches
    turns = []
    for turn in range(_WARM_UP + repeats):
        taken = [0.0] * len(networks)
        shuffled.shuffle(order)
        for at in order:
            begun = time.perf_counter()
            networks[at](pictures)
            taken[at] = time.perf_counter() - begun
        if turn >= _WARM_UP:
            turns.append(taken)
    return turns


def _interval(values: Sequence[float]) -> tuple[float, float]:
    drawn = random.Random(0)
    medians = sorted(statistics.median(drawn.choices(values, k=len(values))) for _ in range(_RESAMPLES))
    return medians[int(0.025 * _RESAMPLES)], medians[int(0.975 * _RESAMPLES) - 1]
