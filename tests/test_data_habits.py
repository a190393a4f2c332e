"""Annotations as people have them: each habit is understood or reported, and no object is lost without a report."""

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from data_sets import labels, voc, write_picture

from yolograft.cli import main
from yolograft.data import source
from yolograft.data import voc as conversion
from yolograft.data.report import Problem, Report
from yolograft.errors import DataError

BOX = ("cat", 3, 4, 23, 14)
ROW = [[0.0, 0.325, 0.3, 0.5, 0.333333]]
Add = Callable[..., None]


@pytest.fixture
def add(tmp_path: Path) -> Add:
    """Return a function that adds an image with its annotation to a source of six plain ones."""

    def add(name: str, text: str | bytes, **settings: Any) -> None:
        write_picture(tmp_path / "s" / f"{name}.{'jpg' if settings.get('orientation', 1) != 1 else 'png'}",
                      settings.pop("seed", sum(map(ord, name))), **settings)
        (tmp_path / "s" / f"{name}.xml").write_bytes(text.encode() if isinstance(text, str) else text)

    for number in range(6):
        add(f"plain{number}", voc([BOX]), seed=number)
    return add


def convert(tmp_path: Path, **settings: Any) -> Report:
    return conversion.convert(tmp_path / "s", tmp_path / "set", overwrite=True, **settings)


def of(report: Report, name: str) -> list[Problem]:
    return [problem for problem in report.problems if problem.file.partition(".")[0] == name]


@pytest.mark.parametrize("declared", ["", "utf-8", "gb2312"])
@pytest.mark.parametrize("encoding", ["gbk", "utf-16", "utf-8-sig", "utf-8"])
def test_the_encoding_is_found_and_reported(tmp_path: Path, add: Add, encoding: str, declared: str) -> None:
    text = f'<?xml version="1.0" encoding="{declared}"?>' if declared else ""
    for number in range(3):
        add(f"odd{number}", (text + voc([("划痕", 3, 4, 23, 14)])).encode(encoding))
    report = convert(tmp_path)
    assert report.exit_code == 0
    assert sum(split["划痕"] for split in report.boxes.values()) == 3
    named = {"gbk": "gb18030", "utf-16": "utf-16"}.get(encoding)
    assert [note for note in report.notes if "UTF-8" in note] == (
        [f"annotation files that are not UTF-8, read as {named}: 3"] if named else [])


def test_a_file_that_is_ambiguous_alone_is_read_as_the_rest_of_its_set(tmp_path: Path, add: Add) -> None:
    add("odd", voc([("猫", 3, 4, 23, 14)]).encode("gbk"))
    assert "è" in convert(tmp_path).boxes["train"]
    add("other", voc([("划痕", 3, 4, 23, 14)]).encode("gbk"))
    assert {"猫", "划痕"} <= convert(tmp_path).boxes["train"].keys()


def test_decimal_commas_are_read_and_counted(tmp_path: Path, add: Add) -> None:
    add("odd", voc([BOX]).replace(">4<", ">4,0<"))
    report = convert(tmp_path)
    assert labels(tmp_path / "set")["odd"] == ROW
    assert "boxes with decimal commas (12,5 is read as 12.5): 1" in report.notes


@pytest.mark.parametrize("corners", [(23, 4, 3, 14), (3, 14, 23, 4), (23, 14, 3, 4)])
def test_swapped_corners_are_reordered(tmp_path: Path, add: Add, corners: tuple[int, ...]) -> None:
    x0, y0, x1, y1 = corners
    add("odd", voc([("cat", x0, y0, x1, y1)], first=0))
    report = convert(tmp_path)
    (problem,) = of(report, "odd")
    assert "swapped corners; they are reordered" in problem.what
    assert problem.effect == "object changed"
    assert labels(tmp_path / "set")["odd"] == [[0.0, 0.3125, 0.283333, 0.525, 0.366667]]  # counted from 1, as the others


UNREADABLE = {
    "a number that only Python knows": voc([BOX]).replace(">23<", ">2_3<"),
    "an unknown shape": "<annotation><object><name>cat</name><ellipse/></object></annotation>",
    "no class": voc([("", 3, 4, 23, 14)]),
    "outside the image": voc([("cat", 300, 4, 320, 14)]),
    "outside <object>": "<annotation><thing><bndbox><xmin>1</xmin></bndbox></thing></annotation>",
    "not XML": "<annotation><object>",
    "another root": "<html/>",
}


@pytest.mark.parametrize("why", UNREADABLE)
def test_an_image_with_unreadable_objects_never_becomes_background(tmp_path: Path, add: Add, why: str) -> None:
    add("odd", UNREADABLE[why])
    report = convert(tmp_path)
    assert "odd" not in labels(tmp_path / "set")
    assert "picture skipped" in [problem.effect for problem in of(report, "odd")]
    assert not any("background" in note for note in report.notes)


