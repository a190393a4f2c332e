"""Every module exports to ONNX with equal outputs, for several sizes in one graph, without custom operators."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from yolograft.modules import lookup

GRAPHS: list[tuple[str, tuple[Any, ...], tuple[int, ...], int]] = [
    ("CARAFE", (8,), (8,), 13),
    ("CARAFE", (8, 3, 3, 16, 3), (8,), 17),
    ("DySample", (8,), (8,), 13),
    ("DySample", (8, 2, "lp", 4, True), (8,), 16),
    ("DySample", (16, 2, "pl", 4, True), (16,), 15),
    ("DySample", (18, 3, "pl", 2), (18,), 17),
    ("SPDConv", (8, 16), (8,), 13),
    ("space_to_depth", (), (8,), 13),
    ("PConv", (8,), (8,), 13),
    ("BiFPN", ([8, 4, 8], 16), (8, 4, 8), 13),
    ("BiFPN_Concat", ([8, 4],), (8, 4), 13),
    ("C2f_Faster", (8, 16, 2), (8,), 13),
    ("C3k2_CBAM", (8, 16, 1, True), (8,), 13),
]

pytestmark = pytest.mark.usefixtures("one_thread")


class Inputs(nn.Module):
    """A row's inputs as separate arguments, since ONNX has no lists."""

    def __init__(self, row: nn.Module) -> None:
        super().__init__()
        self.row = row

    def forward(self, *x: Tensor) -> Tensor:
        y: Tensor = self.row(x[0] if len(x) == 1 else list(x))
        return y


def maps(channels: tuple[int, ...], height: int, width: int, batch: int = 1) -> tuple[Tensor, ...]:
    return tuple(torch.randn(batch, c, height, width) for c in channels)


@pytest.mark.parametrize(("name", "args", "channels", "opset"), GRAPHS)
def test_onnx(name: str, args: tuple[Any, ...], channels: tuple[int, ...], opset: int) -> None:
    torch.manual_seed(0)
    module = Inputs(lookup(name)(*args)).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    names, file = [f"x{at}" for at in range(len(channels))], io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)  # Python control flow on values or sizes
        warnings.filterwarnings("ignore", "Constant folding", UserWarning)  # the exporter's own note on a padding
        torch.onnx.export(module, maps(channels, 6, 8), file, opset_version=opset, dynamo=False, input_names=names,
                          output_names=["y"], dynamic_axes={one: {0: "b", 2: "h", 3: "w"} for one in names})
    graph = onnx.load_from_string(file.getvalue())
    assert {one.domain for one in graph.opset_import} == {""}
    assert ("GridSample" in {node.op_type for node in graph.graph.node}) == (name == "DySample" and opset >= 16)
    session = onnxruntime.InferenceSession(file.getvalue(), providers=["CPUExecutionProvider"])
    for batch, height, width in ((1, 6, 8), (2, 12, 4)):
        x = maps(channels, height, width, batch)
        (y,) = session.run(None, {one: value.numpy() for one, value in zip(names, x, strict=True)})
        with torch.no_grad():
            np.testing.assert_allclose(y, module(*x).numpy(), rtol=1e-3, atol=1e-4)


def test_every_upsampling_of_the_shelf_is_exported() -> None:
    assert {"CARAFE", "DySample"} <= {name for name, *_, opset in GRAPHS if opset == 13}
