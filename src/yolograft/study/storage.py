"""Where a study's trials are kept: an Optuna storage, SQLite under the study's folder unless a URL is given.

One Optuna trial is one attempt at one of our trials; its user attributes carry the key, the trial, and the
result or the reason for having none. Optuna sees to it that a finished trial never changes and that of
several machines only one gets a waiting trial; here is what these attributes mean, and nothing of how trials
are run.
"""

from __future__ import annotations

import json
import socket
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import optuna
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.storages._rdb.models import TrialModel, TrialUserAttributeModel
from optuna.study import StudyDirection
from optuna.trial import TrialState, create_trial
from sqlalchemy import Connection, Engine, event, select, text
from sqlalchemy.exc import SQLAlchemyError

from yolograft.errors import GraftError
from yolograft.study.trial import Failure, Result, Trial

__all__ = ["HEARTBEAT", "Row", "Storage"]

HEARTBEAT = 60  # seconds; a machine that is silent for three of them has lost its trials
_FORMAT = 1
_READ = ("key", "arm", "seed", "owner", "reason", "result", "curve", "duplicate")
_PATIENCE = 120  # seconds that a writer waits for another to release the data base


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attempt at a trial, as the storage knows it. `state` is waiting, running, complete or failed."""

    id: int
    number: int
    key: str
    arm: str
    seed: int
    state: str
    owner: str = ""
    result: Result | None = None
    reason: str = ""
    curve: tuple[Mapping[str, float], ...] = ()
    seconds: float = 0.0


class Storage:
    """A study in an Optuna storage.

    Args:
        folder: the study's folder; its SQLite file lies there, and its name is the study's.
        url: a PostgreSQL or MySQL URL instead, as SQLAlchemy spells it, for several machines at one study.
        create: whether to begin a study that is not there yet.
    """

    def __init__(self, folder: Path, url: str | None = None, *, create: bool = False) -> None:
        self.folder, self.shared = folder.resolve(), url is not None
        self.owner = f"{socket.gethostname()}:{self.folder}"
        file = self.folder / "study.db"
        if url is None and not create and not file.exists():
            raise GraftError(f"There is no study in '{folder}': it has no study.db. If its trials are kept "
                             "elsewhere, "
                             "say so: storage=URL.")
        self._url = url or f"sqlite:///{file}"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._explained():
            options: dict[str, Any] = {"engine_kwargs": {"connect_args": {"timeout": _PATIENCE}}}
            if self.shared:
                options = {"engine_kwargs": {"pool_pre_ping": True},
                           "heartbeat_interval": HEARTBEAT, "grace_period": 3 * HEARTBEAT}
            self._rdb = RDBStorage(self._url, **options)
            if self._url.startswith("sqlite"):
                _write_first(self._rdb.engine)
            self._study = self._open(self.folder.name, create)

    def _open(self, name: str, create: bool) -> int:
        known = {study.study_name: study._study_id for study in self._rdb.get_all_studies()}
        if name not in known and not create:
            raise GraftError(f"The storage has no study '{name}'. It has: "
                             f"{', '.join(sorted(known)) or 'none'}.")
        if name not in known:
            with suppress(optuna.exceptions.DuplicatedStudyError):  # another machine began it in this moment
                study = self._rdb.create_new_study([StudyDirection.MAXIMIZE], name)
                self._rdb.set_study_user_attr(study, "yolograft_format", _FORMAT)
                return study
            known = {study.study_name: study._study_id for study in self._rdb.get_all_studies()}
        version = self._rdb.get_study_user_attrs(known[name]).get("yolograft_format", _FORMAT)
        if version != _FORMAT:
            raise GraftError(f"The study '{name}' was written by another version of yolograft (its format is "
                             f"{version}, "
                             f"this version reads {_FORMAT}). Open it with the version that wrote it.")
        return known[name]

    def rows(self) -> list[Row]:
        """Return every attempt, oldest first; attempts that lost to an equal one are left out."""
        with self._explained(), self._rdb.engine.connect() as connection:
            # Optuna's own reading builds an object for every epoch of every trial: ten times as long, of 10,000 trials
            one, note = TrialModel.__table__.c, TrialUserAttributeModel.__table__.c
            trials = connection.execute(
                select(one.trial_id, one.number, one.state, one.datetime_start, one.datetime_complete)
                .where(one.study_id == self._study).order_by(one.trial_id)).all()
            notes: dict[int, dict[str, Any]] = {trial.trial_id: {} for trial in trials}
            for trial_id, key, value in connection.execute(
                    select(note.trial_id, note.key, note.value_json)
                    .join_from(TrialUserAttributeModel.__table__, TrialModel.__table__, note.trial_id == one.trial_id)
                    .where(one.study_id == self._study, note.key.in_(_READ))):
                notes.setdefault(trial_id, {})[key] = json.loads(value)
        return [_row(trial, notes[trial.trial_id]) for trial in trials
                if "key" in notes[trial.trial_id] and "duplicate" not in notes[trial.trial_id]]

    def add(self, trials: Iterable[Trial], *, retry: bool = False) -> list[Row]:
        """Make sure that every trial is there, once; with `retry`, failed ones get another attempt."""
        if self.shared:
            with self._explained():  # what a lost machine was running becomes an attempt without a reason
                fail_stale_trials(optuna.load_study(study_name=self.folder.name, storage=self._rdb))
        rows = self.rows()
        settled = {row.key for row in rows if row.state != "failed" or (row.reason and not retry)}
        for trial in trials:
            if trial.key not in settled:
                attributes = {"key": trial.key, "arm": trial.arm, "seed": trial.seed,
                              "trial": _jsonable(asdict(trial))}
                template = create_trial(state=TrialState.WAITING, user_attrs=attributes)
                with self._explained():
                    self._rdb.create_new_trial(self._study, template)
                settled.add(trial.key)
        return self.rows()

    def claim(self, row: Row) -> bool:
        """Take a waiting attempt; False if another machine was faster, or runs an equal one."""
        with self._explained():
            if not self._rdb.set_trial_state_values(row.id, TrialState.RUNNING):
                return False
            self._rdb.set_trial_user_attr(row.id, "owner", self.owner)
            self.beat(row)
            if self.shared and self._has_equal(row):
                self._rdb.set_trial_user_attr(row.id, "duplicate", True)
                self._rdb.set_trial_state_values(row.id, TrialState.FAIL)
                return False
            return True

    def _has_equal(self, row: Row) -> bool:
        """Whether an older attempt at the same trial is running or complete, which two machines may have made at once."""
        query = text("SELECT COUNT(*) FROM trials t JOIN trial_user_attributes a ON a.trial_id = t.trial_id "
                     "WHERE t.study_id = :study AND t.number < :number AND t.state <> 'FAIL' "
                     "AND a.key = 'key' AND a.value_json = :key")
        with self._rdb.engine.connect() as connection:
            values = {"study": self._study, "number": row.number, "key": json.dumps(row.key)}
            return bool(connection.execute(query, values).scalar())

    def ours(self, rows: Iterable[Row]) -> list[Row]:
        """Return what an earlier process of this folder was running when it ended."""
        running = (row for row in rows if row.state == "running")
        return [row for row in running if row.owner == self.owner or not self.shared]

    def beat(self, row: Row) -> None:
        """Tell other machines that this one still runs the attempt."""
        if self.shared:
            with self._explained():
                self._rdb.record_heartbeat(row.id)

    def report(self, row: Row, epoch: int, value: float) -> None:
        """Record the metric after an epoch, for dashboards and for racing."""
        with self._explained():
            self._rdb.set_trial_intermediate_value(row.id, epoch, value)

    def finish(self, row: Row, outcome: Result | Failure, metric: str,
               curve: Iterable[Mapping[str, float]] = ()) -> None:
        """Record what came out, for good."""
        with self._explained():
            if isinstance(outcome, Failure):
                self._rdb.set_trial_user_attr(row.id, "reason", outcome.reason)
                self._rdb.set_trial_state_values(row.id, TrialState.FAIL)
                return
            self._rdb.set_trial_user_attr(row.id, "result", _jsonable(asdict(outcome)))
            self._rdb.set_trial_user_attr(row.id, "curve", [dict(point) for point in curve])
            self._rdb.set_trial_state_values(row.id, TrialState.COMPLETE, [outcome.metrics[metric]])

    def close(self) -> None:
        """Let go of the data base."""
        self._rdb.remove_session()
        self._rdb.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            with warnings.catch_warnings():  # Optuna has called its heartbeat experimental for years
                warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            said = " ".join(str(part) for part in (error, error.__cause__) if part)
            where = "the storage" if self.shared else f"'{self.folder / 'study.db'}'"
            if "full" in said:
                raise GraftError(f"The disk is full: {where} takes no more. What is finished is kept; free "
                                 "some space "
                                 "and start the study again.") from error
            if "locked" in said:
                raise GraftError(f"Another program holds {where} locked. Close it and start the study again; "
                                 "what is "
                                 "finished is kept.") from error
            if "version" in said or "schema" in said:
                raise GraftError(f"{where} was written by another version of Optuna than the installed "
                                 f"{optuna.__version__}: {said[:300]}") from error
            if "not a database" in said or "malformed" in said:
                raise GraftError(f"{where} is damaged or is no data base: {said[:200]}") from error
            raise GraftError(f"{where} cannot be used: {said[:300]}") from error


def _write_first(engine: Engine) -> None:
    """Begin each SQLite transaction as a writer, and write ahead.

    Optuna claims a trial by reading its state and then writing it; where the reader becomes a writer half
    way, as SQLite's transactions do by default, two processes can both read "waiting" (PostgreSQL and MySQL
    lock the row).

    The write-ahead log makes a commit ten times as fast, since it waits for no disk: a process that is killed loses
    nothing, and a machine that loses power loses its last commits at most, never the file. A trial whose end is lost so
    has its result in its folder, and is not trained again.
    """

    engine.dispose()  # the connections that were opened before this was said

    @event.listens_for(engine, "connect")
    def _(connection: Any, record: object) -> None:
        connection.isolation_level = None  # the driver's own, later BEGIN stays away
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _row(trial: Any, notes: Mapping[str, Any]) -> Row:
    states = {TrialState.WAITING: "waiting", TrialState.RUNNING: "running", TrialState.COMPLETE: "complete"}
    result = notes.get("result") if trial.state is TrialState.COMPLETE else None
    lasted = trial.datetime_start is not None and trial.datetime_complete is not None
    return Row(id=trial.trial_id, number=trial.number, key=notes["key"], arm=notes["arm"], seed=notes["seed"],
               state=states.get(trial.state, "failed"), owner=notes.get("owner", ""), reason=notes.get("reason", ""),
               result=Result(**result) if result else None, curve=tuple(notes.get("curve", ())),
               seconds=(trial.datetime_complete - trial.datetime_start).total_seconds() if lasted else 0.0)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, (list, tuple)) else value
