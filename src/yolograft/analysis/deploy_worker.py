"""The child process of `deploy-check`: it exports networks to one target, runs them, and compares them with PyTorch.

Converters and runtimes can end the whole process (a segmentation fault of NCNN is a known one), so the parent never loads
them. The child writes one JSON object per line to a file: `begin` before each step and `build` after each export, so that
the parent knows what a crashed child was doing. What converters print goes to a log file per export.

    python -m yolograft.analysis.deploy_worker REQUEST.json
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from yolograft.analysis import runtimes, targets
from yolograft.analysis.profile import fused_copy
from yolograft.analysis.timing import time_in_turns
from yolograft.host.yolo import YOLO
from yolograft.language import tr
from yolograft.modules.plugin import load_own

__all__ = ["largest_errors", "main", "reference_outputs"]

_BOXES = 4  # the first rows of a detector's output: boxes in pixels; the others are scores from 0 to 1, and coefficients

Arrays = list[NDArray[np.float32]]


def main(arguments: Sequence[str]) -> int:
    """Run the builds that a request names. The request is a JSON file, which `deploy_check` writes.

    Its keys: `target`, `networks` (.pt files), `builds` (index of the network, `size`, `dynamic`), `sizes`, `images` (an
    .npz file with an array for each size), `folder`, `events`, `threads`, `repeats`, `blocks`, `modules`.
    """
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    torch.set_num_threads(request["threads"])
    load_own({key: request[key] for key in ("blocks", "modules") if request.get(key)})
    images = dict(np.load(request["images"]))
    with Path(request["events"]).open("a", encoding="utf-8") as file:
        def emit(event: str, **facts: Any) -> None:
            file.write(json.dumps({"event": event, **facts}) + "\n")
            file.flush()
            os.fsync(file.fileno())  # a crash must not lose it

        exported: dict[int, Path] = {}
        for build in request["builds"]:
            _build(request, build, images, emit, exported)
        if request["repeats"] and len(exported) == len(request["networks"]):
            emit("begin", step="latency")
            emit("latency", seconds=_measure_latency(request, images, exported))
        emit("end")
    return 0


def _build(request: dict[str, Any], build: dict[str, Any], images: dict[str, NDArray[np.float32]],
           emit: Callable[..., None], exported: dict[int, Path]) -> None:
    """Export one network once, and run and compare it at the sizes that this export takes."""
    name, number, size, dynamic = request["target"], build["network"], build["size"], build["dynamic"]
    target = targets.TARGETS[name]
    facts = {"network": number, "size": size, "dynamic": dynamic}
    folder = Path(request["folder"]) / f"{number}-{size}{'-dynamic' if dynamic else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "log.txt"
    errors: dict[str, list[float]] = {}
    seconds, graph, failure = 0.0, targets.Graph(), ""
    step = "export"
    try:
        emit("begin", step=step, **facts)
        started = time.perf_counter()
        with _output_to(log):
            file = _export(Path(request["networks"][number]), folder, name, size, dynamic)
        seconds = time.perf_counter() - started
        step = "load"
        emit("begin", step=step, **facts)
        with _output_to(log):
            graph = targets.read_graph(name, file)
            run = runtimes.load(target.runtime, file, threads=request["threads"], exact=True)
        network = YOLO(request["networks"][number]).model
        for other in (request["sizes"] if dynamic else [size]):
            step = "run"
            emit("begin", step=step, **{**facts, "at": other})
            picture = images[str(other)][:1]
            with _output_to(log):
                found = run(picture)
            errors[str(other)] = largest_errors(found, reference_outputs(network, picture))
        if size == request["sizes"][0] and not dynamic:
            exported[number] = file
    except Exception as error:  # converters and runtimes raise exceptions of many types
        failure = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    emit("build", **facts, step=step, seconds=seconds, failure=failure, errors=errors, operators=graph.operators,
         deep=graph.deep, open_reshapes=graph.open_reshapes, notes=_refusals(log))


def _export(network: Path, folder: Path, name: str, size: int, dynamic: bool) -> Path:
    link = folder / "net.pt"  # Ultralytics writes beside the checkpoint
    link.unlink(missing_ok=True)
    link.symlink_to(network.resolve())
    extra = {"dynamic": True} if dynamic else {}
    with runtimes.quiet():
        return Path(YOLO(link).export(format=name, imgsz=size, **extra))


def reference_outputs(network: nn.Module, images: NDArray[np.float32]) -> list[Arrays]:
    """Return what PyTorch gives for images (B, 3, H, W): with and without the selection of an end-to-end head."""
    fused: Any = fused_copy(network)
    head = fused.model[-1]
    head.export = True  # the outputs that exporters see
    head.format = getattr(head, "format", None)  # 8.3.0 sets it at an export only, and reads it then
    found = []
    for end2end in ((False, True) if getattr(head, "end2end", False) else (False,)):
        if hasattr(head, "one2one_cv2") or end2end:
            head.end2end = end2end
        with torch.inference_mode():
            out = fused(torch.from_numpy(images))
        found.append([one.float().numpy() for one in (out if isinstance(out, (tuple, list)) else [out])])
    return found


def largest_errors(found: Arrays, references: list[Arrays]) -> list[float]:
    """Return the largest error of each group of outputs, relative to the group's largest value.

    Boxes are in pixels and scores at most 1, so each is a group of its own: relative to a box, any score is small.

    Raises:
        ValueError: the number or the shapes of the outputs are not those of PyTorch, or an output is not finite.
    """
    for expected in references:
        if [one.shape for one in expected] == [one.shape for one in found]:
            break
    else:
        raise ValueError(tr("outputs of the shapes {found}, where PyTorch gives {expected}",
                            found=[one.shape for one in found], expected=[one.shape for one in references[0]]))
    errors = []
    for ours, theirs in zip(found, expected, strict=True):
        if not np.isfinite(ours).all():
            raise ValueError(tr("an output that is not finite"))
        for part in _groups(theirs):
            scale = float(np.abs(theirs[part]).max())
            if _is_selection(theirs):
                errors.append(_set_error(ours[part], theirs[part]) / max(scale, 1e-12))
            else:
                errors.append(float(np.abs(ours[part] - theirs[part]).max()) / max(scale, 1e-12))
    return errors


def _groups(output: NDArray[np.float32]) -> list[Any]:
    if _is_selection(output):
        return [np.s_[..., :4], np.s_[..., 4:5]]
    if output.ndim == 3 and output.shape[1] > _BOXES:
        return [np.s_[:, :_BOXES], np.s_[:, _BOXES:]]
    return [np.s_[...]]


def _is_selection(output: NDArray[np.float32]) -> bool:
    """Whether an output is the detections that an end-to-end head selects: (B, 300, 6)."""
    return output.ndim == 3 and output.shape[2] == 6 and output.shape[1] <= 300


def _set_error(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the largest distance from an expected row to its nearest found one, for the better half of the rows.

    Rows of equal scores come in any order, and which of them are the last 300 is chance.
    """
    half = expected[:, : max(1, expected.shape[1] // 2)]
    distances = np.abs(half[:, :, None] - found[:, None]).max(-1)
    return float(distances.min(2).max())


def _measure_latency(request: dict[str, Any], images: dict[str, NDArray[np.float32]],
                     exported: dict[int, Path]) -> list[list[float]]:
    runtime = targets.TARGETS[request["target"]].runtime
    picture = images[str(request["sizes"][0])][:1]
    runs = [runtimes.load(runtime, exported[number], threads=request["threads"]) for number in sorted(exported)]
    return time_in_turns([lambda run=run: run(picture) for run in runs], request["repeats"])  # type: ignore[misc]


def _refusals(log: Path) -> list[str]:
    """Return the lines in which a converter says that it left something out. It ends without an error then."""
    if not log.is_file():
        return []
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    marks = ("not supported", "not exists or registered", "unsupported")
    return list(dict.fromkeys(line.strip() for line in lines if any(mark in line.lower() for mark in marks)))[:8]


class _output_to:  # a context manager, as contextlib names them
    """Context manager: what this process and its libraries print goes to the end of a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __enter__(self) -> None:
        self.before = [os.dup(1), os.dup(2)]
        target = os.open(self.file, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        sys.stdout.flush()
        for stream in (1, 2):
            os.dup2(target, stream)
        os.close(target)

    def __exit__(self, *_: object) -> None:
        sys.stdout.flush()
        for stream, before in zip((1, 2), self.before, strict=True):
            os.dup2(before, stream)
            os.close(before)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
