"""Candidate boxes before NMS: Ultralytics' own detections for every kind of head, and nothing of the model changes."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
import ultralytics
from torch import nn
from ultralytics.data.augment import LetterBox

from yolograft import YOLO
from yolograft.analysis.candidates import Detector, Letterbox
from yolograft.errors import HostError

HEADS = ("yolo11n", "yolo11n-seg", "yolo11n-pose", "yolo11n-obb", "yolov8n", "yolov10n", "yolov5n", "yolov9t", "yolo26n",
         "yolo26n-obb")
# Where the `predict` of 8.3.0 cannot be compared, and why.
OTHER_PREDICT = {
    "yolo11n-pose": "8.3.0 cannot predict with a pose model that was never trained (no kpt_shape)",
    "yolo11n-obb": "8.3.0 cuts rotated boxes at the picture's edge as if they were upright",
    "yolov10n": "8.3.0 keeps other boxes of an end-to-end head; only the best is the same",
}


def opened(name: str, graft: str = "none") -> Any:
    """Build a model with random weights whose batch norms are settled, so that its boxes differ."""
    torch.manual_seed(0)
    try:
        model = YOLO(f"{name}.yaml", graft=graft)
    except HostError:
        pytest.skip(f"the installed Ultralytics has no {name}.yaml")
    settle(model.model)
    return model


def settle(network: Any) -> None:
    network.train()
    with torch.no_grad():
        for _ in range(2):
            network(torch.rand(2, 3, 64, 64))
        for name in ("cv3", "one2one_cv3"):  # larger logits, so that confidences differ
            for one in getattr(network.model[-1], name, None) or ():
                one[-1].weight.mul_(3)
                one[-1].bias.normal_(-3)
    network.eval()


@pytest.mark.parametrize(("shape", "imgsz"), [((200, 200), 160), ((50, 91), 64), ((480, 641), 320), ((37, 37), 64),
                                              ((64, 64), 64), ((9, 300), 96)])
def test_the_letterbox_is_that_of_predict(shape: tuple[int, int], imgsz: int) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    ours = Letterbox.of(shape, imgsz)
    theirs = LetterBox((imgsz, imgsz), auto=True, stride=32)(image=picture)
    assert ours.input_shape == theirs.shape[:2]
    np.testing.assert_array_equal(ours.pixels(picture), theirs)


def test_boxes_return_to_the_pixels_of_the_picture() -> None:
    box = Letterbox.of((50, 100), 64)
    assert (box.size, box.left, box.top) == ((32, 64), 0, 0)
    np.testing.assert_allclose(box.to_picture(np.array([[0, 0, 64, 32]], np.float32)), [[0, 0, 100, 50]])
    padded = Letterbox.of((64, 40), 64)
    assert padded.left == 12
    np.testing.assert_allclose(padded.to_picture(np.array([[12, 0, 52, 64]], np.float32)), [[0, 0, 40, 64]])


@pytest.mark.parametrize("name", HEADS)
def test_detections_are_those_of_predict(name: str, one_thread: None) -> None:
    if ultralytics.__version__ == "8.3.0" and name in OTHER_PREDICT:
        pytest.skip(OTHER_PREDICT[name])
    model = opened(name)
    picture = np.random.default_rng(1).integers(0, 256, (64, 80, 3), dtype=np.uint8)
    letterbox = Letterbox.of(picture.shape, 64)
    detector = Detector(model)
    found = detector.candidates(detector.images(picture, letterbox), letterbox, conf=0.001)
    stock = model.predict(picture, imgsz=64, conf=0.001, iou=0.7, verbose=False, max_det=300)[0]
    boxes = stock.obb if stock.boxes is None else stock.boxes
    assert len(boxes) > 1
    # predict fuses, so the last digits differ, and it drops boxes with an empty mask
    kinds = {(one.kind, round(one.confidence, 3)) for one in found.detections()}
    theirs = {(int(kind), round(float(conf), 3)) for kind, conf in zip(boxes.cls[:20], boxes.conf[:20], strict=True)}
    assert len(kinds & theirs) >= 0.8 * len(theirs)
    number = min(range(len(found.kept)), key=lambda at: abs(found.detections()[at].confidence - float(boxes.conf[0])))
    best = found.detections()[number]
    assert best.confidence == pytest.approx(float(boxes.conf[0]), abs=2e-4)
    assert best.logit == pytest.approx(float(torch.logit(boxes.conf[0])), abs=2e-3)
    expected = boxes.xyxy[0] if stock.obb is None else None
    if expected is not None:
        width, height = picture.shape[1], picture.shape[0]
        clipped = np.clip(best.box, 0, [width, height, width, height])  # predict cuts boxes at the picture's edge
        np.testing.assert_allclose(clipped, expected.cpu().numpy(), atol=0.05)
    else:
        np.testing.assert_allclose(sorted(map(tuple, found.outlines[number].round(1))),
                                   sorted(map(tuple, boxes.xyxyxyxy[0].cpu().numpy().round(1))), atol=0.3)


@pytest.mark.parametrize("name", ["yolo11n", "yolov10n"])
def test_the_model_does_not_change(name: str) -> None:
    model = opened(name, "se@8")
    network = model.model
    before = copy.deepcopy(network.state_dict())
    needs = [one.requires_grad for one in network.parameters()]
    first = next(network.parameters())
    first.grad = torch.ones_like(first)
    images = torch.rand(1, 3, 64, 64)
    expected = network(images)[0]
    detector = Detector(model)
    logits = detector(images.requires_grad_())
    logits[0, 0, 0].backward()
    assert (first.grad == 1).all()
    assert needs == [one.requires_grad for one in network.parameters()]
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    torch.testing.assert_close(network(images.detach())[0], expected.detach())
    assert not any(one.requires_grad for one in detector.parameters())
    shared = {one.data_ptr() for one in network.parameters()}
    assert {one.data_ptr() for one in detector.parameters()} <= shared


def test_gradients_reach_the_images_of_an_end_to_end_head() -> None:
    """8.3.0 detaches the maps of its one-to-one head."""
    detector = Detector(opened("yolov10n"))
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    detector(images)[0].max().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


def test_it_works_after_predict_which_caches_in_inference_mode() -> None:
    model = opened("yolo11n")
    model.predict(np.zeros((64, 64, 3), np.uint8), imgsz=64, verbose=False)
    images = torch.rand(1, 3, 64, 64, requires_grad=True)
    Detector(model)(images)[0].max().backward()
    assert images.grad is not None


def test_the_closest_candidate_is_that_of_the_task_aligned_measure() -> None:
    detector = Detector(opened("yolo11n"))
    letterbox = Letterbox.of((64, 64), 64)
    found = detector.candidates(torch.rand(1, 3, 64, 64), letterbox, conf=0.001)
    for one in found.detections()[:5]:
        assert found.closest(one.box, one.kind) is not None
        best = found.closest(one.box, one.kind)
        assert best is not None
        assert (best.anchor, best.kind) == (one.anchor, one.kind)
    assert found.closest((1000, 1000, 1010, 1010)) is None


@pytest.mark.parametrize("name", ["yolo11n-cls", "rtdetr-l"])
def test_models_without_anchor_points_are_refused(name: str) -> None:
    head = nn.Sequential(nn.Conv2d(3, 3, 1))
    with pytest.raises(HostError, match="needs a model that predicts boxes at anchor points"):
        Detector(head)
    if name.endswith("cls"):
        with pytest.raises(HostError, match="This one ends with Classify"):
            Detector(YOLO(f"{name}.yaml"))


def test_a_logit_is_finite_where_the_probability_rounds_to_0_or_1() -> None:
    from yolograft.analysis.candidates import _logit

    found = _logit(torch.tensor([0.0, 1e-30, 0.5, 1.0]))
    assert torch.isfinite(found).all()
    assert found[2] == 0
    assert found[1] == pytest.approx(np.log(1e-30), rel=1e-5)
