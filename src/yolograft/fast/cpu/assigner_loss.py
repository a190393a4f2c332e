"""The detection loss of a DFL head on a CPU, with box decoding and box loss for foreground anchors only.

Ultralytics decodes the boxes of all anchors, assigns targets by tensors of images x ground-truth boxes x anchors, and
backpropagates through all of it, although about one anchor in fifty is foreground. Here `assigner_loss.c` assigns the
targets, and Ultralytics' own `bbox_decode` and `bbox_loss` see foreground anchors only. Loss and gradient agree with
Ultralytics' to float32 rounding. Ultralytics' own loss computes a batch in which an anchor with an alignment metric of 0
may decide between boxes: there the result depends on PyTorch's sort.

The first batches of every loss object are computed in both ways, with their gradients. If the results differ (another
version of Ultralytics may change its loss), Ultralytics' own loss runs from then on, and the log says so. It also runs
where there is no compiler.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a `v8DetectionLoss` is called with the head's output (a dict with
`boxes`, `scores` and `feats`, or a list of maps with both in their channels; the second of two items if the head decodes
as well) and the batch. It returns the three losses times the batch size, summed or not, and the losses alone, as a tensor
or a dict. Its `preprocess` makes (B, boxes, 5) of the ground-truth boxes, padded with zeros. An assigner with `stride`
expands small boxes in `select_candidates_in_gts`, to `stride_val` or to `stride[1]`.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from ultralytics.utils import LOGGER
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.tal import TaskAlignedAssigner, make_anchors

from yolograft.box_loss import BoxLoss
from yolograft.fast.cpu.build import Kernel
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["KERNEL", "assign_targets", "compute_loss", "patch_loss"]

_P, _N, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
KERNEL = Kernel(source=Path(__file__).with_name("assigner_loss.c"),
                argtypes={"assign": [*[_P] * 5, *[_N] * 5, *[_F] * 5, *[_P] * 4, ctypes.c_int]})
_VERIFIED_BATCHES = 3  # batches of a loss object that are computed in both ways
_TOLERANCE = 1e-3  # relative difference that is allowed, of the loss and of the gradient's norm
_stock = v8DetectionLoss.__call__


@dataclass
class _Verification:
    """The state of the comparison between one loss object of Ultralytics and ours.

    Attributes:
        values_left: number of batches whose loss is still to be compared.
        gradients_left: number of batches whose gradient is still to be compared.
        failed: whether a comparison failed, so that Ultralytics' own loss runs.
        is_summed: whether the loss object returns the sum of the three losses.
        names: names of the three losses if the loss object returns them as a dict.
    """

    values_left: int = _VERIFIED_BATCHES
    gradients_left: int = _VERIFIED_BATCHES
    failed: bool = False
    is_summed: bool = False
    names: list[str] | None = None


_verifications: weakref.WeakKeyDictionary[Any, _Verification] = weakref.WeakKeyDictionary()
_min_sides: dict[tuple[float, float], float] = {}  # by an assigner's first stride and the side that small boxes get


def assign_targets(distances: Tensor, scores: Tensor, points: Tensor, strides: Tensor, truths: Tensor, assigner: Any,
                   ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Return the foreground anchors: image, anchor and ground-truth box (n whole numbers each), and the target score (n,).

    Args:
        distances: (B, 4, A), from the anchor to the box's sides, in strides.
        scores: (B, classes, A), before the sigmoid.
        points: (A, 2), x and y of the anchors, in strides.
        strides: (A,), in pixels.
        truths: (B, boxes, 5): class, and left, top, right and bottom in pixels; zeros are padding.
        assigner: Ultralytics' own, for its settings.

    Returns:
        The four tensors, or None if a value is not finite, a class does not exist, an anchor with an alignment metric of
        0 may decide between boxes, or memory is exhausted.
    """
    distances, scores, points, strides, truths = (
        one.detach().contiguous() for one in (distances, scores, points, strides, truths))
    batch, classes, anchors = scores.shape
    indices = torch.empty(2, batch, anchors, dtype=torch.int64)  # of the anchor, and of its box
    weights, counts = torch.empty(batch, anchors), torch.empty(batch, dtype=torch.int64)
    failed = KERNEL.library().assign(
        distances.data_ptr(), scores.data_ptr(), points.data_ptr(), strides.data_ptr(), truths.data_ptr(), batch, classes,
        anchors, truths.shape[1], assigner.topk, assigner.alpha, assigner.beta, assigner.eps,
        *_small_box_sides(assigner), indices[0].data_ptr(), indices[1].data_ptr(), weights.data_ptr(),
        counts.data_ptr(), torch.get_num_threads())
    if failed or int(counts.min()) < 0:
        return None
    is_used = torch.arange(anchors) < counts[:, None]
    return torch.arange(batch).repeat_interleave(counts), indices[0][is_used], indices[1][is_used], weights[is_used]


