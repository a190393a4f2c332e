"""Box losses: values and gradients equal the papers' equations, computed in float64 with NumPy and finite differences."""

import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from yolograft.box_loss import BoxLoss, names
from yolograft.errors import SpecError

IMAGE = (160.0, 224.0)  # height and width of the image in pixels
STRIDE = 8.0


def iou(p: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    """Return IoU and the area of the union."""
    w = max(0.0, min(p[2], t[2]) - max(p[0], t[0]))
    h = max(0.0, min(p[3], t[3]) - max(p[1], t[1]))
    union = (p[2] - p[0]) * (p[3] - p[1]) + (t[2] - t[0]) * (t[3] - t[1]) - w * h
    return w * h / union, union


def enclosing(p: np.ndarray, t: np.ndarray) -> tuple[float, float]:
    return max(p[2], t[2]) - min(p[0], t[0]), max(p[3], t[3]) - min(p[1], t[1])


def sides(b: np.ndarray) -> tuple[float, float]:
    return b[2] - b[0], b[3] - b[1]


def center(b: np.ndarray) -> np.ndarray:
    return np.array([(b[0] + b[2]) / 2, (b[1] + b[3]) / 2])


def rho2(p: np.ndarray, t: np.ndarray) -> float:
    return float(((center(p) - center(t)) ** 2).sum())


Reference = Callable[[np.ndarray, np.ndarray, np.ndarray], float]  # of (moving box, truth, box of the detached terms)


def ref_iou(p: np.ndarray, t: np.ndarray, _: np.ndarray) -> float:
    return iou(p, t)[0]


def ref_giou(p: np.ndarray, t: np.ndarray, _: np.ndarray) -> float:
    value, union = iou(p, t)
    w, h = enclosing(p, t)
    return value - (w * h - union) / (w * h)


def ref_diou(p: np.ndarray, t: np.ndarray, _: np.ndarray) -> float:
    w, h = enclosing(p, t)
    return iou(p, t)[0] - rho2(p, t) / (w * w + h * h)


def aspect(p: np.ndarray, t: np.ndarray) -> float:
    (w, h), (gw, gh) = sides(p), sides(t)
    return float(4 / math.pi**2 * (math.atan(gw / gh) - math.atan(w / h)) ** 2)


def ref_ciou(p: np.ndarray, t: np.ndarray, frozen: np.ndarray) -> float:
    alpha = aspect(frozen, t) / (1 - iou(frozen, t)[0] + aspect(frozen, t))
    return ref_diou(p, t, frozen) - alpha * aspect(p, t)


def ref_eiou(p: np.ndarray, t: np.ndarray, frozen: np.ndarray) -> float:
    (w, h), (gw, gh), (cw, ch) = sides(p), sides(t), enclosing(p, t)
    return ref_diou(p, t, frozen) - (w - gw) ** 2 / cw**2 - (h - gh) ** 2 / ch**2


def ref_siou(p: np.ndarray, t: np.ndarray, _: np.ndarray) -> float:
    (w, h), (gw, gh), (cw, ch) = sides(p), sides(t), enclosing(p, t)
    dx, dy = center(t) - center(p)
    sigma = math.hypot(dx, dy)
    angle = 1 - 2 * math.sin(math.asin(abs(dy) / sigma) - math.pi / 4) ** 2
    gamma = 2 - angle
    distance = sum(1 - math.exp(-gamma * part) for part in ((dx / cw) ** 2, (dy / ch) ** 2))
    omega = (abs(w - gw) / max(w, gw), abs(h - gh) / max(h, gh))
    shape = sum((1 - math.exp(-part)) ** 4 for part in omega)
    return iou(p, t)[0] - (distance + shape) / 2


def ref_wiou1(p: np.ndarray, t: np.ndarray, frozen: np.ndarray) -> float:
    w, h = enclosing(frozen, t)
    return 1 - math.exp(rho2(p, t) / (w * w + h * h)) * (1 - iou(p, t)[0])


def ref_wiou3(mean: float) -> Reference:
    def value(p: np.ndarray, t: np.ndarray, frozen: np.ndarray) -> float:
        beta = (1 - iou(frozen, t)[0]) / mean
        r = beta / (3 * 1.9 ** (beta - 3))
        return 1 - r * (1 - ref_wiou1(p, t, frozen))

    return value


def ref_mpdiou(p: np.ndarray, t: np.ndarray, _: np.ndarray) -> float:
    squared = ((p - t) ** 2).sum() * STRIDE**2
    return float(iou(p, t)[0] - squared / (IMAGE[0] ** 2 + IMAGE[1] ** 2))


def ref_nwd(p: np.ndarray, t: np.ndarray, _: np.ndarray) -> float:
    def gauss(b: np.ndarray) -> np.ndarray:
        return np.array([*center(b), sides(b)[0] / 2, sides(b)[1] / 2]) * STRIDE

    return math.exp(-math.sqrt(((gauss(p) - gauss(t)) ** 2).sum()) / 12.8)


def inner(plain: Reference, ratio: float) -> Reference:
    def scaled(b: np.ndarray) -> np.ndarray:
        half = np.array(sides(b)) * ratio / 2
        return np.array([*(center(b) - half), *(center(b) + half)])

    def value(p: np.ndarray, t: np.ndarray, frozen: np.ndarray) -> float:
        return plain(p, t, frozen) + iou(scaled(p), scaled(t))[0] - iou(p, t)[0]

    return value


PLAIN: dict[str, Reference] = {"iou": ref_iou, "giou": ref_giou, "diou": ref_diou, "ciou": ref_ciou, "eiou": ref_eiou,
                               "siou": ref_siou, "mpdiou": ref_mpdiou}
REFERENCES: dict[str, Reference] = {
    **PLAIN, "nwd": ref_nwd, "wiou(version=1)": ref_wiou1, "wiou(momentum=0)": ref_wiou3(1.0),
    **{f"inner-{name}(ratio=0.7)": inner(plain, 0.7) for name, plain in PLAIN.items()},
    "inner-ciou(ratio=1.2)": inner(ref_ciou, 1.2),
}


def pairs(count: int = 60) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions and truths, (n, 4), most of them overlapping, in units of the stride."""
    random = np.random.default_rng(7)
    corner, size = random.uniform(1, 8, (count, 2)), random.uniform(1, 9, (count, 2))
    truths = np.concatenate((corner, corner + size), 1)
    predictions = truths + random.normal(0, 0.8, (count, 4))
    low, high = np.minimum(predictions[:, :2], predictions[:, 2:]), np.maximum(predictions[:, :2], predictions[:, 2:])
    return np.concatenate((low, high + 0.2), 1), truths


def test_every_loss_has_a_reference() -> None:
    assert {text.partition("(")[0] for text in REFERENCES} == set(names())


@pytest.mark.parametrize("text", REFERENCES)
def test_values_equal_the_papers_equations(text: str) -> None:
    predictions, truths = pairs()
    loss = BoxLoss.parse(text)
    ours = loss.similarity(torch.tensor(predictions), torch.tensor(truths), STRIDE, IMAGE)[:, 0].numpy()
    expected = [REFERENCES[text](p, t, p) for p, t in zip(predictions, truths, strict=True)]
    np.testing.assert_allclose(ours, expected, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("text", REFERENCES)
def test_gradients_equal_the_papers_equations(text: str) -> None:
    predictions, truths = pairs(25)
    moving = torch.tensor(predictions, requires_grad=True)
    BoxLoss.parse(text).similarity(moving, torch.tensor(truths), STRIDE, IMAGE).sum().backward()
    assert moving.grad is not None
    step = 1e-5
    for row, (p, t) in enumerate(zip(predictions, truths, strict=True)):
        for at in range(4):
            shift = np.eye(4)[at] * step
            slope = (REFERENCES[text](p + shift, t, p) - REFERENCES[text](p - shift, t, p)) / (2 * step)
            assert float(moving.grad[row, at]) == pytest.approx(slope, rel=2e-4, abs=2e-5), f"pair {row}, coordinate {at}"


@pytest.mark.parametrize("text", REFERENCES)
def test_equal_boxes_have_no_loss_and_finite_gradients(text: str) -> None:
    boxes = torch.tensor([[1.0, 2.0, 4.0, 7.0], [0.0, 0.0, 1e-3, 1e-3]])
    moving = boxes.clone().requires_grad_()
    similarity = BoxLoss.parse(text).similarity(moving, boxes, STRIDE, IMAGE)
    assert float(similarity[0].detach()) == pytest.approx(1, abs=1e-3)
    similarity.sum().backward()
    assert moving.grad is not None
    assert torch.isfinite(moving.grad).all()


@pytest.mark.parametrize("text", REFERENCES)
def test_boxes_far_apart_have_finite_values_and_gradients(text: str) -> None:
    moving = torch.tensor([[0.0, 0.0, 1.0, 1.0], [5.0, 5.0, 5.0, 5.0]], requires_grad=True)
    truths = torch.tensor([[50.0, 0.0, 51.0, 1.0], [5.0, 9.0, 6.0, 12.0]])
    similarity = BoxLoss.parse(text).similarity(moving, truths, STRIDE, IMAGE)
    similarity.sum().backward()
    assert moving.grad is not None
    assert torch.isfinite(similarity).all()
    assert torch.isfinite(moving.grad).all()


def test_the_running_mean_follows_the_training_batches_only() -> None:
    predictions, truths = (torch.tensor(one) for one in pairs())
    loss = BoxLoss.parse("wiou(momentum=0.5)")
    with torch.no_grad():
        loss.similarity(predictions, truths)
    assert loss.mean == 1.0
    expected = float((1 - BoxLoss.parse("iou").similarity(predictions, truths)).mean())
    loss.similarity(predictions.requires_grad_(), truths)
    assert loss.mean == pytest.approx((1 + expected) / 2)


def test_ciou_equals_ultralytics() -> None:
    from ultralytics.utils.metrics import bbox_iou

    predictions, truths = (torch.tensor(one, dtype=torch.float32) for one in pairs())
    ours = BoxLoss.parse("ciou").similarity(predictions, truths)
    torch.testing.assert_close(ours, bbox_iou(predictions, truths, xywh=False, CIoU=True))


@pytest.mark.parametrize("text", ["wiou(version=1, alpha=2)", "NWD(constant=9)", "inner-ciou(ratio=1.1)", "giou"])
def test_the_text_parses_back(text: str) -> None:
    loss = BoxLoss.parse(text)
    assert BoxLoss.parse(str(loss)) == loss


@pytest.mark.parametrize(("text", "part"), [
    ("ciuo", "Did you mean 'ciou'"), ("inner-wiou", "threshold of NMS"), ("nwd(c=1)", "constant=12.8"),
    ("nwd(constant=1", "bracket"),
    ("wiou(version=2)", "1 or 3"), ("wiou(momentum=2)", "0 to 1"), ("nwd(constant=0)", "positive"),
    ("nwd(constant=True)", "positive"), ("nwd(constant=nan)", "positive"), ("nwd(constant=)", "value"),
])
def test_a_wrong_text_says_what_is_expected(text: str, part: str) -> None:
    with pytest.raises(SpecError, match=part.replace("(", r"\(")):
        BoxLoss.parse(text)


@pytest.mark.parametrize("page", ["box-loss.md", "box-loss.zh-CN.md"])
def test_the_pages_list_every_loss_and_its_default_settings(page: str) -> None:
    text = (Path(__file__).resolve().parents[1] / "docs" / page).read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| `")]
    for name in names():
        (row,) = (line for line in rows if f"`{name}`" in line.split("|")[1])
        for setting in filter(None, str(BoxLoss.parse(name)).partition("(")[2].rstrip(")").split(", ")):
            assert f"`{setting}`" in row or name == "inner-siou", f"{page}: {name} lacks {setting}"
    assert all(BoxLoss.parse(text) for text in re.findall(r'iou="?([a-z-]+(?:\([^)]*\))?)', text))
