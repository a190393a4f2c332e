"""Measure how long commands take to start. Each runs in a new process, in turns with a bare `python -c pass`.

    python benchmarks/startup.py [repeats=10]

The goal is less than 0.2 s for `yolograft --help` and the completion script. `sites` and `show` import PyTorch and
Ultralytics. That import is also measured alone, so that the difference is yolograft's own time.
"""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time

HEAVY = 3  # repeats at most of a command that imports PyTorch
OURS = [sys.executable, "-m", "yolograft"]
COMMANDS = {
    "python -c pass": ([sys.executable, "-c", "pass"], False),
    "yolograft --help": ([*OURS, "--help"], False),
    "yolograft completion bash": ([*OURS, "completion", "bash"], False),
    "import ultralytics.nn.tasks": ([sys.executable, "-c", "import ultralytics.nn.tasks"], True),
    "yolograft sites": ([*OURS, "sites", "model=yolo11n.yaml"], True),
    "yolograft show": ([*OURS, "show", "model=yolo11n.yaml", "graft=se@8"], True),
}


def run_once(command: list[str]) -> tuple[float, float]:
    """Run a command, and return its wall and CPU seconds."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True, env={**os.environ, "YOLO_OFFLINE": "True"})
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main(words: list[str]) -> None:
    """Measure, and print a table and one line of JSON."""
    repeats = int(dict(word.split("=") for word in words).get("repeats", "10"))
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for number in range(repeats):
        for name, (command, heavy) in COMMANDS.items():
            if not heavy or number < HEAVY:
                times[name].append(run_once(command))
    report = {}
    print(f"{'':<30}{'wall s':>8}{'lowest':>8}{'highest':>8}{'CPU s':>8}")
    for name, pairs in times.items():
        walls = [wall for wall, _ in pairs]
        report[name] = {"wall": statistics.median(walls), "lowest": min(walls), "highest": max(walls),
                        "cpu": statistics.median(cpu for _, cpu in pairs), "repeats": len(pairs)}
        one = report[name]
        print(f"{name:<30}{one['wall']:>8.3f}{one['lowest']:>8.3f}{one['highest']:>8.3f}{one['cpu']:>8.3f}")
    print(json.dumps({"python": sys.version.split()[0], "cores": os.cpu_count(), "load": os.getloadavg()[0],
                      "commands": report}))


if __name__ == "__main__":
    main(sys.argv[1:])
