"""`yolograft compare`: reading the folders of runs, what is said about them, and the page."""

import csv
from pathlib import Path

import numpy as np
import pytest
from ultralytics.utils.metrics import ap_per_class

from yolograft.analysis.average_precision import IOU_THRESHOLDS, Detections
from yolograft.analysis.precision_recall import PrecisionRecall, precision_recall
from yolograft.cli import main
from yolograft.errors import DataError, GraftError
from yolograft.report import compare_page
from yolograft.report.compare_page import translator, verdict
from yolograft.report.compare_words import TEXTS
from yolograft.report.finished_runs import changes, read, read_all

METRICS = ("metrics/precision(B)", "metrics/recall(B)", "metrics/mAP50(B)", "metrics/mAP50-95(B)")
OLD = ["epoch", "train/box_loss", *METRICS, "val/box_loss", "lr/pg0"]  # 8.3.0, padded
NEW = ["epoch", "time", "train/box_loss", *METRICS, "val/box_loss", "lr/pg0"]


def make(folder: Path, values=(0.1, 0.3, 0.2), *, old=False, text=None, **arguments) -> Path:
    folder.mkdir(parents=True)
    head = OLD if old else NEW
    lines = [",".join(f"{name:>23}" if old else name for name in head)]
    for epoch, value in enumerate(values, 1):
        numbers = dict.fromkeys(head, value) | {"epoch": epoch}
        lines.append(",".join(f"{numbers[name]:>23}" if old else str(numbers[name]) for name in head))
    (folder / "results.csv").write_text("\n".join(lines) + "\n" if text is None else text)
    words = {"task": "detect", "data": "d.yaml", "epochs": len(values), "patience": 100, "seed": 0, "lr0": 0.01,
             "name": folder.name, "save_dir": str(folder), **arguments}
    (folder / "args.yaml").write_text("".join(f"{key}: {value}\n" for key, value in words.items()))
    return folder


@pytest.mark.parametrize("old", [True, False])
def test_columns_of_both_versions_are_read(old, tmp_path):
    run = read(make(tmp_path / "a", old=old))
    assert run.epochs == (1, 2, 3)
    assert run.columns["metrics/mAP50-95(B)"] == (0.1, 0.3, 0.2)
    assert run.best == 1
    assert run.finished


def test_an_epoch_that_was_written_twice_counts_once_and_gaps_are_no_number(tmp_path):
    text = "epoch, metrics/mAP50-95(B)\n1,0.1\n2,0.5\n2,0.2\n3,\n4,nan\n\n"
    run = read(make(tmp_path / "a", text=text))
    assert run.epochs == (1, 2, 3, 4)
    assert run.columns["metrics/mAP50-95(B)"][:2] == (0.1, 0.2)
    assert np.isnan(run.columns["metrics/mAP50-95(B)"][2:]).all()
    assert run.best == 1


@pytest.mark.parametrize(("values", "words", "finished"), [
    ((0.1, 0.2), {"epochs": 2}, True), ((0.1, 0.2), {"epochs": 3}, False),
    ((0.3, 0.2, 0.1), {"epochs": 9, "patience": 2}, True), ((0.3, 0.2, 0.1), {"epochs": 9, "patience": 3}, False),
    ((0.1, 0.2), {"epochs": 9, "time": 0.5}, True), ((0.1, 0.2), {"epochs": 9, "patience": 0}, False),
    ((0.1, 0.2), {"epochs": 9, "patience": "soon"}, False), ((0.1, 0.2), {"epochs": "many"}, True)])
def test_a_run_is_finished_after_its_epochs_its_patience_or_its_time(values, words, finished, tmp_path):
    assert read(make(tmp_path / "a", values, **words)).finished is finished


