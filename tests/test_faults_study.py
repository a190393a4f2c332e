"""Faults of a study: each is caused here, and the study goes on without losing or repeating a finished trial."""

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from faults import FailingDisk, at_every_write
from filelock import FileLock

from yolograft.errors import GraftError
from yolograft.study import Study, engine, run, status
from yolograft.study.holdout import read as read_holdout
from yolograft.study.plan import Plan
from yolograft.study.storage import Storage
from yolograft.study.trial import Failure, Result, Trial, read_epochs, read_json, write_json
from yolograft.study.worker import perform

HOST = "yolograft.study.dummy"
WORDS = {"data": "somewhere", "model": "yolo11n.pt", "arms": "none; se@8", "seeds": 1, "epochs": 2, "host": HOST}
SOURCE = str(Path(__file__).resolve().parents[1] / "src")


def trainings(folder):
    """Return how many times each trial was trained to its end."""
    return [len(path.read_text().splitlines()) for path in folder.glob("trials/*/finished")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished study; tests copy it."""
    folder = tmp_path_factory.mktemp("finished") / "s"
    run(WORDS, folder)
    return folder


@pytest.fixture
def copied(finished, tmp_path):
    return Path(shutil.copytree(finished, tmp_path / "s"))


# The study's own files

def damage_half(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("damage", [damage_half, lambda path: path.write_bytes(b""),
                                    lambda path: path.write_bytes(b"\0" * 999)], ids=["half", "empty", "zeros"])
def test_a_damaged_data_base_is_kept_and_the_results_come_from_the_folders(copied, tmp_path, damage):
    reference = Study.load(copied).scores()
    for file in copied.glob("study.db-*"):
        file.unlink()
    damage(copied / "study.db")
    broken = (copied / "study.db").read_bytes()
    if broken:  # SQLite takes an empty file for a new data base, and then the results come from the folders at once
        for act in (lambda: run(WORDS, copied), lambda: Study.load(copied), lambda: status(copied)):
            with pytest.raises(GraftError, match="Move this file to another folder"):
                act()
        assert (copied / "study.db").read_bytes() == broken, "it is not written to"
        (copied / "study.db").rename(tmp_path / "damaged.db")
    assert run(WORDS, copied).scores() == reference
    assert trainings(copied) == [1, 1], "no trial was trained again"


@pytest.mark.parametrize("content", [None, "", "data: [", "arms: none; se@8\n"], ids=["gone", "empty", "no YAML", "cut"])
def test_a_lost_or_damaged_plan_is_restored_from_the_data_base(copied, tmp_path, content):
    plan, reference = copied / "plan.yaml", Study.load(copied).scores()
    original = plan.read_text()
    plan.unlink()
    if content is not None:
        plan.write_text(content)
        with pytest.raises(GraftError, match=r"restored from study\.db"):
            run(WORDS, copied)
        assert plan.read_text() == content, "it is not overwritten"
        plan.rename(tmp_path / "damaged.yaml")
    assert run(WORDS, copied).scores() == reference
    assert plan.read_text() == original
    assert trainings(copied) == [1, 1]


def test_a_plan_that_was_cut_at_a_line_loses_no_arm(copied):
    plan = copied / "plan.yaml"
    whole = plan.read_text()
    plan.write_text(whole.replace("- se@8\n", "").split("fingerprints:")[0])
    study = run({**WORDS, "arms": "none"}, copied)
    assert [arm.name for arm in study.plan.arms] == ["none", "se@8"], "the copy in study.db has both arms"
    assert plan.read_text() == whole


@pytest.mark.parametrize("name", ["result.json", "failure.json"])
@pytest.mark.parametrize("content", [b"", b'{"metrics": {"mAP', b"[]", b'{"metrics": 3, "reason": ', b"\xff\xfe"])
def test_a_damaged_result_of_a_trial_is_kept_and_the_trial_runs(tmp_path, name, content):
    write_json(tmp_path / "trial.json", Trial(arm="none", settings={"epochs": 1}, host=HOST))
    (tmp_path / name).write_bytes(content)
    assert isinstance(perform(tmp_path), Result)
    if name == "result.json":
        assert (tmp_path / "result.json.damaged").read_bytes() == content


def test_a_damaged_state_of_a_trial_starts_it_from_the_beginning(tmp_path):
    write_json(tmp_path / "trial.json", Trial(arm="none", settings={"epochs": 3}, host=HOST))
    reference = perform(tmp_path)
    for name in ("result.json", "finished"):
        (tmp_path / name).unlink()
    damage_half(tmp_path / "checkpoint.json")
    assert perform(tmp_path) == reference


@pytest.mark.parametrize("line", ['{"epoch": 2, "mAP50-95"', "[1]", "3", "{}", '{"epoch": "x"}',
                                  '{"epoch": 1, "a": null}', "\x00"])
def test_damaged_lines_of_epochs_are_skipped(tmp_path, line):
    (tmp_path / "epochs.jsonl").write_text(f'{{"epoch": 1, "mAP50-95": 0.5}}\n{line}\n{{"epoch": 3, "mAP50-95": 0.6}}\n')
    assert read_epochs(tmp_path) == {1: {"mAP50-95": 0.5}, 3: {"mAP50-95": 0.6}}


def test_a_damaged_file_of_test_scores_is_named_and_not_overwritten(copied):
    (copied / "test.json").write_text('{"arm": "se@8"')
    with pytest.raises(GraftError, match="holds the scores on the test split"):
        read_holdout(Study.load(copied))


# The disk

@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.slow)])
def test_a_full_disk_at_every_write_of_a_study(tmp_path, every):
    """The writes of the study's own process; those of its trials are below."""
    reference = run(WORDS, tmp_path / "reference").scores()

    def check(error):
        assert isinstance(error, GraftError), error
        assert "No space left" in str(error) or "is full" in str(error)
        assert not list((tmp_path / "s").glob("**/.*.part")), "no temporary file is left"
        if (tmp_path / "s").exists():
            assert run(WORDS, tmp_path / "s").scores() == reference, "the same command goes on"
            assert trainings(tmp_path / "s") == [1, 1]

    writes = at_every_write(tmp_path / "s", lambda: run(WORDS, tmp_path / "s", workers=2), check,
                            prepare=lambda: shutil.rmtree(tmp_path / "s", ignore_errors=True), every=every)
    assert writes >= 8 // every


def test_a_full_disk_at_every_write_of_a_trial(tmp_path):
    trial = Trial(arm="none", settings={"epochs": 3}, host=HOST)

    def prepare():
        shutil.rmtree(tmp_path / "t", ignore_errors=True)
        (tmp_path / "t").mkdir()
        write_json(tmp_path / "t" / "trial.json", trial)

    prepare()
    reference = perform(tmp_path / "t")
    outcomes = []
    at = 0
    while True:
        prepare()
        disk = FailingDisk(tmp_path / "t", at)
        with disk.injected():
            try:
                outcomes.append(perform(tmp_path / "t"))
            except OSError:  # even the failure could not be written: the study sees the end of the process
                outcomes.append(None)
        if not disk.failed:
            break
        if isinstance(outcomes[-1], Failure):
            assert engine.is_full(outcomes[-1], tmp_path), "the study stops, and the trial does not count as failed"
        assert perform(tmp_path / "t") == reference, "the trial goes on"
        at += 1
    assert at >= 10
    assert sum(isinstance(one, Failure) for one in outcomes) >= 8


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_a_folder_that_cannot_be_written_is_an_error_and_stays_unchanged(tmp_path, number):
    with FailingDisk(tmp_path, 0, number, then=True).injected(), pytest.raises(GraftError, match="had to stop"):
        run(WORDS, tmp_path / "new" / "s")
    assert not (tmp_path / "new").exists()


def test_a_finished_study_can_be_read_from_a_read_only_folder(copied):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file() and "study.db" not in path.name}
    with FailingDisk(copied, 0, errno.EROFS, then=True).injected():
        assert "complete" in status(copied)
        assert Study.load(copied).verdicts()
    assert {path: path.read_bytes() for path in before} == before


