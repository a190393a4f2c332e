"""Rows of a model YAML that name registered modules, built by Ultralytics' own `parse_model`."""

import copy
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from ultralytics.nn import tasks
from ultralytics.nn.modules import C3k2, Conv
from ultralytics.nn.tasks import DetectionModel
from ultralytics.utils import LOGGER

import yolograft
from yolograft import YOLO, modules
from yolograft.errors import HostError, ModuleError
from yolograft.host import models
from yolograft.host.module_rows import patch_parse_model
from yolograft.modelyaml import catalog, module_rows, table
from yolograft.modelyaml.lint import examine


class C3k2_Mine(C3k2):
    """Extends a stock module."""


class PlainConv(nn.Module):
    """Takes (c1, c2, k, s)."""

    def __init__(self, c1: int, c2: int, k: int = 1, s: int = 1) -> None:
        super().__init__()
        self.cv = Conv(c1, c2, k, s)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv(x)


class WrongConv(PlainConv):
    """Cannot run: its convolution expects one channel more."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__(c1 + 1, c2)


class Fuse(nn.Module):
    """Takes a list of inputs and changes the width."""

    def __init__(self, inc: list[int], ouc: int) -> None:
        super().__init__()
        self.p = nn.ModuleList([nn.Conv2d(c, ouc, 1) for c in inc])

    def forward(self, xs: list[Tensor]) -> Tensor:
        return torch.stack([p(x) for p, x in zip(self.p, xs, strict=True)]).sum(0)


class Count(nn.Module):
    """Takes the number of inputs."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.ones(length))

    def forward(self, xs: list[Tensor]) -> Tensor:
        return torch.cat([w * x for w, x in zip(self.w, xs, strict=True)], 1)


