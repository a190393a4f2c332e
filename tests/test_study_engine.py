import multiprocessing
import os
import random
import re
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from yolograft.errors import GraftError
from yolograft.study import Study, engine, run, status
from yolograft.study.engine import power_warnings, read_duration
from yolograft.study.plan import Plan
from yolograft.study.progress import LiveView, duration
from yolograft.study.storage import Storage
from yolograft.study.trial import Result
from yolograft.study.verdict import Word

WORDS = {"data": "somewhere", "model": "yolo11n.pt", "arms": "none; se@8", "seeds": 2, "epochs": 2,
         "host": "yolograft.study.dummy"}
SOURCE = str(Path(__file__).resolve().parents[1] / "src")


def words(**more):
    return {**WORDS, **more}


def trainings(folder):
    """Return how many times each trial was trained to its end."""
    return [len(path.read_text().splitlines()) for path in folder.glob("trials/*/finished")]


def test_a_study_from_words_to_verdicts(tmp_path):
    study = run(words(arms="none; se@8 effect=0.05; cbam@8", seeds=6), tmp_path / "s", workers=2)
    assert [verdict.word for verdict in study.verdicts()] == [Word.HELPS, Word.UNDECIDED]
    again = Study.load(tmp_path / "s")
    assert again.scores() == study.scores()
    assert again.plan == study.plan
    assert all(len(row.curve) == 2 for row in again.rows)
    text = status(tmp_path / "s")
    assert "complete; 18 of 18" in text
    assert "helps" in text


def test_a_finished_study_is_not_trained_again(tmp_path):
    first = run(words(), tmp_path / "s")
    second = run(words(), tmp_path / "s")
    assert trainings(tmp_path / "s") == [1] * 4
    assert second.scores() == first.scores()
    assert len(second.rows) == 4


def test_new_arms_and_seeds_are_added_and_old_ones_stay(tmp_path):
    run(words(), tmp_path / "s")
    study = run(words(arms="none; cbam@8", seeds=3), tmp_path / "s")
    assert list(study.scores()) == ["none", "se@8", "cbam@8"], "an arm that has run stays in the study"
    assert [len(scores) for scores in study.scores().values()] == [3, 3, 3]
    assert trainings(tmp_path / "s") == [1] * 9


@pytest.mark.parametrize(("how", "says"), [
    ("error", "RuntimeError: the dummy was told to fail"), ("memory", "out of memory"),
    ("exit", "the dummy left"), ("crash", "SIGSEGV"), ("nan", "finite")])
def test_a_failed_trial_records_its_reason_and_the_others_go_on(tmp_path, how, says):
    study = run(words(arms=f"none; se@8 fail={how}; cbam@8", seeds=1), tmp_path / "s")
    assert says in study.failures()[f"se@8 fail={how}", 0]
    assert [len(scores) for scores in study.scores().values()] == [1, 0, 1]
    assert says in status(tmp_path / "s").replace("\n", "")
    assert len(run(words(arms=f"none; se@8 fail={how}; cbam@8", seeds=1), tmp_path / "s").rows) == 3
    tried = run(words(arms=f"none; se@8 fail={how}; cbam@8", seeds=1), tmp_path / "s", retry=True)
    assert len(tried.rows) == 4


def test_a_trial_without_the_metric_of_the_study_fails_and_lists_its_metrics(tmp_path):
    study = run(words(metric="accuracy", seeds=1), tmp_path / "s")
    assert "gave no accuracy" in study.failures()["none", 0]


def test_a_folder_with_another_study_or_other_files_is_not_changed(tmp_path):
    run(words(), tmp_path / "s")
    before = {path: path.read_bytes() for path in (tmp_path / "s").glob("*.yaml")}
    with pytest.raises(GraftError, match="epochs: 2 recorded, 5 requested"):
        run(words(epochs=5), tmp_path / "s")
    with pytest.raises(GraftError, match="metric: mAP50-95 recorded"):
        run(words(metric="mAP50"), tmp_path / "s")
    assert before == {path: path.read_bytes() for path in (tmp_path / "s").glob("*.yaml")}
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "thesis.tex").write_text("x")
    with pytest.raises(GraftError, match="holds no study"):
        run(words(), tmp_path / "t")


