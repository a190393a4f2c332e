"""One operator is the two: as exact as PyTorch's, in value, gradient and running statistics, and gone when it should be."""

import copy
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Bottleneck, Conv

from yolograft import YOLO, GraftError
from yolograft.fast import select
from yolograft.fast.cpu import batchnorm_silu, build

LAST = torch.channels_last
SHAPES = [(2, 16, 9, 7), (1, 1, 4, 4), (3, 7, 5, 5), (4, 80, 8, 8), (2, 512, 3, 3), (16, 8, 32, 32), (2, 33, 1, 1)]
needs = pytest.mark.skipif(bool(batchnorm_silu.refused()), reason=f"not on this machine: {batchnorm_silu.refused()}")


def pieces(shape: tuple[int, ...], seed: int = 0) -> tuple[Tensor, Tensor, nn.BatchNorm2d]:
    torch.manual_seed(seed)
    norm = nn.BatchNorm2d(shape[1], eps=1e-3, momentum=0.03)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    nn.init.normal_(norm.bias)
    x = (3 * torch.randn(shape) + 20 * torch.randn(1, shape[1], 1, 1)).bfloat16().contiguous(memory_format=LAST)
    return x, torch.randn(shape).bfloat16().contiguous(memory_format=LAST), norm


def ran(forward, x: Tensor, gradient: Tensor, norm: nn.BatchNorm2d) -> list[Tensor]:
    x = x.detach().clone(memory_format=torch.preserve_format).requires_grad_()
    out = forward(x, norm)
    out.backward(gradient)
    return [out.detach(), x.grad, norm.weight.grad, norm.bias.grad, norm.running_mean, norm.running_var]


def off(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [float((one.double() - right).norm() / right.norm().clamp(min=1e-9))
            for one, right in zip(found, exact, strict=True)]


@needs
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_it_is_as_exact_as_the_two_operators(shape: tuple[int, ...], silu: bool) -> None:
    x, gradient, norm = pieces(shape)
    act = nn.functional.silu if silu else (lambda y: y)
    exact = ran(lambda x, norm: act(norm(x)), x.double(), gradient.double(), copy.deepcopy(norm).double())
    stock = ran(lambda x, norm: act(norm(x)), x, gradient, copy.deepcopy(norm))
    found = ran(lambda x, norm: batchnorm_silu.norm_act(x, norm, silu), x, gradient, norm)
    allowed = [2**-8, 2**-8, *[2e-3] * 4]  # a map is rounded to bfloat16, of 8 bits; sums and statistics are float
    for ours, theirs, most in zip(off(found, exact), off(stock, exact), allowed, strict=True):
        assert ours <= max(1.2 * theirs, most)
    assert found[0].dtype == torch.bfloat16
    assert found[0].is_contiguous(memory_format=LAST)
    assert norm.num_batches_tracked == 1


@needs
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_gradient_that_is_part_of_a_larger_map_is_read_where_it_lies(shape: tuple[int, ...], silu: bool) -> None:
    x, gradient, norm = pieces(shape)
    larger = torch.full((shape[0], 2 * shape[1] + 3, *shape[2:]), float("nan")).bfloat16().contiguous(memory_format=LAST)
    part = larger[:, 2 : 2 + shape[1]]
    part.copy_(gradient)
    assert part.shape[2:] == (1, 1) or batchnorm_silu.step(part) == larger.shape[1]
    act = nn.functional.silu if silu else (lambda y: y)
    exact = ran(lambda x, norm: act(norm(x)), x.double(), gradient.double(), copy.deepcopy(norm).double())
    found = ran(lambda x, norm: batchnorm_silu.norm_act(x, norm, silu), x, part, norm)
    stock = ran(lambda x, norm: act(norm(x)), x, gradient, copy.deepcopy(norm))
    for ours, theirs, most in zip(off(found, exact), off(stock, exact), [2**-8, 2**-8, *[2e-3] * 4], strict=True):
        assert ours <= max(1.2 * theirs, most)


@pytest.mark.parametrize(("x", "apart"), [
    (torch.empty(2, 3, 4, 5).contiguous(memory_format=LAST), 3),
    (torch.empty(2, 8, 4, 5).contiguous(memory_format=LAST)[:, 2:5], 8),
    (torch.empty(2, 3, 4, 5), 0),
    (torch.empty(2, 3, 4, 6).contiguous(memory_format=LAST)[..., :5], 0),
    (torch.empty(1, 1, 1, 1).expand(2, 3, 4, 5), 0),
], ids=["last", "part", "planes", "narrowed", "expanded"])
def test_how_far_places_are_apart_is_read_off_the_map(x: Tensor, apart: int) -> None:
    assert batchnorm_silu.step(x) == apart


@needs
def test_the_same_numbers_come_out_every_time() -> None:
    first, again = (ran(batchnorm_silu.norm_act, *pieces((8, 24, 40, 40))) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@needs
def test_a_number_that_is_none_is_not_hidden() -> None:
    x, _, norm = pieces((2, 16, 8, 8))
    x[0, 3, 2, 2] = float("nan")
    out = batchnorm_silu.norm_act(x, norm)
    assert out[:, 3].isnan().all()
    assert out[:, [0, 1, 2, 4]].isfinite().all()


@needs
def test_a_convolution_uses_it_while_it_trains_and_only_then() -> None:
    torch.manual_seed(0)
    layer = Conv(8, 16, 3).to(memory_format=LAST)
    model = nn.Sequential(layer)
    x = torch.randn(2, 8, 12, 12).contiguous(memory_format=LAST)

    def out() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    stock = out()
    with batchnorm_silu.fused(model):
        one = out()
        assert "_NormAct" in type(one.grad_fn).__name__
        model.eval()
        assert "_NormAct" not in type(out().grad_fn).__name__
        model.train()
        assert "_NormAct" not in type(model(x).grad_fn).__name__, "nothing is half in float32"
    assert "_NormAct" not in type(out().grad_fn).__name__
    assert "forward" not in vars(layer)
    torch.testing.assert_close(one, stock, atol=0.05, rtol=0.05)
    model.eval()
    with torch.no_grad():
        stock = out()
        with batchnorm_silu.fused(model):
            one = out()
    assert not torch.equal(one, stock), "the operator did not run"
    torch.testing.assert_close(one, stock, atol=0.05, rtol=0.05)


@needs
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_with_statistics_that_are_known_it_is_as_exact(shape: tuple[int, ...], silu: bool) -> None:
    x, _, norm = pieces(shape)
    norm(x.float())  # which moves the running statistics
    norm.eval()
    act = nn.functional.silu if silu else (lambda y: y)
    with torch.no_grad():
        exact, stock = act(copy.deepcopy(norm).double()(x.double())), act(norm(x))
        found = batchnorm_silu.norm_act_(x, norm, silu)
    assert found.data_ptr() == x.data_ptr()
    assert off([found], [exact])[0] <= max(1.2 * off([stock], [exact])[0], 2**-8)


@needs
def test_half_of_a_map_comes_to_a_residual_unit_in_one_piece() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Bottleneck(16, 16)).to(memory_format=LAST).eval()
    half = torch.randn(2, 32, 12, 12).bfloat16().contiguous(memory_format=LAST).chunk(2, 1)[1]
    seen: list[Tensor] = []
    model[0].cv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        stock = model(half)
        with batchnorm_silu.fused(model):
            torch.testing.assert_close(model(half), stock, atol=0.05, rtol=0.05)
    assert [one.is_contiguous(memory_format=LAST) for one in seen] == [False, True]
    assert "forward" not in vars(model[0])


@needs
def test_what_a_convolutions_hook_holds_is_not_written_over() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Conv(8, 16, 3)).to(memory_format=LAST).eval()
    held: list[Tensor] = []
    model[0].conv.register_forward_hook(lambda module, inputs, output: held.append(output))
    x = torch.randn(2, 8, 12, 12).contiguous(memory_format=LAST)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), batchnorm_silu.fused(model):
        model(x)
        assert torch.equal(held[0], nn.functional.conv2d(x, model[0].conv.weight, padding=1))


