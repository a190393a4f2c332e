"""Models that would take all memory are refused before they are built; all packaged models, and usual edits, are not."""

import inspect
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from ultralytics.nn.modules import Detect

from yolograft.errors import HostError
from yolograft.host import model_size
from yolograft.host.yolo import YOLO
from yolograft.modelyaml import catalog, load

ROWS: dict[str, Any] = {
    "nc": 2, "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [32, 3, 2]]],
    "head": [[[1, 2], 1, "Detect", ["nc"]]]}


def with_row(row: list[Any]) -> dict[str, Any]:
    return {**ROWS, "backbone": [*ROWS["backbone"][:2], row]}


HUGE = {
    "channels": with_row([-1, 1, "Conv", [10**6, 3, 2]]),
    "kernel": with_row([-1, 1, "Conv", [16, 100_001, 2]]),
    "hidden channels": with_row([-1, 1, "C2f", [64, True, 1, 1e6]]),
    "padding": with_row([-1, 1, "nn.ZeroPad2d", [10**5]]),
    "upsampling": with_row([-1, 1, "nn.Upsample", [None, 4096, "nearest"]]),
    "classes": {**ROWS, "nc": 10**9},
    "width": {**ROWS, "width_multiple": 1e6},
    "rows": {**ROWS, "backbone": [*ROWS["backbone"], *([[-1, 1, "nn.Identity", []]] * 2000)]},
    "doubling": {**ROWS, "backbone": [*ROWS["backbone"][:2], *([[[-1, -1], 1, "Concat", [1]]] * 40)],
                 "head": [[[1, 41], 1, "Detect", ["nc"]]]},
    "work": {**ROWS, "backbone": [ROWS["backbone"][0], *([[-1, 1, "Conv", [2048, 3, 1]]] * 5)],
             "head": [[[4, 5], 1, "Detect", ["nc"]]]},
}
if "reg_max" in inspect.signature(Detect).parameters:  # Ultralytics 8.4 reads it from the YAML
    HUGE["bins of the box"] = {**ROWS, "reg_max": 10**9}


@pytest.mark.parametrize("name", HUGE)
def test_a_huge_model_is_refused(name: str, tmp_path: Path) -> None:
    file = tmp_path / "huge.yaml"
    file.write_text(yaml.safe_dump(HUGE[name]))
    with pytest.raises(HostError, match=r"is not built|are built"):
        YOLO(file)


def test_packaged_models_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_size, "_measure", lambda *_: "it was measured")
    for file in catalog.packaged_files():
        config = load.load(file.name)
        if isinstance(config.get("backbone"), list):
            assert not model_size._is_usual({**config, "nc": 10**9}, 3)
            model_size.check_size(config, 3, lambda *_: pytest.fail("it was built"))


def test_the_bound_from_the_numbers_is_no_smaller_than_the_model() -> None:
    """What `_is_small` lets pass is small: its models are measured and stay below the limits."""
    from ultralytics.nn import tasks

    for name in ("yolo11n.yaml", "yolo11x.yaml", "yolov5x6.yaml"):
        config = load.load(name)
        assert model_size._is_small(config, 3)
        assert not model_size._measure(config, 3, tasks.parse_model)


def test_measuring_disturbs_no_random_numbers() -> None:
    from ultralytics.nn import tasks

    before = torch.get_rng_state()
    assert not model_size._measure(with_row([-1, 1, "C3k2", [32]]), 3, tasks.parse_model)
    assert torch.equal(before, torch.get_rng_state())
