"""`check_block` accepts a correct block and names the requirement that an incorrect block does not meet."""

from __future__ import annotations

from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from yolograft.testing import check_block


class Correct(nn.Module):
    def __init__(self, channels: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x).sigmoid()


class Shrinks(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3), keepdim=True)


class Widens(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x.double()


class InPlace(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x.mul_(2) if not x.requires_grad else x * 2


class NotFinite(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x / x.var((2, 3), keepdim=True)  # nan at 1x1


class Random(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x + torch.rand_like(x)


class CountsInEval(Correct):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.register_buffer("count", torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        self.count += 1
        return x * 2


class NoIdentity(Correct):
    def __init__(self, channels: int, *, init: str = "identity") -> None:
        super().__init__(channels)
        self.init = init


class NeedsABatch(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x * 2 if not self.training else x / (x.shape[0] * x.shape[2] * x.shape[3] - 1)


class Detached(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x.detach() * self.conv(x.detach())


class Dead(Correct):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.unused = nn.Parameter(torch.ones(channels))


class Lazy(Correct):
    def forward(self, x: Tensor) -> Tensor:
        if not hasattr(self, "scale"):
            self.scale = nn.Parameter(torch.ones(1))
        return x * self.scale


class Unpicklable(Correct):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.gate = lambda z: z.sigmoid()


class Shared(Correct):
    common: ClassVar[list[Tensor]] = [torch.ones(1)]

    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x) * self.common[0]

    def __deepcopy__(self, memo: dict) -> Shared:
        return self


class ReadsLayout(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x) * (1 if x.is_contiguous() else 2)


class WidensUnderAutocast(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x).float()


class Branches(Correct):
    def forward(self, x: Tensor) -> Tensor:
        return x * self.conv(x) * (2 if torch.jit.is_tracing() else 1)


class NoTrace(Correct):
    def forward(self, x: Tensor) -> Tensor:
        if torch.jit.is_tracing():
            raise RuntimeError("not here")
        return x * self.conv(x)


def test_a_correct_block_passes() -> None:
    check_block(Correct)
    check_block(Correct, channels=3, bias=False)
    check_block(NoIdentity, init="paper")


def test_the_random_state_of_the_caller_is_unchanged() -> None:
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    check_block(Correct)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize(("cls", "words"), [
    (Shrinks, "must keep the shape"), (Widens, "must keep the dtype"), (InPlace, "in place"),
    (NotFinite, "not finite at 1x1"),
    (Random, "two results"), (CountsInEval, "state in eval mode"), (NoIdentity, "before any training"),
    (NeedsABatch, "batch of one pixel"), (Detached, "no gradient to its input"), (Dead, "no gradient in 3 steps: .*unused"),
    (Lazy, "adds to its state dict"), (Shared, "deep copy"), (ReadsLayout, "channels_last"),
    (WidensUnderAutocast, "under autocast"), (Branches, "when it is traced"), (NoTrace, "cannot be traced"),
], ids=lambda value: value.__name__ if isinstance(value, type) else "")
@pytest.mark.filterwarnings("ignore")
def test_the_error_names_the_requirement(cls: type[nn.Module], words: str) -> None:
    with pytest.raises(AssertionError, match=words):
        check_block(cls)


def test_the_error_names_pickling() -> None:
    with pytest.raises(AssertionError, match="cannot be pickled"):
        check_block(Unpicklable)
