"""A trial that hangs or is stopped is ended after `timeout`, continues once, and then fails; a slow one is left alone."""

import os
import signal
import time

import pytest
from rich.console import Console

from yolograft.errors import GraftError
from yolograft.study import run
from yolograft.study.heartbeat import TIMEOUT, Silence
from yolograft.study.local import Local
from yolograft.study.progress import Lines
from yolograft.study.trial import Failure, Result, Trial

WORDS = {"data": "somewhere", "model": "yolo11n.pt", "arms": "none", "seeds": 1, "epochs": 2,
         "host": "yolograft.study.dummy"}


def wait(job, seconds=60):
    end = time.monotonic() + seconds
    while (outcome := job.poll()) is None:
        assert time.monotonic() < end, "the job did not end"
        time.sleep(0.02)
    return outcome


def test_a_trial_that_hangs_once_continues_and_its_result_counts(tmp_path):
    console = Console(record=True, width=200)
    study = run({**WORDS, "fail": f"hang:{tmp_path / 'hung'}"}, tmp_path / "s", timeout="1s", view=Lines(console))
    assert not study.failures()
    assert [len(by) for by in study.scores().values()] == [1]
    assert [row.state for row in study.rows] == ["complete"], "the same attempt continues"
    assert "its process hung or was stopped" in console.export_text()


def test_a_trial_that_hangs_twice_fails_and_the_others_go_on(tmp_path):
    study = run({**WORDS, "arms": "none; se@8 fail=hang"}, tmp_path / "s", timeout=0.6, workers=2)
    (reason,) = study.failures().values()
    assert "hung or was stopped" in reason
    assert study.scores()["none"]
    (log,) = [path.read_text() for path in tmp_path.glob("s/trials/*/log.txt") if path.read_text()]
    assert log.count("it hung or was stopped") == 2, "it was tried twice"


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="this system has no SIGSTOP")
def test_a_stopped_process_is_ended_with_its_children(tmp_path):
    job = Local(timeout=0.6).start(Trial(arm="none", settings={"pause": 60}, host=WORDS["host"]), tmp_path, 0)
    time.sleep(0.5)
    os.kill(job.process.pid, signal.SIGSTOP)
    outcome = wait(job)
    assert isinstance(outcome, Failure)
    assert outcome.stalled
    assert job.process.returncode == -signal.SIGKILL, "a stopped process cannot end itself"


def test_a_busy_epoch_that_is_longer_than_the_timeout_is_not_ended(tmp_path):
    job = Local(timeout=0.8).start(Trial(arm="none", settings={"fail": "busy"}, host=WORDS["host"]), tmp_path, 0)
    assert isinstance(wait(job), Result)


class Clock:
    now = 0.0

    def __call__(self):
        return self.now


def test_only_time_between_polls_counts(tmp_path):
    clock = Clock()
    silence = Silence(os.getpid(), tmp_path / "epochs.jsonl", clock=clock)
    clock.now = 8 * 3600  # this process was suspended for a night
    assert silence.poll() <= 5.0


def test_an_epoch_ends_the_silence(tmp_path, monkeypatch):
    monkeypatch.setattr("yolograft.study.heartbeat._cpu_seconds", lambda _: 1.0)
    clock, file = Clock(), tmp_path / "epochs.jsonl"
    silence = Silence(0, file, clock=clock)
    for clock.now in range(5, 65, 5):
        silence.poll()
    assert silence.poll() == 55, "the first measurement has nothing to compare with"
    file.write_text("{}\n")
    clock.now += 5
    assert silence.poll() == 0
    clock.now += 5
    assert silence.poll() == 5


def test_a_process_that_cannot_be_measured_is_never_silent(tmp_path, monkeypatch):
    monkeypatch.setattr("yolograft.study.heartbeat._cpu_seconds", lambda _: None)
    clock = Clock()
    silence = Silence(0, tmp_path / "epochs.jsonl", clock=clock)
    for clock.now in range(5, 2 * int(TIMEOUT), 5):
        assert silence.poll() == 0


@pytest.mark.parametrize("timeout", ["soon", 0, "0s"])
def test_a_wrong_timeout_raises_an_error_and_makes_no_folder(tmp_path, timeout):
    with pytest.raises(GraftError, match="timeout="):
        run(WORDS, tmp_path / "s", timeout=timeout)
    assert not (tmp_path / "s").exists()
