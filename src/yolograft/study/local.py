"""Trials on this machine: each in a process of its own, which ends when this one does, however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from yolograft import threads
from yolograft.study.trial import Failure, Result, Trial, read_json, write_json

__all__ = ["Executor", "Job", "Local", "end", "environment", "find_devices", "launch"]


class Job(Protocol):
    """A trial that runs somewhere."""

    def poll(self) -> Result | Failure | None:
        """Return what came out, or None while it runs."""

    def stop(self) -> None:
        """End it now; what it has saved stays."""


class Executor(Protocol):
    """A number of slots in which trials run."""

    @property
    def slots(self) -> int:
        """How many trials run at a time."""

    def start(self, trial: Trial, folder: Path, slot: int) -> Job:
        """Run a trial, with its files in `folder`, in a free slot."""

    def close(self) -> None:
        """Let go of whatever the executor holds."""


@dataclass(frozen=True)
class Local:
    """Processes on this machine; slot i uses device i modulo their number, so small models can share a GPU.

    Attributes:
        slots: how many trials run at a time.
        devices: what CUDA_VISIBLE_DEVICES may be set to; empty leaves it alone.
    """

    slots: int = 1
    devices: tuple[str, ...] = ()

    def start(self, trial: Trial, folder: Path, slot: int) -> Job:
        """Run a trial in a new process."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "trial.json", trial)
        variables = environment(self.slots)
        if self.devices:
            variables["CUDA_VISIBLE_DEVICES"] = self.devices[slot % len(self.devices)]
        return _Process(launch(folder, variables), folder)

    def close(self) -> None:
        """Nothing is held between trials."""


def environment(slots: int) -> dict[str, str]:
    """Return the environment of a worker where `slots` of them run at a time: what it may import, and its threads.

    YOLOGRAFT_THREADS repeats OMP_NUM_THREADS, which Ultralytics may change in the worker.
    """
    count = str(threads.share(slots))  # by default torch takes every core for each of the trials at once
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "OMP_NUM_THREADS": count, "YOLOGRAFT_THREADS": count}


def launch(folder: Path, variables: Mapping[str, str], *mode: str) -> subprocess.Popen[bytes]:
    """Start a worker on the trial in `folder`, which ends when its standard input closes: when this process dies."""
    with (folder / "log.txt").open("ab") as log:
        # a session of its own: Ctrl-C reaches this process alone, which then ends the trial
        return subprocess.Popen([sys.executable, "-m", "yolograft.study.worker", str(folder), *mode],
                                stdin=subprocess.PIPE, stdout=log, stderr=log, env=variables, start_new_session=True)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a worker, with its children, if it still runs."""
    if process.stdin:
        process.stdin.close()  # the worker then kills its children and itself
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@dataclass(frozen=True)
class _Process:
    process: subprocess.Popen[bytes]
    folder: Path

    def poll(self) -> Result | Failure | None:
        code = self.process.poll()
        if code is None:
            return None
        if self.process.stdin:
            self.process.stdin.close()
        result = read_json(Result, self.folder / "result.json")
        return result or read_json(Failure, self.folder / "failure.json") or self._death(code)

    def stop(self) -> None:
        end(self.process)

    def _death(self, code: int) -> Failure:
        log = self.folder / "log.txt"
        lines = log.read_text(encoding="utf-8", errors="replace").split("\n")
        tail = [line.strip() for line in lines if line.strip()][-1:] or ["none"]
        if code < 0:
            hint = " (often the system's own out-of-memory killer)" if -code == signal.SIGKILL else ""
            how = f"was ended by {signal.Signals(-code).name}{hint}"
        else:
            how = f"left with code {code}"
        return Failure(reason=f"The process {how}; its last words: {tail[0][:300]}", log=str(log))


def find_devices() -> tuple[str, ...]:
    """Return the GPUs that this process may use, by the names that CUDA_VISIBLE_DEVICES takes."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is not None:
        return tuple(name for name in allowed.split(",") if name.strip() and name.strip() != "-1")
    try:
        answer = subprocess.run(["nvidia-smi", "--query-gpu=index", "--format=csv,noheader"],
                                capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return ()
    return tuple(line.strip() for line in answer.stdout.splitlines() if line.strip())
