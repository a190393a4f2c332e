"""LabelMe JSON: every shape with an extent becomes its enclosing box."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest
from data_sets import labelme, labels, write_json, write_picture

from yolograft.cli import main
from yolograft.data.labelme import convert
from yolograft.data.report import Report
from yolograft.errors import DataError

BOX = ("cat", 3, 4, 23, 14)
ROW = [0, 0.325, 0.3, 0.5, 0.333333]


def source(tmp_path: Path, count: int = 6) -> None:
    for number in range(count):
        write_picture(tmp_path / "s" / f"{number}.png", number)
        write_json(tmp_path / "s" / f"{number}.json", labelme([BOX], f"{number}.png"))


def change(tmp_path: Path, name: str = "0", encoding: str = "utf-8", **values: Any) -> None:
    file = tmp_path / "s" / f"{name}.json"
    write_json(file, {**json.loads(file.read_text()), **values}, encoding)


def run(tmp_path: Path, **settings: Any) -> Report:
    return convert(tmp_path / "s", tmp_path / "set", overwrite=True, **settings)


def shape(kind: str | None, points: object, **values: Any) -> dict[str, Any]:
    return {"label": "cat", "shape_type": kind, "points": points, **values}


@pytest.mark.parametrize(("one", "note"), [
    (shape("rectangle", [[3, 4], [23, 14]]), ""),
    (shape("rectangle", [[23, 14], [3, 4]]), ""),
    (shape("rectangle", [[3, 4], [23, 4], [23, 14], [3, 14]]), ""),  # X-AnyLabeling
    (shape("rectangle", [["3", "4,0"], ["23.0", 14]]), ""),
    (shape("polygon", [[3, 5], [20, 4], [23, 9], [7, 14]]), "'polygon'"),
    ({"label": "cat", "points": [[3, 5], [20, 4], [23, 9], [7, 14]]}, "'polygon'"),  # before there were shape types
    (shape(None, [[3, 5], [20, 4], [23, 9], [7, 14]]), "'polygon'"),
    (shape("rotation", [[3, 5], [20, 4], [23, 9], [7, 14]]), "'rotated box'"),
    (shape("linestrip", [[3, 4], [20, 9], [23, 14]]), "'line'"),
    (shape("line", [[3, 14], [23, 4]]), "'line'"),
    (shape("mask", [[3, 4], [22, 13]]), "'mask'"),  # the first and the last pixel
])
def test_a_shape_gives_its_enclosing_box(tmp_path: Path, one: dict[str, Any], note: str) -> None:
    source(tmp_path)
    change(tmp_path, shapes=[one])
    report = run(tmp_path)
    assert labels(tmp_path / "set")["0"] == [ROW]
    assert report.exit_code == 0
    assert [note for text in report.notes if note and note in text] == [note] * bool(note)


def test_a_circle_gives_the_box_around_it(tmp_path: Path) -> None:
    source(tmp_path)
    change(tmp_path, shapes=[shape("circle", [[20, 15], [23, 19]])])  # radius 5
    run(tmp_path)
    assert labels(tmp_path / "set")["0"] == [pytest.approx([0, 0.5, 0.5, 10 / 40, 10 / 30], abs=1e-6)]


@pytest.mark.parametrize("one", [
    shape("point", [[3, 4]]), shape("points", [[3, 4], [9, 9]]), shape("circle", [[3, 4]]), shape("rectangle", [[3, 4]]),
    shape("rectangle", [[3, None], [9, 9]]), shape("polygon", []), shape("polygon", None), shape("cube", [[1, 1], [9, 9]]),
    {**shape("rectangle", [[3, 4], [23, 14]]), "label": ""}, {**shape("rectangle", [[3, 4], [23, 14]]), "label": None}, "x"])
def test_an_image_with_unreadable_shapes_never_becomes_background(tmp_path: Path, one: object) -> None:
    source(tmp_path)
    change(tmp_path, shapes=[one])
    report = run(tmp_path)
    assert "0" not in labels(tmp_path / "set")
    assert [problem.effect for problem in report.problems] == ["object skipped", "picture skipped"]


def test_shapes_of_a_group_are_one_object(tmp_path: Path) -> None:
    source(tmp_path)
    parts = [shape("polygon", [[3, 4], [9, 5], [8, 9]], group_id=1), shape("polygon", [[20, 9], [23, 14], [19, 14]],
                                                                           group_id=1)]
    change(tmp_path, shapes=[*parts, {**parts[0], "label": "dog"}, shape("rectangle", [[1, 1], [5, 5]])])
    report = run(tmp_path)
    found = labels(tmp_path / "set")["0"]
    assert ROW in found
    assert len(found) == 3
    assert any("part of a group (group_id), which gets one box: 1" in note for note in report.notes)


@pytest.mark.parametrize("path", ["0.png", "..\\images\\0.png", "D:\\图片\\0.png", "../0.png", "", "renamed.png"])
def test_the_image_is_found_by_path_or_by_name(tmp_path: Path, path: str) -> None:
    source(tmp_path)
    change(tmp_path, imagePath=path)
    assert run(tmp_path).exit_code == 0
    assert labels(tmp_path / "set")["0"] == [ROW]


def test_the_name_of_the_file_goes_before_an_outdated_path(tmp_path: Path) -> None:
    source(tmp_path)
    change(tmp_path, imagePath="1.png", shapes=[shape("rectangle", [[1, 1], [5, 5]])])
    assert run(tmp_path).exit_code == 0
    assert labels(tmp_path / "set")["0"] != labels(tmp_path / "set")["1"] == [ROW]


def test_of_images_with_one_name_the_path_decides(tmp_path: Path) -> None:
    for number in range(2):
        write_picture(tmp_path / "s" / "images" / f"seq{number}" / "a.png", number)
        write_json(tmp_path / "s" / "json" / f"seq{number}" / "a.json",
                   labelme([("cat", number, 4, 23, 14)], f"..\\..\\images\\seq{number}\\a.png"))
    run(tmp_path)
    assert [round(rows[0][1] * 80) for _, rows in sorted(labels(tmp_path / "set").items())] == [23, 24]


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
def test_an_image_inside_the_json_is_written(tmp_path: Path, suffix: str) -> None:
    source(tmp_path)
    write_picture(tmp_path / f"inside{suffix}", 77)
    raw = (tmp_path / f"inside{suffix}").read_bytes()
    (tmp_path / "s" / "0.png").unlink()
    change(tmp_path, imagePath="0.bmp", imageData=base64.b64encode(raw).decode())
    report = run(tmp_path)
    assert report.exit_code == 0
    assert next((tmp_path / "set" / "images").rglob(f"0{suffix}")).read_bytes() == raw
    change(tmp_path, imageData=None)
    assert "0.json: has no image, neither the file '0.bmp' nor imageData; skipped" in run(tmp_path).text()


def test_the_stated_size_decides_about_exif(tmp_path: Path) -> None:
    source(tmp_path)
    (tmp_path / "s" / "0.png").unlink()
    write_picture(tmp_path / "s" / "0.jpg", 0, orientation=6)  # stored as 40 x 30, shown as 30 x 40
    change(tmp_path, imagePath="0.jpg", imageHeight=40, imageWidth=30)
    assert run(tmp_path).exit_code == 0
    change(tmp_path, imageHeight=30, imageWidth=40)
    assert "they are turned" in run(tmp_path).problems[0].what
    assert labels(tmp_path / "set")["0"] == [pytest.approx([0, 21 / 30, 13 / 40, 10 / 30, 20 / 40], abs=1e-6)]


def test_folders_give_the_split(tmp_path: Path) -> None:
    for split, names in (("train", "abc"), ("val", "d")):
        for name in names:
            write_picture(tmp_path / "s" / split / f"{name}.png", ord(name))
            write_json(tmp_path / "s" / split / f"{name}.json", labelme([BOX], f"{name}.png"))
    assert run(tmp_path).images == {"train": 3, "val": 1}


def test_chinese_json_in_gbk(tmp_path: Path) -> None:
    source(tmp_path)
    change(tmp_path, encoding="gbk", shapes=[{**shape("rectangle", [[3, 4], [23, 14]]), "label": "划痕"}])
    report = run(tmp_path, merge={"划痕": "cat"})
    assert labels(tmp_path / "set")["0"] == [ROW]
    assert "annotation files that are not UTF-8, read as gb18030: 1" in report.notes


def test_a_file_that_is_ambiguous_alone_is_read_as_the_rest_of_its_set(tmp_path: Path) -> None:
    source(tmp_path)
    change(tmp_path, encoding="gbk", shapes=[{**shape("rectangle", [[3, 4], [23, 14]]), "label": "猫"}])
    change(tmp_path, "1", encoding="gbk", shapes=[{**shape("rectangle", [[3, 4], [23, 14]]), "label": "划痕"}])
    assert list(run(tmp_path).boxes["train"]) == ["cat", "划痕", "猫"]


def test_broken_and_other_json_is_said(tmp_path: Path) -> None:
    source(tmp_path)
    (tmp_path / "s" / "0.json").write_text("{")
    write_json(tmp_path / "s" / "config.json", {"a": 1})
    write_json(tmp_path / "s" / "coco.json", {"images": [], "annotations": [], "categories": []})
    report = run(tmp_path)
    assert [problem.what for problem in report.problems] == ["is not JSON; its image is skipped"]
    assert "coco.json is COCO JSON; it is left out" in report.notes


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source(tmp_path)
    assert main(["data", "labelme", str(tmp_path / "s"), str(tmp_path / "set"), "merge=cat:animal"]) == 0
    assert "(animal 5)" in capsys.readouterr().out
    with pytest.raises(DataError, match=r"It has no JSON file"):
        convert(tmp_path / "set" / "images", tmp_path / "other")
