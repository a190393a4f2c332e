"""Files as a stranger with bad intent would make them: name -> kind and maker. `hostile_worker.py` opens them.

A payload of a file creates the file `MARK` in the current folder, imports the module `antigravity`, or opens a socket. No
maker runs a payload. All files are small: a bomb is small by definition.
"""

from __future__ import annotations

import functools
import io
import json
import os
import pickle
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import yaml

MARK = "ran"
CODE = f"__import__('os').system('touch {MARK}')"
ROWS: dict[str, Any] = {
    "nc": 2,
    "backbone": [[-1, 1, "Conv", [16, 3, 2]], [-1, 1, "Conv", [32, 3, 2]], [-1, 1, "Conv", [32, 3, 2]]],
    "head": [[[1, 2], 1, "Detect", ["nc"]]]}


@dataclass(frozen=True)
class Hostile:
    """One file.

    Attributes:
        kind: a key of `hostile_worker.COMMANDS`.
        make: writes the file into a folder and returns its path.
        refused: whether every command must refuse it. Otherwise a command may go on without what is wrong.
        named: text that the output has then, such as the name of the file with what is wrong.
    """

    kind: str
    make: Callable[[Path], Path]
    refused: bool = True
    named: str = ""


FILES: dict[str, Hostile] = {}


def _add(kind: str, name: str, make: Callable[[Path], Path], refused: bool = True, named: str = "") -> None:
    assert f"{kind}: {name}" not in FILES
    FILES[f"{kind}: {name}"] = Hostile(kind, make, refused, named)


