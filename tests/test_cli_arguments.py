"""Commands as people type them: dashes, missing quotes, full-width characters, other names of arguments, Windows paths."""

from pathlib import Path

import pytest

from yolograft.cli import modes
from yolograft.cli.arguments import PATH_KEYS, UsageError, parse_pairs, rename, with_defaults
from yolograft.host import commands
from yolograft.host.model_names import find_model
from yolograft.study import dummy
from yolograft.study.arms import parse_arms

HABITS = [
    # as `yolo` and its documentation write it
    (["model=a.pt", "imgsz=640"], {"model": "a.pt", "imgsz": "640"}),
    (["model", "=", "a.pt", "imgsz=", "640", "batch", "=4"], {"model": "a.pt", "imgsz": "640", "batch": "4"}),
    (["save", "show", "epochs=3"], {"save": "True", "show": "True", "epochs": "3"}),
    (["imgsz=[640,", "480]", "epochs=3,"], {"imgsz": "[640, 480]", "epochs": "3"}),
    # YOLOv5, YOLOv7
    (["--img", "640", "--batch-size", "16", "--data", "x.yaml"], {"img": "640", "batch_size": "16", "data": "x.yaml"}),
    (["--img", "640", "640", "--device", "0", "1"], {"img": "640,640", "device": "0,1"}),
    (["--exist-ok", "--cache", "--batch", "-1"], {"exist_ok": "True", "cache": "True", "batch": "-1"}),
    (["--weights", "''", "--cfg", "y.yaml"], {"weights": "", "cfg": "y.yaml"}),
    (["--weights=x.pt", "--conf-thres=0.4"], {"weights": "x.pt", "conf_thres": "0.4"}),
    (["\u2013-name", "r1", "\u2014epochs", "3"], {"name": "r1", "epochs": "3"}),  # dashes of a word processor
    # the forms that Ultralytics' documentation marks as wrong
    (["model", "a.pt", "imgsz", "640", "conf", "0.25"], {"model": "a.pt", "imgsz": "640", "conf": "0.25"}),
    (["device", "cpu", "save"], {"device": "cpu", "save": "True"}),
    (["model=a.pt,", "imgsz=640,", "conf=0.25"], {"model": "a.pt", "imgsz": "640", "conf": "0.25"}),
    # a graft without quotes
    (["graft=se@8", "+", "eca@p3", "epochs=3"], {"graft": "se@8 + eca@p3", "epochs": "3"}),
    (["graft=se@8+", "eca@p3"], {"graft": "se@8+ eca@p3"}),
    (["graft=se@p3,", "p4,", "p5", "epochs=3"], {"graft": "se@p3, p4, p5", "epochs": "3"}),
    (["graft=se(ratio=8,", "bias=False)@8"], {"graft": "se(ratio=8, bias=False)@8"}),
    (["--graft", "se(ratio=8)@8"], {"graft": "se(ratio=8)@8"}),
    (["arms=none;", "se@8;", "eca@8", "seeds=3"], {"arms": "none; se@8; eca@8", "seeds": "3"}),
    # quotes that the shell passes on, and those of a word processor
    (["arms='none;", "se@8'", "seeds=3"], {"arms": "none; se@8", "seeds": "3"}),
    (["graft='se@8'", 'data="a.yaml"'], {"graft": "se@8", "data": "a.yaml"}),
    (["graft=\u201cse@8\u201d", "name=\u2018r\u2019"], {"graft": "se@8", "name": "r"}),
    # full-width characters
    (["graft\uff1dse\uff20\uff18"], {"graft": "se@8"}),
    (["graft=se\uff08ratio=8\uff09@p3\uff0cp4\u3001p5"], {"graft": "se(ratio=8)@p3,p4,p5"}),
    (["arms=none\uff1bse@8", "epochs\uff1d\uff13\uff0c"], {"arms": "none;se@8", "epochs": "3"}),
    (["name=\u5b9e\u9a8c\uff08\u65b0\uff09", "data=\u6570\u636e\uff0c1.yaml"],
     {"name": "\u5b9e\u9a8c\uff08\u65b0\uff09", "data": "\u6570\u636e\uff0c1.yaml"}),
    # Windows
    ([r"data=C:\new\train\data.yaml", r"model='D:\my runs\best.pt'"],
     {"data": r"C:\new\train\data.yaml", "model": r"D:\my runs\best.pt"}),
    ([r"--data", r"C:\Users\me\x.yaml"], {"data": r"C:\Users\me\x.yaml"}),
    (["source=rtsp://user:pass@host/1?a=b"], {"source": "rtsp://user:pass@host/1?a=b"}),
]


