"""Non-maximum suppression for validation: the same boxes in the same order as Ultralytics', in far less time.

Ultralytics picks the boxes of each picture by some twenty tensor operations, compares every kept box with all that follow,
and then throws away all but the first `max_det`. `nms.c` compares a box with the kept ones of its class, stops when
`max_det` are kept, and takes a core for each picture. What it doesn't do (masks, keypoints, a choice of classes, one label
a box, more than `max_nms` candidates), Ultralytics does, and where no compiler is, all of it.

What this relies on in Ultralytics: a validator calls `nms.non_max_suppression` (8.4.x) or `ops.non_max_suppression` (8.3.x)
with the maps first, then confidence and overlap, and the rest by name; it gets (N, 6) for each picture, and nothing reads
the maps afterwards, into which Ultralytics may write. A validator has imported torchvision, by which Ultralytics then
suppresses.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from yolograft.fast.cpu import build
from yolograft.patch import patched

try:
    from ultralytics.utils import nms as _place  # 8.4
except ImportError:
    from ultralytics.utils import ops as _place  # 8.3

__all__ = ["quicker", "refused", "suppressed"]

_stock = _place.non_max_suppression
_SOURCE = Path(__file__).with_name("nms.c")
_P, _N = ctypes.c_void_p, ctypes.c_int64
_PLAIN: dict[str, Any] = {  # what a setting must be for our way; those that count in it are arguments of `suppressed`
    "classes": None, "labels": (), "rotated": False, "end2end": False, "return_idxs": False}
_IDLE = ("max_time_img", "in_place")  # without a bearing on which boxes are kept


def suppressed(prediction: Any, conf_thres: float = 0.25, iou_thres: float = 0.45, *, agnostic: bool = False,
               multi_label: bool = False, max_det: int = 300, nc: int = 0, max_nms: int = 30000, max_wh: int = 7680,
               **others: Any) -> list[Tensor]:
    """Return what Ultralytics' `non_max_suppression` returns for the same arguments.

    Args:
        prediction: (B, 4 + classes, N), or a sequence that begins with it: centre x, y, width, height, and scores.
        conf_thres: the score that a box must exceed.
        iou_thres: the overlap from which the worse of two boxes goes.
        agnostic: whether boxes of two classes suppress one another.
        multi_label: whether a box may have several classes.
        max_det: the most boxes of a picture.
        nc: number of classes; 0 where they are all that follows the box.
        max_nms: the most candidates of a picture.
        max_wh: how far apart the classes are moved.
        others: Ultralytics' further settings.

    Returns:
        For each picture (n, 6): x1, y1, x2, y2, score, class; best first.
    """
    maps = prediction[0] if isinstance(prediction, (list, tuple)) else prediction
    classes = maps.shape[1] - 4 if maps.ndim == 3 else 0
    ours = (not refused() and maps.dtype == torch.float32 and maps.device.type == "cpu" and maps.shape[-1] != 6
            and classes > 0 and nc in (0, classes) and (multi_label or classes == 1) and 0 <= conf_thres <= 1
            and 0 <= iou_thres <= 1 and max_det > 0
            and all(key in _IDLE or (key in _PLAIN and _is(value, _PLAIN[key])) for key, value in others.items()))
    if ours:
        maps, pictures = maps.contiguous(), len(maps)
        out, counts = maps.new_empty(pictures, max_det, 6), torch.empty(pictures, dtype=torch.int64)
        _library().suppress(maps.data_ptr(), pictures, maps.shape[2], classes, conf_thres, iou_thres, max_det, max_nms,
                            0 if agnostic else max_wh, out.data_ptr(), counts.data_ptr(), torch.get_num_threads())
        found = counts.tolist()
        if all(count >= 0 for count in found):
            return [boxes[:count] for boxes, count in zip(out, found, strict=True)]
    return list(_stock(prediction, conf_thres, iou_thres, agnostic=agnostic, multi_label=multi_label, max_det=max_det, nc=nc,
                       max_nms=max_nms, max_wh=max_wh, **others))


def _is(value: Any, plain: Any) -> bool:
    return value is plain or (isinstance(value, (list, tuple)) and not value and plain == ())


@functools.cache
def refused() -> str:
    """Return why this machine cannot do it in our way, or nothing; builds what that needs."""
    return build.missing(_library)


@functools.cache
def _library() -> ctypes.CDLL:
    library = build.built(_SOURCE, "-ffp-contract=off")
    floats = ctypes.c_float, ctypes.c_double
    library.suppress.argtypes = [_P, _N, _N, _N, *floats, _N, _N, ctypes.c_float, _P, _P, ctypes.c_int]
    library.suppress.restype = None
    return library


@contextmanager
def quicker() -> Iterator[None]:
    """Let Ultralytics suppress in our way meanwhile."""
    with patched((_place, "non_max_suppression", suppressed)):
        yield
