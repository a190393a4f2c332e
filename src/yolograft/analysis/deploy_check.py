"""Check, before a deployment, that a grafted network works in each target as in PyTorch, beside the bare host.

Each target runs in a process of its own (`deploy_worker`), since converters and runtimes can crash. A target fails if the
grafted network does not build, does not run, or gives other outputs, while the bare host does. Where the bare host fails
too, the target says nothing about the graft and counts as not checked.
"""

from __future__ import annotations

import copy
import json
import math
import os
import statistics
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from yolograft import attach
from yolograft.analysis import targets
from yolograft.analysis.deploy_worker import largest_errors, reference_outputs
from yolograft.analysis.matrix import nearest_passing
from yolograft.analysis.timing import median_interval
from yolograft.atomic import atomic_write
from yolograft.errors import HostError
from yolograft.host import models
from yolograft.host.half_precision import Peak, peaks
from yolograft.host.open import open_model
from yolograft.language import pad, tr, wrap
from yolograft.spec import Graft

__all__ = ["TOLERANCE", "Build", "DeployCheck", "TargetResult", "check_networks", "deploy_check", "noise", "prepare", "second_size", "suggestion"]

TOLERANCE = 1e-3  # largest error relative to the largest value of a group of outputs; float32 arithmetic gives about 1e-5
_HOST_FACTOR = 5  # a target that is inexact for the bare host may be this much more so for the grafted network
_NOISE = 0.1  # standard deviation of the change of a new block, which would otherwise return its input


@dataclass(frozen=True, kw_only=True)
class Build:
    """One export of one network, and how its outputs compare with PyTorch's.

    Attributes:
        network: 0 is the bare host.
        size: the image size of the export, in pixels.
        dynamic: whether it was exported with `dynamic=True`.
        step: the last step: export, load or run.
        failure: why that step failed; empty if it did not.
        errors: image size -> largest error of each group of outputs, relative to the group's largest value.
        operators: operator of the exported graph -> how many.
        deep: operators with an output of five or more dimensions.
        open_reshapes: reshapes with a size of -1.
        notes: what the converter says that it left out.
        seconds: duration of the export.
    """

    network: int
    size: int
    dynamic: bool
    step: str = "export"
    failure: str = ""
    errors: Mapping[str, Sequence[float]] = field(default_factory=dict)
    operators: Mapping[str, int] = field(default_factory=dict)
    deep: int = 0
    open_reshapes: int = 0
    notes: Sequence[str] = ()
    seconds: float = 0.0

    @property
    def error(self) -> float:
        """The largest of all errors; NaN without a run."""
        return max((value for values in self.errors.values() for value in values), default=float("nan"))


@dataclass(frozen=True, kw_only=True)
class TargetResult:
    """What one target did with one grafted network.

    Attributes:
        target: its name.
        status: `passes`, `fails` or `not checked`.
        reason: why it fails or was not checked.
        versions: package -> version.
        error: the largest error of the grafted network; NaN if it did not run.
        host_error: that of the bare host.
        added: operators of the grafted graph, beyond those of the host: operator -> how many more.
        new: those of them that the host's graph does not have at all.
        deep: how many more operators have an output of five or more dimensions.
        open_reshapes: how many more reshapes have a size of -1.
        latency_ms, host_latency_ms: medians; NaN if they were not measured.
        ratio: of the two, as estimate, low and high.
        builds: all exports, those of the host included.
    """

    target: str
    status: str
    reason: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    error: float = float("nan")
    host_error: float = float("nan")
    added: Mapping[str, int] = field(default_factory=dict)
    new: Sequence[str] = ()
    deep: int = 0
    open_reshapes: int = 0
    latency_ms: float = float("nan")
    host_latency_ms: float = float("nan")
    ratio: tuple[float, float, float] | None = None
    builds: Sequence[Build] = ()


