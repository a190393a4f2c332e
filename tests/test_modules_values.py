"""Each module's output equals the paper's equations in NumPy, one output value at a time, and shares no code with them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from yolograft.modules import lookup
from yolograft.modules.dysample import _gather, _grid_sample

Array = NDArray[np.float64]
State = dict[str, Array]
H, W = 5, 4  # H and W differ, so that swapped axes change the result

pytestmark = pytest.mark.usefixtures("one_thread")


def build(name: str, *args: Any) -> tuple[nn.Module, State]:
    """Return a module in float64 with random parameters and running statistics, and these as arrays."""
    torch.manual_seed(0)
    torch.set_default_dtype(torch.float64)
    try:
        module = lookup(name)(*args).eval()
    finally:
        torch.set_default_dtype(torch.float32)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.5 + 0.1)
        for key, buffer in module.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return module, {key: value.detach().numpy() for key, value in module.state_dict().items()}


def maps(*channels: int) -> list[Tensor]:
    torch.manual_seed(1)
    return [torch.randn(2, c, H, W, dtype=torch.float64) for c in channels]


def conv(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """Correlate one image (C, H, W) with a kernel of odd size, with zeros around the image."""
    width, _, k, _ = weight.shape
    padded = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    y = np.zeros((width, *x.shape[1:]))
    for o in range(width):
        for i in range(x.shape[1]):
            for j in range(x.shape[2]):
                y[o, i, j] = (padded[:, i:i + k, j:j + k] * weight[o]).sum() + (0 if bias is None else bias[o])
    return y


def sigmoid(z: Array) -> Array:
    return 1 / (1 + np.exp(-z))


def conv_bn_silu(s: State, key: str, x: Array) -> Array:
    z = conv(x, s[f"{key}.conv.weight"])
    mean, variance, weight, bias = (s[f"{key}.bn.{part}"][:, None, None]
                                    for part in ("running_mean", "running_var", "weight", "bias"))
    z = (z - mean) / np.sqrt(variance + 1e-5) * weight + bias
    return z * sigmoid(z)


def shuffle(x: Array, s: int) -> Array:
    """Move s^2 channels into each position: pixel (s i + a, s j + b) of channel c is channel c s^2 + a s + b at (i, j)."""
    y = np.zeros((len(x) // s**2, x.shape[1] * s, x.shape[2] * s))
    for c in range(len(y)):
        for a in range(s):
            for b in range(s):
                y[c, a::s, b::s] = x[c * s**2 + a * s + b]
    return y


def check(module: nn.Module, x: Tensor | list[Tensor], expected: list[Array]) -> None:
    with torch.no_grad():
        y = module(x).numpy()
    assert y.shape == (len(expected), *expected[0].shape)
    for one, other in zip(y, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-9)


def gradcheck(module: nn.Module, *x: Tensor) -> None:
    """Compare the gradients of the inputs and the parameters with finite differences."""
    inputs = tuple(one.clone().requires_grad_() for one in x)
    names = [name for name, _ in module.named_parameters()]

    def run(*values: Tensor) -> Tensor:
        given, parameters = values[:len(inputs)], dict(zip(names, values[len(inputs):], strict=True))
        argument = list(given) if len(given) > 1 else given[0]
        y: Tensor = torch.func.functional_call(module, parameters, (argument,))
        return y

    assert torch.autograd.gradcheck(run, (*inputs, *module.parameters()), fast_mode=True)


# --- BiFPN


def weights_of(w: Array) -> Array:
    return np.maximum(w, 0) / (1e-4 + np.maximum(w, 0).sum())


@pytest.mark.parametrize("w", [[0.3, 1.7], [1.0, 1.0, 1.0], [0.5, -2.0, 0.2]])
def test_bifpn_sum(w: list[float]) -> None:
    module, _ = build("BiFPN", [6] * len(w))
    module.load_state_dict({"w": torch.tensor(w, dtype=torch.float64)})
    x = maps(*[6] * len(w))
    check(module, x, [sum(a * one[at].numpy() for a, one in zip(weights_of(np.array(w)), x, strict=True)) for at in (0, 1)])


@pytest.mark.parametrize(("channels", "c2"), [((6, 4), 6), ((4, 6, 3), None), ((4, 4), 5)])
def test_bifpn_sum_projects_inputs_of_other_channels(channels: tuple[int, ...], c2: int | None) -> None:
    module, s = build("BiFPN", list(channels), c2)
    x, width, expected = maps(*channels), c2 or 6, []
    assert [key for key in s if key != "w"] == [
        f"proj.{at}.{part}" for at, c in enumerate(channels) if c != width for part in ("weight", "bias")]
    for at in (0, 1):
        brought = [conv(one[at].numpy(), s[f"proj.{i}.weight"], s[f"proj.{i}.bias"]) if f"proj.{i}.weight" in s
                   else one[at].numpy() for i, one in enumerate(x)]
        expected.append(sum(a * one for a, one in zip(weights_of(s["w"]), brought, strict=True)))
    check(module, x, expected)


@pytest.mark.parametrize("channels", [(6, 4), (2, 3, 5)])
def test_bifpn_concatenation(channels: tuple[int, ...]) -> None:
    module, s = build("BiFPN_Concat", list(channels))
    x = maps(*channels)
    expected = [np.concatenate([a * one[at].numpy() for a, one in zip(weights_of(s["w"]), x, strict=True)]) for at in (0, 1)]
    check(module, x, expected)


@pytest.mark.parametrize("name", ["BiFPN", "BiFPN_Concat"])
def test_bifpn_starts_with_equal_weights(name: str) -> None:
    weighed = lookup(name)([4, 4, 4]).weigh(maps(4, 4, 4))
    for one, x in zip(weighed, maps(4, 4, 4), strict=True):
        torch.testing.assert_close(one, x / 3, rtol=1e-4, atol=1e-4)


# --- CARAFE


@pytest.mark.parametrize(("k_enc", "k_up", "scale"), [(3, 5, 2), (1, 3, 2), (3, 3, 3), (3, 1, 1)])
def test_carafe(k_enc: int, k_up: int, scale: int) -> None:
    module, s = build("CARAFE", 3, k_enc, k_up, 4, scale)
    (x,), expected, half = maps(3), [], k_up // 2
    for image in x.numpy():
        z = conv(image, s["channel_compressor.weight"], s["channel_compressor.bias"])
        logits = shuffle(conv(z, s["content_encoder.weight"], s["content_encoder.bias"]), scale)
        kernels = np.exp(logits) / np.exp(logits).sum(0)  # one kernel for each output position
        y = np.zeros((3, H * scale, W * scale))
        for i, j in np.ndindex(H * scale, W * scale):
            for at, (n, m) in enumerate(np.ndindex(k_up, k_up)):
                row, column = i // scale + n - half, j // scale + m - half
                if 0 <= row < H and 0 <= column < W:
                    y[:, i, j] += kernels[at, i, j] * image[:, row, column]
        expected.append(y)
    check(module, x, expected)


def test_carafe_starts_near_the_mean_of_the_neighbourhood() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 6, 6)
    mean = F.avg_pool2d(x, 5, 1, 2)  # zeros outside the map count, as in CARAFE
    torch.testing.assert_close(lookup("CARAFE")(8)(x), F.interpolate(mean, scale_factor=2), rtol=0.02, atol=0.01)


# --- DySample


def bilinear(image: Array, x: float, y: float) -> Array:
    """Return the values at a point, in pixels; outside the map, the nearest value of the map counts."""
    height, width = image.shape[1:]
    x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    left, top = int(x), int(y)
    right, bottom = min(left + 1, width - 1), min(top + 1, height - 1)
    a, b = x - left, y - top
    value: Array = ((1 - b) * ((1 - a) * image[:, top, left] + a * image[:, top, right])
                    + b * ((1 - a) * image[:, bottom, left] + a * image[:, bottom, right]))
    return value


@pytest.mark.parametrize(("scale", "style", "groups", "dyscope"), [
    (2, "lp", 4, False), (2, "pl", 4, False), (2, "lp", 2, True), (2, "pl", 4, True), (3, "lp", 1, False),
    (3, "pl", 2, True),
])
def test_dysample(scale: int, style: str, groups: int, dyscope: bool) -> None:
    channels = 2 * scale**2 if style == "pl" else 8
    module, s = build("DySample", channels, scale, style, groups, dyscope)
    (x,), expected = maps(channels), []
    for image in x.numpy():
        source = shuffle(image, scale) if style == "pl" else image
        z = conv(source, s["offset.weight"], s["offset.bias"])
        z = z * sigmoid(conv(source, s["scope.weight"], s["scope.bias"])) * 0.5 if dyscope else z * 0.25
        z = z if style == "pl" else shuffle(z, scale)
        y = np.zeros((channels, H * scale, W * scale))
        for g, i, j in np.ndindex(groups, H * scale, W * scale):
            start_x, start_y = ((at % scale - (scale - 1) / 2) / scale for at in (j, i))
            part = slice(g * channels // groups, (g + 1) * channels // groups)
            at_x, at_y = j // scale + start_x + z[g, i, j], i // scale + start_y + z[groups + g, i, j]
            y[part, i, j] = bilinear(image[part], at_x, at_y)
        expected.append(y)
    check(module, x, expected)


@pytest.mark.parametrize("style", ["lp", "pl"])
def test_dysample_starts_as_bilinear_upsampling(style: str) -> None:
    module = lookup("DySample")(16, 2, style)
    nn.init.zeros_(module.offset.weight)
    x = torch.randn(2, 16, 7, 6)
    torch.testing.assert_close(module(x), F.interpolate(x, scale_factor=2, mode="bilinear"), rtol=1e-5, atol=1e-5)


def test_dysample_has_the_authors_parameters_and_initial_values() -> None:
    module = lookup("DySample")(16, dyscope=True)
    assert {key: tuple(value.shape) for key, value in module.state_dict().items()} == {
        "offset.weight": (32, 16, 1, 1), "offset.bias": (32,), "scope.weight": (32, 16, 1, 1), "scope.bias": (32,),
        "init_pos": (1, 32, 1, 1)}
    assert 0 < module.offset.weight.std() < 0.002
    assert not module.scope.weight.any()
    assert module.init_pos.flatten().tolist() == [-0.25, 0.25, -0.25, 0.25] * 4 + [-0.25, -0.25, 0.25, 0.25] * 4


def test_both_ways_to_sample_are_equal() -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, H, W, dtype=torch.float64)
    at_x, at_y = (torch.randn(2, 9, 8, dtype=torch.float64) * 4 + 2 for _ in range(2))
    assert (at_x < 0).any()
    assert (at_x > W).any()
    torch.testing.assert_close(_gather(x, at_x, at_y), _grid_sample(x, at_x, at_y))


def test_dysample_computes_the_points_in_float32() -> None:
    module = lookup("DySample")(16).half()
    x = torch.arange(160.0).expand(1, 16, 2, 160).contiguous()  # a slope: the value is the column
    y = module((x / 160).half()).float() * 160
    expected = F.interpolate(x, scale_factor=2, mode="bilinear")
    assert (y - expected).abs().max() < 0.12  # in columns: the rounding of the values themselves; of the points it is 0.25


# --- SPD-Conv


@pytest.mark.parametrize(("scale", "height", "width"), [(2, 6, 4), (3, 6, 9)])
def test_space_to_depth(scale: int, height: int, width: int) -> None:
    module, s = build("SPDConv", 3, 5, 3, scale)
    torch.manual_seed(1)
    x = torch.randn(2, 3, height, width, dtype=torch.float64)
    expected, moved = [], []
    for image in x.numpy():
        y = np.zeros((3 * scale**2, height // scale, width // scale))
        for c, i, j in np.ndindex(3, height, width):
            y[((j % scale) * scale + i % scale) * 3 + c, i // scale, j // scale] = image[c, i, j]
        moved.append(y)
        expected.append(conv_bn_silu(s, "conv", y))
    check(module, x, expected)
    if scale == 2:
        check(lookup("space_to_depth")(1), x, moved)


# --- PConv and FasterNet


def pconv(s: State, key: str, x: Array, n_div: int) -> Array:
    part = len(x) // n_div
    y = x.copy()
    y[:part] = conv(x[:part], s[f"{key}partial_conv3.weight"])  # the authors' form for inference
    return y


@pytest.mark.parametrize(("dim", "n_div"), [(8, 4), (7, 3), (4, 1)])
def test_pconv(dim: int, n_div: int) -> None:
    module, s = build("PConv", dim, n_div)
    (x,) = maps(dim)
    expected = [pconv(s, "", image, n_div) for image in x.numpy()]
    check(module, x, expected)
    check(module.train(), x, expected)


def faster(s: State, key: str, x: Array) -> Array:
    hidden = conv_bn_silu(s, f"{key}mlp.0", pconv(s, f"{key}spatial_mixing.", x, 4))
    return x + conv(hidden, s[f"{key}mlp.1.weight"])


@pytest.mark.parametrize(("inc", "dim"), [(8, 8), (6, 8)])
def test_fasternet_block(inc: int, dim: int) -> None:
    module, s = build("Faster_Block", inc, dim)
    (x,) = maps(inc)
    starts = [image if inc == dim else conv_bn_silu(s, "adjust_channel", image) for image in x.numpy()]
    check(module, x, [faster(s, "", image) for image in starts])


@pytest.mark.parametrize(("name", "c3k"), [("C2f_Faster", False), ("C3k2_Faster", False), ("C3k2_Faster", True)])
def test_csp_with_fasternet_blocks(name: str, c3k: bool) -> None:
    module, s = build(name, 6, 16, 2, *((True, 0.5) if c3k else ()))
    (x,), expected = maps(6), []
    for image in x.numpy():
        y = np.split(conv_bn_silu(s, "cv1", image), 2)
        for at in (0, 1):
            inside = conv_bn_silu(s, f"m.{at}.cv1", y[-1]) if c3k else y[-1]
            if c3k:
                inside = faster(s, f"m.{at}.m.1.", faster(s, f"m.{at}.m.0.", inside))
                both = np.concatenate((inside, conv_bn_silu(s, f"m.{at}.cv2", y[-1])))
                y.append(conv_bn_silu(s, f"m.{at}.cv3", both))
            else:
                y.append(faster(s, f"m.{at}.", inside))
        expected.append(conv_bn_silu(s, "cv2", np.concatenate(y)))
    check(module, x, expected)


@pytest.mark.parametrize(("name", "args", "channels"), [
    ("BiFPN", ([3, 4], 5), (3, 4)), ("BiFPN_Concat", ([2, 3],), (2, 3)), ("CARAFE", (3, 3, 3, 4), (3,)),
    ("DySample", (4,), (4,)), ("DySample", (4, 2, "pl", 2, True), (4,)), ("PConv", (4,), (4,)),
    ("Faster_Block", (4, 8), (4,)),
])
def test_gradients_equal_finite_differences(name: str, args: tuple[Any, ...], channels: tuple[int, ...]) -> None:
    module, _ = build(name, *args)
    gradcheck(module, *(x[:1, :, :3, :3] for x in maps(*channels)))
