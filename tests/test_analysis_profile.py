"""`shape_only` gives the same counts as a real run; `sites` and `show` build one model and load no compiler."""

import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from yolograft import blocks
from yolograft.analysis import profile, tables
from yolograft.host import models
from yolograft.host.open import open_model

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


@pytest.mark.parametrize(("name", "graft"), [
    ("yolo11n.yaml", "none"), ("yolo11n.yaml", "se@C3k2 + cbam@8"), ("yolov10n.yaml", "none"), ("yolov6n.yaml", "none"),
])
def test_gflops_equal_those_of_a_real_run(name: str, graft: str) -> None:
    network = profile.fused_copy(models.graft_onto(open_model(name).model, graft))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(torch.zeros(1, 3, 64, 64))
    assert profile.count_gflops(network, 64) == counter.get_total_flops() / 1e9


@pytest.mark.parametrize("settings", [
    {}, {"stride": 2, "padding": 1}, {"padding": "same", "dilation": 2}, {"padding": "valid"},
    {"stride": (2, 1), "padding": (0, 3), "groups": 4}, {"dilation": (1, 2)},
])
def test_a_skipped_convolution_gives_its_shape_and_operations(settings: dict) -> None:
    layer, x = nn.Conv2d(8, 12, (3, 5), **settings), torch.rand(2, 8, 17, 20)
    with FlopCounterMode(display=False) as counter:
        expected = layer(x)
    with profile.shape_only() as counted:
        found = layer(x)
    assert found.shape == expected.shape
    assert counted.flops == counter.get_total_flops()


def test_a_skipped_convolution_of_other_channels_is_an_error() -> None:
    with profile.shape_only(), pytest.raises(RuntimeError, match="9 channels, but the convolution takes 8"):
        nn.Conv2d(8, 12, 1)(torch.rand(2, 9, 4, 4))


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolov8n-seg.yaml"])
def test_tables_equal_those_of_a_model_with_values(name: str) -> None:
    model = open_model(name).model
    assert tables.sites_table(name, 320) == tables._sites(model, 320, None)
    graft = "se@2.m.0/skip + se@p3 + fca@8"
    assert tables.structure(name, graft, 320) == tables._structure(model, graft, 320)


def test_fused_copy_does_not_change_the_model() -> None:
    model = open_model("yolo11n.yaml").model
    before = list(model.state_dict())
    network = profile.fused_copy(model)
    assert list(model.state_dict()) == before
    assert profile.count_parameters(model) == 2_624_080
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())


@pytest.mark.parametrize("words", [["sites"], ["show", "graft=se@8"]])
def test_sites_and_show_build_one_model_run_no_convolution_and_load_no_compiler(words: list[str]) -> None:
    code = ("import sys, torch\n"
            "from ultralytics.nn import tasks\n"
            "from yolograft.cli import main\n"
            "built, parse = [], tasks.parse_model\n"
            "tasks.parse_model = lambda *a, **k: built.append(1) or parse(*a, **k)\n"
            "def fail(*a): raise AssertionError('a convolution was run')\n"
            "library = torch.library.Library('aten', 'IMPL')\n"
            "library.impl('convolution', fail, 'CPU')\n"
            "code = main(sys.argv[1:])\n"
            "loaded = [name for name in ('torchvision', 'torch._dynamo', 'sympy') if name in sys.modules]\n"
            "print(len(built), loaded, file=sys.stderr)\n"
            "sys.exit(code)")
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True, check=True)
    assert done.stderr.splitlines()[-1] == "1 []"


def test_every_pytorch_counts_attention_on_a_cpu() -> None:
    block = blocks.create("mhsa", 16, heads=2)
    without, with_block = (profile.count_gflops(nn.Sequential(nn.Conv2d(3, 16, 8, 8), *layers).eval(), 64)
                           for layers in ((), (block,)))
    tokens = 8 * 8
    projections, pairs = 4 * 2 * tokens * 16 * 16, 2 * 2 * tokens * tokens * 16
    assert (with_block - without) * 1e9 == pytest.approx(projections + pairs)


@pytest.mark.parametrize("keyword", ["out", "out_val"])
def test_the_result_reaches_the_formula_in_every_pytorch(keyword: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    monkeypatch.setattr(profile, "_RESULT", keyword)
    monkeypatch.setitem(profile.FORMULAS, "operator", lambda x, **rest: given.append((x, rest)) or 7)
    assert profile.count_flops("operator", (1,), {"bias": 2}, "result") == 7
    assert given == [(1, {"bias": 2, keyword: "result"})]
    assert profile.count_flops("another operator", (1,), {}, "result") == 0