@pytest.mark.parametrize(("text", "why"), [
    ("", "no epoch"), ("epoch,a\n", "no epoch"), ("a,b\n1,2\n", "no column 'epoch'"), ("epoch,a\n1,2\n2\n", "line 3"),
    ("epoch,a\n1,x\n", "line 2"), ("epoch,a\nnan,1\n", "line 2"), ("epoch,a\ninf,1\n", "line 2"),
    ("epoch,a\n1,2,3\n", "line 2")])
def test_a_broken_results_file_is_one_line(text, why, tmp_path):
    with pytest.raises(DataError, match=why) as caught:
        read(make(tmp_path / "a", text=text))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("content", ["- 1\n", "text\n", ""])
def test_arguments_that_are_no_list_of_arguments_are_an_error(content, tmp_path):
    (make(tmp_path / "a") / "args.yaml").write_text(content)
    with pytest.raises(DataError, match=r"args\.yaml"):
        read(tmp_path / "a")


def test_what_is_no_pair_of_runs_is_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    make(Path("a"))
    make(Path("late"), (0.1,), epochs=3)
    make(Path("seg"), task="segment")
    Path("bare").mkdir()
    cases = {("a", "a/"): "same folder", ("a", "./a"): "same folder", ("a",): "at least two", ("a", "none"): "no folder",
             ("a", "bare"): "no results.csv", ("a", "late"): "not finished", ("a", "seg"): "different tasks",
             ("a", "a/args.yaml"): "Did you mean 'a'", (): "needs the folders", ("a", "late", "data=x.yaml"): "no effect",
             ("a", "late", "lang=fr"): "no language", ("a", "late", "unfinished=True", "val=True"): "best.pt"}
    for words, why in cases.items():
        assert main(["compare", *words]) == 2, words
        printed = capsys.readouterr().err
        assert why in printed, (words, printed)
        assert printed.count("\n") == 1, printed
    assert not Path("runs").exists(), "a refused comparison writes nothing"


def test_names_are_the_shortest_ends_of_the_paths_that_differ(tmp_path):
    one, two, three = (make(tmp_path / name / "train") for name in ("a", "b", "c"))
    assert [run.name for run in read_all([one, two, three])] == ["a/train", "b/train", "c/train"]
    assert [run.name for run in read_all([one, make(tmp_path / "a" / "train2")])] == ["train", "train2"]


def test_changes_leave_out_names_of_folders_and_mark_what_a_version_lacks(tmp_path):
    runs = read_all([make(tmp_path / "a"), make(tmp_path / "b", lr0=0.02, cos_lr=True)])
    assert changes(runs) == {"lr0": ("0.01", "0.02"), "cos_lr": ("-", "True")}


@pytest.mark.parametrize("language", ["en", "zh"])
def test_what_is_said_first(language, tmp_path):
    say = translator(language)
    runs = read_all([make(tmp_path / "a"), make(tmp_path / "b")])
    assert verdict(runs, say)[0] == say("headline", count=2)
    assert "0.0096" in verdict(runs, say)[1]
    other = read_all([tmp_path / "a", make(tmp_path / "c", data="other.yaml")])
    assert "c: other.yaml" in verdict(other, say)[0]
    late = read_all([tmp_path / "a", make(tmp_path / "late", (0.1,), epochs=3)], unfinished=True)
    assert verdict(late, say)[0] == say("not finished", runs="late")
    grid = np.linspace(0, 1, 3)
    curves = {name: PrecisionRecall(recall=grid, precision=grid, ap50=0.5, classes=(name,)) for name in ("a", "b")}
    assert "a: a; b: b" in verdict(runs, say, curves)[0]


