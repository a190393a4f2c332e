"""COCO JSON as tools write it: every object becomes a box of the right class, and what is left out is said."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from data_sets import coco, labels, write_json, write_picture

from yolograft.cli import main
from yolograft.data.coco import convert
from yolograft.data.report import Report
from yolograft.errors import DataError

BOX = ("cat", 3.0, 4.0, 23.0, 14.0)
ROW = [0, 0.325, 0.3, 0.5, 0.333333]


def source(tmp_path: Path, *, where: str = "images", file: str = "annotations/instances_default.json",
           count: int = 6, **changes: Any) -> dict[str, Any]:
    """Write images and their COCO file, and return its content."""
    images = {f"{number}.png": ((40, 30), [BOX]) for number in range(count)}
    for number in range(count):
        write_picture(tmp_path / "s" / where / f"{number}.png", number)
    content = {**coco(images, ["cat", "dog"]), **changes}
    write_json(tmp_path / "s" / file, content)
    return content


def run(tmp_path: Path, **settings: Any) -> Report:
    return convert(tmp_path / "s", tmp_path / "set", overwrite=True, **settings)


def test_boxes_classes_and_sizes(tmp_path: Path) -> None:
    source(tmp_path)
    report = run(tmp_path)
    assert report.exit_code == 0
    assert labels(tmp_path / "set") == {str(number): [ROW] for number in range(6)}
    assert yaml.safe_load(report.yaml.read_text())["names"] == {0: "cat", 1: "dog"}  # numbers 1 and 4 in the file


@pytest.mark.parametrize(("change", "row", "note"), [
    ({"bbox": [3, 4, 20, 10], "category_id": "4"}, [1, *ROW[1:]], ""),
    ({"bbox": ["3", "4.0", 20, 10]}, ROW, ""),
    ({"bbox": None, "segmentation": [[3, 4, 23, 5, 10, 14]]}, ROW, "'polygon'"),
    ({"bbox": [], "segmentation": [[3, 4, 9, 5, 5, 9], [20, 13, 23, 14, 22, 11]]}, ROW, "'polygon'"),
    ({"bbox": [0, 0, 0, 0], "segmentation": [3, 4, 23, 5, 10, 14]}, ROW, "'polygon'"),
    ({"bbox": None, "segmentation": {"size": [30, 40], "counts": [94, 10, *[20, 10] * 19, 596]}}, ROW, "'mask'"),
    ({"bbox": None, "segmentation": {"size": [30, 40], "counts": "n2:d00000000000000000000000000000000000000j?"}},
     ROW, "'mask'"),  # the same mask, as pycocotools 2.0.11 writes it
])
def test_a_box_comes_from_what_the_annotation_has(
        tmp_path: Path, change: dict[str, Any], row: list[float], note: str) -> None:
    content = source(tmp_path)
    content["annotations"][0].update(change)
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    report = run(tmp_path)
    assert labels(tmp_path / "set")["0"] == [row]
    assert [note for one in report.notes if note and note in one] == [note] * bool(note)


@pytest.mark.parametrize(("change", "message"), [
    ({"bbox": None}, "no box with an area and no mask"), ({"bbox": [1, 2, -3, 4]}, "no box with an area"),
    ({"bbox": [1, 2, 3]}, "no box"), ({"bbox": [1, "1_0", 3, 4]}, "no box"),
    ({"category_id": 2}, "the category 2 is not in"),
    ({"bbox": None, "segmentation": {"size": [30, 40], "counts": [1200]}}, "no box"),
    ({"bbox": None, "segmentation": [[1, 2, "x", 4]]}, "no box"), ({"iscrowd": 1}, ""),
])
def test_an_image_with_unreadable_objects_never_becomes_background(
        tmp_path: Path, change: dict[str, Any], message: str) -> None:
    content = source(tmp_path)
    content["annotations"][0].update(change)
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    report = run(tmp_path)
    assert "0" not in labels(tmp_path / "set")
    assert "picture skipped" in [problem.effect for problem in report.problems]
    assert any(message in problem.what for problem in report.problems)


def test_crowds_are_left_out_or_included(tmp_path: Path) -> None:
    content = source(tmp_path)
    content["annotations"].append({**content["annotations"][0], "id": 7, "iscrowd": 1, "bbox": [1, 1, 30, 20]})
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    assert any("1 of 7" in note and "crowd=True" in note for note in run(tmp_path).notes)
    assert len(labels(tmp_path / "set")["0"]) == 1
    run(tmp_path, crowd=True)
    assert len(labels(tmp_path / "set")["0"]) == 2


@pytest.mark.parametrize(("train", "val"), [
    ("annotations/instances_train2017.json", "annotations/instances_val2017.json"), ("train.json", "val.json"),
    ("a_train.json", "a_valid.json"), ("train/_annotations.coco.json", "valid/_annotations.coco.json")])
def test_several_files_keep_their_split(tmp_path: Path, train: str, val: str) -> None:
    for file, names in ((train, "abcd"), (val, "ef")):
        folder = Path(file).parent if "/_" in file else Path("images")
        for name in names:
            write_picture(tmp_path / "s" / folder / f"{name}.png", ord(name))
        write_json(tmp_path / "s" / file, coco({f"{name}.png": ((40, 30), [BOX]) for name in names}, ["cat"]))
    assert run(tmp_path).images == {"train": 4, "val": 2}
    assert run(tmp_path, split="stratified").images == {"train": 5, "val": 1}


def test_one_file_has_no_split(tmp_path: Path) -> None:
    source(tmp_path)
    assert run(tmp_path).images == {"train": 5, "val": 1}
    with pytest.raises(DataError, match="split=source"):
        run(tmp_path, split="source")


@pytest.mark.parametrize("path", [
    "{}.png", "images/{}.png", "D:\\work\\images\\{}.png", "..\\images\\{}.png", "/data/upload/3/{}.png", "%30x/{}.png",
    "http://host/files/{}.png?d=1"])
def test_paths_of_other_machines_are_matched(tmp_path: Path, path: str) -> None:
    content = source(tmp_path)
    for number, image in enumerate(content["images"]):
        image["file_name"] = path.format(number)
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    report = run(tmp_path)
    assert (report.exit_code, sum(report.images.values())) == (0, 6)


def test_images_with_one_name_in_subfolders_are_all_kept(tmp_path: Path) -> None:
    for number in range(3):
        write_picture(tmp_path / "s" / f"seq{number}" / "0001.png", number)
    images = {f"seq{number}/0001.png": ((40, 30), [("cat", number, 4, 23, 14)]) for number in range(3)}
    write_json(tmp_path / "s" / "a.json", coco(images, ["cat"]))
    report = run(tmp_path)
    found = labels(tmp_path / "set")
    assert sorted(found) == ["0001", "seq1_0001", "seq2_0001"]
    assert [found[name][0][1] for name in sorted(found)] == pytest.approx([11.5 / 40, 12 / 40, 12.5 / 40], abs=1e-6)
    assert sum("this one becomes" in problem.what for problem in report.problems) == 2


def test_what_is_missing_is_reported(tmp_path: Path) -> None:
    content = source(tmp_path)
    (tmp_path / "s" / "images" / "1.png").unlink()
    write_picture(tmp_path / "s" / "images" / "extra.png", 99)
    content["annotations"] += [{"id": 1, "image_id": 77, "category_id": 1, "bbox": [1, 1, 2, 2]}, {"id": 2}, "nonsense"]
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    text = run(tmp_path).text()
    for message in ("the image '1.png' is not in the source", "images/extra.png: has no annotation",
                    "1 annotations name images that the file does not list (image_id 77)", "annotation 8 names no image",
                    "annotation 9 names no image"):
        assert message in text


def test_images_with_one_id_are_skipped(tmp_path: Path) -> None:
    content = source(tmp_path)
    content["images"][1]["id"] = 0
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    report = run(tmp_path)
    assert sorted(labels(tmp_path / "set")) == ["2", "3", "4", "5"]
    assert sum("has the same id 0 as another image" in problem.what for problem in report.problems) == 2


def test_number_and_text_ids_are_the_same(tmp_path: Path) -> None:
    content = source(tmp_path)
    for one in content["annotations"]:
        one["image_id"] = str(one["image_id"])
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    assert run(tmp_path).exit_code == 0


def test_the_category_of_the_whole_set_is_left_out(tmp_path: Path) -> None:
    content = source(tmp_path)
    content["categories"] = [{"id": 0, "name": "animals", "supercategory": "none"},
                             *({**one, "supercategory": "animals"} for one in content["categories"])]
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    assert list(run(tmp_path).boxes["train"]) == ["cat", "dog"]


def test_files_of_the_same_images_and_other_json_are_left_out(tmp_path: Path) -> None:
    content = source(tmp_path)
    folder = tmp_path / "s" / "annotations"
    write_json(folder / "person_keypoints_default.json", content)
    write_json(folder / "captions_default.json", {**content, "annotations": [{"image_id": 0, "caption": "a cat"}]})
    write_json(folder / "results.json", [{"image_id": 0, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}])
    report = run(tmp_path)
    assert (report.exit_code, sum(sum(split.values()) for split in report.boxes.values())) == (0, 6)
    assert [sum(word in note for note in report.notes) for word in ("person_keypoints", "captions", "results.json")] == [
        1, 1, 1]


@pytest.mark.parametrize("encoding", ["gbk", "utf-8-sig", "utf-16"])
def test_chinese_names_in_any_encoding(tmp_path: Path, encoding: str) -> None:
    write_picture(tmp_path / "s" / "划痕1.png", 1)
    write_picture(tmp_path / "s" / "划痕2.png", 2)
    images = {f"划痕{number}.png": ((40, 30), [("划痕", *BOX[1:])]) for number in (1, 2)}
    write_json(tmp_path / "s" / "a.json", coco(images, ["划痕"]), encoding)
    report = run(tmp_path)
    assert report.exit_code == 0
    assert report.boxes == {"train": {"划痕": 1}, "val": {"划痕": 1}}


def test_annotations_without_images_say_what_to_name(tmp_path: Path) -> None:
    source(tmp_path)
    with pytest.raises(DataError, match="It contains no image"):
        convert(tmp_path / "s" / "annotations", tmp_path / "set")


def test_fractions_are_scaled(tmp_path: Path) -> None:
    content = source(tmp_path)
    for one in content["annotations"]:
        one["bbox"] = [3 / 40, 4 / 30, 20 / 40, 10 / 30]
    write_json(tmp_path / "s" / "annotations" / "instances_default.json", content)
    report = run(tmp_path)
    assert labels(tmp_path / "set")["0"] == [ROW]
    assert any("fractions" in note for note in report.notes)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source(tmp_path)
    words = ["data", "coco", str(tmp_path / "s"), str(tmp_path / "set"), "names=dog,cat", "split=auto", "crowd=True"]
    assert main(words) == 0
    assert "train:       5 images" in capsys.readouterr().out
    assert labels(tmp_path / "set")["0"] == [[1, *ROW[1:]]]
    assert main(["data", "coco", str(tmp_path / "s" / "annotations" / "instances_default.json"), str(tmp_path / "x")]) == 2
    assert "one file of a data set" in capsys.readouterr().err
