"""Tests of the GPU benchmark, on a CPU: it runs, says that there is no GPU, and extrapolates correctly."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

pytestmark = [pytest.mark.filterwarnings("default"),  # Ultralytics' own warnings
              pytest.mark.usefixtures("one_thread")]
FILE = Path(__file__).resolve().parents[1] / "benchmarks" / "train_gpu.py"


@pytest.fixture(scope="module")
def benchmark() -> Any:
    spec = importlib.util.spec_from_file_location("train_gpu", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(data: Path, **more: Any) -> dict[str, Any]:
    return {"data": str(data), "model": "yolo11n.yaml", "imgsz": 32, "batch": 4, "fraction": 1.0, "stock_epochs": 1,
            "steps": 2, "validations": 1, "epochs": 2, "trials": 4, "way": "resident", **more}


@pytest.mark.parametrize("way", ["stock", "resident"])
def test_times_each_part_of_a_step(benchmark: Any, tiny_set: Path, way: str) -> None:
    found = benchmark.step(run(tiny_set, way=way))
    assert list(found["parts"]) == [*benchmark.PARTS, "validation"]
    assert all(seconds > 0 for seconds in found["parts"].values())


def test_report_extrapolates_and_says_so(benchmark: Any, tiny_set: Path) -> None:
    rate = benchmark.rate(run(tiny_set))
    assert rate["device"] == "cpu"
    assert rate["operations"] > 1e8
    stock = benchmark.stock(run(tiny_set))
    assert (stock["trained"], stock["validated"], len(stock["epochs"])) == (12, 8, 1)
    found = {"run": run(tiny_set), "rate": {**rate, "picture": 1e9, "operations": 1e12},
             "stock": {**stock, "begun": 0.0, "epochs": [(5.0, 9.0), (9.0, 12.0)], "ended": 13.0},
             "steps": {"stock": [{"parts": {**dict.fromkeys(benchmark.PARTS, ms / 1000), "validation": 2.0}}
                                 for ms in (1, 7, 3)]},
             "study": {"seconds": 10.0, "stopped": True, "epochs": 4, "trials": 1, "failed": ["out of memory"]}}
    lines = benchmark.report(found)
    text = "\n".join(lines)
    assert lines[2].split()[2] == "0.4"  # 4 trials, 2 epochs, 3 * 12 + 8 images of 1 GFLOP at 1 TFLOP/s
    assert "stock, one after another" in lines[3]
    assert lines[3].split()[4] == "48.0"  # 4 trials with 5 s to start, 2 epochs of 3 s, and 1 s to end
    assert "extrapolated: stopped after 10 s with 50% of its epochs done" in lines[4]
    assert lines[4].split()[2] == "20.0"
    assert lines[5].split()[3] == "2.4"
    assert "failed: out of memory" in text
    assert any(line.split() == ["loader", "3.00"] for line in lines)


def test_rejects_unknown_arguments(benchmark: Any) -> None:
    with pytest.raises(SystemExit, match="Unknown: imgs"):
        benchmark.main(["data=x.yaml", "imgs=3"])


@pytest.mark.slow
def test_runs_without_a_gpu(tiny_set: Path, tmp_path: Path) -> None:
    words = [f"data={tiny_set}", "model=yolo11n.yaml", "imgsz=32", "batch=4", "epochs=1", "seeds=1", "arms=none; se@8",
             "stock_epochs=1", "steps=2", "turns=1", f"out={tmp_path / 'found.json'}"]
    done = subprocess.run([sys.executable, str(FILE), *words], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    if not torch.cuda.is_available():
        assert done.stdout.startswith("No GPU: PyTorch finds no CUDA device.")
        assert done.stdout.rstrip().endswith("No GPU: these numbers are from the CPU.")
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["study"]["trials"] == found["study"]["epochs"] == 2
    assert found["study"]["failed"] == []
