"""The scheduler of a study: starts trials in free slots and stores their outcomes.

All state is in the storage and in the trials' folders, so this process can be killed at any moment. The same command
then resumes the interrupted trials and does not repeat a finished one.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from yolograft import yaml_text
from yolograft.atomic import atomic_write
from yolograft.errors import GraftError, SpecError
from yolograft.language import tr
from yolograft.study import register, statistics
from yolograft.study.heartbeat import TIMEOUT
from yolograft.study.local import Executor, Job, Local, find_devices
from yolograft.study.plan import Plan, restorable
from yolograft.study.storage import HEARTBEAT, Row, Storage
from yolograft.study.study import Study, read_recorded
from yolograft.study.trial import Failure, Result, Trial, load_host, read_epochs, read_json
from yolograft.study.verdict import ALPHA, MARGIN, Word

__all__ = ["Running", "View", "begin", "host_warnings", "lock_name", "merged_plan", "power_warnings", "read_duration", "run",
           "take_looks"]

_MIN_FREE = 4 * 2**20  # bytes; with less free disk space a failed trial is treated as stopped by a full disk
_POLL = 0.05  # seconds between two polls of the running trials
_REFRESH = 0.5  # seconds between two reads of their epochs, and shortest time between two calls of the view
_SYNC = 15  # seconds between two reads of a storage that several machines share


@dataclass
class Running:
    """A trial that is running now."""

    row: Row
    trial: Trial
    job: Job
    folder: Path
    since: float = field(default_factory=time.monotonic)
    epoch: int = 0
    seen: int = -1  # size in bytes of the epochs' file at the last read
    restarts: int = 0  # because its process hung or was stopped


View = Callable[[Study, list[Running], float], None]


def run(plan: Plan | Mapping[str, Any], folder: str | Path, *, workers: int | None = None,
        executor: str = "local", address: str | None = None, per_gpu: int = 1, storage: str | None = None,
        budget: str | float | None = None, retry: bool = False, timeout: str | float = TIMEOUT,
        view: View | None = None) -> Study:
    """Run or resume a plan in a folder, and return the study with all results so far.

    Args:
        plan: a plan, or its keys and values for `Plan.of`.
        folder: the study's folder. If it holds this study already, the study is resumed, and new arms and seeds of the plan
            are added. If it holds another study, an error is raised.
        workers: number of trials that run at the same time; by default `per_gpu` on each GPU, or 1 without a GPU.
        executor: `local` for this machine, or `ray` for a cluster.
        address: address of the Ray cluster; None starts a cluster on this machine.
        per_gpu: number of trials that share one GPU.
        storage: PostgreSQL or MySQL URL, with which several machines work on one study; by default SQLite in the folder.
        budget: a time such as `2h`; a trial is started only if it is expected to end within this time.
        retry: whether failed trials get another attempt.
        timeout: a time such as `1h`, which is the default. A trial that reports no epoch and uses no CPU time for so long
            hangs or is stopped. It is ended and continues from its last epoch; after the second time it counts as failed.
            A slow epoch uses CPU time, however long it takes.
        view: called about twice a second with the study, the running trials and the estimated seconds left.

    Raises:
        GraftError: the plan, the folder or the storage cannot be used; then nothing in the folder has changed.
        KeyboardInterrupt: the user pressed Ctrl-C; the progress of every trial is saved.
    """
    limit = read_duration(budget) if budget is not None else None
    patience = read_duration(timeout, "timeout")
    if not patience:
        raise SpecError(tr("timeout=0 would end every trial. The default is timeout=1h."))
    folder = Path(folder)
    plan = plan if isinstance(plan, Plan) else Plan.of(plan, folder)
    racing = plan.race  # of this call only: a call without a race completes a study that has raced
    made = _missing_folders(folder)
    engine = _executor(executor, workers, address, per_gpu, patience)
    try:
        _restore_plan(folder)
        begin(plan, folder)  # raises most errors before the lock file is made
        with ExitStack() as resources:
            resources.enter_context(FileLock(folder / lock_name(storage), timeout=0))
            # open the server before writing the plan, so that a failed connection leaves no plan
            server = resources.enter_context(closing(Storage(folder, storage, create=True))) if storage else None
            if server is None:
                begin(plan, folder)  # again, now with the lock
            if server is None and not (folder / "plan.yaml").exists():
                plan.write(folder / "plan.yaml")  # before the data base, as a folder with a data base alone is no study
            opened = server or resources.enter_context(closing(Storage(folder, create=True)))
            plan = _record(plan, folder, opened)
            _Run(plan, folder, opened, engine, limit, racing, retry, view or (lambda *_: None)).go()
            plan = _record(plan, folder, opened)
            return Study(folder, plan, tuple(opened.rows()))
    except Timeout:
        raise GraftError(tr("The study in '{folder}' is being run by another process. Show its progress: yolograft "
                            "status {folder}", folder=folder)) from None
    except OSError as error:
        raise GraftError(tr("The study in '{folder}' had to stop: {error}. Finished trials are saved. Fix the cause, "
                            "then start the study again.", folder=folder, error=error)) from error
    finally:
        engine.close()
        _remove_empty(made, folder / lock_name(storage))


def _missing_folders(folder: Path) -> list[Path]:
    """Return the folders, innermost first, that must be made for a study's folder."""
    return [path for path in (folder, *folder.parents) if not path.exists()]


