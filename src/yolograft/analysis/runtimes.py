"""Export models and load them in a runtime (ONNX Runtime or OpenVINO).

What this relies on in Ultralytics (8.3.0 to 8.4.x): `YOLO(FILE.pt).export(format=...)` writes FILE.onnx or
FILE_openvino_model/FILE.xml to the folder of the file.
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
from yolograft.language import tr

__all__ = ["RUNTIMES", "check", "describe", "export_and_load"]

# runtime -> the packages that it needs
RUNTIMES = {"torch": (), "onnxruntime": ("onnx", "onnxslim", "onnxruntime"), "openvino": ("openvino",)}
_TENSORRT = ("tensorrt", "trt", "engine")

Run = Callable[[NDArray[np.float32]], Any]


def check(runtime: str) -> None:
    """Raise `HostError` if the runtime is unknown or its packages are not installed."""
    if runtime not in RUNTIMES:
        hint = tr(" TensorRT is not supported: measure an engine with its trtexec.") if runtime.lower() in _TENSORRT else ""
        raise HostError(tr("runtime={runtime} is not known: {known}.{near}{hint}", runtime=runtime,
                           known=", ".join(RUNTIMES), near=nearest(runtime, RUNTIMES), hint=hint))
    missing = [package for package in RUNTIMES[runtime] if find_spec(package) is None]
    if missing:
        raise HostError(tr("runtime={runtime} needs {packages}: pip install 'yolograft[export]'", runtime=runtime,
                           packages=", ".join(missing)))


def describe(runtime: str) -> str:
    """Return a runtime's name and version."""
    names = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
    return f"{names[runtime]} {version(runtime)}"


def export_and_load(model: str, graft: str, runtime: str, folder: Path, *, imgsz: int, batch: int, threads: int,
                    swap: str | None = None) -> Run:
    """Export a grafted model and load it. Returns a function that runs it on images (B, 3, H, W) in float32.

    Args:
        model: a checkpoint or model YAML.
        graft: the graft's text. It replaces the model's own graft.
        runtime: `onnxruntime` or `openvino`.
        folder: a new folder for the files.
        imgsz: side of the images in pixels. The export fixes it, and the batch size too.
        batch: images per batch.
        threads: number of threads of the runtime.
        swap: the modules that take the place of the host's own, if there are any.

    Raises:
        GraftError: the runtime is not installed, the graft does not fit, or the export fails.
    """
    check(runtime)
    folder.mkdir(parents=True)
    with _quiet():
        grafted = YOLO(model, graft=graft, swap=swap, replace=True)
        grafted.save(folder / "net.pt")
        try:
            exported = YOLO(folder / "net.pt").export(format="onnx" if runtime == "onnxruntime" else "openvino",
                                                      imgsz=imgsz, batch=batch)
        except Exception as error:  # exporters raise exceptions of many types
            raise HostError(tr("runtime={runtime}: Ultralytics {version} cannot export to {name}: {error}", runtime=runtime,
                               version=version("ultralytics"), name=describe(runtime), error=error)) from error
    if runtime == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        # without this, the threads of a session keep spinning after a run, on cores that the next session needs
        options.add_session_config_entry("session.force_spinning_stop", "1")
        session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda images: session.run(None, {name: images})
    import openvino

    (file,) = Path(exported).glob("*.xml")
    compiled = openvino.Core().compile_model(str(file), "CPU", {"INFERENCE_NUM_THREADS": threads,
                                                                "PERFORMANCE_HINT": "LATENCY"})
    request = compiled.create_infer_request()
    return lambda images: request.infer([images])


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporters' output, which would hide the table."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from the tracer and the exporters
            yield
    finally:
        LOGGER.setLevel(level)
