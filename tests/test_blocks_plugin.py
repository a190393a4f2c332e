"""Files of one's own blocks (`blocks=FILE.py`), written as people write them, and the checkpoints with such blocks."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from yolograft import YOLO, blocks
from yolograft.attach import grafts
from yolograft.blocks import plugin
from yolograft.blocks._constructor import read_constructor
from yolograft.errors import BlockError
from yolograft.modelyaml import reader

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings
SOURCE = Path(__file__).resolve().parents[1] / "src"

# As in forks: parts beside the block, a test at the end, positional settings, `c1, c2`.
ATTENTION = '''
import torch
from torch import nn

__all__ = ("SEAttention", "SpatialGate")


class Weights(nn.Module):
    def __init__(self, planes, r):
        super().__init__()
        self.down, self.up = nn.Linear(planes, max(1, planes // r)), nn.Linear(max(1, planes // r), planes)

    def forward(self, v):
        return torch.sigmoid(self.up(torch.relu(self.down(v))))


class SEAttention(nn.Module):
    def __init__(self, in_planes, reduction=16, act=nn.ReLU):
        super().__init__()
        self.weights = Weights(in_planes, reduction)

    def forward(self, x):
        return x * self.weights(x.mean((2, 3)))[:, :, None, None]


class SpatialGate(nn.Module):
    def __init__(self, c1, c2, kernel_size=7):
        super().__init__()
        self.conv = nn.Conv2d(2, 1, kernel_size, padding=kernel_size // 2)

    def forward(self, x):
        return x * torch.sigmoid(self.conv(torch.cat([x.mean(1, keepdim=True), x.amax(1, keepdim=True)], 1)))


if __name__ == "__main__":
    print(SEAttention(64)(torch.rand(1, 64, 8, 8)).shape)
'''


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    blocks.names()
    for registry in ("_BLOCKS", "_ALIASES", "_PLAIN"):
        monkeypatch.setattr(blocks, registry, getattr(blocks, registry).copy())
    monkeypatch.setattr(plugin, "_LOADED", {})
    path = sys.path.copy()
    yield
    sys.path[:] = path


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    def made(source: str, name: str = "own_attention.py") -> Path:
        (tmp_path / name).write_text(source, encoding="utf-8")
        return tmp_path / name

    yield made
    for file in tmp_path.glob("*.py"):
        if getattr(sys.modules.get(file.stem), "__file__", None) == str(file):
            del sys.modules[file.stem]


def test_plain_classes_are_blocks_by_their_names(write: Callable[..., Path]) -> None:
    (found,) = plugin.load_plugins(write(ATTENTION))
    assert found.registered == ()
    assert found.plain == ("SEAttention", "SpatialGate", "Weights")
    text = str(found)
    assert "SEAttention(reduction=16), SpatialGate(kernel_size=7), Weights" in text
    assert "not the built-in block 'se'. 'se' still means the built-in block." in text
    module = blocks.create("SEAttention", 64, reduction=8)
    assert type(module).__module__ == "own_attention"
    assert module.weights.down.out_features == 8
    assert type(blocks.create("se", 64)).__module__ == "yolograft.blocks.se"
    assert "SEAttention" not in blocks.names()
    assert "Weights" not in blocks.names()


def test_a_class_with_the_very_name_of_a_built_in_block_is_used(write: Callable[..., Path]) -> None:
    (upper,) = plugin.load_plugins(write(ATTENTION.replace("SEAttention", "SE"), "upper_names.py"))
    assert type(blocks.create("se", 64)).__module__ == "upper_names"
    assert "'SE' and 'se' now mean the class 'SE' of upper_names.py" in str(upper)
    (lower,) = plugin.load_plugins(write(ATTENTION.replace("SpatialGate", "cbam"), "lower_names.py"))
    assert type(blocks.create("CBAM", 64)).__module__ == "lower_names"
    assert "'cbam' of lower_names.py is used from now on" in str(lower)


@pytest.mark.parametrize(("args", "settings"), [
    ([], {}), ([16], {"reduction": 16}), ([256, 8], {"reduction": 8}), ([256, 256, 8], {"reduction": 8}), ([256], {}),
])
def test_rows_of_a_yaml_use_the_class_of_the_file(
        args: list[int], settings: dict[str, int], write: Callable[..., Path]) -> None:
    plugin.load_plugin(write(ATTENTION))
    config = {"nc": 2, "backbone": [[-1, 1, "Conv", [256, 3, 2]], [-1, 1, "SEAttention", args]],
              "head": [[[1], 1, "Detect", ["nc"]]]}
    (part,) = reader.read(config).graft.parts
    assert (part.block, dict(part.settings)) == ("SEAttention", settings)


def test_positional_settings_keep_the_order_of_the_class(write: Callable[..., Path]) -> None:
    """For a built-in block with a ratio and a kernel, an odd first number is the kernel. An own class says its order."""
    plugin.load_plugin(write(ATTENTION.replace("in_planes, reduction=16,", "in_planes, ratio=16, kernel_size=7,")
                             .replace("reduction", "ratio")))
    config = {"nc": 2, "backbone": [[-1, 1, "Conv", [256, 3, 2]], [-1, 1, "SEAttention", [3, 5]]],
              "head": [[[1], 1, "Detect", ["nc"]]]}
    assert dict(reader.read(config).graft.parts[0].settings) == {"ratio": 3, "kernel_size": 5}


# Constructors as in public files: (the signature, the number of arguments that are channels, the settings, the required
# ones).
SIGNATURES = [
    ("self, c, r=16", 1, {"r": 16}, ()),
    ("self, channel=512, reduction=16", 1, {"reduction": 16}, ()),
    ("self, gate_channels, reduction_ratio=16, pool_types=['avg', 'max'], no_spatial=False", 1,
     {"reduction_ratio": 16, "pool_types": ("avg", "max"), "no_spatial": False}, ()),
    ("self, inp, oup, reduction=32", 2, {"reduction": 32}, ()),
    ("self, c1, c2, kernel_size=7", 2, {"kernel_size": 7}, ()),
    ("self, c1, c2=None, ratio=4", 1, {"c2": None, "ratio": 4}, ()),
    ("self, channels=None, e_lambda=1e-4", 1, {"e_lambda": 1e-4}, ()),
    ("self, e_lambda=1e-4", 0, {"e_lambda": 1e-4}, ()),
    ("self, inplace=True", 0, {"inplace": True}, ()),
    ("self, kernel_size=7", 0, {"kernel_size": 7}, ()),
    ("self, n_dims, width=14, height=14, heads=4", 1, {"width": 14, "height": 14, "heads": 4}, ()),
    ("self, n_dims, width, height, heads=4", 1, {"width": None, "height": None, "heads": 4}, ("width", "height")),
    ("self, dim, norm_layer=None, act=object", 1, {"norm_layer": None}, ()),
    ("self, channels, *, bias=True", 1, {"bias": True}, ()),
    ("self, *args, **kwargs", 1, {}, ()),
    ("self", 0, {}, ()),
]


@pytest.mark.parametrize(("signature", "channels", "settings", "required"), SIGNATURES, ids=[one[0] for one in SIGNATURES])
def test_the_constructors_of_public_files_are_understood(
        signature: str, channels: int, settings: dict[str, Any], required: tuple[str, ...]) -> None:
    names: dict[str, Any] = {}
    exec(f"class Own:\n    def __init__({signature}): self.given = dict(locals())", names)
    found = read_constructor(names["Own"])
    assert (found.channels, found.settings, found.required) == (channels, settings, required)
    given = found.build(names["Own"], "own", 64, dict.fromkeys(required, 3)).given
    taken = given.pop("args", ()) or [value for key, value in given.items() if key not in settings and key not in
                                      ("self", "act", "kwargs", "inplace")]
    assert list(taken) == [64] * channels
    if required:
        with pytest.raises(BlockError, match=r"needs width, height: .*own\(width=\.\.\., height=\.\.\.\)@SITE"):
            found.build(names["Own"], "own", 64, {})


def test_a_decorated_class_may_have_the_signature_of_a_fork(write: Callable[..., Path]) -> None:
    source = ATTENTION.replace("class SEAttention", "@block('thin', aliases=['ThinSE'])\nclass SEAttention").replace(
        "import torch\n", "import torch\nfrom yolograft import block\n", 1)
    (found,) = plugin.load_plugins(write(source))
    assert found.registered == ("thin",)
    assert found.plain == ("SpatialGate", "Weights")
    assert "thin" in blocks.names()
    assert blocks.create("thin_se", 32, reduction=4).weights.down.out_features == 8
    assert type(blocks.create("SEAttention", 32)).__module__ == "yolograft.blocks.se", "the class has the name 'thin' alone"


@pytest.mark.parametrize(("source", "words"), [
    ("x = 1\n", r"has no block: no class of it is a torch.nn.Module(.|\n)*class Mine\(nn.Module\)(.|\n)*graft=Mine@8"),
    ("from torch import nn\nfrom torch.nn import Conv2d\n", "has no block"),
    ("from .conv import Conv\n", "Line 1 has a relative import.*from ultralytics.nn.modules.conv import Conv"),
    ("from ..modules.block import C2f, C3\n", "from ultralytics.nn.modules.block import C2f, C3"),
    ("import surely_not_installed.layers\n", "needs the package 'surely_not_installed'"),
    ("class A(:\n", "SyntaxError.*See line 1"),
    ("raise SystemExit\n", "SystemExit"),
    ("print(undefined)\n", "NameError: name 'undefined'"),
])
def test_a_file_without_a_block_gets_an_error_that_says_how(source: str, words: str, write: Callable[..., Path]) -> None:
    with pytest.raises(BlockError, match=words):
        plugin.load_plugin(write(source, "broken_file.py"))
    assert "broken_file" not in sys.modules


def test_a_file_in_gbk_is_named_so(tmp_path: Path) -> None:
    (tmp_path / "in_gbk.py").write_bytes('name = "注意力"\n'.encode("gbk"))
    with pytest.raises(BlockError, match=r"not in UTF-8\. Save it in this encoding"):
        plugin.load_plugin(tmp_path / "in_gbk.py")


def test_a_missing_file_and_a_taken_name_are_errors(write: Callable[..., Path]) -> None:
    file = write(ATTENTION)
    with pytest.raises(BlockError, match=r"Did you mean 'own_attention\.py'"):
        plugin.load_plugin(file.with_name("own_atention.py"))
    with pytest.raises(BlockError, match="Python has a module named 'turtle' itself"):
        plugin.load_plugin(write(ATTENTION, "turtle.py"))
    with pytest.raises(BlockError, match="a module named 'torch' is already imported"):
        plugin.load_plugin(write(ATTENTION, "torch.py"))


def test_several_files_have_commas_between_them(write: Callable[..., Path]) -> None:
    one, two = write(ATTENTION, "file_one.py"), write(ATTENTION.replace("SpatialGate", "Second"), "file_two.py")
    found = plugin.load_plugins(f"{one}, {two}")
    assert [one.file.name for one in found] == ["file_one.py", "file_two.py"]
    assert type(blocks.create("Second", 8)).__module__ == "file_two"


@pytest.fixture
def model(write: Callable[..., Path]) -> Any:
    plugin.load_plugin(write(ATTENTION))
    return YOLO("yolo11n.yaml", graft="SEAttention(reduction=8)@8 + SpatialGate@p3")


def test_copies_and_pickles_keep_the_blocks(model: Any) -> None:
    x = torch.rand(1, 3, 64, 64)
    expected = model.model.eval()(x)[0]
    for other in (copy.deepcopy(model.model), pickle.loads(pickle.dumps(model.model))):
        assert torch.equal(other.eval()(x)[0], expected)
        assert [type(one).__name__ for one in grafts(other).values()] == ["SEAttention", "SpatialGate"]


OPEN = """
import sys, ultralytics, yolograft
from yolograft.blocks import plugin
def try_all():
    for path in sys.argv[2:]:
        for library in (yolograft, ultralytics)[: 1 + path.endswith('.pt')]:
            try:
                print('opened', type(library.YOLO(path).model.model[8].graft[0]).__module__)
            except Exception as error:
                print('refused', error)
