"""Values that overflow float16: found in the part that gives them, and said by the trainer."""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolograft import YOLO, blocks
from yolograft.host import half_precision
from yolograft.host.half_precision import LIMIT, first_overflow, peaks, say_overflow

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings


class Squares(nn.Module):
    """A block with a product that float16 cannot hold; its result is small again."""

    def __init__(self, channels: int, *, factor: float = 1e4, wide: bool = False) -> None:
        super().__init__()
        self.factor, self.wide = factor, wide

    def forward(self, x: Tensor) -> Tensor:
        x_ = x.to(torch.float32) if self.wide else x
        y: Tensor = ((torch.ones_like(x_) * self.factor) * self.factor / self.factor / self.factor).to(x.dtype)
        return x * y


@cache
def network(graft: str) -> Any:
    if "squares" not in blocks.names():
        blocks.block("squares")(Squares)
    return YOLO("yolo11n.yaml", graft=graft).model


IMAGES = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("autocast", [False, True])
def test_the_block_that_overflows_is_named_and_not_what_follows(autocast: bool) -> None:
    peak = first_overflow(network("squares@6 + se@8"), IMAGES, autocast=autocast)
    assert peak is not None
    assert (peak.part, peak.block, peak.overflows) == ("model.6.graft.0", True, True)
    assert peak.magnitude == pytest.approx(1e8, rel=0.01)
    assert peak.operator == "mul"


def test_a_block_that_computes_in_float32_on_purpose_does_not_count() -> None:
    assert first_overflow(network("squares(wide=True)@6"), IMAGES) is None


@pytest.mark.parametrize("factor", [250.0, 260.0])
def test_the_limit_is_the_largest_number_of_float16(factor: float) -> None:
    peak = first_overflow(network(f"squares(factor={factor})@6"), IMAGES)
    assert (peak is not None) == (factor**2 > LIMIT)


def test_every_row_and_block_has_a_peak_and_the_network_is_not_changed() -> None:
    model = network("se@8 + cbam@p3,p4,p5")
    before = {key: value.clone() for key, value in model.state_dict().items()}
    found = {peak.part: peak for peak in peaks(model, IMAGES)}
    assert {f"model.{row}" for row in range(24)} <= set(found)
    assert sum(peak.block for peak in found.values()) == 4
    assert not any(peak.overflows for peak in found.values())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert not any(module._forward_pre_hooks for module in model.model[:8])


@pytest.mark.parametrize("name", blocks.names())
def test_no_block_of_ours_overflows_for_large_features(name: str) -> None:
    block = blocks.create(name, 256).to(torch.bfloat16).eval()
    x = torch.randn(1, 256, 20, 20, generator=torch.Generator().manual_seed(1)) * 30  # row 8 of YOLO11n gives at most 20
    recorder = half_precision._PeakRecorder()
    recorder.stack = [name]
    with torch.no_grad(), recorder:
        block(x.to(torch.bfloat16))
    assert not recorder.overflowed, recorder.found


def trainer(**facts: Any) -> Any:
    dataset = [{"img": torch.full((3, 64, 64), 128, dtype=torch.uint8)}]
    return SimpleNamespace(**{"amp": True, "model": network("squares@6"), "test_loader": SimpleNamespace(dataset=dataset),
                              "tloss": torch.tensor([1.0, 2.0]), "metrics": {"metrics/mAP50(B)": 0.0, "val/box_loss": 1.0},
                              **facts})


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(half_precision, "warn", lines.append)
    return lines


@pytest.mark.parametrize("facts", [{}, {"tloss": torch.tensor([float("nan"), 2.0]), "metrics": {"metrics/mAP50(B)": 0.4}}])
def test_the_trainer_says_which_block_overflowed_once(facts: dict[str, Any], said: list[str]) -> None:
    one = trainer(**facts)
    say_overflow(one)
    say_overflow(one)
    (line,) = said
    assert "the block model.6.graft.0 gives values up to 9.96e+07 (in mul)" in line, "1e8 in bfloat16"
    assert "amp=False" in line


@pytest.mark.parametrize("facts", [{"amp": False}, {"metrics": {"metrics/mAP50(B)": 0.1}},
                                   {"metrics": {"metrics/mAP50(B)": 0.1}, "tloss": None}])
def test_the_trainer_says_nothing_without_a_failure(facts: dict[str, Any], said: list[str]) -> None:
    say_overflow(trainer(**facts))
    assert said == []


def test_every_grafted_trainer_has_the_callback() -> None:
    from yolograft.host.trainer import GraftTrainer

    assert "say_overflow" in GraftTrainer.__init__.__code__.co_names
