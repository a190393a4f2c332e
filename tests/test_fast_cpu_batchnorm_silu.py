"""The fused operator is as exact as PyTorch's two, in value, gradient and running statistics, and its patch ends."""

import copy
import dataclasses
from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn
from ultralytics.nn.modules import Bottleneck, Conv

from yolograft import YOLO, GraftError
from yolograft.fast.cpu import batchnorm_silu, bf16, build

LAST = torch.channels_last
SHAPES = [(2, 16, 9, 7), (1, 1, 4, 4), (3, 7, 5, 5), (4, 80, 8, 8), (2, 512, 3, 3), (16, 8, 32, 32), (2, 33, 1, 1)]
REASON = batchnorm_silu.KERNEL.unavailable_reason()
needs = pytest.mark.skipif(bool(REASON), reason=f"not on this machine: {REASON}")


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


def relative_errors(found: list[Tensor], exact: list[Tensor]) -> list[float]:
    return [float((one.double() - right).norm() / right.norm().clamp(min=1e-9))
            for one, right in zip(found, exact, strict=True)]


@needs
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_training_is_as_exact_as_the_two_operators(shape: tuple[int, ...], silu: bool) -> None:
    x, gradient, norm = pieces(shape)
    act = nn.functional.silu if silu else (lambda y: y)
    exact = ran(lambda x, norm: act(norm(x)), x.double(), gradient.double(), copy.deepcopy(norm).double())
    stock = ran(lambda x, norm: act(norm(x)), x, gradient, copy.deepcopy(norm))
    found = ran(lambda x, norm: batchnorm_silu.batch_norm_silu(x, norm, silu), x, gradient, norm)
    allowed = [2**-8, 2**-8, *[2e-3] * 4]  # maps are rounded to the 8 bits of bfloat16; sums and statistics are float
    for ours, theirs, most in zip(relative_errors(found, exact), relative_errors(stock, exact), allowed, strict=True):
        assert ours <= max(1.2 * theirs, most)
    assert found[0].dtype == torch.bfloat16
    assert found[0].is_contiguous(memory_format=LAST)
    assert norm.num_batches_tracked == 1


@needs
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_gradient_of_a_slice_of_a_larger_map_is_exact(shape: tuple[int, ...], silu: bool) -> None:
    x, gradient, norm = pieces(shape)
    larger = torch.full((shape[0], 2 * shape[1] + 3, *shape[2:]), float("nan")).bfloat16().contiguous(memory_format=LAST)
    part = larger[:, 2 : 2 + shape[1]]
    part.copy_(gradient)
    assert part.shape[2:] == (1, 1) or batchnorm_silu.pixel_stride(part) == larger.shape[1]
    act = nn.functional.silu if silu else (lambda y: y)
    exact = ran(lambda x, norm: act(norm(x)), x.double(), gradient.double(), copy.deepcopy(norm).double())
    found = ran(lambda x, norm: batchnorm_silu.batch_norm_silu(x, norm, silu), x, part, norm)
    stock = ran(lambda x, norm: act(norm(x)), x, gradient, copy.deepcopy(norm))
    allowed = [2**-8, 2**-8, *[2e-3] * 4]
    for ours, theirs, most in zip(relative_errors(found, exact), relative_errors(stock, exact), allowed, strict=True):
        assert ours <= max(1.2 * theirs, most)


@pytest.mark.parametrize(("x", "stride"), [
    (torch.empty(2, 3, 4, 5).contiguous(memory_format=LAST), 3),
    (torch.empty(2, 8, 4, 5).contiguous(memory_format=LAST)[:, 2:5], 8),
    (torch.empty(2, 3, 4, 5), 0),
    (torch.empty(2, 3, 4, 6).contiguous(memory_format=LAST)[..., :5], 0),
    (torch.empty(1, 1, 1, 1).expand(2, 3, 4, 5), 0),
], ids=["last", "part", "planes", "narrowed", "expanded"])
def test_the_pixel_stride_is_read_from_the_map(x: Tensor, stride: int) -> None:
    assert batchnorm_silu.pixel_stride(x) == stride


@needs
def test_the_result_is_the_same_every_time() -> None:
    first, again = (ran(batchnorm_silu.batch_norm_silu, *pieces((8, 24, 40, 40))) for _ in range(2))
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))


@needs
def test_nan_stays_visible() -> None:
    x, _, norm = pieces((2, 16, 8, 8))
    x[0, 3, 2, 2] = float("nan")
    out = batchnorm_silu.batch_norm_silu(x, norm)
    assert out[:, 3].isnan().all()
    assert out[:, [0, 1, 2, 4]].isfinite().all()