@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_a_home_that_cannot_be_written_is_an_error_before_the_first_training(tmp_path, monkeypatch, number):
    monkeypatch.setenv("YOLOGRAFT_REGISTER", str(tmp_path / "home" / "studies.json"))
    with FailingDisk(tmp_path / "home", 0, number, then=True).injected(), \
            pytest.raises(GraftError, match="YOLOGRAFT_REGISTER=off"):
        run(WORDS, tmp_path / "s")
    assert not trainings(tmp_path / "s")
    monkeypatch.setenv("YOLOGRAFT_REGISTER", "off")
    assert run(WORDS, tmp_path / "s").scores()["none"], "the same study goes on"


def test_a_register_that_another_process_locks_is_named(tmp_path, monkeypatch):
    file = tmp_path / "studies.json"
    monkeypatch.setenv("YOLOGRAFT_REGISTER", str(file))
    monkeypatch.setattr("yolograft.study.register._TIMEOUT", 0.1)
    with FileLock(f"{file}.lock"), pytest.raises(GraftError, match=r"register of studies .* cannot be written"):
        run(WORDS, tmp_path / "s")


# Storage

@pytest.mark.parametrize("url", ["nonsense", "postgresql+nodriver://u:secret@h/d", "sqlite:////nowhere/at/all/x.db",
                                 "mysql+pymysql://u:p@127.0.0.1:1/d"])
