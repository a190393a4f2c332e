import importlib
import json
import os
import subprocess
import sys
import time

import pytest

from yolograft.errors import GraftError
from yolograft.study import run
from yolograft.study.local import Local, find_devices
from yolograft.study.trial import Failure, Result, Trial, load_host, read_epochs, read_json, write_json
from yolograft.study.worker import perform

HOST = "yolograft.study.dummy"


def trial(**settings):
    return Trial(arm="se@8", graft="se(ratio=16)@8", settings=settings, host=HOST)


def register_host(monkeypatch, folder, name):
    """Register a module as a host, as an installed package does: a `.dist-info` folder on the import path."""
    package = folder / f"{name}_package-1.0.dist-info"
    package.mkdir(parents=True)
    (package / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}-package\nVersion: 1.0\n")
    (package / "entry_points.txt").write_text(f"[yolograft.hosts]\nmy-host = {name}\n")
    monkeypatch.syspath_prepend(folder)  # a trial's process inherits this process' import path


@pytest.fixture
def this_host(monkeypatch, tmp_path_factory):
    """Register this file as a host: its function `train` is below."""
    register_host(monkeypatch, tmp_path_factory.mktemp("installed"), __name__)
    return __name__


def prepare(folder, **settings):
    write_json(folder / "trial.json", trial(**settings))
    return folder


def test_a_finished_trial_stores_its_result_and_is_not_run_again(tmp_path):
    result = perform(prepare(tmp_path, epochs=3))
    assert isinstance(result, Result)
    assert read_json(Result, tmp_path / "result.json") == result
    assert perform(tmp_path) == result
    assert (tmp_path / "finished").read_text().count("\n") == 1
    assert list(read_epochs(tmp_path)) == [1, 2, 3]


def test_a_failed_trial_stores_its_reason_and_can_be_run_again(tmp_path):
    failure = perform(prepare(tmp_path, fail="error"))
    assert isinstance(failure, Failure)
    assert read_json(Failure, tmp_path / "failure.json") == failure
    assert isinstance(perform(prepare(tmp_path)), Result)
    assert not (tmp_path / "failure.json").exists()


def test_a_trial_resumes_from_its_checkpoint(tmp_path):
    (tmp_path / "checkpoint.json").write_text('{"epoch": 2}')
    (tmp_path / "epochs.jsonl").write_text('{"epoch": 1, "mAP50-95": 0.1}\n{"epoch": 2, "mAP50-9')
    perform(prepare(tmp_path, epochs=4))
    # the incomplete line is skipped, and the next record starts on a new line
    assert sorted(read_epochs(tmp_path)) == [1, 3, 4]


def test_the_last_record_of_a_repeated_epoch_is_used(tmp_path):
    (tmp_path / "epochs.jsonl").write_text('{"epoch": 1, "a": 1}\n{"epoch": 1, "a": 2}\n')
    assert read_epochs(tmp_path) == {1: {"a": 2}}
    assert read_epochs(tmp_path / "nowhere") == {}


def test_the_process_ends_when_its_parent_is_killed(tmp_path):
    prepare(tmp_path, epochs=100, pause=0.5)
    code = ("import sys, pathlib, time\nfrom yolograft.study.local import Local\n"
            "from yolograft.study.trial import Trial, read_json\nfolder = pathlib.Path(sys.argv[1])\n"
            "job = Local().start(read_json(Trial, folder / 'trial.json'), folder, 0)\n"
            "print(job.process.pid, flush=True)\ntime.sleep(60)\n")
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True,
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    with parent:
        child = int(parent.stdout.readline())
        os.kill(child, 0)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30  # the trial would take longer
    while time.monotonic() < deadline:
        if not is_alive(child):
            return
        time.sleep(0.05)
    pytest.fail("the trial's process outlives its parent")