@needs
def test_a_convolution_uses_it_in_bfloat16_only() -> None:
    torch.manual_seed(0)
    layer = Conv(8, 16, 3).to(memory_format=LAST)
    model = nn.Sequential(layer)
    x = torch.randn(2, 8, 12, 12).contiguous(memory_format=LAST)

    def out() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            return model(x)

    stock = out()
    with batchnorm_silu.patch_conv(model):
        one = out()
        assert "_BatchNormSiLU" in type(one.grad_fn).__name__
        model.eval()
        assert "_BatchNormSiLU" not in type(out().grad_fn).__name__
        model.train()
        assert "_BatchNormSiLU" not in type(model(x).grad_fn).__name__, "it must not run in float32"
    assert "_BatchNormSiLU" not in type(out().grad_fn).__name__
    assert "forward" not in vars(layer)
    torch.testing.assert_close(one, stock, atol=0.05, rtol=0.05)
    model.eval()
    with torch.no_grad():
        stock = out()
        with batchnorm_silu.patch_conv(model):
            one = out()
    assert not torch.equal(one, stock), "the operator did not run"
    torch.testing.assert_close(one, stock, atol=0.05, rtol=0.05)


@needs
@pytest.mark.parametrize("silu", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_evaluation_is_as_exact_as_the_two_operators(shape: tuple[int, ...], silu: bool) -> None:
    x, _, norm = pieces(shape)
    norm(x.float())  # updates the running statistics
    norm.eval()
    act = nn.functional.silu if silu else (lambda y: y)
    with torch.no_grad():
        exact, stock = act(copy.deepcopy(norm).double()(x.double())), act(norm(x))
        found = batchnorm_silu.batch_norm_silu_(x, norm, silu)
    assert found.data_ptr() == x.data_ptr()
    assert relative_errors([found], [exact])[0] <= max(1.2 * relative_errors([stock], [exact])[0], 2**-8)


@needs
def test_a_residual_unit_gets_a_contiguous_map() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Bottleneck(16, 16)).to(memory_format=LAST).eval()
    half = torch.randn(2, 32, 12, 12).bfloat16().contiguous(memory_format=LAST).chunk(2, 1)[1]
    seen: list[Tensor] = []
    model[0].cv1.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        stock = model(half)
        with batchnorm_silu.patch_conv(model):
            torch.testing.assert_close(model(half), stock, atol=0.05, rtol=0.05)
    assert [one.is_contiguous(memory_format=LAST) for one in seen] == [False, True]
    assert "forward" not in vars(model[0])


@needs
def test_an_output_that_a_hook_holds_is_not_overwritten() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(Conv(8, 16, 3)).to(memory_format=LAST).eval()
    held: list[Tensor] = []
    model[0].conv.register_forward_hook(lambda module, inputs, output: held.append(output))
    x = torch.randn(2, 8, 12, 12).contiguous(memory_format=LAST)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16), batchnorm_silu.patch_conv(model):
        model(x)
        assert torch.equal(held[0], nn.functional.conv2d(x, model[0].conv.weight, padding=1))


@needs
def test_layers_with_a_hook_or_a_graft_are_not_patched() -> None:
    model = YOLO("yolo11n.yaml", graft="se@0.bn + se@1.bn").model.train()
    seen: list[int] = []
    model.model[2].cv1.bn.register_forward_hook(lambda *args: seen.append(1))
    with batchnorm_silu.patch_conv(model):
        changed = {name for name, module in model.named_modules() if "forward" in vars(module)}
    assert not changed & {"model.0", "model.1", "model.2.cv1"}
    assert "model.2.cv2" in changed


@needs
def test_the_gradient_of_a_backbone_is_close_to_float32() -> None:
    torch.manual_seed(0)
    model = bf16.to_channels_last(YOLO("yolo11n.yaml", graft="se@4").model.train())
    backbone = model.model[:9]  # in deeper layers, untrained weights amplify the rounding of both bfloat16 variants
    x = torch.rand(16, 3, 128, 128).contiguous(memory_format=LAST)  # enough values for stable batch statistics
    gradients = []
    for half, fused in ((False, False), (True, False), (True, True)):
        model.zero_grad()
        with (batchnorm_silu.patch_conv(model) if fused else nullcontext(),
              torch.autocast("cpu", torch.bfloat16, enabled=half)):
            backbone(x).float().square().mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in backbone.parameters()]))
    unfused, fused_ = (nn.functional.cosine_similarity(gradients[0], one, dim=0) for one in gradients[1:])
    assert fused_ > 0.99
    assert fused_ > unfused - 0.002


def test_without_a_compiler_there_is_a_reason(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setattr(build, "cpu_features", lambda: "avx512_bf16")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for compiler, reason in (("no-such-compiler", "no-such-compiler"), ("false", "false cannot build it")):
        monkeypatch.setenv("CC", compiler)
        monkeypatch.setattr(batchnorm_silu, "KERNEL", dataclasses.replace(batchnorm_silu.KERNEL))
        assert reason in batchnorm_silu.KERNEL.unavailable_reason()
        x, _, norm = pieces((2, 16, 4, 4))
        with pytest.raises(GraftError, match="cannot run on this machine"):
            batchnorm_silu.batch_norm_silu(x, norm)
    assert not list((tmp_path / "yolograft").glob("*.so"))


def test_without_avx512_bf16_there_is_a_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "cpu_features", lambda: "avx2")
    assert dataclasses.replace(batchnorm_silu.KERNEL).unavailable_reason() == "this CPU has no AVX512-BF16"