def test_an_image_whose_classes_are_not_wanted_is_skipped_and_said(tmp_path: Path, add: Add) -> None:
    add("odd", voc([("Cat", 3, 4, 23, 14)]))
    report = convert(tmp_path, names=["cat"])
    assert "odd" not in labels(tmp_path / "set")
    assert any('Add "merge=Cat:cat" if it is that class' in problem.what for problem in of(report, "odd"))


def test_an_image_without_objects_is_background(tmp_path: Path, add: Add) -> None:
    add("odd", voc([]))
    report = convert(tmp_path)
    assert labels(tmp_path / "set")["odd"] == []
    assert "background images, without an object: 1" in report.notes


def test_the_readable_objects_of_an_image_are_kept(tmp_path: Path, add: Add) -> None:
    add("odd", voc([BOX]).replace("</annotation>", "<object><name>cat</name></object></annotation>"))
    report = convert(tmp_path)
    assert labels(tmp_path / "set")["odd"] == ROW
    assert [problem.effect for problem in of(report, "odd")] == ["object skipped"]


@pytest.mark.parametrize(("other", "is_similar"), [
    ("Cat", True), ("CAT", True), ("c at", True), ("c_at", True), ("c-at", True), ("ｃａｔ", True), ("cats", False)])
def test_similar_names_are_reported_with_the_merge_to_use(tmp_path: Path, add: Add, other: str, is_similar: bool,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    add("odd", voc([(other, 3, 4, 23, 14)]))
    problems = convert(tmp_path).problems
    assert len(problems) == int(is_similar)
    if is_similar:
        assert f'"merge={other}:cat"' in problems[0].what
        assert main(["data", "voc", str(tmp_path / "s"), str(tmp_path / "other"), f"merge={other}:cat"]) == 0
        assert labels(tmp_path / "other")["odd"] == ROW
        capsys.readouterr()


def test_full_width_commas_and_colons_of_arguments_are_read(tmp_path: Path, add: Add,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    add("odd", voc([("划痕", 3, 4, 23, 14)]))
    words = ["data", "voc", str(tmp_path / "s"), str(tmp_path / "set"), "names=狗，猫", "merge=划痕：狗，cat：猫"]
    assert main(words) == 0
    assert "狗 1, 猫 5" in capsys.readouterr().out


@pytest.mark.parametrize(("text", "message"), [
    ("merge=cta:dog", "has no class 'cta'. Did you mean 'cat'?"), ("merge=cat", "expected each class once"),
    ("merge=cat:dog,cat:cow", "expected each class once"), ("merge=:dog", "expected each class once")])
def test_a_wrong_merge_is_an_error(tmp_path: Path, add: Add, text: str, message: str,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "voc", str(tmp_path / "s"), str(tmp_path / "set"), text]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "set").exists()


def test_boxes_of_one_pixel_are_kept_and_of_no_area_skipped(tmp_path: Path, add: Add) -> None:
    add("odd", voc([BOX, ("cat", 5, 4, 6, 14)]))
    report = convert(tmp_path)
    assert report.exit_code == 0
    assert any("at most one pixel in width or height: 1, such as odd: cat (6, 5, 6, 14); they are kept" in note
               for note in report.notes)
    add("zero", voc([("cat", 0, 0, 9, 9), ("cat", 5, 4, 5, 14)], first=0))
    assert [problem.what for problem in of(convert(tmp_path), "zero")] == [
        "the box cat (5, 4, 5, 14) has no area; that box is skipped"]


def _turned(orientation: int) -> tuple[float, float, float, float]:
    """Return BOX on an image of 40 x 30, as EXIF shows it."""
    x0, y0, x1, y1 = BOX[1:]
    return {2: (40 - x1, y0, 40 - x0, y1), 3: (40 - x1, 30 - y1, 40 - x0, 30 - y0), 4: (x0, 30 - y1, x1, 30 - y0),
            5: (y0, x0, y1, x1), 6: (30 - y1, x0, 30 - y0, x1), 7: (30 - y1, 40 - x1, 30 - y0, 40 - x0),
            8: (y0, 40 - x1, y1, 40 - x0)}[orientation]


def _row(corners: tuple[float, ...], size: tuple[int, int]) -> list[float]:
    x0, y0, x1, y1 = corners
    return [0, (x0 + x1) / 2 / size[0], (y0 + y1) / 2 / size[1], (x1 - x0) / size[0], (y1 - y0) / size[1]]


@pytest.mark.parametrize("orientation", [5, 6, 7, 8])
def test_boxes_of_an_image_that_exif_turns_are_in_the_frame_of_the_stated_size(
        tmp_path: Path, add: Add, orientation: int) -> None:
    add("raw", voc([BOX]), orientation=orientation)
    add("turned", voc([("cat", *_turned(orientation))], size=(30, 40)), orientation=orientation)
    report = convert(tmp_path)
    for name in ("raw", "turned"):
        assert labels(tmp_path / "set")[name] == [pytest.approx(_row(_turned(orientation), (30, 40)), abs=1e-6)]
    assert [(problem.file, problem.effect) for problem in report.problems] == [("raw.xml", "object changed")]
    assert "are in the frame before that (40 x 30); they are turned" in report.problems[0].what


@pytest.mark.parametrize("size", [(30, 40), (7, 7)])
def test_a_box_outside_the_turned_image_shows_that_boxes_are_in_the_stored_frame(
        tmp_path: Path, add: Add, size: tuple[int, int]) -> None:
    add("wide", voc([("cat", 32, 4, 39, 14)], size=size), orientation=6)
    report = convert(tmp_path)
    assert labels(tmp_path / "set")["wide"] == [pytest.approx(_row((16, 32, 26, 39), (30, 40)), abs=1e-6)]
    assert [problem.what for problem in report.problems] == [
        "EXIF turns the image, and its boxes are in the frame before that (40 x 30); they are turned"]


@pytest.mark.parametrize("orientation", [2, 3, 4])
def test_an_undecidable_frame_follows_the_rest_of_the_set(tmp_path: Path, add: Add, orientation: int) -> None:
    add("odd", voc([BOX]), orientation=orientation)
    report = convert(tmp_path)
    assert labels(tmp_path / "set")["odd"] == ROW
    assert "does not show whether" in of(report, "odd")[0].what
    add("raw", voc([BOX]), orientation=6)
    convert(tmp_path)
    assert labels(tmp_path / "set")["odd"] == [pytest.approx(_row(_turned(orientation), (40, 30)), abs=1e-6)]


def test_boxes_of_resized_images_are_scaled_where_the_set_shows_it(tmp_path: Path, add: Add) -> None:
    add("small", voc([("cat", 2, 2, 10, 10)], size=(80, 60)))
    assert "the size of the image is used" in of(convert(tmp_path), "small")[0].what
    add("large", voc([("cat", 6, 8, 46, 28)], size=(80, 60)))  # beyond 40 x 30: these are pixels of 80 x 60
    report = convert(tmp_path)
    assert labels(tmp_path / "set")["large"] == [pytest.approx(_row((3, 4, 23, 14), (40, 30)), abs=1e-6)]
    assert labels(tmp_path / "set")["small"] == [pytest.approx(_row((1, 1, 5, 5), (40, 30)), abs=1e-6)]
    assert "was resized to 40 x 30; its boxes are scaled" in of(report, "small")[0].what


def test_two_annotations_of_one_image_are_reported(tmp_path: Path, add: Add) -> None:
    (tmp_path / "s" / "again.xml").write_text(voc([BOX], name="plain1.png"))
    report = convert(tmp_path)
    assert sum(report.images.values()) == 6
    assert any("annotates the same image as" in problem.what for problem in report.problems)


def test_a_report_shows_every_kind_of_problem(tmp_path: Path) -> None:
    many = [Problem(f"a{number}", "duplicate", "object skipped", "duplicate") for number in range(99)]
    report = Report(yaml=tmp_path / "d.yaml", images={}, boxes={}, problems=(*many, Problem("b", "rare")), full="report.txt")
    assert "b: rare" in report.text(limit=5)
    assert "... and 95 more: report.txt" in report.text(limit=5)
    assert "100 problems (objects skipped 99):" in report.text(limit=5)


def test_a_report_counts_the_same_in_chinese(tmp_path: Path, add: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    add("swapped", voc([("cat", 23, 4, 3, 14)], first=0))
    add("twice", voc([BOX, BOX]))
    add("lost", voc([("cat", 300, 4, 320, 14)]))
    english = convert(tmp_path)
    monkeypatch.setenv("YOLOGRAFT_LANG", "zh")
    chinese = convert(tmp_path)
    assert [(one.file, one.effect, one.kind, one.detail) for one in english.problems] == [
        (one.file, one.effect, one.kind, one.detail) for one in chinese.problems]
    assert (english.boxes, english.images) == (chinese.boxes, chinese.images)
    assert "4 个问题 (跳过的图像 1, 跳过的目标 2, 修改的目标 1):" in chinese.text()
    assert all(one.what != other.what for one, other in zip(english.problems, chinese.problems, strict=True))


def test_names_in_a_zip_of_windows_are_decoded(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for name in ("钢材/划痕1.xml", "钢材/裂纹2.xml", "plain.xml"):
            archive.writestr(name, voc([BOX]))
    raw = (tmp_path / "s.zip").read_bytes()
    for name in ("钢材/划痕1.xml", "钢材/裂纹2.xml"):  # the same lengths, so that the offsets stay right
        gbk = name.encode("gbk")
        raw = raw.replace(name.encode(), gbk + b"x" * (len(name.encode()) - len(gbk)))
    flags = raw.replace(b"\x00\x08\x00\x00", b"\x00\x00\x00\x00")  # "the name is UTF-8", of local and central headers
    (tmp_path / "s.zip").write_bytes(flags)
    with source.open_source(tmp_path / "s.zip") as folder:
        found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert [name.partition(".")[0] for name in found] == ["plain", "钢材/划痕1", "钢材/裂纹2"]


def test_a_single_file_is_not_a_source(tmp_path: Path, add: Add) -> None:
    with pytest.raises(DataError, match="one file of a data set"):
        conversion.convert(tmp_path / "s" / "plain1.xml", tmp_path / "set")
