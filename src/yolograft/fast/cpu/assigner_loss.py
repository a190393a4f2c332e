"""The detection loss of a head that gives distributions, worked out for the places that learn a box alone, on a CPU.

Ultralytics lays all maps out anew, decodes the boxes of all places, assigns by tensors of pictures x true boxes x places,
and sends a gradient back through all of it, though one place in fifty learns a box. Here `assigner_loss.c` assigns, and
Ultralytics' own `bbox_decode` and `bbox_loss` see those places and no others. Loss and gradient are equal to float32's last
digits. A batch where a place of measure 0 may decide between boxes is Ultralytics' own: which of those are among a box's
best is left to PyTorch's sorting.

The first batches of every loss are worked out in both ways, with their gradients; where they differ, which
another version of Ultralytics may make
them, its own way is taken from then on, and the log says so. So it is where there is no compiler.

What this relies on in Ultralytics (8.3.0 to 8.4.x): a `v8DetectionLoss` is called with what the head gave (a dict with
`boxes`, `scores` and `feats`, or a list of maps with both in their channels; the second of two where the head decodes as
well) and the batch; it gives the three losses times the batch size, summed or not, and the losses alone, as a tensor or a
dict; its `preprocess` makes (B, boxes, 5) of the true boxes, filled up with zeros; an assigner that has `stride` enlarges
small boxes, to `stride_val` or to `stride[1]`, in `select_candidates_in_gts`.
"""

from __future__ import annotations

import ctypes
import functools
import inspect
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from ultralytics.utils import LOGGER
from ultralytics.utils.loss import v8DetectionLoss
from ultralytics.utils.tal import TaskAlignedAssigner, make_anchors

from yolograft.fast.cpu import build
from yolograft.patch import patched

__all__ = ["assigned", "losses", "quicker", "refused"]

_SOURCE = Path(__file__).with_name("assigner_loss.c")
_P, _N, _F = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
_CHECKED = 3  # batches of a loss that are worked out in both ways
_CLOSE = 1e-3  # how far apart the two may be, of the loss and of the gradient's norm
_stock = v8DetectionLoss.__call__


@dataclass
class _Seen:
    """What is known of a loss.

    Attributes:
        left: how many batches are still to be compared with Ultralytics' loss.
        gradients: how many of those with a gradient are.
        stock: whether a comparison failed, so that Ultralytics computes it alone.
        summed: whether it gives the sum of the three losses.
        names: of the three losses, where it gives them as a dict.
    """

    left: int = _CHECKED
    gradients: int = _CHECKED
    stock: bool = False
    summed: bool = False
    names: list[str] | None = None


_seen: weakref.WeakKeyDictionary[Any, _Seen] = weakref.WeakKeyDictionary()
_small: dict[tuple[float, float], float] = {}  # sides of boxes, by an assigner's first stride and what it enlarges them to


def assigned(distances: Tensor, scores: Tensor, points: Tensor, strides: Tensor, truths: Tensor, assigner: Any,
             ) -> tuple[Tensor, Tensor, Tensor, Tensor] | None:
    """Return which places learn which boxes: picture, place, box (each of n whole numbers), and the score to learn, (n,).

    Args:
        distances: (B, 4, A), of the sides from the place, in strides.
        scores: (B, classes, A), before the sigmoid.
        points: (A, 2), x and y of the places, in strides.
        strides: (A,), in pixels.
        truths: (B, boxes, 5): class, and left, top, right and bottom in pixels; zeros for none.
        assigner: Ultralytics' own, whose settings are taken.

    Returns:
        Those, or None where a number is none, a class is not there, a place of measure 0 may decide, or no memory is left.
    """
    distances, scores, points, strides, truths = (
        one.detach().contiguous() for one in (distances, scores, points, strides, truths))
    batch, classes, places = scores.shape
    chosen = torch.empty(2, batch, places, dtype=torch.int64)
    weights, counts = torch.empty(batch, places), torch.empty(batch, dtype=torch.int64)
    failed = _library().assign(
        distances.data_ptr(), scores.data_ptr(), points.data_ptr(), strides.data_ptr(), truths.data_ptr(), batch, classes,
        places, truths.shape[1], assigner.topk, assigner.alpha, assigner.beta, assigner.eps,
        *_enlarged(assigner), chosen[0].data_ptr(), chosen[1].data_ptr(), weights.data_ptr(),
        counts.data_ptr(), torch.get_num_threads())
    if failed or int(counts.min()) < 0:
        return None
    taken = torch.arange(places) < counts[:, None]
    return torch.arange(batch).repeat_interleave(counts), chosen[0][taken], chosen[1][taken], weights[taken]


