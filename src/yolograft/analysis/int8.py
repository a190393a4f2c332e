"""INT8: quantise a grafted network and its bare host for OpenVINO, and measure what each loses in mAP.

NNCF quantises the network that OpenVINO runs, after a calibration on images of the data set, through Ultralytics' own
export. Gates of attention blocks are where INT8 is known to fail, so the host's own loss stands beside that of the graft.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `export(format="openvino", int8=True, data=...)`, which newer versions
call `quantize=8`. A detection validator that is called with `model=PATH` runs the exported network.
"""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.data.utils import IMG_FORMATS, check_det_dataset
from ultralytics.models.yolo.detect import DetectionValidator
from ultralytics.utils import DEFAULT_CFG_DICT

from yolograft.analysis import runtimes
from yolograft.analysis.average_precision import Detections, Interval, difference
from yolograft.analysis.validation import RecordingValidator, validating
from yolograft.errors import DataError
from yolograft.host.data_download import check_download
from yolograft.host.unasked import nothing_unasked
from yolograft.host.yolo import YOLO
from yolograft.language import tr

__all__ = ["Int8", "Int8Loss", "check_data", "check_int8", "main", "validation_images"]

_IMAGES = 8  # validation images for the search for overflows; the first is compared


@dataclass(frozen=True, kw_only=True)
class Int8Loss:
    """What one network loses.

    Attributes:
        network: `host` or `grafted`.
        before: mAP50-95 in float32, in PyTorch.
        after: mAP50-95 in INT8, in OpenVINO.
        change: their difference, with its paired bootstrap interval over the images.
    """

    network: str
    before: float
    after: float
    change: Interval


@dataclass(frozen=True, kw_only=True)
class Int8:
    """The INT8 run of a host and of a grafted network. `reason` says why it was not made."""

    losses: tuple[Int8Loss, ...] = ()
    images: int = 0
    host: str = ""
    reason: str = ""

    def __str__(self) -> str:
        if self.reason:
            return tr("INT8: not checked: {reason}", reason=self.reason)
        names = {"host": tr("host"), "grafted": tr("grafted")}
        lines = [tr("INT8 (OpenVINO, NNCF), mAP50-95 on {count} images:", count=self.images)]
        for one in self.losses:
            change = one.change
            lines.append(tr("  {network}: {before:.3f} -> {after:.3f}, change {change:+.3f} "
                            "(95% interval {low:+.3f} to {high:+.3f})", network=names[one.network], before=one.before,
                            after=one.after, change=change.estimate, low=change.low, high=change.high))
        return "\n".join([*lines, tr("  The host is {host}.", host=self.host)])


def check_data(data: str) -> None:
    """Raise `DataError` if a data YAML or its validation images cannot be read."""
    _validation_files(data)


def _validation_files(data: str) -> list[Path]:
    if not Path(data).is_file():
        raise DataError(tr("data={data} does not exist.", data=data))
    check_download(data, "val")
    try:
        with nothing_unasked():
            split = check_det_dataset(data, autodownload=False)["val"]
    except (FileNotFoundError, RuntimeError, SyntaxError, KeyError, TypeError) as error:
        raise DataError(tr("data={data}: the split '{split}' cannot be read: {error}", data=data, split="val",
                           error=str(error).strip().splitlines()[0] if str(error).strip() else error)) from error
    files: list[Path] = []
    for source in (split if isinstance(split, list) else [split]):
        path = Path(source)
        if path.is_file():
            files += [Path(line) if Path(line).is_absolute() else path.parent / line
                      for line in path.read_text(encoding="utf-8").split("\n") if line.strip()]
        else:
            files += sorted(file for file in path.rglob("*") if file.suffix[1:].lower() in IMG_FORMATS)
    if not files:
        raise DataError(tr("data={data}: the split '{split}' has no images.", data=data, split="val"))
    return files


def validation_images(data: str, size: int, count: int = _IMAGES) -> NDArray[np.float32]:
    """Return validation images (N, 3, size, size) from 0 to 1, evenly spaced over the split and stretched to a square.

    Raises:
        DataError: the data YAML or an image cannot be read.
    """
    files = _validation_files(data)
    chosen = [files[at] for at in np.unique(np.linspace(0, len(files) - 1, min(count, len(files))).round().astype(int))]
    found = []
    for file in chosen:
        image = cv2.imdecode(np.fromfile(file, np.uint8), cv2.IMREAD_COLOR) if file.is_file() else None
        if image is None:
            raise DataError(tr("The image {file} cannot be read.", file=file))
        resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA)
        found.append(resized[:, :, ::-1].transpose(2, 0, 1).astype(np.float32) / 255)
    return np.ascontiguousarray(np.stack(found))


