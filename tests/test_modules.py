"""Requirements for every module of the shelf, and the registry. To test a new module, add it to `CASES`."""

from __future__ import annotations

import copy
import importlib
import inspect
import pickle
import re
import subprocess
import sys
import warnings
from importlib.metadata import EntryPoint
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from yolograft import blocks, modules
from yolograft.errors import BlockError, ModuleError
from yolograft.modules import canonical, describe_channels, lookup, module, names

# name, what a row gives after the channels, channels of the inputs, output channels, output size for 8 x 6
CASES: list[tuple[str, tuple[Any, ...], tuple[int, ...], int, tuple[int, int]]] = [
    ("BiFPN", (), (16, 16, 16), 16, (8, 6)),
    ("BiFPN", (24,), (16, 8), 24, (8, 6)),
    ("BiFPN_Concat", (1,), (16, 8), 24, (8, 6)),
    ("CARAFE", (), (16,), 16, (16, 12)),
    ("CARAFE", (1, 3, 8, 3), (16,), 16, (24, 18)),
    ("DySample", (), (16,), 16, (16, 12)),
    ("DySample", (2, "pl", 4, True), (16,), 16, (16, 12)),
    ("SPDConv", (24,), (16,), 24, (4, 3)),
    ("SPDConv", (24, 3, 2), (16,), 24, (4, 3)),
    ("space_to_depth", (1,), (16,), 64, (4, 3)),
    ("PConv", (), (16,), 16, (8, 6)),
    ("Faster_Block", (24,), (16,), 24, (8, 6)),
    ("C2f_Faster", (32, 2, True), (16,), 32, (8, 6)),
    ("C3k2_Faster", (32, 1, True), (16,), 32, (8, 6)),
    ("C3k2_Faster", (32, 1, False, 0.5, True), (16,), 32, (8, 6)),
    ("C2f_SE", (32, 2, True), (16,), 32, (8, 6)),
    ("C3k2_EMA", (32, 1, False, 0.25), (16,), 32, (8, 6)),
    ("C3k2_CBAM", (32, 1, True), (16,), 32, (8, 6)),
]
WRONG: list[tuple[str, tuple[Any, ...], str]] = [
    ("BiFPN", (16,), r"BiFPN fuses two or more inputs.*\[\[-1, 6\], 1, BiFPN, \[\]\]"),
    ("BiFPN", ([16],), "fuses two or more inputs"),
    ("BiFPN", ([16, 16], 0), "c2=0 must be a whole number of at least 1"),
    ("BiFPN_Concat", ([16, 16], 512), "the argument 512 is the axis.*write BiFPN"),
    ("CARAFE", (16, 2), "k_enc=2 must be an odd whole number"),
    ("CARAFE", (16, 3, 4), "k_up=4 must be an odd whole number"),
    ("CARAFE", (16, 3, 5, 64, 0), "scale=0"),
    ("DySample", (16, 2.5), "scale=2.5"),
    ("DySample", (18,), "groups=4 does not divide 18 channels. The nearest that does is 3"),
    ("DySample", (16, 2, "up"), "style='up' must be 'lp' or 'pl'"),
    ("DySample", (18, 2, "pl", 2), "style=pl needs channels that 4 divides, not 18"),
    ("SPDConv", (16, 32, 2), "k=2 must be an odd"),
    ("SPDConv", (16, 32, 3, True), "scale=True"),
    ("space_to_depth", (2,), "the argument 2 is the axis"),
    ("PConv", (3,), "dim=3 must be a whole number of at least 4"),
    ("PConv", (16, 0), "n_div=0"),
    ("C2f_Faster", (16, 32, 1, True, 2), "C2f_Faster: g=2 must be 1"),
    ("C3k2_Faster", (16, 32, 1, False, 0.5, False, 2), "C3k2_Faster: g=2 must be 1"),
]
ONE_EACH = list({name: (name, *rest) for name, *rest in CASES if not name.startswith(("C2f", "C3k2"))}.values())
IDS = ["-".join(map(str, (name, *args))) for name, args, *_ in CASES]


def build(name: str, args: tuple[Any, ...], channels: tuple[int, ...]) -> nn.Module:
    """Build a module as a row is built: by what `describe_channels` says, with the row's arguments after the channels."""
    torch.manual_seed(0)
    cls = lookup(name)
    first: dict[str, list[Any]] = {"c1,c2": [channels[0]], "c1": [channels[0]], "[c],c2": [list(channels)],
                                   "[c]": [list(channels)], "len": [len(channels)], "": []}
    built: nn.Module = cls(*first[describe_channels(cls).kind], *args)
    return built


def maps(channels: tuple[int, ...], height: int = 8, width: int = 6) -> Tensor | list[Tensor]:
    torch.manual_seed(1)
    x = [torch.randn(2, c, height, width) for c in channels]
    return x[0] if len(x) == 1 else x


