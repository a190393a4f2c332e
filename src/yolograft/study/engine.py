"""Running a study: which trial goes next, into which slot, and what is done with what comes out.

The state is in the storage and in the trials' folders alone, so that this process may be killed at any
moment: begun again with the same words, it takes up what was running and repeats nothing that is finished.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack, closing
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import yaml
from filelock import FileLock, Timeout

from yolograft.errors import GraftError, SpecError
from yolograft.study import statistics
from yolograft.study.local import Executor, Job, Local, find_devices
from yolograft.study.plan import Plan
from yolograft.study.storage import HEARTBEAT, Row, Storage
from yolograft.study.study import Study
from yolograft.study.trial import Failure, Result, Trial, load_host, read_epochs, read_json

__all__ = ["Running", "View", "begin", "forewarn", "host_warnings", "lock_name", "read_duration", "run"]

_ROOM = 4 * 2**20  # bytes without which no trial could have gone on
_TICK = 0.05  # seconds between looks at the running trials
_LOOK = 0.5  # seconds between looks at their epochs, and between pictures of the standing
_NEWS = 15  # seconds between looks at what other machines have done, in a storage that several share


@dataclass
class Running:
    """A trial that is running now."""

    row: Row
    trial: Trial
    job: Job
    folder: Path
    since: float = field(default_factory=time.monotonic)
    epoch: int = 0
    seen: int = -1  # bytes of the epochs' file when it was last read


View = Callable[[Study, list[Running], float], None]


def run(plan: Plan | Mapping[str, Any], folder: str | Path, *, workers: int | None = None,
        executor: str = "local", address: str | None = None, per_gpu: int = 1, storage: str | None = None,
        budget: str | float | None = None, retry: bool = False,
        view: View | None = None) -> Study:
    """Run a plan in a folder, or go on with it, and return the study as it then stands.

    Args:
        plan: a plan, or its keys and values as `Plan.of` takes them.
        folder: where everything is kept; a folder that holds another study is refused, one that holds this
            study goes on, with arms and seeds added if the plan now has more.
        workers: how many trials run at a time; by default one for each GPU, times `per_gpu`, or one.
        executor: `local`, or `ray` for a cluster.
        address: the Ray cluster's, or None for one on this machine.
        per_gpu: how many trials share a GPU.
        storage: a PostgreSQL or MySQL URL, for several machines at one study; SQLite in the folder otherwise.
        budget: a time such as `2h`, after which no trial is begun that would not end within it.
        retry: whether trials that failed get another attempt.
        view: called twice a second with the standing.

    Raises:
        GraftError: the plan, the folder or the storage cannot be used; nothing in the folder was changed
            then.
        KeyboardInterrupt: Ctrl-C; every trial's progress is kept.
    """
    limit = read_duration(budget) if budget is not None else None
    plan, folder = plan if isinstance(plan, Plan) else Plan.of(plan), Path(folder)
    racing = plan.race  # an earlier run may have raced, and this one be meant to complete it
    begin(plan, folder)  # refuses what it can before the lock file is made
    engine = _executor(executor, workers, address, per_gpu)
    try:
        with ExitStack() as held:
            held.enter_context(FileLock(folder / lock_name(storage), timeout=0))
            # a server is opened before the plan is written: one that does not answer leaves no plan
            server = held.enter_context(closing(Storage(folder, storage, create=True))) if storage else None
            plan = _record(plan, folder, server)
            kept = server or held.enter_context(closing(Storage(folder, create=True)))
            _Run(plan, folder, kept, engine, limit, racing, retry, view or (lambda *_: None)).go()
            if server:  # other hosts may have added arms and seeds
                plan = _record(plan, folder, server)
            return Study(folder, plan, tuple(kept.rows()))
    except Timeout:
        raise GraftError(f"The study in '{folder}' is being run by another process. Look at it with: "
                         "yolograft status "
                         f"{folder}") from None
    except OSError as error:
        raise GraftError(f"The study in '{folder}' had to stop: {error}. What is finished is kept; start it "
                         "again when "
                         "that is mended.") from error
    finally:
        engine.close()


def lock_name(storage: str | None) -> str:
    """Return the file that a running study holds locked; one for each machine where a server keeps the trials."""
    return f"running-{socket.gethostname()}.lock" if storage else "running.lock"


def begin(plan: Plan, folder: Path) -> Plan:
    """Return the plan to run in a folder: with the arms and seeds that an earlier run there had, checked.

    The folder is made if it is not there. The answer holds only as long as no other process runs the study: `run` asks
    again when it has locked the folder.

    Raises:
        GraftError: the folder holds another study, or something else; it is unchanged then.
    """
    if not (folder / "plan.yaml").exists():
        left = [path for path in folder.iterdir() if not fnmatch(path.name, "running*.lock") and path.name != "plan.part"
                and not fnmatch(path.name, ".plan.yaml.*.part")] if folder.is_dir() else []
        if left:  # more than a run that was killed at once leaves
            raise GraftError(f"The folder '{folder}' is there and holds no study. Name another, or empty it.")
        folder.mkdir(parents=True, exist_ok=True)
        return plan
    return _merged(Plan.read(folder / "plan.yaml", recorded=True), plan, f"The folder '{folder}'")


def _record(plan: Plan, folder: Path, server: Storage | None) -> Plan:
    """Merge a plan with what is recorded, write the result down, and return it; the caller holds the folder's lock.

    With a server, the record is the server's: it is read, merged and written in one transaction that locks the study for
    other hosts, and the folder's file is a copy.
    """
    if server is None:
        plan = begin(plan, folder)
        plan.write(folder / "plan.yaml")
        return plan
    with server.locked() as connection:
        plan = begin(plan, folder)
        text = server.plan(connection)
        if text is not None:
            plan = _merged(Plan.recorded(yaml.safe_load(text)), plan, f"The storage of '{folder}'")
        server.write_plan(connection, plan.text())
        plan.write(folder / "plan.yaml")  # before the lock is released: hosts may share the folder
    return plan


def _merged(earlier: Plan, plan: Plan, where: str) -> Plan:
    """Return a plan with the arms and seeds of an earlier one before its own; raises `GraftError` if they do not match."""
    theirs, ours = ({"metric": one.metric, "baseline": one.baseline, "host": one.host, **one.settings}
                    for one in (earlier, plan))
    differ = [f"{key}: {theirs.get(key)} there, {ours.get(key)} asked"
              for key in dict.fromkeys([*theirs, *ours]) if theirs.get(key) != ours.get(key)]
    if differ:
        raise GraftError(f"{where} holds another study ({'; '.join(differ)}). Name another "
                         "folder.")
    plan.compare(earlier.words())
    # arms and seeds are only ever added: dropping those that disappoint would make the error rates untrue
    names = {arm.name for arm in earlier.arms}
    merged = replace(plan, arms=(*earlier.arms, *(arm for arm in plan.arms if arm.name not in names)),
                     seeds=tuple(dict.fromkeys([*earlier.seeds, *plan.seeds])), race=earlier.race or plan.race,
                     spelled={**earlier.spelled, **plan.spelled},
                     fingerprints={**earlier.fingerprints, **plan.fingerprints})
    if len({trial.key for trial in merged.trials()}) < len(merged.trials()):
        raise GraftError("Two arms of this study are the same under different names. "
                         f"Its arms: {'; '.join(arm.name for arm in earlier.arms)}.")
    return merged


def host_warnings(plan: Plan) -> list[str]:
    """Return what the host warns of in the arms' train arguments, such as Mosaic that is off in every epoch."""
    warnings: Any = getattr(load_host(plan.host), "forewarn", lambda _: [])
    return list(dict.fromkeys(line for arm in plan.arms for line in warnings({**plan.settings, **arm.settings})))


