"""The mean of the softmax is PyTorch's to the last digits; what has a gradient, or another type, is Ultralytics' own."""

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from ultralytics.nn.modules.block import DFL

from yolograft.host import expectation

needs = pytest.mark.skipif(bool(expectation.refused()), reason=f"not on this machine: {expectation.refused()}")


def exact(x: Tensor) -> Tensor:
    numbers = torch.arange(x.shape[2], dtype=torch.float64)
    return torch.einsum("bskp,k->bsp", x.double().softmax(2), numbers)


@needs
@settings(max_examples=60, deadline=None)
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 300), st.floats(0, 60), st.integers(0, 2**31))
def test_it_is_the_mean_of_the_softmax(batch: int, bins: int, places: int, spread: float, seed: int) -> None:
    torch.manual_seed(seed)
    x = spread * torch.randn(batch, 4, bins, places) + 100 * torch.randn(batch, 4, 1, places)
    torch.testing.assert_close(expectation.expected(x).double(), exact(x), rtol=2e-6, atol=2e-6)


@needs
def test_the_number_of_threads_changes_nothing() -> None:
    x, threads, found = torch.randn(2, 4, 16, 333), torch.get_num_threads(), []
    try:
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            found.append(expectation.expected(x))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(one, found[0]) for one in found)


@needs
def test_a_number_that_is_none_is_not_hidden() -> None:
    x = torch.zeros(1, 4, 16, 70)
    x[0, 1, 5, 66] = float("nan")
    found = expectation.expected(x)
    assert found[0, 1, 66].isnan()
    assert found.isnan().sum() == 1


@needs
def test_heads_take_it_meanwhile_and_only_then(monkeypatch: pytest.MonkeyPatch) -> None:
    head, x, calls = DFL(16), 5 * torch.randn(2, 64, 50), []
    ours = expectation.expected
    monkeypatch.setattr(expectation, "expected", lambda x: calls.append(x.shape) or ours(x))
    with torch.no_grad():
        stock = head(x)
        with expectation.quicker():
            torch.testing.assert_close(head(x), stock, rtol=2e-6, atol=2e-6)
            head.double()(x.double())
        head.float()(x)
    with expectation.quicker():
        assert head(x.clone().requires_grad_()).requires_grad, "a gradient goes through"
    assert calls == [(2, 4, 16, 50)]


def test_without_a_compiler_heads_stay_as_they_are(uncompiled: Callable[[Any], None]) -> None:
    uncompiled(expectation)
    stock = DFL.forward
    assert "no C compiler" in expectation.refused()
    with expectation.quicker():
        assert DFL.forward is stock
