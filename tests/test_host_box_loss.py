"""The box loss in Ultralytics' own loss: each similarity gets the boxes, strides and image size that belong together."""

from typing import Any

import pytest
import torch
from ultralytics.nn.tasks import DetectionModel, PoseModel, SegmentationModel
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace
from ultralytics.utils import loss as ultralytics_loss

from yolograft.box_loss import BoxLoss
from yolograft.errors import HostError
from yolograft.host.box_loss import check_task, patch_box_loss

SIZE = (96, 128)  # height and width
MODELS = {"yolo11n.yaml": DetectionModel, "yolov10n.yaml": DetectionModel, "yolo11n-seg.yaml": SegmentationModel,
          "yolo11n-pose.yaml": PoseModel}


@pytest.fixture(autouse=True)
def _threads(one_thread: None) -> None:
    """Use one thread."""


def model_of(name: str) -> Any:
    torch.manual_seed(0)
    model = MODELS[name](name, nc=3 if "pose" not in name else 1, verbose=False)
    model.args = IterableSimpleNamespace(**DEFAULT_CFG_DICT)
    return model.train()


def batch_of(model: Any) -> dict[str, torch.Tensor]:
    torch.manual_seed(1)
    boxes = torch.tensor([[0.3, 0.4, 0.3, 0.4], [0.6, 0.5, 0.5, 0.6], [0.5, 0.5, 0.2, 0.9]])
    masks = torch.zeros(2, SIZE[0] // 4, SIZE[1] // 4)
    masks[:, 4:18, 4:25] = 1
    return {"img": torch.rand(2, 3, *SIZE), "batch_idx": torch.tensor([0.0, 0.0, 1.0]), "cls": torch.zeros(3, 1),
            "bboxes": boxes, "masks": masks, "keypoints": torch.rand(3, *getattr(model.model[-1], "kpt_shape", (1, 3)))}


def box_loss(model: Any, text: str | None) -> torch.Tensor:
    """Return the sum of all losses of one batch with this box loss; None is Ultralytics' own."""
    loss = BoxLoss.parse(text) if text else None
    with patch_box_loss(lambda: loss, lambda: tuple(map(float, model.stride))):
        model.criterion = None
        batch = batch_of(model)
        total, _ = model.loss(batch)
    return total.sum()


@pytest.mark.parametrize("name", MODELS)
def test_ciou_equals_ultralytics_own_loss_and_others_do_not(name: str) -> None:
    model = model_of(name)
    stock = box_loss(model, None)
    torch.testing.assert_close(box_loss(model, "ciou"), stock)
    for other in ("giou", "wiou", "nwd", "mpdiou", "inner-siou"):
        value = box_loss(model, other)
        assert torch.isfinite(value)
        assert not torch.allclose(value, stock), other
        value.backward()


def test_boxes_strides_and_image_size_belong_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """In pixels, the centers of the predicted boxes near their anchors are inside the image, and truths are the batch's."""
    model = model_of("yolo11n.yaml")
    seen = []
    original = BoxLoss.similarity

    def similarity(self: BoxLoss, boxes: torch.Tensor, truths: torch.Tensor, stride: Any, image: Any) -> torch.Tensor:
        seen.append((truths * stride, image))
        return original(self, boxes, truths, stride, image)

    monkeypatch.setattr(BoxLoss, "similarity", similarity)
    box_loss(model, "mpdiou")
    [(truths, image)] = seen
    assert image == (float(SIZE[0]), float(SIZE[1]))
    height, width = SIZE
    batch = batch_of(model)["bboxes"] * torch.tensor([width, height, width, height])
    expected = torch.cat((batch[:, :2] - batch[:, 2:] / 2, batch[:, :2] + batch[:, 2:] / 2), 1)
    nearest = torch.cdist(truths, expected).min(1).values
    assert len(truths)
    assert float(nearest.max()) < 1e-2, "a truth times its stride is no box of the batch in pixels"
    assert len({tuple(row.tolist()) for row in truths.round()}) > 1


def test_nothing_is_replaced_afterwards() -> None:
    stock = ultralytics_loss.BboxLoss, ultralytics_loss.bbox_iou
    box_loss(model_of("yolo11n.yaml"), "giou")
    assert (ultralytics_loss.BboxLoss, ultralytics_loss.bbox_iou) == stock


@pytest.mark.parametrize(("task", "is_rtdetr"), [("obb", False), ("classify", False), ("detect", True)])
def test_other_tasks_are_refused(task: str, is_rtdetr: bool) -> None:
    with pytest.raises(HostError, match="detect, segment, pose"):
        check_task(BoxLoss.parse("giou"), task, is_rtdetr)