def test_changed_data_or_versions_raise_an_error(tmp_path, monkeypatch):
    data = tmp_path / "d.yaml"
    data.write_text("a")
    run(words(data=str(data)), tmp_path / "s")
    data.write_text("b")
    with pytest.raises(GraftError, match="other data"):
        run(words(data=str(data)), tmp_path / "s")
    data.unlink()
    with pytest.raises(GraftError, match="does not exist"):
        run(words(data=str(data)), tmp_path / "s")
    assert "complete" in status(tmp_path / "s"), "a finished study can be read without its data"
    data.write_text("a")
    monkeypatch.setenv("YOLOGRAFT_DUMMY_VERSION", "2")
    with pytest.raises(GraftError, match="other versions"):
        run(words(data=str(data)), tmp_path / "s")


def test_only_one_process_can_run_a_folder(tmp_path):
    run(words(), tmp_path / "s")
    with FileLock(tmp_path / "s" / "running.lock"), pytest.raises(GraftError, match="another process"):
        run(words(), tmp_path / "s")


def test_a_plan_is_merged_with_a_plan_that_another_run_recorded_before_the_lock(tmp_path, monkeypatch):
    made = engine._executor

    def slowly(*options):  # another process runs the study before this one has locked the folder
        monkeypatch.setattr(engine, "_executor", made)
        run(words(arms="none; se@8"), tmp_path / "s")
        return made(*options)

    monkeypatch.setattr(engine, "_executor", slowly)
    study = run(words(arms="none; cbam@8", seeds="1,2"), tmp_path / "s")
    assert study.plan.seeds == (0, 1, 2)
    assert {arm: len(scores) for arm, scores in study.scores().items()} == {"none": 3, "se@8": 3, "cbam@8": 3}
    assert Study.load(tmp_path / "s").scores() == study.scores()


ROUNDS = 6
TIMEOUT = 300  # seconds; on a busy machine a process can take minutes to import what it needs
ARMS = {"none", "se@8", "cbam@8"}


def begin_together(barrier, arm, seeds, folders, urls):
    """Record a plan in each folder at the same time as the other process does."""
    # as if each process ran on another machine
    engine.lock_name = lambda storage: f"running-{os.getpid() if storage else 0}.lock"
    for folder, url in zip(folders, urls, strict=True):
        barrier.wait(TIMEOUT)
        while True:
            try:
                run(words(arms=f"none; {arm}", seeds=seeds), folder, storage=url, budget=0)
            except GraftError as error:
                if "another process" in str(error):
                    continue
                raise
            break


