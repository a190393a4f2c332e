"""A network's forward and backward pass as one CUDA graph: one launch in place of some thousand.

Only the network: the loss has shapes that follow the number of boxes. A batch of another shape (the last of an epoch) and
whatever does not train go the usual way. A graph is believed only after `doubts` has compared it with the usual way.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `BaseModel.forward` runs the network through `self.predict`, which the
loss calls with the pictures alone. And in PyTorch: a graphed module's gradients arrive in the same memory at every step,
so that a parameter must have a gradient of its own to add them to, or the second step would overwrite the first's.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from yolograft.patch import patched

__all__ = ["Capture", "doubts", "graphed"]

Capture = Callable[..., Any]  # torch.cuda.make_graphed_callables, or what stands for it in a test
_ALIKE = 0.999  # cosine of two gradients in half precision that differ by the order of sums alone


class _Body(nn.Module):
    """A network as a module without hooks of its own, and with its own autocast, whose cache a graph must not use."""

    def __init__(self, model: Any, half: torch.dtype | None) -> None:
        super().__init__()
        self.model, self.kind, self.run = model, half, model.predict

    def forward(self, pictures: Tensor) -> Any:
        """Run the network."""
        kind = self.kind or torch.bfloat16  # which is not looked at where autocast is off
        with torch.autocast(pictures.device.type, kind, enabled=self.kind is not None, cache_enabled=False):
            return self.run(pictures)


@contextmanager
def graphed(model: Any, shape: Sequence[int], half: torch.dtype | None, capture: Capture) -> Iterator[None]:
    """Let a model that trains run batches of one shape as a graph meanwhile; its class and state are untouched.

    Args:
        model: an Ultralytics task model, in training mode.
        shape: of the batches of pictures, (B, 3, H, W).
        half: what autocast computes in, or None for float32.
        capture: `torch.cuda.make_graphed_callables`.
    """
    usual, parameters = model.predict, [one for one in model.parameters() if one.requires_grad]
    sample = torch.zeros(*shape, device=parameters[0].device)
    before = [(buffer, buffer.clone()) for buffer in model.buffers()]  # capturing runs the network, on zeros
    run = capture(_Body(model, half), (sample,), allow_unused_input=True)
    for buffer, value in before:
        buffer.copy_(value)
    own = [torch.zeros_like(one) for one in parameters]

    def predicted(pictures: Tensor, *args: Any, **kwargs: Any) -> Any:
        if pictures.shape != sample.shape or not model.training or not torch.is_grad_enabled() or args or kwargs:
            return usual(pictures, *args, **kwargs)
        missing = [(one, gradient) for one, gradient in zip(parameters, own, strict=True) if one.grad is None]
        if missing:
            torch._foreach_zero_([gradient for _, gradient in missing])
        for one, gradient in missing:
            one.grad = gradient
        return run(pictures)

    with patched((model, "predict", predicted)):
        yield


def doubts(model: nn.Module, batches: Sequence[dict[str, Any]], half: torch.dtype | None, capture: Capture) -> str:
    """Return why a graph of this model cannot be believed, or "": its loss and summed gradient are the usual way's.

    Args:
        model: an Ultralytics task model in training mode, which is left as it is.
        batches: two or more different ones of the same shape, as `preprocess_batch` gives them.
        half: what autocast computes in, or None for float32.
        capture: `torch.cuda.make_graphed_callables`.
    """
    shape, found = batches[0]["img"].shape, []
    try:
        for graph in (False, True):
            twin: Any = copy.deepcopy(model)
            if not graph:
                found.append(_summed(twin, batches, half))
                continue
            with graphed(twin, shape, half, capture):
                found.append(_summed(twin, batches, half))
    except RuntimeError as error:  # what CUDA cannot capture: a block that waits for the host, say
        return f"it cannot be captured: {str(error).splitlines()[0]}"
    (loss, gradient, state), (graph_loss, graph_gradient, graph_state) = found
    for name, one, other in (("gradient", gradient, graph_gradient), ("state", state, graph_state)):
        alike = float(nn.functional.cosine_similarity(one, other, dim=0))
        if not alike > _ALIKE or not abs(float(other.norm() / one.norm()) - 1) < 0.01:
            return f"its {name} is another (cosine {alike:.4f})"
    return "" if abs(graph_loss / loss - 1) < 0.01 else f"its loss is another ({graph_loss:.4g} for {loss:.4g})"


def _summed(model: Any, batches: Sequence[dict[str, Any]], half: torch.dtype | None) -> tuple[float, Tensor, Tensor]:
    """Return the batches' loss, the gradients that they leave together, and the buffers."""
    total = 0.0
    for batch in batches:
        device = batch["img"].device.type
        with torch.autocast(device, half or torch.bfloat16, enabled=half is not None):
            loss = model(dict(batch))[0].sum()
        loss.backward()
        total += float(loss.detach())
    gradients = [(torch.zeros_like(one) if one.grad is None else one.grad).flatten().float() for one in model.parameters()]
    buffers = [one.flatten().float() for one in model.buffers() if one.is_floating_point()]
    return total, torch.cat(gradients), torch.cat(buffers)
