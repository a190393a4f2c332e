"""A checkpoint of a fork of Ultralytics becomes one of ours that gives the fork's output, and no code of it runs."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
import ultralytics
from torch import nn

from yolograft import YOLO, GraftError, blocks
from yolograft.attach import grafts
from yolograft.blocks import plugin
from yolograft.cli import main
from yolograft.host import match_block, models, pickled
from yolograft.host.adopt import adopt
from yolograft.host.pickled import open_pickle, state_of

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings
FORKS = Path(__file__).parent / "forks"
# the class in the fork: its arguments in the YAML row, and the graft that says the same
VARIANTS: dict[str, tuple[list[Any], str]] = {
    "SEAttention": ([16], "se(bias=False, init=paper)@8"),
    "SE": ([8], "se(init=paper, ratio=8)@8"),
    "SEBlock": ([], "se(gate=hardsigmoid, init=paper, ratio=4)@8"),
    "CBAM": ([], "cbam(bias=False, init=paper, norm=False)@8"),
    "CBAMBlock": ([512, 16, 7], "cbam(bias=False, init=paper)@8"),
    "CBAMModule": ([], "cbam(init=paper)@8"),
    "ECA": ([5], "eca(init=paper, kernel_size=5)@8"),
    "SimAM": ([], "simam(init=paper)@8"),
    "CoordAtt": ([], "coordatt(init=paper)@8"),
    "ShuffleAttention": ([], "shuffle(init=paper)@8"),
    "TripletAttention": ([], "triplet(init=paper)@8"),
    "SpatialGroupEnhance": ([], "sge(init=paper)@8"),
}
OTHERS: dict[str, list[Any]] = {"SELayer": [16], "Softer": []}


@pytest.fixture(scope="module")
def fork(tmp_path_factory: pytest.TempPathFactory, tiny_set: Path) -> Path:
    """A folder with the checkpoints and YAML files of a fork, and the fork's outputs. The fork itself is gone."""
    folder = tmp_path_factory.mktemp("fork")
    package = folder / "site" / "ultralytics"
    shutil.copytree(Path(ultralytics.__file__).parent, package, ignore=shutil.ignore_patterns("__pycache__", "assets"))
    shutil.copy(FORKS / "own_modules.py", package / "nn" / "modules" / "own_modules.py")
    tasks = package / "nn" / "tasks.py"
    text = tasks.read_text(encoding="utf-8")
    branch = "        else:\n            c2 = ch[f]\n"
    assert text.count(branch) == 1
    text = text.replace(branch, "        elif m in own.ALL:\n            c2 = ch[f]\n            args = args[1:] if args "
                                "and "
                        "args[0] > 64 else args\n            args = [*[c2] * (1 + (m in own.TWICE) - (m in "
                        "own.CHANNELLESS)),"
                        f" *args]\n{branch}")
    text = text.replace("\ndef parse_model(", "\nfrom ultralytics.nn.modules import own_modules as own\n"
                        "globals().update({one.__name__: one for one in own.ALL})\n\n\ndef parse_model(")
    tasks.write_text(text, encoding="utf-8")
    words = [f"{name}={json.dumps(args)}" for name, args in
             {**{name: args for name, (args, _) in VARIANTS.items()}, **OTHERS}.items()]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "site"), os.environ.get("PYTHONPATH", "")]),
                   "YOLO_AUTOINSTALL": "False", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, str(FORKS / "make.py"), str(folder), str(tiny_set), *words], env=environment,
                          cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    shutil.rmtree(folder / "site")
    return folder


def output_of(file: Path) -> torch.Tensor:
    x = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        result: torch.Tensor = YOLO(file).model.float().eval()(x)[0]
    return result


def expected(fork: Path, name: str) -> torch.Tensor:
    found: dict[str, torch.Tensor] = torch.load(fork / "outputs.pt", weights_only=True)
    return found[name]


def assert_same(file: Path, fork: Path, name: str) -> None:
    ours, theirs = output_of(file), expected(fork, name)
    assert theirs.std() > 1  # boxes in pixels
    torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=2e-3)


@pytest.mark.parametrize("name", VARIANTS)
def test_an_adopted_checkpoint_gives_the_output_of_the_fork(name: str, fork: Path, tmp_path: Path) -> None:
    found = adopt(fork / f"{name}.pt", tmp_path / "ours.pt", model=fork / f"yolo11n-{name}.yaml")
    assert models.short_text(str(found.graft)) == VARIANTS[name][1]
    assert found.host == found.total
    assert not found.left
    assert_same(tmp_path / "ours.pt", fork, name)