@needs
def test_what_carries_a_hook_or_a_graft_is_left_alone() -> None:
    model = YOLO("yolo11n.yaml", graft="se@0.bn + se@1.bn").model.train()
    seen: list[int] = []
    model.model[2].cv1.bn.register_forward_hook(lambda *args: seen.append(1))
    with batchnorm_silu.fused(model):
        changed = {name for name, module in model.named_modules() if "forward" in vars(module)}
    assert not changed & {"model.0", "model.1", "model.2.cv1"}
    assert "model.2.cv2" in changed


@needs
def test_a_backbone_has_the_gradient_that_it_has_in_single_precision() -> None:
    torch.manual_seed(0)
    model = select.laid_out(YOLO("yolo11n.yaml", graft="se@4").model.train())
    backbone = model.model[:9]  # deeper, fresh weights make rounding into anything, in either way of bfloat16
    x = torch.rand(16, 3, 128, 128).contiguous(memory_format=LAST)  # enough that batch statistics aren't chance
    gradients = []
    for half, fused in ((False, False), (True, False), (True, True)):
        model.zero_grad()
        with batchnorm_silu.fused(model) if fused else nullcontext(), torch.autocast("cpu", torch.bfloat16, enabled=half):
            backbone(x).float().square().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in backbone.parameters()]))
    apart, together = (nn.functional.cosine_similarity(gradients[0], one, dim=0) for one in gradients[1:])
    assert together > 0.99
    assert together > apart - 0.002


def test_without_a_compiler_the_reason_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(build, "cpu", lambda: "avx512_bf16")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for compiler, said in (("no-such-compiler", "no-such-compiler"), ("false", "false cannot build it")):
        monkeypatch.setenv("CC", compiler)
        batchnorm_silu._library.cache_clear()
        batchnorm_silu.refused.cache_clear()
        try:
            assert said in batchnorm_silu.refused()
            with pytest.raises(GraftError, match="cannot be one operator here"):
                batchnorm_silu._loaded()
        finally:
            batchnorm_silu._library.cache_clear()
            batchnorm_silu.refused.cache_clear()
    assert not list((tmp_path / "yolograft").glob("*.so"))


def test_a_cpu_that_cannot_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "cpu", lambda: "avx2")
    batchnorm_silu._library.cache_clear()
    batchnorm_silu.refused.cache_clear()
    try:
        assert batchnorm_silu.refused() == "this CPU has no AVX512-BF16"
    finally:
        batchnorm_silu._library.cache_clear()
        batchnorm_silu.refused.cache_clear()
