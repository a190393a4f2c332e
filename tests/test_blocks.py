"""Requirements for every block. To test a new block, add it to `NON_DEFAULTS`."""

from __future__ import annotations

import copy
import inspect
import io
import pickle
import warnings
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from yolograft import blocks
from yolograft.blocks import create, defaults, lookup, names
from yolograft.errors import BlockError
from yolograft.testing import check_block

# For every setting of every block, values other than the default (`init` has its own tests).
NON_DEFAULTS: dict[str, dict[str, tuple[Any, ...]]] = {
    "bam": {"ratio": (4,), "minimum": (12,), "dilation": (2,), "combine": ("product", "max")},
    "cam": {},
    "cbam": {"ratio": (4,), "minimum": (12,), "kernel_size": (3,), "bias": (False,), "norm": (False,)},
    "ceca": {"kernel_size": (5,), "gamma": (1,), "beta": (5,)},
    "coordatt": {"ratio": (2,), "minimum": (4,)},
    "double": {"ratio": (2,)},
    "eca": {"kernel_size": (5,), "gamma": (1,), "beta": (5,)},
    "ela": {"kernel_size": (5,), "width": (8,), "norm_groups": (32,)},
    "ema": {"groups": (4, 32)},
    "ese": {"gate": ("sigmoid",)},
    "fca": {"frequencies": (1, 32), "size": (14,), "ratio": (4,), "minimum": (12,)},
    "gam": {"ratio": (2,), "kernel_size": (3,)},
    "gc": {"ratio": (2,), "minimum": (4,), "pool": ("avg",), "fuse": ("scale",)},
    "gct": {"norm": ("l1",), "epsilon": (1.0,)},
    "ge": {"extent": (2, 8), "gather": ("pool",), "mlp": (False,), "ratio": (4,), "minimum": (12,)},
    "lsk": {},
    "lska": {"kernel_size": (7, 11, 35, 41, 53)},
    "mhsa": {"heads": (2,), "pool": (2,)},
    "mlca": {"local_size": (3,), "local_weight": (0.2,), "gamma": (1,), "beta": (5,)},
    "nam": {},
    "nonlocal": {"ratio": (4,), "form": ("gaussian", "dot"), "subsample": (2,)},
    "pam": {"ratio": (2,)},
    "parnet": {},
    "psa": {"form": ("sequential",)},
    "scse": {"ratio": (4,), "minimum": (48,), "combine": ("max", "multiply"), "bias": (False,)},
    "se": {"ratio": (4,), "minimum": (12,), "squeeze": ("max", "off"), "gate": ("tanh", "relu", "hardsigmoid"),
           "bias": (False,)},
    "sge": {"groups": (4,)},
    "shuffle": {"groups": (4,)},
    "simam": {"energy": (1e-2,)},
    "sk": {"branches": (3,), "groups": (4,), "ratio": (1.0,), "minimum": (8,)},
    "srm": {"epsilon": (1.0,)},
    "triplet": {"kernel_size": (3,), "spatial": (False,)},
}
# Settings that contradict each other or the channels: (block, channels, settings, part of the message).
CONTRADICTIONS: list[tuple[str, int, dict[str, Any], str]] = [
    ("eca", 32, {"kernel_size": 3, "gamma": 3}, "gamma and beta have no effect"),
    ("ceca", 4, {"kernel_size": 11}, "largest that works is 9"),
    ("ema", 17, {}, "groups=8 does not split 17 channels"),
    ("ema", 12, {}, "groups=6"),
    ("ema", 24, {"groups": 16}, "groups=12"),
    ("fca", 8, {}, "frequencies=8"),
    ("fca", 32, {"frequencies": 3}, "1, 2, 4, 8, 16, 32"),
    ("fca", 32, {"size": 10}, "multiple of 7"),
    ("ela", 24, {}, "norm_groups=12"),
    ("shuffle", 24, {}, "groups=6"),
    ("shuffle", 17, {}, "choose a site whose channels divide by 2"),
    ("ge", 32, {"extent": 0}, "gather=pool takes 0"),
    ("ge", 32, {"extent": 6}, "power of two"),
    ("ge", 32, {"extent": 3, "gather": "pool"}, "or even"),
    ("ge", 32, {"mlp": False, "ratio": 8}, "ratio and minimum have no effect"),
    ("lska", 32, {"kernel_size": 21}, "7, 11, 23, 35, 41, 53"),
]
# Blocks whose published initialisation is an identity: both values of `init` are the same.
PUBLISHED_AS_IDENTITY = {"cam", "gct", "nonlocal", "pam"}
# Blocks that split their channels into groups, so that an odd number of channels raises an error.
NEEDS_GROUPS = {"ela", "ema", "mhsa", "sge", "shuffle", "sk"}
# Blocks whose output grows with the square of their input, by the paper's definition.
QUADRATIC = {"lsk", "lska"}