def _remove_empty(made: Sequence[Path], lock: Path) -> None:
    """Remove the folders that this call has made if it has written nothing but its lock file, as with a wrong storage.

    Nothing is removed while another process has the lock: it has begun the study and writes into the folder.
    """
    if not made or not made[0].is_dir():
        return
    with suppress(Timeout, OSError), FileLock(lock, timeout=0):  # OSError: another process uses the folder
        if not {path.name for path in made[0].iterdir()} - {lock.name}:
            lock.unlink(missing_ok=True)
            for path in made:
                path.rmdir()


def _restore_plan(folder: Path) -> None:
    """Write a missing plan.yaml again, from its copy in study.db."""
    file = folder / "plan.yaml"
    if file.exists() or not (folder / "study.db").exists():
        return
    with closing(Storage(folder)) as storage:
        text = storage.plan()
    if text is not None:
        atomic_write(file, lambda part: part.write_text(text, encoding="utf-8"))


def lock_name(storage: str | None) -> str:
    """Return the name of a running study's lock file; with a server each machine has its own lock file."""
    return f"running-{socket.gethostname()}.lock" if storage else "running.lock"


def begin(plan: Plan, folder: Path) -> Plan:
    """Check a plan against its folder, and return it merged with the arms and seeds that are recorded there.

    Creates the folder if needed. Another process can change the record before the folder is locked, so `run` merges
    again after it has locked the folder.

    Raises:
        GraftError: the folder holds another study or other files; then it is unchanged.
    """
    if not (folder / "plan.yaml").exists():
        others = [path for path in folder.iterdir() if not fnmatch(path.name, "running*.lock") and path.name != "plan.part"
                and not fnmatch(path.name, ".plan.yaml.*.part")] if folder.is_dir() else []
        if others:  # other files than those of a run that was killed before it wrote its plan
            raise GraftError(tr("The folder '{folder}' exists and holds no study. Use another folder, or empty this "
                                "one.", folder=folder))
        folder.mkdir(parents=True, exist_ok=True)
        return plan
    with restorable(folder / "plan.yaml"):
        recorded = Plan.read(folder / "plan.yaml", recorded=True)
    return merged_plan(recorded, plan, tr("The folder '{folder}'", folder=folder))


