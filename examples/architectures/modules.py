# ruff: noqa: D102
"""Classes for the model YAML files of this folder, written from the descriptions that README.md names.

yolograft train model=yolo11n-slim-neck.yaml pretrained=yolo11n.pt modules=modules.py data=...
"""

from __future__ import annotations

from collections.abc import Iterator

import timm
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from ultralytics.nn.modules import Conv


class GSConv(nn.Module):
    """Half of the channels from a convolution, half from a depthwise convolution of these, shuffled (Slim-neck, fig. 3)."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1) -> None:
        super().__init__()
        self.dense = Conv(c1, c2 // 2, k, s)
        self.depthwise = Conv(c2 // 2, c2 // 2, 5, 1, g=c2 // 2)

    def forward(self, x: Tensor) -> Tensor:
        dense = self.dense(x)
        both = torch.stack((dense, self.depthwise(dense)), 2)  # (B, c2 / 2, 2, H, W)
        return both.flatten(1, 2)


class VoVGSCSP(nn.Module):
    """A cross-stage partial block of n GSConv bottlenecks (Slim-neck, fig. 4)."""

    def __init__(self, c1: int, c2: int, n: int = 1) -> None:
        super().__init__()
        hidden = c2 // 2
        self.cv1, self.cv2, self.cv3 = Conv(c1, hidden), Conv(c1, hidden), Conv(2 * hidden, c2)
        self.m = nn.Sequential(*(nn.Sequential(GSConv(hidden, hidden), GSConv(hidden, hidden, 3)) for _ in range(n)))

    def forward(self, x: Tensor) -> Tensor:
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class ScaleFusion(nn.Module):
    """Bring three maps of neighbouring strides to the size of the middle one, and concatenate them (ASF-YOLO, TFE)."""

    def __init__(self, inc: list[int], ouc: int) -> None:
        super().__init__()
        self.convs = nn.ModuleList(Conv(c, ouc) for c in inc)

    def forward(self, maps: list[Tensor]) -> Tensor:
        large, middle, small = (conv(x) for conv, x in zip(self.convs, maps, strict=True))
        size = middle.shape[2:]
        pooled = F.max_pool2d(large, 2) + F.avg_pool2d(large, 2)
        return torch.cat((pooled, middle, F.interpolate(small, size=size, mode="nearest")), 1)


class TimmStage(nn.Module):
    """One stage of a timm model. The row that reads the image has all layers up to its stage."""

    def __init__(self, c1: int, name: str, stage: int, pretrained: bool = False) -> None:
        super().__init__()
        layers = list(_layers(name, stage, pretrained))
        above = 0 if c1 == 3 else len(list(_layers(name, stage - 1, pretrained=False)))
        self.layers = nn.Sequential(*layers[above:])

    def forward(self, x: Tensor) -> Tensor:
        return self.layers(x)


def _layers(name: str, stage: int, pretrained: bool) -> Iterator[nn.Module]:
    model: nn.Module = timm.create_model(name, pretrained=pretrained, features_only=True, out_indices=(stage,))
    return model.children()
