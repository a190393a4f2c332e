"""Convolution with batch norm, and the CSP units of Ultralytics, on plain torch.

The parameters have the names of Ultralytics' `Conv`, `Bottleneck`, `C3k`, `C2f`, `C3k2` and `PSABlock` (`cv1.conv.weight`,
`m.0.cv1.bn.weight`), so that pretrained tensors of the same name and shape load.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

__all__ = ["CSP", "Bottleneck", "Conv", "c3k2_unit"]


class Conv(nn.Module):
    """A convolution with 'same' padding, batch norm, and SiLU.

    Shapes: (B, c1, H, W) -> (B, c2, ceil(H / s), ceil(W / s)) for an odd k.

    Args:
        c1: input channels.
        c2: output channels.
        k: kernel size.
        s: stride.
        g: groups.
        act: False for no activation.
    """

    default_act = nn.SiLU()

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1, g: int = 1, act: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(c1, c2, k, s, k // 2, groups=g, bias=False)
        self.bn = nn.BatchNorm2d(c2)
        self.act = self.default_act if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c2, H / s, W / s) for x: (B, c1, H, W)."""
        y: Tensor = self.act(self.bn(self.conv(x)))
        return y


class Bottleneck(nn.Module):
    """x + a(cv2(cv1(x))), or a(cv2(cv1(x))) without the shortcut; two 3x3 convolutions and, if given, attention a.

    Args:
        c: input and output channels.
        shortcut: whether x is added.
        g: groups of the second convolution.
        e: the hidden width is int(c e).
        attention: a, a block that keeps the shape.
    """

    def __init__(self, c: int, shortcut: bool, g: int, e: float, attention: nn.Module | None = None) -> None:
        super().__init__()
        self.cv1 = Conv(c, int(c * e), 3)
        self.cv2 = Conv(int(c * e), c, 3, g=g)
        self.attention = attention
        self.add = shortcut

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c, H, W) for x: (B, c, H, W)."""
        y = self.cv2(self.cv1(x))
        if self.attention is not None:
            y = self.attention(y)
        return x + y if self.add else y


class CSP(nn.Module):
    """The frame of C2f: y = cv2 [a; b; u_1; ...; u_n] with [a; b] = cv1 x, u_1 = m_1 b, u_i = m_i u_(i-1).

    Shapes: (B, c1, H, W) -> (B, c2, H, W).

    Args:
        c1: input channels.
        c2: output channels.
        n: the number of units.
        e: the hidden width is int(c2 e).
        make: builds one unit m_i for the hidden width.
    """

    def __init__(self, c1: int, c2: int, n: int, e: float, make: Callable[[int], nn.Module]) -> None:
        super().__init__()
        self.c = int(c2 * e)
        self.cv1 = Conv(c1, 2 * self.c)
        self.cv2 = Conv((2 + n) * self.c, c2)
        self.m = nn.ModuleList(make(self.c) for _ in range(n))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c2, H, W) for x: (B, c1, H, W)."""
        y = list(self.cv1(x).split((self.c, self.c), 1))
        for unit in self.m:
            y.append(unit(y[-1]))
        fused: Tensor = self.cv2(torch.cat(y, 1))
        return fused


class C3k(nn.Module):
    """Ultralytics' C3k with two units: y = cv3 [m cv1 x; cv2 x], with c / 2 hidden channels.

    Args:
        c: input and output channels.
        make: builds one unit for the hidden width.
    """

    def __init__(self, c: int, make: Callable[[int], nn.Module]) -> None:
        super().__init__()
        hidden = int(c * 0.5)
        self.cv1 = Conv(c, hidden)
        self.cv2 = Conv(c, hidden)
        self.cv3 = Conv(2 * hidden, c)
        self.m = nn.Sequential(make(hidden), make(hidden))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c, H, W) for x: (B, c, H, W)."""
        y: Tensor = self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))
        return y


class Attention(nn.Module):
    """Self-attention among all positions, with a depthwise 3x3 convolution of the values as positional encoding.

    [q; k; v] = qkv x for each head; y = proj (v softmax(q^T k / sqrt(d))^T + pe v), d = head width / 2.

    Args:
        c: channels.
        heads: the number of heads.
    """

    def __init__(self, c: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_dim = heads, c // heads
        self.key_dim = int(self.head_dim * 0.5)
        self.qkv = Conv(c, c + 2 * self.key_dim * heads, act=False)
        self.proj = Conv(c, c, act=False)
        self.pe = Conv(c, c, 3, g=c, act=False)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c, H, W) for x: (B, c, H, W)."""
        batch, channels, height, width = x.shape
        q, k, v = self.qkv(x).view(batch, self.heads, -1, height * width).split(
            (self.key_dim, self.key_dim, self.head_dim), 2)
        weights = (q.transpose(2, 3) @ k * self.key_dim**-0.5).softmax(3).to(v.dtype)
        attended = (v @ weights.transpose(2, 3)).reshape(batch, channels, height, width)
        y: Tensor = self.proj(attended + self.pe(v.reshape(batch, channels, height, width)))
        return y


class PSABlock(nn.Module):
    """Ultralytics' PSABlock: x = x + attn x, then x + ffn x."""

    def __init__(self, c: int) -> None:
        super().__init__()
        self.attn = Attention(c, max(c // 64, 1))
        self.ffn = nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, act=False))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, c, H, W) for x: (B, c, H, W)."""
        x = x + self.attn(x)
        return x + self.ffn(x)


def c3k2_unit(c: int, make: Callable[[int, float], nn.Module], *, c3k: bool, attn: bool) -> nn.Module:
    """Return one unit of a C3k2 kind, as Ultralytics chooses it.

    Args:
        c: input and output channels.
        make: builds a unit for a width; its second argument is the factor of the unit's own hidden width.
        c3k: use a C3k with two units. YOLO11 has it in the scales m, l and x.
        attn: follow the unit with self-attention. YOLO26 has it in its last row before the head.
    """
    if attn:
        return nn.Sequential(make(c, 0.5), PSABlock(c))
    return C3k(c, lambda hidden: make(hidden, 1.0)) if c3k else make(c, 0.5)
