import os
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from yolograft import checkpoint
from yolograft.atomic import PARTS, atomic_write
from yolograft.study.plan import Plan
from yolograft.study.trial import Failure, write_json

fcntl = pytest.importorskip("fcntl")


def test_a_file_is_created_and_replaced(tmp_path):
    for text in ("one", "two"):
        atomic_write(tmp_path / "a.txt", lambda part, text=text: part.write_text(text))
        assert (tmp_path / "a.txt").read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError, ValueError])
@pytest.mark.parametrize("step", ["write", "fsync", "replace"])
def test_a_failed_write_leaves_only_the_old_file(tmp_path, monkeypatch, error, step):
    (tmp_path / "a.txt").write_text("old")

    def fail(*_):
        raise error

    def write(part):
        part.write_text("half")
        if step == "write":
            fail()

    if step != "write":
        monkeypatch.setattr(os, step, fail)
    with pytest.raises(error):
        atomic_write(tmp_path / "a.txt", write)
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [("a.txt", "old")]


def test_concurrent_writers_leave_one_complete_file(tmp_path):
    texts = [str(number) * 100_000 for number in range(8)]

    def work(text):
        for _ in range(5):
            atomic_write(tmp_path / "a.txt", lambda part: part.write_text(text))
            assert (tmp_path / "a.txt").read_text() in texts

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, texts))
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_temporary_files_are_in_the_folder_of_the_target_and_match_the_pattern(tmp_path):
    seen = []
    atomic_write(tmp_path / "a.txt", lambda part: (part.write_text(""), seen.extend(tmp_path.glob(PARTS))))
    assert [path.parent for path in seen] == [tmp_path]


PLAN = {"data": "somewhere", "model": "yolo11n.pt", "arms": "none", "host": "yolograft.study.dummy"}


@pytest.mark.parametrize("write", [
    lambda folder: atomic_write(folder / "a", lambda part: part.write_text("a")),
    lambda folder: write_json(folder / "a.json", Failure(reason="none")),
    lambda folder: Plan.of(PLAN).write(folder / "plan.yaml"),
    lambda folder: checkpoint.save(torch.nn.Linear(2, 2), folder / "a.safetensors"),
], ids=["file", "json", "plan", "checkpoint"])
def test_files_are_flushed_through_a_writable_descriptor_which_windows_requires(tmp_path, monkeypatch, write):
    flushed = []

    def fsync(descriptor):
        if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
            raise OSError(9, "Bad file descriptor")
        flushed.append(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    write(tmp_path)
    assert flushed
