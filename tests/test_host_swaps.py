"""Swaps: modules that take the place of a host's own modules of the same shapes."""

import json
import logging
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor, nn
from ultralytics.cfg import DEFAULT_CFG_DICT
from ultralytics.models.yolo.detect import DetectionTrainer
from ultralytics.nn.modules import C3k2
from ultralytics.utils import DEFAULT_CFG, LOGGER

from yolograft import YOLO, attach, modules
from yolograft.cli import main
from yolograft.errors import GraftError, HostError, ModuleError, SiteError, SpecError
from yolograft.host import models, swaps
from yolograft.host.swapped_yaml import swapped_yaml
from yolograft.host.trainer import grafted_trainer
from yolograft.modelyaml import catalog, load, writer
from yolograft.modules import module
from yolograft.modules.binding import Replaced, bind
from yolograft.runner.train import check
from yolograft.sites import light_copy, probe, rows
from yolograft.spec import Swap
from yolograft.study.arms import parse_arms

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings
FAST = {"imgsz": 32, "batch": 4, "nbs": 4, "workers": 0, "plots": False, "verbose": False, "mosaic": 0.0, "speed": "stock",
        "epochs": 1, "exist_ok": True}
SWAP = "dysample(groups=2)@Upsample + c3k2_faster@backbone.C3k2 + faster_block@model.13.m.0.cv2"
# each module of the shelf, with the classes that it can replace in the packaged files
SHELF = [("dysample", "Upsample"), ("carafe", "Upsample"), ("c3k2_faster", "C3k2"), ("c2f_faster", "C3k2"),
         ("c2f_faster", "C2f"), ("c3k2_faster", "C2f"), ("c3k2_se", "C3k2"), ("c2f_cbam", "C2f"), ("bifpn", "Concat"),
         ("bifpn_concat", "Concat"), ("pconv", "SPPF"), ("faster_block", "SPPF"), ("c2f_faster", "C3"),
         ("c3k2_faster", "A2C2f"), ("faster_block", "C2PSA"), ("pconv", "RepC3")]
FILES = catalog.packaged_files()


@pytest.fixture(autouse=True)
def _threads(one_thread: None) -> None:
    """Use one thread."""


def build(name: str) -> Any:
    return YOLO(name).model


def pieces(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.state_dict())


@pytest.fixture(scope="module")
def host() -> Any:
    return build("yolo11n.yaml")


def names_and_scales() -> list[str]:
    """Return every packaged file at each of its scales: yolo11-seg at m is yolo11m-seg."""
    found = []
    for path in FILES:
        scales = (yaml.safe_load(path.read_text(encoding="utf-8")) or {}).get("scales") or {"": 0}
        is_scaled = re.match(r"yolo(e-)?v?\d+(?![a-z])", path.stem)
        found += [re.sub(r"^(yolo(?:e-)?v?\d+)", rf"\g<1>{scale}", path.stem) + ".yaml" for scale in scales] \
            if is_scaled else [path.name]
    return found


def check_law(path: str, pairs: list[tuple[str, str]], most: int) -> int:
    """Swap each module into all rows of a class. All other modules stay the host's to the bit, and all shapes are kept."""
    torch.manual_seed(0)
    host = build(path)
    kinds = {row.kind for row in rows(host)}
    before, shapes = pieces(host), probe(host)
    count = 0
    for name, kind in [pair for pair in pairs if pair[1] in kinds][:most]:
        swapped = light_copy(host)
        planned = swaps.swap_onto(swapped, Swap.parse(f"{name}@{kind}"))
        assert {one.row for one in planned} == {row.index for row in rows(host) if row.kind == kind}
        inside = tuple(f"{one.path}." for one in planned)
        after = pieces(swapped)
        assert {key for key in before if not key.startswith(inside)} == {key for key in after if not key.startswith(inside)}
        assert all(torch.equal(value, before[key]) for key, value in after.items() if not key.startswith(inside))
        ours = probe(swapped)
        assert all(ours.outputs[row.name] == shapes.outputs[row.name] for row in rows(host))
        config = json.loads(json.dumps(dict(swapped.yaml)))
        again = models.build_model(config, models.read_graft(config), type(host), verbose=False)
        assert {key: value.shape for key, value in pieces(again).items()} == {k: v.shape for k, v in after.items()}
        count += 1
    return count