def test_a_wrong_storage_leaves_no_folder(tmp_path, url):
    with pytest.raises(GraftError):
        run(WORDS, tmp_path / "runs" / "study" / "s", storage=url)
    assert not list(tmp_path.iterdir()), "neither the folder nor those above it that did not exist"


def test_a_wrong_storage_leaves_the_user_s_folder(tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(GraftError):
        run(WORDS, tmp_path / "s", storage="nonsense")
    assert (tmp_path / "s").is_dir()


# Processes

@pytest.mark.parametrize(("kind", "says"), [("memory", "out of memory"), ("cuda-memory", "out of memory"),
                                            ("nan", "without finite metrics"), ("crash", "SIGSEGV")])
def test_a_trial_that_fails_has_its_reason_and_retry_runs_it_again(tmp_path, kind, says):
    words = {**WORDS, "arms": f"none; se@8 fail={kind}"}
    study = run(words, tmp_path / "s")
    (reason,) = study.failures().values()
    assert says in reason
    assert study.scores()["none"], "the other trial has its result"
    again = run(words, tmp_path / "s", retry=True)
    assert [row.state for row in again.rows].count("failed") == 2, "the failed trial was run again, the finished one not"
    assert trainings(tmp_path / "s") == [1]


def start(folder, *more, **words):
    code = ("import signal, sys; from yolograft.cli import main\n"
            "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a shell ignores it in the background
            "sys.exit(main(sys.argv[1:]))")
    text = [f"{key}={value}" for key, value in {**WORDS, **words}.items()]
    return subprocess.Popen([sys.executable, "-c", code, "study", *text, f"project={folder.parent}", f"name={folder.name}",
                             *more], env={**os.environ, "PYTHONPATH": SOURCE}, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("sign", [signal.SIGTERM, signal.SIGINT])
def test_a_study_that_is_stopped_says_how_to_go_on(tmp_path, sign):
    process = start(tmp_path / "s", pause=3)
    deadline = time.monotonic() + 120
    while not list((tmp_path / "s").glob("trials/*/lock")) and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(sign)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "All finished trials are saved. Continue with: yolograft study" in output
    assert "Traceback" not in output


def test_data_that_changes_while_a_study_runs_is_noticed_when_it_goes_on(tmp_path):
    data = tmp_path / "d.yaml"
    data.write_text("a")
    run({**WORDS, "data": str(data)}, tmp_path / "s", view=lambda *_: data.write_text("b"))
    with pytest.raises(GraftError, match="other data or weights"):
        run({**WORDS, "data": str(data), "seeds": 2}, tmp_path / "s")
    assert trainings(tmp_path / "s") == [1, 1]


def test_a_clock_that_jumps_changes_no_result_and_no_budget(tmp_path, monkeypatch):
    reference = run(WORDS, tmp_path / "reference").scores()
    wall = iter([1e9, 2e9, 5e8, 3e9] * 10000)
    monkeypatch.setattr(time, "time", lambda: next(wall))
    study = run(WORDS, tmp_path / "s", budget="10m")
    assert study.scores() == reference


def test_a_plan_is_stored_in_the_data_base_too(copied):
    with closing(Storage(copied)) as storage:
        assert storage.plan() == (copied / "plan.yaml").read_text()
    assert Plan.read(copied / "plan.yaml", recorded=True).arms
    assert read_json(Result, next(copied.glob("trials/*/result.json"))) is not None
