"""FCA: frequency channel attention.

Paper: Qin, Zhang, Wu, Li, "FcaNet: Frequency Channel Attention Networks", ICCV 2021, arXiv:2012.11879.

Deviations: the authors compute the size of the cosine grid from the width of a ResNet stage; here it is a setting. The
authors' channels split evenly among the frequencies; other numbers are split here as evenly as possible.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._pool import adaptive_average
from yolograft.blocks._settings import check_choice, check_integer, check_number, hidden_channels
from yolograft.blocks._vector import linear_1x1
from yolograft.errors import BlockError
from yolograft.language import tr

__all__ = ["FCA"]

# frequencies (along H, along W) of a 7 x 7 grid in the order of the authors' ranking on ImageNet ("top"), best first
_RANKING = tuple(zip(
    (0, 0, 6, 0, 0, 1, 1, 4, 5, 1, 3, 0, 0, 0, 3, 2, 4, 6, 3, 5, 5, 2, 6, 5, 5, 3, 3, 4, 2, 2, 6, 1),
    (0, 1, 0, 5, 2, 0, 2, 0, 0, 6, 0, 4, 6, 3, 5, 2, 6, 3, 3, 3, 5, 1, 1, 2, 4, 2, 1, 1, 3, 0, 5, 3),
    strict=True,
))


@block("fca", aliases=("FCA", "FcaLayer", "FcaNet", "FCALayer", "MultiSpectralAttentionLayer", "FCAAttention"))
class FCA(nn.Module):
    """SE whose squeeze uses several cosine frequencies (DCT), not only the average.

    z_c = sum_ij p_ij cos(pi u (i + 1/2) / S) cos(pi v (j + 1/2) / S), up to the constants of the DCT (eq. 2, 9). p is
    the map averaged to S x S cells; (u, v) is the frequency of the channel group of c.
    y = x sigmoid(W2 relu(W1 z)).
    With `init="identity"` W2 starts at zero and the gate is doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W); C must be at least `frequencies`.
    Parameters: 2 C h; h is the hidden width.
    Operations: about 16 C per pixel, and 4 C h per image.

    Args:
        channels: C.
        frequencies: how many frequencies of the ranking share the channels: 1, 2, 4, 8, 16 or 32.
        size: S, a multiple of 7 (the ranking is of a 7 x 7 grid and is scaled up as in the authors' code).
        ratio: the reduction ratio r; h = max(minimum, round(C / r)), at most C.
        minimum: the smallest hidden width.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Qin et al., ICCV 2021, arXiv:2012.11879", year=2020, kind="channel",
                  use="periodic texture: the squeeze uses frequencies as well as the average")
    waves: Tensor

    def __init__(
        self,
        channels: int,
        *,
        frequencies: int = 16,
        size: int = 7,
        ratio: float = 16,
        minimum: int = 1,
        init: str = "identity",
    ) -> None:
        super().__init__()
        check_integer("fca", "frequencies", frequencies)
        check_integer("fca", "size", size)
        check_number("fca", "ratio", ratio, minimum=1)
        check_integer("fca", "minimum", minimum)
        check_choice("fca", "init", init, INITS)
        if frequencies not in (1, 2, 4, 8, 16, 32):
            raise BlockError(tr("fca: frequencies={frequencies} is not one of 1, 2, 4, 8, 16, 32.", frequencies=frequencies))
        if frequencies > channels:
            raise BlockError(tr("fca: frequencies={frequencies} needs at least {frequencies} channels, not {channels}. "
                                "The nearest that works is frequencies={fitting}.", frequencies=frequencies,
                                channels=channels, fitting=2 ** int(math.log2(channels))))
        if size % 7:
            raise BlockError(tr("fca: size={size} must be a multiple of 7, such as 7 or 14.", size=size))
        width = hidden_channels(channels, ratio, minimum)
        self.size, self.init = size, init
        self.register_buffer("waves", _waves(channels, frequencies, size), persistent=False)
        self.fc1 = nn.Conv2d(channels, width, 1, bias=False)
        self.fc2 = nn.Conv2d(width, channels, 1, bias=False)
        if init == "identity":
            zero_init(self.fc2)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, 1, 1)."""
        z = (adaptive_average(x, self.size, self.size) * self.waves.to(x.dtype)).sum((2, 3))
        return x * gate(linear_1x1(self.fc2, F.relu(linear_1x1(self.fc1, z))), self.init)[:, :, None, None]

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"size={self.size}, init={self.init}"


def _waves(channels: int, frequencies: int, size: int) -> Tensor:
    """Return (C, size, size): the orthonormal DCT-II basis map of each channel's frequency."""
    position = (torch.arange(size, dtype=torch.float64) + 0.5) * math.pi / size

    def wave(frequency: int) -> Tensor:
        norm = 1 / size if frequency == 0 else 2 / size
        return torch.cos(position * frequency) * math.sqrt(norm)

    scale = size // 7
    maps = [torch.outer(wave(u * scale), wave(v * scale)) for u, v in _RANKING[:frequencies]]
    return torch.stack([maps[channel * frequencies // channels] for channel in range(channels)]).float()