def losses(criterion: Any, preds: Any, batch: dict[str, Any]) -> Tensor | None:
    """Return the box, class and distribution loss, (3,), with their gains; None where Ultralytics has to do it.

    Args:
        criterion: Ultralytics' own loss, whose settings are taken.
        preds: what the head gave.
        batch: as a loader gives it.
    """
    maps = _maps(criterion, preds)
    if maps is None:
        return None
    boxes, scores, feats = maps
    pictures, channels, places = boxes.shape
    with torch.no_grad():
        points, strides = _anchors(tuple(one.shape[2:] for one in feats), tuple(map(float, criterion.stride)))
        size = torch.tensor(feats[0].shape[2:], dtype=scores.dtype) * criterion.stride[0]
        listed = torch.cat((batch["batch_idx"].view(-1, 1), batch["cls"].view(-1, 1), batch["bboxes"]), 1)
        truths = criterion.preprocess(listed, pictures, scale_tensor=size[[1, 0, 1, 0]])
        if not truths.shape[1]:
            return None
        shares = boxes.detach().view(4 * pictures, channels // 4, places).softmax(1)
        # a batched product reads the shares in place: einsum would copy all of them
        distances = torch.bmm(criterion.proj.expand(4 * pictures, 1, -1), shares).view(pictures, 4, places)
        found = assigned(distances, scores, points, strides, truths, criterion.assigner)
        if found is None or not len(found[0]):
            return None
        picture, place, truth, weight = found
        learned = truths[picture, truth]
        total = weight.sum().clamp(min=1)
        targets = torch.zeros_like(scores)
        targets[picture, learned[:, 0].long(), place] = weight
    score = F.binary_cross_entropy_with_logits(scores, targets, reduction="sum") / total
    sides, at, apart = boxes[picture, :, place], points[place], strides[place, None]
    guessed = criterion.bbox_decode(at, sides[None])[0]
    forward = criterion.bbox_loss.forward
    more = (size, apart) if _takes_stride(getattr(forward, "__func__", forward)) else ()
    box, sharp = criterion.bbox_loss(sides, guessed, at, learned[:, 1:] / apart, weight[:, None], total,
                                     torch.ones(len(place), dtype=torch.bool), *more)
    gains = criterion.hyp
    return torch.stack((box * gains.box, score * gains.cls, sharp * gains.dfl))


@functools.cache
def refused() -> str:
    """Return why this machine cannot do it, or nothing; builds what it needs."""
    return build.missing(_library)


@contextmanager
def quicker() -> Iterator[None]:
    """Let Ultralytics' detection losses be worked out in our way meanwhile, where they can."""
    with nullcontext() if refused() else patched((v8DetectionLoss, "__call__", _called)):
        yield


@functools.lru_cache(maxsize=16)
def _takes_stride(forward: Callable[..., Any]) -> bool:
    """Return whether a box loss is called with the size and the strides as well, as from 8.4 on."""
    return "stride" in inspect.signature(forward).parameters


def _called(criterion: Any, preds: Any, batch: dict[str, Any]) -> Any:
    seen = _seen.setdefault(criterion, _Seen())
    ours = None if seen.stock else losses(criterion, preds, batch)
    if ours is None:
        return _stock(criterion, preds, batch)
    told = ours.detach()
    leaves = _leaves(preds) if ours.requires_grad else []
    if seen.left or (leaves and seen.gradients):
        whole, exact = theirs = _stock(criterion, preds, batch)
        seen.left, seen.gradients = max(0, seen.left - 1), max(0, seen.gradients - bool(leaves))
        seen.summed, seen.names = not whole.dim(), list(exact) if isinstance(exact, dict) else None
        exact = torch.stack(list(exact.values())) if isinstance(exact, dict) else exact
        doubt = ""
        if not torch.allclose(told, exact, rtol=_CLOSE, atol=_CLOSE * float(exact.max())):
            doubt = f"ours gives {told.tolist()} for its {exact.tolist()}"
        elif leaves and (apart := _apart(ours.sum() * len(batch["img"]), whole.sum(), leaves)) is not None:
            doubt = f"the gradient of ours differs from its own by {apart:.2g} of it"
        if doubt:
            seen.stock = True
            LOGGER.info(f"yolograft: the loss is worked out by Ultralytics alone, since {doubt}")
            return theirs
    whole = (ours.sum() if seen.summed else ours) * len(batch["img"])
    return whole, told if seen.names is None else dict(zip(seen.names, told, strict=True))


def _leaves(preds: Any) -> list[Tensor]:
    """Return the tensors of a head's output that have a gradient: the boxes and scores, or the maps with both."""
    given = preds[1] if isinstance(preds, tuple) else preds
    found = [given["boxes"], given["scores"]] if isinstance(given, dict) else given
    return [one for one in found if one.requires_grad]


def _apart(ours: Tensor, theirs: Tensor, leaves: list[Tensor]) -> float | None:
    """Return how far apart the gradients of two losses are, as a share of the second's norm; None if they are close."""
    for one, other in zip(*(torch.autograd.grad(loss, leaves, retain_graph=True) for loss in (ours, theirs)), strict=True):
        apart, norm = float((one - other).norm()), float(other.norm())
        if not apart <= _CLOSE * norm:
            return apart / norm if norm else float("inf")
    return None


def _maps(criterion: Any, preds: Any) -> tuple[Tensor, Tensor, list[Tensor]] | None:
    """Return the boxes' and the classes' numbers, (B, ., A), and the maps; None where the loss is another one."""
    assigner = criterion.assigner
    if (type(criterion) is not v8DetectionLoss or type(assigner) is not TaskAlignedAssigner or not criterion.use_dfl
            or getattr(assigner, "topk2", assigner.topk) != assigner.topk
            or getattr(criterion, "class_weights", None) is not None):
        return None
    given = preds[1] if isinstance(preds, tuple) else preds
    if isinstance(given, dict):
        boxes, scores, feats = given["boxes"], given["scores"], given["feats"]
    else:
        feats = given
        whole = torch.cat([one.view(len(one), criterion.no, -1) for one in feats], 2)
        boxes, scores = whole.split((4 * criterion.reg_max, criterion.nc), 1)
    usable = boxes.dtype == scores.dtype == torch.float32 and boxes.device.type == "cpu"
    return (boxes.contiguous(), scores.contiguous(), feats) if usable else None


def _enlarged(assigner: Any) -> tuple[float, float]:
    """Return the side below which a box is enlarged to find places, and to what: found out, since versions differ."""
    strides = getattr(assigner, "stride", None)
    if not strides:
        return 0.0, 0.0
    first, side = float(strides[0]), float(getattr(assigner, "stride_val", strides[min(1, len(strides) - 1)]))
    if (first, side) not in _small:
        half = torch.tensor([first, first + side]) / 4  # of a box that is small, and of one between the two strides
        boxes = torch.stack((-half, -half, half, half), 1)[None]
        points = torch.tensor([[0.49 * side, 0.0]])
        small, between = assigner.select_candidates_in_gts(points, boxes, torch.ones(1, 2, 1))[0, :, 0].tolist()
        _small[first, side] = side if between else first if small else 0.0
    return _small[first, side], side


@functools.lru_cache(maxsize=64)
def _anchors(sizes: tuple[tuple[int, int], ...], strides: tuple[float, ...]) -> tuple[Tensor, Tensor]:
    points, apart = make_anchors([torch.empty(1, 1, *size) for size in sizes], torch.tensor(strides), 0.5)
    return points, apart.flatten()


@functools.cache
def _library() -> ctypes.CDLL:
    library = build.built(_SOURCE)
    library.assign.argtypes = [*[_P] * 5, *[_N] * 5, *[_F] * 5, *[_P] * 4, ctypes.c_int]
    return library
