"""Warnings about train arguments with which no epoch uses Mosaic."""

from typing import Any

import pytest
from ultralytics.utils import DEFAULT_CFG_DICT

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
