"""What a study costs beside the training: scheduling, storage and the trial's process, per trial.

    python benchmarks/overhead.py [--trials 1000] [--workers 2] [--folder DIR]
    python benchmarks/overhead.py --growth 10 100 1000 10000
    python benchmarks/overhead.py --ray 200 [--nodes 2]

Trials that train nothing are run twice: inside this process, which leaves the scheduling and the storage, and each in a
process of its own, as a study does. A profile says where the time goes. Then 50 machines are pretended, whose trials take
some seconds of nobody's time: how near one scheduler comes to the fifty-fold speed.

With `--growth` the scheduling and the storage alone are measured, in this process, for studies of these sizes, and a line is
fitted to the logarithms: time grows as trials to that power. With `--ray` so many trials run as tasks on a Ray cluster of
some nodes on this machine, each trial in a process of its own, and beside them as many without Ray.
"""

from __future__ import annotations

import argparse
import cProfile
import os
import platform
import pstats
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from yolograft.study import engine
from yolograft.study.local import Local
from yolograft.study.plan import Plan
from yolograft.study.trial import Trial, write_json
from yolograft.study.worker import perform


class Here:
    """An executor that runs a trial at once, in this process."""

    def __init__(self, slots: int) -> None:
        self.slots = slots

    def start(self, trial: Trial, folder: Path, slot: int):
        folder.mkdir(parents=True, exist_ok=True)
        write_json(folder / "trial.json", trial)
        self.outcome = perform(folder)
        return self

    def poll(self):
        return self.outcome

    def stop(self) -> None:
        pass

    def close(self) -> None:
        pass


class Elsewhere(Here):
    """An executor whose trials end after some seconds, on machines that are not there."""

    def __init__(self, slots: int, seconds: float) -> None:
        super().__init__(slots)
        self.seconds = seconds

    def start(self, trial: Trial, folder: Path, slot: int):
        return Away(super().start(trial, folder, slot).outcome, time.monotonic() + self.seconds)


class Away:
    def __init__(self, outcome, until: float) -> None:
        self.outcome, self.until = outcome, until

    def poll(self):
        return self.outcome if time.monotonic() >= self.until else None

    def stop(self) -> None:
        pass


def study(folder: Path, trials: int, executor) -> float:
    plan = Plan.of({"data": "x", "model": "m", "arms": "none; se@8; cbam@8; eca@8", "seeds": trials // 4, "epochs": 3,
                    "host": "yolograft.study.dummy"})
    stock, engine._executor = engine._executor, lambda *_: executor
    begun = time.perf_counter()
    try:
        done = engine.run(plan, folder)
    finally:
        engine._executor = stock
    seconds = time.perf_counter() - begun
    assert sum(map(len, done.results.values())) == len(plan.trials())
    return seconds


def grow(root: Path, sizes: list[int]) -> None:
    seen = []
    for trials in sizes:
        cpu, folder = time.process_time(), root / f"of{trials}"
        seconds = study(folder, trials, Here(1))
        seen.append((trials, seconds))
        size = (folder / "study.db").stat().st_size / 1024 / trials
        print(f"{trials:>7} trials {seconds:8.1f} s, CPU {time.process_time() - cpu:8.1f} s   "
              f"{1000 * seconds / trials:6.1f} ms a trial   {size:.1f} KiB of storage a trial", flush=True)
        shutil.rmtree(folder)
    if len(seen) > 1:
        power, _ = np.polyfit(*np.log(seen).T, 1)
        print(f"time grows as trials to the power {power:.2f}")


def on_ray(root: Path, trials: int, nodes: int) -> None:
    from ray.cluster_utils import Cluster as RayCluster

    from yolograft.study.cluster import Cluster

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # for the nodes that start below
    made = RayCluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(nodes):
        made.add_node(num_cpus=1)
    made.wait_for_nodes()
    executor = Cluster(made.address)
    for name, one in (("to warm up", executor), ("on Ray", executor), ("local", Local(slots=nodes))):
        count = 4 * nodes if name == "to warm up" else trials
        seconds = study(root / name.replace(" ", "-"), count, one)
        print(f"{name:<10} {count:>6} trials, {nodes} at a time: {seconds:7.1f} s, {1000 * seconds / count:6.1f} ms a trial",
              flush=True)
    made.shutdown()


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--trials", type=int, default=1000)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--machines", type=int, default=50)
    options.add_argument("--seconds", type=float, default=10)
    options.add_argument("--folder", type=Path)
    options.add_argument("--growth", type=int, nargs="+")
    options.add_argument("--ray", type=int)
    options.add_argument("--nodes", type=int, default=2)
    given = options.parse_args()
    root = given.folder or Path(tempfile.mkdtemp())
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if given.growth:
        grow(root, given.growth)
        return
    if given.ray:
        on_ray(root, given.ray, given.nodes)
        return
    print(f"{given.trials} trials")
    profile = cProfile.Profile()
    for name, executor in (("in this process", Here(given.workers)), ("a process per trial", Local(slots=given.workers))):
        folder = root / name.replace(" ", "-")
        seconds = study(folder, given.trials, executor)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / given.trials / 1024
        print(f"{name:<20} {seconds:7.1f} s   {1000 * seconds / given.trials:6.1f} ms a trial   {size:.1f} KiB a trial",
              flush=True)
    begun = time.perf_counter()
    for _ in range(10):
        subprocess.run([sys.executable, "-c", "import yolograft.study.worker, yolograft.study.dummy"], check=True)
    print(f"a worker's start     {(time.perf_counter() - begun) * 100:.0f} ms")
    profile.runcall(study, root / "profiled", 200, Here(given.workers))
    print("Where the time goes, in this process (cumulative, of 200 trials under a profiler, which slows it):")
    stats = pstats.Stats(profile)
    wanted = {"run", "add", "claim", "report", "finish", "rows", "start", "_look", "_may_begin", "fsync", "_study"}
    for (file, _, function), (_, calls, _, cumulative, _) in sorted(stats.stats.items(), key=lambda item: -item[1][3]):
        if (function in wanted and "yolograft" in file) or "fsync" in function or "'commit'" in function:
            print(f"  {cumulative:7.2f} s  {calls:>7} calls  {Path(file).name}:{function}")
    seconds = study(root / "machines", given.trials, Elsewhere(given.machines, given.seconds))
    ideal = given.trials / given.machines * given.seconds
    print(f"{given.machines} machines, trials of {given.seconds:g} s: {seconds:.1f} s, ideal {ideal:.1f} s; "
          f"{1000 * (seconds - ideal) / given.trials:.1f} ms a trial more")
    if not given.folder:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