try_all()
if sys.argv[1]:
    plugin.load_plugin(sys.argv[1])
    try_all()
"""


def open_elsewhere(folder: Path, file: Path | str, *checkpoints: Path) -> tuple[list[str], str]:
    """Open checkpoints in another process, before and after it loads a file; return the results, and all that it printed."""
    folders = [*os.environ.get("PYTHONPATH", "").split(os.pathsep), str(SOURCE)]
    done = subprocess.run([sys.executable, "-c", OPEN, str(file), *map(str, checkpoints)], cwd=folder, capture_output=True,
                          text=True, env={**os.environ, "PYTHONPATH": os.pathsep.join(folders), "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return [line for line in done.stdout.splitlines() if line.startswith(("opened", "refused"))], done.stdout + done.stderr


def test_a_checkpoint_names_the_file_that_it_needs(model: Any, tmp_path: Path) -> None:
    pickled, safe = tmp_path / "best.pt", tmp_path / "best.safetensors"
    model.save(pickled)
    shutil.move(model.export(format="safetensors"), safe)  # the folders can be on two disks
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    results, printed = open_elsewhere(elsewhere, tmp_path / "own_attention.py", pickled, safe)
    refused, opened = results[:3], results[3:]  # pickled, by ours and by stock Ultralytics; safetensors
    assert len(refused) == len(opened) == 3
    for line in refused:
        assert line.startswith("refused")
        assert "own file own_attention.py (SEAttention, SpatialGate, Weights)" in line
        assert "add blocks=" in line
    assert "AutoInstall" not in printed
    assert "AutoUpdate" not in printed
    assert opened == ["opened own_attention"] * 3
    # where Python could import the file, ours asks for it by name; stock Ultralytics imports it, as pickle does
    (ours, stock), _ = open_elsewhere(tmp_path, "", pickled)
    assert ours.startswith("refused")
    assert "add blocks=" in ours
    assert stock == "opened own_attention"


def test_a_changed_file_is_said(model: Any, write: Callable[..., Path], tmp_path: Path,
                               caplog: pytest.LogCaptureFixture) -> None:
    needs = plugin.needs_of(model.model)
    assert [(one["file"], one["classes"]) for one in needs] == [
        ("own_attention.py", ["SEAttention", "SpatialGate", "Weights"])]
    for source in (ATTENTION.replace("torch.relu", "torch.tanh"), ATTENTION.replace("SpatialGate", "Renamed")):
        del sys.modules["own_attention"]
        plugin._LOADED.clear()
        plugin.load_plugin(write(source))
        if "Renamed" in source:
            with pytest.raises(BlockError, match=r"own_attention\.py has no SpatialGate"):
                plugin.check_needs(needs)
        else:
            plugin.check_needs(needs)
            assert "own_attention.py has changed since this checkpoint was written" in caplog.text


def test_the_checkpoint_of_a_built_in_block_needs_nothing() -> None:
    assert plugin.needs_of(YOLO("yolo11n.yaml", graft="se@8").model) == []


def test_the_processes_of_a_multi_gpu_training_get_the_file(model: Any, tmp_path: Path, tiny_set: Path) -> None:
    from ultralytics.models.yolo.detect import DetectionTrainer

    from yolograft.host import trainer as trainers

    cls = trainers.grafted_trainer(DetectionTrainer)
    one = cls(overrides={"model": "yolo11n.yaml", "data": str(tiny_set), "graft": str(model.graft),
                         "project": str(tmp_path)})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainers, "_starts_processes", lambda trainer: True)
        patch.setattr(DetectionTrainer, "train", lambda self: vars(self.args))
        assert one.train()["blocks"] == str(tmp_path / "own_attention.py")


def test_the_trials_of_a_study_load_the_file(write: Callable[..., Path], tiny_set: Path) -> None:
    from yolograft.runner import train

    file = write(ATTENTION)
    settings = {"model": "yolo11n.yaml", "data": str(tiny_set), "imgsz": 32, "blocks": str(file)}
    assert "blocks" not in train._usable_settings(settings)
    assert type(blocks.create("SEAttention", 64)).__module__ == "own_attention"
    train.check("yolo11n.yaml", "SEAttention@8", settings)
    before = train.fingerprints(settings)
    del sys.modules["own_attention"]
    write(ATTENTION.replace("torch.relu", "torch.tanh"))
    after = train.fingerprints(settings)
    assert {key for key in before if before[key] != after[key]} == {"blocks"}
    assert "blocks" not in train.fingerprints({key: value for key, value in settings.items() if key != "blocks"})


def test_training_resuming_and_validating_keep_the_class(model: Any, tmp_path: Path, tiny_set: Path) -> None:
    model.train(data=str(tiny_set), epochs=1, imgsz=32, batch=4, workers=0, plots=False, project=str(tmp_path), name="r")
    best = tmp_path / "r" / "weights" / "best.pt"
    again = YOLO(best)
    assert [type(one).__module__ for one in grafts(again.model).values()] == ["own_attention"] * 2
    again.val(data=str(tiny_set), imgsz=32, workers=0, plots=False, project=str(tmp_path), name="v")
    assert isinstance(grafts(again.model)["model.8.graft.0"], nn.Module)
