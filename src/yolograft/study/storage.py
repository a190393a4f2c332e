"""Storage of a study's trials: an Optuna storage, by default an SQLite file in the study's folder.

One Optuna trial is one attempt at a trial of the study. Its user attributes hold the key, the trial, and the result or
the reason of the failure. Optuna guarantees that a finished trial does not change, and that only one of several machines
gets a waiting trial. This module adds and reads trials with its own SQL on Optuna's tables, since Optuna's functions
handle one trial at a time.
"""

from __future__ import annotations

import json
import re
import socket
import sqlite3
import threading
import time
import warnings
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.storages._rdb.models import StudyModel, StudyUserAttributeModel, TrialModel, TrialUserAttributeModel
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import URL, ColumnElement, Connection, Engine, and_, delete, event, func, insert, or_, select
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from yolograft.errors import GraftError
from yolograft.language import tr
from yolograft.shell import hide_password, hide_secrets
from yolograft.study.trial import Failure, Result, Trial

__all__ = ["HEARTBEAT", "Row", "Storage"]

HEARTBEAT = 60  # seconds; a machine without a heartbeat for three times as long counts as lost
_FORMAT = 1
_PLAN = "yolograft-plan"  # the study attribute with the plan; a long plan is stored in pieces
_SHORT = ("key", "arm", "seed", "owner", "reason", "check")
_LONG = ("result", "curve")  # long values are stored in pieces
_LOCK_TIMEOUT = 120  # seconds that a writer waits for a locked data base
_PIECE = 40_000  # characters of one attribute: MySQL's TEXT holds 65,535 bytes, and a curve of 300 epochs takes more
_WARNINGS_LOCK = threading.Lock()  # warning filters are global to the process, so two threads must not change them at once
_ATTEMPTS = 5  # attempts to create the tables, since another machine can create them at the same time
_DRIVERS = {"postgresql": "psycopg2-binary", "psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'",
            "mysql": "mysqlclient", "mysqldb": "mysqlclient", "mariadb": "mysqlclient",
            "mysqlconnector": "mysql-connector-python"}  # other packages have the name of the driver
_DAMAGE = ("not a database", "malformed", "disk image", "no such table", "no such column", "file is encrypted",
           "unsupported file format", "Could not decode", "database corruption")