def _text(name: str, text: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        file = folder / name
        file.write_bytes(text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text)
        return file
    return make


def _billion(key: str = "a") -> str:
    """Return lists of aliases: ten lines that stand for a billion values."""
    lines = [f"{key}0: &a0 [x,x,x,x,x,x,x,x,x,x]"]
    lines += [f"{key}{at}: &a{at} [{','.join([f'*a{at - 1}'] * 10)}]" for at in range(1, 10)]
    return "\n".join(lines) + "\n"


def _merges(key: str = "a") -> str:
    """Return merge keys of merge keys, which the loader expands itself."""
    lines = [f"{key}0: &m0 {{x: 1, y: 2}}"]
    lines += [f"{key}{at}: &m{at} {{<<: [{','.join([f'*m{at - 1}'] * 10)}]}}" for at in range(1, 10)]
    return "\n".join(lines) + "\n"


# What can be wrong with any YAML file: name -> function of the rest of a good file.
YAMLS: dict[str, Callable[[str], str | bytes]] = {
    "python object": lambda rest: f"{rest}\nextra: !!python/object/apply:os.system ['touch {MARK}']\n",
    "python name": lambda rest: f"{rest}\nextra: !!python/name:antigravity.fly ''\n",
    "python module": lambda rest: f"{rest}\nextra: !!python/module:antigravity ''\n",
    "python object/new": lambda rest: f"{rest}\nextra: !!python/object/new:subprocess.Popen [[touch, {MARK}]]\n",
    "billion aliases": lambda rest: f"{rest}\n{_billion()}",
    "billion merges": lambda rest: f"{rest}\n{_merges()}",
    "alias of itself": lambda rest: f"{rest}\nextra: &a [*a]\n",
    "deep flow": lambda rest: f"{rest}\nextra: {'[' * 20000}{']' * 20000}\n",
    "deep below the loader's limit": lambda rest: f"{rest}\nextra: {'[' * 900}{']' * 900}\n",
    "deep blocks": lambda rest: f"{rest}\nextra:\n  {'- ' * 20000}1\n",
    "two values": lambda rest: f"{rest}\nextra: 1\nextra: 2\n",
    "long number": lambda rest: f"{rest}\nextra: 0x{'f' * 20000}\n",
    "base 60": lambda rest: f"{rest}\nextra: 1{':59' * 200000}\n",
    "wrong tag": lambda rest: f"{rest}\nextra: !!int ''\n",
    "wrong time": lambda rest: f"{rest}\nextra: !!timestamp x\n",
    "wrong date": lambda rest: f"{rest}\nextra: 2024-13-45\n",
    "list as key": lambda rest: f"{rest}\n? [a, b]\n: c\n",
    "only a number": lambda rest: "7\n",
    "nothing": lambda rest: "",
    "zeros": lambda rest: b"\0" * 5000,
    "noise": lambda rest: np.random.default_rng(0).bytes(3000),
    "20 MB": lambda rest: f"{rest}\nextra: '{'x' * 20_000_000}'\n",
}


def _data_text(**keys: Any) -> str:
    return yaml.safe_dump({"path": ".", "train": "images", "val": "images", "names": ["a", "b"], **keys})


def _model_text(**keys: Any) -> str:
    return yaml.safe_dump({**ROWS, **keys}, sort_keys=False)


def _set_folder(folder: Path) -> None:
    """Write two images with labels beside the file, so that a data YAML is complete."""
    for at in range(2):
        (folder / "images").mkdir(exist_ok=True)
        (folder / "labels").mkdir(exist_ok=True)
        picture = np.random.default_rng(at).integers(0, 255, (64, 64, 3), dtype=np.uint8)
        cv2.imwrite(str(folder / "images" / f"{at}.png"), picture)
        (folder / "labels" / f"{at}.txt").write_text("0 0.5 0.5 0.25 0.25\n")


def _data(text: str | bytes) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        _set_folder(folder)
        value = text.replace("path: .\n", f"path: {folder}\n") if isinstance(text, str) else text
        return _text("stranger.yaml", value)(folder)
    return make


for _name, _spoil in YAMLS.items():
    _add("model", _name, _text("stranger.yaml", _spoil(_model_text())))
    _add("data", _name, _data(_spoil(_data_text())))
    _add("cfg", _name, _text("stranger.yaml", _spoil("epochs: 1")))

def _study(text: str | bytes) -> Callable[[Path], Path]:
    """Write the plan of a study, and the data base of the same study with the plan before it was changed."""
    def make(folder: Path) -> Path:
        from yolograft.study.plan import Plan
        from yolograft.study.storage import Storage

        place = folder / "study"
        place.mkdir()
        opened = Storage(place, create=True)
        with opened.locked() as connection:
            opened.write_plan(connection, Plan.recorded(yaml.safe_load(PLAN)).text())
        opened.close()
        return _text("plan.yaml", text)(place)
    return make


PLAN = yaml.safe_dump({
    "data": "somewhere.yaml", "model": "yolo11n.pt", "epochs": 1, "arms": ["none", "se@8"], "seeds": [0, 1], "race": False,
    "metric": "mAP50-95", "baseline": "none", "host": "yolograft.study.dummy", "margin": 0.01,
    "spelled": {"none": "none", "se@8": "se(ratio=16)@8"}, "pictures": {}, "hardware": {"cpu": "x"},
    "fingerprints": {"none": {"data": "x"}, "se@8": {"data": "x"}}, "versions": {"yolograft": "x"}}, sort_keys=False)
for _name, _spoil in YAMLS.items():
    _add("plan", _name, _study(_spoil(PLAN)))
for _name, _keys in {
    "host is a module": {"host": "antigravity"},
    "host is a path": {"host": "/tmp/evil.py"},
    "host is a list": {"host": ["os"]},
    "spelled is a number": {"spelled": 3},
    "spelled runs code": {"spelled": {"none": "none", "se@8": [CODE]}},
    "fingerprints are a list": {"fingerprints": [1]},
    "versions are text": {"versions": "hello"},
    "versions are lists": {"versions": {"yolograft": [1]}},
    "hardware is a number": {"hardware": 1},
    "pictures are a list": {"pictures": [1]},
    "another metric": {"metric": "mAP50"},
    "another margin": {"margin": 0.5},
    "an unknown metric": {"metric": "os"},
    "metric is a list": {"metric": ["mAP50"]},
    "baseline is a mapping": {"baseline": {"a": 1}},
    "arms are numbers": {"arms": [1, 2]},
    "arms are a mapping": {"arms": {"a": 1}},
    "100,000 arms": {"arms": [f"se@{at}" for at in range(100_000)]},
    "no arms": {"arms": []},
    "seen is text": {"seen": "x"},
    "splits are huge": {"splits": 10**12},
    "splits are a list": {"splits": [1]},
    "split sizes are text": {"splits": 2, "split_sizes": "x"},
    "split sizes are lists": {"splits": 2, "split_sizes": [[1], [2]]},
    "split seed is text": {"splits": 2, "split_seed": "x", "split_sizes": [8, 2]},
    "seeds are text": {"seeds": "x"},
    "seeds are huge": {"seeds": 10**12},
    "a span of seeds is huge": {"seeds": "1..999999999999"},
    "seeds are NaN": {"seeds": float("nan")},
    "looks are a mapping": {"looks": {"a": 1}},
    "taken is text": {"taken": "x"},
    "taken lacks a key": {"taken": [{"seeds": 2}]},
    "taken is negative": {"taken": [{"seeds": 2, "arms": ["se@8"], "spent": -1}]},
    "registered is a list": {"registered": [1]},
    "alpha is text": {"registered": {"alpha": "x"}},
    "alpha is 7": {"registered": {"alpha": 7}},
    "yamls are text": {"yamls": "x"},
    "yamls are lists": {"yamls": {"a": [1]}},
    "model is a list": {"model": ["yolo11n.pt"]},
    "data is a mapping": {"data": {"a": 1}},
    "epochs are a mapping": {"epochs": {"a": 1}},
    "race is a list": {"race": [True]},
    "register is text": {"register": "x"},
}.items():
    _add("plan", _name, _study(yaml.safe_dump({**yaml.safe_load(PLAN), **_keys}, sort_keys=False)))

def _run(text: str | bytes) -> Callable[[Path], Path]:
    """Write the folder of a training, with another person's arguments."""
    def make(folder: Path) -> Path:
        run = folder / "run"
        run.mkdir()
        (run / "results.csv").write_text("epoch,metrics/mAP50-95(B)\n1,0.5\n")
        return _text("args.yaml", text)(run)
    return make


for _name, _spoil in YAMLS.items():
    _add("run", _name, _run(_spoil("model: yolo11n.pt\ndata: somewhere.yaml")), refused=False)

# Model YAML files. An activation, a module's name and an argument are texts that Ultralytics evaluates or looks up.
for _name, _keys in {
    "activation runs code": {"activation": CODE},
    "activation opens a file": {"activation": f"nn.ReLU(inplace=open('{MARK}', 'w'))"},
    "activation allocates": {"activation": "nn.PReLU(10**12)"},
    "activation is deep": {"activation": "(" * 5000},
    "activation is a list": {"activation": [CODE]},
    "huge channels": {"backbone": [[-1, 1, "Conv", [10**6, 3, 2]], *ROWS["backbone"][1:]]},
    "huge channels twice": {"backbone": [[-1, 1, "Conv", [60000, 3, 2]], [-1, 1, "Conv", [60000, 3, 2]],
                                         ROWS["backbone"][2]]},
    "huge kernel": {"backbone": [[-1, 1, "Conv", [16, 100001, 2]], *ROWS["backbone"][1:]]},
    "huge width": {"scales": {"n": [1.0, 1e8, 10**9]}},
    "huge width_multiple": {"width_multiple": 1e8},
    "huge depth": {"depth_multiple": 1e8, "backbone": [*ROWS["backbone"][:2], [-1, 100, "Conv", [32, 3, 1]]],
                   "head": [[[1, 2], 1, "Detect", ["nc"]]]},
    "huge depth of a scale": {"scales": {"n": [1e8, 1.0, 1024]}, "backbone": [*ROWS["backbone"][:2],
                                                                             [-1, 100, "C2f", [32]]]},
    "huge repeats": {"backbone": [*ROWS["backbone"][:2], [-1, 10**9, "Conv", [32, 3, 1]]]},
    "repeats are text": {"backbone": [*ROWS["backbone"][:2], [-1, "10**9", "Conv", [32, 3, 1]]]},
    "repeats are NaN": {"backbone": [*ROWS["backbone"][:2], [-1, float("nan"), "Conv", [32, 3, 1]]]},
    "huge classes": {"nc": 10**9},
    "classes are text": {"nc": "10**9"},
    "negative channels": {"backbone": [[-1, 1, "Conv", [-16, 3, 2]], *ROWS["backbone"][1:]]},
    "huge upsample": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "nn.Upsample", [None, 4096, "nearest"]]]},
    "huge padding": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "nn.ZeroPad2d", [10**5]]]},
    "huge linear": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "nn.Linear", [10**6, 10**6]]]},
    "huge embedding": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "nn.Embedding", [10**9, 10**3]]]},
    "lists double": {"backbone": [*ROWS["backbone"][:2], *([[[-1, -1], 1, "Concat", [1]]] * 40)],
                     "head": [[[1, 2], 1, "Detect", ["nc"]]]},
    "100,000 rows": {"backbone": [*ROWS["backbone"], *([[-1, 1, "nn.Identity", []]] * 100_000)]},
    "function as module": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "torch_safe_load", ["evil.pt"]]]},
    "model as module": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "DetectionModel", ["evil.yaml"]]]},
    "module by path": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "nn.os.system", [f"touch {MARK}"]]]},
    "module of torchvision": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "torchvision.ops.os", []]]},
    "module is imported": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "antigravity", []]]},
    "argument is deep": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "Conv", ["(" * 5000, 3, 1]]]},
    "argument is a huge literal": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "Conv", ["9" * 5000, 3, 1]]]},
    "argument is a name": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "Conv", ["layers", 3, 1]]]},
    "argument is a mapping": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "Conv", [{"a": 1}, 3, 1]]]},
    "from is huge": {"backbone": [*ROWS["backbone"][:2], [10**30, 1, "Conv", [16, 3, 1]]]},
    "graft runs code": {"graft": f"se(ratio={CODE})@1"},
    "graft names a module": {"graft": "antigravity@1"},
    "graft is huge": {"graft": " + ".join(["se@1"] * 20000)},
    "swap names a module": {"swap": "antigravity@1"},
    "rows are text": {"backbone": "x" * 1000},
        "expansion of a module": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "C2f", [64, True, 1, 1e6]]]},
    "attention at stride 1": {"backbone": [[-1, 1, "Conv", [64, 3, 1]], [-1, 1, "AIFI", [64, 8]], ROWS["backbone"][2]]},
    "a module of ours": {"backbone": [*ROWS["backbone"][:2], [-1, 1, "DySample", [10**6]]]},
    "an attention row": {"backbone": [*ROWS["backbone"], [-1, 10**9, "SE", [16]]]},
    "an attention row with huge settings": {"backbone": [*ROWS["backbone"], [-1, 1, "CBAM", [16, 10**9 + 1]]],
                                            "head": [[[1, 3], 1, "Detect", ["nc"]]]},
}.items():
    _add("model", _name, _text("stranger.yaml", _model_text(**_keys)))