def test_the_yaml_in_the_checkpoint_is_enough(fork: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = tmp_path / "ours.safetensors"
    assert main(["adopt", str(fork / "SEAttention.pt"), f"to={to}"]) == 0
    printed = capsys.readouterr().out
    assert "SEAttention, [16]] -> se(bias=False, init=paper)@8: 2 of 2 tensors" in printed
    assert "fc.0 -> fc1" in printed
    assert f"Written: {to}" in printed
    assert_same(to, fork, "SEAttention")
    model = YOLO(to)
    assert model.names == {0: "dim", 1: "bright"}
    assert type(model.model).__name__ == "GraftedDetectionModel"


def test_an_adopted_checkpoint_can_be_trained(fork: Path, tmp_path: Path, tiny_set: Path) -> None:
    adopt(fork / "CBAMBlock.pt", tmp_path / "ours.pt")
    model = YOLO(tmp_path / "ours.pt")
    model.train(data=str(tiny_set), epochs=1, imgsz=32, batch=4, workers=0, plots=False, project=str(tmp_path), name="t")
    assert models.short_text(str(YOLO(tmp_path / "t" / "weights" / "best.pt").graft)) == "cbam(bias=False, init=paper)@8"


def test_what_our_block_cannot_compute_is_refused(fork: Path, tmp_path: Path) -> None:
    with pytest.raises(GraftError, match=r"SELayer, \[16\]\]: its SiLU: 'se' has ReLU there(.|\n)*blocks=FILE.py"):
        adopt(fork / "SELayer.pt", tmp_path / "ours.pt")
    with pytest.raises(GraftError, match=r"(?s)neither Ultralytics nor yolograft knows.*Softer.*blocks=FILE.py"):
        adopt(fork / "Softer.pt", tmp_path / "ours.pt")
    assert list(tmp_path.iterdir()) == []
    found = adopt(fork / "SELayer.pt", tmp_path / "ours.pt", force=True)
    assert "SiLU" in found.left[0]
    assert "does not fit" in str(found)


@pytest.mark.parametrize("name", ["SELayer", "Softer", "CBAM", "TripletAttention"])
def test_the_own_file_of_the_fork_gives_its_output(name: str, fork: Path, tmp_path: Path) -> None:
    """Also with a batch norm, whose eps Ultralytics changes in every model that it builds."""
    shutil.copy(FORKS / "own_modules.py", tmp_path / "fork_modules.py")
    to = tmp_path / "ours.pt"
    with pytest.MonkeyPatch.context() as patch:
        blocks.names()
        for registry in ("_BLOCKS", "_ALIASES", "_PLAIN"):
            patch.setattr(blocks, registry, getattr(blocks, registry).copy())
        patch.setattr(plugin, "_LOADED", {})
        patch.setattr(sys, "path", sys.path.copy())
        try:
            plugin.load_plugin(tmp_path / "fork_modules.py")
            assert "assumed" not in str(adopt(fork / f"{name}.pt", to))
            assert_same(to, fork, name)
            assert type(grafts(YOLO(to).model)["model.8.graft.0"]).__name__ == name
        finally:
            del sys.modules["fork_modules"]


def test_a_state_dict_alone_needs_the_yaml(fork: Path, tmp_path: Path) -> None:
    record = open_pickle(fork / "SE.pt").value["model"]
    torch.save({f"module.{key}": value for key, value in state_of(record).items()}, tmp_path / "tensors.pt")
    with pytest.raises(GraftError, match=r"has only tensors.*model=FILE\.yaml"):
        adopt(tmp_path / "tensors.pt", tmp_path / "ours.pt")
    text = (fork / "yolo11n-SE.yaml").read_text().replace("nc: 80", "nc: 2")
    (tmp_path / "yolo11-mine.yaml").write_text(text)
    adopt(tmp_path / "tensors.pt", tmp_path / "ours.pt", model=tmp_path / "yolo11-mine.yaml")
    assert_same(tmp_path / "ours.pt", fork, "SE")


def test_another_yaml_is_refused(fork: Path, tmp_path: Path) -> None:
    with pytest.raises(GraftError, match="does not fit, so nothing was written"):
        adopt(fork / "SE.pt", tmp_path / "ours.pt", model="yolo11n.yaml")
    with pytest.raises(GraftError, match="does not fit, so nothing was written"):
        adopt(fork / "SE.pt", tmp_path / "ours.pt", model="yolov8n.yaml")


def test_files_are_not_overwritten_and_have_a_known_ending(fork: Path, tmp_path: Path) -> None:
    (tmp_path / "there.pt").write_text("mine")
    with pytest.raises(GraftError, match="exists and is not overwritten"):
        adopt(fork / "SE.pt", tmp_path / "there.pt")
    with pytest.raises(GraftError, match=r"must end with \.pt or \.safetensors"):
        adopt(fork / "SE.pt", tmp_path / "ours.onnx")
    assert main(["adopt", str(fork / "SE.pt")]) == 2


# The search for settings, over all blocks: our own block under foreign names is found again.

NON_DEFAULTS: dict[str, dict[str, Any]] = {
    "se": {"ratio": 4, "bias": False}, "cbam": {"ratio": 8, "norm": False, "kernel_size": 3}, "eca": {"kernel_size": 7},
    "gam": {"ratio": 2, "kernel_size": 3}, "ema": {"groups": 4}, "coordatt": {"ratio": 2}, "bam": {"ratio": 4},
    "scse": {"ratio": 4, "bias": False}, "sge": {"groups": 4}, "shuffle": {"groups": 4}, "pam": {"ratio": 4},
    "nonlocal": {"ratio": 4}, "double": {"ratio": 2}, "fca": {"ratio": 8},
}


@pytest.mark.parametrize("name", blocks.names())
def test_every_block_is_found_again_under_other_names(name: str) -> None:
    torch.manual_seed(0)
    known = blocks.defaults(name)
    settings = {**({"init": "paper"} if "init" in known else {}), **NON_DEFAULTS.get(name, {})}
    module = blocks.create(name, 64, **settings).eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        for key, buffer in module.named_buffers():
            if key.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand_like(buffer))
    tensors = {f"inner.{key}" if "." in key else key: value for key, value in module.state_dict().items()}
    found = match_block.match_block(name, 64, {}, tensors, None)
    assert not found.problems
    again = blocks.create(name, 64, **found.settings).eval()
    # undo the change for another eps, which a test below checks
    found.tensors.update({key: value for key, value in module.state_dict().items() if key.endswith("running_var")})
    again.load_state_dict(found.tensors)
    x = torch.randn(2, 64, 14, 14)
    torch.testing.assert_close(again(x), module(x), rtol=1e-5, atol=1e-5)


