"""Measure what a study costs beside the training: scheduling, storage and process start, per trial.

    python benchmarks/overhead.py [--trials 1000] [--workers 2] [--folder DIR]
    python benchmarks/overhead.py --growth 10 100 1000 10000
    python benchmarks/overhead.py --ray 200 [--nodes 2]

Trials that train nothing run twice: in this process, which measures only scheduling and storage, and each in its own
process, as in a study. A profile shows where the time goes. Then the benchmark simulates 50 machines whose trials take
some seconds without computing, and shows how near one scheduler comes to a speedup of 50.

`--growth` measures only scheduling and storage, in this process, for studies of these sizes, and fits a line to the
logarithms: time grows as trials to that power. `--ray` runs this many trials as tasks on a Ray cluster of some nodes on
this machine, each trial in its own process, and the same number without Ray.
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


class InProcess:
    """An executor that runs a trial immediately, in this process."""

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


class Simulated(InProcess):
    """An executor with simulated machines, whose trials end after some seconds."""

    def __init__(self, slots: int, seconds: float) -> None:
        super().__init__(slots)
        self.seconds = seconds

    def start(self, trial: Trial, folder: Path, slot: int):
        return Waiting(super().start(trial, folder, slot).outcome, time.monotonic() + self.seconds)


class Waiting:
    """A finished trial that reports its outcome only at a later time."""

    def __init__(self, outcome, until: float) -> None:
        self.outcome, self.until = outcome, until

    def poll(self):
        return self.outcome if time.monotonic() >= self.until else None

    def stop(self) -> None:
        pass


def run_study(folder: Path, trials: int, executor) -> float:
    """Run a study of trials that train nothing, and return its seconds."""
    plan = Plan.of({"data": "x", "model": "m", "arms": "none; se@8; cbam@8; eca@8", "seeds": trials // 4, "epochs": 3,
                    "host": "yolograft.study.dummy"})
    stock, engine._executor = engine._executor, lambda *_: executor
    start = time.perf_counter()
    try:
        done = engine.run(plan, folder)
    finally:
        engine._executor = stock
    seconds = time.perf_counter() - start
    assert sum(map(len, done.results.values())) == len(plan.trials())
    return seconds


def measure_growth(root: Path, sizes: list[int]) -> None:
    measured = []
    for trials in sizes:
        cpu, folder = time.process_time(), root / f"of{trials}"
        seconds = run_study(folder, trials, InProcess(1))
        measured.append((trials, seconds))
        size = (folder / "study.db").stat().st_size / 1024 / trials
        print(f"{trials:>7} trials {seconds:8.1f} s, CPU {time.process_time() - cpu:8.1f} s   "
              f"{1000 * seconds / trials:6.1f} ms per trial   {size:.1f} KiB of storage per trial", flush=True)
        shutil.rmtree(folder)
    if len(measured) > 1:
        power, _ = np.polyfit(*np.log(measured).T, 1)
        print(f"time grows as trials to the power {power:.2f}")


def compare_with_ray(root: Path, trials: int, nodes: int) -> None:
    from ray.cluster_utils import Cluster as RayCluster

    from yolograft.study.cluster import Cluster

    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # the nodes inherit it
    cluster = RayCluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(nodes):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    executor = Cluster(cluster.address)
    for name, used in (("warm-up", executor), ("on Ray", executor), ("local", Local(slots=nodes))):
        count = 4 * nodes if name == "warm-up" else trials
        seconds = run_study(root / name.replace(" ", "-"), count, used)
        print(f"{name:<10} {count:>6} trials, {nodes} at a time: {seconds:7.1f} s, "
              f"{1000 * seconds / count:6.1f} ms per trial", flush=True)
    cluster.shutdown()


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
    args = options.parse_args()
    root = args.folder or Path(tempfile.mkdtemp())
    print(f"{platform.platform()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if args.growth:
        measure_growth(root, args.growth)
        return
    if args.ray:
        compare_with_ray(root, args.ray, args.nodes)
        return
    print(f"{args.trials} trials")
    profile = cProfile.Profile()
    for name, executor in (("in this process", InProcess(args.workers)), ("a process per trial", Local(slots=args.workers))):
        folder = root / name.replace(" ", "-")
        seconds = run_study(folder, args.trials, executor)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / args.trials / 1024
        print(f"{name:<20} {seconds:7.1f} s   {1000 * seconds / args.trials:6.1f} ms per trial   {size:.1f} KiB per trial",
              flush=True)
    start = time.perf_counter()
    for _ in range(10):
        subprocess.run([sys.executable, "-c", "import yolograft.study.worker, yolograft.study.dummy"], check=True)
    print(f"start of a worker    {(time.perf_counter() - start) * 100:.0f} ms")
    profile.runcall(run_study, root / "profiled", 200, InProcess(args.workers))
    print("Cumulative time in this process, 200 trials (slower than normal because of the profiler):")
    stats = pstats.Stats(profile)
    wanted = {"run", "add", "claim", "report", "finish", "rows", "start", "_look", "_may_begin", "fsync", "_study"}
    for (file, _, function), (_, calls, _, cumulative, _) in sorted(stats.stats.items(), key=lambda item: -item[1][3]):
        if (function in wanted and "yolograft" in file) or "fsync" in function or "'commit'" in function:
            print(f"  {cumulative:7.2f} s  {calls:>7} calls  {Path(file).name}:{function}")
    seconds = run_study(root / "machines", args.trials, Simulated(args.machines, args.seconds))
    ideal = args.trials / args.machines * args.seconds
    print(f"{args.machines} machines, trials of {args.seconds:g} s: {seconds:.1f} s, ideal {ideal:.1f} s; "
          f"{1000 * (seconds - ideal) / args.trials:.1f} ms more per trial")
    if not args.folder:
        shutil.rmtree(root)


if __name__ == "__main__":
    main()
