"""The commands `yolograft study` and `yolograft status`."""

import pytest

from yolograft.cli import main
from yolograft.cli.console import choose_folder
from yolograft.study import Study, holdout

WORDS = ["data=set.d", "model=yolo11n.pt", "arms=none; se@8", "seeds=2", "epochs=1", "host=yolograft.study.dummy"]


@pytest.fixture(autouse=True)
def _working_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run_command(capsys, *words):
    code = main(list(words))
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return code, captured.out.replace("\n", " "), captured.err


def test_repeating_a_study_command_runs_no_trial_again(capsys):
    code, out, _ = run_command(capsys, "study", *WORDS)
    assert code == 0
    assert "2 seeds cannot give a result" in out
    assert "4 of 4 trials done" in out
    assert "se@8: too few runs to say" in out
    folder = Study.load("runs/study/set-yolo11n").folder
    before = sorted(folder.glob("trials/*/finished"))
    assert run_command(capsys, "study", *WORDS)[0] == 0
    assert [path.read_text().count("\n") for path in before] == [1] * 4
    code, out, _ = run_command(capsys, "status", str(folder))
    assert code == 0
    assert "complete" in out


def test_a_study_takes_the_argument_names_of_other_repositories(capsys, monkeypatch):
    words = ["--dataset", "set.d", "--weights", "yolo11n.pt", *WORDS[2:]]
    code, out, err = run_command(capsys, "study", *words)
    assert code == 0
    assert "Study runs/study/set-yolo11n: complete; 4 of 4" in out
    assert "dataset=set.d -> data=set.d; weights=yolo11n.pt -> model=yolo11n.pt" in err

    seen = []
    monkeypatch.setattr("yolograft.cli.console.run", lambda *words: seen.append(words) or 0)
    main(["study", "--data", "set.d", "--weights", "", "--cfg", "yolo11n.yaml", "--img", "320", "--batch-size", "4",
          "--epoch", "3", "--noamp", "--num-workers", "8", "--workers", "2", "arms=se@8"])
    assert seen == [(None, {"data": "set.d", "model": "yolo11n.yaml", "imgsz": "320", "batch": "4", "epochs": "3",
                            "amp": "False", "num_workers": "8", "arms": "se@8"}, {}, {"workers": "2"})]
    main(["study", "host=yolograft.study.dummy", "--size", "3", "--weights", "m.pt"])
    assert seen[1][1] == {"host": "yolograft.study.dummy", "size": "3", "model": "m.pt"}


def test_a_plan_continues_in_its_folder_with_more_seeds(capsys):
    run_command(capsys, "study", *WORDS, "name=mine")
    code, _, _ = run_command(capsys, "study", "runs/study/mine/plan.yaml", "seeds=3")
    assert code == 0
    assert [len(scores) for scores in Study.load("runs/study/mine").scores().values()] == [3, 3]


def test_a_study_on_a_server_continues_in_its_folder(capsys, tmp_path):
    server = f"storage=sqlite:///{tmp_path / 'server.db'}"
    run_command(capsys, "study", *WORDS, "name=mine", server)
    code, out, _ = run_command(capsys, "study", "runs/study/mine/plan.yaml", "seeds=3", server)
    assert code == 0
    assert "Study runs/study/mine: complete; 6 of 6" in out
    _, out, err = run_command(capsys, "status", "runs/study/mine")
    assert "storage=URL" in err


def test_a_study_with_other_settings_gets_a_new_folder(capsys, tmp_path):
    run_command(capsys, "study", *WORDS)
    words = dict(word.split("=", 1) for word in WORDS)
    assert choose_folder(None, words, {}).name == "set-yolo11n"
    assert choose_folder(None, {**words, "seeds": "9", "arms": "none; cbam@8"}, {}).name == "set-yolo11n", \
        "other arms and seeds continue the same study"
    assert choose_folder(None, {**words, "epochs": "7"}, {}).name == "set-yolo11n-2"
    assert choose_folder(None, {**words, "data": "other"}, {}).name == "other-yolo11n"
    assert choose_folder(None, words, {"project": "there", "name": "x"}).parts == ("there", "x")
    assert choose_folder("steel.yaml", words, {}).name == "steel"
    assert not list(tmp_path.glob("runs/study/set-yolo11n-2"))