NAMES = names()
VARIANTS = [
    pytest.param(name, settings, id="-".join([name, *(f"{key}={value}" for key, value in settings.items())]))
    for name in NAMES
    for settings in [{}, *({key: value} for key, values in NON_DEFAULTS.get(name, {}).items() for value in values)]
]
SIZES = [(1, 1), (1, 9), (7, 5), (20, 20)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def randomly_changed(module: nn.Module) -> nn.Module:
    """Change every parameter and running statistic at random, as training would."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for key, buffer in module.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    return module


def test_every_setting_has_test_values() -> None:
    assert set(NON_DEFAULTS) == set(NAMES)
    for name in NAMES:
        assert set(NON_DEFAULTS[name]) == set(defaults(name)) - {"init"}, name
        assert defaults(name)["init"] == "identity", name


def test_every_block_is_documented() -> None:
    for name in NAMES:
        cls = lookup(name)
        about = vars(cls)["about"]
        assert about.kind in {"channel", "spatial", "mixed", "global"}, name
        assert 2015 <= about.year <= 2026, name
        assert about.paper, name
        assert about.use, name
        documented = cls.__doc__ if name != "ceca" else lookup("eca").__doc__
        for key in ("channels", *defaults(name)):
            assert f"    {key}: " in inspect.cleandoc(documented), f"{name} does not document {key}"
        for word in ("Shapes:", "Parameters:", "Operations:"):
            assert word in documented, f"{name} does not state its {word}"


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("init", ["identity", "paper"])
def test_check_block_passes(name: str, settings: dict, init: str) -> None:
    check_block(lookup(name), channels=32, init=init, **settings)


@pytest.mark.parametrize("name", NAMES)
def test_fits_every_width_of_yolo(name: str) -> None:
    for channels in range(16, 1025, 16):
        block = create(name, channels)
        if channels in (16, 48, 256):
            x = torch.randn(1, channels, 4, 4)
            assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", sorted(set(NAMES) - NEEDS_GROUPS))
@pytest.mark.parametrize("channels", [1, 2, 3, 5, 17, 31])
def test_odd_widths_work(name: str, channels: int) -> None:
    block = create(name, channels, init="paper", **({"frequencies": 1} if name == "fca" else {}))
    for training in (False, True):
        x = torch.randn(2, channels, 5, 6)
        y = block.train(training)(x)
        assert y.shape == x.shape
        assert y.isfinite().all()


@pytest.mark.parametrize("name", sorted(NEEDS_GROUPS))
@pytest.mark.parametrize("channels", [1, 17, 31])
def test_odd_widths_raise_an_error_with_advice(name: str, channels: int) -> None:
    with pytest.raises(BlockError, match=rf"{channels} channels.*nearest|{channels} channels.*choose a site"):
        create(name, channels)


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_identity_start(name: str, settings: dict, dtype: torch.dtype) -> None:
    block = create(name, 32, **settings).to(dtype)
    for training in (False, True):
        block.train(training)
        for batch, (height, width) in [(1, (1, 1)), (1, (7, 5)), (3, (8, 8))]:
            x = torch.randn(batch, 32, height, width).mul(3).to(dtype)
            assert torch.equal(block(x), x), f"training={training} {batch}x{height}x{width}"


@pytest.mark.parametrize("name", NAMES)
def test_identity_start_survives_a_change_of_precision(name: str) -> None:
    block = create(name, 32).eval()
    for half in (copy.deepcopy(block).half(), copy.deepcopy(block).bfloat16()):
        x = torch.randn(2, 32, 6, 6).to(next(iter(half.state_dict().values())).dtype)
        assert torch.equal(half(x), x)


@pytest.mark.parametrize("name", sorted(set(NAMES) - PUBLISHED_AS_IDENTITY))
def test_paper_start_is_not_the_identity(name: str) -> None:
    x = torch.randn(2, 32, 8, 8)
    assert not torch.allclose(create(name, 32, init="paper")(x), x, atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_training_leaves_the_identity(name: str) -> None:
    block, x, target = create(name, 32).train(), torch.randn(4, 32, 8, 8), torch.randn(4, 32, 8, 8)
    optimizer = torch.optim.SGD(block.parameters(), lr=0.05)
    losses = []
    for _ in range(12):
        loss = (block(x) - target).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0]
    assert not torch.equal(block.eval()(x), x)


@pytest.mark.parametrize(("name", "settings"), [v for v in VARIANTS if v.values[1]])
def test_every_setting_has_an_effect(name: str, settings: dict) -> None:
    x = torch.randn(2, 64, 12, 12)
    results = []
    for chosen in ({}, settings):
        torch.manual_seed(1)
        block = create(name, 64, init="paper", **chosen)
        torch.manual_seed(2)
        shapes = {key: value.shape for key, value in block.state_dict().items()}
        results.append((randomly_changed(block).eval()(x), shapes))
    (default, its_shapes), (other, other_shapes) = results
    assert its_shapes != other_shapes or not torch.allclose(default, other)


@pytest.mark.parametrize("name", NAMES)
def test_invalid_settings_raise_an_error(name: str) -> None:
    for key, default in defaults(name).items():
        for wrong in ("nonsense", -1, float("nan"), [3], *(() if default is None else (None,))):
            with pytest.raises(BlockError, match=key):
                create(name, 32, **{key: wrong})
    with pytest.raises(BlockError, match="has no setting 'nonsense'"):
        create(name, 32, nonsense=1)
    for channels in (0, -3, 2.0, True, "32"):
        with pytest.raises(BlockError, match="positive number of channels"):
            create(name, channels)


@pytest.mark.parametrize(("name", "channels", "settings", "words"), CONTRADICTIONS)
def test_contradicting_settings_raise_an_error(name: str, channels: int, settings: dict, words: str) -> None:
    with pytest.raises(BlockError, match=words):
        create(name, channels, **settings)


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_values_stay_finite_and_right_in_low_precision(name: str, settings: dict, dtype: torch.dtype) -> None:
    block = randomly_changed(create(name, 32, init="paper", **settings)).eval()
    low = copy.deepcopy(block).to(dtype)
    for height, width in SIZES:
        x = torch.randn(2, 32, height, width)
        y = low(x.to(dtype))
        assert y.dtype == dtype
        assert y.isfinite().all()
        if height * width > 1:
            expected = block(x)
            error = (y.float() - expected).norm() / expected.norm()
            assert error < {torch.float32: 1e-6, torch.bfloat16: 0.05, torch.float16: 0.01}[dtype]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("magnitude", [0.0, 1e-4, 200.0])
def test_values_stay_finite_for_extreme_inputs(name: str, magnitude: float) -> None:
    for dtype in (torch.float32, torch.float16):
        block = create(name, 32, init="paper").to(dtype)
        scale = magnitude**0.5 if name in QUADRATIC else magnitude
        x = torch.randn(2, 32, 20, 20).mul(scale).to(dtype).requires_grad_()
        y = block.eval()(x)
        assert y.isfinite().all(), dtype
        if dtype == torch.float32:
            y.sum().backward()
            assert x.grad.isfinite().all()


@pytest.mark.parametrize("name", NAMES)
def test_autocast_keeps_dtype_and_identity(name: str) -> None:
    block = create(name, 32)
    for training in (False, True):
        block.train(training)
        for dtype in (torch.float32, torch.bfloat16):
            x = torch.randn(2, 32, 6, 6).to(dtype).requires_grad_()
            with torch.autocast("cpu", torch.bfloat16):
                y = block(x)
            assert y.dtype == dtype
            assert torch.equal(y, x)
            y.float().sum().backward()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("init", ["identity", "paper"])
def test_batch_of_one_pixel_trains(name: str, init: str) -> None:
    block = create(name, 32, init=init).train()
    for size in ((1, 1), (1, 2), (8, 8)):
        x = torch.randn(1, 32, *size, requires_grad=True)
        y = block(x)
        assert y.isfinite().all()
        y.sum().backward()
        assert x.grad.isfinite().all()
        assert all(p.grad is None or p.grad.isfinite().all() for p in block.parameters())


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
@pytest.mark.parametrize("init", ["identity", "paper"])
def test_memory_format_is_kept(name: str, settings: dict, init: str) -> None:
    block = create(name, 32, init=init, **settings)
    x = torch.randn(2, 32, 6, 8)
    last = x.to(memory_format=torch.channels_last)
    assert block(x).is_contiguous()
    for training in (False, True):
        block.train(training)
        assert block(last).is_contiguous(memory_format=torch.channels_last)
    block = randomly_changed(block).eval()
    torch.testing.assert_close(block(last), block(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_gradients_pass_gradcheck(name: str, settings: dict) -> None:
    channels = 32 if name in NEEDS_GROUPS | {"fca"} else 6
    if {"groups", "minimum", "ratio"} & set(settings):
        pytest.skip("changes only a width: the default tests the formula")
    block = randomly_changed(create(name, channels, init="identity", **settings)).double()
    x = torch.randn(2, channels, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block.eval(), (x,), fast_mode=True)
    assert torch.autograd.gradcheck(block.train(), (x,), fast_mode=True)


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_block(name: str) -> None:
    states = []
    for _ in range(2):
        torch.manual_seed(3)
        block, x = create(name, 32, init="paper").train(), torch.randn(2, 32, 8, 8, requires_grad=True)
        y = block(x)
        y.square().mean().backward()
        states.append([y, x.grad, *(p.grad for p in block.parameters()), *block.state_dict().values()])
    assert all(torch.equal(a, b) for a, b in zip(*states, strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_the_state_dict_is_complete_after_construction(name: str) -> None:
    block = create(name, 32, init="paper").train()
    before = {key: value.shape for key, value in block.state_dict().items()}
    for size in (4, 9):
        block(torch.randn(2, 32, size, size))
    assert {key: value.shape for key, value in block.state_dict().items()} == before
    file = io.BytesIO()
    torch.save(randomly_changed(block).eval().state_dict(), file)
    file.seek(0)
    copied = create(name, 32, init="paper").eval()
    copied.load_state_dict(torch.load(file, weights_only=True), strict=True)
    x = torch.randn(2, 32, 7, 7)
    assert torch.equal(copied(x), block(x))
    assert torch.equal(pickle.loads(pickle.dumps(block))(x), block(x))


@pytest.mark.parametrize(("name", "settings"), VARIANTS)
def test_traced_block_takes_other_sizes(name: str, settings: dict) -> None:
    block = randomly_changed(create(name, 32, **settings)).eval()
    with torch.no_grad():
        traced = torch.jit.trace(block, torch.randn(2, 32, 8, 6), check_trace=False)
        for shape in ((1, 32, 13, 9), (3, 32, 4, 20)):
            x = torch.randn(shape)
            torch.testing.assert_close(traced(x), block(x), rtol=1e-4, atol=1e-5)


def onnx_session(block: nn.Module, x: Tensor) -> Any:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    file = io.BytesIO()
    axes = {0: "batch", 2: "height", 3: "width"}
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # the exporter's warnings
        torch.onnx.export(block, (x,), file, input_names=["x"], output_names=["y"], opset_version=17,
                          dynamo=False, dynamic_axes={"x": axes, "y": axes})
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    return onnxruntime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])


@pytest.mark.parametrize("name", NAMES)
def test_onnx_has_a_dynamic_batch_and_size(name: str) -> None:
    block = randomly_changed(create(name, 32)).eval()
    session = onnx_session(block, torch.randn(2, 32, 8, 6))
    for shape in ((2, 32, 8, 6), (1, 32, 13, 9), (3, 32, 4, 20)):
        x = torch.randn(shape)
        (y,) = session.run(None, {"x": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(y), block(x).detach(), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_compiles_without_a_graph_break(name: str) -> None:
    torch.compiler.reset()
    block = randomly_changed(create(name, 32)).eval()
    compiled = torch.compile(block, fullgraph=True, backend="eager", dynamic=True)
    for shape in ((2, 32, 8, 6), (2, 32, 13, 9)):
        x = torch.randn(shape)
        torch.testing.assert_close(compiled(x), block(x))


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_compiled_training_equals_eager(name: str) -> None:
    torch.compiler.reset()
    block = randomly_changed(create(name, 32)).train()
    copied = copy.deepcopy(block)
    x = torch.randn(2, 32, 8, 6)
    results = []
    for module in (torch.compile(block, fullgraph=True), copied):
        y = module(x)
        y.square().mean().backward()
        results.append(y)
    torch.testing.assert_close(results[0], results[1], rtol=1e-3, atol=1e-4)
    for one, other in zip(block.parameters(), copied.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=1e-2, atol=1e-3)


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_the_largest_map_of_yolo_runs(name: str) -> None:
    x = torch.randn(1, 16, 160, 160)
    with torch.no_grad():
        y = randomly_changed(create(name, 16, init="paper")).eval()(x)
        assert y.shape == x.shape
        assert y.isfinite().all()
        assert torch.equal(create(name, 16).eval()(x), x)


@pytest.mark.parametrize("name", NAMES)
def test_aliases_find_the_block(name: str) -> None:
    for alias in (name, name.upper(), *blocks.aliases(name)):
        assert blocks.canonical(alias) == name


def test_unknown_block_gets_a_suggestion() -> None:
    with pytest.raises(BlockError, match="Did you mean 'cbam'"):
        create("cbamm", 32)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("name", ["nonlocal", "mhsa", "pam"])
def test_attention_among_positions_never_allocates_the_n_by_n_matrix(name: str, layout: torch.memory_format) -> None:
    class Largest(TorchDispatchMode):
        numbers = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            for one in result if isinstance(result, (tuple, list)) else (result,):
                if isinstance(one, torch.Tensor):
                    self.numbers = max(self.numbers, one.numel())
            return result

    block = create(name, 16)
    for training in (False, True):
        x = torch.rand(1, 16, 24, 24).to(memory_format=layout).requires_grad_(training)
        with Largest() as largest, torch.set_grad_enabled(training):
            block.train(training)(x)
        assert 16 * 24**2 <= largest.numbers < 24**4 / 8
