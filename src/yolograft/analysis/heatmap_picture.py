"""Pictures of heat maps: the map over the grey picture, with predictions, ground truth and the explained box.

The colours are those of `inferno`, whose lightness grows with the value, so that the order is right in grey print and for
colour-blind readers. The picture below is grey, so that every colour comes from the map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from yolograft.analysis.heatmap import HeatMap

__all__ = ["Outline", "draw", "side_by_side"]

Picture = NDArray[np.uint8]
_LOW, _HIGH = 0.25, 0.75  # weight of the map's colour at its values 0 and 1
_PREDICTION, _TRUTH, _TARGET = (255, 255, 255), (120, 255, 120), (255, 200, 0)  # blue, green, red
_GAP, _CAPTION = 6, 16  # pixels


@dataclass(frozen=True, kw_only=True)
class Outline:
    """A box to draw.

    Attributes:
        points: (4, 2) corners in pixels of the picture.
        label: text beside it.
    """

    points: NDArray[np.float32]
    label: str = ""

    @classmethod
    def of(cls, box: Sequence[float], label: str = "") -> Outline:
        """Make the outline of x1, y1, x2, y2."""
        x1, y1, x2, y2 = box
        return cls(points=np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], np.float32), label=label)


def draw(picture: Picture, heat: HeatMap, *, predictions: Sequence[Outline] = (), truths: Sequence[Outline] = (),
         target: Outline | None = None) -> Picture:
    """Draw a heat map over a picture.

    Args:
        picture: (H, W, 3), blue first.
        heat: (H, W) in 0 to 1.
        predictions: detections, as thin white lines.
        truths: ground truth, as dashed green lines.
        target: the explained box, as a thick blue line with its label.

    Returns:
        (H, W, 3), blue first, at the size of the picture.
    """
    grey = cv2.cvtColor(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR)
    colours = cv2.applyColorMap(np.round(heat * 255).astype(np.uint8), cv2.COLORMAP_INFERNO)
    weight = (_LOW + (_HIGH - _LOW) * heat)[..., None]
    drawn: Picture = np.ascontiguousarray(np.round(weight * colours + (1 - weight) * grey).astype(np.uint8))
    width = max(1, round(min(drawn.shape[:2]) / 320))
    for one in truths:
        _dashed(drawn, one.points, _TRUTH, width)
    for one in predictions:
        cv2.polylines(drawn, [np.round(one.points).astype(np.int32)], True, _PREDICTION, width, cv2.LINE_AA)
    if target is not None:
        cv2.polylines(drawn, [np.round(target.points).astype(np.int32)], True, _TARGET, 2 * width, cv2.LINE_AA)
        _label(drawn, target, _TARGET)
    return drawn


def side_by_side(pictures: Sequence[Picture], captions: Sequence[str]) -> Picture:
    """Join pictures of one height in a row, each with a caption above it."""
    height = pictures[0].shape[0]
    row: list[Picture] = []
    for one, caption in zip(pictures, captions, strict=True):
        panel = np.full((height + _CAPTION, one.shape[1], 3), 255, np.uint8)
        panel[_CAPTION:] = one
        scale = min(0.42, 0.42 * one.shape[1] / max(1, _text_size(caption, 0.42)[0]))
        cv2.putText(panel, _ascii(caption), (1, _CAPTION - 5), cv2.FONT_HERSHEY_SIMPLEX, scale, (30, 30, 30), 1, cv2.LINE_AA)
        row += [panel, np.full((height + _CAPTION, _GAP, 3), 255, np.uint8)]
    return np.concatenate(row[:-1], axis=1)


def _dashed(picture: Picture, points: NDArray[np.float32], colour: tuple[int, int, int], width: int) -> None:
    dash = 5 * width
    for start, end in zip(points, np.roll(points, -1, axis=0), strict=True):
        length = float(np.linalg.norm(end - start))
        for at in np.arange(0, length, 2 * dash):
            ends = [start + (end - start) * min(1.0, place / max(length, 1e-6)) for place in (at, at + dash)]
            (x1, y1), (x2, y2) = (np.round(one).astype(int).tolist() for one in ends)
            cv2.line(picture, (x1, y1), (x2, y2), colour, width, cv2.LINE_AA)


def _label(picture: Picture, one: Outline, colour: tuple[int, int, int]) -> None:
    scale = max(0.35, min(picture.shape[:2]) / 1000)
    width, height = _text_size(one.label, scale)
    x = int(np.clip(one.points[:, 0].min(), 0, max(0, picture.shape[1] - width)))
    top = one.points[:, 1].min() - 3
    y = int(top if top > height else min(picture.shape[0] - 3, one.points[:, 1].min() + height + 3))
    cv2.rectangle(picture, (x, y - height - 1), (x + width, y + 2), (0, 0, 0), -1)  # legible on every colour of the map
    cv2.putText(picture, _ascii(one.label), (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)


def _text_size(text: str, scale: float) -> tuple[int, int]:
    (width, height), _ = cv2.getTextSize(_ascii(text), cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    return int(width), int(height)


def _ascii(text: str) -> str:
    """Return a text with the characters that OpenCV's fonts have."""
    return text.encode("ascii", "replace").decode()
