"""Export models and load them in a runtime: ONNX Runtime, OpenVINO, TorchScript or NCNN.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `YOLO(FILE.pt).export(format=...)` writes FILE.onnx, FILE.torchscript,
FILE_openvino_model/*.xml or FILE_ncnn_model/*.param to the folder of the file, and returns the path.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import warnings
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from ultralytics.engine.exporter import Exporter
from ultralytics.utils import LOGGER

from yolograft.errors import HostError, nearest
from yolograft.host.yolo import YOLO
from yolograft.language import tr

__all__ = ["FORMATS", "RUNTIMES", "Run", "check", "describe", "export_and_load", "load", "pnnx_problem", "quiet"]

# runtime -> the packages that it needs
RUNTIMES = {"torch": (), "onnxruntime": ("onnx", "onnxslim", "onnxruntime"), "openvino": ("openvino",), "torchscript": (),
            "ncnn": ("ncnn", "pnnx")}
# runtime -> Ultralytics' name of the format that it runs
FORMATS = {"onnxruntime": "onnx", "openvino": "openvino", "torchscript": "torchscript", "ncnn": "ncnn"}
_NAMES = {"torch": "PyTorch", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO", "torchscript": "TorchScript",
          "ncnn": "NCNN"}
_TENSORRT = ("tensorrt", "trt", "engine")

Run = Callable[[NDArray[np.float32]], list[NDArray[np.float32]]]


def pnnx_problem() -> str:
    """Return why an export to NCNN would download a program; empty if Ultralytics uses the installed package `pnnx`."""
    if 'repo="pnnx/pnnx"' not in inspect.getsource(Exporter):
        return ""
    return tr("Ultralytics {version} downloads the converter PNNX at the first export, and yolograft downloads nothing. "
              "Newer versions use the package pnnx: pip install -U ultralytics", version=version("ultralytics"))


def check(runtime: str) -> None:
    """Raise `HostError` if the runtime is unknown, its packages are missing, or its export would download a program."""
    if runtime not in RUNTIMES:
        hint = tr(" TensorRT is not supported: measure an engine with its trtexec.") if runtime.lower() in _TENSORRT else ""
        raise HostError(tr("runtime={runtime} is not known: {known}.{near}{hint}", runtime=runtime,
                           known=", ".join(RUNTIMES), near=nearest(runtime, RUNTIMES), hint=hint))
    missing = [package for package in RUNTIMES[runtime] if find_spec(package) is None]
    if missing:
        raise HostError(tr("runtime={runtime} needs {packages}: pip install 'yolograft[{extra}]'", runtime=runtime,
                           packages=", ".join(missing), extra="ncnn" if runtime == "ncnn" else "export"))
    if runtime == "ncnn" and (problem := pnnx_problem()):
        raise HostError(tr("runtime={runtime}: {problem}", runtime=runtime, problem=problem))


def describe(runtime: str) -> str:
    """Return a runtime's name and version."""
    return f"{_NAMES[runtime]} {version('torch' if runtime == 'torchscript' else runtime)}"


def export_and_load(model: str, graft: str, runtime: str, folder: Path, *, imgsz: int, batch: int, threads: int,
                    swap: str | None = None) -> Run:
    """Export a grafted model and load it. Returns a function that runs it on images (B, 3, H, W) in float32.

    Args:
        model: a checkpoint or model YAML.
        graft: the graft's text. It replaces the model's own graft.
        runtime: one of `FORMATS`.
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
    with quiet():
        grafted = YOLO(model, graft=graft, swap=swap, replace=True)
        grafted.save(folder / "net.pt")
        try:
            exported = YOLO(folder / "net.pt").export(format=FORMATS[runtime], imgsz=imgsz, batch=batch)
        except Exception as error:  # exporters raise exceptions of many types
            raise HostError(tr("runtime={runtime}: Ultralytics {version} cannot export to {name}: {error}", runtime=runtime,
                               version=version("ultralytics"), name=describe(runtime), error=error)) from error
    return load(runtime, Path(exported), threads=threads)


def load(runtime: str, exported: Path, *, threads: int, exact: bool = False) -> Run:
    """Load what Ultralytics exported, and return a function that runs it on images (B, 3, H, W) in float32.

    Args:
        runtime: one of `FORMATS`.
        exported: the file or folder that the export returned.
        threads: number of threads of the runtime. TorchScript uses PyTorch's own number.
        exact: compute in float32, also where the runtime itself would choose bfloat16 (OpenVINO) or float16 (NCNN).
    """
    return _LOADERS[runtime](exported, threads, exact)


def _load_onnxruntime(exported: Path, threads: int, exact: bool) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    # without this, the threads of a session keep spinning after a run, on cores that the next session needs
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(exported), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: session.run(None, {name: images})


def _load_openvino(exported: Path, threads: int, exact: bool) -> Run:
    import openvino

    (file,) = exported.glob("*.xml")
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    if exact:
        settings["INFERENCE_PRECISION_HINT"] = "f32"
    compiled = openvino.Core().compile_model(str(file), "CPU", settings)
    request = compiled.create_infer_request()
    return lambda images: list(request.infer([images]).values())


def _load_torchscript(exported: Path, threads: int, exact: bool) -> Run:
    network = torch.jit.load(str(exported), map_location="cpu").eval()

    def run(images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with torch.inference_mode():
            found = network(torch.from_numpy(images))
        return [one.numpy() for one in (found if isinstance(found, (tuple, list)) else [found])]

    return run


def _load_ncnn(exported: Path, threads: int, exact: bool) -> Run:
    import ncnn

    network = ncnn.Net()
    network.opt.use_vulkan_compute = False
    network.opt.num_threads = threads
    if exact:  # NCNN stores weights of fully connected layers in float16 on CPUs that can convert it
        network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
        network.opt.use_bf16_storage = False
    (file,) = exported.glob("*.param")
    network.load_param(str(file))
    network.load_model(str(file.with_suffix(".bin")))
    (source,), outputs = network.input_names(), sorted(network.output_names())  # out0, out1: the network's own order

    def run_one(image: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        with network.create_extractor() as extractor:
            # a copy in NCNN's own memory: the extractor reads it after this function's array may be gone
            extractor.input(source, ncnn.Mat(np.ascontiguousarray(image)).clone())
            return [np.array(extractor.extract(name)[1]) for name in outputs]

    return lambda images: [np.stack(one) for one in zip(*map(run_one, images), strict=True)]


_LOADERS: dict[str, Callable[[Path, int, bool], Run]] = {
    "onnxruntime": _load_onnxruntime, "openvino": _load_openvino, "torchscript": _load_torchscript, "ncnn": _load_ncnn}


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Suppress the exporters' output, which would hide the table."""
    level = LOGGER.level
    LOGGER.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # from the tracer and the exporters
            yield
    finally:
        LOGGER.setLevel(level)
