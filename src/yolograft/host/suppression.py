"""Non-maximum suppression of boxes that fall into groups far apart, group by group: the same boxes, in less time.

Ultralytics moves each class's boxes to a place of its own, 7,680 pixels from the next, and suppresses all at once, so that
every box that is kept is compared with every other's. Boxes of two groups between which a gap runs cannot overlap.

What this relies on in Ultralytics (8.3.0 to 8.4.x): `non_max_suppression` calls `torchvision.ops.nms` by that name.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["grouped_nms", "quicker"]

_FEW = 512  # boxes for which one go is as fast


def grouped_nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Return what `torchvision.ops.nms` returns: the indices kept, best score first.

    Args:
        boxes: (N, 4), as x1, y1, x2, y2.
        scores: (N,).
        iou_threshold: the overlap from which the worse of two boxes goes.
    """
    from torchvision.ops.boxes import nms as stock  # importing torchvision takes as long as PyTorch itself

    if len(boxes) < _FEW:
        return stock(boxes, scores, iou_threshold)
    order = boxes[:, 0].argsort()
    left, right = boxes[order, 0], boxes[order, 2].cummax(0).values
    group = torch.zeros_like(order)
    group[order] = torch.cat([left.new_zeros(1), left[1:] > right[:-1]]).cumsum(0).long()  # a gap begins a new group
    kept = [members[stock(boxes[members], scores[members], iou_threshold)]
            for members in (torch.where(group == one)[0] for one in range(int(group.max()) + 1))]
    # torchvision's order: by score, and by place where scores are the same
    together = torch.cat(kept).sort().values
    return together[scores[together].argsort(descending=True, stable=True)]


@contextmanager
def quicker() -> Iterator[None]:
    """Let Ultralytics suppress group by group meanwhile."""
    from torchvision import ops

    stock, ops.nms = ops.nms, grouped_nms
    try:
        yield
    finally:
        ops.nms = stock