def check_int8(result: Any, data: str, folder: Path, *, host: str | None = None, limit: int | None = None,
               say: Callable[[str], object] = print) -> Any:
    """Return a `DeployCheck` with its INT8 run.

    Args:
        result: the check, whose networks are in `folder` as 0.pt (host) and 1.pt.
        data: a data YAML, for the calibration and the validation.
        folder: of the check.
        host: the checkpoint of a bare host; None takes 0.pt, the grafted network without its blocks.
        limit: number of validation images; None: all.
        say: called with each line of progress.
    """
    missing = [package for package in ("openvino", "nncf") if find_spec(package) is None]
    if missing or result.prepared:
        reason = tr("{packages} not installed: {command}", packages=", ".join(missing),
                    command="pip install 'yolograft[export,int8]'") if missing else tr("the model is not trained")
        return dataclasses.replace(result, int8=Int8(reason=reason))
    say(tr("INT8 ..."))
    request = {"networks": [str(Path(host).resolve()) if host else str(folder / "0.pt"), str(folder / "1.pt")],
               "data": str(Path(data).resolve()), "folder": str(folder / "int8"), "imgsz": result.sizes[0], "limit": limit,
               "threads": result.threads}
    (folder / "int8").mkdir(parents=True, exist_ok=True)
    file = folder / "int8" / "request.json"
    file.write_text(json.dumps(request), encoding="utf-8")
    environment = {**os.environ, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    log = folder / "int8" / "log.txt"
    with log.open("w", encoding="utf-8") as output:
        process = subprocess.Popen([sys.executable, "-m", "yolograft.analysis.int8", str(file)], stdout=subprocess.PIPE,
                                   stderr=output, env=environment, text=True, encoding="utf-8")
        try:
            for line in process.stdout or ():
                say(f"  {line.rstrip()}")
            code = process.wait()
        finally:
            if process.poll() is None:  # Ctrl-C
                process.kill()
                process.wait()
    if code:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        reason = tr("the run failed: {reason}", reason=lines[-1] if lines else code)
        return dataclasses.replace(result, int8=Int8(reason=reason))
    losses = []
    for number, network in enumerate(("host", "grafted")):
        before, after = (Detections.read(folder / "int8" / f"{number}-{kind}.npz") for kind in ("float", "int8"))
        metrics = json.loads((folder / "int8" / f"{number}.json").read_text(encoding="utf-8"))
        losses.append(Int8Loss(network=network, before=metrics["float"], after=metrics["int8"],
                               change=difference(after, before)))
    return dataclasses.replace(result, int8=Int8(losses=tuple(losses), images=len(before.names), host=host or tr(
        "the model without its blocks, which was not trained without them")))


def main(arguments: Sequence[str]) -> int:
    """Run in a child process: quantise and validate the networks of a request, and write their detections."""
    request = json.loads(Path(arguments[0]).read_text(encoding="utf-8"))
    torch.set_num_threads(request["threads"])
    folder, imgsz = Path(request["folder"]), request["imgsz"]
    for number, network in enumerate(request["networks"]):
        metrics = {}
        link = folder / f"{number}.pt"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(network).resolve())
        option = {"quantize": 8} if "quantize" in DEFAULT_CFG_DICT else {"int8": True}
        with runtimes.quiet():
            exported = YOLO(link).export(format="openvino", data=request["data"], imgsz=imgsz, **option)
        for kind, model in (("float", str(link)), ("int8", str(exported))):
            metrics[kind] = _validate(model, request["data"], imgsz, request["limit"], folder / f"{number}-{kind}.npz")
            print(tr("{network}, {kind}: mAP50-95 {value:.3f}", network=tr("grafted") if number else tr("host"), kind=kind,
                     value=metrics[kind]), flush=True)
        (folder / f"{number}.json").write_text(json.dumps(metrics), encoding="utf-8")
    return 0


def _validate(model: str, data: str, imgsz: int, limit: int | None, file: Path) -> float:
    """Validate a checkpoint or an exported network, image by image at one square size, and record its detections."""
    cls = type("Recorder", (RecordingValidator, DetectionValidator), {"limit": limit})
    arguments = {"model": model, "data": data, "imgsz": imgsz, "batch": 1, "device": "cpu", "split": "val", "rect": False,
                 "plots": False, "verbose": False, "workers": 0, "mode": "val", "task": "detect"}
    with tempfile.TemporaryDirectory() as folder, validating():
        validator: Any = cls(args=arguments, save_dir=Path(folder))
        validator(model=model)
    validator.write(file)
    return float(validator.metrics.results_dict["metrics/mAP50-95(B)"])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
