"""`yolograft deploy-check`: comparison with PyTorch, verdicts beside the bare host, crashes, and what it refuses."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from yolograft import YOLO, GraftError, attach, blocks
from yolograft.analysis import deploy_process, matrix, targets
from yolograft.analysis.deploy_check import _judge, deploy_check, prepare, second_size
from yolograft.analysis.deploy_process import run_worker
from yolograft.analysis.deploy_result import Build, DeployCheck, TargetResult, suggestion
from yolograft.analysis.deploy_worker import largest_errors, reference_outputs
from yolograft.cli import main

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings


@cache
def host() -> nn.Module:
    return YOLO("yolo11n.yaml").model


def detections(boxes: float = 600.0, score: float = 0.9) -> np.ndarray:
    y = np.zeros((1, 6, 20), np.float32)
    y[:, :4], y[:, 4:] = boxes, score
    return y


def test_errors_are_relative_to_the_largest_box_and_to_the_largest_score() -> None:
    found = detections()
    found[0, 0, 0] += 6
    found[0, 5, 3] -= 0.009
    assert largest_errors([found], [[detections()]]) == pytest.approx([0.01, 0.01], rel=1e-4)


def test_an_end_to_end_head_may_give_its_rows_in_any_order() -> None:
    rows = np.random.default_rng(0).random((1, 300, 6)).astype(np.float32)
    rows[0] = rows[0][np.argsort(-rows[0, :, 4])]
    assert largest_errors([rows[:, np.random.default_rng(1).permutation(300)]], [[rows]]) == [0, 0]
    moved = rows.copy()
    moved[0, 3, :4] += 0.5
    assert largest_errors([moved], [[rows]])[0] > 0.05


@pytest.mark.parametrize("found", [detections()[:, :5], np.full((1, 6, 20), np.nan, np.float32)])
def test_other_shapes_and_numbers_that_are_not_finite_are_errors(found: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"shapes|finite"):
        largest_errors([found], [[detections()]])


def test_the_reference_is_what_exporters_see() -> None:
    ((output,),) = reference_outputs(host(), np.zeros((1, 3, 64, 64), np.float32))
    assert output.shape == (1, 84, 64 + 16 + 4)


@pytest.mark.parametrize(("imgsz", "other"), [(640, 320), (160, 96), (96, 64), (64, 32), (32, 64)])
def test_the_second_size_is_half_of_the_first(imgsz: int, other: int) -> None:
    assert second_size(imgsz, 32) == other


def test_a_new_block_is_changed_so_that_it_does_something() -> None:
    bare, grafted, prepared = prepare(host(), "se@8 + bam@6", is_new=True)
    assert prepared
    assert not attach.grafts(bare)
    assert list(attach.grafts(grafted))
    x = np.random.default_rng(0).random((1, 3, 64, 64), np.float32)
    assert max(largest_errors(reference_outputs(grafted, x)[0], reference_outputs(bare, x))) > 1e-3
    for key, value in bare.state_dict().items():
        assert torch.equal(value, grafted.state_dict()[key]), "the hosts are the same"
    assert not attach.grafts(host()), "the model itself is not changed"


def test_a_trained_block_is_left_as_it_is(tmp_path: Path) -> None:
    model = YOLO("yolo11n.yaml", graft="se@8").model
    model.graft_is_fresh = ()
    _, grafted, prepared = prepare(model, None, is_new=False)
    assert not prepared
    assert all(torch.equal(value, grafted.state_dict()[key]) for key, value in model.state_dict().items())


def test_a_bare_model_needs_a_graft(tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="carries no graft"):
        deploy_check("yolo11n.yaml", names=["torchscript"], folder=tmp_path)


def build(network: int, error: float = 1e-6, **facts: Any) -> Build:
    return Build(**{"network": network, "size": 64, "dynamic": False, "step": "run", "errors": {"64": [error]}, **facts})


@pytest.mark.parametrize(("builds", "status", "reason"), [
    ([build(0), build(1)], "passes", ""),
    ([build(0), build(1, 0.5)], "fails", "other outputs than PyTorch at 64: relative error 0.5"),
    ([build(0, 0.2), build(1, 0.5)], "passes", ""),
    ([build(0), build(1, 0.5, notes=["stack along batch axis 0 is not supported"])], "fails", r"\(stack along batch axis 0"),
    ([build(0), build(1, failure="boom", step="export")], "fails", "does not build at 64: boom"),
    ([build(0), build(0, dynamic=True), build(1, failure="boom", step="run", dynamic=True)], "fails",
     "does not run at 64 dynamic: boom"),
    ([build(0, failure="old"), build(1, failure="old")], "not checked", "the bare host fails too: old"),
    ([build(0, failure="old"), build(0, dynamic=True), build(1, failure="old"), build(1, dynamic=True)], "passes", ""),
])
def test_a_target_fails_where_the_graft_fails_and_the_host_does_not(builds: list[Build], status: str, reason: str) -> None:
    result = _judge("onnx", 1, builds, [])
    assert result.status == status
    if reason:
        import re

        assert re.search(reason, result.reason), result.reason


def test_operators_and_latency_are_those_beyond_the_host() -> None:
    result = _judge("onnx", 1, [build(0, operators={"Conv": 2, "Relu": 1}),
                                build(1, operators=Counter(Conv=4, ReduceMean=1), deep=2)], [[1.0, 2.0], [1.0, 2.2]])
    assert (result.added, list(result.new), result.deep) == ({"Conv": 2, "ReduceMean": 1}, ["ReduceMean"], 2)
    assert result.ratio is not None
    assert result.ratio[0] == pytest.approx(2.1)
    assert result.latency_ms == pytest.approx(2100)


def test_a_crash_counts_for_its_export_alone_and_the_others_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    codes = []

    def wait(file: Path, events: Path, started: int, name: str, say: Any) -> int:
        request = json.loads(file.read_text())
        for one in request["builds"]:
            with events.open("a") as opened:
                opened.write(json.dumps({"event": "begin", "step": "run", **one}) + "\n")
                if one["network"] == 1 and one["size"] == 64:
                    codes.append(-11)
                    file.with_suffix(".log").write_text("")
                    return -11
                done = Build(**one, step="run", errors={"64": [0.0]})
                opened.write(json.dumps({"event": "build", **vars(done)}) + "\n")
        codes.append(0)
        return 0

    monkeypatch.setattr(deploy_process, "_wait", wait)
    todo = [{"network": network, "size": size, "dynamic": False} for network in (0, 1) for size in (96, 64)]
    builds, _ = run_worker({"target": "ncnn", "events": str(tmp_path / "e.jsonl"), "repeats": 0}, [*todo, {
        "network": 2, "size": 96, "dynamic": False}], tmp_path / "r.json", print)
    assert codes == [-11, 0]
    assert [(one.network, one.size, bool(one.failure)) for one in builds] == [
        (0, 96, False), (0, 64, False), (1, 96, False), (1, 64, True), (2, 96, False)]
    assert builds[3].failure == "the process crashed with signal 11"
    assert _judge("ncnn", 1, builds, []).status == "fails"


def test_targets_are_parsed_and_named() -> None:
    assert targets.parse_targets("onnx, TensorRT") == ["onnx", "engine"]
    assert set(targets.parse_targets("all")) == set(targets.TARGETS)
    with pytest.raises(GraftError, match="Did you mean 'openvino'"):
        targets.parse_targets("openvno")


def test_a_missing_package_is_not_checked_and_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "find_spec", lambda name: None)
    assert targets.why_unchecked(targets.TARGETS["ncnn"]) == "ncnn, pnnx not installed: pip install 'yolograft[ncnn]'"
    for name in ("engine", "rknn", "coreml", "imx", "mnn"):
        assert targets.why_unchecked(targets.TARGETS[name])
    assert not targets.why_unchecked(targets.TARGETS["torchscript"])


def test_the_nearest_block_that_passes_has_the_same_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    rows: dict[str, Any] = {name: {"ncnn": {"status": "passes"}} for name in ("eca", "cbam", "ese")}
    rows["se"] = {"ncnn": {"status": "fails"}}
    monkeypatch.setattr(matrix, "load_matrix", lambda: {"blocks": rows})
    assert matrix.nearest_passing("se", "ncnn") == "eca", "nearer to SE's 8 thousand parameters than eSE's 66 thousand"
    assert matrix.nearest_passing("cbam", "ncnn") == ""
    assert suggestion("se", "ncnn") == "The nearest block to se that passes there: eca."


def test_the_table_names_the_failure_and_the_json_has_no_nan() -> None:
    onnx = TargetResult(target="onnx", status="passes", error=1e-6, host_error=1e-6, added={"ReduceMean": 1},
                        new=("ReduceMean",))
    ncnn = TargetResult(target="ncnn", status="fails", reason="does not build at 64: boom")
    result = DeployCheck(model="best.pt", graft="se@8", sizes=(64, 32), threads=1, effect=0.2, prepared=True, half=(),
                         results=(onnx, ncnn))
    text = str(result)
    assert "NCNN: does not build at 64: boom" in text
    assert "1 ReduceMean" in text
    assert "changed at random" in text
    assert result.failed
    assert json.loads(result.json())["results"][1]["error"] is None


@pytest.mark.parametrize(("words", "message"), [
    ([], "needs model="), (["model=yolo11n.yaml", "targets=onxx"], "targets=onxx is not known"),
    (["model=yolo11n.yaml", "data=nix.yaml"], "data=nix.yaml does not exist"),
    (["model=yolo11n.yaml"], "carries no graft"), (["model=yolo11n.yaml", "graft=se@88"], "No site"),
    (["model=yolo11n.yaml", "graft=se@8", "imgsz=100"], "not a multiple of 32"),
    (["model=yolo11n.yaml", "graft=se@8", "host=bare.pt"], "needs data="),
])
def test_mistakes_are_one_line_and_leave_no_result(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["deploy-check", *words]) == 2
    assert message in capsys.readouterr().err
    assert not list(tmp_path.rglob("result.json"))


def sigmoid_scope(network: nn.Module) -> tuple[str, int]:
    """Return the scope that Ultralytics takes for the head's, and how many sigmoids there are."""
    ov = pytest.importorskip("openvino")
    head = network.model[-1]
    head.export, head.format = True, "openvino"
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        network(x)
        traced = torch.jit.trace(network, x, strict=False, check_trace=False)
    names = [op.get_friendly_name() for op in ov.convert_model(traced, input=x.shape, example_input=x).get_ordered_ops()
             if op.get_type_name() == "Sigmoid"]
    return names[-1].split("/", 1)[0], len(names)


