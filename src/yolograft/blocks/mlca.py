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
    """Apply ECA in every cell of a coarse grid and to the whole map, and mix the two gates.

    p = x averaged to s x s cells; l = conv1d_k over the channels of p, cell after cell;
    g = conv1d_k over the mean of p.
    y = x up((1 - w) sigmoid(g) + w sigmoid(l)), where up enlarges the s x s gates to H x W by adaptive averaging.
    With `init="identity"` both convolutions start at zero and the gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 k; k is computed as in `ECA`.
    Operations: about 4 (s + 1) C per pixel.

    Args:
        channels: C.
        local_size: s, the cells of the grid in each direction.
        local_weight: w, from 0.01 to 0.99.
        gamma: k is |(log2(C) + beta) / gamma| rounded to an odd number.
        beta: see `gamma`.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Wan et al., Eng. Appl. Artif. Intell. 2023", year=2023, kind="mixed",
                  use="ECA with local information as well; designed for YOLO")

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
        """Scale x: (B, C, H, W) by (B, C, H, W), one gate per cell of the grid, enlarged."""
        size = self.local_size
        cells = adaptive_average(x, size, size)
        g = self.conv(cells.mean((2, 3))[:, None]).transpose(1, 2)
        l = self.conv_local(cells.flatten(2).transpose(1, 2).flatten(1)[:, None])  # noqa: E741
        l = l.view(-1, size * size, x.shape[1]).transpose(1, 2)  # noqa: E741
        # an average of ones need not be exactly 1 in floating point, so only the differences from 1 are averaged
        offset = 1.0 if self.init == "identity" else 0.0
        global_gate, local_gate = gate(g, self.init) - offset, gate(l, self.init) - offset
        mixed = global_gate * (1 - self.local_weight) + local_gate * self.local_weight
        return x * (offset + adaptive_average(mixed.unflatten(2, (size, size)), x.shape[2], x.shape[3]))

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"local_size={self.local_size}, local_weight={self.local_weight}, init={self.init}"