@dataclass(frozen=True, kw_only=True)
class DeployCheck:
    """The whole check of one graft.

    Attributes:
        model: the file that was checked.
        graft: its graft, with the settings that differ from the defaults.
        sizes: the two image sizes, in pixels.
        threads: number of CPU threads.
        effect: how far the graft moves the outputs, in the unit of the errors. An error far below it means something.
        prepared: whether new blocks were changed at random, so that they do something.
        results: one for each target.
        half: the largest 16-bit value of each part of the grafted network.
        int8: the INT8 run, if there was one.
        date: when, in UTC.
    """

    model: str
    graft: str
    sizes: tuple[int, int]
    threads: int
    effect: float
    prepared: bool
    results: tuple[TargetResult, ...]
    half: tuple[Peak, ...]
    int8: Any = None
    date: str = ""

    @property
    def failed(self) -> bool:
        """Whether a checked target fails."""
        return any(result.status == "fails" for result in self.results)

    def json(self) -> str:
        """Return all fields as JSON. A number that was not measured is null."""
        return json.dumps(_without_nan(asdict(self)), indent=1)

    def __str__(self) -> str:
        lines = [f"{pad(tr('target'), 14)}{pad(tr('result'), 13)}{pad(tr('error'), 9, '>')}{pad(tr('host'), 9, '>')}"
                 f"{'ms':>9}{pad(tr('x bare'), 8, '>')}   {tr('95% interval')}"]
        for one in self.results:
            title = targets.TARGETS[one.target].title
            speed = "" if one.ratio is None else f"{one.latency_ms:>9.2f}{one.ratio[0]:>8.3f}   " + tr(
                "{low:.3f} to {high:.3f}", low=one.ratio[1], high=one.ratio[2])
            numbers = "" if one.error != one.error else f"{one.error:>9.1e}{one.host_error:>9.1e}"
            lines.append(f"{pad(title, 14)}{pad(tr(one.status), 13)}{numbers}{speed}".rstrip())
        lines.append("")
        for one in self.results:
            title = targets.TARGETS[one.target].title
            if one.reason:
                lines += wrap(f"{title}: {one.reason}")
                lines += [f"  {line}" for block in self._blocks() if one.status == "fails"
                          and (line := suggestion(block, one.target))]
            if one.added:
                listed = ", ".join(f"{count} {key}" for key, count in one.added.items() if key in one.new)
                lines += wrap(tr("{title}: operators that the host does not have: {listed}", title=title,
                                 listed=listed or tr("none")) + (
                    tr("; {count} with five or more dimensions", count=one.deep) if one.deep > 0 else ""))
        if self.half:
            largest = max((peak for peak in self.half if peak.block), key=lambda peak: peak.magnitude, default=self.half[0])
            over = [peak for peak in self.half if peak.overflows]
            lines.append("")
            if over:
                lines += wrap(tr("float16: {part} gives values up to {magnitude} (in {operator}), and float16 ends at 65504. "
                                 "Export without half=True, and train with amp=False.", part=over[0].part,
                                 magnitude=f"{over[0].magnitude:.3g}", operator=over[0].operator))
            else:
                lines += wrap(tr("float16: no overflow. The largest value in a block is {magnitude} ({part}, in {operator}), "
                                 "of at most 65504.", magnitude=f"{largest.magnitude:.3g}", part=largest.part,
                                 operator=largest.operator))
        if self.int8 is not None:
            lines += ["", str(self.int8)]
        lines += ["", *wrap(tr("{model} with {graft}: exported at {first} and {second} pixels, and with dynamic=True where the "
                               "format has it. The error is the largest, relative to the largest box or score. The graft "
                               "moves the outputs by {effect}. {threads} CPU threads.", model=self.model, graft=self.graft,
                               first=self.sizes[0], second=self.sizes[1], effect=f"{self.effect:.1e}",
                               threads=self.threads))]
        if self.prepared:
            lines += wrap(tr("New blocks return their input. For this check their parameters were changed at random."))
        return "\n".join(lines)

    def _blocks(self) -> list[str]:
        return list(dict.fromkeys(part.block for part in Graft.parse(self.graft).parts))


def suggestion(block: str, target: str) -> str:
    """Return a sentence with the nearest block that passes on a target, from the published matrix; empty if none does."""
    nearest = nearest_passing(block, target)
    return tr("The nearest block to {block} that passes there: {nearest}.", block=block, nearest=nearest) if nearest else ""


