"""The candidate boxes of a detector: every box that its head predicts before non-maximum suppression, with class logits.

An explanation needs one number to explain. `Detector` gives it for any Ultralytics model whose head predicts one box at
each anchor point (detect, segment, pose, obb): the logit of one class at one anchor point. It runs a copy of the network
that shares the weights, so the user's model, its gradients and its mode do not change. It never holds the `YOLO` object,
whose method `train` starts a training.

What this relies on in Ultralytics (8.3.0 to 8.4.x): in eval mode, the first tensor of a head's output is (B, 4 + classes +
extra, anchor points) with centre x, y, width, height in pixels of the network's input and probabilities; the angle of an
oriented box is the last extra value. A head with `end2end` (YOLOv10, YOLO26) predicts from its children `one2one_*`, on
detached maps in 8.3.0, and keeps only the best boxes. The copy has these children in the place of the ordinary ones, and
`end2end` is False, so that all boxes are there and gradients flow. A head caches its anchor points, in inference mode if
`predict` ran first; `shape = None` makes it compute them again. `strides` has the stride of each anchor point.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from ultralytics.nn.modules import Detect

from yolograft.analysis.matching import box_iou
from yolograft.errors import HostError
from yolograft.fast.cpu.nms import non_max_suppression
from yolograft.language import tr
from yolograft.sites import network_of

__all__ = ["Candidates", "Detector", "Letterbox", "Target"]

_PADDING = 114  # grey value of Ultralytics' letterbox
_STRIDE = 32
_MAX_PROBABILITY = 1 - 2.0**-24  # the largest float32 below 1: its logit is finite
_ALIGNMENT = (0.5, 6.0)  # exponents of score and IoU in the task-aligned assigner of Ultralytics

Boxes = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """Where a picture lies in the network's input: scaled by `scale`, with `left` and `top` pixels of padding before it.

    Attributes:
        shape: height and width of the picture in pixels.
        size: height and width of the scaled picture in the network's input.
        left, top: padding in pixels of the network's input.
        input_shape: height and width of the network's input.
    """

    shape: tuple[int, int]
    size: tuple[int, int]
    left: int
    top: int
    input_shape: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, ...], imgsz: int) -> Letterbox:
        """Fit a picture (height, width, ...) into a square of `imgsz` pixels, padded to multiples of 32."""
        height, width = shape[:2]
        scale = min(imgsz / height, imgsz / width)
        size = round(height * scale), round(width * scale)
        pads = [(-side) % _STRIDE for side in size]
        left, top = (round(pad / 2 - 0.1) for pad in reversed(pads))
        return cls(shape=(height, width), size=size, left=left, top=top,
                   input_shape=(size[0] + pads[0], size[1] + pads[1]))

    @property
    def window(self) -> tuple[slice, slice]:
        """The rows and columns of the network's input that show the picture."""
        return slice(self.top, self.top + self.size[0]), slice(self.left, self.left + self.size[1])

    def pixels(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the network's input as (H, W, C) of 8-bit values."""
        scaled = picture if picture.shape[:2] == self.size else cv2.resize(
            picture, (self.size[1], self.size[0]), interpolation=cv2.INTER_LINEAR)
        padded = np.full((*self.input_shape, picture.shape[2]), _PADDING, np.uint8)
        padded[self.window] = scaled.reshape(*self.size, -1)
        return padded

    def to_picture(self, boxes: Boxes) -> Boxes:
        """Convert points x, y, x, y, ... (N, 2 K) from pixels of the network's input to pixels of the picture."""
        count = boxes.shape[-1] // 2
        scale = np.array([self.shape[1] / self.size[1], self.shape[0] / self.size[0]] * count, np.float32)
        return np.asarray((boxes - np.array([self.left, self.top] * count, np.float32)) * scale, np.float32)


@dataclass(frozen=True, kw_only=True)
class Target:
    """The number that a heat map explains: the logit of one class at one anchor point.

    Attributes:
        anchor: index of the anchor point.
        kind: index of the class.
        name: name of the class.
        logit: the number itself.
        confidence: its sigmoid.
        box: x1, y1, x2, y2 of the predicted box in pixels of the picture; the enclosing one for an oriented box.
    """

    anchor: int
    kind: int
    name: str
    logit: float
    confidence: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """All boxes of one picture before non-maximum suppression, and which of them it keeps.

    Attributes:
        boxes: (A, 4) x1, y1, x2, y2 in pixels of the picture; the enclosing box of an oriented one.
        logits: (A, C) of each class.
        kept: anchor points of the detections after non-maximum suppression, by decreasing confidence.
        outlines: (K, 4, 2) corners of the detections, in the order of `kept`.
        strides: (A,) pixels of the network's input per cell of the map that each box is predicted from.
        names: class index -> name.
    """

    boxes: Boxes
    logits: NDArray[np.float32]
    kept: tuple[int, ...]
    outlines: NDArray[np.float32]
    strides: NDArray[np.float32]
    names: dict[int, str]

    def target(self, anchor: int, kind: int | None = None) -> Target:
        """Return the target at an anchor point, by default of its most probable class."""
        kind = int(self.logits[anchor].argmax()) if kind is None else kind
        logit = float(self.logits[anchor, kind])
        x1, y1, x2, y2 = map(float, self.boxes[anchor])
        return Target(anchor=anchor, kind=kind, name=self.names.get(kind, str(kind)), logit=logit,
                      confidence=float(1 / (1 + np.exp(-logit))), box=(x1, y1, x2, y2))

    def detections(self, kind: int | None = None) -> list[Target]:
        """Return the detections after non-maximum suppression, by decreasing confidence; those of one class if given."""
        found = [self.target(anchor) for anchor in self.kept]
        return [one for one in found if kind is None or one.kind == kind]

    def closest(self, box: Sequence[float], kind: int | None = None) -> Target | None:
        """Return the candidate that is assigned to a box best; None if none overlaps it.

        The measure is that of the task-aligned assigner (Feng et al., TOOD, ICCV 2021, equation 6): score^0.5 x IoU^6.

        Args:
            box: x1, y1, x2, y2 in pixels of the picture.
            kind: the class; by default the class with the largest measure.
        """
        iou = box_iou(np.asarray([box], np.float32), self.boxes)[0]
        if not (iou > 0).any():
            return None
        score = 1 / (1 + np.exp(-self.logits.astype(np.float64)))
        measure = score ** _ALIGNMENT[0] * iou[:, None] ** _ALIGNMENT[1]
        if kind is not None:
            return self.target(int(measure[:, kind].argmax()), kind)
        anchor, best = np.unravel_index(int(measure.argmax()), measure.shape)
        return self.target(int(anchor), int(best))


class Detector(nn.Module):
    """A detector as a function from images to class logits of all candidate boxes.

    Its parameters share memory with those of the network, but need no gradient: a backward pass reaches the images and the
    feature maps only.

    Args:
        model: a `YOLO` object, ours or Ultralytics', or its network.

    Raises:
        HostError: the model predicts no boxes, or its boxes belong to no anchor points (RT-DETR).
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        network = network_of(model)
        body = getattr(network, "model", None)
        head = body[-1] if isinstance(body, nn.Sequential) else None
        if not isinstance(head, Detect):
            raise HostError(tr("A heat map of a box needs a model that predicts boxes at anchor points (detect, segment, "
                               "pose or obb). This one ends with {head}.", head=type(head or network).__name__))
        frozen: dict[int, Any] = {id(one): nn.Parameter(one.detach(), requires_grad=False) for one in network.parameters()}
        self.network: Any = copy.deepcopy(network, frozen | {id(one): one for one in network.buffers()}).float().eval()
        copied = self.head
        copied.shape = None
        self.is_end2end = bool(copied.end2end)
        if self.is_end2end:
            for name in [name for name in copied._modules if name.startswith("one2one_")]:
                setattr(copied, name.removeprefix("one2one_"), copied._modules[name])
                setattr(copied, name, None)
            copied.end2end = False
        self.is_rotated = str(getattr(model, "task", getattr(network, "task", ""))) == "obb"
        names = getattr(network, "names", {})
        self.names = dict(names if isinstance(names, dict) else enumerate(names))
        first = next(one for one in self.network.modules() if isinstance(one, nn.Conv2d))
        self.channels = first.in_channels

    @property
    def head(self) -> Any:
        """The copy's last row. It is no attribute, because a module that is registered twice would be found twice."""
        return self.network.model[-1]

    @property
    def _device(self) -> torch.device:
        """The device of the weights."""
        return next(self.network.parameters()).device

    def example(self, size: int = 64) -> Tensor:
        """Return images of zeros (1, C, size, size), to learn shapes."""
        return torch.zeros(1, self.channels, size, size, device=self._device)

    def forward(self, images: Tensor) -> Tensor:
        """Return the class logits of all candidates: (B, C, H, W) in 0 to 1 -> (B, anchor points, classes)."""
        return _logit(self._predict(images)[:, 4:4 + self.head.nc].transpose(1, 2))

    def images(self, picture: NDArray[np.uint8], letterbox: Letterbox) -> Tensor:
        """Return a picture (height, width, 3), blue first, as the network's input (1, C, H, W) in 0 to 1.

        Raises:
            HostError: the network reads neither 1 nor 3 channels.
        """
        if self.channels not in (1, 3):
            raise HostError(tr("The model reads {count} channels. A heat map can be drawn on pictures with 1 or 3.",
                               count=self.channels))
        grey = picture if self.channels == 3 else cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[..., None]
        pixels = letterbox.pixels(np.asarray(grey, np.uint8))
        ordered = np.ascontiguousarray(pixels[..., ::-1].transpose(2, 0, 1))
        return torch.from_numpy(ordered)[None].to(self._device).float() / 255

    @torch.no_grad()
    def candidates(self, images: Tensor, letterbox: Letterbox, *, conf: float = 0.25, iou: float = 0.7) -> Candidates:
        """Return the candidates of one picture.

        Args:
            images: (1, C, H, W) from `images`.
            letterbox: where the picture lies in it.
            conf: the confidence that a detection must exceed.
            iou: the IoU above which non-maximum suppression removes a box. An end-to-end model has no suppression.
        """
        output = self._predict(images)
        centres, scores, extra = output.split([4, self.head.nc, output.shape[1] - 4 - self.head.nc], 1)
        numbers = torch.arange(output.shape[2], device=output.device, dtype=output.dtype).view(1, 1, -1)
        # non-maximum suppression returns extra values unchanged: the number of the anchor point is one of them
        numbered = torch.cat([centres, scores, numbers, extra], 1)
        kept = non_max_suppression(numbered, conf, 1.0 if self.is_end2end else iou, nc=self.head.nc,
                                   rotated=self.is_rotated)[0]
        anchors = kept[:, 6].long()
        outlines = _outlines(centres[0].T, extra[0, -1] if self.is_rotated else None)  # (A, 4, 2)
        points = letterbox.to_picture(outlines.reshape(-1, 8).cpu().numpy()).reshape(-1, 4, 2)
        boxes = np.concatenate([points.min(1), points.max(1)], 1)
        return Candidates(boxes=boxes, logits=_logit(scores[0].T).cpu().numpy(), kept=tuple(anchors.tolist()),
                          outlines=points[anchors.cpu().numpy()], names=self.names,
                          strides=self.head.strides.flatten().cpu().numpy())

    def _predict(self, images: Tensor) -> Tensor:
        output = self.network(images)
        while not isinstance(output, Tensor):
            output = output[0]
        return output


def _logit(probability: Tensor) -> Tensor:
    # log(p) keeps all digits of a small p; a p that float32 rounds to 1 gets the largest finite logit
    tiny = torch.finfo(probability.dtype).tiny
    return probability.clamp_min(tiny).log() - torch.log1p(-probability.clamp_max(_MAX_PROBABILITY))


def _outlines(centres: Tensor, angles: Tensor | None) -> Tensor:
    """Return the corners (N, 4, 2) of boxes with centre x, y, width and height (N, 4), turned by angles in radians."""
    middle, half = centres[:, None, :2], centres[:, None, 2:] / 2
    signs = torch.tensor([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=centres.dtype, device=centres.device)
    offsets = half * signs
    if angles is not None:
        cosine, sine = angles.cos()[:, None], angles.sin()[:, None]
        x, y = offsets.unbind(-1)
        offsets = torch.stack([x * cosine - y * sine, x * sine + y * cosine], -1)
    return middle + offsets
