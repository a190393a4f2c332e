"""DySample: up-sampling by sampling at learned points.

Paper: Liu, Lu, Fu, Cao, "Learning to Upsample by Learning to Sample", ICCV 2023, arXiv:2308.15085.

The arguments, the parameters' names and their initial values are those of the authors' code, so its weights load. The
sampling points are computed in float32, because float16 cannot tell neighbouring points of a wide map apart.
"""

from __future__ import annotations

from importlib import import_module

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.errors import ModuleError
from yolograft.language import tr
from yolograft.modules import module
from yolograft.modules._settings import check_divides, check_whole

__all__ = ["DySample"]

_GRID_SAMPLE_OPSET = 16  # the first version of ONNX with the operator GridSample


@module("DySample", aliases=("DySample_UP", "Dy_Sample"), channels="c1")
class DySample(nn.Module):
    """Sample the input bilinearly at points that start on the grid of bilinear up-sampling and move by learned offsets.

    O = 0.25 linear(x), or 0.5 sigmoid(linear_1 x) linear_2 x with the dynamic scope (eq. 3-6, section 3.2);
    y = sample(x, G + O), with G the grid of bilinear up-sampling, for each group of channels on its own.
    In the style `lp` the linear layer gives the offsets of all scale^2 output positions, then they are shuffled to the
    output's size; in the style `pl` the input is shuffled first. Outside the map, the nearest value of the map counts.

    Shapes: (B, C, H, W) -> (B, C, scale H, scale W).
    Parameters: 2 g s^2 (C + 1) for `lp`, 2 g (C / s^2 + 1) for `pl`, with s = scale, g = groups; twice with `dyscope`.

    Args:
        in_channels: C; `groups` must divide it, and scale^2 for `pl`.
        scale: s, the factor of height and width.
        style: `lp` (linear, then pixel shuffle) or `pl` (pixel shuffle, then linear).
        groups: g, the number of groups of channels with points of their own; the paper has 4 for `lp` and 8 for `pl`.
        dyscope: whether the range of the offsets is learned for each point.
    """

    init_pos: Tensor

    def __init__(self, in_channels: int, scale: int = 2, style: str = "lp", groups: int = 4,
                 dyscope: bool = False) -> None:
        super().__init__()
        check_whole("DySample", "scale", scale)
        check_whole("DySample", "groups", groups)
        check_divides("DySample", "groups", groups, in_channels)
        if style not in ("lp", "pl"):
            raise ModuleError(tr("DySample: style={value!r} must be 'lp' or 'pl'.", value=style))
        if style == "pl" and in_channels % scale**2:
            raise ModuleError(tr("DySample: style=pl needs channels that {square} divides, not {channels}. Use style=lp.",
                                 square=scale**2, channels=in_channels))
        self.scale, self.style, self.groups = scale, style, groups
        width, points = (in_channels // scale**2, 1) if style == "pl" else (in_channels, scale**2)
        self.offset = nn.Conv2d(width, 2 * groups * points, 1)
        nn.init.normal_(self.offset.weight, std=0.001)
        nn.init.zeros_(self.offset.bias)  # type: ignore[arg-type]
        self.scope = nn.Conv2d(width, 2 * groups * points, 1) if dyscope else None
        if self.scope is not None:
            nn.init.zeros_(self.scope.weight)
            nn.init.zeros_(self.scope.bias)  # type: ignore[arg-type]
        self.init_pos: Tensor
        self.register_buffer("init_pos", self._points_of_bilinear())

    def _points_of_bilinear(self) -> Tensor:
        """Return G relative to the centre of the source pixel: (1, 2 g s^2, 1, 1), first x, then y."""
        steps = (torch.arange(self.scale) - (self.scale - 1) / 2) / self.scale
        y, x = torch.meshgrid(steps, steps, indexing="ij")
        return torch.stack((x, y)).unsqueeze(1).repeat(1, self.groups, 1, 1).reshape(1, -1, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, C, scale H, scale W) for x: (B, C, H, W)."""
        if self.style == "pl":
            offset = F.pixel_unshuffle(self._offset(F.pixel_shuffle(x, self.scale)), self.scale)
        else:
            offset = self._offset(x)
        return self._sample(x, offset + self.init_pos)

    def _offset(self, x: Tensor) -> Tensor:
        offset: Tensor = self.offset(x)
        return offset * 0.25 if self.scope is None else offset * self.scope(x).sigmoid() * 0.5

    def _sample(self, x: Tensor, offset: Tensor) -> Tensor:
        """Sample x: (B, C, H, W) at its pixels plus the offset: (B, 2 g s^2, H, W), in pixels."""
        batch, channels, height, width = x.shape
        s, g = self.scale, self.groups
        dtype = torch.promote_types(x.dtype, torch.float32)
        moved = F.pixel_shuffle(offset.to(dtype), s).reshape(batch, 2, g, s * height, s * width)
        # the source pixel of each output position; repeat_interleave would need the output's size in an exported graph
        column = torch.arange(width, device=x.device, dtype=dtype)[:, None].expand(-1, s).reshape(-1)
        row = torch.arange(height, device=x.device, dtype=dtype)[:, None].expand(-1, s).reshape(-1)
        at_x, at_y = moved[:, 0] + column, moved[:, 1] + row[:, None]
        source = x.to(dtype).reshape(batch * g, channels // g, height, width)
        at_x, at_y = (at.reshape(batch * g, s * height, s * width) for at in (at_x, at_y))
        sample = _gather if _exports_without_grid_sample() else _grid_sample
        return sample(source, at_x, at_y).reshape(batch, channels, s * height, s * width).to(x.dtype)

    def extra_repr(self) -> str:
        """Return the settings that the repr of the child modules does not show."""
        return f"scale={self.scale}, style={self.style}, groups={self.groups}"


def _grid_sample(x: Tensor, at_x: Tensor, at_y: Tensor) -> Tensor:
    """Sample x: (N, C, H, W) bilinearly at pixels (at_x, at_y), each (N, H', W'); return (N, C, H', W')."""
    height, width = x.shape[2:]
    grid = torch.stack(((2 * at_x + 1) / width - 1, (2 * at_y + 1) / height - 1), 3)
    return F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)


def _gather(x: Tensor, at_x: Tensor, at_y: Tensor) -> Tensor:
    """Return the same as `_grid_sample`, with operators that old versions of ONNX have."""
    channels, height, width = x.shape[1:]
    at_x, at_y = at_x.clamp(min=0), at_y.clamp(min=0)  # beyond the other border, all indices below are the last one
    left, top = at_x.floor(), at_y.floor()
    flat = x.flatten(2)
    y = None
    for down in (0, 1):
        for right in (0, 1):
            weight = (1 - (at_x - left - right).abs()) * (1 - (at_y - top - down).abs())
            index = (top + down).clamp(max=height - 1) * width + (left + right).clamp(max=width - 1)
            index = index.long().flatten(1)[:, None].expand(-1, channels, -1)
            term = flat.gather(2, index).unflatten(2, (at_x.shape[1], at_x.shape[2])) * weight[:, None]
            y = term if y is None else y + term
    assert y is not None
    return y


def _exports_without_grid_sample() -> bool:
    if not torch.onnx.is_in_onnx_export():
        return False
    for place in ("torch.onnx._internal.torchscript_exporter._globals", "torch.onnx._globals"):
        try:
            return bool(import_module(place).GLOBALS.export_onnx_opset_version < _GRID_SAMPLE_OPSET)
        except ImportError:  # PyTorch moved it
            continue
    return False
