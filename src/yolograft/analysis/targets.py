"""The formats that a network can be deployed in: what each needs, and which operators an exported graph has.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `export_formats()` lists the formats, and from 8.3.30 on the arguments
that each takes. In 8.3.0, ONNX and OpenVINO take `dynamic`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from ultralytics.engine.exporter import export_formats

from yolograft.analysis.runtimes import pnnx_problem
from yolograft.errors import HostError, nearest
from yolograft.language import tr

__all__ = ["CHECKED", "TARGETS", "Graph", "Target", "parse_targets", "read_graph", "takes_dynamic", "versions",
           "why_unchecked"]


@dataclass(frozen=True, kw_only=True)
class Target:
    """One format.

    Attributes:
        name: Ultralytics' name of the format.
        title: the name that people know.
        runtime: which of `runtimes.FORMATS` runs it. Empty: yolograft does not run it.
        packages: the packages that the export and the runtime import.
        install: the command that installs them.
    """

    name: str
    title: str
    runtime: str = ""
    packages: tuple[str, ...] = ()
    install: str = ""


TARGETS: Mapping[str, Target] = {target.name: target for target in (
    Target(name="torchscript", title="TorchScript", runtime="torchscript"),
    Target(name="onnx", title="ONNX Runtime", runtime="onnxruntime", packages=("onnx", "onnxslim", "onnxruntime"),
           install="pip install 'yolograft[export]'"),
    Target(name="openvino", title="OpenVINO", runtime="openvino", packages=("openvino",),
           install="pip install 'yolograft[export]'"),
    Target(name="ncnn", title="NCNN", runtime="ncnn", packages=("ncnn", "pnnx"),
           install="pip install 'yolograft[ncnn]'"),
    *(Target(name=name, title=title) for name, title in (
        ("mnn", "MNN"), ("engine", "TensorRT"), ("rknn", "RKNN"), ("imx", "IMX500"), ("coreml", "CoreML"),
        ("litert", "LiteRT"), ("paddle", "PaddlePaddle"), ("executorch", "ExecuTorch"))),
)}
CHECKED = ("torchscript", "onnx", "openvino", "ncnn")  # the default


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The operators of an exported graph.

    Attributes:
        operators: operator -> how many of it.
        deep: operators with an output of five or more dimensions, which several converters for NPUs refuse.
        open_reshapes: reshapes with a size of -1, with which TensorRT had trouble (ultralytics pull request 20205).
    """

    operators: Counter[str] = field(default_factory=Counter)
    deep: int = 0
    open_reshapes: int = 0


def parse_targets(text: str) -> list[str]:
    """Return the names of targets in a text such as `onnx,ncnn`; `all` is every target.

    Raises:
        HostError: a target is not known.
    """
    if text.strip().lower() == "all":
        return list(TARGETS)
    names = list(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    aliases = {"tensorrt": "engine", "trt": "engine", "onnxruntime": "onnx", "imx500": "imx", "ort": "onnx"}
    names = [aliases.get(name, name) for name in names]
    for name in names:
        if name not in TARGETS:
            raise HostError(tr("targets={name} is not known.{near} Known: {known}.", name=name,
                               near=nearest(name, TARGETS), known=", ".join(TARGETS)))
    if not names:
        raise HostError(tr("targets={name} is not known.{near} Known: {known}.", name=text, near="",
                           known=", ".join(TARGETS)))
    return names


def why_unchecked(target: Target) -> str:
    """Return why this machine cannot check a target, with the command that helps; empty if it can."""
    if not target.runtime:
        own = {"engine": tr("a TensorRT engine is built for one NVIDIA GPU and runs on it alone"),
               "rknn": tr("rknn-toolkit2 needs torch<=2.4 and numpy<=1.26, so an environment of its own, and its runtime a "
                          "Rockchip board: pip install rknn-toolkit2"),
               "imx": tr("Ultralytics' IMX500 export counts the modules of YOLOv8n and YOLO11n, and refuses others"),
               "coreml": tr("CoreML runs on macOS only: pip install coremltools")}
        return own.get(target.name) or tr("yolograft does not run {title}; export with format={name}, then: yolograft val",
                                          title=target.title, name=target.name)
    missing = [package for package in target.packages if find_spec(package) is None]
    if missing:
        return tr("{packages} not installed: {command}", packages=", ".join(missing), command=target.install)
    return pnnx_problem() if target.name == "ncnn" else ""


def takes_dynamic(name: str) -> bool:
    """Return whether this Ultralytics exports a format with `dynamic=True`."""
    formats = export_formats()
    if "Arguments" not in formats:
        return name in ("onnx", "openvino")
    return "dynamic" in dict(zip(formats["Argument"], formats["Arguments"], strict=True)).get(name, ())


def versions(target: Target) -> dict[str, str]:
    """Return the versions of a target's packages, and of PyTorch and Ultralytics, which make every export."""
    found = {}
    for package in (*target.packages, "torch", "ultralytics"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:  # installed under another name
            continue
    return found


def read_graph(name: str, exported: Path) -> Graph:
    """Return the operators of a graph that Ultralytics exported. Empty for formats that yolograft cannot read."""
    return _READERS[name](exported) if name in _READERS else Graph()


def _read_onnx(exported: Path) -> Graph:
    import onnx
    from onnx import numpy_helper

    graph = onnx.shape_inference.infer_shapes(onnx.load(str(exported))).graph
    ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in graph.value_info}
    constants = {one.name: numpy_helper.to_array(one) for one in graph.initializer}
    open_reshapes = sum(bool((constants[node.input[1]] == -1).any()) for node in graph.node
                        if node.op_type == "Reshape" and node.input[1] in constants)
    return Graph(operators=Counter(node.op_type for node in graph.node if node.op_type != "Constant"),
                 deep=sum(any(ranks.get(out, 0) > 4 for out in node.output) for node in graph.node),
                 open_reshapes=open_reshapes)


def _read_openvino(exported: Path) -> Graph:
    import openvino

    (file,) = exported.glob("*.xml")
    nodes = openvino.Core().read_model(str(file)).get_ordered_ops()
    return Graph(
        operators=Counter(node.get_type_name() for node in nodes if node.get_type_name() not in
                          ("Constant", "Parameter", "Result")),
        deep=sum(any(len(out.get_partial_shape()) > 4 for out in node.outputs()) for node in nodes
                 if node.get_type_name() not in ("Constant", "Parameter", "Result")))


def _read_torchscript(exported: Path) -> Graph:
    import torch

    graph = torch.jit.load(str(exported), map_location="cpu").inlined_graph
    kinds = Counter(node.kind().removeprefix("aten::") for node in graph.nodes() if node.kind().startswith("aten::"))
    for name in ("Int", "ScalarImplicit", "NumToTensor", "size"):  # they read sizes, and compute nothing
        del kinds[name]
    return Graph(operators=kinds)


def _read_ncnn(exported: Path) -> Graph:
    (file,) = exported.glob("*.param")
    lines = file.read_text(encoding="utf-8").splitlines()[2:]  # after the magic number and the counts
    return Graph(operators=Counter(re.split(r"\s", line, maxsplit=1)[0] for line in lines if line.strip()
                                   and not line.startswith(("Input", "Split"))))


_READERS = {"onnx": _read_onnx, "openvino": _read_openvino, "torchscript": _read_torchscript, "ncnn": _read_ncnn}
