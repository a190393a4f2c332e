"""Where a study's trials are kept: an Optuna storage, SQLite under the study's folder unless a URL is given.

One Optuna trial is one attempt at one of our trials; its user attributes carry the key, the trial, and the
result or the reason for having none. Optuna sees to it that a finished trial never changes and that of
several machines only one gets a waiting trial; here is what these attributes mean, and nothing of how trials
are run. Trials are added, and read, by SQL of our own on Optuna's tables: its own ways do so one by one.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError
from optuna.storages import RDBStorage, fail_stale_trials
from optuna.storages._rdb.models import StudyModel, StudyUserAttributeModel, TrialModel, TrialUserAttributeModel
from optuna.study import StudyDirection
from optuna.trial import TrialState
from sqlalchemy import URL, ColumnElement, Connection, Engine, and_, delete, event, func, insert, make_url, or_, select
from sqlalchemy.exc import ArgumentError, IntegrityError, SQLAlchemyError

from yolograft.errors import GraftError
from yolograft.study.trial import Failure, Result, Trial

__all__ = ["HEARTBEAT", "Row", "Storage"]

HEARTBEAT = 60  # seconds; a machine that is silent for three of them has lost its trials
_FORMAT = 1
_PLAN = "yolograft-plan"  # the attribute of the study that holds its plan, perhaps in pieces
_SHORT = ("key", "arm", "seed", "owner", "reason")
_LONG = ("result", "curve")  # which may be in pieces
_PATIENCE = 120  # seconds that a writer waits for another to release the data base
_PIECE = 40_000  # characters of one attribute: MySQL's TEXT holds 65,535 bytes, and a curve of 300 epochs takes more
_QUIET = threading.Lock()  # what Python warns of is the whole process' affair: two threads would leave it changed
_ATTEMPTS = 5  # at making the tables, which other machines may be making in the same moment
_DRIVERS = {"postgresql": "psycopg2-binary", "psycopg2": "psycopg2-binary", "psycopg": "'psycopg[binary]'",
            "mysql": "mysqlclient", "mysqldb": "mysqlclient", "mariadb": "mysqlclient",
            "mysqlconnector": "mysql-connector-python"}  # others are called as they are
_URLS = "postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE or mysql+pymysql://USER:PASSWORD@HOST/DATABASE"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One attempt at a trial, as the storage knows it.

    `state` is waiting, running, complete or failed; a running one is `lost` if its machine has been silent for too long.
    `points` is the JSON of `curve`, which as objects takes twice the memory and most of the time to read.
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

    @property
    def curve(self) -> tuple[Mapping[str, float], ...]:
        """What was reported after each epoch, read from `points` every time."""
        return tuple(json.loads(self.points))

    def by_epoch(self, metric: str) -> dict[int, float]:
        """Return epoch -> a metric, where it was reported; a quarter of the time that `curve` takes, if it always was."""
        epochs = re.findall(r'"epoch": (\d+)[,}]', self.points)
        values = re.findall(rf'"{re.escape(metric)}": ([^,}}]+)', self.points)
        # a backslash may hide a quote within some name
        if len(epochs) == len(values) == self.points.count("{") and "\\" not in self.points:
            return dict(zip(map(int, epochs), map(float, values), strict=True))
        return {int(point["epoch"]): point[metric] for point in self.curve if metric in point}


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
        self._url = url or URL.create("sqlite", database=str(file)).render_as_string()  # a folder's name may hold ? or %
        self._where = _hidden(url) if url else f"'{file}'"
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        with self._explained():
            options: dict[str, Any] = {"engine_kwargs": {"connect_args": {"timeout": _PATIENCE}}}
            if self.shared:
                options = {"engine_kwargs": {"pool_pre_ping": True},
                           "heartbeat_interval": HEARTBEAT, "grace_period": 3 * HEARTBEAT}
            self._rdb = self._connect(options)
            if self._url.startswith("sqlite"):
                _write_first(self._rdb.engine)
            self._study = self._open(self.folder.name, create)

    def _connect(self, options: dict[str, Any]) -> RDBStorage:
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with _quiet():
                    return RDBStorage(self._url, **options)
            except ImportError as error:
                dialect, _, driver = self._url.partition(":")[0].partition("+")
                package = _DRIVERS.get(driver or dialect, driver or dialect)
                raise GraftError(f"{self._where} needs a driver that is not installed: pip install {package}") from error
            except SQLAlchemyError as error:
                # Two processes that create the tables at once: the later one finds a table, or Optuna's version row.
                text = str(error)
                both = "already exists" in text or (isinstance(error, IntegrityError) and "alembic_version" in text)
                if not both or attempt == _ATTEMPTS:
                    raise
                time.sleep(0.2 * 2**attempt)
        raise AssertionError  # the last attempt returns or raises

    def _open(self, name: str, create: bool) -> int:
        known = {study.study_name: study._study_id for study in self._rdb.get_all_studies()}
        if not self.shared and len(known) == 1:
            name = next(iter(known))  # the folder may have been moved or copied since
        if name not in known and not create:
            raise GraftError(f"{self._where} has no study '{name}'. It has: "
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
        """Return every attempt, oldest first."""
        with self._explained():
            lost = set(self._rdb._get_stale_trial_ids(self._study)) if self.shared else ()
            with self._rdb.engine.connect() as connection:
                found = self._rows(connection)
        return [replace(row, lost=True) if row.id in lost else row for row in found]

    def _rows(self, connection: Connection) -> list[Row]:
        # Optuna's own reading builds an object for every epoch of every trial: ten times as long, of 10,000 trials
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
        """Open a transaction that other processes' and hosts' `locked` transactions on this study wait for.

        It is committed at the end, or rolled back if something is raised.
        """
        with self._explained(), self._rdb.engine.begin() as connection:
            study = StudyModel.__table__.c  # SQLite locks the whole file instead: see `_write_first`
            connection.execute(select(study.study_id).where(study.study_id == self._study).with_for_update())
            yield connection

    def plan(self, connection: Connection | None = None) -> str | None:
        """Return the text that `write_plan` stored, or None; in a transaction if one is given."""
        if connection is None:
            with self._explained(), self._rdb.engine.connect() as opened:
                return self.plan(opened)
        table = StudyUserAttributeModel.__table__
        found = connection.execute(select(table.c.key, table.c.value_json).where(self._is_plan())).all()
        text = _whole(dict(map(tuple, found)), _PLAN)
        return str(json.loads(text)) if text else None

    def write_plan(self, connection: Connection, text: str) -> None:
        """Store a study's plan for all hosts, in place of an earlier one, in a `locked` transaction."""
        table = StudyUserAttributeModel.__table__
        connection.execute(delete(table).where(self._is_plan()))
        connection.execute(insert(table), [{"study_id": self._study, "key": key, "value_json": piece}
                                           for key, piece in _pieces(_PLAN, text)])

    def _is_plan(self) -> ColumnElement[bool]:
        note = StudyUserAttributeModel.__table__.c
        return and_(note.study_id == self._study, or_(note.key == _PLAN, note.key.like(f"{_PLAN}.%")))

    def add(self, trials: Iterable[Trial], *, retry: bool = False) -> list[Row]:
        """Make sure that every trial is there, once; with `retry`, failed ones get another attempt.

        In one transaction, for which the study is locked: of two machines that add the same trials, one does.
        """
        if self.shared:
            with self._explained(), _quiet():  # what a lost machine was running becomes an attempt without a reason
                fail_stale_trials(optuna.load_study(study_name=self.folder.name, storage=self._rdb))
        with self.locked() as connection:
            settled = {row.key for row in self._rows(connection)
                       if row.state != "failed" or (row.reason and not retry)}
            new = {trial.key: trial for trial in trials if trial.key not in settled}
            self._insert(connection, new.values())
        return self.rows()

    def _insert(self, connection: Connection, trials: Iterable[Trial]) -> None:
        """Add waiting attempts, as Optuna's `create_new_trial` does one by one, counting those before each."""
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
        """Take a waiting attempt; False if another machine was faster."""
        self.beat(row)  # first: a running attempt without a heartbeat would never be known as lost
        with self._explained():
            try:
                if not self._rdb.set_trial_state_values(row.id, TrialState.RUNNING):
                    return False
            except UpdateFinishedTrialError:  # so much faster that it is through with it
                return False
            self._rdb.set_trial_user_attr(row.id, "owner", self.owner)
            return True

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
        with self._explained(), self._given_up():
            self._rdb.set_trial_intermediate_value(row.id, epoch, value)

    def finish(self, row: Row, outcome: Result | Failure, metric: str,
               curve: Iterable[Mapping[str, float]] = ()) -> None:
        """Record what came out, for good."""
        with self._explained(), self._given_up():
            if isinstance(outcome, Failure):
                self._rdb.set_trial_user_attr(row.id, "reason", outcome.reason)
                self._rdb.set_trial_state_values(row.id, TrialState.FAIL)
                return
            for name, value in (("result", asdict(outcome)), ("curve", [dict(point) for point in curve])):
                for key, text in _pieces(name, _jsonable(value)):
                    self._rdb.set_trial_user_attr(row.id, key, json.loads(text))
            self._rdb.set_trial_state_values(row.id, TrialState.COMPLETE, [outcome.metrics[metric]])

    @contextmanager
    def _given_up(self) -> Iterator[None]:
        """Let go of an attempt that the other machines gave up, since this one was silent for so long: theirs counts."""
        try:
            yield
        except UpdateFinishedTrialError:
            if not self.shared:
                raise

    def close(self) -> None:
        """Let go of the data base."""
        self._rdb.remove_session()
        self._rdb.engine.dispose()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.StorageInternalError, RuntimeError) as error:
            causes = (str(getattr(part, "orig", None) or part).strip() for part in (error, error.__cause__) if part)
            said = " ".join(dict.fromkeys(causes))
            where = self._where
            if isinstance(error, ArgumentError):
                raise GraftError(f"{where} is no data base's URL. Expected: {_URLS}.") from error
            if "full" in said or "No space left" in said:
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
            raise GraftError(f"{where} cannot be used: {said[:300]}\nWhat is finished is kept.") from error


