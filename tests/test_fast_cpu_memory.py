"""glibc's malloc settings and PyTorch's number of threads are restored on every path."""

import ctypes
import platform
from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from ultralytics.utils import NUM_THREADS

from yolograft import YOLO
from yolograft.fast.cpu import memory, select
from yolograft.fast.cpu.select import Choice

pytestmark = pytest.mark.filterwarnings("default")  # Ultralytics' own warnings


class Blocks(ctypes.Structure):
    """glibc's `struct mallinfo`."""

    _fields_ = [(name, ctypes.c_int) for name in ("arena", "ordblks", "smblks", "hblks", "hblkhd", "usmblks", "fsmblks",
                                                  "uordblks", "fordblks", "keepcost")]


def mapped() -> bool:
    """Return whether glibc maps a large block with mmap, as it does by default."""
    libc = ctypes.CDLL(None)
    libc.mallinfo.restype, libc.malloc.restype, libc.malloc.argtypes = Blocks, ctypes.c_void_p, [ctypes.c_size_t]
    libc.free.argtypes = [ctypes.c_void_p]
    before = libc.mallinfo().hblks
    block = libc.malloc(2**31)  # larger than any block that is free in the heap
    after = libc.mallinfo().hblks
    libc.free(block)
    return bool(after > before)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="glibc's malloc")
@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_mallocs_settings_are_restored_on_every_path(error: type[BaseException] | None) -> None:
    with nullcontext() if error is None else pytest.raises(error), memory.keep_freed_memory():
        assert not mapped()
        with memory.keep_freed_memory():
            pass
        assert not mapped(), "the outer block is still active"
        if error:
            raise error
    assert mapped()


def test_an_interrupted_training_restores_threads_and_malloc(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(select, "choose", lambda *args: Choice(1, True, True, "bfloat16, for this test"))
    model, seen = YOLO("yolo11n.yaml"), []

    def interrupt(trainer: object) -> None:
        seen.append((torch.get_num_threads(), mapped()))
        raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    with memory.restore_threads():
        torch.set_num_threads(2)
        with pytest.raises(KeyboardInterrupt):
            model.train(data=str(tiny_set), epochs=1, project=str(tmp_path), name="r", imgsz=32,
                        batch=4, nbs=4, workers=0, plots=False, verbose=False, close_mosaic=0)
        assert seen == [(1, False)]
        assert torch.get_num_threads() == NUM_THREADS, "the number that Ultralytics set when the training began"
        assert mapped()


@pytest.mark.parametrize("error", [None, ZeroDivisionError, KeyboardInterrupt])
def test_the_number_of_threads_is_restored(error: type[BaseException] | None) -> None:
    before = torch.get_num_threads()
    try:
        with nullcontext() if error is None else pytest.raises(error), memory.restore_threads():
            torch.set_num_threads(before + 1)
            if error:
                raise error
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)


def test_an_interrupted_training_restores_the_number_of_threads(
    tiny_set: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = NUM_THREADS + 1  # with the number that Ultralytics sets, a training that restores nothing would pass
    monkeypatch.setattr(select, "choose", lambda *args: select.Choice(more, True, True, "more threads, for this test"))
    model, seen = YOLO("yolo11n.yaml"), []

    def interrupt(trainer: object) -> None:
        seen.append(torch.get_num_threads())
        raise KeyboardInterrupt

    model.add_callback("on_train_epoch_start", interrupt)
    before = torch.get_num_threads()
    try:
        with pytest.raises(KeyboardInterrupt):
            model.train(data=str(tiny_set), epochs=1, project=str(tmp_path), name="r", imgsz=32,
                        batch=4, nbs=4, workers=0, plots=False, verbose=False, close_mosaic=0)
        assert seen == [more]
        assert torch.get_num_threads() == NUM_THREADS
    finally:
        torch.set_num_threads(before)
