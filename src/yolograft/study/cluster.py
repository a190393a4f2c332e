"""Trials on a Ray cluster: each is a Ray task that runs the trial's process as this machine would, and watches it.

Ray finds a node with a free CPU and a free share of a GPU, and starts the task again elsewhere when its node is lost. A
trial that fails by itself fails in its own process, below the task, so that Ray has nothing to retry.

Where the study's folder is shared by the nodes (NFS or the like) a trial keeps its files there, and goes on from its last
epoch when its node was lost. Elsewhere it works in a folder of the node's, starts over, and its files are sent when it ends.
"""

from __future__ import annotations

import io
import logging
import os
import shutil
import socket
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

from yolograft.errors import GraftError
from yolograft.study.local import Local
from yolograft.study.trial import Failure, Result, Trial, read_json, write_json

__all__ = ["Cluster"]

_LOOK = 0.05  # seconds between a task's looks at its trial
_LEFT_BEHIND = ("lock", "state.pt", "*.part")  # what no other machine has a use for


class Cluster:
    """An executor whose slots are spread over a Ray cluster's nodes.

    Args:
        address: the cluster's, or `auto` for the one that this machine belongs to; None starts one on this machine.
        slots: how many trials run at a time; by default as many as the cluster has room for.
        per_gpu: how many trials share a GPU.
    """

    def __init__(self, address: str | None = None, slots: int | None = None, per_gpu: int = 1) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise GraftError("executor=ray needs Ray: pip install 'yolograft[ray]'. Without it: executor=local.") from None
        self._ray: Any = ray
        self._mine = not ray.is_initialized()
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # a task without a GPU keeps the node's own setting
        if self._mine:
            try:
                _knock(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError, RuntimeError) as error:
                why = str(error).splitlines()[0]
                raise GraftError(f"No Ray cluster answers at address={address}: {why}. Start one with: "
                                 "ray start --head; or leave address out for one on this machine.") from error
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self._share = {"num_cpus": 1, "num_gpus": 1 / per_gpu if gpus else 0}
        self.slots = slots or max(1, gpus * per_gpu or int(resources.get("CPU", 1)))
        self._run = ray.remote(max_retries=-1)(_run)

    def start(self, trial: Trial, folder: Path, slot: int) -> _Task:
        """Hand a trial to the cluster; the slot only says that there is room."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "trial.json", trial)
        return _Task(self._ray, self._run.options(**self._share).remote(trial, str(folder.resolve())), folder)

    def close(self) -> None:
        """Leave the cluster; one that was started for this study ends."""
        if self._mine:
            self._ray.shutdown()


class _Task:
    def __init__(self, ray: Any, reference: Any, folder: Path) -> None:
        self._ray, self._reference, self._folder = ray, reference, folder

    def poll(self) -> Result | Failure | None:
        ready, _ = self._ray.wait([self._reference], timeout=0)
        if not ready:
            return None
        try:
            outcome, files = self._ray.get(self._reference)
        except self._ray.exceptions.RayError as error:
            return Failure(reason=f"Ray could not run the trial: {str(error).splitlines()[0][:300]}")
        if files:
            with zipfile.ZipFile(io.BytesIO(files)) as packed:
                packed.extractall(self._folder)
        if isinstance(outcome, Result) and read_json(Result, self._folder / "result.json") is None:
            write_json(self._folder / "result.json", outcome)
        return outcome

    def stop(self) -> None:
        # the task's process ends, and takes the trial's along; what that has saved in a shared folder stays
        self._ray.cancel(self._reference, force=True)


def _knock(address: str | None) -> None:
    """Raise if nobody listens at HOST:PORT, which Ray would wait minutes for."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _run(trial: Trial, home: str) -> tuple[Result | Failure, bytes]:
    """Run a trial on this node: the task. Returns what came out, and its files if the node does not share the folder."""
    there = read_json(Trial, Path(home) / "trial.json") if Path(home).is_dir() else None
    shared = there is not None and there.key == trial.key
    folder = Path(home) if shared else Path(tempfile.mkdtemp(prefix="yolograft-"))
    job = Local().start(trial, folder, 0)
    try:
        while (outcome := job.poll()) is None:
            time.sleep(_LOOK)
    finally:
        job.stop()
    if shared:
        return outcome, b""
    files = _pack(folder)
    shutil.rmtree(folder)
    return outcome, files


def _pack(folder: Path) -> bytes:
    skipped = {path for pattern in _LEFT_BEHIND for path in folder.rglob(pattern)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path not in skipped:
                packed.write(path, path.relative_to(folder))
    return buffer.getvalue()
