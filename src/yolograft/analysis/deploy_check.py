"""Check, before a deployment, that a grafted network works in each target as in PyTorch, beside the bare host.

Each target runs in a process of its own (`deploy_worker`), since converters and runtimes can crash. A target fails if the
grafted network does not build, does not run, or gives other outputs, while the bare host does. Where the bare host fails
too, the target says nothing about the graft and counts as not checked.
"""

from __future__ import annotations

import copy
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from yolograft import attach
from yolograft.analysis import targets
from yolograft.analysis.deploy_process import run_worker
from yolograft.analysis.deploy_result import Build, DeployCheck, TargetResult
from yolograft.analysis.deploy_worker import largest_errors, reference_outputs
from yolograft.analysis.timing import median_interval
from yolograft.errors import HostError
from yolograft.host import models
from yolograft.host.half_precision import peaks
from yolograft.host.open import open_model
from yolograft.language import tr
from yolograft.spec import Graft

__all__ = ["TOLERANCE", "check_networks", "deploy_check", "noise", "prepare", "second_size"]

TOLERANCE = 5e-3  # largest error relative to the largest value of a group of outputs: exact arithmetic gives 1e-6 to 1e-3
_HOST_FACTOR = 5  # a target that is inexact for the bare host may be this much more so for the grafted network
_NOISE = 0.1  # standard deviation of the change of a new block, which would otherwise return its input


def second_size(imgsz: int, stride: int) -> int:
    """Return the second image size of a check: half of the first, as a multiple of the stride, and not the first."""
    half = max(1, int(imgsz / 2 / stride + 0.5)) * stride
    return half if half != imgsz else imgsz + stride


