"""Faults of a training: a kill or a full disk leaves whole checkpoints, and the training goes on from them."""

import errno
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from faults import at_every_write

from yolograft import YOLO
from yolograft.cli import main
from yolograft.host.checkpoint_files import CheckpointPath, atomic_save
from yolograft.runner.trainer import STATE, read_state
from yolograft.study.trial import DivergedError
from yolograft.study.worker import _reporter

pytestmark = [pytest.mark.filterwarnings("default"), pytest.mark.usefixtures("one_thread")]  # Ultralytics' own warnings
SOURCE = str(Path(__file__).resolve().parents[1] / "src")
FAST = ["epochs=2", "imgsz=32", "batch=4", "workers=0", "plots=False", "device=cpu", "verbose=False", "speed=stock",
        "exist_ok=True"]


def test_a_checkpoint_is_whole_whichever_write_fails(tmp_path):
    file = CheckpointPath(tmp_path) / "last.pt"
    file.write_bytes(b"old")

    def check(error):
        assert isinstance(error, OSError)
        assert file.read_bytes() == b"old"
        assert list(tmp_path.iterdir()) == [Path(file)]

    assert at_every_write(tmp_path, lambda: file.write_bytes(b"new"), check) >= 3
    assert file.read_bytes() == b"new"


def test_torch_save_is_atomic_only_inside(tmp_path, monkeypatch):
    file, stock = tmp_path / "best.pt", torch.save
    torch.save({"epoch": 1}, file)
    before = file.read_bytes()

    def broken(obj, f, *arguments, **more):
        Path(f).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(torch, "save", broken)
    with atomic_save(), pytest.raises(OSError, match="No space"):
        torch.save({"epoch": 2}, file)
    assert file.read_bytes() == before
    monkeypatch.undo()
    assert torch.save is stock


@pytest.fixture(scope="module")
def train_words(tiny_set):
    return ["train", "model=yolo11n.yaml", "graft=se@8", f"data={tiny_set}", *FAST]


def loads(file):
    return torch.load(file, map_location="cpu", weights_only=False)["epoch"]


def test_a_training_stops_with_a_sentence_and_goes_on(train_words, tiny_set, tmp_path, monkeypatch, capsys):
    """An image vanishes in the second epoch; every checkpoint was put in place by a rename."""
    victim = tiny_set.parent / "images" / "val" / "3.png"
    kept, replaced, stock = victim.read_bytes(), [], os.replace
    monkeypatch.setattr(os, "replace", lambda source, target: (replaced.append(Path(target).name), stock(source, target)))
    monkeypatch.setattr("yolograft.host.trainer.say_overflow", lambda trainer: victim.unlink(missing_ok=True))
    try:
        assert main([*train_words, "save_period=1", f"project={tmp_path}", "name=a"]) == 2
    finally:
        victim.write_bytes(kept)
    printed = capsys.readouterr().err
    assert "was removed while the command ran" in printed
    assert "3.png" in printed
    assert f"yolograft train resume=True model={tmp_path / 'a' / 'weights' / 'last.pt'}" in printed
    weights = tmp_path / "a" / "weights"
    assert replaced.count("last.pt") == 1
    assert {"last.pt", "best.pt", "epoch0.pt"} <= set(replaced)
    assert loads(weights / "last.pt") == 0
    monkeypatch.setattr("yolograft.host.trainer.say_overflow", lambda trainer: None)
    replaced.clear()
    assert main(["train", "resume=True", f"model={weights / 'last.pt'}"]) == 0
    assert loads(weights / "last.pt") == -1, "the training has ended"
    assert replaced.count("last.pt") == 2, "once after the epoch, and once without the optimizer"


@pytest.mark.parametrize(("error", "says"), [
    (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."), "A smaller batch="),
    (OSError(errno.ENOSPC, "No space left on device", "results.csv"), "The disk is full")])
def test_a_training_without_memory_or_disk_keeps_its_last_epoch(train_words, tmp_path, monkeypatch, capsys, error, says):
    def fail(trainer):
        raise error

    monkeypatch.setattr("yolograft.host.trainer.say_overflow", fail)
    assert main([*train_words, f"project={tmp_path}", "name=a"]) == 2
    assert says in capsys.readouterr().err
    assert loads(tmp_path / "a" / "weights" / "last.pt") == 0


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.99])
@pytest.mark.parametrize("words", [["val"], ["train", "resume=True"], ["show"]])
def test_a_truncated_checkpoint_is_one_line(tmp_path, capsys, part, words):
    yolo = YOLO("yolo11n.yaml")
    yolo.save(tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: int(part * len(content))])
    assert main([*words, f"model={tmp_path / 'cut.pt'}"]) == 2
    assert "it is incomplete" in capsys.readouterr().err


@pytest.mark.parametrize("part", [0.0, 0.5, 0.99])
def test_a_damaged_state_file_is_kept_and_the_trial_starts_again(tmp_path, part):
    torch.save({"format": 2, "model": torch.zeros(1000)}, tmp_path / STATE)
    content = (tmp_path / STATE).read_bytes()
    damaged = content[: int(part * len(content))]
    (tmp_path / STATE).write_bytes(damaged)
    assert read_state(tmp_path) is None
    assert (tmp_path / f"{STATE}.damaged").read_bytes() == damaged
    assert not (tmp_path / STATE).exists()


def test_a_loss_that_is_not_a_number_fails_the_trial_in_its_epoch(tmp_path):
    report = _reporter(tmp_path / "epochs.jsonl")
    report(1, {"box_loss": 1.0})
    with pytest.raises(DivergedError, match="diverged in epoch 2"):
        report(2, {"box_loss": float("nan")})


@pytest.mark.slow
@pytest.mark.parametrize("state", range(6))
def test_a_training_that_is_killed_at_any_moment_goes_on(train_words, tmp_path, state):
    code = "import sys; from yolograft.cli import main; print(flush=True); sys.exit(main(sys.argv[1:]))"
    words = [word for word in train_words if not word.startswith("epochs")]

    def start(*more):
        return subprocess.Popen([sys.executable, "-c", code, *more], env={**os.environ, "PYTHONPATH": SOURCE},
                                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    weights = tmp_path / "a" / "weights"
    process = start(*words, "epochs=40", f"project={tmp_path}", "name=a")
    while not (weights / "last.pt").exists():
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(random.Random(state).uniform(0, 4))
    process.send_signal(signal.SIGKILL)
    process.wait()
    for file in weights.glob("[!.]*.pt"):
        loads(file)
    assert 0 <= loads(weights / "last.pt") < 39
    assert start("train", "resume=True", f"model={weights / 'last.pt'}").wait(timeout=300) == 0
    assert loads(weights / "last.pt") == -1
