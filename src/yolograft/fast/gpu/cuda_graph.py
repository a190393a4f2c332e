"""A network's forward and backward pass as one CUDA graph: one launch replaces about a thousand.

Only the network is captured: the shapes in the loss depend on the number of boxes. A batch of another shape (the last one
of an epoch) and a network in evaluation mode run eagerly. A graph is used only after `verify_capture` has compared it
with eager execution.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `BaseModel.forward` runs the network through `self.predict`, and the
loss calls it with the images as the only argument. And in PyTorch: a graphed module writes its gradients into the same
memory at every step. So every parameter needs its own gradient tensor to accumulate into; otherwise the second step would
overwrite the gradient of the first.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["Capture", "patch_predict", "verify_capture"]

Capture = Callable[..., Any]  # torch.cuda.make_graphed_callables, or a test's replacement
_MIN_COSINE = 0.999  # of two gradients in half precision that differ only by the order of sums


class _Body(nn.Module):
    """A network as a module without hooks, with an autocast of its own: a graph must not use autocast's weight cache."""

    def __init__(self, model: Any, dtype: torch.dtype | None) -> None:
        super().__init__()
        self.model, self.dtype, self.predict = model, dtype, model.predict

    def forward(self, images: Tensor) -> Any:
        """Run the network."""
        dtype = self.dtype or torch.bfloat16  # has no effect if autocast is off
        with torch.autocast(images.device.type, dtype, enabled=self.dtype is not None, cache_enabled=False):
            return self.predict(images)


@contextmanager
def patch_predict(model: Any, shape: Sequence[int], dtype: torch.dtype | None, capture: Capture) -> Iterator[None]:
    """Run batches of one shape as a CUDA graph inside a `with` block. The model's class and state do not change.

    Args:
        model: an Ultralytics task model in training mode.
        shape: of the image batches, (B, 3, H, W).
        dtype: autocast's data type, or None for float32.
        capture: `torch.cuda.make_graphed_callables`.
    """
    eager, parameters = model.predict, [one for one in model.parameters() if one.requires_grad]
    sample = torch.zeros(*shape, device=parameters[0].device)
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]  # the capture runs the network, on zeros
    run = capture(_Body(model, dtype), (sample,), allow_unused_input=True)
    for buffer, value in before:
        buffer.copy_(value)
    gradients = [torch.zeros_like(one) for one in parameters]

    def predict(images: Tensor, *args: Any, **kwargs: Any) -> Any:
        if images.shape != sample.shape or not model.training or not torch.is_grad_enabled() or args or kwargs:
            return eager(images, *args, **kwargs)
        unset = [(one, gradient) for one, gradient in zip(parameters, gradients, strict=True) if one.grad is None]
        if unset:
            torch._foreach_zero_([gradient for _, gradient in unset])
        for one, gradient in unset:
            one.grad = gradient
        return run(images)

    with patched((model, "predict", predict)):
        yield


def verify_capture(model: nn.Module, batches: Sequence[dict[str, Any]], dtype: torch.dtype | None, capture: Capture) -> str:
    """Return how the model's CUDA graph differs from eager execution, or "" if loss, gradient and buffers agree.

    Args:
        model: an Ultralytics task model in training mode. It does not change.
        batches: two or more different batches of the same shape, after `preprocess_batch`.
        dtype: autocast's data type, or None for float32.
        capture: `torch.cuda.make_graphed_callables`.
    """
    shape, results = batches[0]["img"].shape, []
    try:
        for is_graphed in (False, True):
            trial: Any = copy.deepcopy(model)
            if not is_graphed:
                results.append(_accumulate(trial, batches, dtype))
                continue
            with patch_predict(trial, shape, dtype, capture):
                results.append(_accumulate(trial, batches, dtype))
    except RuntimeError as error:  # CUDA cannot capture an operation, for example one that waits for the CPU
        return tr("it cannot be captured: {reason}", reason=str(error).splitlines()[0])
    (loss, gradient, buffers), (graph_loss, graph_gradient, graph_buffers) = results
    for name, one, other in (("gradient", gradient, graph_gradient), ("state", buffers, graph_buffers)):
        cosine = float(nn.functional.cosine_similarity(one, other, dim=0))
        if not cosine > _MIN_COSINE or not abs(float(other.norm() / one.norm()) - 1) < 0.01:
            return tr("its {name} differs from eager execution (cosine {cosine:.4f})", name=name, cosine=cosine)
    if abs(graph_loss / loss - 1) < 0.01:
        return ""
    return tr("its loss is {graph_loss:.4g}, and {loss:.4g} in eager execution", graph_loss=graph_loss, loss=loss)


def _accumulate(model: Any, batches: Sequence[dict[str, Any]], dtype: torch.dtype | None) -> tuple[float, Tensor, Tensor]:
    """Return the sum of the batches' losses, the accumulated gradients, and the buffers."""
    total = 0.0
    for batch in batches:
        device = batch["img"].device.type
        with torch.autocast(device, dtype or torch.bfloat16, enabled=dtype is not None):
            loss = model(dict(batch))[0].sum()
        loss.backward()
        total += float(loss.detach())
    gradients = [(torch.zeros_like(one) if one.grad is None else one.grad).flatten().float() for one in model.parameters()]
    buffers = [one.flatten().float() for one in model.buffers() if one.is_floating_point()]
    return total, torch.cat(gradients), torch.cat(buffers)