def test_a_plan_imports_no_module_that_is_not_registered_as_a_host(monkeypatch, tmp_path):
    (tmp_path / "some_host.py").write_text("raise AssertionError('this module must not be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("some_host", "yolograft.study.local", "json"):
        with pytest.raises(GraftError, match=r"Known: ultralytics, .*entry-point group 'yolograft\.hosts'"):
            load_host(name)
    with pytest.raises(GraftError, match="Did you mean 'ultralytics'"):
        load_host("ultralitics")
    register_host(monkeypatch, tmp_path / "installed", "json")
    assert load_host("json") is load_host("my-host") is json


def test_a_registered_host_that_does_not_exist_is_an_error(monkeypatch, tmp_path):
    register_host(monkeypatch, tmp_path, "absent_host")
    with pytest.raises(GraftError, match="'my-host' is registered as the module 'absent_host', which does not exist"):
        load_host("my-host")
    (tmp_path / "absent_host.py").write_text("import a_module_that_is_not_installed")
    importlib.invalidate_caches()
    with pytest.raises(ModuleNotFoundError, match="a_module_that_is_not_installed"):
        load_host("my-host")


_SLOW = """
import os, time
from yolograft.study.dummy import blocks, check, fingerprints, hardware, pictures, rows, spell, train, versions
def test(trial, folder):
    (folder / "pid.part").write_text(str(os.getpid()))
    os.replace(folder / "pid.part", folder / "pid")
    time.sleep(100)
"""


def test_the_process_that_scores_the_held_out_split_ends_with_its_parent(tmp_path, monkeypatch):
    (tmp_path / "slow_host.py").write_text(_SLOW)
    register_host(monkeypatch, tmp_path, "slow_host")
    run({"data": "somewhere", "model": "yolo11n.pt", "arms": "none; se@8", "seeds": 1, "epochs": 1, "host": "slow_host"},
        tmp_path / "s")
    code = ("import sys\nfrom yolograft.study import Study, holdout\nholdout.score(Study.load(sys.argv[1]))\n")
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path / "s")],
                              env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))})
    with parent:
        deadline = time.monotonic() + 120
        while not (found := list((tmp_path / "s").glob("trials/*/pid"))) and time.monotonic() < deadline:
            time.sleep(0.05)
        child = int(found[0].read_text())
        assert is_alive(child)
        parent.kill()
        parent.wait()
    deadline = time.monotonic() + 30  # the trial would take longer
    while is_alive(child) and time.monotonic() < deadline:
        time.sleep(0.05)
    alive = is_alive(child)
    if alive:
        os.kill(child, 9)
    assert not alive, "the process that scores outlives its parent"


def test_temporary_files_of_a_killed_process_are_removed(tmp_path):
    (tmp_path / ".result.json.0a1b2c3d.part").write_text("{")
    perform(prepare(tmp_path))
    assert not list(tmp_path.glob("*.part")) + list(tmp_path.glob(".*.part"))


@pytest.mark.parametrize(("slots", "requested", "threads"), [(1, None, "2"), (2, None, "1"), (3, None, "1"), (2, "3", "3")])
def test_workers_share_the_cpus_or_use_the_user_s_threads(tmp_path, monkeypatch, this_host, slots, requested, threads):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 5}, raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr("yolograft.threads._START", requested or "")
    # Ultralytics sets this if the user has not set it, and in 8.3.0 always
    monkeypatch.setitem(sys.modules, "ultralytics", sys)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    job = Local(slots=slots).start(Trial(arm="a", host=this_host), tmp_path, 0)
    notes = wait(job).notes
    assert (notes["OMP_NUM_THREADS"], notes["YOLOGRAFT_THREADS"]) == (threads, threads)


def is_alive(pid):
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_trials_use_the_devices_in_turn(tmp_path, this_host):
    local = Local(slots=3, devices=("4", "7"))
    jobs = [local.start(Trial(arm=str(i), seed=i, host=this_host), tmp_path / str(i), i) for i in range(3)]
    outcomes = [wait(job) for job in jobs]
    assert [outcome.notes["device"] for outcome in outcomes] == ["4", "7", "4"]


def train(trial, folder, report):
    """Train nothing: this file is the host of the trials above."""
    return Result(metrics={"m": 1.0}, notes={"device": os.environ["CUDA_VISIBLE_DEVICES"], **{
        name: os.environ[name] for name in ("OMP_NUM_THREADS", "YOLOGRAFT_THREADS")}})


def wait(job):
    while (outcome := job.poll()) is None:
        time.sleep(0.02)
    return outcome


def test_devices_are_read_from_cuda_visible_devices(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    assert find_devices() == ("2", "3")
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert find_devices() == ()


def test_the_failure_of_a_killed_process_names_the_signal(tmp_path):
    job = Local().start(trial(pause=60), tmp_path, 0)
    job.process.kill()
    outcome = wait(job)
    assert isinstance(outcome, Failure)
    assert "SIGKILL" in outcome.reason
    assert "out-of-memory" in outcome.reason


def test_the_worker_imports_no_large_package():
    code = ("import sys, yolograft.study.worker, yolograft.study.dummy\n"
            "print(sum(m in sys.modules for m in ('torch', 'numpy', 'scipy', 'optuna', 'yaml', 'rich')))")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, env=environment, check=True)
    assert answer.stdout.strip() == b"0"


def test_keys_differ_exactly_if_the_result_can_differ():
    base = trial(epochs=3)
    assert base.key == Trial(arm="another name", graft=base.graft, settings={"epochs": 3}, host=HOST).key
    others = [Trial(arm="a", graft=base.graft, settings={"epochs": 3}, host=HOST, **change) for change in (
        {"seed": 1}, {"control": "aa"}, {"versions": {"yolograft": "9"}}, {"fingerprints": {"data": "x"}})]
    assert len({base.key, *(other.key for other in others)}) == 5