@pytest.mark.parametrize("place", ["one folder", "one folder and a server", "two folders and a server"])
def test_two_runs_that_begin_at_once_record_the_arms_and_seeds_of_both(tmp_path, place):
    homes = ("a", "b") if place.startswith("two") else ("a", "a")
    url = f"sqlite:///{tmp_path / 'server.db'}" if "server" in place else None
    folders = [[tmp_path / home / f"s{i}" for i in range(ROUNDS)] for home in homes]
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(2)
    processes = [context.Process(target=begin_together, args=(barrier, arm, seeds, mine, [url] * ROUNDS))
                 for arm, seeds, mine in zip(("se@8", "cbam@8"), ("0,1", "1,5"), folders, strict=True)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(TIMEOUT)
        assert process.exitcode == 0
    for folder in {*folders[0], *folders[1]}:
        plan = Study.load(folder, storage=url).plan
        assert ({arm.name for arm in plan.arms}, set(plan.seeds)) == (ARMS, {0, 1, 5}), folder
        if homes == ("a", "a"):
            assert Plan.read(folder / "plan.yaml", recorded=True) == plan


def test_machines_with_different_arms_and_seeds_keep_all_results(tmp_path):
    url = f"sqlite:///{tmp_path / 'server.db'}"
    first = run(words(seeds="0,1"), tmp_path / "a" / "s", storage=url)
    second = run(words(arms="none; cbam@8", seeds="1,5"), tmp_path / "b" / "s", storage=url)
    assert second.plan.seeds == (0, 1, 5)
    assert {arm: set(scores) for arm, scores in second.scores().items()} == {arm: {0, 1, 5} for arm in ARMS}
    assert all(second.scores()[arm][seed] == score for arm, by in first.scores().items() for seed, score in by.items())
    assert len(trainings(tmp_path / "a" / "s")) + len(trainings(tmp_path / "b" / "s")) == 9, "nothing was trained twice"
    assert Study.load(tmp_path / "a" / "s", storage=url).scores() == second.scores()
    assert run(words(seeds="0,1"), tmp_path / "a" / "s", storage=url).scores() == second.scores()


def test_arms_that_another_machine_adds_during_a_run_are_in_the_final_plan(tmp_path):
    url = f"sqlite:///{tmp_path / 'server.db'}"
    added = []

    def elsewhere(study, running, left):
        if not added:
            added.append(run(words(arms="none; cbam@8"), tmp_path / "b" / "s", storage=url, budget=0))

    study = run(words(), tmp_path / "a" / "s", storage=url, view=elsewhere)
    assert [arm.name for arm in study.plan.arms] == ["none", "se@8", "cbam@8"]
    assert [len(scores) for scores in study.scores().values()] == [2, 2, 0]
    assert Plan.read(tmp_path / "a" / "s" / "plan.yaml", recorded=True) == study.plan


def test_another_study_of_the_same_name_on_a_server_raises_an_error(tmp_path):
    url = f"sqlite:///{tmp_path / 'server.db'}"
    run(words(seeds=1), tmp_path / "a" / "s", storage=url)
    with pytest.raises(GraftError, match=r"storage of .* holds another study .*epochs: 2 recorded, 5 requested"):
        run(words(epochs=5), tmp_path / "b" / "s", storage=url)
    assert not (tmp_path / "b" / "s" / "plan.yaml").exists()
    assert Study.load(tmp_path / "a" / "s", storage=url).plan.settings["epochs"] == 2


def test_a_budget_starts_no_trial_that_would_end_after_it(tmp_path):
    begun = time.monotonic()
    study = run(words(seeds=50, pause=0.1), tmp_path / "s", budget="2s")
    assert time.monotonic() - begun < 20, "all trials take longer"
    done = sum(map(len, study.scores().values()))
    assert 2 <= done < 40
    assert not study.failures()
    assert sum(map(len, run(words(seeds=50, pause=0.1), tmp_path / "s", budget=1).scores().values())) > done


def test_a_race_stops_only_arms_that_cannot_win(tmp_path):
    arms = "none; se@8 effect=-0.3; cbam@8 effect=0.3; eca@8"
    study = run(words(arms=arms, seeds=8, epochs=1, race=True), tmp_path / "s", workers=1)
    runs = {arm: len(scores) for arm, scores in study.scores().items()}
    assert runs["none"] == runs["cbam@8 effect=0.3"] == 8
    assert runs["se@8 effect=-0.3"] <= 4
    assert runs["eca@8"] < 8
    by_arm = {verdict.arm: verdict for verdict in study.verdicts()}
    assert by_arm["cbam@8 effect=0.3"].word is Word.HELPS
    assert by_arm["cbam@8 effect=0.3"].p_adjusted == by_arm["cbam@8 effect=0.3"].p_holm == 3 * 2 / 2**8
    assert by_arm["se@8 effect=-0.3"].word is Word.UNDECIDED
    assert "stopped after" in by_arm["se@8 effect=-0.3"].why()
    with_all = run(words(arms=arms, seeds=8, epochs=1), tmp_path / "s")
    assert {len(scores) for scores in with_all.scores().values()} == {8}
    assert with_all.plan.race
    assert not with_all.stopped
    assert {v.arm: v.word for v in with_all.verdicts()}["se@8 effect=-0.3"] is Word.HURTS


def test_a_race_that_no_arm_can_win_raises_an_error(tmp_path):
    with pytest.raises(GraftError, match="seeds=7 or more"):
        run(words(arms="none; se@8; cbam@8; eca@8", seeds=6, race=True), tmp_path / "s")
    hopeless = words(arms="none; se@8 effect=-1; cbam@8 effect=-1", seeds=8, epochs=1, race=True)
    study = run(hopeless, tmp_path / "s")
    assert len(study.scores()["none"]) < 8, "after the last arm is stopped the baseline is not run any more"


@pytest.mark.parametrize(("options", "says"), [
    ({"executor": "slurm"}, "Known: local, ray"), ({"workers": 0}, "workers=0"),
    ({"per_gpu": -1}, "per_gpu=-1"), ({"budget": "soon"}, "budget=soon"),
    ({"address": "auto"}, "executor=ray")])
def test_wrong_options_raise_an_error_before_anything_is_created(tmp_path, options, says):
    with pytest.raises(GraftError, match=says):
        run(words(), tmp_path / "s", **options)


@pytest.mark.parametrize(("text", "seconds"), [("90", 90), ("2h", 7200), ("1h30m", 5400), ("0.5d", 43200)])
def test_a_duration_is_read_in_seconds(text, seconds):
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "h", "2w", "-3s", "1h 3x", "1.2.3s"])
def test_a_text_that_is_no_duration_raises_an_error(text):
    with pytest.raises(GraftError, match="not a time"):
        read_duration(text)