_URLS = "postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE or mysql+pymysql://USER:PASSWORD@HOST/DATABASE"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attempt at a trial, as stored.

    `state` is waiting, running, complete or failed. A running attempt is `lost` if its machine sends no heartbeat any more.
    `points` is `curve` as JSON text, which needs half the memory of the objects and is faster to read.
    """

    id: int
    number: int
    key: str
    arm: str
    seed: int
    state: str
    owner: str = ""
    result: Result | None = None
    reason: str = ""
    points: str = "[]"
    seconds: float = 0.0
    lost: bool = False
    check: int | None = None

    @property
    def curve(self) -> tuple[Mapping[str, float], ...]:
        """Epoch and metrics after each epoch, parsed from `points` on every access."""
        return tuple(json.loads(self.points))

    def by_epoch(self, metric: str) -> dict[int, float]:
        """Return epoch -> a metric, for the epochs that have it; four times faster than `curve` if all have it."""
        epochs = re.findall(r'"epoch": (\d+)[,}]', self.points)
        values = re.findall(rf'"{re.escape(metric)}": ([^,}}]+)', self.points)
        # with a backslash, a name can contain a quote, which the patterns above do not handle
        if len(epochs) == len(values) == self.points.count("{") and "\\" not in self.points:
            return dict(zip(map(int, epochs), map(float, values), strict=True))
        return {int(point["epoch"]): point[metric] for point in self.curve if metric in point}


class Storage:
    """The trials of a study in an Optuna storage.

    Args:
        folder: the study's folder. Its name is the name of the study; by default it holds the SQLite file.
        url: SQLAlchemy URL of a PostgreSQL or MySQL data base, with which several machines can work on one study.
        create: whether to create the study if it does not exist.
    """

    def __init__(self, folder: Path, url: str | None = None, *, create: bool = False) -> None:
        self.folder, self.shared = folder.resolve(), url is not None
        self.owner = f"{socket.gethostname()}:{self.folder}"
        file = self.folder / "study.db"
        if url is None and not create and not file.exists():
            raise GraftError(tr("There is no study in '{folder}': it has no study.db. If its trials are in a data "
                                "base on a server, add storage=URL.", folder=folder))
        self._url = url or URL.create("sqlite", database=str(file)).render_as_string()  # a folder's name can have ? or %
        self._where = f"storage={hide_password(url)}" if url else f"'{file}'"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._translated_errors(reading=True):
            options: dict[str, Any] = {"engine_kwargs": {"connect_args": {"timeout": _LOCK_TIMEOUT}}}
            if self.shared:
                options = {"engine_kwargs": {"pool_pre_ping": True},
                           "heartbeat_interval": HEARTBEAT, "grace_period": 3 * HEARTBEAT}
            if not self.shared and file.exists():
                _check_pages(file)  # before Optuna, which would report damaged pages as another version
            self._rdb = self._connect(options)
            if self._url.startswith("sqlite"):
                _configure_sqlite(self._rdb.engine)
            self._study = self._open(self.folder.name, create)

    def _connect(self, options: dict[str, Any]) -> RDBStorage:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with _hidden_warnings():
                    return RDBStorage(self._url, **options)
            except ImportError as error:
                dialect, _, driver = self._url.partition(":")[0].partition("+")
                package = _DRIVERS.get(driver or dialect, driver or dialect)
                raise GraftError(tr("{where} needs a driver that is not installed: pip install {package}",
                                    where=self._where, package=package)) from error
            except ValueError as error:  # such as an IPv6 host without its bracket, or a port that is no number
                raise self._no_url() from error
            except SQLAlchemyError as error:
                # Two processes create the tables at once: the second one finds a table, or Optuna's version row.
                text = str(error)
                created_twice = "already exists" in text or (isinstance(error, IntegrityError) and "alembic_version" in text)
                if not created_twice or attempt == _ATTEMPTS:
                    raise
                time.sleep(0.2 * 2**attempt)
        raise AssertionError  # the last attempt returns or raises

    def _open(self, name: str, create: bool) -> int:
        known = {study.study_name: study._study_id for study in self._rdb.get_all_studies()}
        if not self.shared and len(known) == 1:
            name = next(iter(known))  # the folder may have been renamed or copied
        if name not in known and not create:
            raise GraftError(tr("{where} has no study '{name}'. It has: {studies}.", where=self._where, name=name,
                                studies=", ".join(sorted(known)) or "-"))
        if name not in known:
            with suppress(optuna.exceptions.DuplicatedStudyError):  # another machine has just created it
                study = self._rdb.create_new_study([StudyDirection.MAXIMIZE], name)
                self._rdb.set_study_user_attr(study, "yolograft_format", _FORMAT)
                return study
            known = {study.study_name: study._study_id for study in self._rdb.get_all_studies()}
        version = self._rdb.get_study_user_attrs(known[name]).get("yolograft_format", _FORMAT)
        if version != _FORMAT:
            raise GraftError(tr("The study '{name}' was written by another version of yolograft (its format is "
                                "{version}, this version reads {format}). Open it with the version that wrote it.",
                                name=name, version=version, format=_FORMAT))
        return known[name]

    def rows(self) -> list[Row]:
        """Return every attempt, oldest first."""
        with self._translated_errors(reading=True):
            lost = set(self._rdb._get_stale_trial_ids(self._study)) if self.shared else ()
            with self._rdb.engine.connect() as connection:
                found = self._rows(connection)
        return [replace(row, lost=True) if row.id in lost else row for row in found]

    def _rows(self, connection: Connection) -> list[Row]:
        # Optuna's own functions create an object for each epoch of each trial, which takes ten times as long
        one, note = TrialModel.__table__.c, TrialUserAttributeModel.__table__.c
        trials = connection.execute(
            select(one.trial_id, one.number, one.state, one.datetime_start, one.datetime_complete)
            .where(one.study_id == self._study).order_by(one.trial_id)).all()
        notes: dict[int, dict[str, str]] = {trial.trial_id: {} for trial in trials}
        wanted = or_(note.key.in_((*_SHORT, *_LONG)), *(note.key.like(f"{key}.%") for key in _LONG))
        for trial_id, key, value in connection.execute(
                select(note.trial_id, note.key, note.value_json)
                .join_from(TrialUserAttributeModel.__table__, TrialModel.__table__, note.trial_id == one.trial_id)
                .where(one.study_id == self._study, wanted)):
            notes.setdefault(trial_id, {})[key] = value
        return [_row(trial, notes[trial.trial_id]) for trial in trials if "key" in notes[trial.trial_id]]

    @contextmanager
    def locked(self) -> Iterator[Connection]:
        """Open an exclusive transaction: other `locked` transactions on this study wait for it.

        It is committed at the end, or rolled back after an exception.
        """
        with self._translated_errors(), self._rdb.engine.begin() as connection:
            study = StudyModel.__table__.c  # SQLite locks the whole file instead: see `_configure_sqlite`
            connection.execute(select(study.study_id).where(study.study_id == self._study).with_for_update())
            yield connection

    def plan(self, connection: Connection | None = None) -> str | None:
        """Return the text that `write_plan` stored, or None; read in the transaction `connection` if there is one."""
        if connection is None:
            with self._translated_errors(reading=True), self._rdb.engine.connect() as opened:
                return self.plan(opened)
        table = StudyUserAttributeModel.__table__
        found = connection.execute(select(table.c.key, table.c.value_json).where(self._is_plan())).all()
        text = _joined(dict(map(tuple, found)), _PLAN)
        return str(json.loads(text)) if text else None

    def write_plan(self, connection: Connection, text: str) -> None:
        """Store or replace the plan for all machines, in a `locked` transaction."""
        table = StudyUserAttributeModel.__table__
        connection.execute(delete(table).where(self._is_plan()))
        connection.execute(insert(table), [{"study_id": self._study, "key": key, "value_json": piece}
                                           for key, piece in _pieces(_PLAN, text)])

    def _is_plan(self) -> ColumnElement[bool]:
        note = StudyUserAttributeModel.__table__.c
        return and_(note.study_id == self._study, or_(note.key == _PLAN, note.key.like(f"{_PLAN}.%")))

    def add(self, trials: Iterable[Trial], *, retry: bool = False) -> list[Row]:
        """Add the trials that have no attempt yet; with `retry`, failed trials get another attempt.

        One transaction locks the study, so if two machines add the same trials, each trial is added once.
        """
        if self.shared:
            # attempts of a lost machine become failed attempts without a reason
            with self._translated_errors(), _hidden_warnings():
                fail_stale_trials(optuna.load_study(study_name=self.folder.name, storage=self._rdb))
        with self.locked() as connection:
            with self._translated_errors(reading=True):
                rows = self._rows(connection)
            settled = {row.key for row in rows if row.state != "failed" or (row.reason and not retry)}
            new = {trial.key: trial for trial in trials if trial.key not in settled}
            self._insert(connection, new.values())
        return self.rows()

    def _insert(self, connection: Connection, trials: Iterable[Trial]) -> None:
        """Add waiting attempts in the same form as Optuna's `create_new_trial`, all at once."""
        table, notes = TrialModel.__table__, []
        number = connection.execute(select(func.count()).where(table.c.study_id == self._study)).scalar_one()
        for place, trial in enumerate(trials, number):
            made = connection.execute(insert(table).values(study_id=self._study, number=place, state=TrialState.WAITING))
            attributes = {"key": trial.key, "arm": trial.arm, "seed": trial.seed, "trial": _jsonable(asdict(trial))}
            (trial_id,) = made.inserted_primary_key or (None,)
            notes += [{"trial_id": trial_id, "key": key, "value_json": text}
                      for name, value in attributes.items() for key, text in _pieces(name, value)]
        if notes:
            connection.execute(insert(TrialUserAttributeModel.__table__), notes)

    def claim(self, row: Row) -> bool:
        """Mark a waiting attempt as running on this machine; return False if another machine has taken it."""
        self.beat(row)  # before the claim, since a running attempt without a heartbeat would never count as lost
        with self._translated_errors():
            try:
                if not self._rdb.set_trial_state_values(row.id, TrialState.RUNNING):
                    return False
            except UpdateFinishedTrialError:  # another machine has already finished it
                return False
            self._rdb.set_trial_user_attr(row.id, "owner", self.owner)
            return True

    def ours(self, rows: Iterable[Row]) -> list[Row]:
        """Return the attempts that an earlier process of this folder was running when it ended."""
        running = (row for row in rows if row.state == "running")
        return [row for row in running if row.owner == self.owner or not self.shared]

    def beat(self, row: Row) -> None:
        """Send a heartbeat: this machine still runs the attempt."""
        if self.shared:
            with self._translated_errors():
                self._rdb.record_heartbeat(row.id)

    def report(self, row: Row, epoch: int, value: float) -> None:
        """Record the metric after an epoch, for dashboards."""
        with self._translated_errors(), self._ignoring_lost():
            self._rdb.set_trial_intermediate_value(row.id, epoch, value)

    def finish(self, row: Row, outcome: Result | Failure, metric: str,
               curve: Iterable[Mapping[str, float]] = ()) -> None:
        """Record the final outcome of an attempt."""
        with self._translated_errors(), self._ignoring_lost():
            if isinstance(outcome, Failure):
                self._rdb.set_trial_user_attr(row.id, "reason", outcome.reason)
                self._rdb.set_trial_state_values(row.id, TrialState.FAIL)
                return
            values = {"result": _jsonable(asdict(outcome)), "curve": _jsonable([dict(point) for point in curve])}
            values["check"] = _check_sum(row.key, *map(json.dumps, values.values()))
            for name, value in values.items():
                for key, text in _pieces(name, value):
                    self._rdb.set_trial_user_attr(row.id, key, json.loads(text))
            self._rdb.set_trial_state_values(row.id, TrialState.COMPLETE, [outcome.metrics[metric]])

    @contextmanager
    def _ignoring_lost(self) -> Iterator[None]:
        """Ignore the error if other machines have declared this attempt lost: then their new attempt counts."""
        try:
            yield
        except UpdateFinishedTrialError:
            if not self.shared:
                raise

    def close(self) -> None:
        """Close all connections to the data base."""
        self._rdb.remove_session()
        self._rdb.engine.dispose()

    def _no_url(self) -> GraftError:
        return GraftError(tr("{where} is not the URL of a data base. Expected: {urls}.", where=self._where, urls=_URLS))

    @contextmanager
    def _translated_errors(self, *, reading: bool = False) -> Iterator[None]:
        """Turn the errors of a data base into `GraftError`, with `reading` those of values that cannot be read as well."""
        try:
            yield
        except GraftError:
            raise
        except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            raise self._explain(error) from error
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            if not reading:
                raise
            # JSON, a date, a state or a field of a result
            raise self._damaged(f"{type(error).__name__}: {error}") from error

    def _explain(self, error: Exception) -> GraftError:
        causes = (str(getattr(part, "orig", None) or part).strip() for part in (error, error.__cause__) if part)
        cause = hide_secrets(" ".join(dict.fromkeys(causes)), self._url)  # drivers repeat what they were given
        where = self._where
        if isinstance(error, ArgumentError):
            return self._no_url()
        if any(sign in cause for sign in _DAMAGE):  # first, since a damaged schema is no other version
            return self._damaged(cause)
        if "full" in cause or "No space left" in cause:
            return GraftError(tr("The disk is full: {where} cannot be written. Finished trials are saved. Free "
                                 "some disk space, then start the study again.", where=where))
        if "locked" in cause:
            return GraftError(tr("Another program has locked {where}. Close it, then start the study again. "
                                 "Finished trials are saved.", where=where))
        if isinstance(error, RuntimeError) and ("version" in cause or "schema" in cause):  # Optuna's own check
            return GraftError(tr("{where} was written by another version of Optuna than the installed {version}: "
                                 "{cause}", where=where, version=optuna.__version__, cause=cause[:300]))
        return GraftError(tr("{where} cannot be used: {cause}\nFinished trials are saved.", where=where, cause=cause[:300]))

    def _damaged(self, cause: str) -> GraftError:
        if self.shared:
            return GraftError(tr("{where} is damaged or is no data base: {cause}", where=self._where, cause=cause[:200]))
        return GraftError(tr("{where} is damaged or is no data base: {cause}\nThe results of finished trials are also in "
                             "the folder trials/. Move this file to another folder, then start the study again: it "
                             "reads them from there and trains only what is missing.", where=self._where,
                             cause=cause[:200]))


