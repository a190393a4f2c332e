"""Validation records the detections of a network that it leaves as it is, and equals Ultralytics' own."""

from pathlib import Path

import numpy as np
import pytest
import torch

from yolograft import YOLO
from yolograft.analysis.average_precision import average_precision
from yolograft.analysis.gates import places, replaced
from yolograft.analysis.validation import quiet, validate
from yolograft.errors import GraftError
from yolograft.host.models import graft_onto


@pytest.fixture(scope="module")
def model(weights: Path) -> YOLO:
    model = YOLO(weights)
    model.model.names = {0: "dim", 1: "bright", **{number: f"other {number}" for number in range(2, 80)}}
    return model


def test_metrics_and_detections_agree_with_ultralytics(model: YOLO, varied_set: Path, one_thread: None) -> None:
    found = validate(model, varied_set, imgsz=64, batch=4)
    with quiet():
        stock = YOLO(model.ckpt_path).val(data=str(varied_set), imgsz=64, batch=4, plots=False, verbose=False,
                                          device="cpu", workers=0)
    assert found.metrics["mAP50-95"] == pytest.approx(stock.box.map, abs=1e-6)
    assert found.metrics["recall"] == pytest.approx(stock.box.mr, abs=1e-6)
    (values,) = average_precision(found.detections, np.ones((1, 24)))
    assert values.mean() == pytest.approx(found.metrics["mAP50-95"], abs=1e-9)
    assert values[0] == pytest.approx(found.metrics["mAP50"], abs=1e-9)
    assert len(found.detections.names) == 24
    assert [Path(file).name for file in found.files] == list(found.detections.names)
    assert found.detections.truths.sum(axis=1).tolist() == [number % 4 for number in range(24)]


def test_the_network_is_left_as_it_is(model: YOLO, varied_set: Path, one_thread: None) -> None:
    before = {key: value.clone() for key, value in model.model.state_dict().items()}
    validate(model, varied_set, imgsz=64, limit=4)
    assert model.model.state_dict().keys() == before.keys(), "it is not fused"
    assert all(torch.equal(before[key], value) for key, value in model.model.state_dict().items())
    assert not any(parameter.is_inference() for parameter in model.model.parameters()), "it can still be trained"


def test_a_network_without_its_yolo_gives_the_same(model: YOLO, varied_set: Path, one_thread: None) -> None:
    one, other = validate(model, varied_set, imgsz=64), validate(model.model, varied_set, imgsz=64)
    assert one.metrics == other.metrics


def test_a_limit_draws_images_from_the_whole_split_and_keeps_its_label_cache(
    model: YOLO, varied_set: Path, one_thread: None
) -> None:
    validate(model, varied_set, imgsz=64)
    cache = varied_set.parent / "labels.cache"
    content = cache.read_bytes()
    found = validate(model, varied_set, imgsz=64, limit=6)
    assert len(found.files) == 6
    assert max(found.detections.names) > "12.png", "not the first ones"
    assert found.files == validate(model, varied_set, imgsz=64, limit=6).files
    assert found.files != validate(model, varied_set, imgsz=64, limit=6, seed=1).files
    assert len(validate(model, varied_set, imgsz=64, limit=100).files) == 24
    assert cache.read_bytes() == content


def test_hooks_act_in_the_validation(model: YOLO, varied_set: Path, one_thread: None) -> None:
    grafted = YOLO("yolo11n.yaml")
    graft_onto(grafted.model, "se(init=paper)@8")
    (place,) = places(grafted.model)
    sizes = []
    place.block.register_forward_hook(lambda _, args, output: sizes.append(len(output)))
    with replaced(grafted.model, {place: "other"}):
        validate(grafted, varied_set, imgsz=64, batch=5)
    assert sum(sizes) >= 24


@pytest.mark.parametrize(("arguments", "message"), [
    ({"limit": 0}, "limit=0 is not a positive"),
    ({"split": "test"}, "split 'test' cannot be read"),
])
def test_mistakes(model: YOLO, varied_set: Path, arguments: dict[str, object], message: str) -> None:
    with pytest.raises(GraftError, match=message):
        validate(model, varied_set, imgsz=64, **arguments)  # type: ignore[arg-type]


def test_other_tasks_are_refused(varied_set: Path) -> None:
    with pytest.raises(GraftError, match="task=segment: only detection"):
        validate(YOLO("yolo11n-seg.yaml"), varied_set, imgsz=64)
