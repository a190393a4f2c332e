"""Train Ultralytics' models with another box loss than CIoU: the train argument `iou=NAME`.

Ultralytics' own argument `iou` is the IoU threshold of NMS, a number. Both share the key: a name is a box loss, and a number
is the threshold.

While `patch_box_loss` is active, every detection loss that Ultralytics builds holds a `BboxLoss` of ours. It runs
Ultralytics' own `forward`, in which `bbox_iou` gives the similarity of the chosen loss. Everything else is unchanged: the
weights of the anchors, DFL, and the task-aligned assigner, which always uses CIoU.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `v8DetectionLoss.__init__` (of detection, segmentation and pose) builds
`BboxLoss(reg_max)` by its name in `ultralytics.utils.loss`, and `BboxLoss.forward` calls `bbox_iou(predictions, truths,
xywh=False, CIoU=True)` once, by its name there, with boxes in units of the stride. Newer versions pass `imgsz` (height,
width) and `stride` (A, 1) in pixels. In older ones, `anchor_points` (A, 2) has all anchors, level by level, and each level
starts at (0.5, 0.5).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from ultralytics.utils import loss as ultralytics_loss

from yolograft.box_loss import BoxLoss
from yolograft.errors import HostError, SpecError
from yolograft.language import tr
from yolograft.patch import patched

__all__ = ["TASKS", "check_task", "check_threshold", "patch_box_loss", "read_iou", "without_box_loss"]

TASKS = ("detect", "segment", "pose")
_STOCK_TAKES_STRIDE = "stride" in inspect.signature(ultralytics_loss.BboxLoss.forward).parameters


class BboxLoss(ultralytics_loss.BboxLoss):
    """Ultralytics' box loss with another similarity than CIoU.

    Args:
        reg_max: as in Ultralytics.
        loss: the box loss. WIoU's running mean is its state, so that all loss objects of one training share it.
        strides: the strides of the head's levels in pixels; used where Ultralytics passes none.
    """

    def __init__(self, reg_max: int, loss: BoxLoss, strides: tuple[float, ...]) -> None:
        super().__init__(reg_max)
        self.loss, self.strides = loss, strides

    def forward(self, pred_dist: Tensor, pred_bboxes: Tensor, anchor_points: Tensor, target_bboxes: Tensor,
                target_scores: Tensor, target_scores_sum: Tensor, fg_mask: Tensor, imgsz: Tensor | None = None,
                stride: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Return the box loss and the DFL loss, as Ultralytics does. The arguments are Ultralytics'."""
        if stride is None or imgsz is None:
            stride, size = _levels(anchor_points, self.strides)
        else:
            size = (float(imgsz[0]), float(imgsz[1]))
        counted = target_scores[fg_mask].sum(-1) > 0  # an anchor without weight has no loss, and must not change a mean
        per_box = stride.view(-1, 1).expand(*fg_mask.shape, 1)[fg_mask]

        def similarity(boxes: Tensor, truths: Tensor, xywh: bool = False, CIoU: bool = True) -> Tensor:
            return self.loss.similarity(boxes, truths, per_box, size, counted)

        more = (imgsz, stride) if _STOCK_TAKES_STRIDE else ()
        with patched((ultralytics_loss, "bbox_iou", similarity)):
            result: tuple[Tensor, Tensor] = super().forward(pred_dist, pred_bboxes, anchor_points, target_bboxes,
                                                            target_scores, target_scores_sum, fg_mask, *more)
        return result


def read_iou(value: Any) -> BoxLoss | None:
    """Return the box loss that a value of `iou` names, or None for a number: the IoU threshold of NMS.

    Raises:
        SpecError: the text is neither.
    """
    if not isinstance(value, str) or value.strip().lower() in ("", "none"):
        return None
    try:
        float(value)
    except ValueError:
        return BoxLoss.parse(value)
    return None


def without_box_loss(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments without `iou` if it names a box loss: Ultralytics would reject its type."""
    return {key: value for key, value in arguments.items() if key != "iou" or read_iou(value) is None}


def check_threshold(mode: str, value: Any) -> None:
    """Check that a value of `iou` is a number, for the modes that compute no loss.

    Raises:
        HostError: it names a box loss, or it is another text.
    """
    try:
        is_number = read_iou(value) is None
    except SpecError:
        is_number = False
    if not is_number:
        raise HostError(tr("iou={value}: a box loss is an argument of train and tune only. In {mode}, iou is the IoU "
                           "threshold of NMS: a number, such as iou=0.7.", value=value, mode=mode))


def check_task(loss: BoxLoss, task: str, is_rtdetr: bool = False) -> None:
    """Check that the loss of a task has boxes that this package can give another similarity.

    Raises:
        HostError: it does not.
    """
    if is_rtdetr or task not in TASKS:
        raise HostError(tr("iou={loss} is for YOLO models of the tasks {tasks}. {model} has another box loss.", loss=loss,
                           tasks=", ".join(TASKS), model="RT-DETR" if is_rtdetr else task))


@contextmanager
def patch_box_loss(chosen: Callable[[], BoxLoss | None], strides: Callable[[], tuple[float, ...]]) -> Iterator[None]:
    """Give every detection loss that Ultralytics builds inside a `with` block the chosen box loss.

    Args:
        chosen: returns the box loss, or None for Ultralytics' own. It is called when a loss is built.
        strides: returns the strides of the head's levels in pixels.
    """
    stock = ultralytics_loss.BboxLoss

    class Choosing(type):
        """Builds the chosen loss when the class is called."""

        def __call__(cls, reg_max: int = 16) -> Any:
            loss = chosen()
            return stock(reg_max) if loss is None else BboxLoss(reg_max, loss, strides())

    class Chosen(stock, metaclass=Choosing):  # type: ignore[misc,valid-type]
        """Takes the place of the stock class. Checkpoints of 8.3 hold a loss object, so pickle needs a class here."""

        def __new__(cls) -> Any:
            return stock.__new__(stock)

    with patched((ultralytics_loss, "BboxLoss", Chosen)):
        yield


def _levels(points: Tensor, strides: tuple[float, ...]) -> tuple[Tensor, tuple[float, float]]:
    """Return the stride of each anchor, (A, 1), and the image's height and width in pixels."""
    starts = (points == 0.5).all(-1).nonzero()[:, 0]
    counts = torch.diff(starts, append=torch.tensor([len(points)], device=points.device))
    each = torch.tensor(strides, dtype=points.dtype, device=points.device).repeat_interleave(counts)
    width, height = (points[:int(counts[0])].amax(0) + 0.5) * strides[0]
    return each[:, None], (float(height), float(width))
