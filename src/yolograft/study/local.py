"""Executor for this machine: each trial runs in its own process, which ends when the study's process ends or is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from yolograft import threads
from yolograft.study.heartbeat import TIMEOUT, Silence
from yolograft.study.trial import Failure, Result, Trial, read_json, write_json

__all__ = ["Executor", "Job", "Local", "end", "environment", "find_devices", "launch"]


class Job(Protocol):
    """A running trial."""

    def poll(self) -> Result | Failure | None:
        """Return the outcome, or None while the trial runs."""

    def stop(self) -> None:
        """Stop the trial now; the files that it has written stay."""


class Executor(Protocol):
    """Something that runs trials in a fixed number of slots."""

    @property
    def slots(self) -> int:
        """Number of trials that run at the same time."""

    def start(self, trial: Trial, folder: Path, slot: int) -> Job:
        """Start a trial in a free slot, with its files in `folder`."""

    def close(self) -> None:
        """Release the resources of the executor."""


@dataclass(frozen=True)
class Local:
    """Runs trials as processes on this machine.

    Slot i uses device i modulo the number of devices, so several small models can share a GPU.

    Attributes:
        slots: number of trials that run at the same time.
        devices: values for CUDA_VISIBLE_DEVICES; if empty, the variable is not changed.
        timeout: seconds without an epoch and without CPU time after which a trial's process is ended (see `heartbeat`).
    """

    slots: int = 1
    devices: tuple[str, ...] = ()
    timeout: float = TIMEOUT

    def start(self, trial: Trial, folder: Path, slot: int) -> Job:
        """Run a trial in a new process."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "trial.json", trial)
        variables = environment(self.slots)
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        process = launch(folder, variables)
        silence = Silence(process.pid, folder / "epochs.jsonl", interval=min(5.0, self.timeout / 4))
        return _Process(process, folder, self.timeout, silence)

    def close(self) -> None:
        """Do nothing: this executor holds no resources."""


def environment(slots: int) -> dict[str, str]:
    """Return the environment variables of a worker (import path and number of threads) when `slots` workers run at once.

    YOLOGRAFT_THREADS repeats OMP_NUM_THREADS, which Ultralytics may change in the worker.
    """
    count = str(threads.share(slots))  # by default torch uses all cores in every worker
    # a trial's files store why it failed: in English, since a report in any language and on any machine shows it
    return {**os.environ, "YOLOGRAFT_LANG": "en", "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": count, "YOLOGRAFT_THREADS": count}


def launch(folder: Path, variables: Mapping[str, str], *mode: str) -> subprocess.Popen[bytes]:
    """Start a worker process for the trial in `folder`.

    The worker ends when its standard input closes, which happens when this process ends or is killed.
    """
    with (folder / "log.txt").open("ab") as log:
        # in a new session, so that Ctrl-C reaches only this process, which then stops the worker
        return subprocess.Popen([sys.executable, "-m", "yolograft.study.worker", str(folder), *mode],
                                stdin=subprocess.PIPE, stdout=log, stderr=log, env=variables, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a worker and its child processes, if it still runs."""
    if process.stdin:
        process.stdin.close()  # the worker then kills its child processes and itself
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    """End a worker that may not be able to react, such as a stopped one, with its child processes."""
    if hasattr(os, "killpg") and process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)  # `launch` has made it the leader of a group of its own
    process.kill()
    process.wait()


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]
    folder: Path
    timeout: float = TIMEOUT
    silence: Silence | None = field(default=None)

    def poll(self) -> Result | Failure | None:
        code = self.process.poll()
        if code is None:
            if self.silence is None or self.silence.poll() < self.timeout:
                return None
            return self._end_stalled()
        if self.process.stdin:
            self.process.stdin.close()
        result = read_json(Result, self.folder / "result.json")
        return result or read_json(Failure, self.folder / "failure.json") or self._exit_failure(code)

    def stop(self) -> None:
        end(self.process)

    def _end_stalled(self) -> Result | Failure:
        _kill(self.process)
        if self.process.stdin:
            self.process.stdin.close()
        result = read_json(Result, self.folder / "result.json")
        if result is not None:  # it hung after its end
            return result
        reason = (f"For {self.timeout:g} s the process reported no epoch and used no CPU time: it hung or was stopped, and "
                  "was ended (timeout=).")
        with (self.folder / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"yolograft: {reason}\n")
        return Failure(reason=reason, log=str(self.folder / "log.txt"), stalled=True)

    def _exit_failure(self, code: int) -> Failure:
        log = self.folder / "log.txt"
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        tail = [line.strip() for line in lines if line.strip()][-1:] or ["none"]
        if code < 0:
            hint = " (often sent by the out-of-memory killer of the operating system)" if -code == signal.SIGKILL else ""
            how = f"was killed by {signal.Signals(-code).name}{hint}"
        else:
            how = f"exited with code {code}"
        return Failure(reason=f"The process {how}; the last line of its log: {tail[0][:300]}", log=str(log))


def find_devices() -> tuple[str, ...]:
    """Return the GPUs that this process may use, as values for CUDA_VISIBLE_DEVICES."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return tuple(name for name in allowed.split(",") if name.strip() and name.strip() != "-1")
    try:
        answer = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
                                capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())
