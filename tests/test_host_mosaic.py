"""Warnings about train arguments with which no epoch uses Mosaic."""

from pathlib import Path
from typing import Any

import pytest
from ultralytics.data import augment
from ultralytics.utils import DEFAULT_CFG_DICT

from yolograft import YOLO
from yolograft.host import mosaic
from yolograft.host.mosaic import mosaic_warnings
from yolograft.runner import train

WARNING = "no epoch trains with them"


@pytest.mark.parametrize(("arguments", "expected"), [
    ({"epochs": 10}, WARNING), ({"epochs": 11}, ""), ({}, ""), ({"epochs": 3, "close_mosaic": 3}, WARNING),
    ({"epochs": 3, "close_mosaic": 2}, ""), ({"epochs": 8, "mosaic": 0.0}, ""), ({"epochs": 10, "rect": True}, ""),
    ({"epochs": 10, "task": "classify"}, ""), ({"epochs": 10, "mosaic": None}, WARNING),
    ({"epochs": 10, "graft": "se@8", "speed": "stock", "task": "detect"}, WARNING)])
def test_a_training_without_mosaic_gives_a_warning(arguments: dict[str, Any], expected: str) -> None:
    assert DEFAULT_CFG_DICT["close_mosaic"] == 10
    for warnings in (mosaic_warnings(arguments), train.forewarn(arguments)):
        if expected:
            assert expected in warnings[0]
            assert f"epochs={arguments['epochs']}" in warnings[0]
        else:
            assert warnings == []


def test_the_warning_says_if_the_installed_version_would_never_close_mosaic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mosaic, "_closes_once", lambda: True)
    (warning,) = mosaic_warnings({"epochs": 8, "close_mosaic": 10})
    assert "trains all epochs with Mosaic" in warning
    assert WARNING in mosaic_warnings({"epochs": 10, "close_mosaic": 10})[0]
    monkeypatch.setattr(mosaic, "_closes_once", lambda: False)
    assert WARNING in mosaic_warnings({"epochs": 8, "close_mosaic": 10})[0]


class StopError(Exception):
    """Ends a training after an epoch."""


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("close_mosaic", [1, 3, 4])
def test_a_resumed_training_uses_mosaic_in_the_same_epochs_as_an_uninterrupted_one(
        tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, close_mosaic: int) -> None:
    """`close_mosaic` is below, equal to and above `epochs`."""
    monkeypatch.setenv("YOLOGRAFT_THREADS", "1")
    file = tmp_path / "tiny.yaml"
    file.write_text("nc: 2\nbackbone:\n" + 3 * "  - [-1, 1, Conv, [8, 3, 2]]\n" + "head:\n  - [[2], 1, Detect, [nc]]\n")
    used: list[int] = []
    now = [0]
    choose = augment.Mosaic.get_indexes
    monkeypatch.setattr(augment.Mosaic, "get_indexes", lambda self, *args, **kwargs: (
        used.append(now[0]), choose(self, *args, **kwargs))[1])

    def trained(model: Path, stop: int | None = None, **more: Any) -> list[int]:
        used.clear()
        network = YOLO(model)
        network.add_callback("on_train_epoch_start", lambda trainer: now.__setitem__(0, trainer.epoch))

        def end(trainer: Any) -> None:
            if trainer.epoch == stop:
                raise StopError

        network.add_callback("on_fit_epoch_end", end)
        try:
            network.train(data=str(tiny_set), epochs=3, imgsz=32, batch=4, workers=0, device="cpu", plots=False, val=False,
                          close_mosaic=close_mosaic, project=str(tmp_path), exist_ok=True, graft="none", **more)
        except StopError:
            assert stop is not None
        return sorted(set(used))

    uninterrupted = trained(file, name="a")
    assert uninterrupted == {1: [0, 1], 3: [], 4: [0, 1, 2] if mosaic._closes_once() else []}[close_mosaic]
    for stop in (0, 1):
        first = trained(file, stop, name=f"b{stop}")
        rest = trained(tmp_path / f"b{stop}" / "weights" / "last.pt", resume=True)
        assert [*first, *rest] == uninterrupted