def _without_nan(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def second_size(imgsz: int, stride: int) -> int:
    """Return the second image size of a check: half of the first, as a multiple of the stride, and not the first."""
    half = max(1, round(imgsz / 2 / stride)) * stride
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
        builds, seconds = _run_worker(request, todo, folder / f"{name}.json", say)
        by_target.append([_judge(name, number, builds, seconds) for number in range(1, len(files))])
    return [tuple(column) for column in zip(*by_target, strict=True)]


def _run_worker(request: dict[str, Any], todo: list[dict[str, Any]], file: Path,
                say: Callable[[str], object]) -> tuple[list[Build], list[list[float]]]:
    """Run the worker, and again after each crash with the builds that are left."""
    events = Path(request["events"])
    events.unlink(missing_ok=True)
    builds: list[Build] = []
    seconds: list[list[float]] = []
    repeats = request["repeats"]
    while todo:
        left = {**request, "builds": todo, "repeats": repeats if len(builds) == 0 else 0}
        atomic_write(file, lambda part, left=left: part.write_text(json.dumps(left), encoding="utf-8"))
        started = events.stat().st_size if events.exists() else 0
        code = _wait(file, events, started, request["target"], say)
        lines = [json.loads(line) for line in events.read_text(encoding="utf-8")[started:].splitlines()]
        done = [{key: line[key] for key in Build.__dataclass_fields__} for line in lines if line["event"] == "build"]
        builds += [Build(**one) for one in done]
        seconds = next((line["seconds"] for line in lines if line["event"] == "latency"), seconds)
        todo = todo[len(done):]
        if code == 0:
            break
        log = file.with_suffix(".log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        signal = tr("the process crashed with signal {number}", number=-code) if code < 0 else \
            tr("the process ended with code {code}: {line}", code=code, line=log[-1] if log else "")
        if not todo:
            say(f"  {request['target']}: {signal}")  # only the latency is missing
            break
        last = next((line for line in reversed(lines) if line["event"] == "begin"), {})
        builds.append(Build(**todo[0], step=last.get("step", "start"), failure=signal))
        todo = todo[1:]
    return builds, seconds


def _wait(file: Path, events: Path, started: int, name: str, say: Callable[[str], object]) -> int:
    # Ultralytics would install packages that it misses or that have another version than it wants
    environment = {**os.environ, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    with file.with_suffix(".log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([sys.executable, "-m", "yolograft.analysis.deploy_worker", str(file)], stdout=log,
                                   stderr=subprocess.STDOUT, env=environment)
    told = started
    try:
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                pass
            told = _tell(events, told, name, say)
    finally:
        if process.poll() is None:  # Ctrl-C
            process.kill()
            process.wait()
        _tell(events, told, name, say)


def _tell(events: Path, told: int, name: str, say: Callable[[str], object]) -> int:
    """Say what the worker has finished since the last call."""
    if not events.exists():
        return told
    text = events.read_text(encoding="utf-8")
    end = text.rfind("\n") + 1
    for line in text[told:end].splitlines():
        event = json.loads(line)
        if event["event"] == "build":
            which = tr("host") if event["network"] == 0 else tr("grafted") + (
                f" {event['network']}" if event["network"] > 1 else "")
            size = f"{event['size']}{tr(' dynamic') if event['dynamic'] else ''}"
            worst = max((value for values in event["errors"].values() for value in values), default=float("nan"))
            outcome = event["failure"] or tr("error {error}", error=f"{worst:.1e}")
            say(f"  {name}: {which}, {size}: {outcome}")
    return max(told, end)


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
            return TargetResult(status="fails", reason=tr("{what} at {size}: {reason}", what=steps.get(build.step, build.step),
                                                          size=where, reason=build.failure), **facts)
        if not build.error <= limit:
            left_out = "; ".join(note for note in build.notes if not host or note not in host.notes)
            return TargetResult(status="fails", reason=tr(
                "other outputs than PyTorch at {size}: relative error {error}{notes}", size=where,
                error=f"{build.error:.2g}", notes=f" ({left_out})" if left_out else ""), **facts)
    return TargetResult(status="passes", **facts)
