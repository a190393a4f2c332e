"""What is fuzzed: name -> a function of bytes. Only a `GraftError` may leave a function; everything else is a finding.

The functions are the readers that a stranger's file reaches first, without what follows them. They write to files in one
temporary folder, since the readers take paths.
"""

from __future__ import annotations

import atexit
import contextlib
import io
import json
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from yolograft import checkpoint, yaml_text
from yolograft.cli.arguments import parse_pairs, rename, with_defaults
from yolograft.data import annotation, coco, data_yaml, formats, labelme, labels
from yolograft.data.conversion import Found
from yolograft.data.pictures import Pictures
from yolograft.errors import GraftError
from yolograft.host import pickle_check, pickled, safetensors_file
from yolograft.modelyaml import lint, reader
from yolograft.spec import Graft, Swap
from yolograft.study.plan import Plan

__all__ = ["CORPUS", "TARGETS", "check"]

CORPUS = Path(__file__).parent / "corpus"
_FOLDER = Path(tempfile.mkdtemp(prefix="yolograft-fuzz-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)


def _text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def _write(name: str, data: bytes) -> Path:
    file = _FOLDER / name
    file.write_bytes(data)
    return file


def graft(data: bytes) -> None:
    """The text of a graft and of a swap: parse it, write it, parse it again, and compare the two values."""
    for kind in (Graft, Swap):
        value = kind.parse(_text(data))
        assert kind.parse(str(value)) == value


def yaml_file(data: bytes) -> None:
    """YAML text in any encoding."""
    yaml_text.read(_write("any.yaml", data))


def model_rows(data: bytes) -> None:
    """A model YAML: its lint, and its rows as a host and a graft."""
    content = yaml_text.parse(_text(data), "fuzz.yaml")
    if isinstance(content, dict):
        for read in (lambda: lint._examine_config(dict(content), "yolo11-fuzz.yaml"), lambda: reader.read(content)):
            try:
                read()
            except GraftError:
                continue


def plan(data: bytes) -> None:
    """The plan of a study, as `study`, `status` and `report` read it."""
    content = yaml_text.parse(_text(data), "plan.yaml")
    if isinstance(content, dict):
        read = Plan.recorded({str(key): value for key, value in content.items()})
        assert yaml.safe_load(read.text())
        read.trials()
        assert read.schedule


def voc(data: bytes) -> None:
    """An annotation in XML."""
    annotation.read(_write("any.xml", data))


def coco_json(data: bytes) -> None:
    """A file of COCO annotations."""
    path = _write("any.json", data)
    content, _ = formats.load_json(path)
    formats.kind_of_json(content)
    if formats.is_coco(content):
        pictures = Pictures.of([_FOLDER / "a.png"], _FOLDER)
        coco._read_file(path, content, _FOLDER, pictures, {}, Found(), Counter(), True)


def labelme_json(data: bytes) -> None:
    """A file of LabelMe annotations."""
    content, _ = formats.load_json(_write("one.json", data))
    if formats.is_labelme(content):
        labelme._read_shapes(content["shapes"])
        labelme._image_inside(content.get("imageData"))
        Pictures.of([_FOLDER / "a.png"], _FOLDER).match(_FOLDER / "one.json", str(content.get("imagePath") or ""))


def data_file(data: bytes) -> None:
    """A data YAML. The folder that it is read in has one image."""
    (_FOLDER / "set" / "images").mkdir(parents=True, exist_ok=True)
    (_FOLDER / "set" / "images" / "a.png").touch()
    data_yaml.read(_write("set/any.yaml", data))


def label_file(data: bytes) -> None:
    """A label file of Ultralytics."""
    labels.parse(_text(data), {0: "a", 1: "b"}, None)
    labels.parse(_text(data), {}, (2, 3))


def command_line(data: bytes) -> None:
    """The words of a command: one in each line."""
    pairs = parse_pairs(_text(data).split("\n"))
    rename(pairs)
    with_defaults("show", pairs, {"model": "yolo11n.yaml", "graft": "", "imgsz": "640", "data": ""})


def safetensors_header(data: bytes) -> None:
    """The header of a safetensors file, and its metadata."""
    text = data if data[:1] == b"{" else b"{" + data
    path = _write("any.safetensors", len(text).to_bytes(8, "little") + text + b"\0" * 8)
    with contextlib.suppress(GraftError):
        safetensors_file._read_facts(path, checkpoint.read(path).facts)
    facts = json.loads(text)
    if isinstance(facts, dict):
        safetensors_file._read_facts(path, {str(key): str(value) for key, value in facts.items()})


def pickle_file(data: bytes) -> None:
    """The pickle of a checkpoint: it is read without its code, and judged."""
    import torch

    def load_storage(key: str, dtype: torch.dtype, count: int) -> torch.Tensor:
        return torch.empty(min(max(count, 0), 10**6), dtype=dtype, device="meta")

    unpickler = pickled._Unpickler(io.BytesIO(data), load_storage)
    try:
        value = unpickler.load()
    except pickled.ERRORS as error:
        raise GraftError(str(error)) from error  # what `open_pickle` says
    opened = pickled.Opened(value, unpickler.names, unpickler.calls)
    pickle_check._check_files(opened)
    list(pickle_check._problems(opened))


TARGETS: dict[str, Callable[[bytes], None]] = {
    function.__name__: function for function in (
        graft, yaml_file, model_rows, plan, voc, coco_json, labelme_json, data_file, label_file, command_line,
        safetensors_header, pickle_file)}
_EXPECTED: dict[str, tuple[type[Exception], ...]] = {
    "safetensors_header": (ValueError, RecursionError)}  # of `json.loads` in the target itself


def check(name: str, data: bytes) -> None:
    """Run one target. Raises what a user would see as a traceback."""
    try:
        TARGETS[name](data)
    except (GraftError, *_EXPECTED.get(name, ())):
        return


def seeds(name: str) -> list[Any]:
    """Return the seeds of a target's corpus."""
    return sorted((CORPUS / name).glob("*"))
