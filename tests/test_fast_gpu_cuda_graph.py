"""A graphed network is used for the batches it was made for, and believed only if it gives the usual loss and gradient."""

import copy
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from ultralytics.cfg import get_cfg

from yolograft import YOLO
from yolograft.fast.gpu import cuda_graph

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
SHAPE = (2, 3, 64, 64)


@pytest.fixture
def model() -> Any:
    torch.manual_seed(0)
    network = YOLO("yolo11n.yaml", graft="se@8").model.train()
    network.args = get_cfg()
    for parameter in network.parameters():
        parameter.requires_grad_(True)
    return network


def batch(seed: int, count: int = 2) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(seed)
    return {"img": torch.rand(count, *SHAPE[1:], generator=generator), "cls": torch.zeros(count, 1),
            "bboxes": torch.full((count, 4), 0.5), "batch_idx": torch.arange(count).float()}


def honest(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
    """As CUDA does it, but for the graph: the network runs on the sample while it is captured."""
    body(*samples)
    return body


def stale(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
    """Computes what it was captured with, whatever it is given."""
    return lambda pictures: body(samples[0])


def twice(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
    """Leaves twice the gradient."""
    def run(pictures: Tensor) -> Any:
        scaled = pictures + 0.0
        outputs = body(scaled)
        for one in body.parameters():
            if one.grad is not None:
                one.grad.add_(1.0)
        return outputs
    return run


def static(body: nn.Module, samples: tuple[Tensor, ...], *, robbed: bool = False, **_: Any) -> Any:
    """As `make_graphed_callables` does it: input, outputs and gradients lie in the same memory at every step.

    Robbed, the parameters have lost the gradients of their own that they were given for the first step.
    """
    weights = [one for one in body.parameters() if one.requires_grad]
    place, memory = samples[0].clone(), {}
    body(place)

    class Graphed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, pictures: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
            place.copy_(pictures)
            with torch.enable_grad():
                memory["outputs"], memory["form"] = tree_flatten(body(place))
            return tuple(one.detach() for one in memory["outputs"])

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Any:
            pairs = [(one, other) for one, other in zip(memory["outputs"], gradients, strict=True) if one.requires_grad]
            found = torch.autograd.grad([one for one, _ in pairs], weights, [other for _, other in pairs], allow_unused=True)
            kept = memory.setdefault("gradients", [None if one is None else torch.empty_like(one) for one in found])
            for one, other in zip(kept, found, strict=True):
                if one is not None:
                    one.copy_(other)
            return None, *(None if one is None else one.detach() for one in kept)

    def run(pictures: Tensor) -> Any:
        if robbed and "gradients" not in memory:
            for one in weights:
                one.grad = None
        outputs = Graphed.apply(pictures, *weights)
        return tree_unflatten(outputs, memory["form"])

    return run


def uncapturable(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_an_honest_graph_is_believed_and_changes_nothing(model: Any) -> None:
    before = copy.deepcopy(model.state_dict())
    assert cuda_graph.doubts(model, [batch(0), batch(1)], None, honest) == ""
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())


@pytest.mark.parametrize(("capture", "says"), [
    (stale, "another"), (twice, "its gradient is another"), (uncapturable, "cannot be captured: operation not permitted")])
def test_a_graph_that_computes_something_else_is_not(model: Any, capture: cuda_graph.Capture, says: str) -> None:
    assert says in cuda_graph.doubts(model, [batch(0), batch(1)], None, capture)


def test_gradients_in_the_same_memory_are_summed_and_not_overwritten(model: Any) -> None:
    assert cuda_graph.doubts(model, [batch(0), batch(1)], None, static) == ""
    assert "its gradient is another" in cuda_graph.doubts(model, [batch(0), batch(1)], None, partial(static, robbed=True))


def test_it_runs_the_batches_it_was_made_for_and_no_others(model: Any) -> None:
    seen = []

    def watched(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
        def run(pictures: Tensor) -> Any:
            seen.append(tuple(pictures.shape))
            return body(pictures)
        return run

    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with cuda_graph.graphed(model, SHAPE, None, watched):
        assert all(torch.equal(buffers[name], value) for name, value in model.named_buffers())
        model(batch(0))
        model(batch(0, count=1))
        with torch.no_grad():
            model(batch(0)["img"])
        model.eval()(batch(0)["img"])
        model.train()
    assert seen == [SHAPE]
    assert "predict" not in vars(model)


def test_gradients_are_added_to_memory_of_their_own(model: Any) -> None:
    with cuda_graph.graphed(model, SHAPE, None, honest):
        model(batch(0))[0].sum().backward()
        first = [one.grad for one in model.parameters()]
        once = [gradient.clone() for gradient in first]
        model(batch(0))[0].sum().backward()
        assert all(one.grad is gradient for one, gradient in zip(model.parameters(), first, strict=True))
        model.zero_grad()
        model(batch(0))[0].sum().backward()
    # batch norm in training does not depend on its running statistics
    for one, gradient in zip(model.parameters(), once, strict=True):
        torch.testing.assert_close(one.grad, gradient, atol=1e-4, rtol=1e-3)