def _record(plan: Plan, folder: Path, storage: Storage) -> Plan:
    """Merge a plan with the recorded plan, log the looks that are complete, write the result, and return it.

    The caller holds the folder's lock. A server that several machines share holds the record. It is read, merged and written
    in one transaction that locks the study for other machines, and `plan.yaml` in the folder is a copy. The looks are those
    of the recorded plan: what the merged plan adds comes after them.
    """
    rows = storage.rows()
    if not storage.shared:
        file = folder / "plan.yaml"
        recorded = read_recorded(file, storage)
        earlier = take_looks(recorded, folder, rows)
        plan = merged_plan(earlier, plan, tr("The folder '{folder}'", folder=folder))
        plan.write(file)
        with storage.locked() as connection:
            storage.write_plan(connection, plan.text())
        return plan
    with storage.locked() as connection:
        plan = begin(plan, folder)
        text = storage.plan(connection)
        if text is not None:
            earlier = take_looks(Plan.recorded(yaml_text.parse(text, folder / "plan.yaml")), folder, rows)
            plan = merged_plan(earlier, plan, tr("The storage of '{folder}'", folder=folder))
        storage.write_plan(connection, plan.text())
        plan.write(folder / "plan.yaml")  # before the lock is released, since machines can share the folder
    return plan


def merged_plan(earlier: Plan, plan: Plan, where: str) -> Plan:
    """Return a plan with the arms and seeds of an earlier plan first; raises `GraftError` if the plans do not match."""
    theirs, ours = ({"metric": one.metric, "baseline": one.baseline, "host": one.host, **one.settings,
                     **({"splits": one.splits.count, "split_seed": one.splits.seed} if one.splits else {})}
                    for one in (earlier, plan))
    changed = [tr("{key}: {recorded} recorded, {requested} requested", key=key, recorded=theirs.get(key),
                  requested=ours.get(key))
              for key in dict.fromkeys([*theirs, *ours]) if theirs.get(key) != ours.get(key)]
    if changed:
        raise GraftError(tr("{where} holds another study ({changed}). Use another folder.", where=where,
                            changed="; ".join(changed)))
    plan.compare(earlier.words())
    # never remove arms or seeds: leaving out disappointing ones would invalidate the error rate
    names = {arm.name for arm in earlier.arms}
    seeds = tuple(dict.fromkeys([*earlier.seeds, *plan.seeds]))
    merged = replace(plan, arms=(*earlier.arms, *(arm for arm in plan.arms if arm.name not in names)),
                     seeds=seeds, race=earlier.race or plan.race, looks=_looks(earlier, plan, len(seeds), where),
                     margin=earlier.margin, register=earlier.register and plan.register, taken=earlier.taken,
                     seen=earlier.seen, registered=earlier.registered,
                     spelled={**earlier.spelled, **plan.spelled}, yamls={**plan.yamls, **earlier.yamls},
                     fingerprints={**earlier.fingerprints, **plan.fingerprints})
    if earlier.splits and earlier.taken and (len(merged.arms), len(seeds)) != (len(earlier.arms), len(earlier.seeds)):
        raise GraftError(tr("{where} holds a study with splits whose verdicts were looked at. They have used the whole "
                            "error rate, so no arms or seeds can be added. Use another folder.", where=where))
    if len({trial.key for trial in merged.trials()}) < len(merged.trials()):
        raise GraftError(tr("Two arms of this study are the same under different names. Its arms: {arms}.",
                            arms="; ".join(arm.name for arm in earlier.arms)))
    return merged


def _looks(earlier: Plan, plan: Plan, seeds: int, where: str) -> tuple[int, ...]:
    """Return the looks of a plan that is merged with an earlier one; raises `GraftError` if it changes what was planned."""
    if plan.margin not in (earlier.margin, MARGIN):  # the default, if the command names no margin
        raise GraftError(tr("{where} holds this study with margin={margin}, which is fixed before the first run. Use "
                            "another folder for another margin.", where=where, margin=earlier.margin))
    done = earlier.taken[-1].seeds if earlier.taken else 0
    planned = plan.looks or earlier.looks
    if planned and planned == plan.looks and done and [look for look in planned if look <= done] != [
            look for look in (earlier.looks or (len(earlier.seeds),)) if look <= done]:
        raise GraftError(tr("{where} holds a study whose verdicts were looked at after {done} seeds, by other looks than "
                            "looks={looks}. Looks that were taken cannot be changed: plan looks after more seeds, or use "
                            "another folder.", where=where, done=done, looks=",".join(map(str, plan.looks))))
    if done and not planned and seeds > done:  # seeds that were added to a finished study are a further look
        planned = (done,)
    counts = tuple(dict.fromkeys([*(look for look in planned if look < seeds), seeds]))
    return counts if len(counts) > 1 else ()


