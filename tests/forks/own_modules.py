"""Attention modules with the attribute names of public implementations, written from the formulas for the tests of `adopt`.

A test copies this file into a copy of Ultralytics, as people do (`ultralytics/nn/modules/own_modules.py`).
"""

import torch
from torch import nn
from torch.nn import functional as F


def _pooled(x):
    return x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)


class SEAttention(nn.Module):
    def __init__(self, channel, reduction=16):
        super().__init__()
        self.fc = nn.Sequential(nn.Linear(channel, channel // reduction, bias=False), nn.ReLU(inplace=True),
                                nn.Linear(channel // reduction, channel, bias=False), nn.Sigmoid())

    def forward(self, x):
        return x * self.fc(x.mean((2, 3)))[..., None, None]


class SE(nn.Module):
    def __init__(self, c, r=16):
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(c, c // r, 1), nn.Conv2d(c // r, c, 1)

    def forward(self, x):
        return x * self.fc2(F.relu(self.fc1(_pooled(x)[0]))).sigmoid()


class SEBlock(nn.Module):
    """With Hardsigmoid as the gate, as in MobileNetV3."""

    def __init__(self, c, r=4):
        super().__init__()
        self.down, self.act = nn.Conv2d(c, c // r, 1), nn.ReLU()
        self.up, self.gate = nn.Conv2d(c // r, c, 1), nn.Hardsigmoid()

    def forward(self, x):
        return x * self.gate(self.up(self.act(self.down(_pooled(x)[0]))))


class SELayer(nn.Module):
    """With SiLU between the layers: no block of yolograft computes this."""

    def __init__(self, c, r=16):
        super().__init__()
        self.fc = nn.Sequential(nn.Conv2d(c, c // r, 1), nn.SiLU(), nn.Conv2d(c // r, c, 1), nn.Sigmoid())

    def forward(self, x):
        return x * self.fc(_pooled(x)[0])


class _Channel(nn.Module):
    def __init__(self, c, r):
        super().__init__()
        self.fc1, self.relu1, self.fc2 = nn.Conv2d(c, c // r, 1, bias=False), nn.ReLU(), nn.Conv2d(c // r, c, 1, bias=False)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        return self.sigmoid(sum(self.fc2(self.relu1(self.fc1(one))) for one in _pooled(x)))


class _Spatial(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.conv1, self.sigmoid = nn.Conv2d(2, 1, k, padding=k // 2, bias=False), nn.Sigmoid()

    def forward(self, x):
        return self.sigmoid(self.conv1(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


class CBAM(nn.Module):
    """The names of a reimplementation: mean and maximum in the paper's order."""

    def __init__(self, c1, ratio=16, kernel_size=7):
        super().__init__()
        self.ca, self.sa = _Channel(c1, ratio), _Spatial(kernel_size)

    def forward(self, x):
        x = self.ca(x) * x
        return self.sa(x) * x


class CBAMBlock(nn.Module):
    """The names of another one: maximum before mean, and a convolution with a bias."""

    def __init__(self, channel=512, reduction=16, kernel_size=7):
        super().__init__()
        self.ca, self.sa = nn.Module(), nn.Module()
        self.ca.se = nn.Sequential(nn.Conv2d(channel, channel // reduction, 1, bias=False), nn.ReLU(),
                                   nn.Conv2d(channel // reduction, channel, 1, bias=False))
        self.sa.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x):
        x = x * torch.sigmoid(sum(map(self.ca.se, _pooled(x))))
        return x * torch.sigmoid(self.sa.conv(torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)))


class CBAMModule(nn.Module):
    """The names of the authors: linear layers, a batch norm, maximum before mean."""

    def __init__(self, gate_channels, reduction_ratio=16):
        super().__init__()
        self.ChannelGate, self.SpatialGate = nn.Module(), nn.Module()
        self.ChannelGate.mlp = nn.Sequential(
            nn.Flatten(), nn.Linear(gate_channels, gate_channels // reduction_ratio), nn.ReLU(),
            nn.Linear(gate_channels // reduction_ratio, gate_channels))
        self.SpatialGate.spatial = nn.Module()
        self.SpatialGate.spatial.conv = nn.Conv2d(2, 1, 7, padding=3, bias=False)
        self.SpatialGate.spatial.bn = nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x):
        x = x * torch.sigmoid(sum(map(self.ChannelGate.mlp, _pooled(x))))[..., None, None]
        spatial = self.SpatialGate.spatial
        return x * torch.sigmoid(spatial.bn(spatial.conv(torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1))))


class ECA(nn.Module):
    def __init__(self, channel, k_size=3):
        super().__init__()
        self.conv, self.sigmoid = nn.Conv1d(1, 1, k_size, padding=k_size // 2, bias=False), nn.Sigmoid()

    def forward(self, x):
        return x * self.sigmoid(self.conv(x.mean((2, 3))[:, None]))[:, 0, :, None, None]


class SimAM(nn.Module):
    def __init__(self, channels=None, e_lambda=1e-4):
        super().__init__()
        self.activaton, self.e_lambda = nn.Sigmoid(), e_lambda

    def forward(self, x):
        d = (x - x.mean((2, 3), keepdim=True)) ** 2
        n = x.shape[2] * x.shape[3] - 1
        return x * self.activaton(d / (4 * (d.sum((2, 3), keepdim=True) / n + self.e_lambda)) + 0.5)


class h_sigmoid(nn.Module):
    def __init__(self):
        super().__init__()
        self.relu = nn.ReLU6()

    def forward(self, x):
        return self.relu(x + 3) / 6


class h_swish(nn.Module):
    def __init__(self):
        super().__init__()
        self.sigmoid = h_sigmoid()

    def forward(self, x):
        return x * self.sigmoid(x)


class CoordAtt(nn.Module):
    def __init__(self, inp, oup, reduction=32):
        super().__init__()
        mip = max(8, inp // reduction)
        self.conv1, self.bn1, self.act = nn.Conv2d(inp, mip, 1), nn.BatchNorm2d(mip), h_swish()
        self.conv_h, self.conv_w = nn.Conv2d(mip, oup, 1), nn.Conv2d(mip, oup, 1)

    def forward(self, x):
        h = x.shape[2]
        y = self.act(self.bn1(self.conv1(torch.cat([x.mean(3, keepdim=True), x.mean(2, keepdim=True).mT], 2))))
        return x * self.conv_h(y[:, :, :h]).sigmoid() * self.conv_w(y[:, :, h:].mT).sigmoid()


class ShuffleAttention(nn.Module):
    def __init__(self, channel=512, reduction=16, G=8):
        super().__init__()
        c = channel // (2 * G)
        self.G, self.channel = G, channel
        self.gn = nn.GroupNorm(c, c)
        self.cweight, self.cbias, self.sweight, self.sbias = (nn.Parameter(torch.randn(1, c, 1, 1)) for _ in range(4))
        self.sigmoid = nn.Sigmoid()

    def forward(self, x):
        b, c, h, w = x.shape
        one, two = x.reshape(b * self.G, -1, h, w).chunk(2, 1)
        one = one * self.sigmoid(self.cweight * one.mean((2, 3), keepdim=True) + self.cbias)
        two = two * self.sigmoid(self.sweight * self.gn(two) + self.sbias)
        return torch.cat([one, two], 1).reshape(b, 2, c // 2, h, w).transpose(1, 2).reshape(b, c, h, w)


class _Gate(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Module()
        self.conv.conv, self.conv.bn = nn.Conv2d(2, 1, 7, padding=3, bias=False), nn.BatchNorm2d(1, momentum=0.01)

    def forward(self, x):
        pooled = torch.cat([x.amax(1, keepdim=True), x.mean(1, keepdim=True)], 1)
        return x * torch.sigmoid(self.conv.bn(self.conv.conv(pooled)))


class TripletAttention(nn.Module):
    def __init__(self, no_spatial=False):
        super().__init__()
        self.cw, self.hc, self.hw = _Gate(), _Gate(), _Gate()

    def forward(self, x):
        one = self.cw(x.permute(0, 2, 1, 3)).permute(0, 2, 1, 3)
        two = self.hc(x.permute(0, 3, 2, 1)).permute(0, 3, 2, 1)
        return (self.hw(x) + one + two) / 3


class SpatialGroupEnhance(nn.Module):
    def __init__(self, groups=8):
        super().__init__()
        self.groups, self.sig = groups, nn.Sigmoid()
        self.weight, self.bias = nn.Parameter(torch.randn(1, groups, 1, 1)), nn.Parameter(torch.randn(1, groups, 1, 1))

    def forward(self, x):
        b, c, h, w = x.shape
        maps = x.reshape(b * self.groups, -1, h, w)
        t = (maps * maps.mean((2, 3), keepdim=True)).sum(1).reshape(b * self.groups, -1)
        t = t - t.mean(1, keepdim=True)
        t = (t / (t.std(1, keepdim=True) + 1e-5)).reshape(b, self.groups, h, w) * self.weight + self.bias
        return (maps * self.sig(t.reshape(b * self.groups, 1, h, w))).reshape(b, c, h, w)


class Softer(nn.Module):
    """A block of the fork's author."""

    def __init__(self, c, r=2):
        super().__init__()
        self.conv, self.bn = nn.Conv2d(c, c, 1), nn.BatchNorm2d(c)
        self.r = r

    def forward(self, x):
        return x * torch.tanh(self.bn(self.conv(x)) / self.r)


CHANNELLESS = (SpatialGroupEnhance, TripletAttention)
TWICE = (CoordAtt,)
ALL = (SEAttention, SE, SEBlock, SELayer, CBAM, CBAMBlock, CBAMModule, ECA, SimAM, CoordAtt, ShuffleAttention,
       TripletAttention, SpatialGroupEnhance, Softer)
