"""PSA: polarized self-attention.

Paper: Liu, Liu, Fan, Huang, "Polarized Self-Attention: Towards High-quality Pixel-wise Regression", arXiv:2107.00782
(2021; Neurocomputing 2022).

Deviation: the order of the products. A weighted sum of W x equals W times the weighted sum of x. The value is the same,
but W multiplies one vector and not a whole map, which is much faster.
"""

from __future__ import annotations

from torch import Tensor, nn

from yolograft.blocks import block
from yolograft.blocks._about import About
from yolograft.blocks._birth import INITS, gate, zero_init
from yolograft.blocks._settings import check_choice
from yolograft.blocks._vector import average, linear_1x1

__all__ = ["PSA"]


@block("psa", aliases=("PolarizedSelfAttention", "ParallelPolarizedSelfAttention", "PSA_p", "PSA_s",
                       "SequentialPolarizedSelfAttention", "PolarizedAttention"))
class PSA(nn.Module):
    """A channel gate and a spatial gate; each pools only over the other dimension.

    Channel gate: c = sigmoid(LN(Wz (Wv x softmax_HW(Wq x)))), with C / 2 channels after Wv and 1 after Wq (eq. 3).
    Spatial gate: s = sigmoid(softmax_C(avg Vq x) (Vv x)), with C / 2 channels after Vq and Vv (eq. 4).
    Parallel: y = c x + s x (eq. 5). Sequential: y = s(c x) c x (eq. 6).
    With `init="identity"` LN and Vv start at zero. In the parallel form two gates of 0.5 add up to 1; in the sequential
    form the gates are doubled.

    Shapes: (B, C, H, W) -> (B, C, H, W).
    Parameters: 2 C^2 + 5.5 C + 1 (C even).
    Operations: 8 C per pixel, and 4 C^2 per image.

    Args:
        channels: C.
        form: `parallel` or `sequential`.
        init: `identity` (a new block returns its input bit for bit) or `paper` (as published).
    """

    about = About(paper="Liu et al., arXiv:2107.00782", year=2021, kind="mixed",
                  use="when exact positions matter (keypoints, thin defects): no pooling within a gate's own dimension")

    def __init__(self, channels: int, *, form: str = "parallel", init: str = "identity") -> None:
        super().__init__()
        check_choice("psa", "form", form, ("parallel", "sequential"))
        check_choice("psa", "init", init, INITS)
        half = max(1, channels // 2)
        self.form, self.init = form, init
        self.channel_query = nn.Conv2d(channels, 1, 1)
        self.channel_value = nn.Conv2d(channels, half, 1)
        self.channel_out = nn.Conv2d(half, channels, 1)
        self.norm = nn.LayerNorm(channels)
        self.spatial_query = nn.Conv2d(channels, half, 1)
        self.spatial_value = nn.Conv2d(channels, half, 1)
        if init == "identity":
            zero_init(self.norm, self.spatial_value)

    def forward(self, x: Tensor) -> Tensor:
        """Scale x: (B, C, H, W) by (B, C, 1, 1) and by (B, 1, H, W)."""
        channel = self._channel(x)
        if self.form == "parallel":
            return x * channel.sigmoid() + x * self._spatial(x).sigmoid()
        x = x * gate(channel, self.init)
        return x * gate(self._spatial(x), self.init)

    def _channel(self, x: Tensor) -> Tensor:
        weights = self.channel_query(x).flatten(2).softmax(2).to(x.dtype)
        z = linear_1x1(self.channel_value, (x.flatten(2) @ weights.transpose(1, 2))[..., 0])
        return self.norm(linear_1x1(self.channel_out, z))[:, :, None, None].to(x.dtype)

    def _spatial(self, x: Tensor) -> Tensor:
        weights = linear_1x1(self.spatial_query, average(x, 2, 3)).softmax(1).to(x.dtype)
        vector = weights @ self.spatial_value.weight.flatten(1).to(x.dtype)
        bias = weights @ self.spatial_value.bias.to(x.dtype)  # type: ignore[union-attr]
        logits = (vector[:, None] @ x.flatten(2))[:, 0] + bias[:, None]
        return logits.unflatten(1, x.shape[2:])[:, None].to(x.dtype)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"form={self.form}, init={self.init}"