def test_a_plan_with_too_few_seeds_is_warned_about_before_it_runs():
    assert "At least 6 seeds" in power_warnings(Plan.of(words(seeds=3)))[0]
    assert "p is always at least 0.25" in power_warnings(Plan.of(words(seeds=3)))[0]
    assert power_warnings(Plan.of(words(seeds=6))) == []
    assert "will usually be missed" in power_warnings(Plan.of(words(seeds=6)), spread=0.01)[0]
    assert "nothing to compare" in power_warnings(Plan.of(words(arms="none")))[0]


def test_the_live_view_shows_epochs_and_trials(tmp_path):
    from rich.console import Console

    console = Console(record=True, width=140, force_terminal=True)
    with LiveView(console) as view:
        run(words(pause=0.2), tmp_path / "s", view=view)
    text = console.export_text()
    assert "epoch 1 of 2" in text or "epoch 0 of 2" in text
    assert "4 of 4 trials" in text
    assert [duration(s) for s in (5, 90, 7380)] == ["5 s", "2 min", "2 h 3 min"]


def start(folder, *more):
    code = ("import signal, sys; from yolograft.study import run; "
            "signal.signal(signal.SIGINT, signal.default_int_handler); "  # a shell ignores it in the background
            "run(dict(w.split('=', 1) for w in sys.argv[3:]), sys.argv[1], workers=int(sys.argv[2]))")
    text = [f"{key}={value}" for key, value in words(**dict(more)).items()]
    return subprocess.Popen([sys.executable, "-c", code, str(folder), "2", *text],
                            env={**os.environ, "PYTHONPATH": SOURCE})


def kill_test(folder, kills, state, **more):
    rng = random.Random(state)
    killed = 0
    for _ in range(kills * 3):
        process = start(folder, *more.items())
        try:
            code = process.wait(timeout=rng.uniform(0.4, 2.5))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            killed += 1
            if killed == kills:
                break
        else:
            assert code == 0
            break
    assert start(folder, *more.items()).wait(timeout=300) == 0
    return killed


def check_after_kills(folder, reference, trials):
    """Return how many epochs were trained in total."""
    study = Study.load(folder)
    assert numbers(study) == numbers(reference), "the scores equal those of a study that was not killed"
    assert trainings(folder) == [1] * trials, "no trial was trained to its end twice"
    assert sorted(row.state for row in study.rows) == ["complete"] * trials
    return sum(path.read_text().count('"epoch"') for path in folder.glob("trials/*/epochs.jsonl"))


def numbers(study):
    return {arm: dict(sorted(scores.items())) for arm, scores in study.scores().items()}


def test_three_kills_lose_no_result_and_repeat_no_trial(tmp_path):
    more = {"seeds": 3, "epochs": 4, "pause": 0.12}
    reference = run(words(**{**more, "pause": 0}), tmp_path / "reference", workers=2)
    killed = kill_test(tmp_path / "s", 3, 1, **more)
    assert killed >= 2
    check_after_kills(tmp_path / "s", reference, 6)


@pytest.mark.slow
def test_twenty_kills_lose_no_result_and_repeat_no_trial(tmp_path):
    more = {"arms": "none; se@8; cbam@8; aa", "seeds": 10, "epochs": 6, "pause": 0.3}
    reference = run(words(**{**more, "pause": 0}), tmp_path / "reference", workers=2)
    assert kill_test(tmp_path / "s", 20, 2, **more) == 20
    epochs = check_after_kills(tmp_path / "s", reference, 40)
    assert epochs <= 40 * 6 + 2 * 20, "a killed trial repeats only the epoch that was running"


