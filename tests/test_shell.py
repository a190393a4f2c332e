"""No password of a data base's URL is in a message, wherever the URL stands and however it is broken."""

import logging
from pathlib import Path

import pytest

from yolograft.cli import COMMANDS, console, main
from yolograft.errors import GraftError
from yolograft.shell import hide_password, hide_secrets
from yolograft.study.storage import Storage

SECRET = "hunter2horse"
URLS = [
    f"postgresql://me:{SECRET}@host/db", f"postgresql://me:{SECRET}@[::1/db", f"postgresql://me:{SECRET}@[::1]:port/db",
    f"postgresql://me:a@{SECRET}@host/db", f"mysql+pymysql://me:{SECRET}/x@host/db", f"mysql://me:{SECRET}?@host/db",
    f"postgresql://host/db?user=me&password={SECRET}", f"postgresql://host/db?PASSWORD={SECRET}&sslmode=require",
    f"postgresql:///db?options=-c%20key={SECRET}", f"mysql://host/db?ssl_key={SECRET}", f"host=h password={SECRET}",
    f"nothing://me:{SECRET}@host", f"://me:{SECRET}@", f"sqlite:////no/such/folder/x.db?password={SECRET}",
    f"me:{SECRET}@host/db",  # without a scheme
]


@pytest.mark.parametrize("url", URLS)
def test_a_hidden_url_has_no_password_and_keeps_the_rest(url: str) -> None:
    shown = hide_password(url)
    assert SECRET not in shown
    assert "***" in shown
    assert shown.partition(":")[0] == url.replace(SECRET, "***").partition(":")[0]
    assert hide_password(shown) == shown


def test_a_url_without_a_password_stays() -> None:
    for url in ("postgresql://me@host:5432/db?sslmode=require", "sqlite:////home/me/study.db", "mysql://host/db"):
        assert hide_password(url) == url


@pytest.mark.parametrize("password", ["p@ss/word", "a b", "100%"])
def test_the_text_of_a_driver_loses_the_password_in_both_forms(password: str) -> None:
    from urllib.parse import quote

    url = f"postgresql://me:{quote(password, safe='')}@host/db"
    text = hide_secrets(f"cannot connect to {url} as me with {password}", url)
    assert password not in text
    assert quote(password, safe="") not in text
    assert text == "cannot connect to postgresql://me:***@host/db as me with ***"


def test_a_short_password_leaves_words_whole() -> None:
    assert hide_secrets("a bad name: a", "mysql://me:a@host/db") == "*** bad name: ***"


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("url", URLS)
def test_opening_a_bad_storage_is_one_line_without_the_password(
        url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), pytest.raises(GraftError) as caught:
        Storage(tmp_path / "study", url)
    assert SECRET not in str(caught.value)
    assert SECRET not in caplog.text
    assert "***" in str(caught.value)


@pytest.mark.filterwarnings("ignore::sqlalchemy.exc.SAWarning")
@pytest.mark.parametrize("url", [URLS[1], URLS[6]])
@pytest.mark.parametrize("words", [
    ["status", "runs", "storage={}"], ["report", "runs", "storage={}"], ["report", "{}"], ["status", "{}"],
    ["study", "{}"], ["study", "plan.yaml", "storage={}"], ["--storage={}"], ["{}"], ["status", "runs", "storag={}"],
    ["status", "runs", "--storage", "{}"]])
def test_no_command_prints_or_stores_the_password(words: list[str], url: str, tmp_path: Path,
                                                  monkeypatch: pytest.MonkeyPatch,
                                                  capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    Path("plan.yaml").write_text("data: a\nmodel: b\narms: none; se@8\nhost: yolograft.study.dummy\n")
    assert main([word.format(url) for word in words]) == 2
    printed = capfd.readouterr()
    assert SECRET not in printed.out + printed.err
    assert "Traceback" not in printed.err
    for file in tmp_path.rglob("*"):
        assert SECRET not in str(file)
        assert not file.is_file() or SECRET.encode() not in file.read_bytes()


def test_a_command_to_copy_has_a_url_only_without_a_password() -> None:
    assert set(COMMANDS) >= {"study", "status", "report"}
    for url in URLS:
        assert console._storage_words({"storage": url}) == ["storage=URL"]
    assert console._storage_words({"storage": "mysql://me@host/db"}) == ["storage=mysql://me@host/db"]
