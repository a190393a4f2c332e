"""The box loss in Ultralytics' own loss and in its trainings: `iou=NAME`.

Each similarity gets the boxes, strides and image size that belong together. A training uses the loss in the network and in
its average, stores it in checkpoints that stock Ultralytics opens, and resumes with it.
"""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.tasks import DetectionModel, PoseModel, SegmentationModel
from ultralytics.utils import DEFAULT_CFG_DICT, IterableSimpleNamespace
from ultralytics.utils import loss as ultralytics_loss

from yolograft import YOLO, GraftError
from yolograft.box_loss import BoxLoss
from yolograft.errors import HostError
from yolograft.host import box_loss as host_box_loss
from yolograft.host import commands
from yolograft.host.box_loss import check_task, patch_box_loss
from yolograft.host.pickled import class_names
from yolograft.host.trainer import grafted_trainer

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "nbs": 4, "workers": 0, "plots": False, "verbose": False, "mosaic": 0.0, "speed": "stock"}

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

    def similarity(self: BoxLoss, boxes: torch.Tensor, truths: torch.Tensor, stride: Any, image: Any,
                   counted: Any) -> torch.Tensor:
        seen.append((truths * stride, image))
        return original(self, boxes, truths, stride, image, counted)

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


class StoppedError(Exception):
    """Ends a training, as an interruption does."""


def trained(folder: Path, data: Path, *, stop_at: int | None = None, **settings: Any) -> Any:
    """Train in a folder, up to the checkpoint of an epoch if `stop_at` is its number from 0. Return the trainer."""
    def stop(trainer: Any) -> None:
        if trainer.epoch == stop_at:
            raise StoppedError

    model = YOLO("yolo11n.yaml")
    model.add_callback("on_model_save", stop)
    try:
        model.train(data=str(data), project=str(folder.parent), name=folder.name, **{"epochs": 2, **FAST, **settings})
    except StoppedError:
        assert stop_at is not None
    return model.trainer


def stored(file: Path) -> Any:
    return torch.load(file, map_location="cpu", weights_only=False)