@pytest.mark.parametrize(("words", "expected"), HABITS, ids=lambda value: " ".join(value) if isinstance(value, list) else "")
def test_a_habit_is_read_as_meant(words: list[str], expected: dict[str, str]) -> None:
    assert parse_pairs(words) == expected


@pytest.mark.parametrize("words", [["graft="], ["graft=", "epochs=3"], ["graft=''"], ["--epochs", "''"]])
def test_an_empty_value_is_an_error(words: list[str]) -> None:
    with pytest.raises(UsageError, match="has no value"):
        parse_pairs(words)


def test_a_path_with_blanks_needs_no_quotes_if_the_file_exists(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my new data").mkdir()
    (tmp_path / "my new data" / "a b.yaml").touch()
    words = ["data=my", "new", "data/a", "b.yaml", "epochs=3"]
    assert parse_pairs(words) == {"data": "my new data/a b.yaml", "epochs": "3"}
    assert parse_pairs(["data=other", "new"]) == {"data": "other", "new": "True"}


@pytest.mark.parametrize(("pairs", "expected"), [
    ({"weights": "x.pt", "img": "640", "batch_size": "8"}, {"model": "x.pt", "imgsz": "640", "batch": "8"}),
    ({"nosave": "True", "noval": "True", "adam": "True"}, {"save": "False", "val": "False", "optimizer": "Adam"}),
    ({"nosave": "False"}, {}),
    ({"lr": "0.01", "learning_rate": "0.1"}, None),
    ({"weights": "x.pt", "model": "y.pt"}, None),
    ({"noautoanchor": "True"}, None),
    ({"epochs": "3"}, {"epochs": "3"}),
])
def test_names_of_other_repositories(
    pairs: dict[str, str], expected: dict[str, str] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    if expected is None:
        with pytest.raises(UsageError):
            rename(pairs)
        return
    assert rename(pairs) == expected
    assert ("Ultralytics' names" in capsys.readouterr().err) == any(key not in expected for key in pairs if expected)


def test_a_name_is_replaced_only_by_an_argument_of_the_command() -> None:
    defaults = {"model": "a", "imgsz": "640"}
    assert with_defaults("show", {"weights": "x.pt", "img": "320"}, defaults) == {"model": "x.pt", "imgsz": "320"}
    assert with_defaults("show", {"cfg": "x.yaml"}, defaults)["model"] == "x.yaml"
    with pytest.raises(UsageError, match="'dataset' is no argument of 'show'"):
        with_defaults("show", {"dataset": "x.yaml"}, defaults)


def test_a_word_without_a_key_is_answered_with_the_form() -> None:
    with pytest.raises(UsageError, match=r"model=best\.pt"):
        with_defaults("show", parse_pairs(["best.pt"]), {"model": ""})
    with pytest.raises(UsageError, match="put quotes around a value"):
        with_defaults("show", parse_pairs(["my/data.yaml"]), {"model": ""})


@pytest.mark.parametrize(("words", "expected"), [
    (["train", "a=1"], ("train", ["a=1"])),
    (["detect", "train", "a=1"], ("train", ["task=detect", "a=1"])),
    (["train", "detect", "a=1"], ("train", ["task=detect", "a=1"])),
    (["task=detect", "mode=train", "a=1"], ("train", ["task=detect", "a=1"])),
    (["mode=predict", "a=1"], ("predict", ["a=1"])),
    (["--task=segment", "--mode=val"], ("val", ["--task=segment"])),
    (["lint", "train", "a.yaml"], None),
    (["sites", "model=train"], None),
])
def test_mode_and_task_in_every_order(words: list[str], expected: tuple[str, list[str]] | None) -> None:
    assert modes.find_mode(words) == expected


@pytest.mark.parametrize(("key", "text", "expected"), [
    ("data", r"C:\new\data.yaml", r"C:\new\data.yaml"), ("model", "2024", "2024"), ("name", "1e5", "1e5"),
    ("name", "none", None), ("project", "2024_08", "2024_08"), ("epochs", "3", 3), ("resume", "True", True),
    ("pretrained", "false", False), ("pretrained", r"D:\w\a.pt", r"D:\w\a.pt"), ("graft", "none", "none"),
    ("imgsz", "640,480", (640, 480)), ("classes", "[0, 2]", [0, 2]), ("source", "0", "0"),
    ("data", "[a.yaml, b.yaml]", ["a.yaml", "b.yaml"]), ("data", "['a.yaml', 'b.yaml']", ["a.yaml", "b.yaml"]),
])
def test_values_have_their_type(key: str, text: str, expected: object) -> None:
    assert commands._read_value(key, text) == expected


def test_every_path_argument_of_a_mode_is_never_normalized() -> None:
    assert set(commands._PATHS) <= PATH_KEYS


@pytest.mark.parametrize(("name", "expected"), [
    ("yolov11n.yaml", "yolo11n.yaml"), ("YOLOv11s.yaml", "yolo11s.yaml"), ("yolov11n.pt", "yolo11n.pt"),
    ("yolov11n-seg.pt", "yolo11n-seg.pt"), ("yolo8n.yaml", "yolov8n.yaml"), ("yolo-v8n.pt", "yolov8n.pt"),
    ("yolov8n.yaml", "yolov8n.yaml"), ("yolo11n", "yolo11n"), ("yolov11n", "yolo11n"), ("mine.yaml", "mine.yaml"),
    ("yolov11-mine.yaml", "yolov11-mine.yaml"), ("runs/yolov11n.pt", "runs/yolov11n.pt"),
])
def test_the_name_of_a_model(name: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert find_model(name) == expected
    Path(tmp_path / Path(name).name).touch()
    assert find_model(Path(name).name) == Path(name).name, "a file of the user's is never renamed"


def test_a_path_of_windows_finds_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "best.pt").touch()
    assert find_model(r"sub\best.pt").replace("\\", "/") == "sub/best.pt"
    assert commands._read_value("data", r"sub\best.pt").replace("\\", "/") == "sub/best.pt"


@pytest.mark.parametrize(("text", "expected"), [
    ("none, se@8", ["none", "se@8"]), ("none; se@p3,p4", ["none", "se@p3,p4"]),
    ("none, se@p3,p4, se@8 lr0=0.01, aa", ["none", "se@p3,p4", "se@8 lr0=0.01", "aa"]),
    ("none,se(ratio=8)@p3,p4", ["none", "se(ratio=8)@p3,p4"]),
])
def test_a_comma_can_separate_arms(text: str, expected: list[str]) -> None:
    assert [arm.name for arm in parse_arms(text, dummy, model="yolo11n.pt")] == expected


@pytest.mark.parametrize(("text", "files"), [
    ("none; my.yaml", ["", "my.yaml"]), ("none, models/my.yaml", ["", "models/my.yaml"]), ("my.yml", ["my.yml"])])
def test_a_model_yaml_is_an_arm_with_either_separator(text: str, files: list[str]) -> None:
    assert [arm.file for arm in parse_arms(text, dummy, model="yolo11n.pt")] == files