# Data YAML files.
for _name, _keys in {
    "download is code": {"download": CODE, "path": "/nowhere"},
    "download is a command": {"download": f"bash -c 'touch {MARK}'", "path": "/nowhere"},
    "download is an address": {"download": "http://127.0.0.1:9/set.zip", "path": "/nowhere"},
    "names are numbers": {"names": {10**9: "a"}},
    "nc is huge": {"nc": 10**9, "names": None},
    "nc is text": {"nc": "10**9", "names": None},
    "train is a number": {"train": 7},
    "train is a mapping": {"train": {"a": {"b": 1}}},
    "train is a device": {"train": "/dev/zero", "val": "/dev/zero"},
    "train is a list of devices": {"train": ["/dev/zero.txt", "/dev/random"], "val": ["/dev/zero"]},
    "path has a NUL": {"path": "a\0b"},
    "train has a NUL": {"train": "a\0b", "val": "a\0b"},
    "train is very long": {"train": "a/" * 5000, "val": "a/" * 5000},
    "keypoints are huge": {"kpt_shape": [10**9, 3]},
}.items():
    _add("data", _name, _data(_data_text(**_keys)))


# Checkpoints: pickles that call something. More of them are in test_host_pickle_check.py.
class Call:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.function, self.arguments = function, arguments

    def __reduce__(self) -> Any:
        return self.function, self.arguments