@pytest.fixture(scope="module")
def interrupted(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("runs") / "wiou"
    return folder, trained(folder, tiny_set, stop_at=0, iou="WIoU(momentum=0.2)")


def test_network_and_average_have_the_same_loss_and_the_threshold_stays_a_number(interrupted: tuple[Path, Any]) -> None:
    folder, trainer = interrupted
    assert trainer.args.iou == DEFAULT_CFG_DICT["iou"]
    found = [model.criterion.bbox_loss for model in (trainer.model, trainer.ema.ema)]
    assert [type(one) for one in found] == [host_box_loss.BboxLoss] * 2
    assert found[0].loss is found[1].loss is trainer.box_loss
    assert 0 < trainer.box_loss.mean < 1
    assert "momentum=0.2" in (folder / "graft.yaml").read_text()
    assert ultralytics_loss.BboxLoss is not host_box_loss.BboxLoss


def test_a_checkpoint_has_the_loss_and_opens_without_yolograft(interrupted: tuple[Path, Any], tiny_set: Path) -> None:
    folder, trainer = interrupted
    last = folder / "weights" / "last.pt"
    arguments = stored(last)["train_args"]
    assert BoxLoss.parse(arguments["box_loss"]).settings["momentum"] == 0.2
    assert arguments["box_loss_mean"] == trainer.box_loss.mean
    assert "box_loss" not in vars(trainer.args)
    assert not [name for module, name in class_names(last) if module.startswith("yolograft")]
    code = (f"import sys; sys.modules['yolograft'] = None\nfrom ultralytics import YOLO\n"
            f"YOLO({str(last)!r}).val(data={str(tiny_set)!r}, imgsz=32, workers=0, plots=False, verbose=False)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=folder)
    assert done.returncode == 0, done.stderr


def test_a_training_resumes_with_its_loss(interrupted: tuple[Path, Any]) -> None:
    folder, before = interrupted
    last = folder / "weights" / "last.pt"
    mean = stored(last)["train_args"]["box_loss_mean"]
    with pytest.raises(HostError, match=r"own box loss, iou=wiou.*, not iou=siou"):
        YOLO(last).train(resume=True, iou="siou")
    model, seen = YOLO(last), []
    model.add_callback("on_train_epoch_start", lambda trainer: seen.append(trainer.box_loss.mean))
    model.train(resume=True)
    assert seen == [mean]
    assert str(model.trainer.box_loss) == str(before.box_loss)
    assert type(model.trainer.model.criterion.bbox_loss) is host_box_loss.BboxLoss
    assert model.trainer.box_loss.mean != mean
    finished = stored(folder / "weights" / "best.pt")
    assert finished["model"].args["box_loss"] == str(before.box_loss), "the finished checkpoint says how it was trained"
    assert len((folder / "results.csv").read_text().splitlines()) == 3
    assert YOLO(folder / "weights" / "best.pt").val(imgsz=32, iou=0.5, workers=0, plots=False, verbose=False)


def test_ciou_is_ultralytics_own_loss(tiny_set: Path, tmp_path: Path) -> None:
    def weights(name: str, **settings: Any) -> dict[str, torch.Tensor]:
        trainer = trained(tmp_path / name, tiny_set, **settings)
        found = trainer.model.criterion
        assert type(getattr(found, "one2many", found).bbox_loss) is ultralytics_loss.BboxLoss
        state: dict[str, torch.Tensor] = stored(tmp_path / name / "weights" / "last.pt")["model"].state_dict()
        return state

    stock, ciou = weights("stock", iou=0.6), weights("ciou", iou="ciou")
    assert all(torch.equal(ciou[key], value) for key, value in stock.items())
    assert "box_loss: ciou" in (tmp_path / "ciou" / "graft.yaml").read_text()
    assert "box_loss" not in (tmp_path / "stock" / "graft.yaml").read_text()


def test_a_process_of_a_multi_gpu_training_has_the_loss(tiny_set: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    cls = grafted_trainer(DetectionTrainer)
    overrides = {"model": "yolo11n.yaml", "data": str(tiny_set), "iou": "nwd(constant=9)", "project": str(tmp_path), **FAST}
    trainer = cls(overrides=overrides)
    monkeypatch.setattr("yolograft.host.trainer._starts_processes", lambda _: True)
    monkeypatch.setattr(DetectionTrainer, "train", lambda _: None)
    trainer.train()
    child = cls(cfg={**DEFAULT_CFG_DICT, "save_dir": ""}, overrides={**vars(trainer.args), "name": "child"})
    assert str(child.box_loss) == "nwd(constant=9)"
    assert child.args.iou == DEFAULT_CFG_DICT["iou"]


@pytest.mark.parametrize("mode", ["val", "predict", "track", "export", "benchmark"])
def test_other_modes_refuse_a_loss_in_one_line(mode: str) -> None:
    with pytest.raises(HostError, match=f"train and tune only. In {mode}") as raised:
        commands.run(mode, {"model": "yolo11n.yaml", "iou": "wiou"})
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("mode", ["val", "predict"])
def test_python_refuses_a_loss_in_one_line(mode: str) -> None:
    with pytest.raises(HostError, match="train and tune only"):
        getattr(YOLO("yolo11n.yaml"), mode)(iou="wiou")


@pytest.mark.parametrize(("model", "value", "message"), [
    ("yolo11n.yaml", "wio", "No box loss is named 'wio'. Did you mean 'wiou'?"),
    ("yolo11n.yaml", "nwd(constant=)", "is not a value"), ("yolo11n-obb.yaml", "wiou", "obb has another box loss"),
    ("yolo11n-cls.yaml", "ciou", "classify has another box loss"), ("rtdetr-l.yaml", "siou", "RT-DETR has another")])
@pytest.mark.parametrize("mode", ["train", "tune"])
def test_a_loss_that_cannot_be_used_raises_an_error_before_a_folder_is_made(
        model: str, value: str, message: str, mode: str, tiny_set: Path, tmp_path: Path) -> None:
    pairs = {"model": model, "data": str(tiny_set), "iou": value, "project": str(tmp_path / "made"), "device": "cpu"}
    with pytest.raises(GraftError, match=re.escape(message)) as raised:
        commands.run(mode, pairs)
    assert "\n" not in str(raised.value)
    assert not (tmp_path / "made").exists()


def test_tuning_trains_with_the_loss(tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands_run: list[list[str]] = []

    def run(words: list[str], **_: Any) -> Any:
        commands_run.append(list(words))
        raise StoppedError

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(subprocess, "run", run)
    try:
        YOLO("yolo11n.yaml").tune(data=str(tiny_set), iterations=1, epochs=1, project=str(tmp_path), name="t", iou="siou",
                                  **FAST)
    except Exception as error:  # versions differ in how tuning ends without a result
        print(error)
    assert commands_run
    assert [word for word in commands_run[0] if word.startswith("iou=")] == ["iou=siou(theta=4)"]
