"""Executor for a Ray cluster: each trial is a Ray task, which starts the trial's process on its node and watches it.

Ray finds a node with a free CPU and a free share of a GPU. If the node is lost, Ray starts the task again on another node.
An error in a trial ends only the trial's own process, not the Ray task, so Ray does not retry it.

If the nodes share the study's folder (for example by NFS), a trial writes its files there, and after the loss of its node it
resumes from its last epoch. If they do not share it, a trial works in a temporary folder of its node, starts from the
beginning after a loss, and sends its files when it ends.
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
from yolograft.language import tr
from yolograft.study.heartbeat import TIMEOUT
from yolograft.study.local import Local
from yolograft.study.trial import Failure, Result, Trial, read_json, write_json

__all__ = ["Cluster"]

_POLL = 0.05  # seconds between two polls of the trial's process
_LOCAL_FILES = ("lock", "state.pt", "*.part")  # files that are of no use on another machine


class Cluster:
    """An executor whose slots are spread over a Ray cluster's nodes.

    Args:
        address: address of the cluster, or `auto` for the cluster of this machine; None starts a cluster on this machine.
        slots: number of trials that run at the same time; by default as many as the cluster has resources for.
        per_gpu: number of trials that share one GPU.
        timeout: seconds without an epoch and without CPU time after which a trial's process is ended (see `heartbeat`).
    """

    def __init__(self, address: str | None = None, slots: int | None = None, per_gpu: int = 1,
                 timeout: float = TIMEOUT) -> None:
        try:
            import ray
        except ModuleNotFoundError:
            raise GraftError(tr("executor=ray needs Ray: pip install 'yolograft[ray]'. Or use executor=local.")) from None
        self._ray: Any = ray
        self._owns_cluster = not ray.is_initialized()
        # a task without a GPU keeps CUDA_VISIBLE_DEVICES of its node
        os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
        if self._owns_cluster:
            try:
                _check_address(address)
                ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
            except (OSError, ValueError, RuntimeError) as error:
                why = str(error).splitlines()[0]
                raise GraftError(tr("No Ray cluster answers at address={address}: {why}. Start one with: ray start "
                                    "--head. To start a cluster on this machine, omit address.", address=address,
                                    why=why)) from error
        resources = ray.cluster_resources()
        gpus = int(resources.get("GPU", 0))
        self._share = {"num_cpus": 1, "num_gpus": 1 / per_gpu if gpus else 0}
        self.slots = slots or max(1, gpus * per_gpu or int(resources.get("CPU", 1)))
        self._timeout = timeout
        self._run = ray.remote(max_retries=-1)(_run)

    def start(self, trial: Trial, folder: Path, slot: int) -> _Task:
        """Submit a trial to the cluster; Ray chooses the node, so `slot` is not used."""
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "trial.json", trial)
        return _Task(self._ray, self._run.options(**self._share).remote(trial, str(folder.resolve()), self._timeout), folder)

    def close(self) -> None:
        """Disconnect from the cluster, and stop it if it was started for this study."""
        if self._owns_cluster:
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
        # ends the task's process, and with it the trial's process; files in a shared folder stay
        self._ray.cancel(self._reference, force=True)


def _check_address(address: str | None) -> None:
    """Raise `OSError` if no server listens at HOST:PORT; Ray itself would wait for minutes."""
    host, colon, port = (address or "").removeprefix("ray://").rpartition(":")
    if colon and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()


def _run(trial: Trial, home: str, timeout: float) -> tuple[Result | Failure, bytes]:
    """Run a trial on this node (the body of the Ray task).

    Returns:
        The outcome, and a ZIP archive of the trial's files; the archive is empty if this node shares the study's folder.
    """
    stored = read_json(Trial, Path(home) / "trial.json") if Path(home).is_dir() else None
    shared = stored is not None and stored.key == trial.key
    folder = Path(home) if shared else Path(tempfile.mkdtemp(prefix="yolograft-"))
    job = Local(timeout=timeout).start(trial, folder, 0)
    try:
        while (outcome := job.poll()) is None:
            time.sleep(_POLL)
    finally:
        job.stop()
    if shared:
        return outcome, b""
    files = _pack(folder)
    shutil.rmtree(folder)
    return outcome, files


def _pack(folder: Path) -> bytes:
    skipped = {path for pattern in _LOCAL_FILES for path in folder.rglob(pattern)}
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path not in skipped:
                packed.write(path, path.relative_to(folder))
    return buffer.getvalue()