def torch_file(data: bytes, storages: dict[str, bytes] | None = None, compress: int = zipfile.ZIP_STORED) -> bytes:
    """Return a zip file as `torch.save` writes it, with any `data.pkl`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/version", b"3\n")
        archive.writestr("archive/byteorder", sys.byteorder)
        for name, content in (storages or {}).items():
            archive.writestr(f"archive/data/{name}", content)
    return buffer.getvalue()


def _tensor_pickle(count: int, size: tuple[int, ...], stride: tuple[int, ...], offset: int = 0) -> bytes:
    """Return the pickle of one tensor whose numbers do not fit together."""
    class Storage:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, value: Any) -> Any:
            import torch
            return ("storage", torch.FloatStorage, "0", "cpu", count) if isinstance(value, Storage) else None

    class Tensor:
        def __reduce__(self) -> Any:
            import torch
            return torch._utils._rebuild_tensor_v2, (Storage(), offset, size, stride, False, {})

    buffer = io.BytesIO()
    Pickler(buffer, 2).dump({"model": {"w": Tensor()}})
    return buffer.getvalue()


def _pickle(value: Any) -> bytes:
    return pickle.dumps(value, 2)


_PICKLES: dict[str, Callable[[], bytes]] = {
    "os.system": lambda: torch_file(_pickle({"model": Call(os.system, f"touch {MARK}")})),
    "subprocess": lambda: torch_file(_pickle({"model": Call(subprocess.Popen, ["touch", MARK])})),
    "eval": lambda: torch_file(_pickle({"model": Call(eval, CODE)})),
    "imports a module": lambda: torch_file(b"cantigravity\nfly\n."),
    "missing module": lambda: torch_file(b"cno_such_package_anywhere.models\nModel\n."),
    "getattr": lambda: torch_file(b"c__builtin__\ngetattr\ncio\nos\nX\x06\0\0\0system\x86R."),
    "restore imports": lambda: torch_file(_pickle_restore()),
    "bare pickle": lambda: _pickle(Call(os.system, f"touch {MARK}")),
    "deep pickle": lambda: torch_file(b"(" * 200_000 + b"l" * 200_000 + b"."),
    "long memo": lambda: torch_file(b"\x80\x02]r\xff\xff\xff\xff."),
    "huge string": lambda: torch_file(b"\x80\x04\x8d" + struct.pack("<Q", 2**40) + b"x."),
    "huge frame": lambda: torch_file(b"\x80\x04\x95" + struct.pack("<Q", 2**60) + b"."),
    "compressed bomb": lambda: torch_file(b"\x80\x02" + b"\0" * 100_000_000, compress=zipfile.ZIP_DEFLATED),
    "tensor of 100 GB": lambda: torch_file(_tensor_pickle(25 * 10**9, (25 * 10**9,), (1,)), {"0": b"\0" * 16}),
    "tensor outside its storage": lambda: torch_file(_tensor_pickle(4, (1000, 1000), (0, 0), 10**9), {"0": b"\0" * 16}),
    "negative stride": lambda: torch_file(_tensor_pickle(4, (4,), (-1,), 3), {"0": b"\0" * 16}),
    "negative size": lambda: torch_file(_tensor_pickle(-4, (-4,), (1,)), {"0": b""}),
    "expanded tensor": lambda: torch_file(_tensor_pickle(4, (10**6, 10**6), (0, 0)), {"0": b"\0" * 16}),
    "no data.pkl": lambda: _zip({"archive/version": b"3\n"}),
    "an HTML page": lambda: b"<!DOCTYPE html><html><body>404</body></html>",
    "half a file": lambda: torch_file(_pickle({"model": 1}))[:150],
    "a dict": lambda: torch_file(_pickle({"model": {"a": 1}})),
    "a number": lambda: torch_file(_pickle(7)),
    "tuples as a key": lambda: torch_file(b"\x80\x02})" + b"2\x86" * 60 + b"K\x01s."),
    "tuples in a set": lambda: torch_file(b"\x80\x04()" + b"2\x86" * 60 + b"\x91."),
    "an array of 100 GB": lambda: torch_file(_pickle({"model": Call(
        np.array(0).__reduce__()[0], np.ndarray, (10**11,), b"b")})),
    "no model": lambda: torch_file(_pickle({"epoch": 1, "train_args": {}})),
    "nothing": lambda: b"",
}


def _pickle_restore() -> bytes:
    from yolograft.blocks import plugin

    return _pickle({"model": Call(plugin.restore, dict, [{"module": "antigravity", "file": "", "classes": []}])})


for _name, _make in _PICKLES.items():
    _add("checkpoint", _name, lambda folder, make=_make: _text("stranger.pt", make())(folder))


# safetensors: an 8-byte length, a JSON header, and the tensors.
def safetensors(header: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


GOOD = {"class": "DetectionModel", "task": "detect", "yaml": json.dumps(ROWS), "names": '{"0": "a", "1": "b"}',
        "args": '{"imgsz": 64}', "graft": "none"}
_ONE = {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}


def _metadata(**changes: Any) -> bytes:
    """Return a file with all tensors of a small model, and other metadata."""
    header, data = _good_file()
    kept = {key: value for key, value in {**header["__metadata__"], **changes}.items() if value is not None}
    return safetensors({**header, "__metadata__": kept}, data)


@functools.cache
def _good_file() -> tuple[dict[str, Any], bytes]:
    """Return the header and the data of the file of a small model."""
    from yolograft.host import safetensors_file
    from yolograft.host.yolo import YOLO

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "small.yaml").write_text(_model_text())
        made: Any = YOLO(Path(folder) / "small.yaml")
        raw = safetensors_file.save_file(made.model, Path(folder) / "small.safetensors").read_bytes()
    length = struct.unpack("<Q", raw[:8])[0]
    return json.loads(raw[8:8 + length]), raw[8 + length:]


_SAFETENSORS: dict[str, Callable[[], bytes]] = {
    "header of 100 GB": lambda: safetensors(b"{}", length=10**11),
    "header of 2**64": lambda: safetensors(b"{}", length=2**64 - 1),
    "truncated header": lambda: safetensors({"__metadata__": GOOD, **_ONE})[:40],
    "no header": lambda: b"\0\0\0",
    "header is a list": lambda: safetensors([1, 2]),
    "deep header": lambda: safetensors(b"[" * 100_000),
    "duplicate names": lambda: safetensors(
        b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"\0" * 4),
    "overlapping offsets": lambda: safetensors({
        "__metadata__": GOOD, "a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}, b"\0" * 12),
    "offsets behind the end": lambda: safetensors(
        {"a": {"dtype": "F32", "shape": [1], "data_offsets": [10**12, 10**12 + 4]}}, b"\0" * 4),
    "shape overflows": lambda: safetensors(
        {"a": {"dtype": "F32", "shape": [2**40, 2**40], "data_offsets": [0, 4]}}, b"\0" * 4),
    "unknown dtype": lambda: safetensors({"a": {"dtype": "X9", "shape": [1], "data_offsets": [0, 4]}}, b"\0" * 4),
    "missing tensor data": lambda: safetensors({"__metadata__": GOOD, **_ONE}),
    "no metadata": lambda: safetensors(_ONE, b"\0" * 4),
    "metadata are numbers": lambda: safetensors({"__metadata__": {"class": 7, "yaml": 3}, **_ONE}, b"\0" * 4),
    **{f"no {key}": lambda key=key: _metadata(**{key: None}) for key in ("class", "task", "yaml", "names", "args")},
    **{f"{key} is a number": lambda key=key: _metadata(**{key: "7"}) for key in GOOD},
    **{f"{key} is deep": lambda key=key: _metadata(**{key: "[" * 50_000}) for key in ("yaml", "names", "args", "graft")},
    **{f"{key} is null": lambda key=key: _metadata(**{key: "null"}) for key in ("yaml", "names", "args", "needs", "swap")},
    "class is a function": lambda: _metadata(**{"class": "torch_safe_load"}),
    "class is a module": lambda: _metadata(**{"class": "os"}),
    "class is the base": lambda: _metadata(**{"class": "BaseModel"}),
    "class is a dunder": lambda: _metadata(**{"class": "__builtins__"}),
    "needs a module": lambda: _metadata(needs=json.dumps([{"module": "antigravity", "file": "", "classes": ["x"]}])),
    "needs a file": lambda: _metadata(needs=json.dumps([{"module": "x", "file": "../../x.py", "classes": 7}])),
    "needs is text": lambda: _metadata(needs='["antigravity"]'),
    "yaml runs code": lambda: _metadata(yaml=json.dumps({**ROWS, "activation": CODE})),
    "yaml is huge": lambda: _metadata(yaml=json.dumps({**ROWS, "nc": 10**9})),
    "yaml has NaN": lambda: _metadata(yaml='{"nc": NaN, "backbone": [], "head": []}'),
    "names are keys of text": lambda: _metadata(names='{"a": "b"}'),
    "names are lists": lambda: _metadata(names='{"0": ["a"]}'),
    "imgsz is text": lambda: _metadata(args='{"imgsz": "x"}'),
    "task is unknown": lambda: _metadata(task="os"),
    "graft names a module": lambda: _metadata(graft="antigravity@1"),
    "swap runs code": lambda: _metadata(swap=f"x({CODE})@1"),
}
for _name, _make in _SAFETENSORS.items():
    _add("safetensors", _name, lambda folder, make=_make: _text("stranger.safetensors", make())(folder))


def _spoiled_weights(change: Callable[[Any], Any]) -> Callable[[Path], Path]:
    """Write a good file of a small model, with one tensor changed."""
    def make(folder: Path) -> Path:
        from safetensors.torch import load, save

        path = folder / "stranger.safetensors"
        header, data = _good_file()
        tensors = load(safetensors(header, data))
        tensors["model.0.conv.weight"] = change(tensors["model.0.conv.weight"])
        path.write_bytes(save(tensors, header["__metadata__"]))
        return path
    return make


_add("safetensors", "int8 weights", _spoiled_weights(lambda tensor: tensor.char()))
_add("safetensors", "double weights", _spoiled_weights(lambda tensor: tensor.double()), refused=False)
_add("safetensors", "NaN weights", _spoiled_weights(lambda tensor: tensor * float("nan")))
_add("safetensors", "infinite weights", _spoiled_weights(lambda tensor: tensor / 0))
_add("safetensors", "another shape", _spoiled_weights(lambda tensor: tensor[:3].clone()))


# Archives of data sets.
def _zip(members: dict[str, bytes], compress: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compress) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _picture(seed: int = 0, suffix: str = ".png") -> bytes:
    picture = np.random.default_rng(seed).integers(0, 255, (30, 40, 3), dtype=np.uint8)
    return bytes(cv2.imencode(suffix, picture)[1].tobytes())


_VOC = ("<annotation><filename>a.png</filename><size><width>40</width><height>30</height></size><object><name>a</name>"
        "<bndbox><xmin>2</xmin><ymin>3</ymin><xmax>20</xmax><ymax>25</ymax></bndbox></object></annotation>")
_GOOD = {f"good{at}.{suffix}": content for at in range(3) for suffix, content in (
    ("png", _picture(at + 10)), ("xml", _VOC.replace("a.png", f"good{at}.png").encode()))}
_SET = {"a.png": _picture(), "a.xml": _VOC.encode(), **_GOOD}


def _special(name: str, mode: int, content: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for one, data in _SET.items():
            archive.writestr(one, data)
        info = zipfile.ZipInfo(name)
        info.create_system, info.external_attr = 3, mode << 16
        archive.writestr(info, content)
    return buffer.getvalue()


def _nul_name() -> bytes:
    return _zip({**_SET, "b_evil.xml": b"x"}).replace(b"b_evil.xml", b"b\0evil.xml")


def _quine_like() -> bytes:
    """Return an archive whose members share one compressed block, so that a small file unpacks to many times its size."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = bomb.compress(b"\0" * 50_000_000) + bomb.flush()
    crc = zlib.crc32(b"\0" * 50_000_000)
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(data), 50_000_000, 1, 0) + b"x" + data
    central = b"".join(struct.pack("<4sHHHHHHIIIHHHHHII", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(data), 50_000_000, 5, 0,
                                   0, 0, 0, 0, 0) + b"%05d" % at for at in range(1000))
    return local + central + struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1000, 1000, len(central), len(local), 0)


