"""Every block at every row of YOLO11n and at its head's edges: pytest -m slow tests/test_blocks_everywhere.py"""

from __future__ import annotations

import copy
import io
import warnings

import pytest
import torch
from torch import Tensor, nn
from ultralytics.nn.tasks import DetectionModel

from yolograft import prune
from yolograft.attach import grafts
from yolograft.blocks import names
from yolograft.host.models import graft_onto

pytestmark = pytest.mark.slow

PLACES = [*map(str, range(23)), "p3", "p4", "p5"]


@pytest.fixture(scope="module")
def bare() -> nn.Module:
    """YOLO11n with updated batch norms. With the initial ones the output hardly depends on the grafted features."""
    torch.manual_seed(0)
    model = DetectionModel("yolo11n.yaml", verbose=False)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
            nn.init.uniform_(module.weight, 0.8, 1.2)
    with torch.no_grad():
        for _ in range(2):
            model.train()(torch.rand(4, 3, 96, 96))
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.03
    return model.eval()


def graft_everywhere(bare: nn.Module, name: str, init: str = "identity") -> nn.Module:
    torch.manual_seed(1)
    model = graft_onto(copy.deepcopy(bare), f"{name}(init={init})@{','.join(PLACES)}")
    assert len(grafts(model)) == len(PLACES)
    return model


def maps(outputs: object) -> list[Tensor]:
    if isinstance(outputs, Tensor):
        return [outputs]
    return [x for one in (outputs.values() if isinstance(outputs, dict) else outputs) for x in maps(one)]


@pytest.mark.parametrize("name", names())
def test_a_new_graft_equals_the_host_and_can_be_pruned(bare: nn.Module, name: str) -> None:
    x = torch.rand(2, 3, 96, 64)
    model = graft_everywhere(bare, name).eval()
    with torch.no_grad():
        expected = bare(x)[0]
        assert torch.equal(model(x)[0], expected)
        prune(model)
        assert torch.equal(model(x)[0], expected)
    assert list(model.state_dict()) == list(bare.state_dict())


@pytest.mark.parametrize("name", names())
def test_every_block_gets_a_gradient(bare: nn.Module, name: str) -> None:
    model = graft_everywhere(bare, name).train()
    sum(y.square().mean() for y in maps(model(torch.rand(2, 3, 96, 96)))).backward()
    for place, block in grafts(model).items():
        grads = [p.grad for p in block.parameters() if p.grad is not None]
        assert grads, place
        assert all(g.isfinite().all() for g in grads), place
        assert any(g.abs().sum() > 0 for g in grads), place


@pytest.mark.parametrize("name", names())
def test_the_papers_start_runs_fuses_and_can_be_saved(bare: nn.Module, name: str) -> None:
    x = torch.rand(1, 3, 128, 160)
    model = graft_everywhere(bare, name, "paper").eval()
    with torch.no_grad():
        expected = model(x)[0]
        assert expected.isfinite().all()
        file = io.BytesIO()
        torch.save(model, file)
        file.seek(0)
        loaded = torch.load(file, weights_only=False)
        assert torch.equal(loaded(x)[0], expected)
        # in float64: with float32, rounding in attention over random features changes the boxes
        exact = loaded.double()(x.double())[0]
        fused = loaded.fuse(verbose=False).double()
        torch.testing.assert_close(fused(x.double())[0], exact, rtol=1e-6, atol=1e-5)


@pytest.mark.parametrize("name", names())
def test_a_trace_takes_another_batch(bare: nn.Module, name: str) -> None:
    model = graft_everywhere(bare, name).eval()
    for block in grafts(model).values():
        for parameter in block.parameters():
            nn.init.normal_(parameter, parameter.mean().item(), 0.02)
    model.model[-1].export = True  # the output format for exporters
    x = torch.rand(3, 3, 96, 64)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the tracer's warnings about the host's head
        model(x)  # computes the anchors of this size before the trace
        traced = torch.jit.trace(model, x[:1], check_trace=False, strict=False)
        torch.testing.assert_close(traced(x), model(x), rtol=1e-3, atol=1e-2)
