"""With `init="paper"` every block's output equals a reference that has the same weights but shares no code.

The references are the paper's equations in NumPy, with explicit loops over indices, for one image at a time; and also
timm's layer if timm has the block.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import cos, log2, pi, sqrt
from typing import Any

import numpy as np
import pytest
import timm.layers as timm_layers
import torch
from numpy.typing import NDArray
from timm.layers.cbam import CbamModule
from timm.layers.coord_attn import CoordAttn
from torch import nn

from yolograft.blocks import create, names

Array = NDArray[np.float64]
State = dict[str, Array]

C, H, W = 16, 6, 5  # H and W differ, so that swapped axes change the result


def randomised(module: nn.Module, seed: int = 0) -> nn.Module:
    """Give every parameter and running statistic a random value, different from every initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4 + 0.1)
        for key, buffer in module.named_buffers():
            if key.endswith("running_mean"):
                buffer.copy_(torch.randn(buffer.shape, generator=generator) * 0.3)
            elif key.endswith("running_var"):
                buffer.copy_(torch.rand(buffer.shape, generator=generator) + 0.5)
    return module.double().eval()


# --- building blocks of the equations, for one image (C, H, W)
# ---------------------------------------------------------


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def relu(z: Array) -> Array:
    return np.where(z > 0, z, 0.0)


