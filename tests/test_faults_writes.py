"""A full disk or a kill while files are written: conversion, report, export, folding, model YAML, and the command line."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from data_sets import write_picture
from faults import FailingDisk, at_every_write
from torch import nn

from yolograft import checkpoint, cli
from yolograft.analysis import fold
from yolograft.cli import main
from yolograft.data import steel, voc
from yolograft.errors import GraftError
from yolograft.report import write
from yolograft.study import run
from yolograft.system_errors import explain

SOURCE = str(Path(__file__).resolve().parents[1] / "src")


def contents(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def visible(folder):
    return sorted(path.name for path in folder.iterdir())


def refused(error):
    assert isinstance(error, GraftError), repr(error)
    assert "No space left" in str(error)


def test_a_full_disk_at_every_write_of_a_conversion_keeps_the_old_set(tmp_path):
    for number in range(4):
        write_picture(tmp_path / "source" / f"{number}.png", number)
        (tmp_path / "source" / f"{number}.xml").write_text(
            "<annotation><size><width>40</width><height>30</height></size><object><name>cat</name><bndbox><xmin>2</xmin>"
            "<ymin>2</ymin><xmax>20</xmax><ymax>20</ymax></bndbox></object></annotation>")
    out = tmp_path / "out"
    voc.convert(tmp_path / "source", out / "set")
    before = contents(out)

    def check(error):
        refused(error)
        assert contents(out) == before
        assert visible(out) == ["set"], "no temporary folder is left"

    assert at_every_write(out, lambda: voc.convert(tmp_path / "source", out / "set", overwrite=True), check) >= 10
    assert contents(out) == before, "a conversion gives the same bytes twice"


def test_a_full_disk_at_every_write_of_the_steel_set_keeps_the_old_set(tmp_path):
    steel.write(tmp_path / "set", images=30, size=64)
    before = contents(tmp_path)

    def check(error):
        refused(error)
        assert contents(tmp_path) == before
        assert visible(tmp_path) == ["set"]

    assert at_every_write(tmp_path, lambda: steel.write(tmp_path / "set", images=30, size=64, seed=1, overwrite=True),
                          check, every=9) > 6


def killed(code, seconds, *arguments):
    """Run Python code and kill it after a time; return whether it was still running."""
    process = subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE,
                               env={**os.environ, "PYTHONPATH": SOURCE})
    process.stdout.readline()  # imports are done
    time.sleep(seconds)
    running = process.poll() is None
    process.send_signal(signal.SIGKILL)
    process.communicate()
    return running


def test_a_killed_conversion_leaves_the_old_set_or_the_new_one(tmp_path):
    steel.write(tmp_path / "set", images=30, size=64)
    before = contents(tmp_path / "set")
    code = ("import sys; from yolograft.data import steel; print(flush=True)\n"
            "steel.write(sys.argv[1], images=2000, size=96, seed=1, overwrite=True)")
    assert killed(code, 0.3, tmp_path / "set")
    assert contents(tmp_path / "set") == before
    steel.write(tmp_path / "set", images=30, size=64, overwrite=True)
    assert contents(tmp_path / "set") == before, "the next conversion works"


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    words = {"data": "somewhere", "model": "yolo11n.pt", "epochs": 2, "host": "yolograft.study.dummy", "seeds": 2}
    return run({**words, "arms": "none; se@8"}, tmp_path_factory.mktemp("a") / "s", workers=2)


@pytest.mark.parametrize("part", [0.0, 0.4, 0.99])
def test_a_full_disk_while_a_report_is_written_leaves_whole_files(study, tmp_path, part):
    write(study, tmp_path / "report")
    before = contents(tmp_path)
    counting = FailingDisk(tmp_path)
    with counting.injected():
        write(study, tmp_path / "report")
    disk = FailingDisk(tmp_path, int(part * counting.count), then=True)
    with disk.injected(), pytest.raises(GraftError, match="No space left"):
        write(study, tmp_path / "report")
    assert contents(tmp_path) == before, "the same study gives the same bytes, so new files equal old ones"
    assert not list(tmp_path.rglob(".*.part"))


@pytest.mark.slow
def test_a_full_disk_at_every_write_of_a_report(study, tmp_path):
    write(study, tmp_path / "report")
    before = contents(tmp_path)

    def check(error):
        refused(error)
        assert contents(tmp_path) == before

    assert at_every_write(tmp_path, lambda: write(study, tmp_path / "report"), check) > 50


def test_a_full_disk_at_every_write_of_a_safetensors_export_keeps_the_old_file(tmp_path):
    file = checkpoint.save(nn.Linear(2, 2), tmp_path / "a.safetensors")
    before = file.read_bytes()

    def check(error):
        refused(error)
        assert contents(tmp_path) == {Path("a.safetensors"): before}

    assert at_every_write(tmp_path, lambda: checkpoint.save(nn.Linear(3, 3), file), check) >= 2
    assert file.read_bytes() != before


def test_a_full_disk_at_every_write_of_fold_leaves_whole_files(tmp_path):
    opened = SimpleNamespace(ckpt={"train_args": {"imgsz": 64}}, model=SimpleNamespace(args={}))
    result = SimpleNamespace(json=lambda: "{}")
    file = tmp_path / "fold" / "weights" / "best.pt"

    def prepare():
        shutil.rmtree(tmp_path / "fold", ignore_errors=True)

    def check(error):
        refused(error)
        for path in (path for path in tmp_path.rglob("*") if path.is_file()):
            assert path == file, "fold.json is written after the checkpoint, and no temporary file is left"
            assert torch.load(path, weights_only=False)["train_args"] == {"imgsz": 64}

    assert at_every_write(tmp_path, lambda: fold._write(opened, nn.Linear(2, 2), "none", file, result), check,
                          prepare=prepare) >= 6
    assert json.loads((tmp_path / "fold" / "fold.json").read_text()) == {}


def test_a_full_disk_at_every_write_of_a_model_yaml_leaves_no_file(tmp_path, capsys):
    words = ["yaml", "model=yolo11n.yaml", "graft=se@8", f"to={tmp_path / 'new.yaml'}"]

    def act():
        if code := main(words):
            raise RuntimeError(code)

    def check(error):
        assert str(error) == "2"
        assert "cannot be written" in capsys.readouterr().err
        assert not visible(tmp_path)

    assert at_every_write(tmp_path, act, check) >= 3
    text = (tmp_path / "new.yaml").read_text()
    assert "SE" in text
    assert main(words) == 2, "an existing file is not replaced"
    assert (tmp_path / "new.yaml").read_text() == text


# The command line

@pytest.mark.parametrize(("error", "says"), [
    (OSError(errno.ENOSPC, "No space left on device", "x.pt"), "The disk is full"),
    (OSError(errno.ENOSPC, "No space left on device"), "The disk is full"),
    (PermissionError(errno.EACCES, "Permission denied", "runs"), "Change its permissions"),
    (OSError(errno.EROFS, "Read-only file system", "runs"), "Change its permissions"),
    (FileNotFoundError(errno.ENOENT, "No such file or directory", "1.png"), "was removed while the command ran"),
    (OSError(errno.EIO, "Input/output error", "1.png"), "cannot be read or written"),
    (RuntimeError("[enforce fail at inline_container.cc:664] . PytorchStreamWriter failed writing file data/0"),
     "A checkpoint could not be written"),
    (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "A smaller batch="),
    (MemoryError(), "A smaller batch="),
])
def test_an_error_of_the_system_is_a_sentence_and_no_traceback(monkeypatch, capsys, error, says):
    def fail(words):
        raise error

    monkeypatch.setitem(cli.COMMANDS, "sites", fail)
    assert main(["sites", "model=yolo11n.yaml"]) == 2
    printed = capsys.readouterr().err
    assert printed.startswith("yolograft: ")
    assert says in printed


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), OSError("no errno"), ConnectionError("reset")])
def test_another_error_keeps_its_traceback(monkeypatch, error):
    assert explain(error) is None

    def fail(words):
        raise error

    monkeypatch.setitem(cli.COMMANDS, "sites", fail)
    with pytest.raises(type(error)):
        main(["sites", "model=yolo11n.yaml"])


@pytest.mark.parametrize("size", [0, 60])
def test_a_truncated_image_is_named_by_the_check(tmp_path, capsys, size):
    data = steel.write(tmp_path / "set", images=30, size=64)
    image = next((tmp_path / "set" / "images" / "train").glob("*.png"))
    image.write_bytes(cv2.imencode(".png", np.zeros((64, 64, 3), np.uint8) + 7)[1].tobytes()[:size])
    assert main(["data", "check", str(data)]) == 1
    assert image.name in capsys.readouterr().out