def test_the_functions_of_every_block_are_listed() -> None:
    assert set(match_block.NONLINEAR) == set(blocks.names())
    for name in blocks.names():
        classes = {type(one).__name__ for one in blocks.create(name, 64).modules()}
        functions = {one for one in classes if one in nn.modules.activation.__all__}
        assert functions <= match_block.NONLINEAR[name], name


def test_the_names_of_public_implementations_are_those_of_our_blocks() -> None:
    for known in match_block.KNOWN:
        ours = {key for key, _ in match_block._units(blocks.create(known.block, 64).state_dict().items())}
        assert set(known.units.values()) <= ours, known.source


@pytest.mark.parametrize("eps", [1e-5, 1e-3])
def test_another_eps_of_a_batch_norm_gives_the_same_output(eps: float) -> None:
    torch.manual_seed(0)
    module = blocks.create("cbam", 32, init="paper").eval()
    module.norm.eps = eps
    module.norm.running_var.fill_(0.01)
    record = pickled.Record()
    norm = pickled.Record()
    norm.state["eps"] = eps
    record.state["_modules"] = {"norm": norm}
    found = match_block.match_block("cbam", 32, {}, module.state_dict(), record)
    again = blocks.create("cbam", 32, **found.settings).eval()
    again.load_state_dict(found.tensors)
    x = torch.randn(2, 32, 9, 9)
    torch.testing.assert_close(again(x), module(x), rtol=1e-6, atol=1e-6)


# Files that are not what they seem. Nothing in them runs.


class Evil:
    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return os.system, (f"touch {self.file}",)


@pytest.mark.parametrize("where", ["root", "state", "key", "argument", "exec"])
def test_a_malicious_pickle_runs_nothing(where: str, tmp_path: Path) -> None:
    mark = tmp_path / "was_here"
    evil: Any = Evil(mark)
    if where == "exec":
        class Code:
            def __reduce__(self) -> Any:
                return exec, (f"import os; os.mkdir({str(mark)!r})",)
        evil = Code()
    content = {"root": evil, "state": {"model": {"a": evil, "model.0.conv.weight": torch.ones(1)}},
               "key": {"model": {"model.0.conv.weight": torch.ones(1)}, "x": (evil, [evil])},
               "argument": {"model": {"model.0.conv.weight": torch.ones(1)}, "train_args": {"a": {1: evil}}},
               "exec": {"model": evil}}[where]
    torch.save(content, tmp_path / "evil.pt")
    with pytest.raises(GraftError):
        adopt(tmp_path / "evil.pt", tmp_path / "ours.pt")
    with pytest.raises(GraftError):
        adopt(tmp_path / "evil.pt", tmp_path / "ours.pt", model="yolo11n.yaml", force=False)
    assert not mark.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert mark.exists(), "the file is harmless, so this test shows nothing"