def compute_loss(criterion: Any, preds: Any, batch: dict[str, Any]) -> Tensor | None:
    """Return the box, class and DFL loss, (3,), with their gains, or None if Ultralytics' own loss must compute them.

    Args:
        criterion: Ultralytics' own loss, for its settings.
        preds: the head's output.
        batch: a batch of the loader.
    """
    output = _head_output(criterion, preds)
    if output is None:
        return None
    boxes, scores, feats = output
    images, channels, anchors = boxes.shape
    with torch.no_grad():
        points, strides = _anchors(tuple(one.shape[2:] for one in feats), tuple(map(float, criterion.stride)))
        size = torch.tensor(feats[0].shape[2:], dtype=scores.dtype) * criterion.stride[0]
        rows = torch.cat((batch["batch_idx"].view(-1, 1), batch["cls"].view(-1, 1), batch["bboxes"]), 1)
        truths = criterion.preprocess(rows, images, scale_tensor=size[[1, 0, 1, 0]])
        if not truths.shape[1]:
            return None
        probabilities = boxes.detach().view(4 * images, channels // 4, anchors).softmax(1)
        # bmm reads the probabilities where they are: einsum would copy all of them
        distances = torch.bmm(criterion.proj.expand(4 * images, 1, -1), probabilities).view(images, 4, anchors)
        targets = assign_targets(distances, scores, points, strides, truths, criterion.assigner)
        if targets is None or not len(targets[0]):
            return None
        image, anchor, truth, weight = targets
        matched = truths[image, truth]
        total = weight.sum().clamp(min=1)
        target_scores = torch.zeros_like(scores)
        target_scores[image, matched[:, 0].long(), anchor] = weight
    score = F.binary_cross_entropy_with_logits(scores, target_scores, reduction="sum") / total
    pred_dist, point, stride = boxes[image, :, anchor], points[anchor], strides[anchor, None]
    pred_boxes = criterion.bbox_decode(point, pred_dist[None])[0]
    forward = criterion.bbox_loss.forward
    more = (size, stride) if _accepts_stride(getattr(forward, "__func__", forward)) else ()
    box, dfl = criterion.bbox_loss(pred_dist, pred_boxes, point, matched[:, 1:] / stride, weight[:, None], total,
                                   torch.ones(len(anchor), dtype=torch.bool), *more)
    gains = criterion.hyp
    return torch.stack((box * gains.box, score * gains.cls, dfl * gains.dfl))


@contextmanager
def patch_loss() -> Iterator[None]:
    """Replace the call of Ultralytics' `v8DetectionLoss` inside a `with` block, if this machine can run the kernel."""
    with nullcontext() if KERNEL.unavailable_reason() else patched((v8DetectionLoss, "__call__", _call)):
        yield


@functools.lru_cache(maxsize=16)
def _accepts_stride(forward: Callable[..., Any]) -> bool:
    """Return whether a box loss also takes the image size and the strides, as from 8.4 on."""
    return "stride" in inspect.signature(forward).parameters


def _call(criterion: Any, preds: Any, batch: dict[str, Any]) -> Any:
    state = _verifications.setdefault(criterion, _Verification())
    ours = None if state.failed else compute_loss(criterion, preds, batch)
    if ours is None:
        return _stock(criterion, preds, batch)
    items = ours.detach()
    leaves = _leaves(preds) if ours.requires_grad else []
    if state.values_left or (leaves and state.gradients_left):
        with _held(criterion):
            total, exact = stock = _stock(criterion, preds, batch)
        state.values_left = max(0, state.values_left - 1)
        state.gradients_left = max(0, state.gradients_left - bool(leaves))
        state.is_summed, state.names = not total.dim(), list(exact) if isinstance(exact, dict) else None
        exact = torch.stack(list(exact.values())) if isinstance(exact, dict) else exact
        difference = ""
        if not torch.allclose(items, exact, rtol=_TOLERANCE, atol=_TOLERANCE * float(exact.max())):
            difference = tr("yolograft's loss is {ours}, and Ultralytics' is {theirs}", ours=items.tolist(),
                            theirs=exact.tolist())
        elif leaves and (error := _gradient_error(ours.sum() * len(batch["img"]), total.sum(), leaves)) is not None:
            difference = tr("the gradients differ by {error:.2g} of the norm", error=error)
        if difference:
            state.failed = True
            LOGGER.info(tr("yolograft: Ultralytics' own code computes the loss, since {difference}",
                           difference=difference))
            return stock
    total = (ours.sum() if state.is_summed else ours) * len(batch["img"])
    return total, items if state.names is None else dict(zip(state.names, items, strict=True))


def _held(criterion: Any) -> AbstractContextManager[None]:
    """Return a context in which the loss of a batch that was computed already does not change a running mean again."""
    loss = getattr(criterion.bbox_loss, "loss", None)
    return loss.held() if isinstance(loss, BoxLoss) else nullcontext()


def _leaves(preds: Any) -> list[Tensor]:
    """Return the tensors of a head's output that need a gradient: boxes and scores, or the maps with both."""
    output = preds[1] if isinstance(preds, tuple) else preds
    tensors = [output["boxes"], output["scores"]] if isinstance(output, dict) else output
    return [one for one in tensors if one.requires_grad]


def _gradient_error(ours: Tensor, stock: Tensor, leaves: list[Tensor]) -> float | None:
    """Return the relative difference of two losses' gradients, or None if it is within the tolerance."""
    gradients = (torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (ours, stock))
    for one, other in zip(*gradients, strict=True):
        difference, norm = float((one - other).norm()), float(other.norm())
        if not difference <= _TOLERANCE * norm:
            return difference / norm if norm else float("inf")
    return None


def _head_output(criterion: Any, preds: Any) -> tuple[Tensor, Tensor, list[Tensor]] | None:
    """Return box distributions and class scores, (B, ., A) each, and the maps; None if the loss is of another kind."""
    assigner = criterion.assigner
    if (type(criterion) is not v8DetectionLoss or type(assigner) is not TaskAlignedAssigner or not criterion.use_dfl
            or getattr(assigner, "topk2", assigner.topk) != assigner.topk
            or getattr(criterion, "class_weights", None) is not None):
        return None
    output = preds[1] if isinstance(preds, tuple) else preds
    if isinstance(output, dict):
        boxes, scores, feats = output["boxes"], output["scores"], output["feats"]
    else:
        feats = output
        channels = torch.cat([one.view(len(one), criterion.no, -1) for one in feats], 2)
        boxes, scores = channels.split((4 * criterion.reg_max, criterion.nc), 1)
    is_supported = boxes.dtype == scores.dtype == torch.float32 and boxes.device.type == "cpu"
    return (boxes.contiguous(), scores.contiguous(), feats) if is_supported else None


def _small_box_sides(assigner: Any) -> tuple[float, float]:
    """Return the side below which the assigner expands a box in candidate selection, and the side that it then gets.

    Versions differ in the first: it is found by a call of the assigner.
    """
    strides = getattr(assigner, "stride", None)
    if not strides:
        return 0.0, 0.0
    first, side = float(strides[0]), float(getattr(assigner, "stride_val", strides[min(1, len(strides) - 1)]))
    if (first, side) not in _min_sides:
        half = torch.tensor([first, first + side]) / 4  # half the side of a small box, and of one between the two strides
        boxes = torch.stack((-half, -half, half, half), 1)[None]
        points = torch.tensor([[0.49 * side, 0.0]])
        small, between = assigner.select_candidates_in_gts(points, boxes, torch.ones(1, 2, 1))[0, :, 0].tolist()
        _min_sides[first, side] = side if between else first if small else 0.0
    return _min_sides[first, side], side


@functools.lru_cache(maxsize=64)
def _anchors(sizes: tuple[tuple[int, int], ...], strides: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    points, stride = make_anchors([torch.empty(1, 1, *size) for size in sizes], torch.tensor(strides), 0.5)
    return points, stride.flatten()
