"""A `.pt` file of a stranger runs no code in any command, and every checkpoint of Ultralytics and of ours opens."""

import functools
import importlib
import io
import os
import pickle
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from ultralytics import RTDETR as StockRTDETR
from ultralytics import YOLO as StockYOLO

from yolograft.cli import main
from yolograft.errors import GraftError, HostError
from yolograft.host import pickle_check
from yolograft.host.pickle_check import check_pickle
from yolograft.host.yolo import YOLO

GOLDEN = Path(__file__).parent / "golden"


class Called:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.function, self.args = function, args

    def __reduce__(self) -> Any:
        return self.function, self.args


def layer(**state: Any) -> nn.Module:
    """Return a layer with additional attributes."""
    made = nn.SiLU()
    made.__dict__.update(state)
    return made


def with_opcodes(*opcodes: bytes) -> Callable[[Path], bytes]:
    """Return a function that gives a pickle of these opcodes, which Python's pickler does not write."""
    return lambda mark: b"\x80\x04" + b"".join(opcodes).replace(b"MARK", str(mark).encode()) + b"."


def stack_global(module: str, name: str) -> bytes:
    return b"".join(b"\x8c" + bytes([len(text)]) + text.encode() for text in (module, name)) + b"\x93"


def text(value: str) -> bytes:
    return b"X" + len(value).to_bytes(4, "little") + value.encode()


MALICIOUS: dict[str, Callable[[Path], Any]] = {
    "system": lambda mark: Called(os.system, f"touch {mark}"),
    "eval": lambda mark: Called(eval, f"open({str(mark)!r}, 'w').close()"),
    "exec": lambda mark: Called(exec, f"open({str(mark)!r}, 'w').close()"),
    "open": lambda mark: Called(io.open, str(mark), "w"),
    "subprocess": lambda mark: Called(subprocess.call, ["touch", str(mark)]),
    "inside a checkpoint": lambda mark: {"model": layer(names=Called(os.system, f"touch {mark}")), "epoch": -1},
    "constructor of a layer": lambda mark: Called(nn.Linear, 3, 3),
    "constructor of a model": lambda mark: Called(importlib.import_module("ultralytics.nn.tasks").DetectionModel, "x.yaml"),
    "a model of ours": lambda mark: Called(YOLO, "x.pt"),
    "loads a file": lambda mark: Called(torch.load, str(mark)),
    "imports": lambda mark: Called(importlib.import_module, "antigravity"),
    "partial": lambda mark: Called(functools.partial, os.system, f"touch {mark}"),
    "hook": lambda mark: {"model": layer(_forward_hooks={1: os.system})},
    "hook of torch": lambda mark: {"model": layer(_forward_hooks={1: torch.hub.load})},
    "method of a class": lambda mark: Called(getattr, nn.SiLU, "__init_subclass__"),
    "attribute of an attribute": lambda mark: Called(getattr, Called(getattr, nn.SiLU, "forward"), "__globals__"),
    "no arguments": lambda mark: Called(breakpoint),
    "class without arguments": lambda mark: Called(subprocess.Popen),
    "tensor subclass": lambda mark: Called(torch._tensor._rebuild_from_type_v2, os.system, str, (f"touch {mark}",), {}),
    "graph": lambda mark: Called(torch.fx.graph_module.reduce_graph_module, {"_code": ""}, ""),
}
RAW: dict[str, Callable[[Path], bytes]] = {
    "names a module alone": with_opcodes(stack_global("antigravity", "fly")),
    "dotted name": with_opcodes(stack_global("torch.nn.modules", "torch.hub.load")),
    "module behind a layer": with_opcodes(stack_global("torch.nn.modules.activation", "torch")),
    "old global": with_opcodes(b"cposix\nsystem\n", text("touch MARK"), b"\x85R"),
    "inst": with_opcodes(b"(", text("touch MARK"), b"iposix\nsystem\n"),
    "obj": with_opcodes(b"(", b"cposix\nsystem\n", text("touch MARK"), b"o"),
    "newobj with arguments": with_opcodes(b"csubprocess\nPopen\n", text("touch MARK"), b"\x85\x81"),
    "method of a module": with_opcodes(b"c__builtin__\ngetattr\n", b"ctorch\nhub\n", text("load"), b"\x86R"),
    "calls a result": with_opcodes(b"c__builtin__\ngetattr\n", b"ctorch.nn.modules.activation\nSiLU\n", text("forward"),
                                   b"\x86R", text("MARK"), b"\x85R"),
    "extension": with_opcodes(b"\x82\x01"),
}


def write(path: Path, data: bytes) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", sys.byteorder)
    return path


def make_file(name: str, path: Path, mark: Path) -> Path:
    """Write one malicious file."""
    if name in RAW:
        return write(path, RAW[name](mark))
    if name == "no archive":
        path.write_bytes(pickle.dumps(MALICIOUS["system"](mark)))
    elif name == "old format":
        torch.save(MALICIOUS["inside a checkpoint"](mark), path, _use_new_zipfile_serialization=False)
    else:
        torch.save(MALICIOUS[name](mark), path)
    return path