def test_the_page_shows_differences_only_on_the_same_data(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for name, words in {"a": {}, "b": {"lr0": 0.02}, "c": {"data": "other.yaml"}}.items():
        make(Path(name), (0.1, 0.3 if name == "a" else 0.32), old=name == "b", **words)
    assert main(["compare", "a", "b"]) == 0
    assert "single runs compare nothing" in capsys.readouterr().out
    assert main(["compare", "a", "c", "lang=zh"]) == 0
    same, other = (list(csv.reader(Path(f"runs/compare/{folder}/tables/results.csv").read_text("utf-8-sig").splitlines()))
                   for folder in ("compare", "compare2"))
    assert same[2][-2:] == ["+0.0200", "2.1"]
    assert other[2][-2:] == ["", ""]
    assert "other.yaml" in Path("runs/compare/compare2/compare.zh.html").read_text(encoding="utf-8")
    assert not Path("runs/compare/compare2/compare.html").exists()
    for name in ("learning-curves", "losses"):
        assert Path(f"runs/compare/compare/figures/{name}.png").read_bytes()[:4] == b"\x89PNG"
    page = Path("runs/compare/compare/compare.html").read_text(encoding="utf-8")
    assert TEXTS["pr missing"][0] in page


def test_names_from_files_are_no_markup_on_the_page(tmp_path):
    hostile, column = "<script>alert(1)</script>", "metrics/$\\input{<i>}$"
    text = f"epoch,metrics/mAP50-95(B),{column}\n1,0.1,0.2\n2,0.2,0.3\n"
    runs = read_all([make(tmp_path / "a", (0.1, 0.2), model=f'"{hostile}"', text=text),
                     make(tmp_path / "<b onload=x> $\\x$", (0.1, 0.2), text=text)])
    (page,) = compare_page.write(runs, tmp_path / "out", languages=["en"])
    text = page.read_text(encoding="utf-8")
    assert hostile not in text
    assert "<b onload" not in text
    assert "<i>" not in text
    assert "&lt;script&gt;" in text


@pytest.mark.parametrize("seed", range(3))
def test_a_curve_is_that_of_the_installed_version(seed, tmp_path):
    draw = np.random.default_rng(seed)
    truths, boxes = draw.integers(0, 3, 40), 90
    kinds, confidence = draw.integers(0, 3, boxes), draw.random(boxes).astype(np.float32)
    correct = (draw.random(boxes) < confidence)[:, None] & (np.arange(len(IOU_THRESHOLDS)) < 6)
    arrays = {"names": ["1.jpg"], "shapes": [[9, 9]], "correct": correct,
              "detections": np.column_stack((np.zeros(boxes), np.zeros((boxes, 4)), confidence, kinds)),
              "truths": np.column_stack((np.zeros(40), truths, np.zeros((40, 4))))}
    found = precision_recall(Detections.of(arrays), ("a", "b", "c"))
    stock = ap_per_class(correct, confidence, kinds, truths, plot=True, save_dir=tmp_path,
                         names={0: "a", 1: "b", 2: "c"})
    assert found.ap50 == pytest.approx(stock[5][:, 0].mean(), abs=1e-6)
    np.testing.assert_allclose(found.recall, stock[10])
    np.testing.assert_allclose(found.precision, np.mean(stock[11], axis=0), atol=1e-6)


def test_without_detections_the_curve_is_0_and_without_objects_there_is_none():
    empty = {"names": ["1.jpg"], "shapes": [[9, 9]], "correct": np.zeros((0, 10), bool), "detections": np.zeros((0, 7)),
             "truths": np.zeros((1, 6))}
    found = precision_recall(Detections.of(empty), ("a",))
    assert found.ap50 == 0
    assert not found.precision.any()
    with pytest.raises(GraftError, match="no objects"):
        precision_recall(Detections.of({**empty, "truths": np.zeros((0, 6))}), ("a",))


def test_the_axis_of_a_run_of_one_epoch_has_no_parts_of_an_epoch(tmp_path):
    runs = read_all([make(tmp_path / "a", (0.1,)), make(tmp_path / "b", (0.2,))])
    figure, _ = compare_page._draw(runs, [("metrics/mAP50-95(B)", "")], translator("en"))
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    assert [tick for tick in axes.get_xticks() if low <= tick <= high] == [1]
