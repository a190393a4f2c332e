"""Several machines work on one study through a data base server, PostgreSQL or MySQL, if the environment has its URL.

    YOLOGRAFT_TEST_POSTGRES=postgresql+psycopg2://USER:PASSWORD@HOST/DATABASE python -m pytest tests/test_study_server.py
    YOLOGRAFT_TEST_MYSQL=mysql+pymysql://USER:PASSWORD@HOST/DATABASE

Each test creates its own study there, and deletes it.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import optuna
import pytest
from sqlalchemy import create_engine, text

from yolograft.errors import GraftError
from yolograft.study import Study, run, status
from yolograft.study.plan import Plan
from yolograft.study.storage import Storage
from yolograft.study.trial import Result, Trial

SERVERS = ("YOLOGRAFT_TEST_POSTGRES", "YOLOGRAFT_TEST_MYSQL")
WORDS = {"data": "somewhere", "model": "yolo11n.pt", "arms": "none; se@8; cbam@8", "seeds": 4, "epochs": 3,
         "host": "yolograft.study.dummy"}
SOURCE = str(Path(__file__).resolve().parents[1] / "src")


@pytest.fixture(params=SERVERS)
def server(request):
    url = os.environ.get(request.param)
    if not url:
        pytest.skip(f"needs a data base server: set {request.param} to its URL")
    return url


@pytest.fixture
def name(server):
    name = f"test-{uuid.uuid4().hex[:12]}"
    yield name
    optuna.delete_study(study_name=name, storage=server)


def start(folder, server, **more):
    words = [f"{key}={value}" for key, value in {**WORDS, **more}.items()]
    return subprocess.Popen([sys.executable, "-m", "yolograft", "study", *words, f"storage={server}",
                             f"project={folder.parent}", f"name={folder.name}"], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True, start_new_session=True,
                            env={**os.environ, "PYTHONPATH": os.pathsep.join([SOURCE, *filter(None, sys.path)])})


def ended(*folders):
    """Return the keys of the trials that were trained to their end on these machines, once per training."""
    lines = [line for folder in folders for path in folder.glob("trials/*/finished") for line in path.read_text().split()]
    return sorted(lines)


def table(study):
    return {arm: dict(sorted(scores.items())) for arm, scores in study.scores().items()}


def test_two_machines_that_start_together_run_each_trial_once(server, name, tmp_path):
    machines = [tmp_path / machine / name for machine in "ab"]
    processes = [start(folder, server, pause=0.2) for folder in machines]
    for process in processes:
        output, _ = process.communicate(timeout=120)
        assert process.returncode == 0, output
        assert "12 of 12 trials done" in output, "each machine waits for the other and shows the complete table"
    assert ended(*machines) == sorted(trial.key for trial in Plan.of({**WORDS, "pause": "0.2"}).trials())
    assert all(ended(folder) for folder in machines), "both machines have run trials"
    reference = run({**WORDS, "pause": 0.2}, tmp_path / "sqlite", workers=2)
    assert [table(Study.load(folder, storage=server)) for folder in machines] == [table(reference)] * 2
    assert "complete; 12 of 12" in status(machines[0], storage=server)


def test_trials_of_a_killed_machine_are_run_by_the_other(server, name, tmp_path):
    mine, lost = (tmp_path / machine / name for machine in "ab")
    survivor, killed = (start(folder, server, pause=0.5) for folder in (mine, lost))
    deadline = time.monotonic() + 60
    while not list(lost.glob("trials/*/epochs.jsonl")) and time.monotonic() < deadline:
        time.sleep(0.1)
    os.kill(killed.pid, signal.SIGKILL)
    killed.communicate()
    engine = create_engine(server)
    with engine.begin() as connection:  # instead of waiting for three minutes without a heartbeat
        connection.execute(text("UPDATE trial_heartbeats SET heartbeat = '2001-01-01' WHERE trial_id IN (SELECT t.trial_id "
                                "FROM trial_user_attributes t WHERE t.key = 'owner' AND t.value_json LIKE :owner)"),
                           {"owner": f"%{lost}%"})
    engine.dispose()
    output, _ = survivor.communicate(timeout=180)
    assert survivor.returncode == 0, output
    study = Study.load(mine, storage=server)
    assert table(study) == table(run({**WORDS, "pause": 0}, tmp_path / "sqlite", workers=2))
    assert not study.failures()
    assert ended(mine, lost) == sorted(trial.key for trial in study.plan.trials())


def test_a_long_curve_is_stored(server, name, tmp_path):
    (tmp_path / name).mkdir()
    storage = Storage(tmp_path / name, server, create=True)
    (row,) = storage.add([Trial(arm="none", host="x")])
    storage.claim(row)
    curve = [{"epoch": epoch, **{f"metric{i}": epoch + 0.123456789 for i in range(12)}} for epoch in range(600)]
    storage.finish(row, Result(metrics={"mAP50-95": 0.5}), "mAP50-95", curve)
    assert list(storage.rows()[0].curve) == curve
    storage.close()


def test_a_server_that_does_not_answer_leaves_no_plan(server, tmp_path):
    scheme = server.partition("://")[0]
    with pytest.raises(GraftError, match="cannot be used") as caught:
        run(WORDS, tmp_path / "s", storage=f"{scheme}://someone:secret@127.0.0.1:9/nothing")
    assert "secret" not in str(caught.value)
    assert not (tmp_path / "s" / "plan.yaml").exists()
