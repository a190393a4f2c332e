"""CARAFE: content-aware reassembly of features, an up-sampling.

Paper: Wang, Chen, Xu, Liu, Loy, Lin, "CARAFE: Content-Aware ReAssembly of FEatures", ICCV 2019, arXiv:1905.02188.

The parameters have the names and the initial values of the authors' `CARAFEPack` in mmcv. The arguments have the order of
the class that YOLO forks copy, CARAFE(c, k_enc, k_up, c_mid, scale).

Deviation: that class has batch norm and SiLU in its two convolutions. The paper and the authors' code have neither.
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.modules import module
from yolograft.modules._settings import check_whole

__all__ = ["CARAFE"]


@module("CARAFE", channels="c1")
class CARAFE(nn.Module):
    """Each output position is a weighted sum over a neighbourhood of its source position, with predicted weights.

    W_l' = softmax(encoder(compressor(x))_l') over k_up^2 values, for the output position l' = (i', j') (eq. 1, 3);
    y_l' = sum over n, m of W_l'(n, m) x(i + n, j + m), |n|, |m| <= k_up / 2, with i = floor(i' / scale),
    j = floor(j' / scale) (eq. 4). x is zero outside the map.

    Shapes: (B, c, H, W) -> (B, c, scale H, scale W).
    Parameters: (c + 1) c_mid + (k_enc^2 c_mid + 1) scale^2 k_up^2.
    Operations: 2 c c_mid + 2 k_enc^2 c_mid scale^2 k_up^2 + 2 scale^2 k_up^2 c per input position.

    Args:
        c: channels.
        k_enc: kernel size of the encoder.
        k_up: size of the neighbourhood.
        c_mid: channels after the compressor.
        scale: the factor of height and width.
    """

    def __init__(self, c: int, k_enc: int = 3, k_up: int = 5, c_mid: int = 64, scale: int = 2) -> None:
        super().__init__()
        check_whole("CARAFE", "k_enc", k_enc, odd=True)
        check_whole("CARAFE", "k_up", k_up, odd=True)
        check_whole("CARAFE", "c_mid", c_mid)
        check_whole("CARAFE", "scale", scale)
        self.k_up, self.scale = k_up, scale
        self.channel_compressor = nn.Conv2d(c, c_mid, 1)
        self.content_encoder = nn.Conv2d(c_mid, k_up**2 * scale**2, k_enc, padding=k_enc // 2)
        nn.init.xavier_uniform_(self.channel_compressor.weight)
        nn.init.normal_(self.content_encoder.weight, std=0.001)
        for layer in (self.channel_compressor, self.content_encoder):
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c, scale H, scale W) for x: (B, c, H, W)."""
        k, height, width = self.k_up, x.shape[2], x.shape[3]
        logits = self.content_encoder(self.channel_compressor(x))
        # the encoder's channels are (k_up^2, scale^2), as pixel_shuffle reads them: one kernel per output position
        kernels = logits.unflatten(1, (k * k, self.scale**2)).softmax(1).to(x.dtype).unsqueeze(2)
        padded = F.pad(x, (k // 2, k // 2, k // 2, k // 2)).unsqueeze(2)
        y = None
        for at in range(k * k):
            row, column = divmod(at, k)
            term = padded[..., row:row + height, column:column + width] * kernels[:, at]
            y = term if y is None else y + term
        assert y is not None  # k_up is at least 1
        return F.pixel_shuffle(y.flatten(1, 2), self.scale)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"k_up={self.k_up}, scale={self.scale}"