def forewarn(plan: Plan, spread: float | None = None) -> list[str]:
    """Return what should be said before a study begins: that it cannot answer, or what it can see."""
    arms, seeds = len(plan.arms) - 1, len(plan.seeds)
    need = statistics.seeds_to_resolve()
    if arms < 1:
        return ["The study has the baseline alone: there is nothing to compare."]
    if seeds < need:
        return [f"{seeds} seed{'s' * (seeds > 1)} cannot answer: whatever they show, p is at least "
                f"{statistics.smallest_p(seeds):.2g}. "
                f"Every verdict will be 'too few runs to say'. At least {need} seeds can: seeds={need}."]
    if spread is None:
        return []
    effect = statistics.detectable(spread, seeds, arms=arms)
    return [f"With {seeds} seeds and {arms} arms, true effects below about {effect:.4f} will usually be "
            "missed."]


def read_duration(text: str | float) -> float:
    """Read seconds from `90`, `45s`, `30m`, `2h`, `1.5d` or `1h30m`; raises `SpecError`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
    plain = "".join(str(text).lower().split())
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+|\d+(\.\d+)?", plain):
        raise SpecError(f"budget={text} is not a time. Expected something like 90s, 30m, 2h or 1h30m.")
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([smhd]?)", plain))


def _executor(name: str, workers: int | None, address: str | None, per_gpu: int) -> Executor:
    for key, value in (("workers", workers), ("per_gpu", per_gpu)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise SpecError(f"{key}={value} must be a whole number of at least 1.")
    if name == "local":
        if address is not None:
            raise SpecError("address is for executor=ray: local trials run on this machine.")
        devices = find_devices()
        return Local(slots=workers or max(1, len(devices) * per_gpu), devices=devices)
    if name == "ray":
        from yolograft.study.cluster import Cluster

        return Cluster(address=address, slots=workers, per_gpu=per_gpu)
    raise SpecError(f"executor={name} is not known. Known: local, ray.")


def is_full(outcome: Failure, folder: Path) -> bool:
    """Whether a trial failed for want of room on the disk, in its own words or by what is left."""
    said = "No space left" in outcome.reason or "disk is full" in outcome.reason
    try:
        return said or shutil.disk_usage(folder).free < _ROOM
    except OSError:
        return said


class _Run:
    """One run over a study's trials: the loop and what it holds between two looks."""

    def __init__(self, plan: Plan, folder: Path, storage: Storage, executor: Executor, budget: float | None,
                 racing: bool, retry: bool, view: View) -> None:
        self.plan, self.folder, self.storage, self.executor = plan, folder, storage, executor
        self.racing, self.view = racing, view
        self.budget = budget
        self.trials = {trial.key: trial for trial in plan.trials()}
        self.rows = {row.key: row for row in storage.add(self.trials.values(), retry=retry)}
        mine = [self.rows[row.key] for row in storage.ours(self.rows.values()) if row.key in self.trials]
        waiting = [self.rows[key] for key in self.trials if self.rows[key].state == "waiting"]
        self.todo = [*mine, *waiting]
        self.running: dict[int, Running] = {}
        self.lengths: list[float] = []
        self.looked = self.beaten = self.shown = -1e9
        self.begun = self.heard = time.monotonic()

    def go(self) -> None:
        """Run until nothing is left to do: here, nor on another machine, which may be lost with what it runs."""
        try:
            while self.todo or self.running or self._waits():
                self._fill()
                ended = self._collect()
                self._look(force=ended)
                if not self.running and not self._may_begin() and not self._waits():
                    break
                if not ended:
                    time.sleep(_TICK)
            self._show()
        finally:
            for running in self.running.values():
                running.job.stop()

    def _waits(self) -> bool:
        """Whether what is left runs on other machines, and there is time to see it through."""
        late = self.budget is not None and time.monotonic() - self.begun > self.budget
        return self.storage.shared and not self.todo and not late and any(
            row.state == "running" for row in self.rows.values())

    def _hear(self) -> None:
        """Learn what other machines have done, and what they have lost, which is then to do again."""
        here = {running.row.key for running in self.running.values()}
        news = {row.key: row for row in self.storage.add(self.trials.values()) if row.key in self.trials}
        self.rows = {key: self.rows[key] if key in here else row for key, row in news.items()}
        again = {row.key for row in self.todo if row.state == "running"}  # which this folder's last process was running
        self.todo = [self.rows[key] for key in self.trials
                     if key not in here and (self.rows[key].state == "waiting" or key in again)]

    def _may_begin(self) -> bool:
        if not self.todo:
            return False
        if self.budget is None:
            return True
        expected = sum(self.lengths) / len(self.lengths) if self.lengths else 0.0
        return time.monotonic() - self.begun + expected <= self.budget

    def _fill(self) -> None:
        for slot in range(self.executor.slots):
            while slot not in self.running and self._may_begin():
                row = self.todo.pop(0)
                if self._out_of_race(row):
                    continue
                if row.state == "waiting" and not self.storage.claim(row):
                    self.rows[row.key] = replace(row, state="running")  # elsewhere
                    continue
                self._start(row, slot)

    def _out_of_race(self, row: Row) -> bool:
        if not self.racing or row.state == "running":
            return False
        out = self._study().stopped
        # the baseline has no further part in a race that nobody can win
        return row.arm in out or (row.arm == self.plan.baseline and len(out) == len(self.plan.arms) - 1)

    def _start(self, row: Row, slot: int) -> None:
        trial, folder = self.trials[row.key], self.folder / "trials" / row.key
        self.rows[row.key] = replace(row, state="running")
        done = read_json(Result, folder / "result.json")
        if done is not None:  # it had ended when this study's last process was killed, and nobody was told
            self._settle(row, done, folder)
            return
        self.running[slot] = Running(row, trial, self.executor.start(trial, folder, slot), folder)

    def _collect(self) -> bool:
        ended = False
        for slot, running in list(self.running.items()):
            outcome = running.job.poll()
            if outcome is not None:
                del self.running[slot]
                self._watch(running)
                self.lengths.append(time.monotonic() - running.since)
                self._settle(running.row, outcome, running.folder)
                ended = True
        return ended

    def _settle(self, row: Row, outcome: Result | Failure, folder: Path) -> None:
        if isinstance(outcome, Failure) and is_full(outcome, folder):
            # the trial is not to blame, and the next ones would go the same way: it goes on when there is room
            raise GraftError(f"The disk of '{self.folder}' is full: '{row.arm}' with seed {row.seed} could not go on. What "
                             "is finished is kept; free some space and start the study again.")
        if isinstance(outcome, Result) and self.plan.metric not in outcome.metrics:
            outcome = Failure(reason=f"The trial gave no {self.plan.metric}, which the study is about; it "
                                     "gave "
                                     f"{', '.join(outcome.metrics)}.")
        curve = tuple({"epoch": epoch, **values} for epoch, values in sorted(read_epochs(folder).items()))
        self.storage.finish(row, outcome, self.plan.metric, curve)
        ended = replace(row, points=json.dumps(curve), state="complete" if isinstance(outcome, Result) else "failed")
        self.rows[row.key] = replace(ended, result=outcome) if isinstance(outcome, Result) else \
            replace(ended, reason=outcome.reason)

    def _watch(self, running: Running) -> None:
        path = running.folder / "epochs.jsonl"
        size = path.stat().st_size if path.exists() else -1
        if size == running.seen:
            return
        running.seen = size
        for epoch, values in sorted(read_epochs(running.folder).items()):
            if epoch > running.epoch and self.plan.metric in values:
                self.storage.report(running.row, epoch, values[self.plan.metric])
            running.epoch = max(running.epoch, epoch)

    def _look(self, *, force: bool) -> None:
        now = time.monotonic()
        if now - self.looked < _LOOK and not force:
            return
        self.looked = now
        for running in self.running.values():
            self._watch(running)
        if self.storage.shared and now - self.heard > _NEWS:
            self.heard = now
            self._hear()
        if now - self.beaten > HEARTBEAT:
            self.beaten = now
            for running in self.running.values():
                self.storage.beat(running.row)
        if now >= self.shown:
            self._show()

    def _show(self) -> None:
        """Let the reader see the standing, so seldom that it takes a twentieth of the time of however many trials."""
        begun = time.monotonic()
        self.view(self._study(), list(self.running.values()), self._left())
        ended = time.monotonic()
        self.shown = ended + max(_LOOK, 20 * (ended - begun))

    def _left(self) -> float:
        """Return the seconds that the rest will take, NaN while no trial has ended."""
        if not self.lengths:
            return float("nan")
        each = sum(self.lengths) / len(self.lengths)
        now = time.monotonic()
        going = sum(max(0.0, each - (now - running.since)) for running in self.running.values())
        return (going + each * len(self.todo)) / self.executor.slots

    def _study(self) -> Study:
        return Study(self.folder, self.plan, tuple(self.rows.values()))
