"""COCO's average precision by the size of the objects, computed by the package `faster-coco-eval`.

Small objects have an area below 32^2, large ones of at least 96^2 pixels of the original image, as in COCO. AP is the mean
over IoU 0.50 to 0.95, with at most 100 detections in an image. COCO's matching and interpolation differ a little from
those of Ultralytics, so `all` is not exactly mAP50-95.
"""

from __future__ import annotations

import contextlib
import io
import math
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any

import numpy as np

from yolograft.analysis.average_precision import Detections
from yolograft.errors import GraftError
from yolograft.language import tr

__all__ = ["SIZES", "SizeAP", "is_installed", "size_ap"]

SIZES = ("all", "small", "medium", "large")
_LIMITS = (32**2, 96**2)


@dataclass(frozen=True, kw_only=True)
class SizeAP:
    """AP by size.

    Attributes:
        ap: size -> AP at IoU 0.50 to 0.95; nan if no object has this size.
        objects: size -> number of objects.
    """

    ap: dict[str, float]
    objects: dict[str, int]


def is_installed() -> bool:
    """Whether the package `faster-coco-eval` is installed."""
    return find_spec("faster_coco_eval") is not None


def size_ap(one: Detections) -> SizeAP:
    """Compute AP by size.

    Raises:
        GraftError: the package `faster-coco-eval` is not installed.
    """
    try:
        from faster_coco_eval import COCO, COCOeval_faster
    except ImportError as error:
        raise GraftError(tr("AP by size needs the package faster-coco-eval, which is not installed: "
                            "pip install \"yolograft[inside]\"")) from error
    areas = np.prod(one.truth_box[:, 2:].astype(float) - one.truth_box[:, :2], axis=1)
    small, large = int((areas < _LIMITS[0]).sum()), int((areas >= _LIMITS[1]).sum())
    objects = {"all": len(areas), "small": small, "medium": len(areas) - small - large, "large": large}
    if not len(areas):
        return SizeAP(ap=dict.fromkeys(SIZES, math.nan), objects=objects)
    kinds = range(int(max(one.truth_kind.max(), one.kind.max(initial=0))) + 1)
    truth: dict[str, Any] = {
        "info": {}, "images": [{"id": number + 1, "height": int(height), "width": int(width), "file_name": name}
                               for number, (name, (height, width)) in enumerate(zip(one.names, one.shapes, strict=True))],
        "categories": [{"id": kind + 1, "name": str(kind)} for kind in kinds],
        "annotations": [{"id": number + 1, "image_id": int(image) + 1, "category_id": int(kind) + 1, "bbox": _xywh(box),
                         "area": float(area), "iscrowd": 0}
                        for number, (image, kind, box, area) in enumerate(
                            zip(one.truth_image, one.truth_kind, one.truth_box, areas, strict=True))]}
    found = [{"image_id": int(image) + 1, "category_id": int(kind) + 1, "bbox": _xywh(box), "score": float(confidence)}
             for image, kind, box, confidence in zip(one.image, one.kind, one.box, one.confidence, strict=True)]
    if not found:
        return SizeAP(ap={size: 0.0 if objects[size] else math.nan for size in SIZES}, objects=objects)
    with contextlib.redirect_stdout(io.StringIO()):
        known = COCO(truth)
        evaluation = COCOeval_faster(known, known.loadRes(found), "bbox", print_function=lambda *_: None)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    values = [float(value) for value in (evaluation.stats[0], *evaluation.stats[3:6])]
    return SizeAP(ap={size: value if objects[size] else math.nan for size, value in zip(SIZES, values, strict=True)},
                  objects=objects)


def _xywh(box: np.ndarray) -> list[float]:
    x1, y1, x2, y2 = map(float, box)
    return [x1, y1, x2 - x1, y2 - y1]