@pytest.mark.parametrize("name", [*MALICIOUS, *RAW, "no archive", "old format"])
def test_no_code_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pickle_check.TRUST, raising=False)
    mark = tmp_path / "ran"
    file = make_file(name, tmp_path / "evil.pt", mark)
    loaded = set(sys.modules)
    with pytest.raises(HostError):
        check_pickle(file)
    with pytest.raises(GraftError):
        YOLO(file)
    with pytest.raises(GraftError):
        YOLO("yolo11n.yaml").load(str(file))
    assert not mark.exists()
    assert "antigravity" not in set(sys.modules) - loaded


@pytest.mark.parametrize("words", [
    ("show", "model={file}"), ("sites", "model={file}"), ("bench", "model={file}", "graft=none"),
    ("train", "model={file}", "data=coco8.yaml"), ("train", "model=yolo11n.yaml", "pretrained={file}", "data={data}"),
    ("val", "model={file}"), ("predict", "model={file}"), ("export", "model={file}"), ("adopt", "{file}", "to=out.pt"),
    ("study", "model={file}", "data={data}", "arms=none; se@8"), ("train", "resume={file}"),
], ids=lambda words: "-".join(word.partition("=")[0] for word in words[:2]))
def test_every_command_refuses_the_file_in_one_line(
        words: tuple[str, ...], tmp_path: Path, tiny_set: Path, monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv(pickle_check.TRUST, raising=False)
    monkeypatch.chdir(tmp_path)
    mark = tmp_path / "ran"
    file = tmp_path / "evil.pt"
    torch.save(MALICIOUS["system"](mark), file)
    assert main([word.format(file=file, data=tiny_set) for word in words]) != 0
    output = capsys.readouterr()
    assert not mark.exists()
    assert "Traceback" not in output.err + output.out
    last = output.err.strip().splitlines()[-1]
    assert last.startswith("yolograft: ")
    assert "Did you mean 'evil.pt'" not in last
    if words[0] != "adopt":
        assert "system" in last
        assert "trust=True" in last


def test_a_module_beside_the_checkpoint_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pickle_check.TRUST, raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    mark = tmp_path / "ran"
    (tmp_path / "stranger_code.py").write_text(f"open({str(mark)!r}, 'w').close()\nclass Block: pass\n")
    write(tmp_path / "evil.pt", with_opcodes(stack_global("stranger_code", "Block"), b")\x81")(mark))
    with pytest.raises(GraftError):
        YOLO(tmp_path / "evil.pt")
    assert not mark.exists()


def test_trust_opens_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pickle_check, "_TRUSTED", set())
    monkeypatch.setenv(pickle_check.TRUST, "")  # the command sets it
    model = StockYOLO("yolo11n.yaml")
    network: Any = model.model
    network.remark = Called(sorted, [2, 1])
    file = tmp_path / "mine.pt"
    torch.save({"model": network, "train_args": {}}, file)
    with pytest.raises(HostError, match=r"calls .*\.sorted"):
        YOLO(file)
    opened: Any = YOLO(file, trust=True).model
    assert opened.remark == [1, 2]
    pickle_check._TRUSTED.clear()
    assert main(["show", f"model={file}"]) == 2
    assert main(["show", f"model={file}", "trust=True"]) == 0


@pytest.mark.parametrize("file", sorted(GOLDEN.rglob("*.pt")), ids=lambda file: f"{file.parent.name}-{file.name}")
def test_golden_checkpoints_pass(file: Path) -> None:
    check_pickle(file)


@pytest.mark.parametrize("name", ["yolo11n.yaml", "yolov8n-seg.yaml", "yolov8n-pose.yaml", "yolo11n-obb.yaml",
                                  "yolo11n-cls.yaml", "yolov10n.yaml", "yolov8s-world.yaml", "yolov5n.yaml",
                                  "rtdetr-l.yaml"])
@pytest.mark.parametrize("kind", ["stock", "grafted"])
def test_checkpoints_of_every_task_pass(name: str, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(pickle_check.TRUST, raising=False)
    if name.startswith("rtdetr") and kind == "grafted":
        pytest.skip("the stock case covers its classes; it is the largest model")
    stock = StockRTDETR if name.startswith("rtdetr") else StockYOLO
    model = stock(name) if kind == "stock" else YOLO(name, graft="se@2 + cbam@4 + eca@4/pre")
    file = tmp_path / "saved.pt"
    torch.save({"model": model.model, "train_args": {"task": model.task}}, file)
    check_pickle(file)
    assert YOLO(file).task == model.task


def test_the_real_checkpoint_passes(weights: Path) -> None:
    check_pickle(weights)