def test_ctrl_c_ends_every_process_and_leaves_a_study_that_can_be_resumed(tmp_path):
    process = start(tmp_path / "s", ("pause", 2), ("seeds", 1))
    deadline = time.monotonic() + 120
    while not list((tmp_path / "s").glob("trials/*/lock")) and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(0.3)
    assert "running" in status(tmp_path / "s")
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) != 0
    for lock in (tmp_path / "s").glob("trials/*/lock"):
        with FileLock(lock, timeout=5):
            pass  # the lock is free: the trial's process has ended
    assert "interrupted" in status(tmp_path / "s")
    assert not list((tmp_path / "s").glob("trials/*/result.json"))


def test_trials_of_a_lost_machine_are_run_by_the_others(tmp_path, monkeypatch):
    monkeypatch.setattr("yolograft.study.engine._SYNC", 0.2)
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    (tmp_path / "b" / "s").mkdir(parents=True)
    other = Storage(tmp_path / "b" / "s", url, create=True)
    lost, finished, *_ = other.add(Plan.of(words()).trials())
    assert other.claim(lost)
    assert other.claim(finished)
    seen = []

    def elsewhere(study, running, left):
        done = sum(map(len, study.results.values()))
        seen.append(done)
        if done == 2 and not running:  # this machine has no trial left and waits for the two of the other machine
            other.finish(finished, Result(metrics={"mAP50-95": 0.25}), "mAP50-95")
            with sqlite3.connect(tmp_path / "shared.db") as connection:
                connection.execute("update trial_heartbeats set heartbeat = '2001-01-01'")

    study = run(words(), tmp_path / "a" / "s", storage=url, view=elsewhere)
    assert study.scores()[finished.arm][finished.seed] == 0.25, "the other machine's result counts"
    assert [len(scores) for scores in study.scores().values()] == [2, 2]
    assert trainings(tmp_path / "a" / "s") == [1] * 3
    assert seen[-1] == 4
    assert "complete" in status(tmp_path / "a" / "s", storage=url)
    again = run(words(), tmp_path / "a" / "s", storage=url)
    assert again.scores() == study.scores()


def test_waiting_for_other_machines_ends_with_the_budget(tmp_path):
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    (tmp_path / "b" / "s").mkdir(parents=True)
    other = Storage(tmp_path / "b" / "s", url, create=True)
    rows = other.add(Plan.of(words(seeds=1)).trials())
    assert all(map(other.claim, rows))
    study = run(words(seeds=1), tmp_path / "a" / "s", storage=url, budget="1s")
    assert not any(study.scores().values())
    assert "running: none, seed 0, on" in status(tmp_path / "a" / "s", storage=url)


def test_the_view_takes_a_small_part_of_the_running_time(tmp_path):
    drawn = []

    def slow(study, running, left):
        drawn.append(sum(map(len, study.results.values())))
        time.sleep(0.2)

    begun = time.monotonic()
    run(words(seeds=6, epochs=1), tmp_path / "s", workers=2, view=slow)
    most = 2 + (time.monotonic() - begun) / (20 * 0.2)  # at the start and at the end; a busy machine gives it more time
    assert len(drawn) <= most, "the view may take one twentieth of the running time, however many trials end"
    assert drawn[-1] == 12, "the view is called once more at the end"


def test_fidelity_compares_the_ranking_after_early_epochs_with_the_final_one(tmp_path):
    arms = "none; se@8 effect=0.3; cbam@8 effect=0.6"
    study = run(words(arms=arms, epochs=4, noise=0.001, shared=0.001), tmp_path / "s", workers=2)
    assert [(epoch, tau) for epoch, tau, _ in study.fidelity()] == [(1, 1.0), (2, 1.0), (3, 1.0), (4, 1.0)]
    assert [share for _, _, share in study.fidelity()] == [0.25, 0.5, 0.75, 1.0]
    assert study.milestones() == study.fidelity()[:3]
    two = run(words(), tmp_path / "two")
    assert two.fidelity() == two.milestones() == []
    assert study.agreement(study) == 1.0
    cheap = run(words(arms=arms, epochs=1, noise=0.001, shared=0.001), tmp_path / "cheap", workers=2)
    assert cheap.agreement(study) == 1.0
    assert two.agreement(study) != two.agreement(study), "NaN: with two arms no rank correlation is computed"


