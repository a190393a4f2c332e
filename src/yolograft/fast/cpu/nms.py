"""Non-maximum suppression for validation: the same boxes in the same order as Ultralytics', in far less time.

Ultralytics selects the boxes of each image with about twenty tensor operations, compares every selected box with all
later ones, and then drops all but the first `max_det`. `nms.c` compares a box only with the selected boxes of its class,
stops at `max_det`, and uses one core per image. Ultralytics' own function runs where `nms.c` does not apply (masks,
keypoints, selected classes, one label per box, more than `max_nms` candidates) and where there is no compiler.

What this relies on in Ultralytics: a validator calls `nms.non_max_suppression` (8.4.x) or `ops.non_max_suppression` (8.3.x)
with the predictions first, then the confidence and IoU thresholds, and the rest as keywords. It takes (N, 6) for each
image and does not read the predictions afterwards: Ultralytics may overwrite them. A validator has imported torchvision,
so Ultralytics then uses torchvision's NMS.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolograft.fast.cpu.build import Kernel
from yolograft.patch import patched

try:
    from ultralytics.utils import nms as _stock_module  # 8.4
except ImportError:
    from ultralytics.utils import ops as _stock_module  # 8.3

__all__ = ["KERNEL", "non_max_suppression", "patch_nms"]

_stock = _stock_module.non_max_suppression
_P, _N = ctypes.c_void_p, ctypes.c_int64
KERNEL = Kernel(
    source=Path(__file__).with_name("nms.c"), flags=("-ffp-contract=off",), restype=None,
    argtypes={"suppress": [_P, _N, _N, _N, ctypes.c_float, ctypes.c_double, _N, _N, ctypes.c_float, _P, _P, ctypes.c_int]})
_REQUIRED: dict[str, Any] = {  # further settings, and the only values that `nms.c` supports
    "classes": None, "labels": (), "rotated": False, "end2end": False, "return_idxs": False}
_IGNORED = ("max_time_img", "in_place")  # settings that do not change which boxes are returned


def non_max_suppression(prediction: Any, conf_thres: float = 0.25, iou_thres: float = 0.45, *, agnostic: bool = False,
                        multi_label: bool = False, max_det: int = 300, nc: int = 0, max_nms: int = 30000,
                        max_wh: int = 7680, **others: Any) -> list[Tensor]:
    """Return what Ultralytics' `non_max_suppression` returns for the same arguments.

    Args:
        prediction: (B, 4 + classes, N), or a sequence that begins with it: centre x, y, width, height, and scores.
        conf_thres: the score that a box must exceed.
        iou_thres: the IoU above which the box with the lower score is removed.
        agnostic: whether boxes of different classes suppress each other.
        multi_label: whether a box may have several classes.
        max_det: the maximum number of boxes per image.
        nc: number of classes; 0 if the scores are all that follows the box.
        max_nms: the maximum number of candidates per image.
        max_wh: offset between classes in pixels, so that boxes of different classes do not overlap.
        others: Ultralytics' further settings.

    Returns:
        For each image (n, 6): x1, y1, x2, y2, score, class; highest score first.
    """
    maps = prediction[0] if isinstance(prediction, (list, tuple)) else prediction
    classes = maps.shape[1] - 4 if maps.ndim == 3 else 0
    is_supported = (
        not KERNEL.unavailable_reason() and maps.dtype == torch.float32 and maps.device.type == "cpu" and maps.shape[-1] != 6
        and classes > 0 and nc in (0, classes) and (multi_label or classes == 1) and 0 <= conf_thres <= 1
        and 0 <= iou_thres <= 1 and max_det > 0
        and all(key in _IGNORED or (key in _REQUIRED and _equals(value, _REQUIRED[key])) for key, value in others.items()))
    if is_supported:
        maps, images = maps.contiguous(), len(maps)
        out, counts = maps.new_empty(images, max_det, 6), torch.empty(images, dtype=torch.int64)
        KERNEL.library().suppress(maps.data_ptr(), images, maps.shape[2], classes, conf_thres, iou_thres, max_det, max_nms,
                                  0 if agnostic else max_wh, out.data_ptr(), counts.data_ptr(), torch.get_num_threads())
        lengths = counts.tolist()
        if all(length >= 0 for length in lengths):
            return [boxes[:length] for boxes, length in zip(out, lengths, strict=True)]
    # on a busy machine the stock time limit would drop the boxes of the last images of a batch
    others["max_time_img"] = float("inf")
    return list(_stock(prediction, conf_thres, iou_thres, agnostic=agnostic, multi_label=multi_label, max_det=max_det, nc=nc,
                       max_nms=max_nms, max_wh=max_wh, **others))


def _equals(value: Any, required: Any) -> bool:
    return value is required or (isinstance(value, (list, tuple)) and not value and required == ())


@contextmanager
def patch_nms() -> Iterator[None]:
    """Replace Ultralytics' `non_max_suppression` inside a `with` block."""
    with patched((_stock_module, "non_max_suppression", non_max_suppression)):
        yield