def test_a_swap_keeps_every_shape_and_every_other_tensor_sampled() -> None:
    generator = random.Random(3)
    small = [name for name in names_and_scales() if re.match(r"yolov?\d+n", name) and "world" not in name]
    files = generator.sample(small, 3)
    pairs = SHELF.copy()
    generator.shuffle(pairs)
    assert sum(check_law(path, pairs, most=2) for path in files) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("path", names_and_scales(), ids=lambda path: Path(path).stem)
def test_a_swap_keeps_every_shape_and_every_other_tensor(path: str) -> None:
    try:
        build(path)
    except Exception:
        pytest.skip("Ultralytics cannot build the file at this scale")
    check_law(path, SHELF, most=len(SHELF))


class Units(nn.Module):
    """Has the parameters of C3k2 under other names, and does not extend it."""

    def __init__(self, c1: int, c2: int, n: int = 1, c3k: bool = False, e: float = 0.5) -> None:
        super().__init__()
        self.facts = (n, c3k, e)
        self.cv = nn.Conv2d(c1, c2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv(x)


class Down(nn.Module):
    """Has other names for kernel size and stride, and an activation that is a module."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, bias: bool = False,
                 act: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        self.cv = nn.Conv2d(in_channels, out_channels, kernel_size, stride, kernel_size // 2, bias=bias)
        self.act = act()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.cv(x))


class Two(nn.Module):
    """One convolution; a row of several has several of them."""

    def __init__(self, c1: int, c2: int) -> None:
        super().__init__()
        self.cv = nn.Conv2d(c1, c2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.cv(x)


@pytest.fixture
def own(fresh_registry: None) -> None:
    for cls in (Units, Down, Two):
        module(cls.__name__)(cls)


@pytest.mark.parametrize(("scale", "expected"), [
    ("n", {2: (1, False, 0.25), 6: (1, True, 0.5), 13: (1, False, 0.5)}),
    ("m", {2: (1, True, 0.25), 6: (1, True, 0.5), 13: (1, True, 0.5)}),
    ("l", {2: (2, True, 0.25), 6: (2, True, 0.5), 13: (2, True, 0.5)})])
def test_width_repeats_and_the_c3k_flag_are_those_of_the_row(own: None, scale: str, expected: dict[int, Any]) -> None:
    host = build(f"yolo11{scale}.yaml")
    stock = {number: isinstance(host.model[number], C3k2) and type(host.model[number].m[0]).__name__ == "C3k"
             for number in expected}
    swaps.swap_onto(host, Swap.parse("units@2,6,13"))
    assert {number: host.model[number].facts for number in expected} == expected
    assert stock == {number: facts[1] for number, facts in expected.items()}


def test_arguments_are_bound_by_usual_names_and_types(own: None, host: Any) -> None:
    call = swaps.plan_swap(host, Swap.parse("down@3"))[0].call
    assert call.settings == {"kernel_size": 3, "stride": 2}, "Conv's act=True is no class of a module"
    assert swaps.plan_swap(host, Swap.parse("down(bias=True)@3"))[0].call.settings["bias"] is True
    inside = swaps.plan_swap(host, Swap.parse("down@model.2.m.0.cv1"))[0].call
    assert inside.settings == {"kernel_size": 3, "stride": 1}
    assert bind("dysample", Replaced(inputs=(8,), output=8, given={"size": None, "scale_factor": 4, "mode": "nearest"}),
                {}).settings == {"scale": 4}


def test_a_module_without_repeats_stands_in_sequence(own: None) -> None:
    host = build("yolo11l.yaml")
    swaps.swap_onto(host, Swap.parse("two@8"))
    assert [type(one) for one in host.model[8]] == [Two, Two]
    assert (host.model[8].i, host.model[8].f) == (8, -1)
    host(torch.zeros(1, 3, 64, 64))


def test_all_that_does_not_fit_is_named_at_once(host: Any) -> None:
    with pytest.raises(GraftError) as caught:
        swaps.swap_onto(host, Swap.parse("dysample@13 + foo@2 + se@3 + carafe@p3 + carafe@Upsampl + spdconv@0/pre"))
    text = str(caught.value)
    for part in ("6 parts", "No module is named 'foo'", "'se' is a block", "Name the row that it reads: 16",
                 "Did you mean 'Upsample'", "replaces a whole module"):
        assert part in text
    assert "swap" not in host.yaml
    with pytest.raises(ModuleError, match=r"row 13 \(C3k2\).*384x16x16 into 384x32x32.*128x16x16.*fits rows 11, 14") as one:
        swaps.swap_onto(host, Swap.parse("dysample@13"))
    assert "\n" not in str(one.value)


@pytest.mark.parametrize(("text", "error", "message"), [
    ("dysample", SpecError, "names no site. Expected MODULE@SITE"), ("", SpecError, "The swap is empty"),
    ("dysampel@11", ModuleError, "Did you mean 'DySample'"),
    ("dysample(group=8)@11", ModuleError, "Did you mean 'groups'"),
    ("dysample(in_channels=8)@11", ModuleError, "the place decides the channels"),
    ("dysample@23", SiteError, "is the head, Detect"), ("dysample@2,model.2.m.0", ModuleError, "fits rows 11, 14"),
    ("pconv@9 + pconv@9.cv1", SiteError, "A place has one module"),
    ("pconv@9,SPPF", SiteError, "A place has one module"),
    ("bifpn@9", ModuleError, "reads several maps.*fits rows 12, 15, 18, 21"),
    ("pconv@12", ModuleError, "reads one map, but the module there reads 2"),
    ("pconv@model.0.conv", SiteError, "fuse.*Did you mean 'model.0'"),
    ("dysample(groups=3)@11", ModuleError, "does not divide 256 channels"),
    ("space_to_depth@9", ModuleError, "These modules fit there: .*C2f_Faster"),
    ("pconv@model.23.dfl", SiteError, "does not turn maps")])
def test_a_mistake_gives_one_error(host: Any, text: str, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        swaps.swap_onto(host, Swap.parse(text))
    assert "swap" not in host.yaml


def test_the_text_names_places_and_reads_back(host: Any) -> None:
    planned = swaps.plan_swap(host, Swap.parse(" dysample ( groups = 2 ) @ Upsample + FASTERBLOCK@Bottleneck.cv2[0]"))
    text = str(swaps.canonical(planned))
    assert text == "DySample(groups=2)@11,14 + Faster_Block@model.2.m.0.cv2"
    assert swaps.canonical(swaps.plan_swap(host, Swap.parse(text))) == Swap.parse(text)


# Checkpoints


@pytest.fixture(scope="module")
def trained(tiny_set: Path, weights: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[str]]:
    folder = tmp_path_factory.mktemp("swapped")
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    keep = Keep()
    LOGGER.addHandler(keep)
    try:
        YOLO(weights).train(data=str(tiny_set), project=str(folder), name="run", graft="se@DySample", swap=SWAP,
                            **{**FAST, "verbose": True})
    finally:
        LOGGER.removeHandler(keep)
    return folder / "run" / "weights" / "best.pt", lines


def test_a_training_prints_the_rows_and_the_tensors_that_loaded(trained: tuple[Path, list[str]]) -> None:
    text = "\n".join(trained[1])
    assert "in row 11 (DySample replaced Upsample)" in text
    assert "in row 13 (Faster_Block replaced Conv)" in text
    assert "in row 6 (C3k2_Faster replaced C3k2)" in text
    assert text.count("yolograft.modules.dysample.DySample") == 2
    assert "torch.nn.modules.upsampling.Upsample" not in text
    record = yaml.safe_load((trained[0].parents[1] / "graft.yaml").read_text())
    assert record["swap"].startswith("DySample(groups=2)@11,14 + C3k2_Faster@2,4,6,8 + Faster_Block@")


def test_a_checkpoint_reopens_fuses_and_becomes_safetensors(trained: tuple[Path, list[str]]) -> None:
    model = YOLO(trained[0])
    assert str(model.swap).startswith("DySample(groups=2)@11,14")
    assert list(attach.grafts(model.model)) == ["model.11.graft.0", "model.14.graft.0"]
    assert not getattr(model.model, swaps.FRESH, ())
    x = torch.rand(1, 3, 64, 64)
    expected = model.model.float().eval()(x)[0]
    again = pickle.loads(pickle.dumps(model.model))
    assert torch.equal(again(x)[0], expected)
    other = YOLO(model.export(format="safetensors"))
    assert other.swap == model.swap
    assert torch.equal(other.model.float()(x)[0], expected)
    assert torch.allclose(model.model.fuse(verbose=False)(x)[0], expected, rtol=1e-3, atol=1e-2)


def test_stock_ultralytics_validates_a_checkpoint_and_does_not_train_another_model(
        trained: tuple[Path, list[str]], tiny_set: Path, tmp_path: Path) -> None:
    model = YOLO(trained[0], graft="none")
    file = tmp_path / "bare.pt"
    model.save(file)
    code = (f"from ultralytics import YOLO\nmodel = YOLO({str(file)!r})\n"
            f"model.val(data={str(tiny_set)!r}, imgsz=32, workers=0, plots=False, verbose=False)\n"
            f"try:\n    model.train(data={str(tiny_set)!r}, epochs=1, imgsz=32, workers=0)\n"
            f"except Exception as error:\n    print('stopped:', error)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "stopped:" in done.stdout
    assert "the model carries the swap 'DySample@11,14" in done.stdout


def test_a_checkpoint_trains_on_with_all_its_tensors(trained: tuple[Path, list[str]]) -> None:
    checkpoint = YOLO(trained[0])
    cls = grafted_trainer(DetectionTrainer)
    trainer = object.__new__(cls)
    trainer.graft_text = trainer.swap_text = None
    trainer.data, trainer.args = {"nc": 2, "channels": 3}, DEFAULT_CFG
    network = trainer.get_model(cfg=checkpoint.model.yaml, weights=checkpoint.model, verbose=False)
    theirs = pieces(checkpoint.model.float())
    assert all(torch.equal(value, theirs[key]) for key, value in pieces(network).items())


def test_all_other_weights_are_those_of_the_bare_arm(weights: Path) -> None:
    def network(swap: str | None, name: Path | str) -> nn.Module:
        trainer = object.__new__(grafted_trainer(DetectionTrainer))
        trainer.graft_text, trainer.swap_text = "none", swap
        trainer.data, trainer.args = {"nc": 7, "channels": 3}, DEFAULT_CFG
        model = YOLO(name)
        torch.manual_seed(5)
        built = trainer.get_model(cfg=model.model.yaml, weights=model.model if model.ckpt else None, verbose=False)
        built.after = torch.rand(1)
        return built

    for name in (weights, "yolo11n.yaml"):
        bare, swapped = network(None, name), network(SWAP, name)
        shared = [key for key in pieces(bare) if key.split(".")[1] not in ("2", "4", "6", "8", "11", "13", "14")]
        assert all(torch.equal(pieces(bare)[key], pieces(swapped)[key]) for key in shared)
        assert torch.equal(bare.after, swapped.after), "the random state after the build"
        assert torch.equal(pieces(bare)["model.2.cv1.conv.weight"], pieces(swapped)["model.2.cv1.conv.weight"])


def test_new_modules_get_their_weights_from_the_seed_of_the_training(weights: Path) -> None:
    model = YOLO(weights, swap="dysample@Upsample")
    new = {key for key in pieces(model.model) if key.startswith(("model.11.", "model.14."))}
    assert set(model.model.swap_is_fresh) == new

    def offset(seed: int) -> Tensor:
        trainer = object.__new__(grafted_trainer(DetectionTrainer))
        trainer.graft_text = trainer.swap_text = None
        trainer.data, trainer.args = {"nc": 7, "channels": 3}, DEFAULT_CFG
        torch.manual_seed(seed)
        found = trainer.get_model(cfg=model.model.yaml, weights=model.model, verbose=False)
        tensor: Tensor = pieces(found)["model.11.offset.weight"]
        return tensor

    assert torch.equal(offset(1), offset(1))
    assert not torch.equal(offset(1), offset(2))


def test_a_checkpoint_keeps_its_swap_unless_it_is_replaced(trained: tuple[Path, list[str]]) -> None:
    same = YOLO(trained[0], swap=SWAP)
    assert same.swap == YOLO(trained[0]).swap
    assert not getattr(same.model, swaps.FRESH, ())
    with pytest.raises(HostError, match=r"would drop these modules.*replace=True"):
        YOLO(trained[0], swap="carafe@Upsample")
    more = YOLO(trained[0], swap=f"{SWAP} + spdconv@3")
    assert all(key.startswith("model.3.") for key in more.model.swap_is_fresh)
    assert torch.equal(pieces(more.model)["model.11.offset.weight"], pieces(same.model)["model.11.offset.weight"])
    assert attach.grafts(more.model)
    other = YOLO(trained[0], graft="none", swap=None)
    bare = YOLO("yolo11n.yaml").model
    from yolograft.host.change_swap import set_swap

    set_swap(other, "none")
    assert not other.swap
    assert set(pieces(other.model)) == set(pieces(bare))
    assert "swap" not in other.model.yaml
    with pytest.raises(HostError, match="resume continues with the checkpoint's own swap"):
        YOLO(trained[0]).train(resume=True, swap="carafe@Upsample")


def test_a_process_of_a_multi_gpu_training_has_the_swap(tiny_set: Path, tmp_path: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    cls = grafted_trainer(DetectionTrainer)
    overrides = {"model": "yolo11n.yaml", "data": str(tiny_set), "swap": "carafe@11", "project": str(tmp_path), **FAST}
    trainer = cls(overrides=overrides)
    monkeypatch.setattr("yolograft.host.trainer._starts_processes", lambda _: True)
    monkeypatch.setattr(DetectionTrainer, "train", lambda _: None)
    trainer.train()
    child = cls(cfg={**DEFAULT_CFG_DICT, "save_dir": ""}, overrides={**vars(trainer.args), "name": "child"})
    assert child.swap_text == "carafe@11"
    assert type(child.get_model(cfg="yolo11n.yaml", verbose=False).model[11]) is modules.lookup("carafe")


# Files, studies and commands


@pytest.mark.parametrize(("name", "swap"), [
    ("yolo11m.yaml", "dysample(groups=2)@Upsample + c3k2_faster@6 + pconv@SPPF"), ("yolo11n.yaml", "c2f_faster@C3k2"),
    ("yolo11n.yaml", "c2f_faster@6,8 + spdconv@3 + bifpn@neck.Concat"), ("yolov8n-seg.yaml", "c3k2_faster@6 + pconv@SPPF"),
    ("yolov8n.yaml", "c2f_faster@6 + carafe@Upsample"),
    ("yolo11n.yaml", "c3k2_se(place=bottleneck)@6 + faster_block@Bottleneck.cv2[0]")])
def test_a_written_file_builds_the_swapped_model(name: str, swap: str, tmp_path: Path) -> None:
    expected = build(name)
    swaps.swap_onto(expected, Swap.parse(swap))
    config = swapped_yaml(load.load(name), name, swap)
    file = tmp_path / "mine.yaml"
    file.write_text(writer.dump(config, "none", swap), encoding="utf-8")
    written = build(str(file))
    assert {key: value.shape for key, value in pieces(written).items()} == \
        {key: value.shape for key, value in pieces(expected).items()}
    assert [type(layer) for layer in written.modules()][1:] == [type(layer) for layer in expected.modules()][1:]


def test_a_swap_is_an_argument_of_an_arm() -> None:
    text = "none; none swap=dysample@Upsample; se@8 + eca@6 swap=dysample@11 + c3k2_faster@2,4 lr0=0.1; se@8"
    arms = parse_arms(text, None, model="yolo11n.pt")
    assert [(arm.graft, arm.settings.get("swap")) for arm in arms] == [
        ("none", None), ("none", "dysample@Upsample"), ("se@8 + eca@6", "dysample@11 + c3k2_faster@2,4"), ("se@8", None)]
    for arm in arms:
        check("yolo11n.yaml", arm.graft, arm.settings)
    check("yolo11n.yaml", "se@DySample", {"swap": "dysample@Upsample"})
    with pytest.raises(ModuleError, match="Did you mean 'DySample'"):
        check("yolo11n.yaml", "none", {"swap": "dysampel@Upsample"})
    with pytest.raises(SiteError, match="No site 'Upsample'"):
        check("yolo11n.yaml", "se@Upsample", {"swap": "dysample@Upsample"})


def test_commands_take_a_swap(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert main(["show", "model=yolo11n.yaml", "swap=dysample@Upsample", "graft=se@DySample"]) == 0
    assert capsys.readouterr().out.count("DySample") == 3
    assert main(["sites", "model=yolo11n.yaml", "swap=dysample@Upsample"]) == 0
    assert "neck.DySample[1]" in capsys.readouterr().out
    assert main(["bench", "model=yolo11n.yaml", "imgsz=64", "repeats=1", "swap=dysample@11; carafe@11"]) == 0
    assert "swap=carafe@11" in capsys.readouterr().out
    assert main(["yaml", "model=yolo11n.yaml", "swap=dysample@Upsample", f"to={tmp_path / 'a.yaml'}"]) == 0
    assert "DySample, [{scale: 2}]" in (tmp_path / "a.yaml").read_text()
    assert main(["yaml", "model=yolo11n.yaml", "swap=dysample@Upsampl"]) == 2
    assert "Did you mean 'Upsample'" in capsys.readouterr().err
