"""Faults while files are written (full disk, read-only folder, kill): a data set, a report and a checkpoint stay whole.

The tests may run as root, for whom permissions do not count, so the errors of the system are injected.
"""

import builtins
import errno
import io
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from yolograft import YOLO
from yolograft.data import steel
from yolograft.errors import GraftError
from yolograft.host.safetensors_file import save_file
from yolograft.report import write
from yolograft.study import run

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


class Fault:
    """Makes the n-th operation fail that writes below a folder, once; `count` operations were seen."""

    def __init__(self, root: Path, number: int, code: int) -> None:
        self.root, self.number, self.code, self.count = str(root), number, code, 0

    def step(self, path: Any) -> None:
        if isinstance(path, (str, os.PathLike)) and os.fspath(path).startswith(self.root):
            self.count += 1
            if self.count == self.number:
                raise OSError(self.code, os.strerror(self.code), os.fspath(path))


@contextmanager
def injected(root: Path, number: int, code: int) -> Iterator[Fault]:
    """Inside this context, opening a file for writing, making a folder and renaming below `root` can fail."""
    fault = Fault(root, number, code)
    stock_open, mkdir, replace = io.open, os.mkdir, os.replace

    def guarded_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        if set(mode) & set("wax+"):
            fault.step(file)
        return stock_open(file, mode, *args, **kwargs)

    def guarded_mkdir(path: Any, *args: Any, **kwargs: Any) -> None:
        if not os.path.isdir(path):  # making a folder that exists writes nothing
            fault.step(path)
        mkdir(path, *args, **kwargs)

    def guarded_replace(source: Any, target: Any, **kwargs: Any) -> None:
        fault.step(target)
        replace(source, target, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(builtins, "open", guarded_open)
        patch.setattr(io, "open", guarded_open)
        patch.setattr(os, "mkdir", guarded_mkdir)
        patch.setattr(os, "replace", guarded_replace)
        yield fault


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def each_write(root: Path, act: Callable[[], Any], code: int, most: int) -> Iterator[int]:
    """Let each write of `act` fail in turn, `most` of them if there are more, and yield after each failure."""
    with injected(root, 0, code) as seen:
        act()
    assert seen.count, "nothing was written below the folder, so no fault was tried"
    numbers = range(1, seen.count + 1)
    chosen = numbers if len(numbers) <= most else sorted({1, len(numbers), *random.Random(0).sample(numbers, most - 2)})
    for number in chosen:
        with injected(root, number, code), pytest.raises(GraftError) as raised:
            act()
        assert "\n" not in str(raised.value)
        assert os.strerror(code) in str(raised.value)
        yield number


CODES = pytest.mark.parametrize("code", [
    errno.ENOSPC, pytest.param(errno.EROFS, marks=pytest.mark.slow), pytest.param(errno.EACCES, marks=pytest.mark.slow),
], ids=["full", "read-only", "denied"])


@CODES
def test_a_data_set_is_replaced_whole_or_not_at_all(tmp_path: Path, code: int) -> None:
    place = tmp_path / "sets"
    dest = place / "steel"
    steel.write(dest, images=30, size=64, seed=0)
    new = content(steel.write(tmp_path / "other", images=30, size=64, seed=1).parent)
    old = content(dest)
    changed = {name for name in old if name in new and name != "steel.yaml" and old[name] != new[name]}
    assert changed

    def restore() -> None:
        steel.write(dest, images=30, size=64, seed=0, overwrite=True)

    # writing the same seed again changes no byte, so that every attempt begins from the same state
    for _ in each_write(place, restore, code, most=12):
        assert content(dest) == old
        assert [path.name for path in place.iterdir()] == ["steel"], "a temporary folder remains"


@CODES
def test_a_report_keeps_its_files_whole(tmp_path: Path, code: int) -> None:
    words = {"data": "somewhere", "model": "yolo11n.pt", "epochs": 1, "host": "yolograft.study.dummy",
             "arms": "none; se@8", "seeds": 2}
    study = run(words, tmp_path / "s")
    target = tmp_path / "report"
    write(study, target, languages=["en"])
    names = content(target).keys()
    for _ in each_write(target, lambda: write(study, target, languages=["en"]), code, most=4):
        found = content(target)
        assert found.keys() == names, "a temporary file remains, or one is gone"
        assert all(found.values()), "a file is empty"


@CODES
def test_a_checkpoint_is_kept_if_the_new_one_cannot_be_written(tmp_path: Path, code: int) -> None:
    place = tmp_path / "weights"
    place.mkdir()
    file = place / "model.safetensors"
    save_file(YOLO("yolo11n.yaml", graft="se@8").model, file)
    before = content(place)
    model = YOLO("yolo11n.yaml", graft="se@4").model
    with injected(place, 0, code) as seen:
        save_file(model, place / "other.safetensors")
    (place / "other.safetensors").unlink()
    assert seen.count >= 2
    for number in range(1, seen.count + 1):
        with injected(place, number, code), pytest.raises(GraftError) as raised:
            save_file(model, file)
        assert "\n" not in str(raised.value)
        assert content(place) == before
    save_file(model, file)
    assert content(place) != before


KILLED = """
import sys
from yolograft.data import steel
print("begin", flush=True)
while True:
    steel.write(sys.argv[1], images=30, size=64, seed=1, overwrite=True)
"""


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.slow), pytest.param(2, marks=pytest.mark.slow)])
def test_a_killed_conversion_loses_no_data_set(tmp_path: Path, seed: int) -> None:
    place = tmp_path / "sets"
    dest = place / "steel"
    steel.write(dest, images=30, size=64, seed=1)
    old = content(dest)
    random_ = random.Random(seed)
    for _ in range(3):
        with subprocess.Popen([sys.executable, "-c", KILLED, str(dest)], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "begin\n"
            time.sleep(random_.uniform(0, 0.3))
            process.send_signal(signal.SIGKILL)
        assert dest.exists() or list(place.glob(".steel.*/old")), "the data set is gone"
        steel.write(dest, images=30, size=64, seed=1, overwrite=True)
        assert content(dest) == old


def test_a_conversion_that_was_killed_between_its_two_renames_is_undone(tmp_path: Path) -> None:
    dest = tmp_path / "steel"
    steel.write(dest, images=30, size=64, seed=1)
    old = content(dest)
    left = tmp_path / ".steel.abcd.draft"
    left.mkdir()
    dest.rename(left / "old")
    with pytest.raises(GraftError, match="exists"):  # the old set is back, so it is not replaced without overwrite=True
        steel.write(dest, images=30, size=64, seed=2)
    assert content(dest) == old
    assert not left.exists()
