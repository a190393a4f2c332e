"""Annotations of other tools are recognized and named, and the message says what to do with them."""

import json
from pathlib import Path

import pytest
from data_sets import coco, labelme, voc, write_picture

from yolograft.cli import main
from yolograft.data.formats import kind_of_json, kinds, recognize

BOX = ("cat", 3, 4, 23, 14)
FILES: dict[str, tuple[str, str]] = {  # kind -> a file of it, and its content
    "voc": ("a.xml", voc([BOX])),
    "coco": ("a.json", json.dumps(coco({"a.png": ((40, 30), [BOX])}, ["cat"]))),
    "labelme": ("a.json", json.dumps(labelme([BOX], "a.png"))),
    "yolo-txt": ("a.txt", "0 0.5 0.5 0.1 0.2\n1 0.5 0.5 1e-1 .2\n"),
    "yolo": ("data.yaml", "train: ../train/images\nval: ../valid/images\n\nnc: 1\nnames: ['cat']\n"),
    "coco-results": ("a.json", '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.9}]'),
    "coco-captions": ("a.json", '{"images": [{"id": 1}], "annotations": [{"image_id": 1, "caption": "a cat"}]}'),
    "createml": ("a.json", '[{"image": "a.png", "annotations": [{"label": "cat", "coordinates": {"x": 1, "y": 2, '
                 '"width": 3, "height": 4}}]}]'),
    "via": ("a.json", '{"a.png123": {"filename": "a.png", "size": 123, "regions": [{"shape_attributes": {"name": "rect"}, '
            '"region_attributes": {}}]}}'),
    "labelstudio": ("a.json", '[{"id": 1, "data": {"image": "/data/a.png"}, "annotations": [{"result": []}]}]'),
    "colabeler": ("a.json", '{"path": "D:\\\\a.png", "outputs": {"object": [{"name": "cat", "bndbox": {}}]}}'),
    "bdd": ("a.json", '[{"name": "a.jpg", "labels": [{"category": "car", "box2d": {}}]}]'),
    "supervisely": ("a.json", '{"size": {"height": 30, "width": 40}, "objects": [{"classTitle": "cat"}]}'),
    "ndjson": ("a.ndjson", '{"type": "dataset"}\n'),
    "cvat": ("annotations.xml", '<annotations><image id="0" name="a.png"><box label="cat" xtl="1"/></image></annotations>'),
    "dlib": ("a.xml", '<dataset><images><image file="a.png"><box top="1"/></image></images></dataset>'),
    "hrsc": ("a.xml", "<HRSC_Image><HRSC_Objects/></HRSC_Image>"),
    "detrac": ("a.xml", '<sequence name="MVI_1"><frame/></sequence>'),
    "dota": ("a.txt", "imagesource:GoogleEarth\ngsd:0.1\n" + "1.0 2.0 3.0 4.0 5.0 6.0 7.0 8.0 large-vehicle 0\n" * 3),
    "csv": ("_annotations.csv", "filename,width,height,class,xmin,ymin,xmax,ymax\na.png,40,30,cat,1,2,3,4\n"),
}


def test_the_cases_cover_every_kind() -> None:
    assert {*FILES, "classify"} == set(kinds())


@pytest.mark.parametrize("kind", FILES)
def test_every_kind_is_recognized(tmp_path: Path, kind: str) -> None:
    name, content = FILES[kind]
    write_picture(tmp_path / "sub" / "a.png", 1)
    (tmp_path / "sub" / name).write_text(content)
    assert recognize(tmp_path) == {kind: str(Path("sub") / name)}


@pytest.mark.parametrize("kind", [kind for kind in FILES if kind != "voc"])
def test_voc_names_what_it_got_and_what_to_do(tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    name, content = FILES[kind]
    write_picture(tmp_path / "s" / "a.png", 1)
    (tmp_path / "s" / name).write_text(content)
    assert main(["data", "voc", str(tmp_path / "s"), str(tmp_path / "set")]) == 2
    message = capsys.readouterr().err
    assert "It has no Pascal VOC XML" in message
    assert f"It contains {kinds()[kind][0]} ({name})" in message
    assert kinds()[kind][1] in message
    assert not (tmp_path / "set").exists()


def test_a_classification_set_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("cat", "dog"):
        write_picture(tmp_path / "s" / "train" / name / "1.png", ord(name[0]))
    assert main(["data", "coco", str(tmp_path / "s"), str(tmp_path / "set")]) == 2
    assert "one folder for each class" in capsys.readouterr().err


def test_one_kind_does_not_hide_another(tmp_path: Path) -> None:
    for kind in ("voc", "coco"):
        (tmp_path / FILES[kind][0]).write_text(FILES[kind][1])
    assert list(recognize(tmp_path)) == ["voc", "coco"]


@pytest.mark.parametrize("content", [None, 1, "text", [], {}, [1], [[]], {"a": 1}, {"shapes": 1}, {"images": 1}])
def test_other_json_has_no_kind(content: object) -> None:
    assert kind_of_json(content) == ""