def test_a_full_disk_stops_the_study_but_no_trial_counts_as_failed(tmp_path, monkeypatch):
    full = tmp_path / "full"
    full.write_text("")
    arms = f"none; se@8; cbam@8 fail=full:{full}"
    with pytest.raises(GraftError, match="is full"):
        run(words(arms=arms), tmp_path / "s")
    study = Study.load(tmp_path / "s")
    assert not study.failures()
    assert study.scores()["none"]
    full.unlink()
    assert all(len(scores) == 2 for scores in run(words(arms=arms), tmp_path / "s").scores().values())
    assert trainings(tmp_path / "s") == [1] * 6
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 1000}))
    with pytest.raises(GraftError, match="is full"):  # even if a library turns the error into another one
        run(words(arms="none; se@8 fail=error"), tmp_path / "t")


def test_a_plan_that_cannot_be_written_leaves_no_trained_trial(tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Plan, "write", full)
    with pytest.raises(GraftError, match="had to stop"):
        run(words(), tmp_path / "s")
    monkeypatch.undo()
    assert trainings(tmp_path / "s") == []
    run(words(), tmp_path / "s")
    assert trainings(tmp_path / "s") == [1] * 4


@pytest.mark.parametrize(("arms", "says"), [
    ("none; esc@8", "No block is named 'esc'"), ("none; se@8; se(ratio=16)@8", "are the same"),
    ("none; se@8; se@8 lr=0.1", "No train argument is named 'lr'"), ("none; position(se)", "Did you mean 'positions'")])
def test_wrong_arms_leave_no_files(tmp_path, arms, says):
    with pytest.raises(GraftError, match=re.escape(says)):
        run(words(arms=arms), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_a_study_with_looks_ends_as_soon_as_every_arm_has_a_word(tmp_path):
    # one worker: a second one begins the first trial of seed 9 if it is free while the last trial of seed 8 still runs
    study = run(words(arms="none; se@8 effect=0.3; aa", seeds=10, looks="6,8,10", epochs=1), tmp_path / "s", workers=1)
    helped, control = study.verdicts()
    assert helped.word is Word.HELPS
    assert helped.look == 8, "no p of six seeds is small enough for what the first look may spend"
    assert control.word is Word.NONE
    assert len(study.scores()["none"]) == 8
    assert study.needed == 8
    assert [look.seeds for look in study.plan.taken] == [6, 8]
    assert "complete; 24 of 24" in status(tmp_path / "s")
    assert Study.load(tmp_path / "s").plan.taken == study.plan.taken


def test_no_word_is_given_between_looks(tmp_path):
    study = run(words(arms="none; se@8 effect=0.3", seeds=12, looks="8,12", epochs=1, pause=0.01), tmp_path / "s", budget=0)
    assert not study.scores()["none"]
    (verdict,) = study.verdicts()
    assert verdict.word is Word.NONE
    assert "first planned look is after 8 seeds" in verdict.why()
    assert study.plan.taken == ()


def test_seeds_and_arms_that_are_added_to_a_finished_study_are_looks(tmp_path):
    run(words(seeds=6, epochs=1), tmp_path / "s", workers=2)
    run(words(seeds=7, epochs=1), tmp_path / "s", workers=2)
    study = run(words(arms="none; cbam@8 effect=0.5", seeds=7, epochs=1), tmp_path / "s", workers=2)
    assert [(look.seeds, look.arms) for look in study.plan.taken] == [
        (6, ("se@8",)), (7, ("se@8",)), (7, ("cbam@8 effect=0.5",))]
    added = study.verdicts()[1]
    assert added.word is Word.NONE
    assert "have used the error rate" in added.why()
    assert study.spent <= 0.05
    with pytest.raises(GraftError, match="cannot be changed"):
        run(words(seeds=9, looks="5,9", epochs=1), tmp_path / "s")
    with pytest.raises(GraftError, match="fixed before the first run"):
        run(words(seeds=9, margin=0.02, epochs=1), tmp_path / "s")


def test_a_pilot_of_few_seeds_is_no_look(tmp_path):
    run(words(seeds=2, epochs=1), tmp_path / "s")
    study = run(words(seeds=8, looks="6,8", epochs=1), tmp_path / "s", budget=0)
    assert study.plan.taken == ()
    assert study.plan.looks == (6, 8)


def test_only_the_metric_of_the_plan_gets_a_word(tmp_path):
    study = run(words(arms="none; se@8 effect=0.3", seeds=6, epochs=1), tmp_path / "s", workers=2)
    (verdict,) = study.verdicts("mAP50")
    assert verdict.word is Word.NONE
    assert "mAP50 is not the metric of the plan" in verdict.why()