for _name, _content, _refused in (
    ("outside", _zip({**_SET, "../outside.txt": b"x"}), True),
    ("outside with backslashes", _zip({**_SET, "..\\..\\outside.txt": b"x"}), True),
    ("absolute", _zip({**_SET, "/tmp/yolograft-outside.txt": b"x"}), True),
    ("a drive", _zip({**_SET, "C:/outside.txt": b"x"}), True),
    ("a link", _special("link", 0o120777, b"/etc/passwd"), True),
    ("a link to a folder", _special("images", 0o120777, b"/tmp"), True),
    ("a device", _special("device.png", 0o020666, b""), True),
    ("a pipe", _special("pipe.xml", 0o010666, b""), True),
    ("a NUL in a name", _nul_name(), True),
    ("names that differ in case", _zip({**_SET, "A.png": _picture(1), "A.xml": _VOC.encode()}), True),
    ("a file and a folder", _zip({**_SET, "a.xml/b.txt": b"x"}), True),
    ("a bomb", _zip({**_SET, "bomb.png": b"\0" * 300_000_000}, zipfile.ZIP_DEFLATED), True),
    ("overlapping members", _quine_like(), True),
    ("a very long name", _zip({**_SET, "x" * 5000: b"x"}), True),
    ("a very deep folder", _zip({**_SET, "x/" * 3000 + "y": b"x"}), True),
    ("a wrong sum", _zip(_SET)[:300] + b"\0" * 50 + _zip(_SET)[350:], True),
    ("half a file", _zip(_SET)[:-60], True),
    ("a name like a terminal code", _zip({**_SET, "\x1b[2J\x1b]0;x\x07.png": _picture(2)}), False),
):
    _add("archive", _name, _text("stranger.zip", _content), _refused)


