import json
import threading
from pathlib import Path

import pytest

from yolograft.errors import DataError
from yolograft.study import Study, register, run
from yolograft.study.progress import look_sentences
from yolograft.study.register import Entry, enter, find, left, read

WORDS = {"data": "somewhere", "model": "m", "host": "yolograft.study.dummy", "epochs": 1}


@pytest.fixture
def file(tmp_path, monkeypatch):
    monkeypatch.setenv("YOLOGRAFT_REGISTER", str(tmp_path / "config" / "studies.json"))
    return register.path()


def entry(name, spent=0.0, found=False, data="d"):
    return Entry(id=name, folder=name, data=data, model="m", spent=spent, found=found)


@pytest.mark.parametrize("word", ["off", "OFF", "0", "false"])
def test_the_register_can_be_switched_off(monkeypatch, word):
    monkeypatch.setenv("YOLOGRAFT_REGISTER", word)
    assert register.path() is None


def test_the_register_is_in_the_users_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("YOLOGRAFT_REGISTER")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert register.path() == tmp_path / "yolograft" / "studies.json"


def test_studies_share_the_error_rate_until_one_gives_a_word():
    assert left([], 0.05) == 0.05
    assert left([entry("a", 0.03), entry("b", 0.015)], 0.05) == pytest.approx(0.005)
    assert left([entry("a", 0.03), entry("b", 0.03)], 0.05) == 0
    assert left([entry("a", 0.03, found=True)], 0.05) == 0.05
    assert left([entry("a", 0.03, found=True), entry("b", 0.03)], 0.05) == pytest.approx(0.02)


def test_only_earlier_studies_of_the_same_data_count(file):
    for one in (entry("a"), entry("b", data="other"), entry("c")):
        enter(file, one)
    enter(file, entry("a", 0.02))
    assert [one.id for one in find(file, entry("c"))] == ["a"]
    assert find(file, entry("a")) == []
    assert [one.id for one in find(file, entry("new"))] == ["a", "c"]
    assert [one.spent for one in read(file)] == [0.02, 0, 0]


def test_processes_that_enter_at_once_lose_nothing(file):
    threads = [threading.Thread(target=enter, args=(file, entry(str(number)))) for number in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(int(one.id) for one in read(file)) == list(range(12))


@pytest.mark.parametrize("content", ["", "[", '[{"id": 1}]', "7"])
def test_a_broken_register_is_named(file, content):
    file.parent.mkdir()
    file.write_text(content)
    with pytest.raises(DataError, match="YOLOGRAFT_REGISTER=off"):
        read(file)


def test_a_second_study_pays_for_the_first_and_says_so(file, tmp_path):
    first = run({**WORDS, "arms": "none; se@8", "seeds": 6}, tmp_path / "first")
    assert first.plan.registered["earlier"] == 0
    assert first.plan.alpha == 0.05
    (one,) = json.loads(file.read_text())
    assert one["spent"] == 2 / 64
    second = run({**WORDS, "arms": "none; cbam@8", "seeds": 6}, tmp_path / "second")
    assert second.plan.registered["earlier"] == 1
    assert second.plan.alpha == 0.05
    assert second.plan.shared_alpha == pytest.approx(0.05 - 2 / 64)
    (alone,), (shared,) = second.verdicts(), second.shared_verdicts
    assert str(alone.word) != "no verdict"
    assert str(shared.word) == "no verdict"
    assert "earlier looks or studies have used the error rate" in shared.why()
    (sentence,) = look_sentences(second)
    assert "Study 2 of this data and model here" in sentence
    assert "cbam@8: no verdict" in sentence
    assert Study.load(tmp_path / "second").plan.shared_alpha == second.plan.shared_alpha, "which the plan records"
    third = run({**WORDS, "arms": "none; eca@8", "seeds": 6, "register": False}, tmp_path / "third")
    assert not look_sentences(third)
    assert len(read(file)) == 2


def test_the_page_gives_both_verdicts(file, tmp_path):
    from yolograft.report import write

    run({**WORDS, "arms": "none; se@8", "seeds": 6}, tmp_path / "first")
    second = run({**WORDS, "arms": "none; cbam@8", "seeds": 6}, tmp_path / "second")
    english, chinese = (page.read_text(encoding="utf-8") for page in write(second))
    assert "This is study 2 of this data and model on this machine" in english
    assert "cbam@8: no verdict" in english
    assert "第 2 个研究" in chinese


def test_a_study_without_a_look_costs_nothing(file, tmp_path):
    run({**WORDS, "arms": "none; se@8", "seeds": 2}, tmp_path / "pilot")
    assert all(one.spent == 0 for one in read(file))
    assert isinstance(file, Path)
