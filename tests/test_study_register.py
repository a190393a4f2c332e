import json
import threading
from pathlib import Path

import pytest

from yolograft.errors import DataError
from yolograft.study import Study, register, run
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
    assert second.plan.alpha == pytest.approx(0.05 - 2 / 64)
    (verdict,) = second.verdicts()
    assert str(verdict.word) == "no verdict"
    assert "earlier looks or studies have used the error rate" in verdict.why()
    assert Study.load(tmp_path / "second").plan.alpha == second.plan.alpha, "which the plan records"
    alone = run({**WORDS, "arms": "none; eca@8", "seeds": 6, "register": False}, tmp_path / "third")
    assert alone.plan.alpha == 0.05
    assert len(read(file)) == 2


def test_a_study_without_a_look_costs_nothing(file, tmp_path):
    run({**WORDS, "arms": "none; se@8", "seeds": 2}, tmp_path / "pilot")
    assert all(one.spent == 0 for one in read(file))
    assert isinstance(file, Path)