# Annotations and images: name -> files of a folder.
def _folder(members: dict[str, bytes | str]) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        source = folder / "stranger"
        for name, content in members.items():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            (source / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return source
    return make


_UNSEEN = ("a class of 5 MB", "a class of terminal codes", "a huge attribute", "an unknown encoding")  # of no harm
_ENTITIES = ("<!DOCTYPE x [" + '<!ENTITY a "xxxxxxxxxx">' + "".join(
    f'<!ENTITY a{at} "{f"&a{at - 1 or chr(0)};".replace(chr(0), "") * 10}">' for at in range(1, 10)) + "]>")
_BOX = "<bndbox><xmin>{}</xmin><ymin>3</ymin><xmax>20</xmax><ymax>25</ymax></bndbox>"
for _name, _xml in {
    "entities": _ENTITIES + _VOC.replace(">a<", ">&a9;<"),
    "an external entity": f'<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>{_VOC.replace(">a<", ">&e;<")}',
    "a parameter entity": f'<!DOCTYPE x [<!ENTITY % e SYSTEM "http://127.0.0.1:9/x.dtd"> %e;]>{_VOC}',
    "deep": "<annotation>" + "<a>" * 200_000 + "</a>" * 200_000 + "</annotation>",
    "deep objects": "<annotation>" + "<object>" * 20_000 + "</object>" * 20_000 + "</annotation>",
    "a huge attribute": f'<annotation x="{"y" * 5_000_000}"></annotation>',
    "a million tags": "<annotation>" + "<a/>" * 1_000_000 + "</annotation>",
    "an unknown encoding": '<?xml version="1.0" encoding="os"?><annotation/>',
    "half a file": _VOC[:100],
    "an underscore": _VOC.replace("<xmin>2<", "<xmin>1_0<"),
    "a NaN": _VOC.replace("<xmin>2<", "<xmin>nan<"),
    "infinity": _VOC.replace("<xmin>2<", "<xmin>-infinity<"),
    "a huge number": _VOC.replace("<xmin>2<", f"<xmin>{'9' * 50_000}<"),
    "a huge exponent": _VOC.replace("<xmin>2<", "<xmin>1e999999999<"),
    "hexadecimal": _VOC.replace("<xmin>2<", "<xmin>0x2<"),
    "Arabic digits": _VOC.replace("<xmin>2<", "<xmin>\u0662<"),
    "a class of 5 MB": _VOC.replace("<name>a<", f"<name>{'x' * 5_000_000}<"),
    "a class of terminal codes": _VOC.replace("<name>a<", "<name>\u009b2J<"),
}.items():
    _add("voc", _name, _folder({"a.png": _picture(), "a.xml": _xml, **_GOOD}), False,
         "" if _name in _UNSEEN else "a.xml")


def _coco(**changes: Any) -> dict[str, Any]:
    names = ["a.png", "good0.png", "good1.png", "good2.png"]
    return {"images": [{"id": at, "file_name": name, "width": 40, "height": 30} for at, name in enumerate(names)],
            "categories": [{"id": 1, "name": "a"}],
            "annotations": [{"id": at, "image_id": at, "category_id": 1, "bbox": [2, 3, 10, 10]} for at in range(4)],
            **changes}


def _coco_box(box: Any, **more: Any) -> str:
    good = _coco()["annotations"][1:]
    return json.dumps(_coco(annotations=[{"id": 0, "image_id": 0, "category_id": 1, "bbox": box, **more}, *good]))


_IMAGES = {name: content for name, content in _GOOD.items() if name.endswith(".png")}
for _name, _json in {
    "deep": "[" * 100_000,
    "deep inside": json.dumps(_coco())[:-1] + ', "x": ' + "[" * 50_000 + "]" * 50_000 + "}",
    "a NaN": _coco_box([float("nan"), 3, 10, 10]),
    "infinity": _coco_box([float("inf"), 3, 10, 10]),
    "a number of 10,000 digits": json.dumps(_coco())[:-1] + ', "x": ' + "9" * 10_000 + "}",
    "an underscore": _coco_box(["1_0", 3, 10, 10]),
    "full-width infinity": _coco_box(["\uff49\uff4e\uff46", 3, 10, 10]),
    "huge boxes": _coco_box([1e308, 1e308, 1e308, 1e308]),
    "a huge mask": _coco_box(None, segmentation={"size": [10**9, 10**9], "counts": [0, 10**18]}),
    "a long mask": _coco_box(None, segmentation={"size": [10**6, 10**6], "counts": "o" * 1_000_000}),
    "a mask of text": _coco_box(None, segmentation={"size": ["x", "y"], "counts": [1, 2]}),
    "null lists": json.dumps(_coco(categories=None)),
    "images are numbers": json.dumps(_coco(images=[1, 2, 3])),
    "a path outside": json.dumps(_coco(images=[{"id": 1, "file_name": "../../../etc/passwd"}])),
    "a path with a NUL": json.dumps(_coco(images=[{"id": 1, "file_name": "a\0.png"}])),
    "ids are lists": json.dumps(_coco(images=[{"id": [1], "file_name": "a.png"}])),
    "a lone surrogate": json.dumps(_coco(categories=[{"id": 1, "name": "\ud800"}])),
}.items():
    _add("coco", _name, _folder({"a.png": _picture(), "a.json": _json, **_IMAGES}), False,
         "" if _name in ("a lone surrogate", "a huge mask", "a long mask", "a number of 10,000 digits") else "a.")


def _labelme(**changes: Any) -> str:
    return json.dumps({"imagePath": "a.png", "imageData": None, "imageHeight": 30, "imageWidth": 40, "shapes": [
        {"label": "a", "shape_type": "rectangle", "points": [[2, 3], [20, 25]]}], **changes})


for _name, _json in {
    "deep": "[" * 100_000,
    "a NaN": _labelme(shapes=[{"label": "a", "shape_type": "rectangle", "points": [[float("nan"), 3], [20, 25]]}]),
    "points are deep": _labelme(shapes=[{"label": "a", "shape_type": "polygon", "points": [[[[[2]]]]]}]),
    "points are text": _labelme(shapes=[{"label": "a", "shape_type": "rectangle", "points": "x" * 100}]),
    "an underscore": _labelme(shapes=[{"label": "a", "shape_type": "rectangle", "points": [["1_0", 3], [20, 25]]}]),
    "a huge circle": _labelme(shapes=[{"label": "a", "shape_type": "circle", "points": [[0, 0], [1e308, 1e308]]}]),
    "a mask that is no image": _labelme(shapes=[{"label": "a", "shape_type": "mask", "points": [[0, 0], [9, 9]],
                                                 "mask": "AAAA" * 1000}]),
    "a path outside": _labelme(imagePath="../../../../etc/passwd"),
    "data that is no image": _labelme(imagePath="a.png", imageData="AAAA").replace("a.png", "other.png"),
    "labels are lists": _labelme(shapes=[{"label": ["a"], "shape_type": "rectangle", "points": [[2, 3], [20, 25]]}]),
}.items():
    _add("labelme", _name, _folder({
        "a.png": _picture(), "a.json": _json, **_IMAGES,
        **{name.replace(".png", ".json"): _labelme(imagePath=name) for name in _IMAGES}}), False,
         "" if _name in ("a path outside", "labels are lists", "a mask that is no image", "data that is no image") else "a.")


def png(width: int, height: int, data: bytes = b"\0" * 100) -> bytes:
    """Return a PNG that says it has this size."""
    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
    return (b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
            + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b""))


