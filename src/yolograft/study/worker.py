"""The process that runs one trial: `python -m yolograft.study.worker FOLDER`. It ends with its parent.

With the word `test` behind, it scores the trial's network on the held-out split instead.
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
from yolograft.study.trial import DivergedError, Failure, Report, Result, Trial, load_host, read_json, write_json

__all__ = ["main", "perform", "score"]

_PATIENCE = 60.0  # seconds that a previous process of the same trial gets to notice that its parent is gone


def perform(folder: Path) -> Result | Failure:
    """Run the trial described in `folder`, unless it has its result; never raises what a trial can cause."""
    trial = read_json(Trial, folder / "trial.json")
    if trial is None:
        raise FileNotFoundError(folder / "trial.json")
    # the kernel releases this lock whenever and however its process ends
    with FileLock(folder / "lock", timeout=_PATIENCE):
        done = read_json(Result, folder / "result.json")
        if done is not None:
            return done
        (folder / "failure.json").unlink(missing_ok=True)
        for left in folder.glob(PARTS):  # a process that was killed while it wrote, perhaps a whole checkpoint
            left.unlink(missing_ok=True)
        try:
            host = load_host(trial.host)
            _compare_versions(trial, host)
            found = host.train(trial, folder, _reporter(folder / "epochs.jsonl"))
            result = found if isinstance(found, Result) else Result(**found)
            if (folder / "images.npz").is_file():  # here, where trials run side by side, and not in every report
                from yolograft.study.images import keep_drawn

                keep_drawn(folder)
            write_json(folder / "result.json", result.check())
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # a library may raise anything, SystemExit included
            traceback.print_exc()
            failure = Failure(reason=_reason(error), log=str(folder / "log.txt"))
            write_json(folder / "failure.json", failure)
            return failure
        return result


def _compare_versions(trial: Trial, host: Any) -> None:
    """Refuse to train on a machine whose packages are not those that the study was begun with."""
    here = {"yolograft": __version__, **host.versions()} if trial.versions else {}
    unlike = [f"{name} {here.get(name, 'none')} here, {wanted} in the study"
              for name, wanted in trial.versions.items() if here.get(name) != wanted]
    if unlike:
        raise GraftError(f"The machine {socket.gethostname()} has other versions than the study: {'; '.join(unlike)}.")


def score(folder: Path) -> Result | Failure:
    """Score the network of the trial in `folder` on the held-out split, into `test.json`."""
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
            raise DivergedError(f"Training diverged in epoch {epoch}: {broken}.")
        record = json.dumps({"epoch": epoch, **{key: float(value) for key, value in metrics.items()}})
        with path.open("a+", encoding="utf-8") as file:
            torn = file.tell() > 0 and not path.read_bytes().endswith(b"\n")
            file.write(("\n" if torn else "") + record + "\n")

    return report


def _follow_parent() -> None:
    """End this process and its children when standard input closes: the parent is gone, however it went."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        if hasattr(os, "killpg") and os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def main(argv: list[str]) -> int:
    """Run the trial in the folder named; 0 when there is a result, 1 when the trial failed."""
    _follow_parent()
    work = score if argv[1:] == ["test"] else perform
    return 0 if isinstance(work(Path(argv[0])), Result) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