def take_looks(plan: Plan, folder: Path, rows: Sequence[Row]) -> Plan:
    """Return the plan with the looks that are complete now: a word may have been read at each of them.

    A study with a look is entered in the register. Before its first look its shared error rate holds if no other study of
    the same data takes a look until then; at its first look the rate is settled.
    """
    file = register.path() if plan.register else None
    if file is not None:
        register.check(file)  # before the training, and not at the first look
    entries = _entries(plan, folder)
    if file is not None and not plan.taken:
        earlier = [register.find(file, entry) for entry in entries]
        if any(earlier) or plan.registered:
            count = len({one.id.partition(".")[0] for found in earlier for one in found})
            plan = replace(plan, registered={"id": entries[0].id.partition(".")[0], "earlier": count,
                                             "alpha": min(register.left(found, ALPHA) for found in earlier)})
    study = Study(folder, plan, tuple(rows))
    # a pilot of so few seeds that no word is possible is no look
    taken = tuple(look for look in study.taken if plan.splits or look.seeds >= statistics.seeds_to_resolve())
    if taken == plan.taken:
        return plan
    plan = replace(plan, taken=taken)
    if file is not None:
        plan = replace(plan, registered=plan.registered or {"id": entries[0].id.partition(".")[0], "alpha": ALPHA,
                                                            "earlier": 0})
        parts = Study(folder, plan, tuple(rows)).parts
        used = max((one.used for part in parts for one in part.shared_verdicts), default=0.0)
        for part, entry in zip(parts, entries, strict=True):
            words = [one.word for one in part.shared_verdicts]
            register.enter(file, replace(entry, spent=used, found=Word.HELPS in words or Word.HURTS in words))
    return plan


def _entries(plan: Plan, folder: Path) -> list[register.Entry]:
    """Return the entries of a study in the register: one for each of its data sets, which share the study's id."""
    whole = plan.registered.get("id") or secrets.token_hex(8)
    prints = [part.fingerprints.get(part.baseline, {}) for part in plan.parts]
    return [register.Entry(id=f"{whole}.{number}" if number else whole, folder=str(folder.resolve()),
                           data=found.get("data", str(part.settings["data"])),
                           model=found.get("model", str(part.settings["model"])))
            for number, (part, found) in enumerate(zip(plan.parts, prints, strict=True))]


def host_warnings(plan: Plan) -> list[str]:
    """Return the host's warnings about the data and the train arguments of the arms, as that Mosaic is off in every epoch.

    With several data sets, a warning that is not about all of them starts with the names of those that it is about.
    """
    warnings: Any = getattr(load_host(plan.host), "forewarn", lambda _: [])
    found: dict[str, list[str]] = {}
    for part in plan.parts:
        for line in dict.fromkeys(line for arm in part.arms for line in warnings({**part.settings, **arm.settings})):
            found.setdefault(line, []).append(part.dataset)
    return [line if len(names) == len(plan.parts) else f"{', '.join(names)}: {line}" for line, names in found.items()]


def power_warnings(plan: Plan, spread: float | None = None) -> list[str]:
    """Return warnings about the statistical power of a plan: too few seeds, or the smallest effect that it can detect.

    Args:
        plan: the plan.
        spread: standard deviation of a paired difference, if it is known from an earlier study.
    """
    arms, seeds = (len(plan.arms) - 1) * len(plan.parts), len(plan.seeds)
    need = statistics.seeds_to_resolve()
    if arms < 1:
        return [tr("The study has only the baseline: there is nothing to compare.")]
    if plan.splits is not None:
        return []
    if seeds < need:
        smallest = statistics.smallest_p(seeds)
        if seeds == 1:
            return [tr("1 seed cannot give a result: p is always at least {smallest:.2g}. Every verdict will be 'too "
                       "few runs to say'. At least {need} seeds are needed: seeds={need}.", smallest=smallest,
                       need=need)]
        return [tr("{seeds} seeds cannot give a result: p is always at least {smallest:.2g}. Every verdict will be "
                   "'too few runs to say'. At least {need} seeds are needed: seeds={need}.", seeds=seeds,
                   smallest=smallest, need=need)]
    if spread is None:
        return []
    effect = statistics.detectable(spread, seeds, arms=arms)
    return [tr("With {seeds} seeds and {arms} arms, true effects below about {effect:.4f} will usually be missed.",
               seeds=seeds, arms=arms, effect=effect)]