class OneWidth(nn.Module):
    """Takes c1 only."""

    def __init__(self, c1: int) -> None:
        super().__init__()
        self.cv = nn.Conv2d(c1, c1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv(x)


class Odd(nn.Module):
    """Has parameters that say nothing about channels."""

    def __init__(self, foo: int, bar: int) -> None:
        super().__init__()
        self.cv = nn.Conv2d(foo, bar, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv(x)


class Unclear(Odd):
    """Has the same constructor, and no test says how it takes its channels."""


class TwoMaps(nn.Module):
    """Gives no single map."""

    def __init__(self, c1: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x, x


OWN = (C3k2_Mine, PlainConv, Fuse, Count, OneWidth, Odd, TwoMaps, WrongConv, Unclear)
BASE = yaml.safe_load(next(path for path in catalog.packaged_files() if path.name == "yolo11.yaml").read_text("utf-8"))


@pytest.fixture(autouse=True)
def _own_modules(monkeypatch: pytest.MonkeyPatch, one_thread: None) -> None:
    modules.names()
    monkeypatch.setattr(modules, "_MODULES", dict(modules._MODULES))
    monkeypatch.setattr(modules, "_ALIASES", dict(modules._ALIASES))
    for cls in OWN:
        modules.add_plain(cls)


def edited(change: Callable[[list[Any]], list[Any]], scale: str = "n") -> dict[str, Any]:
    cfg = copy.deepcopy(BASE)
    for part in ("backbone", "head"):
        cfg[part] = [change(row) for row in cfg[part]]
    return {**cfg, "scale": scale}


def renamed(old: str, new: str, args: Callable[[list[Any]], list[Any]] = list, where: Callable[[list[Any]], bool] = bool
            ) -> Callable[[list[Any]], list[Any]]:
    return lambda row: [*row[:2], new, args(row[3])] if row[2] == old and where(row[3] or [0]) else row


def build(cfg: dict[str, Any], verbose: bool = False) -> Any:
    with models.building():
        return DetectionModel(copy.deepcopy(cfg), verbose=verbose)


def reference(scale: str) -> Any:
    return DetectionModel({**copy.deepcopy(BASE), "scale": scale}, verbose=False)


def kept(model: Any, stock: Any) -> int:
    own = model.state_dict()
    return sum(key in own and own[key].shape == value.shape for key, value in stock.state_dict().items())


CASES = {  # what changes, and which keys of the stock model it changes at most
    "extends C3k2": (renamed("C3k2", "C3k2_Mine"), ()),
    "c1, c2, k, s": (renamed("Conv", "PlainConv"), (0, 1, 3, 5, 7, 17, 20)),
    "a list": (renamed("Concat", "Fuse", lambda _: [256]), (13, 16, 19, 22)),
    "len": (renamed("Concat", "Count", lambda _: []), ()),
    "c1": (renamed("SPPF", "OneWidth", lambda _: []), (9,)),
    "BiFPN": (renamed("Concat", "BiFPN_Concat2", lambda _: [1]), ()),
    "CARAFE": (renamed("nn.Upsample", "CARAFE", lambda _: []), ()),
    "DySample": (renamed("nn.Upsample", "DySample", lambda _: []), ()),
    "SPDConv": (renamed("Conv", "SPDConv", lambda a: a[:1], lambda a: len(a) == 3 and a[2] == 2), (0, 1, 3, 5, 7, 17, 20)),
    "C3k2_Faster": (renamed("C3k2", "C3k2_Faster"), (2, 4, 6, 8, 13, 16, 19, 22)),
}


@pytest.mark.parametrize("scale", ["n"])
@pytest.mark.parametrize("name", CASES)
def test_rows_are_built_as_stock_rows(name: str, scale: str) -> None:
    change, touched = CASES[name]
    cfg, stock = edited(change, scale), reference(scale)
    model = build(cfg)
    own = model.state_dict()
    for key, value in stock.state_dict().items():
        if int(key.split(".")[1]) not in touched:
            assert own[key].shape == value.shape, key
    assert model.stride.tolist() == [8.0, 16.0, 32.0]
    assert model.save == stock.save
    assert [layer.i for layer in model.model] == list(range(24))
    assert [layer.f for layer in model.model] == [layer.f for layer in stock.model]
    assert getattr(model.model[-1], "legacy", None) == getattr(stock.model[-1], "legacy", None)
    for row, layer in zip(table.parse_rows(cfg), model.model, strict=True):
        cls = layer[0] if type(layer) is nn.Sequential and row.module != "nn.Sequential" else layer
        expected = modules.lookup(row.module).__name__ if module_rows.is_module(row.module) else row.kind
        assert type(cls).__name__ == expected
        assert layer.np == sum(p.numel() for p in layer.parameters()) or not module_rows.is_module(row.module)
        assert layer.type.endswith(type(cls).__qualname__)
    assert model.eval()(torch.rand(1, 3, 64, 64))[0].shape == stock.eval()(torch.rand(1, 3, 64, 64))[0].shape


@pytest.mark.parametrize("scale", ["n", pytest.param("m", marks=pytest.mark.slow), "l"])
def test_a_class_that_extends_c3k2_keeps_every_key_and_its_flags(scale: str) -> None:
    stock, model = reference(scale), build(edited(renamed("C3k2", "C3k2_Mine"), scale))
    assert kept(model, stock) == len(stock.state_dict()) == len(model.state_dict())
    for layer, other in zip(model.model, stock.model, strict=True):
        assert [type(one).__name__ for one in layer.modules()][1:] == [type(one).__name__ for one in other.modules()][1:]
    assert not any("row_arguments" in vars(one) for one in model.modules())
    assert all(type(one) in vars(tasks).values() for one in build(edited(renamed("SPPF", "C3k2_Mine", lambda a: [a[0]])))
               .modules() if type(one).__name__ == "C3k2")


def test_outside_of_a_build_parse_model_is_stock() -> None:
    before = tasks.parse_model
    with patch_parse_model():
        assert tasks.parse_model is not before
    assert tasks.parse_model is before
    assert tasks.LOGGER is LOGGER


def test_the_layer_table_shows_the_modules_and_the_blocks(caplog: pytest.LogCaptureFixture) -> None:
    LOGGER.addHandler(caplog.handler)
    try:
        with caplog.at_level(logging.INFO, LOGGER.name):
            models.build_model({**edited(CASES["a list"][0]), "graft": "se@12"}, yolograft.Graft.parse("se@12"),
                               DetectionModel, verbose=True)
    finally:
        LOGGER.removeHandler(caplog.handler)
    lines = [record.getMessage() for record in caplog.records]
    at = next(n for n, line in enumerate(lines) if line.startswith(" 12"))
    assert f"{Fuse.__module__}.Fuse" in lines[at]
    assert "[[256, 128], 64]" in lines[at]
    assert "SE" in lines[at + 1]
    assert not any("HGStem" in line for line in lines)
    assert sum(line.startswith(" 12") for line in lines) == 1


def test_an_unclear_constructor_is_an_error_only_in_a_row_that_uses_it() -> None:
    build(edited(CASES["c1"][0]))
    with pytest.raises(ModuleError, match=r'It is not clear how Odd\(foo, bar\).*@module\("Odd", channels='):
        build(edited(renamed("SPPF", "Odd")))
    yolograft.module("Odd", channels="c1,c2")(Odd)
    build(edited(renamed("SPPF", "Odd", lambda a: a[:1])))


@pytest.mark.parametrize(("change", "text"), [
    (renamed("Conv", "PlainConv", lambda _: []), "needs its number of output channels"),
    (renamed("SPPF", "TwoMaps", lambda _: []), "gives tuple. A row must give one map"),
    (renamed("SPPF", "PlainConv", lambda _: [64, 3, 1, 9, 9]), "cannot be built"),
    (renamed("Concat", "PlainConv"), "reads 2 maps with 256, 128 channels"),
    (renamed("SPPF", "WrongConv", lambda a: a[:1]), r"cannot run on 256x8x8 .*\(test_host_module_rows.py, line \d+\)\.$"),
])
def test_a_wrong_row_is_one_line(change: Callable[[list[Any]], list[Any]], text: str) -> None:
    with pytest.raises(HostError, match=text):
        build(edited(change))


def test_a_registered_module_is_no_attention_row() -> None:
    class SE(nn.Module):
        def __init__(self, c1: int, c2: int) -> None:
            super().__init__()
            self.cv = nn.Conv2d(c1, c2, 1)

        def forward(self, x: Tensor) -> Tensor:
            return self.cv(x)

    modules.add_plain(SE)
    model = build(edited(renamed("SPPF", "SE", lambda a: a[:1])))
    assert type(model.model[9]) is SE


def test_lint_knows_module_rows(tmp_path: Path) -> None:
    file = tmp_path / "yolo11n-mine.yaml"

    def lint(change: Callable[[list[Any]], list[Any]]) -> Any:
        cfg = edited(change)
        del cfg["scale"]
        file.write_text(yaml.safe_dump(cfg), encoding="utf-8")
        return examine(file)

    for name, (change, _) in CASES.items():
        report = lint(change)
        assert not report.findings, f"{name}: {report}"
    report = lint(CASES["a list"][0])
    assert "Fuse(inc=[256, 128], ouc=64 (256 scaled)): 64 channels, stride 16" in str(report)
    # a module with a stride makes the maps of a Concat unequal
    strided = renamed("C3k2", "PlainConv", lambda a: [a[0], 3, 2], lambda a: a[0] == 512 and len(a) == 3)
    (finding, *_) = lint(strided).findings
    assert "stride" in finding.what
    (finding,) = lint(renamed("SPPF", "TwoMaps", lambda _: [])).findings
    assert "gives tuple" in finding.what
    (finding,) = lint(renamed("SPPF", "Unheard")).findings
    assert "modules=FILE.py" in finding.fix
    (finding,) = lint(renamed("SPPF", "PlainConvv")).findings
    assert "Did you mean 'PlainConv'?" in finding.fix
    (finding,) = lint(renamed("SPPF", "Unclear")).findings
    assert "row 9" in finding.what
    assert "above the class" in finding.fix


def test_the_names_of_the_shelf_are_known_without_a_file(tmp_path: Path) -> None:
    from yolograft.modelyaml import unknown

    for name in ("C2f_Faster", "BiFPN_Concat2", "CARAFE", "DySample", "SPDConv", "C3k2_Faster", "BiFPN", "PConv"):
        assert module_rows.is_module(name)
    assert not any(map(module_rows.is_module, unknown._ELSEWHERE))
    assert not module_rows.is_module("Conv")
    assert not module_rows.is_module("SE")
    # C2f with attention stays a stock row and a graft
    file = tmp_path / "yolo11n-se.yaml"
    cfg = edited(renamed("C3k2", "C3k2_SE", where=lambda a: a[0] == 1024))
    file.write_text(yaml.safe_dump(cfg), encoding="utf-8")
    assert str(YOLO(file).graft).startswith("se")


def test_layers_are_pickled_by_their_own_class(tmp_path: Path) -> None:
    model = build(edited(CASES["len"][0]))
    torch.save(model, tmp_path / "x.pt")
    found = torch.load(tmp_path / "x.pt", weights_only=False)
    assert type(found.model[12]) is Count


def test_rows_have_the_activation_of_the_file_and_are_fused() -> None:
    model = build({**edited(renamed("C3k2", "C3k2_Faster")), "activation": "nn.ReLU()"})
    convs = [one for one in model.model[:-1].modules() if hasattr(one, "conv") and hasattr(one, "act")]
    assert convs
    assert not any(isinstance(one.act, nn.SiLU) for one in convs)
    assert isinstance(modules.lookup("C3k2_Faster")(8, 8).cv1.act, nn.SiLU)
    model.eval()
    for one in model.modules():
        if isinstance(one, nn.BatchNorm2d):
            nn.init.uniform_(one.running_mean)
            nn.init.uniform_(one.running_var, 0.5, 2)
    image = torch.rand(1, 3, 64, 64)
    before = model.model[2](torch.rand(1, 32, 8, 8, generator=torch.Generator().manual_seed(0)))
    model(image)
    model.fuse(verbose=False)
    assert not any(hasattr(one, "bn") for one in model.modules() if hasattr(one, "conv") and hasattr(one, "act"))
    after = model.model[2](torch.rand(1, 32, 8, 8, generator=torch.Generator().manual_seed(0)))
    assert torch.allclose(before, after, atol=1e-5)
