"""The variants in the SE paper (arXiv:1709.01507v4) can be grafted, and have the cost that it reports."""

from __future__ import annotations

import copy
import io
import pickle
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import resnet18, resnet50
from torchvision.models.resnet import BasicBlock, Bottleneck
from ultralytics.nn.modules import Bottleneck as YoloBottleneck
from ultralytics.nn.tasks import DetectionModel

from yolograft import Graft, graft, prune
from yolograft.attach import grafts
from yolograft.blocks import create
from yolograft.blocks.se import SE
from yolograft.errors import SiteError
from yolograft.sites import Probe, probe, resolve

MILLION = 1e6


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def parameters(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def stored(model: nn.Module) -> int:
    """Count the values in a Caffe model file: the parameters and the running statistics of the batch norms."""
    return sum(v.numel() for k, v in model.state_dict().items() if not k.endswith("num_batches_tracked"))


@pytest.mark.parametrize(("make", "ratio", "paper"), [
    (resnet50, 2, 45.7), (resnet50, 4, 35.7), (resnet50, 8, 30.7), (resnet50, 16, 28.1), (resnet50, 32, 26.9),
    (lambda: timm.create_model("resnet50"), 16, 28.1),
], ids=["2", "4", "8", "16", "32", "16-timm"])
def test_ratios_give_the_papers_parameter_counts(make: Callable[[], nn.Module], ratio: int, paper: float) -> None:
    model = make()
    assert parameters(model) == 25_557_032
    assert round(stored(model) / MILLION, 1) == 25.6
    graft(model, f"se(ratio={ratio})@Bottleneck.bn3")
    widths = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    weights = sum(2 * c * c // ratio for c in widths)
    biases = sum(c + c // ratio for c in widths)
    assert parameters(model) == 25_557_032 + weights + biases
    assert abs(stored(model) / MILLION - paper) < 0.055  # r = 2 gives 45.752, the others round to the paper's


def stride_in_first_conv(model: nn.Module) -> nn.Module:
    """Move the strides to the first 1x1 convolutions, as in the first ResNet, which the paper counts (3.86 GFLOPs)."""
    for module in model.modules():
        if isinstance(module, Bottleneck) and module.conv2.stride != (1, 1):
            module.conv1.stride, module.conv2.stride = module.conv2.stride, (1, 1)
    return model


class PoolAndScaleCounter:
    """Counts one operation per value for each average and each product of the SE blocks."""

    def __init__(self, model: nn.Module) -> None:
        self.total = 0
        for block in grafts(model).values():
            block.register_forward_hook(self.count)

    def count(self, module: nn.Module, args: tuple[Tensor], output: Tensor) -> None:
        self.total += output.numel() * (1 if module.squeeze == "off" else 2)


def gflops(model: nn.Module) -> float:
    """Count GFLOPs as in the paper: a multiply-add is one operation; the blocks' averages and products count as well."""
    extra = PoolAndScaleCounter(model)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.eval()(torch.zeros(1, 3, 224, 224))
    return (counter.get_total_flops() / 2 + extra.total) / 1e9


@pytest.mark.parametrize(("graft_text", "paper_gflops", "paper_millions"), [
    ("none", 3.86, 25.6),
    ("se(bias=False)@Bottleneck.bn3", 3.87, 28.1),  # Tables 2, 13, 16
    ("se(bias=False)@layer1.*.bn3", 3.86, 25.6),  # Table 13: stage 2
    ("se(bias=False)@layer2.*.bn3", 3.86, 25.7),  # stage 3
    ("se(bias=False)@layer3.*.bn3", 3.86, 26.4),  # stage 4
    ("se(bias=False)@Bottleneck.bn2", 3.86, 25.8),  # Table 15
    ("se(squeeze=off, bias=False)@Bottleneck.bn3", 4.27, 28.1),  # Table 16
])
def test_variants_cost_what_the_paper_reports(graft_text: str, paper_gflops: float, paper_millions: float) -> None:
    model = graft(stride_in_first_conv(resnet50()), graft_text)
    assert gflops(model) == pytest.approx(paper_gflops, abs=0.006)
    assert round(stored(model) / MILLION, 1) == paper_millions


def residual(unit: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return a ResNet unit's branch before the sum, and its identity."""
    inner = unit.relu(unit.bn1(unit.conv1(x)))
    if isinstance(unit, BasicBlock):
        branch = unit.bn2(unit.conv2(inner))
    else:
        branch = unit.bn3(unit.conv3(unit.relu(unit.bn2(unit.conv2(inner)))))
    return branch, x if unit.downsample is None else unit.downsample(x)


def randomise_gates(model: nn.Module) -> list[nn.Module]:
    """Give the gates of new blocks random weights, so that the output depends on the blocks' sites."""
    blocks = list(grafts(model).values())
    for block in blocks:
        nn.init.normal_(block.fc2.weight)
        nn.init.normal_(block.fc2.bias)
    return blocks


def unit_of(downsample: bool) -> nn.Module:
    unit = Bottleneck(64, 16)
    if downsample:
        unit = Bottleneck(32, 16, stride=2, downsample=nn.Sequential(nn.Conv2d(32, 64, 1, 2), nn.BatchNorm2d(64)))
    for module in unit.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    return unit.eval()


@pytest.mark.parametrize("downsample", [False, True])
@pytest.mark.parametrize(("site", "form"), [
    ("Bottleneck.bn3", lambda u, se, x, branch, identity: u.relu(se(branch) + identity)),
    ("Bottleneck.conv1/pre", lambda u, se, x, branch, identity: u.relu(residual(u, se(x))[0] + identity)),
    ("Bottleneck", lambda u, se, x, branch, identity: se(u.relu(branch + identity))),
    ("Bottleneck/skip", lambda u, se, x, branch, identity: u.relu(branch + residual(u, se(x))[1])),
    ("Bottleneck.bn2", lambda u, se, x, branch, identity: u.relu(
        u.bn3(u.conv3(u.relu(se(u.bn2(u.conv2(u.relu(u.bn1(u.conv1(x))))))))) + identity)),
], ids=["standard", "pre", "post", "identity", "3x3"])
def test_variants_are_the_papers_on_a_resnet_unit(site: str, form: Callable, downsample: bool) -> None:
    unit = unit_of(downsample)
    bare, host = copy.deepcopy(unit), nn.Sequential(nn.Identity(), unit)
    x = torch.randn(2, bare.conv1.in_channels, 8, 8)
    before = bare(x)
    graft(host, f"se(ratio=4)@{site}", example=x)
    assert torch.equal(host(x), before)
    (se,) = randomise_gates(host)
    expected = form(bare, se, x, *residual(bare, x))
    assert not torch.allclose(expected, before, atol=1e-2)
    torch.testing.assert_close(host(x), expected)
    assert torch.equal(prune(host)(x), before)


@pytest.mark.parametrize(("site", "form"), [
    ("Bottleneck.cv2", lambda u, se, x: x + se(u.cv2(u.cv1(x)))),
    ("Bottleneck.cv1/pre", lambda u, se, x: x + u.cv2(u.cv1(se(x)))),
    ("Bottleneck", lambda u, se, x: se(x + u.cv2(u.cv1(x)))),
    ("Bottleneck/skip", lambda u, se, x: se(x) + u.cv2(u.cv1(x))),
    ("Bottleneck.cv1", lambda u, se, x: x + u.cv2(se(u.cv1(x)))),
], ids=["standard", "pre", "post", "identity", "3x3"])
def test_variants_are_the_papers_on_a_yolo_bottleneck(site: str, form: Callable) -> None:
    unit = YoloBottleneck(32, 32).eval()
    bare, host, x = copy.deepcopy(unit), nn.Sequential(nn.Identity(), unit), torch.randn(2, 32, 8, 8)
    graft(host, f"se(ratio=4)@{site}", example=x)
    assert torch.equal(host(x), bare(x))
    (se,) = randomise_gates(host)
    torch.testing.assert_close(host(x), form(bare, se, x))


def small_resnet() -> nn.Module:
    down = nn.Sequential(nn.Conv2d(16, 32, 1, 2), nn.BatchNorm2d(32))
    return nn.Sequential(nn.Conv2d(3, 16, 3), BasicBlock(16, 16), BasicBlock(16, 32, 2, down)).eval()


def test_blocks_on_identity_branches_survive_copies_pickling_tracing_and_pruning() -> None:
    host, x = small_resnet(), torch.randn(2, 3, 16, 16)
    keys = list(host.state_dict())
    before = host(x)
    graft(host, "se@BasicBlock/skip + eca@BasicBlock/pre")
    assert torch.equal(host(x), before)
    assert set(keys) < set(host.state_dict())
    assert len(grafts(host)) == 4
    skip_blocks = [block for block in grafts(host).values() if isinstance(block, SE)]
    for block in skip_blocks:
        nn.init.normal_(block.fc2.bias)
    expected = host(x)
    assert not torch.allclose(expected, before)
    assert torch.equal(pickle.loads(pickle.dumps(host))(x), expected)
    copied = copy.deepcopy(host)
    for block in grafts(copied).values():
        if isinstance(block, SE):
            nn.init.zeros_(block.fc2.bias)
    assert torch.equal(copied(x), before)  # the copy's hooks read the copy's blocks
    assert torch.equal(host(x), expected)
    with torch.no_grad():
        traced = torch.jit.trace(host, x, check_trace=False)
        torch.testing.assert_close(traced(x[:1]), host(x[:1]))
        torch.compiler.reset()
        torch.testing.assert_close(torch.compile(host, backend="eager", fullgraph=True)(x), expected)
    again = graft(small_resnet(), "se@BasicBlock/skip + eca@BasicBlock/pre")
    file = io.BytesIO()
    torch.save(host.state_dict(), file)
    file.seek(0)
    again.load_state_dict(torch.load(file, weights_only=True), strict=True)
    assert torch.equal(again(x), expected)
    host.train()(x).sum().backward()
    assert all(block.fc2.bias.grad.abs().sum() > 0 for block in skip_blocks)
    prune(host)
    assert list(host.state_dict()) == keys
    assert not any(m._forward_pre_hooks or m._forward_hooks for m in host.modules())


def test_input_blocks_run_before_identity_branch_blocks_in_any_order_of_grafts() -> None:
    results = []
    before, after = "se@Bottleneck/pre", "eca(init=paper)@Bottleneck/skip"
    for text in (f"{before} + {after}", f"{after} + {before}"):
        torch.manual_seed(0)
        host, x = nn.Sequential(nn.Identity(), YoloBottleneck(32, 32)).eval(), torch.randn(2, 32, 8, 8)
        graft(host, text, example=x)
        for block in grafts(host).values():
            torch.manual_seed(1)
            for parameter in block.parameters():
                nn.init.normal_(parameter)
        results.append(host(x))
    assert torch.equal(*results)


def test_a_module_without_an_identity_branch_raises_an_error() -> None:
    host, x = nn.Sequential(nn.Identity(), YoloBottleneck(16, 16, shortcut=False)), torch.randn(1, 16, 8, 8)
    for site, near in (("Bottleneck/skip", "Bottleneck/pre"), ("Bottleneck.cv1/skip", "Bottleneck.cv1/pre")):
        with pytest.raises(SiteError, match=rf"has no identity branch.*Did you mean '{near}'"):
            graft(host, f"se@{site}", example=x)
    model = DetectionModel("yolo11n.yaml", verbose=False)
    for site in ("8/skip", "neck.Concat[0]/skip", "p3/skip", "SPPF/skip"):
        with pytest.raises(SiteError):
            graft(model, f"se@{site}")
    assert not grafts(model)


def test_identity_branches_of_yolo_survive_fusing() -> None:
    model = DetectionModel("yolo11n.yaml", verbose=False).eval()
    x = torch.rand(1, 3, 64, 64)
    graft(model, "se@Bottleneck/skip")
    randomise_gates(model)
    expected = model(x)[0]
    torch.testing.assert_close(model.fuse(verbose=False)(x)[0], expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("gate", ["relu", "tanh", "sigmoid"])
def test_excitations_of_table_12_are_settings(gate: str) -> None:
    x = torch.randn(2, 32, 4, 4)
    block = create("se", 32, gate=gate, init="paper")
    z = block.fc2(block.fc1(x.mean((2, 3), keepdim=True)).relu())
    torch.testing.assert_close(block(x), x * getattr(torch, gate)(z))


PAGE = (Path(__file__).resolve().parents[1] / "docs" / "se-paper.md").read_text()


def test_every_line_of_the_page_grafts() -> None:
    hosts = {"resnet": stride_in_first_conv(resnet50()), "yolo": DetectionModel("yolo11n.yaml", verbose=False)}
    lines = set(re.findall(r"`(se[^`]*@[^`]*)`", PAGE))
    assert len(lines) > 20
    for line in lines:
        kinds = [name for name, host in hosts.items() if fits(host, line)]
        if line.endswith("BasicBlock.bn2"):
            assert fits(resnet18(), line)
            continue
        assert kinds, line
        assert ("resnet" in kinds) == ("yolo" not in kinds) or "@Bottleneck" in line, line


def fits(host: nn.Module, line: str) -> bool:
    try:
        resolved = resolve(host, Graft.parse(line).parts[0].sites[0], SHAPES.setdefault(id(host), probe(host)))
    except SiteError:
        return False
    for key, value in Graft.parse(line).parts[0].settings:
        create("se", 64, **{key: value})
    return bool(resolved)


SHAPES: dict[int, Probe] = {}


def test_the_sizes_on_the_page_are_correct() -> None:
    bare = resnet50()
    widths = [256] * 3 + [512] * 4 + [1024] * 6 + [2048] * 3
    rows = re.findall(r"^\| (none|\d+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, flags=re.M)
    assert [row[0] for row in rows] == ["none", "2", "4", "8", "16", "32"]
    for ratio, _, with_all, learnt in rows:
        r = int(ratio) if ratio != "none" else 0
        weights = sum(2 * c * c // r for c in widths) if r else 0
        biases = sum(c + c // r for c in widths) if r else 0
        assert with_all == f"{(stored(bare) + weights + biases) / MILLION:.2f}"
        assert learnt == f"{(parameters(bare) + weights) / MILLION:.2f}"