def test_a_failed_trial_shows_in_the_exit_code(capsys):
    code, out, _ = run_command(capsys, "study", *WORDS[:2], "arms=none; se@8 fail=error", *WORDS[3:])
    assert code == 1
    assert "the dummy was told to fail" in out


def test_the_held_out_split_is_scored_once_for_the_chosen_arm(capsys):
    words = [*WORDS[:2], "arms=none; se@8 effect=-0.2; cbam@8 effect=0.2", "seeds=6", *WORDS[4:], "name=t"]
    code, out, _ = run_command(capsys, "study", *words)
    assert "held-out" not in out
    code, out, _ = run_command(capsys, "study", *words, "test=True")
    assert code == 0
    assert "On the held-out test split, cbam@8 effect=0.2, chosen among 2 arms by validation: helps" in " ".join(out.split())
    found = holdout.read(Study.load("runs/study/t"))
    assert found.arm == "cbam@8 effect=0.2"
    assert set(found.scores) == {"none", "cbam@8 effect=0.2"}
    assert len(found.scores["none"]) == 6
    more = [word.replace("effect=0.2", "effect=0.2; eca@8 effect=0.9") for word in words]
    code, out, _ = run_command(capsys, "study", *more, "test=True")
    assert "was scored before, for 'cbam@8 effect=0.2'" in " ".join(out.split())
    assert holdout.read(Study.load("runs/study/t")) == found, "a split that was scored once is not used for another choice"


def test_the_held_out_split_is_not_scored_for_a_control(capsys):
    words = [*WORDS[:2], "arms=none; se@8 effect=-0.9; params(se@8); aa", "seeds=2", *WORDS[4:], "name=t"]
    code, out, _ = run_command(capsys, "study", *words, "test=True")
    assert code == 0
    assert "se@8 effect=-0.9, chosen among 1 arms" in " ".join(out.split())


def test_status_shows_the_rank_agreement_after_fewer_epochs(capsys):
    run_command(capsys, "study", *WORDS[:2], "arms=none; se@8; cbam@8", "seeds=2", "epochs=4", WORDS[5], "name=t")
    _, out, _ = run_command(capsys, "status", "runs/study/t")
    early = {epoch: tau for epoch, tau, _ in Study.load("runs/study/t").fidelity()}
    assert f"{early[1]:+.2f} after epoch 1 (25%)" in " ".join(out.split())


def test_scoring_without_a_test_split_is_an_error(capsys):
    code, _, err = run_command(capsys, "study", *WORDS, "fail=no-test", "test=True")
    assert code == 2
    assert "no test split" in err


@pytest.mark.parametrize(("words", "message"), [
    (["study"], "names no data"), (["study", "data=x"], "names no model"), (["study", "data=x", "model=m"], "names no arms"),
    (["study", "nix.yaml"], "The plan 'nix.yaml' does not exist"), (["study", *WORDS, "epoch=3"], "Did you mean 'epochs'"),
    (["study", *WORDS, "workers=many"], "workers=many"), (["study", *WORDS, "budget=soon"], "not a time"),
    (["study", *WORDS, "executor=slurm"], "Known: local, ray"), (["study", *WORDS, "retry=perhaps"], "retry=perhaps"),
    (["study", *WORDS, "race=perhaps"], "race=perhaps"), (["study", *WORDS, "storage=nonsense"], "storage"),
    (["study", *WORDS, "data=nix.yaml"], "'nix.yaml' does not exist"), (["status"], "needs the study's folder"),
    (["status", "nix"], "no study in 'nix'"), (["study", *WORDS, "test=perhaps"], "test=perhaps"),
    (["study", *WORDS, "baseline=cbam@8"], "is not an arm"), (["study", *WORDS, "seeds=0"], "seeds=0"),
])
def test_a_mistake_gives_a_message_without_traceback_and_writes_nothing(capsys, tmp_path, words, message):
    code, _, err = run_command(capsys, *words)
    assert code == 2
    assert message in err
    assert not list(tmp_path.glob("runs/study/*/trials"))