def rewrite(source: Path, to: Path, change: Any, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(to, "w", compression) as new:
        for info in old.infolist():
            data = change(info.filename, old.read(info.filename))
            if data is not None:
                new.writestr(info.filename, data)
    return to


def test_damaged_files_give_one_line(fork: Path, tmp_path: Path) -> None:
    good = fork / "SE.pt"
    data = good.read_bytes()
    for size in (0, 10, len(data) // 2, len(data) - 30):
        (tmp_path / "cut.pt").write_bytes(data[:size])
        with pytest.raises(GraftError, match=r"incomplete|damaged") as raised:
            adopt(tmp_path / "cut.pt", tmp_path / "ours.pt")
        assert "\n" not in str(raised.value)
    cases = {
        "no_storage": lambda name, one: None if "/data/" in name and not name.endswith("/0") else one,
        "short_storage": lambda name, one: one[:-2] if "/data/" in name else one,
        "short_pickle": lambda name, one: one[:-40] if name.endswith("data.pkl") else one,
        "no_pickle": lambda name, one: None if name.endswith("data.pkl") else one,
        "script": lambda name, one: one,
    }
    for case, change in cases.items():
        file = rewrite(good, tmp_path / f"{case}.pt", change)
        if case == "script":
            with zipfile.ZipFile(file, "a") as archive:
                archive.writestr(f"{archive.namelist()[0].partition('/')[0]}/constants.pkl", b"")
        with pytest.raises(GraftError) as raised:
            adopt(file, tmp_path / "ours.pt")
        assert "\n" not in str(raised.value), case
    with pytest.raises(GraftError, match="does not exist"):
        adopt(tmp_path / "missing.pt", tmp_path / "ours.pt")
    (tmp_path / "text.pt").write_text("hello")
    with pytest.raises(GraftError, match=r"not a checkpoint of PyTorch 1\.6"):
        adopt(tmp_path / "text.pt", tmp_path / "ours.pt")


def test_files_that_would_fill_the_memory_are_refused(fork: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = rewrite(fork / "SE.pt", tmp_path / "packed.pt", lambda name, one: one, zipfile.ZIP_DEFLATED)
    with pytest.raises(GraftError, match="compressed members"):
        open_pickle(small)

    class Wide:
        def __reduce__(self) -> Any:
            storage = torch.zeros(1).untyped_storage()
            typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.float32, _internal=True)
            return torch._utils._rebuild_tensor_v2, (typed, 0, (10**6, 10**6), (0, 0), False, {})

    torch.save({"model": {"model.0.a": Wide()}}, tmp_path / "wide.pt")
    with pytest.raises(GraftError, match="larger than its storage"):
        open_pickle(tmp_path / "wide.pt")
    available = type("Memory", (), {"available": 10**6})()
    monkeypatch.setattr(psutil, "virtual_memory", lambda: available)
    with pytest.raises(GraftError, match=r"needs about \d+\.\d GB of memory, and 0\.0 GB are free"):
        open_pickle(fork / "SE.pt")


def test_checkpoints_of_other_repositories_are_named(tmp_path: Path) -> None:
    sys.modules["models"] = sys.modules["models.yolo"] = module = type(sys)("models.yolo")
    module.Model = type("Model", (nn.Module,), {"__module__": "models.yolo", "__qualname__": "Model"})  # type: ignore[attr-defined]
    try:
        torch.save({"model": module.Model()}, tmp_path / "yolov5s.pt")
    finally:
        del sys.modules["models"], sys.modules["models.yolo"]
    with pytest.raises(GraftError, match="repository yolov5 or yolov7"):
        adopt(tmp_path / "yolov5s.pt", tmp_path / "ours.pt")
    torch.save({"model": YOLO("yolo11n.yaml", graft="se@8").model}, tmp_path / "ours_already.pt")
    with pytest.raises(GraftError, match="checkpoint of yolograft already"):
        adopt(tmp_path / "ours_already.pt", tmp_path / "ours.pt")


def test_every_golden_checkpoint_is_read_like_pytorch_reads_it() -> None:
    for file in (Path(__file__).parent / "golden").rglob("*.pt"):
        record = open_pickle(file).value["model"]
        stock = YOLO(file).model.state_dict()
        ours = state_of(record)
        assert ours.keys() == stock.keys()
        assert all(torch.equal(ours[key].float(), value.float()) for key, value in stock.items())


def test_a_pickle_of_python_alone_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "plain.pt").write_bytes(pickle.dumps({"a": 1}))
    with pytest.raises(GraftError, match=r"not a checkpoint of PyTorch 1\.6"):
        open_pickle(tmp_path / "plain.pt")
