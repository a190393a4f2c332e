"""Box regression losses: functions of a predicted and a ground-truth box, as 1 - a similarity of the two boxes.

Every loss here is written as `loss = 1 - similarity`, because Ultralytics computes its box loss in this way (with CIoU as
the similarity). A similarity is not limited to [0, 1].

Symbols: a box is (x1, y1, x2, y2); (x, y) is its center, w and h its sides; `gt` marks the ground truth; W and H are the
sides of the smallest box that encloses both; rho is the distance of the two centers.

| name | similarity | paper |
|---|---|---|
| iou | IoU | |
| giou | IoU - (W H - union) / (W H) | Rezatofighi et al. 2019, arXiv:1902.09630, algorithm 1 |
| diou | IoU - rho^2 / (W^2 + H^2) | Zheng et al. 2020, arXiv:1911.08287, eq. 6 |
| ciou | diou - alpha v | the same, eq. 8 to 11 |
| eiou | diou - (w - w_gt)^2 / W^2 - (h - h_gt)^2 / H^2 | Zhang et al. 2021, arXiv:2101.08158, eq. 8 |
| siou | IoU - (distance + shape) / 2, with an angle in the distance | Gevorgyan 2022, arXiv:2205.12740, eq. 1 to 15 |
| wiou | 1 - r R (1 - IoU), with attention R and, in version 3, focus r | Tong et al. 2023, arXiv:2301.10051, eq. 7 and 11 |
| mpdiou | IoU - (d1^2 + d2^2) / (image w^2 + h^2), distances of two corners | Ma and Xu 2023, arXiv:2307.07662, eq. 5 |
| nwd | exp(-sqrt(Wasserstein distance^2) / constant) | Wang et al. 2021, arXiv:2110.13389, eq. 8 |
| inner-X | X + IoU of auxiliary boxes - IoU | Zhang et al. 2023, arXiv:2311.02877, eq. 12 to 18 |
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from yolograft.errors import SpecError, nearest
from yolograft.language import tr
from yolograft.spec import parse_value, split_outside

__all__ = ["BoxLoss", "names"]

_EPSILON = 1e-7  # as in Ultralytics' bbox_iou: added to sides and denominators
_INNER = "inner-"


@dataclass(frozen=True)
class _Geometry:
    """The quantities of two sets of boxes, (n, 1) each, in the unit of the boxes."""

    iou: Tensor
    union: Tensor
    enclosing_w: Tensor
    enclosing_h: Tensor
    w: Tensor
    h: Tensor
    gt_w: Tensor
    gt_h: Tensor
    dx: Tensor  # center of the ground truth minus center of the prediction
    dy: Tensor

    @property
    def diagonal(self) -> Tensor:
        """The squared diagonal of the enclosing box."""
        return self.enclosing_w**2 + self.enclosing_h**2 + _EPSILON

    @property
    def distance(self) -> Tensor:
        """The squared distance of the two centers."""
        return self.dx**2 + self.dy**2


def _measure(boxes: Tensor, truths: Tensor) -> _Geometry:
    x1, y1, x2, y2 = boxes.chunk(4, -1)
    gt_x1, gt_y1, gt_x2, gt_y2 = truths.chunk(4, -1)
    w, h = x2 - x1, y2 - y1 + _EPSILON
    gt_w, gt_h = gt_x2 - gt_x1, gt_y2 - gt_y1 + _EPSILON
    overlap = (x2.minimum(gt_x2) - x1.maximum(gt_x1)).clamp(0) * (y2.minimum(gt_y2) - y1.maximum(gt_y1)).clamp(0)
    union = w * h + gt_w * gt_h - overlap + _EPSILON
    return _Geometry(overlap / union, union, x2.maximum(gt_x2) - x1.minimum(gt_x1), y2.maximum(gt_y2) - y1.minimum(gt_y1),
                     w, h, gt_w, gt_h, (gt_x1 + gt_x2 - x1 - x2) / 2, (gt_y1 + gt_y2 - y1 - y2) / 2)


def _iou(g: _Geometry) -> Tensor:
    return g.iou


def _giou(g: _Geometry) -> Tensor:
    area = g.enclosing_w * g.enclosing_h + _EPSILON
    return g.iou - (area - g.union) / area


def _diou(g: _Geometry) -> Tensor:
    return g.iou - g.distance / g.diagonal


def _ciou(g: _Geometry) -> Tensor:
    v = 4 / math.pi**2 * ((g.gt_w / g.gt_h).atan() - (g.w / g.h).atan()) ** 2
    with torch.no_grad():
        alpha = v / (v - g.iou + (1 + _EPSILON))
    return _diou(g) - v * alpha


def _eiou(g: _Geometry) -> Tensor:
    return _diou(g) - (g.w - g.gt_w) ** 2 / (g.enclosing_w**2 + _EPSILON) \
        - (g.h - g.gt_h) ** 2 / (g.enclosing_h**2 + _EPSILON)


def _siou(g: _Geometry, theta: float) -> Tensor:
    # The angle cost 1 - 2 sin^2(arcsin(x) - pi/4) equals sin(2 arcsin(x)) = 2 x sqrt(1 - x^2): with x = |dy| / sigma this is
    # 2 |dx| |dy| / sigma^2, which has a finite gradient at x = 0 and x = 1, where arcsin has none.
    angle = 2 * g.dx.abs() * g.dy.abs() / (g.distance + _EPSILON)
    gamma = 2 - angle
    distance = 2 - (-gamma * (g.dx / (g.enclosing_w + _EPSILON)) ** 2).exp() \
        - (-gamma * (g.dy / (g.enclosing_h + _EPSILON)) ** 2).exp()
    shape = (1 - (-(g.w - g.gt_w).abs() / (g.w.maximum(g.gt_w) + _EPSILON)).exp()) ** theta \
        + (1 - (-(g.h - g.gt_h).abs() / g.h.maximum(g.gt_h)).exp()) ** theta
    return g.iou - (distance + shape) / 2


def _nwd(g: _Geometry, constant: float, stride: Tensor | float) -> Tensor:
    squared = (g.distance + ((g.w - g.gt_w) ** 2 + (g.h - g.gt_h) ** 2) / 4) * torch.as_tensor(stride) ** 2
    return (-(squared + _EPSILON).sqrt() / constant).exp()


def _inner_iou(boxes: Tensor, truths: Tensor, ratio: float) -> Tensor:
    def scaled(one: Tensor) -> Tensor:
        center, half = (one[..., :2] + one[..., 2:]) / 2, (one[..., 2:] - one[..., :2]) / 2 * ratio
        return torch.cat((center - half, center + half), -1)

    return _measure(scaled(boxes), scaled(truths)).iou


_PLAIN: dict[str, Callable[[_Geometry], Tensor]] = {"iou": _iou, "giou": _giou, "diou": _diou, "ciou": _ciou, "eiou": _eiou}
# name -> its settings with their defaults. The papers give: theta = 4 (SIoU), alpha = 1.9 and delta = 3 (WIoU v3), the mean
# size of objects in pixels, 12.8 for AI-TOD (NWD), 0.7 to 1.3 (Inner-IoU). `momentum` belongs to WIoU v3's running mean.
_SETTINGS: dict[str, dict[str, float]] = {
    **{name: {} for name in _PLAIN},
    "siou": {"theta": 4.0},
    "wiou": {"version": 3, "alpha": 1.9, "delta": 3.0, "momentum": 0.01},
    "mpdiou": {},
    "nwd": {"constant": 12.8},
    **{f"{_INNER}{name}": {"ratio": 0.75} for name in _PLAIN},
    f"{_INNER}siou": {"ratio": 0.75, "theta": 4.0},
    f"{_INNER}mpdiou": {"ratio": 0.75},
}


def names() -> tuple[str, ...]:
    """Return the names of all box losses."""
    return tuple(_SETTINGS)


@dataclass
class BoxLoss:
    """A box loss with its settings and, for WIoU version 3, its state.

    Attributes:
        name: one of `names()`.
        settings: the value of every setting.
        mean: the running mean of 1 - IoU (WIoU version 3); 1 before the first batch.
        is_held: whether training batches leave the mean as it is.
    """

    name: str
    settings: dict[str, float] = field(default_factory=dict)
    mean: float = 1.0
    is_held: bool = False

    @classmethod
    def parse(cls, text: str) -> BoxLoss:
        """Parse `NAME` or `NAME(key=value, ...)`, such as `wiou(version=1)`.

        Raises:
            SpecError: no loss has this name, or it does not have the setting or does not take the value.
        """
        name, bracket, inside = text.strip().lower().partition("(")
        name = name.strip()
        if name not in _SETTINGS:
            raise SpecError(tr("No box loss is named '{name}'.{suggestion} iou= takes one of {names}, or a number: the IoU "
                               "threshold of NMS.", name=name, suggestion=nearest(name, _SETTINGS),
                               names=", ".join(_SETTINGS)))
        if bracket and not inside.rstrip().endswith(")"):
            raise SpecError(tr("'{text}' has no closing bracket. Expected NAME(key=value, ...).", text=text))
        settings = dict(_SETTINGS[name])
        for item in filter(None, map(str.strip, split_outside(inside.rstrip()[:-1], ",") if bracket else [])):
            key, _, value = (word.strip() for word in item.partition("="))
            if key not in settings:
                listed = ", ".join(f"{key}={_shown(value)}" for key, value in settings.items()) or "-"
                raise SpecError(tr("The box loss '{name}' has no setting '{key}'. Its settings: {settings}.", name=name,
                                   key=key, settings=listed))
            settings[key] = _check(name, key, parse_value(value))
        return cls(name, settings)

    def __str__(self) -> str:
        """Return the canonical text, with every setting."""
        inside = ", ".join(f"{key}={_shown(value)}" for key, value in sorted(self.settings.items()))
        return f"{self.name}({inside})" if inside else self.name

    @contextmanager
    def held(self) -> Iterator[None]:
        """Inside a `with` block, keep the running mean: a batch is computed a second time, or only to measure its time."""
        before, self.is_held = self.is_held, True
        try:
            yield
        finally:
            self.is_held = before

    def similarity(self, boxes: Tensor, truths: Tensor, stride: Tensor | float = 1.0,
                   image: tuple[float, float] | None = None, counted: Tensor | None = None) -> Tensor:
        """Return 1 - loss for each pair of boxes, (n, 1).

        Args:
            boxes: (n, 4), the predictions as x1, y1, x2, y2.
            truths: (n, 4), the ground truth.
            stride: pixels per unit of the boxes; one number, or (n, 1). Used by NWD and MPDIoU.
            image: height and width of the image in pixels. Required by MPDIoU.
            counted: (n,) of bool, the pairs that count in WIoU's running mean; None means all.
        """
        base = self.name.removeprefix(_INNER)
        geometry = _measure(boxes, truths)
        if base in _PLAIN:
            result = _PLAIN[base](geometry)
        elif base == "siou":
            result = _siou(geometry, self.settings["theta"])
        elif base == "wiou":
            result = self._wiou(geometry, counted)
        elif base == "nwd":
            result = _nwd(geometry, self.settings["constant"], stride)
        else:
            assert image is not None, "MPDIoU needs the size of the image"
            corners = ((boxes - truths) ** 2).sum(-1, keepdim=True)
            result = geometry.iou - corners * torch.as_tensor(stride) ** 2 / (image[0] ** 2 + image[1] ** 2)
        if base != self.name:
            result = result + _inner_iou(boxes, truths, self.settings["ratio"]) - geometry.iou
        return result

    def _wiou(self, g: _Geometry, counted: Tensor | None) -> Tensor:
        attention = (g.distance / g.diagonal.detach()).exp()  # the paper detaches the enclosing box: eq. 7
        loss = attention * (1 - g.iou)
        if self.settings["version"] == 1:
            return 1 - loss
        with torch.no_grad():
            distance = 1 - g.iou
            # validation computes the loss too, without gradients, and must not change the mean
            if g.iou.requires_grad and not self.is_held:
                now = float((distance if counted is None else distance[counted]).mean())
                if math.isfinite(now):  # NaN without boxes, or after a NaN in the network
                    self.mean += self.settings["momentum"] * (now - self.mean)
            beta = distance / self.mean
            focus = beta / (self.settings["delta"] * self.settings["alpha"] ** (beta - self.settings["delta"]))
        return 1 - focus * loss


def _shown(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(value)


def _check(name: str, key: str, value: object) -> float:
    allowed = {"version": tr("1 or 3"), "momentum": tr("a number from 0 to 1")}.get(key, tr("a positive number"))
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    fits = is_number and {"version": value in (1, 3), "momentum": is_number and 0 <= value <= 1}.get(  # type: ignore[operator]
        key, is_number and value > 0)  # type: ignore[operator]
    if not fits:
        raise SpecError(tr("{key}={value} of the box loss '{name}': expected {allowed}.", key=key, value=value, name=name,
                           allowed=allowed))
    return float(value)  # type: ignore[arg-type]
