"""MLCA: mixed local channel attention.

Paper: Wan, Lu, Shen, Xu, Zhou, "Mixed local channel attention for object detection", Engineering Applications
of Artificial Intelligence 123, 2023, doi:10.1016/j.engappai.2023.106442.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._pool import adaptive_average
from yolograft.blocks._settings import check_choice, check_integer, check_number
from yolograft.blocks.eca import odd_kernel

__all__ = ["MLCA"]


@block("mlca", aliases=("MLCA", "MLCAAttention", "MixedLocalChannelAttention"))
class MLCA(nn.Module):
    """ECA in every cell of a coarse grid, mixed with ECA of the whole map.

    p = x averaged to s x s cells; l = conv1d_k over p's channels, cell after cell; g = conv1d_k over the mean
    of p; y = x unsqueeze_hw((1 - w) sigmoid(g) + w sigmoid(l)), spread back by adaptive averaging; k as in ECA.
    With `init="identity"` both convolutions start at zero and the gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W). Parameters: 2 k. Operations: about 4 (s + 1) C per pixel.

    Args:
        channels: C.
        local_size: s.
        local_weight: w, between 0.01 and 0.99.
        gamma: k is the odd number next to (log2(C) + beta) / gamma.
        beta: see gamma.
        init: `identity` or `paper`.
    """

    about = About(paper="Wan et al., Eng. Appl. Artif. Intell. 2023", year=2023, kind="mixed",
                  use="ECA that also looks locally; written for YOLO")

    def __init__(
        self,
        channels: int,
        *,
        local_size: int = 5,
        local_weight: float = 0.5,
        gamma: float = 2,
        beta: float = 1,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_integer("mlca", "local_size", local_size)
        check_number("mlca", "local_weight", local_weight, minimum=0.01, maximum=0.99)
        check_number("mlca", "gamma", gamma, minimum=0.01)
        check_number("mlca", "beta", beta, minimum=0)
        check_choice("mlca", "init", init, INITS)
        kernel = odd_kernel(channels, gamma, beta)
        self.local_size, self.local_weight, self.init = local_size, local_weight, init
        self.conv = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        self.conv_local = nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False)
        if init == "identity":
            zero_init(self.conv, self.conv_local)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, H, W), smooth over the grid's cells."""
        size = self.local_size
        cells = adaptive_average(x, size, size)
        g = self.conv(cells.mean((2, 3))[:, None]).transpose(1, 2)
        l = self.conv_local(cells.flatten(2).transpose(1, 2).flatten(1)[:, None])  # noqa: E741
        l = l.view(-1, size * size, x.shape[1]).transpose(1, 2)  # noqa: E741
        # spread what the gates differ from their value at birth: averages of ones need not be exactly one
        birth = 1.0 if self.init == "identity" else 0.0
        everywhere, here = gate(g, self.init) - birth, gate(l, self.init) - birth
        mixed = everywhere * (1 - self.local_weight) + here * self.local_weight
        return x * (birth + adaptive_average(mixed.unflatten(2, (size, size)), x.shape[2], x.shape[3]))

    def extra_repr(self) -> str:
        """Show the settings that no child shows."""
        return f"local_size={self.local_size}, local_weight={self.local_weight}, init={self.init}"