def read_duration(text: str | float, key: str = "budget") -> float:
    """Read seconds of the argument `key` from `90`, `45s`, `30m`, `2h`, `1.5d` or `1h30m`; raises `SpecError`."""
    units = {"s": 1, "m": 60, "h": 3600, "d": 86400, "": 1}
    plain = "".join(str(text).lower().split())
    if not re.fullmatch(r"(\d+(\.\d+)?[smhd])+|\d+(\.\d+)?", plain):
        raise SpecError(tr("{key}={text} is not a time. Expected for example 90s, 30m, 2h or 1h30m.", key=key, text=text))
    return sum(float(number) * units[unit] for number, unit in re.findall(r"([\d.]+)([smhd]?)", plain))


def _executor(name: str, workers: int | None, address: str | None, per_gpu: int, timeout: float) -> Executor:
    for key, value in (("workers", workers), ("per_gpu", per_gpu)):
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise SpecError(tr("{key}={value} must be a whole number of at least 1.", key=key, value=value))
    if name == "local":
        if address is not None:
            raise SpecError(tr("address needs executor=ray: with executor=local all trials run on this machine."))
        devices = find_devices()
        return Local(slots=workers or max(1, len(devices) * per_gpu), devices=devices, timeout=timeout)
    if name == "ray":
        from yolograft.study.cluster import Cluster

        return Cluster(address=address, slots=workers, per_gpu=per_gpu, timeout=timeout)
    raise SpecError(tr("executor={name} is not an executor. Known: local, ray.", name=name))


def is_full(outcome: Failure, folder: Path) -> bool:
    """Whether a trial failed because the disk is full, by its error text or by the free space."""
    is_reported = "No space left" in outcome.reason or "disk is full" in outcome.reason
    try:
        return is_reported or shutil.disk_usage(folder).free < _MIN_FREE
    except OSError:
        return is_reported