@contextmanager
def _quiet() -> Iterator[None]:
    """Say nothing of Optuna's heartbeat meanwhile, which it has called experimental for years."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        yield


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


def _row(trial: Any, notes: Mapping[str, str]) -> Row:
    states = {TrialState.WAITING: "waiting", TrialState.RUNNING: "running", TrialState.COMPLETE: "complete"}
    short = {name: json.loads(notes[name]) for name in _SHORT if name in notes}
    result = _whole(notes, "result") if trial.state is TrialState.COMPLETE else ""
    lasted = trial.datetime_start is not None and trial.datetime_complete is not None
    return Row(id=trial.trial_id, number=trial.number, **short, state=states.get(trial.state, "failed"),
               result=Result(**json.loads(result)) if result else None, points=_whole(notes, "curve") or "[]",
               seconds=(trial.datetime_complete - trial.datetime_start).total_seconds() if lasted else 0.0)


def _pieces(name: str, value: Any) -> Iterator[tuple[str, str]]:
    """Return an attribute's name and JSON, or those of the pieces of a long one: `name.0`, `name.1`, ..."""
    text = json.dumps(value)
    if len(text) <= _PIECE:
        yield name, text
        return
    for place, start in enumerate(range(0, len(text), _PIECE)):
        yield f"{name}.{place}", json.dumps(text[start:start + _PIECE])


def _whole(notes: Mapping[str, str], name: str) -> str:
    """Return the JSON of an attribute that may be in pieces; nothing if it is not there."""
    if name in notes or f"{name}.0" not in notes:
        return notes.get(name, "")
    places = range(sum(key.startswith(f"{name}.") for key in notes))
    return "".join(json.loads(notes[f"{name}.{place}"]) for place in places)


def _hidden(url: str) -> str:
    """Return a URL as it may be shown: without its password."""
    try:
        return f"storage={make_url(url).render_as_string(hide_password=True)}"
    except ArgumentError:
        return "storage=" + re.sub(r":[^:@/]*@", ":***@", url)


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    return [_jsonable(item) for item in value] if isinstance(value, (list, tuple)) else value
