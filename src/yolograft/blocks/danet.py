"""PAM and CAM: DANet's position attention and channel attention.

Paper: Fu, Liu, Tian, Li, Bao, Fang, Lu, "Dual Attention Network for Scene Segmentation", CVPR 2019,
arXiv:1809.02983.

PAM never allocates its N x N attention matrix (see `_attention`), so a 160 x 160 map fits into memory.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._attention import attend
from yolograft.blocks._birth import INITS
from yolograft.blocks._layout import match_memory_format
from yolograft.blocks._settings import check_choice, check_number, hidden_channels

__all__ = ["CAM", "PAM"]


@block("pam", aliases=("PAM", "PAM_Module", "PositionAttention", "PositionAttentionModule"))
class PAM(nn.Module):
    """Position attention: add to each position a sum of the values of all positions, weighted by similarity.

    y_i = x_i + alpha sum_j softmax_j(q_i . k_j) v_j, with C / r channels in q and k (eq. 1-2).
    The paper starts with alpha = 0, which is an identity: `init="identity"` and `init="paper"` are the same.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: C^2 + 2 C h + 2 h + C + 1; h is the width of queries and keys.
    Operations: 2 C^2 + 4 C h + 4 N C per pixel, with N = H W positions.

    Args:
        channels: C.
        ratio: the reduction ratio r of queries and keys; h = max(1, round(C / r)); 8 in the paper.
        init: `identity` or `paper`, which are the same for this block.
    """

    about = About(paper="Fu et al., CVPR 2019, arXiv:1809.02983", year=2018, kind="global",
                  use="when similar objects far apart should be treated alike; at p5, because time grows with N^2")

    def __init__(self, channels: int, *, ratio: float = 8, init: str = "identity") -> None:
        super().__init__()
        check_number("pam", "ratio", ratio, minimum=1)
        check_choice("pam", "init", init, INITS)
        width = hidden_channels(channels, ratio)
        self.widths = (width, channels)
        self.query = nn.Conv2d(channels, width, 1)
        self.key = nn.Conv2d(channels, width, 1)
        self.value = nn.Conv2d(channels, channels, 1)
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Add the weighted sums to x: (B, C, H, W)."""
        query, key, value = (layer(x).flatten(2).transpose(1, 2)[:, :, None]
                             for layer in (self.query, self.key, self.value))
        u = attend(query, key, value, scale=1.0, widths=self.widths)[:, :, 0]
        return match_memory_format(x + self.alpha * u.transpose(1, 2).unflatten(2, x.shape[2:]), x)


@block("cam", aliases=("CAM", "CAM_Module", "ChannelAttentionModule"))
class CAM(nn.Module):
    """Channel attention: add to each channel a sum of all channels, in which the least similar weigh most.

    y_i = x_i + beta sum_j softmax_j(max_j e_ij - e_ij) x_j, e = x x^T over the positions (eq. 3-4, with the sign of the
    authors' code).
    The paper starts with beta = 0, which is an identity: `init="identity"` and `init="paper"` are the same.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 1.
    Operations: 4 C^2 per pixel.

    Args:
        channels: C.
        init: `identity` or `paper`, which are the same for this block.
    """

    about = About(paper="Fu et al., CVPR 2019, arXiv:1809.02983", year=2018, kind="channel",
                  use="together with PAM: channels exchange information, with one parameter")

    def __init__(self, channels: int, *, init: str = "identity") -> None:
        super().__init__()
        check_choice("cam", "init", init, INITS)
        self.beta = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor) -> Tensor:
        """Add the weighted sums of channels to x: (B, C, H, W)."""
        flat = x.flatten(2)
        wide = flat.to(torch.promote_types(x.dtype, torch.float32))  # sums of products overflow float16
        with torch.autocast(x.device.type, enabled=False):
            energy = wide @ wide.transpose(1, 2)
        weights = (energy.amax(2, keepdim=True) - energy).softmax(2).to(x.dtype)
        return match_memory_format(x + self.beta * (weights @ flat).unflatten(2, x.shape[2:]), x)
