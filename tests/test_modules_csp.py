"""C2f and C3k2 kinds: the parameters and results of Ultralytics' own, and attention at two places inside."""

from __future__ import annotations

import inspect
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import ultralytics.nn.modules as stock
from torch import Tensor, nn

from yolograft import blocks, modules
from yolograft.errors import BlockError, ModuleError
from yolograft.modules import lookup

HAS_ATTN = "attn" in inspect.signature(stock.C3k2).parameters  # since Ultralytics 8.4
C2F: list[tuple[Any, ...]] = [(16, 32, 2), (16, 32, 1, True), (16, 32, 1, True, 2, 0.25)]
C3K2: list[tuple[Any, ...]] = [(16, 32, 2), (16, 32, 1, True), (16, 32, 2, False, 0.25)]
ATTENTION: list[tuple[Any, ...]] = [(16, 32, 1, True, 0.5, True), (16, 160, 1, False, 0.8, True, 2, False)]
ROWS = [("C2f", args) for args in C2F] + [("C3k2", args) for args in C3K2] + [
    pytest.param("C3k2", args, marks=pytest.mark.skipif(not HAS_ATTN, reason="this Ultralytics has no attn"))
    for args in ATTENTION]

pytestmark = pytest.mark.usefixtures("one_thread")


def randomised(module: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * (3 if "qkv.conv" in name else 0.2))  # a softmax far from uniform
        for key, buffer in module.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.copy_(torch.rand_like(buffer) + 0.5)
    return module.eval()


def maps(channels: int) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, channels, 6, 5)


@pytest.mark.parametrize(("family", "args"), ROWS)
@pytest.mark.parametrize("place", ["output", "bottleneck"])
def test_a_new_row_is_the_stock_row_with_the_same_weights(family: str, args: tuple[Any, ...], place: str) -> None:
    host = randomised(getattr(stock, family)(*args))
    row = lookup(f"{family}_SE")(*args, place=place).eval()
    theirs, ours = host.state_dict(), row.state_dict()
    assert {key: value.shape for key, value in theirs.items()} == {
        key: value.shape for key, value in ours.items() if "attention" not in key}
    assert any("attention" in key for key in ours)
    row.load_state_dict(theirs, strict=False)
    torch.testing.assert_close(row(maps(args[0])), host(maps(args[0])), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("family", "args"), [("C2f", C2F[1]), ("C3k2", C3K2[0]), ("C3k2", C3K2[1])])
@pytest.mark.parametrize("place", ["output", "bottleneck"])
def test_the_block_is_at_its_place(family: str, args: tuple[Any, ...], place: str) -> None:
    row = randomised(lookup(f"{family}_CBAM")(*args, place=place, init="paper"))
    host = getattr(stock, family)(*args).eval()
    host.load_state_dict({key: value for key, value in row.state_dict().items() if "attention" not in key})
    if place == "output":
        host = nn.Sequential(host, row.attention)
    else:
        for name, bottleneck in list(host.named_modules()):
            if isinstance(bottleneck, stock.Bottleneck):
                bottleneck.cv2 = nn.Sequential(bottleneck.cv2, row.get_submodule(f"{name}.attention"))
    plain = getattr(stock, family)(*args).eval()
    plain.load_state_dict({key: value for key, value in row.state_dict().items() if "attention" not in key})
    x = maps(args[0])
    torch.testing.assert_close(row(x), host(x), rtol=1e-4, atol=1e-5)
    assert (row(x) - plain(x)).norm() > 1e-3 * plain(x).norm()


