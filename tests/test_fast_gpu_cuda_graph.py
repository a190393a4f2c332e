"""A CUDA graph runs only batches of its shape, and only if its loss and gradient equal those of eager execution."""

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


def correct(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
    """Run the network on the sample, as a capture does, and return it without a graph."""
    body(*samples)
    return body


def stale(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
    """Ignore the input: always compute the captured sample."""
    return lambda images: body(samples[0])


def offset(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
    """Add 1 to every gradient."""
    def run(images: Tensor) -> Any:
        scaled = images + 0.0
        outputs = body(scaled)
        for one in body.parameters():
            if one.grad is not None:
                one.grad.add_(1.0)
        return outputs
    return run


def static(body: nn.Module, samples: tuple[Tensor, ...], *, drops_gradients: bool = False, **_: Any) -> Any:
    """Like `make_graphed_callables`: input, outputs and gradients use the same memory at every step.

    With `drops_gradients`, the parameters lose their own gradient tensors before the first step.
    """
    weights = [one for one in body.parameters() if one.requires_grad]
    buffer_, memory = samples[0].clone(), {}
    body(buffer_)

    class Graphed(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, images: Tensor, *_: Tensor) -> tuple[Tensor, ...]:
            buffer_.copy_(images)
            with torch.enable_grad():
                memory["outputs"], memory["form"] = tree_flatten(body(buffer_))
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

    def run(images: Tensor) -> Any:
        if drops_gradients and "gradients" not in memory:
            for one in weights:
                one.grad = None
        outputs = Graphed.apply(images, *weights)
        return tree_unflatten(outputs, memory["form"])

    return run


def uncapturable(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
    raise RuntimeError("operation not permitted when stream is capturing\nmore")


def test_a_correct_graph_is_accepted_and_changes_nothing(model: Any) -> None:
    before = copy.deepcopy(model.state_dict())
    assert cuda_graph.verify_capture(model, [batch(0), batch(1)], None, correct) == ""
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())
    assert all(one.grad is None for one in model.parameters())


@pytest.mark.parametrize(("capture", "says"), [
    (stale, "differs"), (offset, "its gradient differs"), (uncapturable, "cannot be captured: operation not permitted")])
def test_a_graph_with_other_results_is_rejected(model: Any, capture: cuda_graph.Capture, says: str) -> None:
    assert says in cuda_graph.verify_capture(model, [batch(0), batch(1)], None, capture)


def test_gradients_in_the_same_memory_are_accumulated_and_not_overwritten(model: Any) -> None:
    assert cuda_graph.verify_capture(model, [batch(0), batch(1)], None, static) == ""
    broken = partial(static, drops_gradients=True)
    assert "its gradient differs" in cuda_graph.verify_capture(model, [batch(0), batch(1)], None, broken)


def test_it_runs_only_training_batches_of_its_shape(model: Any) -> None:
    seen = []

    def recorded(body: nn.Module, samples: tuple[Tensor, ...], **_: Any) -> Any:
        def run(images: Tensor) -> Any:
            seen.append(tuple(images.shape))
            return body(images)
        return run

    buffers = {name: value.clone() for name, value in model.named_buffers()}
    with cuda_graph.patch_predict(model, SHAPE, None, recorded):
        assert all(torch.equal(buffers[name], value) for name, value in model.named_buffers())
        model(batch(0))
        model(batch(0, count=1))
        with torch.no_grad():
            model(batch(0)["img"])
        model.eval()(batch(0)["img"])
        model.train()
    assert seen == [SHAPE]
    assert "predict" not in vars(model)


def test_every_parameter_keeps_its_own_gradient_tensor(model: Any) -> None:
    with cuda_graph.patch_predict(model, SHAPE, None, correct):
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