def _bmp(width: int, height: int) -> bytes:
    return b"BM" + struct.pack("<IHHIIiiHHIIiiII", 200, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0) + b"\0" * 60


def _tiff_bomb() -> bytes:
    entries = [(256, 4, 1, 60000), (257, 4, 1, 60000), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 200),
               (277, 3, 1, 1), (278, 4, 1, 60000), (279, 4, 1, 10)]
    body = b"".join(struct.pack("<HHII", *one) for one in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + struct.pack("<I", 0) + b"\0" * 100


for _name, _file, _content in (
    ("a bomb of 60,000 x 60,000", "a.png", png(60_000, 60_000, b"\0" * 50_000_000)),
    ("a bomb of 30,000 x 30,000", "a.png", png(30_000, 30_000, b"\0" * 30_000_000)),
    ("a size of 2**31", "a.png", png(2**31 - 1, 2**31 - 1)),
    ("no pixels", "a.png", png(0, 0)),
    ("a BMP of 2**30", "a.bmp", _bmp(2**30, 2**30)),
    ("a BMP of negative size", "a.bmp", _bmp(-(2**31), -(2**31))),
    ("a TIFF of 60,000 x 60,000", "a.tif", _tiff_bomb()),
    ("text", "a.jpg", b"hello " * 100),
    ("an SVG", "a.png", b'<svg xmlns="http://www.w3.org/2000/svg"><script>x</script></svg>'),
    ("half a JPEG", "a.jpg", _picture(0, ".jpg")[:200]),
    ("nothing", "a.jpg", b""),
    ("damaged EXIF", "a.jpg", _picture(0, ".jpg")[:2] + b"\xff\xe1\x00\x20Exif\0\0MM\0*\xff\xff\xff\xff" + b"\0" * 14
     + _picture(0, ".jpg")[2:]),
):
    _add("image", _name, _folder({_file: _content, "a.xml": _VOC.replace("a.png", _file), **_GOOD}), False,
         "" if _name == "damaged EXIF" else "a.")


# The label cache of a data set, and label files.
def _cached(content: Any) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        made = _data(_data_text())(folder)
        with (folder / "labels.cache").open("wb") as file:
            np.save(file, np.array(content, dtype=object))
        return made
    return make


_add("labels", "a cache that calls", _cached({"labels": Call(os.system, f"touch {MARK}")}), refused=False)
_add("labels", "a cache that is a list", _cached([1, 2]), refused=False)
for _name, _line in {"an underscore": "0 0.5 0.5 0.2_5 0.25", "a NaN": "0 nan 0.5 0.25 0.25", "infinity": "0 inf 0.5 1 1",
                     "full-width digits": "０ 0.5 0.5 0.25 0.25", "a huge class": f"{10**30} 0.5 0.5 0.25 0.25",
                     "a long line": "0 " + "0.5 " * 1_000_000}.items():
    def _labels(folder: Path, line: str = _line) -> Path:
        made = _data(_data_text())(folder)
        (folder / "labels" / "0.txt").write_text(line + "\n", encoding="utf-8")
        return made
    _add("labels", _name, _labels, refused=False)
