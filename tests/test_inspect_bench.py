"""The costs that `yolograft bench` prints: counted ones are checked by hand, timed ones only for their form."""

import json

import pytest

from yolograft import GraftError
from yolograft.cli import main
from yolograft.inspect.bench import _interval, bench

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


def test_a_graft_costs_its_own_parameters_and_operations() -> None:
    told = bench("yolo11n.yaml", ["se(ratio=16)@8"], imgsz=64, repeats=3)
    bare, grafted = told.costs
    channels, hidden = 256, 16
    assert bare.graft == "none"
    assert (bare.ratio, bare.low, bare.high) == (1.0, 1.0, 1.0)
    assert grafted.parameters - bare.parameters == 2 * channels * hidden + channels + hidden
    assert grafted.gflops - bare.gflops == pytest.approx(2 * 2 * channels * hidden / 1e9, rel=1e-3)
    assert grafted.low <= grafted.ratio <= grafted.high
    assert json.loads(told.json())["costs"][1]["parameters"] == grafted.parameters
    assert f"{grafted.parameters:,}" in str(told)


def test_the_interval_covers_the_median_and_narrows_on_equal_values() -> None:
    assert _interval([1.0] * 9) == (1.0, 1.0)
    low, high = _interval([0.9, 1.0, 1.1, 1.2, 1.3])
    assert 0.9 <= low < 1.1 < high <= 1.3


def test_the_command_prints_the_table_and_refuses_what_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "model=yolo11n.yaml", "graft=se@8; eca@8", "imgsz=64", "repeats=2"]) == 0
    assert "eca@8" in capsys.readouterr().out
    assert main(["bench", "model=yolo11n.yaml", "graft=se@88"]) == 2
    with pytest.raises(GraftError):
        bench("nix.yaml", [])
