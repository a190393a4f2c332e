import math
import random
import re
import sqlite3
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict, replace

import optuna
import pytest
from sqlalchemy import event

from yolograft.errors import GraftError
from yolograft.study import storage as module
from yolograft.study.storage import Storage, _jsonable
from yolograft.study.trial import Failure, Result, Trial


def trial(seed=0):
    return Trial(arm="none", seed=seed, host="yolograft.study.dummy")


RESULT = Result(metrics={"mAP50-95": 0.5}, classes={"AP50-95": {"crazing": 0.4}}, costs={"seconds": 3.0})


def test_each_trial_is_added_only_once(tmp_path):
    storage = Storage(tmp_path, create=True)
    assert len(storage.add([trial(), trial(1), trial()])) == 2
    assert len(storage.add([trial(), trial(2)])) == 3
    assert len(Storage(tmp_path).rows()) == 3


def test_a_stored_result_is_read_unchanged_and_cannot_be_overwritten(tmp_path):
    storage = Storage(tmp_path, create=True)
    (row,) = storage.add([trial()])
    assert storage.claim(row)
    assert not storage.claim(row), "an attempt can be claimed only once"
    storage.report(row, 1, 0.2)
    storage.finish(row, RESULT, "mAP50-95", [{"epoch": 1, "mAP50-95": 0.2}])
    (row,) = Storage(tmp_path).rows()
    assert row.result == RESULT
    assert row.curve == ({"epoch": 1, "mAP50-95": 0.2},)
    with pytest.raises(GraftError):
        storage.finish(row, Failure(reason="late"), "mAP50-95")
    assert storage.rows()[0].result == RESULT


def test_failures_are_stored_and_retried_only_with_retry(tmp_path):
    storage = Storage(tmp_path, create=True)
    (row,) = storage.add([trial()])
    storage.claim(row)
    storage.finish(row, Failure(reason="no luck"), "mAP50-95")
    assert [row.reason for row in storage.add([trial()])] == ["no luck"]
    assert [row.state for row in storage.add([trial()], retry=True)] == ["failed", "waiting"]


def test_optuna_can_open_the_study(tmp_path):
    (tmp_path / "study").mkdir()
    storage = Storage(tmp_path / "study", create=True)
    (row,) = storage.add([trial()])
    storage.claim(row)
    storage.report(row, 1, 0.2)
    storage.finish(row, RESULT, "mAP50-95")
    study = optuna.load_study(study_name="study", storage=f"sqlite:///{tmp_path / 'study' / 'study.db'}")
    assert study.best_value == 0.5
    assert study.trials[0].intermediate_values == {1: 0.2}


def test_each_trial_is_claimed_by_one_of_several_machines(tmp_path):
    rows = Storage(tmp_path, create=True).add([trial(seed) for seed in range(12)])

    def machine(_):
        storage = Storage(tmp_path)
        return [row.number for row in rows if storage.claim(row)]

    with ThreadPoolExecutor(4) as pool:
        taken = [number for numbers in pool.map(machine, range(4)) for number in numbers]
    assert sorted(taken) == list(range(12))


def test_several_machines_share_one_storage(tmp_path):
    """Two folders, one URL: the study is shared, and the trial of a lost machine gets a new attempt."""
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    for name in "ab":
        (tmp_path / name / "study").mkdir(parents=True)
    first = Storage(tmp_path / "a" / "study", url, create=True)
    second = Storage(tmp_path / "b" / "study", url, create=True)
    rows = first.add([trial(0), trial(1)])
    assert [row.key for row in second.add([trial(0), trial(1)])] == [row.key for row in rows]
    assert first.claim(rows[0])
    assert not second.claim(rows[0])
    assert second.claim(rows[1])
    assert [row.number for row in first.ours(first.rows())] == [0]
    assert [row.number for row in second.ours(second.rows())] == [1]
    assert [row.state for row in second.add([trial(0), trial(1)])] == ["running", "running"]
    with sqlite3.connect(tmp_path / "shared.db") as connection:  # the last heartbeat of the first machine was long ago
        connection.execute("update trial_heartbeats set heartbeat = '2001-01-01' where trial_id = 1")
    again = second.add([trial(0), trial(1)])
    assert [(row.key, row.state) for row in again if row.state != "failed"] == [
        (rows[1].key, "running"), (rows[0].key, "waiting")]