def deploy_check(model: str, graft: str | None = None, *, names: Sequence[str], folder: Path, imgsz: int = 640,
                 repeats: int = 20, threads: int | None = None, images: Callable[[int], NDArray[np.float32]] | None = None,
                 own_files: Mapping[str, str] | None = None, say: Callable[[str], object] = print) -> DeployCheck:
    """Check a graft in each target.

    Args:
        model: a grafted checkpoint, or a checkpoint or model YAML with `graft`.
        graft: the graft; None takes that of the checkpoint.
        names: names of targets.
        folder: for the exports and logs.
        imgsz: side of the images in pixels; the second size is half of it.
        repeats: turns of the latency measurement; 0 leaves it out.
        threads: number of CPU threads; None: PyTorch's number.
        images: a function from a size to images (N, 3, size, size) from 0 to 1; by default noise.
        own_files: `blocks` and `modules`, the user's files.
        say: called with each line of progress.

    Raises:
        GraftError: the model cannot be opened, the graft does not fit, or there is none.
    """
    opened = open_model(model)
    network: nn.Module = opened.model
    host, grafted, prepared = prepare(network, graft, is_new=not getattr(opened, "ckpt", None))
    stride = int(max(getattr(host, "stride", torch.ones(1))))
    if imgsz % stride:
        raise HostError(tr("imgsz={imgsz} is not a multiple of {stride}, the model's largest stride.", imgsz=imgsz,
                           stride=stride))
    sizes = (imgsz, second_size(imgsz, stride))
    pictures = {size: noise(size) if images is None else images(size) for size in sizes}
    effect = max(largest_errors(reference_outputs(grafted, pictures[imgsz][:1])[0],
                                [reference_outputs(host, pictures[imgsz][:1])[0]]))
    (found,) = check_networks(host, [grafted], names, folder=folder, sizes=sizes, pictures=pictures, repeats=repeats,
                              threads=threads, own_files=own_files, say=say)
    say(tr("half precision ..."))
    half = peaks(grafted, torch.from_numpy(np.concatenate([pictures[imgsz]])))
    return DeployCheck(model=model, graft=models.short_text(str(attach.grafted(grafted))), sizes=sizes,
                       threads=threads or torch.get_num_threads(), effect=effect, prepared=prepared, results=found,
                       half=tuple(half), date=datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M"))


def prepare(network: nn.Module, graft: str | None, *, is_new: bool, seed: int = 0) -> tuple[nn.Module, nn.Module, bool]:
    """Return the bare host, the grafted network, and whether new blocks were changed.

    A new block returns its input, and a new network hardly depends on it. Then any export would be right. So the parameters
    of new blocks are changed at random, and the batch norms of a new network are settled on noise.

    Raises:
        GraftError: the graft does not fit, or there is none.
    """
    grafted = copy.deepcopy(network).float()
    if graft is not None:
        if attach.grafted(grafted):
            models.ungraft(grafted)
        if is_new:
            _settle(grafted, seed)
        models.graft_onto(grafted, Graft.parse(graft))
        models.mark_fresh(grafted, attach.grafts(grafted))
    elif is_new:
        _settle(grafted, seed)
    if not attach.grafts(grafted):
        raise HostError(tr("The model carries no graft, so there is nothing to check. Name one, as in graft=se@8."))
    fresh = models.fresh_blocks(grafted)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, block in attach.grafts(grafted).items():
            if name not in fresh and not is_new:
                continue
            for parameter in block.parameters():
                noise = torch.randn(parameter.shape, generator=generator) * _NOISE
                parameter.add_(noise if parameter.dim() else 0.5)  # 0.5: the weight of a mixture that starts at 0
    host = models.ungraft(copy.deepcopy(grafted))
    return host.eval(), grafted.eval(), bool(fresh) or is_new


def _settle(network: nn.Module, seed: int) -> None:
    """Set the running statistics of batch norms to those of noise. In a new network, features would fade otherwise."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum, norm.training = None, True  # a cumulative average
        norm.reset_running_stats()
    with torch.no_grad():
        network.train()
        network(torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(seed)))
    for norm in norms:
        norm.momentum = 0.03  # Ultralytics' own
    network.eval()


def noise(size: int) -> NDArray[np.float32]:
    """Return one image of uniform noise, (1, 3, size, size) from 0 to 1."""
    return np.random.default_rng(0).random((1, 3, size, size), np.float32)


def check_networks(host: nn.Module, grafted: Sequence[nn.Module], names: Sequence[str], *, folder: Path,
                   sizes: tuple[int, int], pictures: Mapping[int, NDArray[np.float32]], repeats: int = 0,
                   threads: int | None = None, own_files: Mapping[str, str] | None = None,
                   kinds: Callable[[str], Iterable[tuple[int, bool]]] | None = None,
                   say: Callable[[str], object] = print) -> list[tuple[TargetResult, ...]]:
    """Check several grafted networks of one host. Returns the results of each network, one for each target.

    Args:
        host: the bare host.
        grafted: the grafted networks.
        names: names of targets.
        folder: for the exports and logs.
        sizes: the two image sizes.
        pictures: size -> images (N, 3, size, size); the first is compared.
        repeats: turns of the latency measurement; 0 leaves it out.
        threads: number of CPU threads; None: PyTorch's number.
        own_files: `blocks` and `modules`, the user's files.
        kinds: name of a target -> its exports, as (size, dynamic); by default both sizes, and one dynamic export.
        say: called with each line of progress.
    """
    folder.mkdir(parents=True, exist_ok=True)
    np.savez(folder / "images.npz", **{str(size): pictures[size] for size in sizes})  # type: ignore[arg-type]
    files = []
    for number, network in enumerate((host, *grafted)):
        files.append(str(folder / f"{number}.pt"))
        torch.save({"model": copy.deepcopy(network), "train_args": {"task": getattr(network, "task", "detect")}}, files[-1])
    by_target = []
    for name in names:
        target = targets.TARGETS[name]
        reason = targets.why_unchecked(target)
        if reason:
            by_target.append([TargetResult(target=name, status="not checked", reason=reason) for _ in grafted])
            continue
        exports = list(kinds(name)) if kinds else [(size, False) for size in sizes]
        if not kinds and targets.takes_dynamic(name):
            exports.append((sizes[0], True))
        todo = [{"network": number, "size": size, "dynamic": dynamic} for number in range(len(files))
                for size, dynamic in exports]
        request = {"target": name, "networks": files, "sizes": sizes, "images": str(folder / "images.npz"),
                   "folder": str(folder / name), "events": str(folder / f"{name}.jsonl"),
                   "threads": threads or torch.get_num_threads(), "repeats": repeats, **(own_files or {})}
        builds, seconds = run_worker(request, todo, folder / f"{name}.json", say)
        by_target.append([_judge(name, number, builds, seconds) for number in range(1, len(files))])
    return [tuple(column) for column in zip(*by_target, strict=True)]


def _judge(name: str, number: int, builds: Sequence[Build], seconds: Sequence[Sequence[float]]) -> TargetResult:
    """Return what a target did with network `number`, by comparison with network 0, the bare host."""
    ours = [build for build in builds if build.network == number]
    hosts = {(build.size, build.dynamic): build for build in builds if build.network == 0}
    facts: dict[str, Any] = {"target": name, "versions": targets.versions(targets.TARGETS[name]),
                             "builds": tuple(build for build in builds if build.network in (0, number))}
    checked = [build for build in ours if not (host := hosts.get((build.size, build.dynamic))) or not host.failure]
    if not checked:
        reason = next((build.failure for build in hosts.values() if build.failure), tr("the check was stopped"))
        return TargetResult(status="not checked", reason=tr("the bare host fails too: {reason}", reason=reason), **facts)
    facts["error"] = max((build.error for build in checked if not build.failure), default=float("nan"))
    facts["host_error"] = max((hosts[build.size, build.dynamic].error for build in checked
                               if (build.size, build.dynamic) in hosts), default=float("nan"))
    fixed = next((build for build in ours if build.operators), None)
    if fixed is not None and (bare := hosts.get((fixed.size, fixed.dynamic))):
        more = Counter(fixed.operators)
        more.subtract(bare.operators)
        facts |= {"added": {key: count for key, count in sorted(more.items()) if count > 0},
                  "new": tuple(sorted(set(fixed.operators) - set(bare.operators))),
                  "deep": fixed.deep - bare.deep, "open_reshapes": fixed.open_reshapes - bare.open_reshapes}
    if seconds and number < len(seconds[0]):
        ratios = [turn[number] / turn[0] for turn in seconds]
        facts |= {"latency_ms": 1000 * statistics.median(turn[number] for turn in seconds),
                  "host_latency_ms": 1000 * statistics.median(turn[0] for turn in seconds),
                  "ratio": (statistics.median(ratios), *median_interval(ratios))}
    for build in checked:
        where = f"{build.size}{tr(' dynamic') if build.dynamic else ''}"
        host = hosts.get((build.size, build.dynamic))
        limit = max(TOLERANCE, _HOST_FACTOR * (host.error if host and host.error == host.error else 0.0))
        if build.failure:
            steps = {"export": tr("does not build"), "load": tr("does not load"), "run": tr("does not run")}
            what = steps.get(build.step, build.step)
            return TargetResult(status="fails", reason=tr("{what} at {size}: {reason}", what=what, size=where,
                                                          reason=build.failure), **facts)
        if not build.error <= limit:
            left_out = "; ".join(note for note in build.notes if not host or note not in host.notes)
            return TargetResult(status="fails", reason=tr(
                "other outputs than PyTorch at {size}: relative error {error}{notes}", size=where,
                error=f"{build.error:.2g}", notes=f" ({left_out})" if left_out else ""), **facts)
    return TargetResult(status="passes", **facts)
