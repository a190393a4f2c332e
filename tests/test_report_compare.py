"""`yolograft compare`: finished runs of Ultralytics over each other, and what they do not show."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from yolograft.analysis.average_precision import Detections
from yolograft.analysis.precision_recall import RECALLS, precision_recall
from yolograft.cli import main
from yolograft.errors import DataError
from yolograft.report import compare_page
from yolograft.report.compare_words import TEXTS
from yolograft.report.explain_words import TEXTS as PAGE_TEXTS
from yolograft.report.finished_run import read_run, read_runs
from yolograft.report.words import Translator

HEAD = ("epoch", "train/box_loss", "metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)",
        "val/box_loss")
Make = Callable[..., Path]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    def build(name: str, *, padded: bool = False, epochs: int = 3, head: tuple[str, ...] = HEAD, **arguments: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        data = {"task": "detect", "data": "NEU-DET.yaml", "model": "yolo11n.pt", "epochs": 3, "patience": 100, "seed": 0,
                "imgsz": 64, "name": name, "project": "x", "save_dir": str(folder), **arguments}
        (folder / "args.yaml").write_text(yaml.safe_dump(data))
        rows = [(epoch, 2, 0.1 * epoch, 0.2, 0.3, 0.1 * epoch + 0.01, 1) for epoch in range(1, epochs + 1)]
        lines = [head, *(row[:len(head)] for row in rows)]
        text = "\n".join(",".join(f"{cell!s:>23}" if padded else str(cell) for cell in line) for line in lines)
        (folder / "results.csv").write_text(text + "\n")
        return folder

    return build


def test_both_forms_of_the_file_are_read(make: Make) -> None:
    old, new = read_runs([make("old", padded=True), make("new/weights").parent / "weights"])
    assert (old.name, new.name) == ("old", "weights")
    assert old.curve("mAP50-95") == new.curve("mAP50-95") == {1: 0.11, 2: pytest.approx(0.21), 3: pytest.approx(0.31)}
    assert (old.metric, old.best_epoch, old.last_epoch) == ("mAP50-95", 3, 3)


def test_a_resumed_run_and_a_part_of_a_line(make: Make) -> None:
    folder = make("a")
    with (folder / "results.csv").open("a") as file:
        file.write("3,2,0.9,0.9,0.9,0.9,1\n4,2")
    run = read_run(folder)
    assert run.value("mAP50-95", 3) == 0.9
    assert run.last_epoch == 3


def test_a_file_in_the_folder_names_the_run_as_well(make: Make) -> None:
    folder = make("a")
    assert read_run(folder / "weights" / "best.pt").folder == read_run(folder / "results.csv").folder == folder


def test_runs_of_one_name_are_told_apart(make: Make) -> None:
    assert [run.name for run in read_runs([make("a/train"), make("b/train")])] == ["a/train", "b/train"]


def test_each_mistake_is_one_line(make: Make, tmp_path: Path) -> None:
    good, empty, bare = make("good"), make("empty"), make("bare")
    (empty / "results.csv").write_text("")
    (bare / "args.yaml").unlink()
    only_head = make("head", epochs=0)
    cases = [([good], "at least two runs"), ([good, tmp_path / "nix"], "does not exist"),
             ([good, tmp_path], "no results.csv"),
             ([good, bare], "it has no args.yaml"), ([good, empty], "has no epoch"), ([good, only_head], "has no epoch"),
             ([good, make("short", epochs=2)], "is unfinished: it has 2 of 3 epochs"),
             ([good, good / "results.csv"], "are the same run"),
             ([good, make("odd", head=HEAD[:2])], "no column of mAP50-95")]
    for folders, expected in cases:
        with pytest.raises(DataError, match=expected) as found:
            read_runs(folders)
        assert "\n" not in str(found.value)
    (bare / "args.yaml").write_text("a: [")
    with pytest.raises(DataError, match="cannot be read"):
        read_run(bare)


def test_a_run_that_lost_patience_is_finished(make: Make) -> None:
    folder = make("a", epochs=3, patience=1)
    with (folder / "args.yaml").open("a") as file:
        file.write("epochs: 50\n")
    with pytest.raises(DataError, match="unfinished"):
        read_run(folder)
    with (folder / "results.csv").open("a") as file:
        file.write("4,2,0.1,0.1,0.1,0.1,1\n")
    assert read_run(folder).last_epoch == 4


@pytest.mark.parametrize(("change", "classes", "expected"), [
    ({"data": "coco.yaml"}, {}, "The data differ"), ({"task": "obb"}, {}, "The tasks differ"),
    ({}, {"a": ["x"], "b": ["x", "y"]}, "The classes differ"), ({"data": "elsewhere/NEU-DET.yaml"}, {}, "same name"),
    ({"seed": 1}, {"a": ["x"], "b": ["x"]}, "")])
def test_other_data_are_said_loudly(
        make: Make, change: dict[str, Any], classes: dict[str, list[str]], expected: str) -> None:
    runs = read_runs([make("a"), make("b", **change)])
    say = Translator("en", {**PAGE_TEXTS, **TEXTS})
    first, *rest = compare_page.headline(runs, classes, say).split("\n")
    is_loud = expected not in ("", "same name")
    assert first.startswith("These runs cannot be compared" if is_loud else "Single runs compare nothing")
    assert expected in rest[0]
    assert "0.0096" in rest[-1]


def test_the_page_has_curves_arguments_and_the_plain_words(
        make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    make("a", seed=3)
    make("b", padded=True, seed=4, lr0="<script>")
    assert main(["compare", "a", "b", "val=True"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith("Single runs compare nothing: a and b differ by 0.0000 mAP50-95")
    assert "weights/best.pt does not exist" in printed.err
    folder = tmp_path / "runs" / "compare" / "compare"
    text, chinese = ((folder / name).read_text(encoding="utf-8") for name in ("compare.html", "compare.zh.html"))
    assert "<script>&lt;" not in text
    assert "&lt;script&gt;" in text
    assert "2 arguments differ" in text
    assert "0.0096" in text
    assert "单次运行之间的比较不说明问题" in chinese
    assert {path.name for path in (folder / "figures").iterdir()} >= {"curves.png", "curves.pdf", "losses.svg"}
    assert main(["compare", "a", "b", "lang=en"]) == 0
    assert (tmp_path / "runs" / "compare" / "compare2" / "compare.html").exists(), "earlier results are kept"
    assert main(["compare", "a"]) == 2


def test_precision_recall_by_hand() -> None:
    arrays = {"names": np.array(["a.jpg"]), "shapes": np.array([[10, 10]]),
              "detections": np.array([[0, 0, 0, 1, 1, confidence, 0] for confidence in (0.9, 0.8, 0.7, 0.6)], np.float32),
              "correct": np.array([[one] * 10 for one in (True, False, True, False)]),
              "truths": np.array([[0, kind, 0, 0, 1, 1] for kind in (0, 0, 0, 0, 1)], np.float32)}
    found = precision_recall(Detections.of(arrays))
    at = {recall: found.classes[0][np.argmin(np.abs(RECALLS - recall))] for recall in (0.0, 0.25, 0.3, 0.5, 0.51)}
    assert at == {0.0: 1.0, 0.25: 1.0, 0.3: pytest.approx(2 / 3), 0.5: pytest.approx(2 / 3), 0.51: 0.0}
    assert not found.classes[1].any(), "a class without detections"
    assert np.allclose(found.mean, found.classes[0] / 2)