def test_machines_that_add_the_same_trials_at_the_same_time_add_each_once(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    for name in "abcd":
        (tmp_path / name / "study").mkdir(parents=True)
    Storage(tmp_path / "a" / "study", url, create=True).close()

    def machine(name):
        storage = Storage(tmp_path / name / "study", url, create=True)
        storage.add([trial(seed) for seed in range(20)])
        return [row.key for row in storage.rows()]

    with ThreadPoolExecutor(4) as pool:
        keys = [key for keys in pool.map(machine, "abcd") for key in keys]
    assert sorted(keys) == sorted([trial(seed).key for seed in range(20)] * 4)


def test_a_plan_of_any_length_is_stored_once_and_replaced(tmp_path):
    storage = Storage(tmp_path, create=True)
    assert storage.plan() is None
    for text in ("data: \"缺陷\"\n" * 9000, "seeds: [0]\n", ""):
        with storage.locked() as connection:
            storage.write_plan(connection, text)
        assert Storage(tmp_path).plan() == text
    def fail():
        with storage.locked() as connection:
            storage.write_plan(connection, "half")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert storage.plan() == "", "a failed transaction is rolled back"


def test_added_trials_equal_those_that_optuna_adds(tmp_path):
    storage = Storage(tmp_path, create=True)
    storage.add([trial(0), trial(1)])
    attributes = {"key": trial(2).key, "arm": "none", "seed": 2, "trial": _jsonable(asdict(trial(2)))}
    storage._rdb.create_new_trial(storage._study, optuna.trial.create_trial(
        state=optuna.trial.TrialState.WAITING, user_attrs=attributes))
    storage.add([trial(seed) for seed in range(4)])
    ours, theirs = storage._rdb.get_trial(2), storage._rdb.get_trial(3)
    assert (ours.state, ours.datetime_start, sorted(ours.user_attrs)) == (
        theirs.state, theirs.datetime_start, sorted(theirs.user_attrs))
    assert [one.number for one in storage._rdb.get_all_trials(storage._study)] == [0, 1, 2, 3]


def test_a_machine_that_returns_after_it_was_declared_lost_changes_nothing(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    storage = Storage(tmp_path, url, create=True)
    (row,) = storage.add([trial()])
    assert storage.claim(row)
    storage._rdb.set_trial_state_values(row.id, optuna.trial.TrialState.FAIL)  # as another machine does
    storage.report(row, 1, 0.2)
    storage.finish(row, RESULT, "mAP50-95")
    assert [row.state for row in storage.rows()] == ["failed"]
    assert not storage.claim(row), "a finished attempt cannot be claimed"


def test_a_trial_without_heartbeats_counts_as_lost(tmp_path):
    storage = Storage(tmp_path, f"sqlite:///{tmp_path / 'shared.db'}", create=True)
    (row,) = storage.add([trial()])
    storage.claim(row)
    assert [row.lost for row in storage.rows()] == [False]
    sql(tmp_path / "shared.db", "update trial_heartbeats set heartbeat = '2001-01-01'")
    assert [row.lost for row in storage.rows()] == [True]


def test_a_trial_whose_machine_dies_during_the_claim_counts_as_lost(tmp_path, monkeypatch):
    storage = Storage(tmp_path, f"sqlite:///{tmp_path / 'shared.db'}", create=True)
    (row,) = storage.add([trial()])

    def die(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(storage._rdb, "set_trial_user_attr", die)
    with pytest.raises(KeyboardInterrupt):
        storage.claim(row)
    monkeypatch.undo()
    sql(tmp_path / "shared.db", "update trial_heartbeats set heartbeat = '2001-01-01'")
    assert [(row.state, row.lost) for row in storage.rows()] == [("running", True)]
    assert [row.state for row in storage.add([trial()])] == ["failed", "waiting"]


def test_a_long_curve_is_stored_in_pieces_and_read_unchanged(tmp_path):
    curve = [{"epoch": epoch, **{f"metric{i}": 0.123456789 + epoch for i in range(12)}} for epoch in range(500)]
    storage = Storage(tmp_path, create=True)
    (row,) = storage.add([trial()])
    storage.claim(row)
    storage.finish(row, RESULT, "mAP50-95", curve)
    assert list(storage.rows()[0].curve) == curve
    with closing(sqlite3.connect(tmp_path / "study.db")) as connection:
        (longest,) = connection.execute("select max(length(value_json)) from trial_user_attributes").fetchone()
    assert longest < 65_535, "largest TEXT value in MySQL"


@pytest.mark.parametrize("points", [
    [{"epoch": 1, "mAP50": 0.1, "mAP50-95": 0.25}, {"epoch": 2, "mAP50": 0.3, "mAP50-95": 1e-7}],
    [{"mAP50-95": 0.25, "epoch": 7}, {"mAP50-95": math.inf, "epoch": 12}],
    [{"epoch": 1, "mAP50-95": 0.25}, {"epoch": 2, "mAP50": 0.3}, {"epoch": 3, "mAP50-95": 0.5}],
    [{"epoch": 1.0, "mAP50-95": 0.25}, {"epoch": 2.0, "mAP50-95": 3}],
    [{"epoch": 1, 'x"mAP50-95': 0.1}, {"epoch": 2, "mAP50-95": 0.3}],
    [{"epoch": 1, 'x"epoch': 9, "mAP50-95": 0.1}],
    [{"epoch": 1, "mAP50": 0.2}], [],
])
def test_by_epoch_equals_the_parsed_json(tmp_path, points):
    storage = Storage(tmp_path, create=True)
    (row,) = storage.add([trial()])
    storage.claim(row)
    storage.finish(row, RESULT, "mAP50-95", points)
    (row,) = storage.rows()
    assert row.curve == tuple(points)
    assert row.by_epoch("mAP50-95") == {int(one["epoch"]): one["mAP50-95"] for one in points if "mAP50-95" in one}


@pytest.mark.parametrize(("url", "says"), [
    ("nonsense", "Expected: postgresql"), ("postgres://u:secret@h/d", "Expected: postgresql"),
    ("postgresql+nodriver://u:secret@h/d", "Expected: postgresql"),
    ("mysql+mysqlconnector://u:secret@h/d", "pip install mysql-connector-python"),
])
def test_the_error_for_a_wrong_url_does_not_show_its_password(tmp_path, monkeypatch, url, says):
    monkeypatch.setitem(sys.modules, "mysql", None)
    with pytest.raises(GraftError, match=re.escape(says)) as caught:
        Storage(tmp_path, url, create=True)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(("damage", "says"), [
    (lambda db: db.write_bytes(b"not a data base" * 100), "damaged or is no data base"),
    (lambda db: sql(db, "update alembic_version set version_num = 'v9.9.9'"), "another version of Optuna"),
    (lambda db: sql(db, "update study_user_attributes set value_json = 7"), "another version of yolograft"),
])
def test_a_data_base_that_cannot_be_read_raises_an_error_and_is_not_changed(tmp_path, damage, says):
    Storage(tmp_path, create=True).close()
    damage(tmp_path / "study.db")
    before = (tmp_path / "study.db").read_bytes()
    with pytest.raises(GraftError, match=says):
        Storage(tmp_path, create=True)
    assert (tmp_path / "study.db").read_bytes() == before


def sql(path, text):
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(text)


def test_a_locked_data_base_raises_an_error_after_the_timeout(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LOCK_TIMEOUT", 0.2)
    storage = Storage(tmp_path, create=True)
    with sqlite3.connect(tmp_path / "study.db") as other:
        other.execute("begin exclusive")
        with pytest.raises(GraftError, match="locked"):
            storage.add([trial()])
        other.rollback()
    assert len(storage.add([trial()])) == 1


def test_a_full_disk_raises_an_error_and_loses_no_trial(tmp_path):
    storage = Storage(tmp_path, create=True)
    storage.add([trial()])
    pages = (tmp_path / "study.db").stat().st_size // 4096
    storage.close()  # so that the limit below is set on a new connection
    event.listen(storage._rdb.engine, "connect", lambda raw, _: raw.execute("pragma max_page_count = "
                                                                            f"{pages}"))
    with pytest.raises(GraftError, match="disk is full"):
        storage.add([Trial(arm="x" * 200_000, seed=1, host="x")])
    assert [row.key for row in Storage(tmp_path).rows()] == [trial().key]


@pytest.mark.parametrize("name", ["what?", "a%20b", "a#b", "空格 名"])
def test_a_folder_can_have_any_name_and_be_renamed(tmp_path, name):
    (tmp_path / name).mkdir()
    storage = Storage(tmp_path / name, create=True)
    storage.add([trial()])
    storage.close()
    (tmp_path / name).rename(tmp_path / "moved")
    assert [row.key for row in Storage(tmp_path / "moved").rows()] == [trial().key]


def test_a_missing_study_raises_an_error(tmp_path):
    with pytest.raises(GraftError, match=r"no study\.db"):
        Storage(tmp_path)
    with pytest.raises(GraftError, match="has no study"):
        Storage(tmp_path / "other", f"sqlite:///{tmp_path / 'x.db'}")


@pytest.mark.parametrize("url", [
    "postgresql+psycopg2://u:{}@[::1/db", "postgresql://u:{}@[fe80::zz]:12/db", "mysql+pymysql://u@host/db?password={}",
    "postgresql://u:{}@host:port/db", "postgresql://u:p@{}@host/db", "postgresql://u:a/{}@host/db", "mysql://u:a?{}@host/db",
    "sqlite+nix://u:{}@h/db?x={}"])
def test_no_message_shows_a_password_of_a_storage_url(url, tmp_path):
    with pytest.raises(GraftError) as found:
        Storage(tmp_path / "study", url.format("s3cret%21", "s3cret%21"))
    assert "s3cret" not in str(found.value)
    assert "\n" not in str(found.value), "one line"


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The bytes of the study.db of a finished trial, and its rows."""
    folder = tmp_path_factory.mktemp("finished")
    with closing(Storage(folder, create=True)) as storage:
        (row,) = storage.add([trial()])
        storage.claim(row)
        storage.finish(row, RESULT, "mAP50-95", [{"epoch": 1, "mAP50-95": 0.2}])
        rows = storage.rows()
    return (folder / "study.db").read_bytes(), rows


@pytest.mark.parametrize("change", [
    "update trial_user_attributes set value_json = substr(value_json, 1, 9) where key = 'result'",
    "update trial_user_attributes set value_json = '{}' where key = 'result'",
    "update trial_user_attributes set value_json = replace(value_json, '0.5', '0.6') where key = 'result'",
    "update trial_user_attributes set value_json = replace(value_json, '0.2', '0.7') where key = 'curve'",
    "delete from trial_user_attributes where key = 'result'",
    "update trial_user_attributes set value_json = '\"' where key = 'seed'",
    "delete from trial_user_attributes where key = 'arm'",
    "update study_user_attributes set value_json = '{'",
    "update trials set state = 'COMPLEX'",
    "update trials set datetime_start = 'yesterday'",
])
def test_damaged_values_are_named_as_damage_with_the_way_on(tmp_path, finished, change):
    (tmp_path / "study.db").write_bytes(finished[0])
    sql(tmp_path / "study.db", change)
    with pytest.raises(GraftError, match="is damaged or is no data base") as caught, closing(Storage(tmp_path)) as storage:
        storage.rows()
    assert "trials/" in str(caught.value)


def flipped(content, state):
    """Return the content with one, eight or 64 bits flipped, at places that `state` determines."""
    draw, damaged = random.Random(state), bytearray(content)
    for _ in range(draw.choice([1, 8, 64])):
        damaged[draw.randrange(len(damaged))] ^= 1 << draw.randrange(8)
    return bytes(damaged)


def measured(row):
    """Return a row without what no result depends on: the machine's name, the duration, and the check sum itself."""
    return replace(row, owner="", seconds=0.0, check=None)


@pytest.mark.parametrize("states", [range(60), pytest.param(range(60, 3000), marks=pytest.mark.slow)], ids=["few", "many"])
def test_flipped_bits_are_harmless_or_named_as_damage(tmp_path, finished, states):
    content, rows = finished
    messages = []
    for state in states:
        for file in tmp_path.glob("study.db*"):
            file.unlink()
        (tmp_path / "study.db").write_bytes(flipped(content, state))
        try:
            with closing(Storage(tmp_path)) as storage:
                found = storage.rows()
        except GraftError as error:
            messages.append(str(error))
        else:
            assert [measured(row) for row in found if row.state == "complete"] in ([*map(measured, rows)], []), state
    assert all("is damaged" in message for message in messages)
    assert len(states) / 10 < len(messages) < len(states), "bits in free space change nothing"


def test_a_result_of_an_earlier_version_without_check_sum_is_read(tmp_path, finished):
    (tmp_path / "study.db").write_bytes(finished[0])
    sql(tmp_path / "study.db", "delete from trial_user_attributes where key = 'check'")
    with closing(Storage(tmp_path)) as storage:
        assert [row.result for row in storage.rows()] == [RESULT]


def test_a_clock_that_was_set_back_gives_no_negative_duration(tmp_path, finished):
    (tmp_path / "study.db").write_bytes(finished[0])
    sql(tmp_path / "study.db", "update trials set datetime_complete = '2001-01-01 00:00:00.000000'")
    with closing(Storage(tmp_path)) as storage:
        assert [row.seconds for row in storage.rows()] == [0.0]