def each(x: Tensor | list[Tensor], change: Any) -> Any:
    return [change(one) for one in x] if isinstance(x, list) else change(x)

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.parametrize(("name", "args", "channels", "c2", "size"), CASES, ids=IDS)
def test_shapes_and_repeatability(name: str, args: Any, channels: Any, c2: int, size: Any) -> None:
    row, x = build(name, args, channels), maps(channels)
    before, state = copy.deepcopy(x), copy.deepcopy(row.eval().state_dict())
    y = row(x)
    assert y.shape == (2, c2, *size)
    assert y.isfinite().all()
    assert torch.equal(row(x), y)
    assert all(torch.equal(one, state[key]) for key, one in row.state_dict().items())
    assert list(row.state_dict()) == list(state)
    assert row.train()(x).shape == y.shape
    assert all(map(torch.equal, *((v if isinstance(v, list) else [v]) for v in (x, before))))
    with torch.device("meta"):
        on_meta = lookup(name)(*_first(name, channels), *args)
    assert on_meta(each(x, lambda one: one.to("meta"))).shape == y.shape


def _first(name: str, channels: tuple[int, ...]) -> list[Any]:
    kind = describe_channels(lookup(name)).kind
    return [list(channels)] if "[" in kind else [channels[0]] if kind else []


@pytest.mark.parametrize(("name", "args", "channels", "c2", "size"), CASES, ids=IDS)
def test_copies(name: str, args: Any, channels: Any, c2: int, size: Any) -> None:
    row, x = build(name, args, channels).eval(), maps(channels)
    expected = row(x)
    assert torch.equal(pickle.loads(pickle.dumps(row))(x), expected)
    copied = copy.deepcopy(row)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.add_(1)
    assert torch.equal(row(x), expected)
    copied.load_state_dict(row.state_dict(), strict=True)
    assert torch.equal(copied(x), expected)


@pytest.mark.parametrize(("name", "args", "channels", "c2", "size"), CASES, ids=IDS)
def test_formats(name: str, args: Any, channels: Any, c2: int, size: Any) -> None:
    row, x = build(name, args, channels).eval(), maps(channels)
    expected = row(x)
    last = copy.deepcopy(row).to(memory_format=torch.channels_last)
    torch.testing.assert_close(last(each(x, lambda one: one.to(memory_format=torch.channels_last))), expected,
                               rtol=1e-4, atol=1e-5)
    for dtype, tolerance in ((torch.float16, 0.02), (torch.bfloat16, 0.06)):
        low = copy.deepcopy(row).to(dtype)(each(x, lambda one, dtype=dtype: one.to(dtype)))
        assert low.dtype == dtype
        assert (low.float() - expected).norm() < tolerance * expected.norm()
    with torch.autocast("cpu", torch.bfloat16):
        for training in (False, True):
            y = row.train(training)(each(x, lambda one: one.bfloat16().requires_grad_()))
            assert y.dtype == torch.bfloat16
            y.float().sum().backward()
            row.train(training)(x)


@pytest.mark.parametrize(("name", "args", "channels", "c2", "size"), CASES, ids=IDS)
def test_tracing_has_no_python_control_flow(name: str, args: Any, channels: Any, c2: int, size: Any) -> None:
    row, x = build(name, args, channels).eval(), maps(channels)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("error", torch.jit.TracerWarning)
        traced = torch.jit.trace(row, (x,), check_trace=False)
        for height, width in ((8, 6), (4, 10)):
            other = maps(channels, height, width)
            torch.testing.assert_close(traced(other), row(other), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "args", "channels", "c2", "size"), ONE_EACH, ids=lambda value: str(value))