@contextmanager
def _hidden_warnings() -> Iterator[None]:
    """Hide Optuna's warning that its heartbeat is experimental."""
    with _WARNINGS_LOCK, warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


def _check_pages(file: Path) -> None:
    """Raise `sqlite3.DatabaseError` if the structure of an SQLite file is damaged; takes milliseconds."""
    with closing(sqlite3.connect(file, timeout=_LOCK_TIMEOUT)) as connection:
        found = connection.execute("PRAGMA quick_check(1)").fetchone()
    if found != ("ok",):
        raise sqlite3.DatabaseError(f"malformed: {str(found[0]).splitlines()[-1]}")


def _check_sum(key: str, result: str, curve: str) -> int:
    return zlib.crc32("\n".join((key, result, curve)).encode())


def _configure_sqlite(engine: Engine) -> None:
    """Configure SQLite: take the write lock at the start of each transaction, and use a write-ahead log.

    Optuna claims a trial by reading its state and then writing it. By default an SQLite transaction takes the write lock
    only at its first write, so two processes could both read "waiting". PostgreSQL and MySQL lock the row.

    With the write-ahead log a commit does not wait for the disk and is ten times faster. A killed process loses nothing. A
    power failure can lose the last commits but does not damage the file. If the end of a trial is lost in this way, its
    result is still in its folder, and it is not trained again.
    """

    engine.dispose()  # close the connections that were opened without this configuration

    @event.listens_for(engine, "connect")
    def _(connection: Any, record: object) -> None:
        connection.isolation_level = None  # the driver sends no BEGIN of its own
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")

    @event.listens_for(engine, "begin")
    def _(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def _row(trial: Any, notes: Mapping[str, str]) -> Row:
    states = {TrialState.WAITING: "waiting", TrialState.RUNNING: "running", TrialState.COMPLETE: "complete"}
    short = {name: json.loads(notes[name]) for name in _SHORT if name in notes}
    text = _joined(notes, "result") if trial.state is TrialState.COMPLETE else ""
    points = _joined(notes, "curve") or "[]"
    result = Result(**json.loads(text)) if text else None
    if trial.state is TrialState.COMPLETE and (result is None or short.get("check") not in (
            None, _check_sum(short["key"], text, points))):  # a study of an earlier version has no check sum
        raise ValueError(tr("the result of {arm} with seed {seed} is not what was written", arm=short["arm"],
                            seed=short["seed"]))
    lasted = trial.datetime_start is not None and trial.datetime_complete is not None
    seconds = (trial.datetime_complete - trial.datetime_start).total_seconds() if lasted else 0.0
    return Row(id=trial.trial_id, number=trial.number, **short, state=states.get(trial.state, "failed"),
               result=result, points=points, seconds=max(0.0, seconds))  # the clock can have been set back


def _pieces(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield an attribute's name and JSON text; a long text is split into pieces `name.0`, `name.1`, ..."""
    text = json.dumps(value)
    if len(text) <= _PIECE:
        yield name, text
        return
    for place, start in enumerate(range(0, len(text), _PIECE)):
        yield f"{name}.{place}", json.dumps(text[start:start + _PIECE])


def _joined(notes: Mapping[str, str], name: str) -> str:
    """Return the JSON text of an attribute, joined from its pieces; empty if the attribute does not exist."""
    if name in notes or f"{name}.0" not in notes:
        return notes.get(name, "")
    places = range(sum(key.startswith(f"{name}.") for key in notes))
    return "".join(json.loads(notes[f"{name}.{place}"]) for place in places)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, (list, tuple)) else value