@pytest.mark.parametrize("graft", ["se@p3,p4,p5", "cbam@p3,p4,p5 + se@8"])
def test_a_gate_is_never_taken_for_the_head_in_an_int8_export(graft: str) -> None:
    # Ultralytics keeps the scope of the graph's last Sigmoid out of the quantisation: that must be the head's
    network = YOLO("yolo11n.yaml", graft=graft).model.fuse(verbose=False).eval()
    for parameter in network.parameters():
        parameter.detach_()  # fused weights of 8.3.0 have a history
        parameter.requires_grad_(False)
    scope, count = sigmoid_scope(network)
    assert scope == "__module.model.23"
    assert count > len(attach.grafts(network)), "a sigmoid in each gate, and the head's"


@pytest.mark.slow
@pytest.mark.parametrize("name", targets.CHECKED)
def test_a_check_of_a_target_from_the_command_line(name: str, tmp_path: Path) -> None:
    if reason := targets.why_unchecked(targets.TARGETS[name]):
        pytest.skip(reason)
    assert main(["deploy-check", "model=yolo11n.yaml", "graft=cbam@p3,p4,p5", f"targets={name}", "imgsz=64", "repeats=2",
                 f"project={tmp_path}", "name=one"]) == 0
    (result,) = json.loads((tmp_path / "one" / "result.json").read_text())["results"]
    assert result["status"] == "passes"
    assert result["new"]
    assert result["ratio"][0] > 0


@pytest.mark.slow
@pytest.mark.parametrize("name", blocks.names())
def test_every_block_passes_on_ncnn(name: str, tmp_path: Path) -> None:
    if reason := targets.why_unchecked(targets.TARGETS["ncnn"]):
        pytest.skip(reason)
    result = deploy_check("yolo11n.yaml", f"{name}@p3,p4,p5", names=["ncnn"], folder=tmp_path, imgsz=64, repeats=0,
                          threads=1)
    assert result.results[0].status == "passes", result.results[0].reason