@pytest.mark.parametrize(("name", "args"), [
    ("C2f_Faster", (16, 32, 2)), ("C3k2_Faster", (16, 32, 2)), ("C3k2_Faster", (16, 32, 1, True)),
])
def test_rows_with_fasternet_blocks_keep_the_frame_of_the_stock_row(name: str, args: tuple[Any, ...]) -> None:
    host = getattr(stock, name.partition("_")[0])(*args).state_dict()
    row = lookup(name)(*args).state_dict()
    frame = {key: value.shape for key, value in host.items() if not key.startswith("m.")}
    assert {key: row[key].shape for key in frame} == frame
    inner = {key: value.shape for key, value in host.items() if ".cv3." in key}
    assert {key: row[key].shape for key in inner} == inner


@pytest.mark.skipif(not HAS_ATTN, reason="this Ultralytics has no attn")
def test_self_attention_after_fasternet_blocks_has_the_stock_names() -> None:
    host = stock.C3k2(16, 32, 1, True, 0.5, True).state_dict()
    row = lookup("C3k2_Faster")(16, 32, 1, True, 0.5, True).state_dict()
    expected = {key: value.shape for key, value in host.items() if key.startswith("m.0.1.")}
    assert len(expected) > 20
    assert {key: row[key].shape for key in expected} == expected


@pytest.mark.parametrize("family", ["C2f", "C3k2"])
@pytest.mark.parametrize("block", blocks.names())
def test_each_block_is_in_both_families(family: str, block: str) -> None:
    row = lookup(f"{family}_{block}")(16, 32, 1)
    assert type(row).__name__ in modules.names()
    assert isinstance(row.attention, blocks.lookup(block))
    assert row(maps(16)).shape == (2, 32, 6, 5)


@pytest.mark.parametrize(("name", "expected"), [
    ("C2f_SE", "C2f_SE"), ("c2f_se", "C2f_SE"), ("C3k2_SEAttention", "C3k2_SE"), ("C3k2CBAM", "C3k2_CBAM"),
    ("C2fCoordAtt", "C2f_CoordAtt"), ("C3k2-EMA", "C3k2_EMA"), ("C3k2_CoordAttention", "C3k2_CoordAtt"),
    ("C2f_PSA", "C2f_PSA"),
])
def test_names_of_public_yaml_files(name: str, expected: str) -> None:
    assert modules.canonical(name) == expected
    assert lookup(name) is lookup(expected)


@pytest.mark.parametrize("name", sorted(stock.__all__))
def test_stock_modules_stay_those_of_ultralytics(name: str) -> None:
    with pytest.raises(ModuleError, match="No module is named"):
        modules.canonical(name)


def test_settings_reach_the_block() -> None:
    assert lookup("C2f_SE")(16, 64, ratio=4).attention.fc1.out_channels == 16
    assert lookup("C3k2_SE")(16, 64, place="bottleneck", ratio=4).m[0].attention.fc1.out_channels == 8
    with pytest.raises(BlockError, match=r"has no setting 'ration'\. Did you mean 'ratio'"):
        lookup("C2f_SE")(16, 64, ration=4)
    with pytest.raises(ModuleError, match="C2f_SE: place='input' is not one of output, bottleneck"):
        lookup("C2f_SE")(16, 64, place="input")


def test_a_pickled_row_opens_in_a_new_process(tmp_path: Path) -> None:
    row = lookup("C3k2_SE")(16, 32)
    file = tmp_path / "row.pkl"
    file.write_bytes(pickle.dumps(row))
    code = f"import pickle; print(repr(pickle.load(open({str(file)!r}, 'rb'))))"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert shown.strip() == repr(row)
    assert shown.startswith("C3k2_SE(")


def test_a_users_block_is_in_the_families(monkeypatch: pytest.MonkeyPatch) -> None:
    for registry in ("_BLOCKS", "_ALIASES"):
        monkeypatch.setattr(blocks, registry, getattr(blocks, registry).copy())

    @blocks.block("fancy")
    class Scaled(nn.Module):
        def __init__(self, channels: int) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.ones(channels, 1, 1))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    assert "C2f_fancy" in modules.names()
    assert isinstance(lookup("c2f_fancy")(16, 32).attention, Scaled)