def test_compiles_without_a_graph_break(name: str, args: Any, channels: Any, c2: int, size: Any) -> None:
    torch.compiler.reset()
    row = build(name, args, channels).eval()
    compiled = torch.compile(row, fullgraph=True, backend="eager", dynamic=True)
    for height, width in ((8, 6), (4, 10)):
        x = maps(channels, height, width)
        torch.testing.assert_close(compiled(x), row(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("name", "args", "channels", "c2", "size"), CASES, ids=IDS)
def test_every_parameter_is_trained(name: str, args: Any, channels: Any, c2: int, size: Any) -> None:
    row, trained = build(name, args, channels).train(), set()
    x = each(maps(channels), lambda one: one.requires_grad_())
    optimizer = torch.optim.SGD([*row.parameters(), torch.zeros(1, requires_grad=True)], lr=0.1)
    for _ in range(3):  # with an identity start, the first layers of a block get a gradient in the second step
        optimizer.zero_grad()
        y = row(x)
        (y * torch.linspace(0.5, 1.5, y.numel()).view_as(y)).square().mean().backward()
        trained |= {key for key, one in row.named_parameters() if one.grad is not None and one.grad.abs().sum() > 0}
        optimizer.step()
    assert trained == {key for key, _ in row.named_parameters()}
    assert all(one.grad is not None and one.grad.abs().sum() > 0 for one in (x if isinstance(x, list) else [x]))


@pytest.mark.parametrize(("name", "args", "words"), WRONG)
def test_wrong_arguments_raise_an_error_with_advice(name: str, args: tuple[Any, ...], words: str) -> None:
    with pytest.raises(ModuleError, match=words):
        lookup(name)(*args)


def test_a_fusion_counts_its_inputs() -> None:
    with pytest.raises(ModuleError, match="BiFPN was built for 2 inputs and got 3"):
        lookup("BiFPN")([4, 4])([torch.zeros(1, 4, 2, 2)] * 3)
    with pytest.raises(ModuleError, match="BiFPN was built for 3 inputs and got 2"):
        lookup("BiFPN")([4, 4, 4])([torch.zeros(1, 4, 2, 2)] * 2)


# --- the registry

NAMES = names()
OURS = sorted(modules._MODULES)


def test_every_module_is_tested_and_documented() -> None:
    assert {name for name, *_ in CASES if name in modules._MODULES} == {*OURS}
    for name in OURS:
        cls = lookup(name)
        assert "Shapes:" in cls.__doc__
        for key in list(inspect.signature(cls.__init__).parameters)[1:]:
            assert f"    {key}: " in inspect.cleandoc(cls.__doc__), f"{name} does not document {key}"
        assert re.search(r"^Paper: .*arXiv:\d{4}\.\d{5}", sys.modules[cls.__module__].__doc__, re.M | re.S), name


def test_aliases_find_the_module() -> None:
    seen: set[str] = set()
    for name in NAMES:
        aliases = modules.aliases(name)
        plain = name.lower().replace("_", "")
        assert plain in aliases or plain in modules._STOCK, name
        assert not seen & set(aliases), name
        seen |= set(aliases)
        for alias in (name, name.upper(), *aliases):
            assert canonical(alias) == name
    assert {"dysample", "bifpnconcat2", "c2fse", "c3k2emaattention", "partialconv3"} <= seen


def test_no_name_means_a_block_and_a_module() -> None:
    for name in NAMES:
        for alias in modules.aliases(name):
            with pytest.raises(BlockError):
                blocks.canonical(alias)


def test_names_are_those_of_the_classes() -> None:
    for name in NAMES:
        assert lookup(name).__name__ == name


def test_an_unknown_name_gets_a_suggestion() -> None:
    with pytest.raises(ModuleError, match="Did you mean 'DySample'"):
        lookup("DySampel")
    with pytest.raises(ModuleError, match=r"Did you mean 'C3k2_CBAM'.*C2f_ or C3k2_ with a block"):
        lookup("C3k2_CBMA")


class Mine(nn.Module):
    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()


class Other(nn.Module):
    def __init__(self, c1: int) -> None:
        super().__init__()


def test_the_decorator(fresh_registry: None) -> None:
    assert module("Mine", aliases=("MyConv",))(Mine) is Mine
    assert lookup("my_conv") is lookup("mine") is Mine
    assert "Mine" in names()
    again = type("Mine", (Mine,), {"__module__": __name__, "__qualname__": "Mine"})  # the file was imported twice
    assert module("Mine")(again) is again
    assert lookup("Mine") is again
    with pytest.raises(ModuleError, match="The name 'My_Conv' already belongs to the module 'Mine'"):
        module("Other", aliases=("My_Conv",))(Other)
    with pytest.raises(ModuleError, match="The name 'Mine' already belongs"):
        module("Mine")(Other)
    with pytest.raises(ModuleError, match="'my conv' cannot name a module"):
        module("my conv")(Other)
    assert "Other" not in names()


def test_a_users_module_takes_the_place_of_ours(fresh_registry: None) -> None:
    ours = lookup("PConv")
    module("PConv")(Mine)
    assert lookup("pconv") is Mine
    assert describe_channels(lookup("PConv")).kind == "c1,c2"
    with pytest.raises(ModuleError, match="No module"):
        canonical("Partial_conv3")  # it meant ours, which has another constructor
    module("C2f_SE")(Other)
    assert lookup("C2f_SE") is Other
    file = sys.modules[ours.__module__]
    before = dict(vars(file))
    try:
        importlib.reload(file)  # as if ours were imported after the user's file
        assert lookup("PConv") is Mine
        assert lookup("Faster_Block").__module__ == ours.__module__
    finally:
        vars(file).update(before)  # later tests pickle the classes that were registered before


def test_entry_points_are_loaded(fresh_registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin(EntryPoint):
        def load(self) -> Any:
            return module("Plugged")(Other)

    monkeypatch.setattr(modules, "entry_points",
                        lambda group: [Plugin("x", "y", group)] if group == "yolograft.modules" else [])
    modules._import_all.cache_clear()
    assert lookup("Plugged") is Other


def test_the_registry_imports_torch_at_the_first_look_up() -> None:
    code = ("import sys; import yolograft.modules as m; before = 'torch' in sys.modules; m.lookup('DySample'); "
            "print(before, 'torch' in sys.modules, any(name.startswith('ultralytics') for name in sys.modules))")
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.split() == ["False", "True", "False"]
