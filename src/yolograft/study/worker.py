"""The process that runs one trial: `python -m yolograft.study.worker FOLDER`. It ends when its parent process ends.

`python -m yolograft.study.worker FOLDER test` scores the trial's network on the held-out split instead.
"""

from __future__ import annotations

import json
import math
import os
import signal
import socket
import sys
import threading
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from yolograft import __version__
from yolograft.atomic import PARTS
from yolograft.errors import GraftError
from yolograft.language import tr
from yolograft.study.trial import DivergedError, Failure, Report, Result, Trial, load_host, read_json, write_json

__all__ = ["main", "perform", "score"]

_LOCK_TIMEOUT = 60.0  # seconds to wait for an earlier process of the same trial, which ends after its parent


def perform(folder: Path) -> Result | Failure:
    """Run the trial in `folder`, or return its result if it has one; an error in the trial gives a `Failure`."""
    trial = read_json(Trial, folder / "trial.json")
    if trial is None:
        raise FileNotFoundError(folder / "trial.json")
    # the operating system releases this lock when the process ends, even if it is killed
    with FileLock(folder / "lock", timeout=_LOCK_TIMEOUT):
        done = read_json(Result, folder / "result.json")
        if done is not None:
            return done
        (folder / "failure.json").unlink(missing_ok=True)
        for part in folder.glob(PARTS):  # temporary files of a process that was killed while it wrote
            part.unlink(missing_ok=True)
        try:
            host = load_host(trial.host)
            _compare_versions(trial, host)
            returned = host.train(trial, folder, _reporter(folder / "epochs.jsonl"))
            result = returned if isinstance(returned, Result) else Result(**returned)
            if (folder / "images.npz").is_file():  # computed here, where trials run in parallel, and reused by every report
                from yolograft.study.images import store_resampled_ap

                store_resampled_ap(folder)
            write_json(folder / "result.json", result.check())
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a library can raise any exception, even SystemExit
            traceback.print_exc()
            failure = Failure(reason=_reason(error), log=str(folder / "log.txt"))
            write_json(folder / "failure.json", failure)
            return failure
        return result


def _compare_versions(trial: Trial, host: Any) -> None:
    """Raise `GraftError` if the packages of this machine have other versions than those of the study."""
    installed = {"yolograft": __version__, **host.versions()} if trial.versions else {}
    different = [f"{name} {installed.get(name, 'none')} here, {wanted} in the study"
              for name, wanted in trial.versions.items() if installed.get(name) != wanted]
    if different:
        raise GraftError(tr("The machine {machine} has other versions than the study: {different}.",
                            machine=socket.gethostname(), different="; ".join(different)))


def score(folder: Path) -> Result | Failure:
    """Evaluate the network of the trial in `folder` on the held-out split, and write `test.json`."""
    trial = read_json(Trial, folder / "trial.json")
    if trial is None:
        raise FileNotFoundError(folder / "trial.json")
    (folder / "failure.json").unlink(missing_ok=True)
    try:
        result = Result(metrics=load_host(trial.host).test(trial, folder)).check()
        write_json(folder / "test.json", result)
    except Exception as error:
        traceback.print_exc()
        failure = Failure(reason=_reason(error), log=str(folder / "log.txt"))
        write_json(folder / "failure.json", failure)
        return failure
    return result


def _reason(error: BaseException) -> str:
    text = str(error).strip() or "no message"
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return f"out of memory: {text[:300]} (fewer workers, a smaller batch or a smaller imgsz need less)"
    if isinstance(error, GraftError):
        return text[:1000]
    return f"{type(error).__name__}: {text[:1000]}"


def _reporter(path: Path) -> Report:
    def report(epoch: int, metrics: Mapping[str, float]) -> None:
        broken = {key: value for key, value in metrics.items() if not math.isfinite(value)}
        if broken:
            raise DivergedError(tr("Training diverged in epoch {epoch}: {broken}.", epoch=epoch, broken=broken))
        record = json.dumps({"epoch": epoch, **{key: float(value) for key, value in metrics.items()}})
        with path.open("a+", encoding="utf-8") as file:
            is_incomplete = file.tell() > 0 and not path.read_bytes().endswith(b"\n")
            file.write(("\n" if is_incomplete else "") + record + "\n")

    return report


def _follow_parent() -> None:
    """Kill this process and its child processes when standard input closes, which means that the parent has ended."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: list[str]) -> int:
    """Run the trial in the folder `argv[0]`; return 0 if it has a result, 1 if it failed."""
    _follow_parent()
    work = score if argv[1:] == ["test"] else perform
    return 0 if isinstance(work(Path(argv[0])), Result) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
