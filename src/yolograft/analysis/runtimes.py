"""Models as they are deployed: exported, opened in a runtime, and ready to be run on one batch.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `YOLO(FILE.pt).export(format=...)` writes FILE.onnx or
FILE_openvino_model/FILE.xml beside the file.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from ultralytics.utils import LOGGER

from yolograft.errors import HostError, nearest
from yolograft.host.yolo import YOLO

__all__ = ["RUNTIMES", "check", "deployed", "title"]

# and the packages that each needs
RUNTIMES = {"torch": (), "onnxruntime": ("onnx", "onnxslim", "onnxruntime"), "openvino": ("openvino",)}
_TENSORRT = ("tensorrt", "trt", "engine")

Run = Callable[[NDArray[np.float32]], Any]


def check(runtime: str) -> None:
    """Raise `HostError` if there is no such runtime, or it is not installed."""
    if runtime not in RUNTIMES:
        told = " TensorRT is not offered: measure an engine with its own trtexec." if runtime.lower() in _TENSORRT else ""
        raise HostError(f"runtime={runtime} is not known: {', '.join(RUNTIMES)}.{nearest(runtime, RUNTIMES)}{told}")
    missing = [package for package in RUNTIMES[runtime] if find_spec(package) is None]
    if missing:
        raise HostError(f"runtime={runtime} needs {', '.join(missing)}: pip install 'yolograft[export]'")


def title(runtime: str) -> str:
    """Return a runtime's name and version."""
    names = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
    return f"{names[runtime]} {version(runtime)}"


def deployed(model: str, graft: str, runtime: str, folder: Path, *, imgsz: int, batch: int, threads: int) -> Run:
    """Export a grafted model into a folder and open it; returns what runs it on (B, 3, H, W) in float32.

    Args:
        model: a checkpoint or model YAML.
        graft: the graft's text, which replaces what the model carries.
        runtime: `onnxruntime` or `openvino`.
        folder: an empty one, for the files.
        imgsz: side of the pictures in pixels; fixed in the export, as is the batch.
        batch: pictures at once.
        threads: of the runtime.

    Raises:
        GraftError: the runtime is not there, or the graft does not fit.
    """
    check(runtime)
    folder.mkdir(parents=True)
    with _quiet():
        grafted = YOLO(model, graft=graft)
        grafted.save(folder / "net.pt")
        try:
            made = YOLO(folder / "net.pt").export(format="onnx" if runtime == "onnxruntime" else "openvino", imgsz=imgsz,
                                                  batch=batch)
        except Exception as error:  # what an exporter raises is its own choice
            raise HostError(f"runtime={runtime}: Ultralytics {version('ultralytics')} cannot export to {title(runtime)}: "
                            f"{error}") from error
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # else a session's threads go on spinning after its run, on the cores that the next arm's session needs
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(str(made), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda pictures: session.run(None, {name: pictures})
    import openvino

    (file,) = Path(made).glob("*.xml")
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_NUM_THREADS": threads,
                                                                "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    return lambda pictures: request.infer([pictures])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep an exporter's talk away: several exports would bury the table."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer's and the exporter's own
            yield
    finally:
        LOGGER.setLevel(level)
