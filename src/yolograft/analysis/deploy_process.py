"""Run the child process of a deployment check, and start it again after a crash with the exports that are left."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from yolograft.analysis.deploy_result import Build
from yolograft.language import tr

__all__ = ["run_worker"]


def run_worker(request: dict[str, Any], todo: list[dict[str, Any]], file: Path,
                say: Callable[[str], object]) -> tuple[list[Build], list[list[float]]]:
    """Run the worker, and again after each crash with the builds that are left."""
    events = Path(request["events"])
    events.unlink(missing_ok=True)
    builds: list[Build] = []
    seconds: list[list[float]] = []
    repeats = request["repeats"]
    while todo:
        left = {**request, "builds": todo, "repeats": repeats if len(builds) == 0 else 0}
        file.write_text(json.dumps(left), encoding="utf-8")
        started = events.stat().st_size if events.exists() else 0
        code = _wait(file, events, started, request["target"], say)
        lines = [json.loads(line) for line in events.read_text(encoding="utf-8")[started:].splitlines()]
        done = [{key: line[key] for key in Build.__dataclass_fields__} for line in lines if line["event"] == "build"]
        builds += [Build(**one) for one in done]
        seconds = next((line["seconds"] for line in lines if line["event"] == "latency"), seconds)
        todo = todo[len(done):]
        if code == 0:
            break
        log = file.with_suffix(".log").read_text(encoding="utf-8", errors="replace").strip().splitlines()
        signal = tr("the process crashed with signal {number}", number=-code) if code < 0 else \
            tr("the process ended with code {code}: {line}", code=code, line=log[-1] if log else "")
        if not todo:
            say(f"  {request['target']}: {signal}")  # only the latency is missing
            break
        last: dict[str, Any] = next((line for line in reversed(lines) if line["event"] == "begin"), {})
        builds.append(Build(**todo[0], step=last.get("step", "start"), failure=signal))
        todo = todo[1:]
    return builds, seconds


def _wait(file: Path, events: Path, started: int, name: str, say: Callable[[str], object]) -> int:
    # Ultralytics would install packages that it misses or that have another version than it wants
    environment = {**os.environ, "YOLO_AUTOINSTALL": "false", "YOLO_OFFLINE": "true"}
    with file.with_suffix(".log").open("w", encoding="utf-8") as log:
        process = subprocess.Popen([sys.executable, "-m", "yolograft.analysis.deploy_worker", str(file)], stdout=log,
                                   stderr=subprocess.STDOUT, env=environment)
    told = started
    try:
        while True:
            try:
                return process.wait(timeout=1)
            except subprocess.TimeoutExpired:
                pass
            told = _tell(events, told, name, say)
    finally:
        if process.poll() is None:  # Ctrl-C
            process.kill()
            process.wait()
        _tell(events, told, name, say)


def _tell(events: Path, told: int, name: str, say: Callable[[str], object]) -> int:
    """Say what the worker has finished since the last call."""
    if not events.exists():
        return told
    text = events.read_text(encoding="utf-8")
    end = text.rfind("\n") + 1
    for line in text[told:end].splitlines():
        event = json.loads(line)
        if event["event"] == "build":
            which = tr("host") if event["network"] == 0 else tr("grafted") + (
                f" {event['network']}" if event["network"] > 1 else "")
            size = f"{event['size']}{tr(' dynamic') if event['dynamic'] else ''}"
            worst = max((value for values in event["errors"].values() for value in values), default=float("nan"))
            outcome = event["failure"] or tr("error {error}", error=f"{worst:.1e}")
            say(f"  {name}: {which}, {size}: {outcome}")
    return max(told, end)
