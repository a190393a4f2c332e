"""Tests of what SE adds to a network, in counts that do not depend on the machine's load: operators, FLOPs, bytes, nodes."""

import io
import warnings
from collections import Counter
from functools import cache
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from yolograft.analysis import profile
from yolograft.analysis.bench import _PeakMemory
from yolograft.blocks import create
from yolograft.host import models
from yolograft.host.yolo import YOLO

BLOCK = {"aten.mean.dim": 1, "aten.view.default": 2, "aten.t.default": 2, "aten.addmm.default": 2, "aten.relu.default": 1,
         "aten.sigmoid.default": 1, "aten.mul.Tensor": 2, "aten.unsqueeze.default": 2}
NODES = {"ReduceMean": 1, "Gemm": 2, "Relu": 1, "Sigmoid": 1, "Mul": 2, "Unsqueeze": 1}
# channels and stride of each SE block in YOLO11n
SITES = {"se@8": [(256, 32)], "se@C3k2": [(64, 4), (128, 8), (128, 16), (256, 32), (128, 16), (64, 8), (128, 16), (256, 32)]}


class Operators(TorchDispatchMode):
    """Counts operators by name."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen[str(func)] += 1
        return func(*args, **(kwargs or {}))


def operators(module: nn.Module, x: torch.Tensor) -> Counter[str]:
    module(x)  # warm-up: the head computes its anchors for a new image size
    with Operators() as counted:
        module(x)
    return counted.seen


@cache
def network(graft: str) -> nn.Module:
    return profile.fused_copy(models.graft_onto(YOLO("yolo11n.yaml").model, graft))


def test_block_runs_exactly_these_operators() -> None:
    with torch.no_grad():
        assert operators(create("se", 64).eval(), torch.rand(2, 64, 8, 8)) == BLOCK


@pytest.mark.parametrize("graft", SITES)
def test_graft_adds_only_the_operators_of_its_blocks(graft: str) -> None:
    x, blocks = torch.rand(1, 3, 64, 64), len(SITES[graft])
    with torch.no_grad():
        added = operators(network(graft), x)
        added.subtract(operators(network("none"), x))
    assert +added == {name: blocks * count for name, count in BLOCK.items()}
    assert not -added


@pytest.mark.parametrize("graft", SITES)
def test_graft_adds_only_the_flops_of_its_blocks(graft: str) -> None:
    added = profile.count_gflops(network(graft), 640) - profile.count_gflops(network("none"), 640)
    assert 1e9 * added == pytest.approx(sum(4 * channels * (channels // 16) for channels, _ in SITES[graft]), abs=1)


def test_inference_allocates_one_map_and_some_vectors() -> None:
    x, block = torch.rand(2, 64, 32, 32), create("se", 64).eval()
    with torch.no_grad(), _PeakMemory() as memory:
        y = block(x)
    vectors = 4 * 2 * 64
    assert 4 * y.numel() <= memory.peak <= 4 * y.numel() + 8 * vectors


def test_training_stores_the_map_once() -> None:
    x = torch.rand(2, 64, 32, 32, requires_grad=True)
    stored: dict[int, int] = {}

    def pack(tensor: torch.Tensor) -> torch.Tensor:
        stored[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    block = create("se", 64).train()
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        block(x)
    assert x.numel() * 4 <= sum(stored.values()) < 1.2 * x.numel() * 4


def test_exported_block_has_exactly_these_nodes() -> None:
    onnx, onnxslim = pytest.importorskip("onnx"), pytest.importorskip("onnxslim")
    file = io.BytesIO()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # warnings of the exporter
        torch.onnx.export(create("se", 64).eval(), (torch.rand(1, 64, 8, 8),), file, opset_version=17, dynamo=False)
    graph = onnxslim.slim(onnx.load_from_string(file.getvalue())).graph
    assert Counter(node.op_type for node in graph.node) == NODES
