"""The costs that `yolograft bench` prints. Counts are compared with values computed by hand; times are not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import ultralytics

from yolograft import YOLO, GraftError
from yolograft.analysis import runtimes
from yolograft.analysis.bench import bench
from yolograft.analysis.timing import median_interval
from yolograft.cli import main
from yolograft.errors import HostError

OLD = ultralytics.__version__.startswith("8.3.")
pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


def test_a_graft_costs_its_own_parameters_and_operations() -> None:
    result = bench("yolo11n.yaml", ["se(ratio=16)@8"], imgsz=64, repeats=3)
    bare, grafted = result.costs
    channels, hidden = 256, 16
    assert bare.graft == "none"
    assert (bare.ratio, bare.low, bare.high) == (1.0, 1.0, 1.0)
    assert grafted.parameters - bare.parameters == 2 * channels * hidden + channels + hidden
    assert grafted.gflops - bare.gflops == pytest.approx(2 * 2 * channels * hidden / 1e9, rel=1e-3)
    assert grafted.low <= grafted.ratio <= grafted.high
    assert json.loads(result.json())["costs"][1]["parameters"] == grafted.parameters
    assert f"{grafted.parameters:,}" in str(result)


def test_memory_is_that_of_the_feature_maps_and_grows_with_the_batch() -> None:
    one, four = (bench("yolo11n.yaml", [], imgsz=64, repeats=1, batch=batch).costs[0].memory_mib for batch in (1, 4))
    assert 16 * 32 * 32 * 4 / 2**20 <= one < 2, "at least the first map, 16 x 32 x 32 in float32"
    assert four == pytest.approx(4 * one, rel=0.01), "only the feature maps"


@pytest.mark.parametrize("runtime", ["onnxruntime", "openvino", "torchscript", "ncnn"])
def test_a_runtime_gives_the_output_of_pytorch(runtime: str, tmp_path: Path) -> None:
    if runtime == "openvino" and not hasattr(pytest.importorskip("openvino"), "runtime") and OLD:
        pytest.skip("Ultralytics 8.3.0 supports only OpenVINO before 2026")
    pytest.importorskip(runtime)
    if runtime == "ncnn" and (problem := runtimes.pnnx_problem()):
        with pytest.raises(HostError, match="downloads the converter PNNX"):
            runtimes.check("ncnn")
        pytest.skip(problem)
    model = YOLO("yolo11n.yaml", graft="se(init=paper)@8")
    model.save(tmp_path / "host.pt")
    run = runtimes.export_and_load(str(tmp_path / "host.pt"), "se@8", runtime, tmp_path / "exported", imgsz=64, batch=2,
                                   threads=1)
    images = torch.rand(2, 3, 64, 64)
    (found,) = run(images.numpy())
    bare = YOLO(tmp_path / "host.pt", graft="se@8").model.float().eval()
    with torch.no_grad():
        expected = bare(images)[0]
    assert found.shape == expected.shape
    torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-3, atol=2e-2)


def test_the_command_measures_a_runtime(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnxruntime")
    words = ["bench", "model=yolo11n.yaml", "graft=se@8", "imgsz=64", "repeats=2", "runtime=onnxruntime", "threads=1"]
    assert main(words) == 0
    assert "on the CPU, 1 thread, fused" in capsys.readouterr().out
    assert main([*words[:-2], "runtime=onnxruntme"]) == 2
    assert "did you mean 'onnxruntime'" in capsys.readouterr().err.lower()


def test_the_error_names_the_missing_package_of_a_runtime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: None)
    with pytest.raises(GraftError, match=r"needs openvino: pip install 'yolograft\[export\]'"):
        bench("yolo11n.yaml", [], runtime="openvino")


def test_the_interval_contains_the_median_and_is_narrow_for_equal_values() -> None:
    assert median_interval([1.0] * 9) == (1.0, 1.0)
    low, high = median_interval([0.9, 1.0, 1.1, 1.2, 1.3])
    assert 0.9 <= low < 1.1 < high <= 1.3


def test_the_command_prints_the_table_and_fails_for_a_graft_that_does_not_fit(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "model=yolo11n.yaml", "graft=se@8; eca@8", "imgsz=64", "repeats=2"]) == 0
    assert "eca@8" in capsys.readouterr().out
    assert main(["bench", "model=yolo11n.yaml", "graft=se@88"]) == 2
    with pytest.raises(GraftError):
        bench("nix.yaml", [])


@pytest.mark.parametrize(("words", "message"), [
    (["imgsz=63"], "not a multiple of 32, the model's largest stride. Multiples near it: 32, 64."),
    (["batch=0"], "batch=0 is not a positive whole number"), (["threads=-1"], "threads=-1 is not a positive"),
    (["repeats=0"], "repeats=0 is not a positive"), (["device=gpu"], "expected cpu, or the number of one CUDA device"),
    (["device=77"], "this PyTorch sees"), (["device=0", "runtime=openvino"], "is measured on the CPU"),
    (["runtime=tensorrt"], "TensorRT is not supported"), (["json=perhaps"], "expected True or False"),
])
def test_wrong_arguments_give_an_error_message(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtimes, "find_spec", lambda name: True)
    assert main(["bench", "model=yolo11n.yaml", *words]) == 2
    assert message in capsys.readouterr().err


def test_the_graft_of_a_checkpoint_is_an_arm_beside_the_bare_host(tmp_path: Path) -> None:
    YOLO("yolo11n.yaml", graft="se@8").save(tmp_path / "best.pt")
    result = bench(str(tmp_path / "best.pt"), ["se(ratio=16)@8", "eca@8"], imgsz=64, repeats=1)
    assert [cost.graft for cost in result.costs] == ["none", "se@8", "eca@8"], "equal grafts are one arm"


def test_several_runtimes_print_only_their_tables(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    code = "import sys; from yolograft.cli import main; sys.exit(main(sys.argv[1:]))"
    words = ["bench", "model=yolo11n.yaml", "imgsz=64", "repeats=1", "runtime=torch,onnxruntime", "json=True"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stderr == "" or OLD, "8.3.0 uses arguments that PyTorch's exporter warns about"
    first, second = map(json.loads, done.stdout.splitlines())
    assert first["version"].startswith("PyTorch")
    assert second["version"].startswith("ONNX Runtime")
    assert first["costs"][0]["gflops"] == second["costs"][0]["gflops"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_bench_measures_a_gpu() -> None:
    result = bench("yolo11n.yaml", ["se@8"], imgsz=64, repeats=2, device="0")
    assert result.device == torch.cuda.get_device_name(0)
    assert all(cost.latency_ms > 0 for cost in result.costs)
