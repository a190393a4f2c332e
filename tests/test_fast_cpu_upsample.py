"""Upsampling by 2 equals PyTorch's, with an exact gradient, and is used only in bfloat16 training."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft import YOLO
from yolograft.fast.cpu import upsample

REASON = upsample.KERNEL.unavailable_reason()
needs = pytest.mark.skipif(bool(REASON), reason=f"not on this machine: {REASON}")
LAST = torch.channels_last


def gradients(x: Tensor, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradient by our operator and the exact one."""
    ours, exact = x.clone(memory_format=torch.preserve_format).requires_grad_(), x.double().requires_grad_()
    out = upsample.upsample_2x(ours)
    assert torch.equal(out, F.interpolate(x, scale_factor=2))
    out.backward(gradient)
    F.interpolate(exact, scale_factor=2).backward(gradient.double())
    return ours.grad, exact.grad


@needs
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 70), st.integers(1, 9), st.integers(1, 9), st.integers(0, 20),
       st.integers(0, 2**31))
def test_the_gradient_of_a_slice_of_a_larger_map_is_exact(
    batch: int, channels: int, height: int, width: int, more: int, seed: int
) -> None:
    torch.manual_seed(seed)
    x = torch.randn(batch, channels, height, width).bfloat16().contiguous(memory_format=LAST)
    whole = torch.randn(batch, channels + more, 2 * height, 2 * width).bfloat16().contiguous(memory_format=LAST)
    found, exact = gradients(x, whole[:, more:])
    assert found.is_contiguous(memory_format=LAST)
    torch.testing.assert_close(found.double(), exact, rtol=2**-8, atol=1e-6)  # one rounding to bfloat16's 8 bits


@needs
def test_a_gradient_of_another_layout_is_exact() -> None:
    x = torch.randn(2, 5, 3, 4).bfloat16().contiguous(memory_format=LAST)
    for gradient in (torch.randn(2, 5, 6, 8), torch.ones(1, 1, 1, 1).expand(2, 5, 6, 8), torch.randn(2, 5, 8, 6).mT):
        found, exact = gradients(x, gradient.bfloat16())
        torch.testing.assert_close(found.double(), exact, rtol=2**-7, atol=1e-6)


@needs
def test_nan_and_infinity_are_kept() -> None:
    gradient = torch.ones(1, 2, 4, 4).bfloat16().contiguous(memory_format=LAST)
    gradient[0, 1, 2, 3], gradient[0, 0, 0, 0] = float("nan"), float("inf")
    found, _ = gradients(torch.zeros(1, 2, 2, 2).bfloat16().contiguous(memory_format=LAST), gradient)
    assert found[0, 1].isnan().tolist() == [[False, False], [False, True]]
    assert found[0, 0].tolist() == [[float("inf"), 4], [4, 4]]


@needs
def test_layers_use_it_in_bfloat16_training_only() -> None:
    model = nn.Sequential(nn.Upsample(None, 2, "nearest"), nn.Upsample(None, 4, "nearest"), nn.Upsample(None, 2, "bilinear"))
    half = torch.randn(1, 4, 3, 3).bfloat16().contiguous(memory_format=LAST).requires_grad_()
    with upsample.patch_upsample(model):
        assert ["forward" in vars(layer) for layer in model] == [True, False, False]
        assert "Upsample2x" in type(model[0](half).grad_fn).__name__
        for other in (half.detach(), half.float(), half.contiguous()):
            assert "Upsample2x" not in type(model[0](other).grad_fn).__name__
            assert torch.equal(model[0](other), F.interpolate(other, scale_factor=2))
    assert not any("forward" in vars(layer) for layer in model)


@needs
def test_a_yolo_has_two_such_layers() -> None:
    model = YOLO("yolo11n.yaml").model
    with upsample.patch_upsample(model):
        assert [name for name, layer in model.named_modules() if "forward" in vars(layer)] == ["model.11", "model.14"]