def softmax(z: Array, axis: int) -> Array:
    e = np.exp(z - z.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def vector(s: State, key: str, z: Array) -> Array:
    """Apply the 1x1 convolution `key` to a vector of channels."""
    weight, bias = s[f"{key}.weight"], s.get(f"{key}.bias")
    out = np.array([sum(weight[o, i, 0, 0] * z[i] for i in range(len(z))) for o in range(len(weight))])
    return out if bias is None else out + bias


def conv(s: State, key: str, x: Array, *, groups: int = 1, dilation: int = 1, stride: int = 1) -> Array:
    """Correlate (C, H, W) with the kernel `key`, with 'same' padding, one output value at a time."""
    weight, bias = s[f"{key}.weight"], s.get(f"{key}.bias")
    out_channels, per_group, kh, kw = weight.shape
    ph, pw = dilation * (kh // 2), dilation * (kw // 2)
    padded = np.pad(x, ((0, 0), (ph, ph), (pw, pw)))
    height, width = (x.shape[1] - 1) // stride + 1, (x.shape[2] - 1) // stride + 1
    y = np.zeros((out_channels, height, width))
    for o in range(out_channels):
        first = o // (out_channels // groups) * per_group
        for i in range(height):
            for j in range(width):
                window = padded[first:first + per_group,
                                i * stride:i * stride + dilation * (kh - 1) + 1:dilation,
                                j * stride:j * stride + dilation * (kw - 1) + 1:dilation]
                y[o, i, j] = (window * weight[o]).sum() + (0 if bias is None else bias[o])
    return y


def conv1d(kernel: Array, z: Array, *, circular: bool = False) -> Array:
    """Correlate a sequence with an odd kernel."""
    half, n = len(kernel) // 2, len(z)
    return np.array([
        sum(kernel[k] * (z[(i + k - half) % n] if circular or 0 <= i + k - half < n else 0.0)
            for k in range(len(kernel)))
        for i in range(n)
    ])


def batch_norm(s: State, key: str, x: Array, eps: float = 1e-5) -> Array:
    def per(name: str) -> Array:
        return s[f"{key}.{name}"].reshape(-1, *[1] * (x.ndim - 1))

    return (x - per("running_mean")) / np.sqrt(per("running_var") + eps) * per("weight") + per("bias")


def group_norm(s: State, key: str, x: Array, groups: int, eps: float = 1e-5) -> Array:
    y = np.empty_like(x)
    width = len(x) // groups
    for g in range(groups):
        part = x[g * width:(g + 1) * width]
        y[g * width:(g + 1) * width] = (part - part.mean()) / np.sqrt(part.var() + eps)
    shape = (-1, *[1] * (x.ndim - 1))
    return y * s[f"{key}.weight"].reshape(shape) + s[f"{key}.bias"].reshape(shape)


def layer_norm(s: State, key: str, z: Array, eps: float = 1e-5) -> Array:
    return (z - z.mean()) / np.sqrt(z.var() + eps) * s[f"{key}.weight"] + s[f"{key}.bias"]


def mean(x: Array) -> Array:
    return np.array([channel.mean() for channel in x])


def positions(x: Array) -> Iterator[tuple[int, int]]:
    return ((i, j) for i in range(x.shape[1]) for j in range(x.shape[2]))


def cells(size: int, parts: int) -> list[tuple[int, int]]:
    """Return the bounds of adaptive pooling's cells."""
    return [(k * size // parts, -(-(k + 1) * size // parts)) for k in range(parts)]


def adaptive(x: Array, height: int, width: int) -> Array:
    y = np.empty((len(x), height, width))
    for i, (top, bottom) in enumerate(cells(x.shape[1], height)):
        for j, (left, right) in enumerate(cells(x.shape[2], width)):
            y[:, i, j] = x[:, top:bottom, left:right].mean((1, 2))
    return y


def eca_kernel(channels: int) -> int:
    size = int((log2(channels) + 1) / 2)
    return size + 1 - size % 2


# --- the papers' equations
# --------------------------------------------------------------------------------------


def se(s: State, x: Array) -> Array:
    gates = sigmoid(vector(s, "fc2", relu(vector(s, "fc1", mean(x)))))
    return np.stack([gates[c] * x[c] for c in range(len(x))])


def se_max_tanh(s: State, x: Array) -> Array:
    gates = np.tanh(vector(s, "fc2", relu(vector(s, "fc1", x.max((1, 2))))))
    return np.stack([gates[c] * x[c] for c in range(len(x))])


def ese_sigmoid(s: State, x: Array) -> Array:
    return x * sigmoid(vector(s, "fc", mean(x)))[:, None, None]


def eca(s: State, x: Array) -> Array:
    kernel = s["conv.weight"][0, 0]
    assert len(kernel) == eca_kernel(len(x))
    return x * sigmoid(conv1d(kernel, mean(x)))[:, None, None]


def ceca(s: State, x: Array) -> Array:
    return x * sigmoid(conv1d(s["conv.weight"][0, 0], mean(x), circular=True))[:, None, None]


def gct(s: State, x: Array) -> Array:
    embedded = np.array([s["alpha"][c] * sqrt((x[c] ** 2).sum() + 1e-5) for c in range(len(x))])
    normed = embedded / np.sqrt((embedded**2).mean() + 1e-5)
    return x * (1 + np.tanh(s["gamma"] * normed + s["beta"]))[:, None, None]


def gct_l1(s: State, x: Array) -> Array:
    embedded = s["alpha"] * np.abs(x).sum((1, 2))
    normed = embedded / (np.abs(embedded).mean() + 1e-5)
    return x * (1 + np.tanh(s["gamma"] * normed + s["beta"]))[:, None, None]


def gc(s: State, x: Array) -> Array:
    scores = conv(s, "attention", x)[0]
    weights = np.exp(scores) / np.exp(scores).sum()
    context = np.array([(weights * channel).sum() for channel in x])
    transformed = vector(s, "fc2", relu(layer_norm(s, "norm", vector(s, "fc1", context))))
    return x + transformed[:, None, None]


def gc_avg_scale(s: State, x: Array) -> Array:
    hidden = relu(layer_norm(s, "norm", vector(s, "fc1", mean(x))))
    return x * sigmoid(vector(s, "fc2", hidden))[:, None, None]


def nearest(g: Array, height: int, width: int) -> Array:
    rows = [i * g.shape[1] // height for i in range(height)]
    columns = [j * g.shape[2] // width for j in range(width)]
    return g[:, rows][:, :, columns]


def ge(s: State, x: Array) -> Array:
    g = relu(batch_norm(s, "gather.1", conv(s, "gather.0", x, groups=len(x), stride=2)))
    g = batch_norm(s, "gather.4", conv(s, "gather.3", g, groups=len(x), stride=2))
    return x * sigmoid(nearest(conv(s, "mlp.2", relu(conv(s, "mlp.0", g))), H, W))


def ge_pool(s: State, x: Array) -> Array:
    extent = 4
    g = np.stack([[[channel[max(0, i - extent + 1):i + extent, max(0, j - extent + 1):j + extent].mean()
                    for j in range(0, W, extent)] for i in range(0, H, extent)] for channel in x])
    return x * sigmoid(nearest(g, H, W))


def ge_pool_global(s: State, x: Array) -> Array:
    return x * sigmoid(mean(x))[:, None, None]


def srm(s: State, x: Array) -> Array:
    z = s["style"][0] * mean(x) + s["style"][1] * np.sqrt(x.var((1, 2)) + 1e-5)
    return x * sigmoid(batch_norm(s, "norm", z))[:, None, None]


def fca(s: State, x: Array) -> Array:
    us = [0, 0, 6, 0, 0, 1, 1, 4, 5, 1, 3, 0, 0, 0, 3, 2]
    vs = [0, 1, 0, 5, 2, 0, 2, 0, 0, 6, 0, 4, 6, 3, 5, 2]
    pooled = adaptive(x, 7, 7)
    z = np.zeros(len(x))
    for c in range(len(x)):
        u, v = us[c], vs[c]  # 16 channels: one frequency each
        for i in range(7):
            for j in range(7):
                wave = cos(pi * u * (i + 0.5) / 7) * cos(pi * v * (j + 0.5) / 7) / 7
                z[c] += pooled[c, i, j] * wave * (sqrt(2) if u else 1) * (sqrt(2) if v else 1)
    return x * sigmoid(vector(s, "fc2", relu(vector(s, "fc1", z))))[:, None, None]


def nam(s: State, x: Array) -> Array:
    size = np.abs(s["norm.weight"])
    return x * sigmoid(batch_norm(s, "norm", x) * (size / size.sum())[:, None, None])


def simam(s: State, x: Array) -> Array:
    y = np.empty_like(x)
    for c, channel in enumerate(x):
        variance = channel.var(ddof=1)
        for i, j in np.ndindex(channel.shape):
            inverse_energy = (channel[i, j] - channel.mean()) ** 2 / (4 * (variance + 1e-4)) + 0.5
            y[c, i, j] = channel[i, j] * sigmoid(inverse_energy)
    return y


def cbam(s: State, x: Array) -> Array:
    def perceptron(z: Array) -> Array:
        return vector(s, "fc2", relu(vector(s, "fc1", z)))

    x = x * sigmoid(perceptron(mean(x)) + perceptron(x.max((1, 2))))[:, None, None]
    return x * sigmoid(batch_norm(s, "norm", conv(s, "conv", np.stack([x.mean(0), x.max(0)]))))


def cbam_no_norm(s: State, x: Array) -> Array:
    gates = sum(vector(s, "fc2", relu(vector(s, "fc1", z))) for z in (mean(x), x.max((1, 2))))
    x = x * sigmoid(gates)[:, None, None]
    return x * sigmoid(conv(s, "conv", np.stack([x.mean(0), x.max(0)])))


def bam(s: State, x: Array, combine: Callable[[Array, Array], Array] = np.add) -> Array:
    hidden = batch_norm(s, "channel.1", vector(s, "channel.0", mean(x)))
    channel = vector(s, "channel.3", relu(hidden))[:, None, None] + np.zeros_like(x)
    u = relu(batch_norm(s, "spatial.1", conv(s, "spatial.0", x)))
    u = relu(batch_norm(s, "spatial.4", conv(s, "spatial.3", u, dilation=4)))
    u = relu(batch_norm(s, "spatial.7", conv(s, "spatial.6", u, dilation=4)))
    spatial = conv(s, "spatial.9", u) + np.zeros_like(x)
    return x + x * sigmoid(combine(channel, spatial))


def bam_product(s: State, x: Array) -> Array:
    return bam(s, x, np.multiply)


def scse(s: State, x: Array) -> Array:
    return se(s, x) + x * sigmoid(conv(s, "conv", x))


def scse_max(s: State, x: Array) -> Array:
    return np.maximum(se(s, x), x * sigmoid(conv(s, "conv", x)))


def coordatt(s: State, x: Array) -> Array:
    pooled = np.concatenate([x.mean(2), x.mean(1)], 1)[:, :, None]
    f = batch_norm(s, "norm", conv(s, "conv1", pooled))
    f = f * np.clip(f + 3, 0, 6) / 6
    rows, columns = sigmoid(conv(s, "conv_h", f[:, :H])), sigmoid(conv(s, "conv_w", f[:, H:]))
    y = np.empty_like(x)
    for c in range(len(x)):
        for i, j in positions(x):
            y[c, i, j] = x[c, i, j] * rows[c, i, 0] * columns[c, j, 0]
    return y


def ema(s: State, x: Array) -> Array:
    groups, out = 8, []
    for g in np.split(x, groups):
        lines = conv(s, "conv1", np.concatenate([g.mean(2), g.mean(1)], 1)[:, :, None])[:, :, 0]
        gated = g * sigmoid(lines[:, :H])[:, :, None] * sigmoid(lines[:, H:])[:, None, :]
        u, v = group_norm(s, "norm", gated, len(g)), conv(s, "conv3", g)
        a, b = softmax(mean(u), 0), softmax(mean(v), 0)
        weights = np.zeros(g.shape[1:])
        for c in range(len(g)):
            weights += a[c] * v[c] + b[c] * u[c]
        out.append(g * sigmoid(weights))
    return np.concatenate(out)


def gam(s: State, x: Array) -> Array:
    x = x * sigmoid(conv(s, "channel.2", relu(conv(s, "channel.0", x))))
    u = relu(batch_norm(s, "spatial.1", conv(s, "spatial.0", x)))
    return x * sigmoid(batch_norm(s, "spatial.4", conv(s, "spatial.3", u)))


def shuffle(s: State, x: Array) -> Array:
    groups, out = 8, []
    for g in np.split(x, groups):
        one, two = np.split(g, 2)
        z = s["channel_weight"][:, 0, 0] * mean(one) + s["channel_bias"][:, 0, 0]
        u = s["spatial_weight"] * group_norm(s, "norm", two, len(two)) + s["spatial_bias"]
        out += [one * sigmoid(z)[:, None, None], two * sigmoid(u)]
    y = np.concatenate(out)
    half = len(x) // 2
    return np.stack([y[(c % 2) * half + c // 2] for c in range(len(x))])


def triplet(s: State, x: Array) -> Array:
    def gate(key: str, plane: Array) -> Array:  # plane: (pooled axis, rows, columns)
        pooled = np.stack([plane.max(0), plane.mean(0)])
        return sigmoid(batch_norm(s, f"{key}.1", conv(s, f"{key}.0", pooled)))[0]

    cw, hc, hw = gate("cw", x.transpose(1, 0, 2)), gate("hc", x.transpose(2, 1, 0)), gate("hw", x)
    y = np.empty_like(x)
    for c in range(len(x)):
        for i, j in positions(x):
            y[c, i, j] = (x[c, i, j] * cw[c, j] + x[c, i, j] * hc[i, c] + x[c, i, j] * hw[i, j]) / 3
    return y


def mlca(s: State, x: Array) -> Array:
    pooled = adaptive(x, 5, 5)
    everywhere = sigmoid(conv1d(s["conv.weight"][0, 0], mean(pooled)))
    sequence = np.array([pooled[c, i, j] for i in range(5) for j in range(5) for c in range(len(x))])
    local = sigmoid(conv1d(s["conv_local.weight"][0, 0], sequence)).reshape(5, 5, len(x)).transpose(2, 0, 1)
    return x * adaptive(0.5 * everywhere[:, None, None] + 0.5 * local, H, W)


def ela(s: State, x: Array) -> Array:
    kernels = s["conv.weight"][:, 0]

    def gates(lines: Array) -> Array:
        filtered = np.stack([conv1d(kernels[c], lines[c]) for c in range(len(lines))])
        return sigmoid(group_norm(s, "norm", filtered, 16))

    return x * gates(x.mean(2))[:, :, None] * gates(x.mean(1))[:, None, :]


def ela_wide(s: State, x: Array) -> Array:
    def gates(lines: Array) -> Array:
        filtered = np.zeros_like(lines)
        for o in range(len(lines)):
            for i in range(8):
                filtered[o] += conv1d(s["conv.weight"][o, i], lines[o // 8 * 8 + i])
        return sigmoid(group_norm(s, "norm", filtered, 16))

    return x * gates(x.mean(2))[:, :, None] * gates(x.mean(1))[:, None, :]


def lsk(s: State, x: Array) -> Array:
    near = conv(s, "near", x, groups=len(x))
    u1 = conv(s, "conv1", near)
    u2 = conv(s, "conv2", conv(s, "far", near, groups=len(x), dilation=3))
    both = np.concatenate([u1, u2])
    select = sigmoid(conv(s, "select", np.stack([both.mean(0), both.max(0)])))
    return x * conv(s, "conv", u1 * select[0] + u2 * select[1])


def lska(s: State, x: Array) -> Array:
    z = conv(s, "column", conv(s, "row", x, groups=len(x)), groups=len(x))
    z = conv(s, "far_column", conv(s, "far_row", z, groups=len(x), dilation=3), groups=len(x), dilation=3)
    return x * conv(s, "conv", z)


def sk(s: State, x: Array) -> Array:
    paths = [relu(batch_norm(s, f"paths.{m}.1", conv(s, f"paths.{m}.0", x, groups=16, dilation=m + 1)))
             for m in range(2)]
    z = relu(batch_norm(s, "norm", vector(s, "reduce", mean(paths[0] + paths[1]))))
    logits = vector(s, "select", z)
    y = np.empty_like(x)
    for c in range(len(x)):
        a, b = np.exp(logits[c]), np.exp(logits[len(x) + c])
        y[c] = (a * paths[0][c] + b * paths[1][c]) / (a + b)
    return y


def psa_gates(s: State, x: Array) -> Array:
    weights = softmax(conv(s, "channel_query", x).reshape(-1), 0).reshape(x.shape[1:])
    value = conv(s, "channel_value", x)
    z = np.array([(v * weights).sum() for v in value])
    return sigmoid(layer_norm(s, "norm", vector(s, "channel_out", z)))[:, None, None]


def psa_map(s: State, x: Array) -> Array:
    weights = softmax(mean(conv(s, "spatial_query", x)), 0)
    return sigmoid(np.einsum("c,chw->hw", weights, conv(s, "spatial_value", x)))


def psa(s: State, x: Array) -> Array:
    return psa_gates(s, x) * x + psa_map(s, x) * x


def psa_sequential(s: State, x: Array) -> Array:
    x = psa_gates(s, x) * x
    return psa_map(s, x) * x


def double(s: State, x: Array) -> Array:
    features, gather, distribute = (conv(s, key, x) for key in ("features", "gather", "distribute"))
    m, n = len(features), len(gather)
    descriptors = np.zeros((m, n))
    for k in range(n):
        attention = np.exp(gather[k]) / np.exp(gather[k]).sum()
        for c in range(m):
            descriptors[c, k] = (features[c] * attention).sum()
    z = np.zeros((m, *x.shape[1:]))
    for i, j in positions(x):
        z[:, i, j] = descriptors @ softmax(distribute[:, i, j], 0)
    return x + conv(s, "out", z)


def pairs(query: Array, key: Array, value: Array, weigh: Callable[[Array], Array]) -> Array:
    out = np.zeros((len(value), *query.shape[1:]))
    places = list(positions(key))
    for i, j in positions(query):
        weights = weigh(np.array([query[:, i, j] @ key[:, m, n] for m, n in places]))
        for weight, (m, n) in zip(weights, places, strict=True):
            out[:, i, j] += weight * value[:, m, n]
    return out


def exponential(scores: Array) -> Array:
    return softmax(scores, 0)


def nonlocal_(s: State, x: Array) -> Array:
    u = pairs(conv(s, "theta", x), conv(s, "phi", x), conv(s, "g", x), exponential)
    return x + batch_norm(s, "norm", conv(s, "out", u))


def nonlocal_gaussian(s: State, x: Array) -> Array:
    return x + batch_norm(s, "norm", conv(s, "out", pairs(x, x, conv(s, "g", x), exponential)))


def nonlocal_dot(s: State, x: Array) -> Array:
    u = pairs(conv(s, "theta", x), conv(s, "phi", x), conv(s, "g", x), lambda scores: scores / len(scores))
    return x + batch_norm(s, "norm", conv(s, "out", u))


def nonlocal_subsample(s: State, x: Array) -> Array:
    near = np.stack([[[channel[i:i + 2, j:j + 2].max() for j in range(0, W, 2)] for i in range(0, H, 2)]
                     for channel in x])
    u = pairs(conv(s, "theta", x), conv(s, "phi", near), conv(s, "g", near), exponential)
    return x + batch_norm(s, "norm", conv(s, "out", u))


def mhsa(s: State, x: Array, near: Array | None = None) -> Array:
    query, both = conv(s, "query", x), conv(s, "key_value", x if near is None else near)
    heads = [
        pairs(q / sqrt(len(q)), k, v, exponential)
        for q, k, v in zip(np.split(query, 4), np.split(both[:C], 4), np.split(both[C:], 4), strict=True)
    ]
    return x + conv(s, "out", np.concatenate(heads))


def mhsa_pool(s: State, x: Array) -> Array:
    return mhsa(s, x, np.stack([[[channel[i:i + 2, j:j + 2].mean() for j in range(0, W, 2)]
                                 for i in range(0, H, 2)] for channel in x]))


def pam(s: State, x: Array) -> Array:
    return x + s["alpha"] * pairs(conv(s, "query", x), conv(s, "key", x), conv(s, "value", x), exponential)


def cam(s: State, x: Array) -> Array:
    flat = x.reshape(len(x), -1)
    y = np.empty_like(flat)
    for i in range(len(x)):
        energy = np.array([flat[i] @ flat[j] for j in range(len(x))])
        weights = softmax(energy.max() - energy, 0)
        y[i] = flat[i] + s["beta"] * sum(weights[j] * flat[j] for j in range(len(x)))
    return y.reshape(x.shape)


def parnet(s: State, x: Array) -> Array:
    n = batch_norm(s, "norm", x)
    skip = n * sigmoid(vector(s, "fc", mean(n)))[:, None, None]
    one, three = (batch_norm(s, f"{key}.1", conv(s, f"{key}.0", x)) for key in ("one", "three"))
    total = one + three + skip
    return total * sigmoid(total)


def sge(s: State, x: Array) -> Array:
    out = []
    for g, (gamma, beta) in zip(np.split(x, 8), zip(s["gamma"][:, 0, 0], s["beta"][:, 0, 0], strict=True),
                                strict=True):
        average = mean(g)
        coefficients = np.array([[average @ g[:, i, j] for j in range(W)] for i in range(H)])
        normed = (coefficients - coefficients.mean()) / np.sqrt(coefficients.var() + 1e-5)
        out.append(g * sigmoid(gamma * normed + beta))
    return np.concatenate(out)


EQUATIONS: list[tuple[str, dict[str, Any], Callable[[State, Array], Array]]] = [
    ("se", {"ratio": 4}, se), ("se", {"ratio": 4, "bias": False}, se),
    ("se", {"ratio": 4, "squeeze": "max", "gate": "tanh"}, se_max_tanh),
    ("ese", {"gate": "sigmoid"}, ese_sigmoid), ("eca", {}, eca), ("ceca", {"kernel_size": 5}, ceca),
    ("gct", {}, gct), ("gct", {"norm": "l1"}, gct_l1), ("gc", {}, gc),
    ("gc", {"pool": "avg", "fuse": "scale"}, gc_avg_scale),
    ("ge", {"ratio": 4}, ge), ("ge", {"gather": "pool", "mlp": False}, ge_pool),
    ("ge", {"gather": "pool", "extent": 0, "mlp": False}, ge_pool_global), ("srm", {}, srm), ("fca", {}, fca),
    ("nam", {}, nam), ("simam", {}, simam), ("cbam", {"ratio": 4}, cbam),
    ("cbam", {"ratio": 4, "kernel_size": 3, "norm": False}, cbam_no_norm), ("bam", {"ratio": 4}, bam),
    ("bam", {"ratio": 4, "combine": "product"}, bam_product), ("scse", {}, scse),
    ("scse", {"combine": "max"}, scse_max),
    ("coordatt", {}, coordatt), ("ema", {}, ema), ("gam", {}, gam), ("shuffle", {"groups": 8}, shuffle),
    ("triplet", {}, triplet), ("mlca", {}, mlca), ("ela", {}, ela), ("ela", {"width": 8}, ela_wide),
    ("lsk", {}, lsk),
    ("lska", {}, lska), ("sk", {}, sk), ("psa", {}, psa), ("psa", {"form": "sequential"}, psa_sequential),
    ("double", {}, double), ("nonlocal", {}, nonlocal_),
    ("nonlocal", {"form": "gaussian"}, nonlocal_gaussian),
    ("nonlocal", {"form": "dot"}, nonlocal_dot), ("nonlocal", {"subsample": 2}, nonlocal_subsample),
    ("mhsa", {}, mhsa), ("mhsa", {"pool": 2}, mhsa_pool), ("pam", {}, pam), ("cam", {}, cam),
    ("parnet", {}, parnet),
    ("sge", {}, sge),
]


def test_every_block_has_its_equations() -> None:
    assert {name for name, _, _ in EQUATIONS} == set(names())


@pytest.mark.parametrize(("name", "settings", "equation"), EQUATIONS,
                         ids=[f"{name}-{equation.__name__}" for name, _, equation in EQUATIONS])
def test_paper_form_equals_the_papers_equations(name: str, settings: dict, equation: Callable) -> None:
    block = randomised(create(name, C, init="paper", **settings))
    state = {key: value.numpy() for key, value in block.state_dict().items()}
    x = torch.randn(2, C, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        ours = block(x).numpy()
    theirs = np.stack([equation(state, image) for image in x.numpy()])
    # the cosine waves of `fca` are float32 constants, which limits its precision
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6 if name == "fca" else 1e-11)


# --- timm
# -------------------------------------------------------------------------------------------------------


TIMM: list[tuple[str, dict[str, Any], Callable[[], nn.Module], dict[str, str]]] = [
    ("se", {}, lambda: timm_layers.SEModule(64, rd_channels=4), {}),
    ("ese", {}, lambda: timm_layers.EffectiveSEModule(64), {}),
    ("eca", {}, lambda: timm_layers.EcaModule(64), {}),
    ("ceca", {}, lambda: timm_layers.CecaModule(64), {}),
    ("cbam", {}, lambda: CbamModule(64, mlp_bias=True),
     {"fc1": "channel.fc1", "fc2": "channel.fc2", "conv": "spatial.conv.conv", "norm": "spatial.conv.bn"}),
    ("coordatt", {}, lambda: CoordAttn(64, rd_channels=8, bias=True), {"norm": "bn1"}),
    ("gc", {"ratio": 8, "fuse": "scale"}, lambda: timm_layers.GlobalContext(64),
     {"attention": "conv_attn", "fc1": "mlp_scale.fc1", "norm": "mlp_scale.norm", "fc2": "mlp_scale.fc2"}),
    ("gc", {"ratio": 8}, lambda: timm_layers.GlobalContext(64, fuse_add=True, fuse_scale=False),
     {"attention": "conv_attn", "fc1": "mlp_add.fc1", "norm": "mlp_add.norm", "fc2": "mlp_add.fc2"}),
    # timm 1.0's GatherExcite cannot be built (it unpacks a dict of keywords as positions): see the equations
    ("sk", {"groups": 4},
     lambda: timm_layers.SelectiveKernel(64, groups=4, split_input=False, rd_channels=32),
     {"paths.0.0": "paths.0.conv", "paths.0.1": "paths.0.bn", "paths.1.0": "paths.1.conv",
      "paths.1.1": "paths.1.bn", "reduce": "attn.fc_reduce", "norm": "attn.bn", "select": "attn.fc_select"}),
    ("nonlocal", {"ratio": 8}, lambda: timm_layers.NonLocalAttn(64, use_scale=False),
     {"theta": "t", "phi": "p", "g": "g", "out": "z", "norm": "norm"}),
]


@pytest.mark.parametrize(("name", "settings", "build", "renamed"), TIMM,
                         ids=[f"{name}-{settings}" for name, settings, _, _ in TIMM])
@pytest.mark.parametrize("training", [False, True])
def test_paper_form_equals_timm(
    name: str, settings: dict, build: Callable, renamed: dict, training: bool
) -> None:
    ours = randomised(create(name, 64, init="paper", **settings))
    theirs = build()
    state = {}
    for key, value in ours.state_dict().items():
        layer = key.rpartition(".")[0]
        state[f"{renamed.get(layer, layer)}.{key.rpartition('.')[2]}"] = value
    theirs.load_state_dict(state, strict=True)
    theirs = theirs.double()
    for module in theirs.modules():
        if hasattr(module, "eps"):
            module.eps = 1e-5  # timm's LayerNorm2d has 1e-6, the authors of GC have PyTorch's
    x = torch.randn(3, 64, 9, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    results = []
    for module in (ours.train(training), theirs.train(training)):
        image = x.clone().requires_grad_()
        y = module(image)
        y.square().mean().backward()
        results.append((y, image.grad))
    torch.testing.assert_close(results[0][0], results[1][0], rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(results[0][1], results[1][1], rtol=1e-10, atol=1e-12)