class _Run:
    """One run over the trials of a study: the loop and its state."""

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
        self.durations: list[float] = []
        self.restarts: Counter[str] = Counter()
        self.refreshed = self.heartbeat = self.shown = -1e9
        self.started = self.synced = time.monotonic()

    def go(self) -> None:
        """Run until no trial is left here, and until other machines have finished theirs or are lost."""
        try:
            while self.todo or self.running or self._must_wait():
                self._fill()
                ended = self._collect()
                self._refresh(force=ended)
                if not self.running and not self._can_start() and not self._must_wait():
                    break
                if not ended:
                    time.sleep(_POLL)
            self._show()
        finally:
            for running in self.running.values():
                running.job.stop()

    def _must_wait(self) -> bool:
        """Whether the only unfinished trials run on other machines, and the budget allows waiting for them."""
        late = self.budget is not None and time.monotonic() - self.started > self.budget
        return self.storage.shared and not self.todo and not late and any(
            row.state == "running" for row in self.rows.values())

    def _sync(self) -> None:
        """Read from the storage what other machines have finished; trials of lost machines are queued again."""
        running = {one.row.key for one in self.running.values()}
        stored = {row.key: row for row in self.storage.add(self.trials.values()) if row.key in self.trials}
        self.rows = {key: self.rows[key] if key in running else row for key, row in stored.items()}
        resumed = {row.key for row in self.todo if row.state == "running"}  # of the previous process of this folder
        self.todo = [self.rows[key] for key in self.trials
                     if key not in running and (self.rows[key].state == "waiting" or key in resumed)]

    def _can_start(self) -> bool:
        if not self.todo:
            return False
        if self.budget is None:
            return True
        expected = sum(self.durations) / len(self.durations) if self.durations else 0.0
        return time.monotonic() - self.started + expected <= self.budget

    def _fill(self) -> None:
        for slot in range(self.executor.slots):
            while slot not in self.running and self._can_start():
                row = self.todo.pop(0)
                if self._is_stopped(row):
                    continue
                if row.state == "waiting" and not self.storage.claim(row):
                    self.rows[row.key] = replace(row, state="running")  # on another machine
                    continue
                self._start(row, slot)

    def _is_stopped(self, row: Row) -> bool:
        if row.state == "running":
            return False
        if self.plan.looks:  # once a look has decided every arm, further seeds change nothing
            study = self._study()
            return self.plan.seeds.index(row.seed) >= study.needed
        if not self.racing:
            return False
        out = self._study().stopped
        # once all arms are stopped, the baseline needs no further runs either
        return row.arm in out or (row.arm == self.plan.baseline and len(out) == len(self.plan.arms) - 1)

    def _start(self, row: Row, slot: int) -> None:
        trial, folder = self.trials[row.key], self.folder / "trials" / row.key
        self.rows[row.key] = replace(row, state="running")
        done = read_json(Result, folder / "result.json")
        if done is not None:  # it ended after the previous process was killed, so its result is not in the storage yet
            self._settle(row, done, folder)
            return
        job = self.executor.start(trial, folder, slot)
        self.running[slot] = Running(row, trial, job, folder, restarts=self.restarts[row.key])
        if self.restarts[row.key]:
            self.refreshed = self.shown = -1e9  # the view tells the user at once

    def _collect(self) -> bool:
        ended = False
        for slot, running in list(self.running.items()):
            outcome = running.job.poll()
            if outcome is not None:
                del self.running[slot]
                self._watch(running)
                ended = True
                if isinstance(outcome, Failure) and outcome.stalled and not running.restarts:
                    self.restarts[running.row.key] += 1
                    self.todo.insert(0, self.rows[running.row.key])  # its state is running, so it is not claimed again
                    continue
                self.durations.append(time.monotonic() - running.since)
                self._settle(running.row, outcome, running.folder)
        return ended

    def _settle(self, row: Row, outcome: Result | Failure, folder: Path) -> None:
        if isinstance(outcome, Failure) and is_full(outcome, folder):
            # not an error of the trial, and the next trials would fail too: stop, so that the trial resumes later
            raise GraftError(tr("The disk of '{folder}' is full: '{arm}' with seed {seed} could not continue. "
                                "Finished trials are saved. Free some disk space, then start the study again.",
                                folder=self.folder, arm=row.arm, seed=row.seed))
        if isinstance(outcome, Result) and self.plan.metric not in outcome.metrics:
            outcome = Failure(reason=f"The trial gave no {self.plan.metric}, which is the metric of the study. It "
                                     f"gave {', '.join(outcome.metrics)}.")
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

    def _refresh(self, *, force: bool) -> None:
        now = time.monotonic()
        if now - self.refreshed < _REFRESH and not force:
            return
        self.refreshed = now
        for running in self.running.values():
            self._watch(running)
        if self.storage.shared and now - self.synced > _SYNC:
            self.synced = now
            self._sync()
        if now - self.heartbeat > HEARTBEAT:
            self.heartbeat = now
            for running in self.running.values():
                self.storage.beat(running.row)
        if now >= self.shown:
            self._show()

    def _show(self) -> None:
        """Call the view, at most so often that it takes one twentieth of the running time."""
        started = time.monotonic()
        self.view(self._study(), list(self.running.values()), self._left())
        ended = time.monotonic()
        self.shown = ended + max(_REFRESH, 20 * (ended - started))

    def _left(self) -> float:
        """Return the estimated seconds until the end; NaN while no trial has ended."""
        if not self.durations:
            return float("nan")
        each = sum(self.durations) / len(self.durations)
        now = time.monotonic()
        going = sum(max(0.0, each - (now - running.since)) for running in self.running.values())
        return (going + each * len(self.todo)) / self.executor.slots

    def _study(self) -> Study:
        return Study(self.folder, self.plan, tuple(self.rows.values()))
