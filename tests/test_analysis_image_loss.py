"""The loss of each validation image: it does not depend on the batch, and the network stays as it was."""

from pathlib import Path

import numpy as np
import pytest
import torch

from yolograft import YOLO
from yolograft.analysis.image_loss import measure
from yolograft.errors import GraftError

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings


@pytest.fixture(scope="module")
def polygon_set(tiny_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tiny set with a polygon of four corners in the place of each box."""
    import shutil

    root = tmp_path_factory.mktemp("polygons")
    shutil.copytree(tiny_set.parent / "images", root / "images")
    for label in (tiny_set.parent / "labels").glob("*/*.txt"):
        kind, x, y, *_ = label.read_text().split()
        left, top = float(x) - 0.19, float(y) - 0.19
        right, bottom = float(x) + 0.19, float(y) + 0.19
        file = root / label.relative_to(tiny_set.parent)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{kind} {left} {top} {right} {top} {right} {bottom} {left} {bottom}\n")
    file = root / "polygons.yaml"
    file.write_text(f"path: {root}\ntrain: images/train\nval: images/val\nnames: [dim, bright]\n")
    return file


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolov10n.yaml", "yolo11n-seg.yaml"])
def test_the_loss_of_an_image_is_that_of_a_batch_with_it_alone(name: str, tiny_set: Path, polygon_set: Path) -> None:
    torch.manual_seed(0)
    model = YOLO(name)
    data = polygon_set if "seg" in name else tiny_set
    together = measure(model, data, imgsz=64, batch=8)
    alone = measure(model, data, imgsz=64, batch=1)
    assert together.names == alone.names
    assert len(together.names) == 8
    np.testing.assert_allclose(together.losses, alone.losses, rtol=1e-3)
    assert np.ptp(together.losses) > 0
    assert (together.detections is None) == ("seg" in name)
    assert all(np.isfinite(list(together.metrics.values())))


def test_the_network_is_not_changed(tiny_set: Path) -> None:
    model = YOLO("yolo11n.yaml", graft="se@8")
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    arguments = dict(model.model.args)
    measure(model, tiny_set, imgsz=64)
    after = model.model.state_dict()
    assert list(before) == list(after)
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert dict(model.model.args) == arguments
    assert "fuse" not in vars(model.model)


def test_a_limit_draws_the_same_images_again(tiny_set: Path) -> None:
    model = YOLO("yolo11n.yaml")
    first, second = (measure(model, tiny_set, imgsz=64, limit=3, batch=batch) for batch in (3, 2))
    assert first.names == second.names
    assert len(first.names) == 3


def test_single_cls_keeps_the_labels_of_all_classes(tiny_set: Path) -> None:
    model = YOLO("yolo11n.yaml")
    model.model.args["single_cls"] = True
    model.model.names = {0: "item"}  # as after a training with single_cls=True
    found = measure(model, tiny_set, imgsz=64)
    assert found.detections is not None
    assert found.detections.truths.sum() == 8


def test_a_wrong_limit_is_refused(tiny_set: Path) -> None:
    with pytest.raises(GraftError, match="limit=0"):
        measure(YOLO("yolo11n.yaml"), tiny_set, imgsz=64, limit=0)
