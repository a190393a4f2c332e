"""The check of data sets in Ultralytics' format: each defect is named, sound sets pass, and no file is changed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from data_sets import unpack, write_picture
from ultralytics.data.utils import check_det_dataset, img2label_paths

from yolograft.cli import main
from yolograft.data import steel
from yolograft.data.check import check
from yolograft.data.labels import label_path
from yolograft.data.report import Report
from yolograft.errors import DataError

Make = Callable[..., Path]
LABEL = "0 0.5 0.5 0.25 0.5\n1 0.25 0.25 0.25 0.25\n"


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """Return a function that writes a sound set of six and four images, with a data YAML of the given text or content."""
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(tmp_path / "no-settings"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))

    def make(text: str | None = None, layout: str = "{kind}/{split}", encoding: str = "utf-8", **content: object) -> Path:
        root = tmp_path / "set"
        for split, count in (("train", 6), ("val", 4)):
            for number in range(count):
                image = root / layout.format(kind="images", split=split) / f"{split}{number}.png"
                write_picture(image, 10 * number + len(split))
                file = root / layout.format(kind="labels", split=split) / f"{split}{number}.txt"
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text(LABEL)
        values = {"train": "images/train", "val": "images/val", "names": {0: "cat", 1: "dog"}, **content}
        text = text or yaml.safe_dump({key: value for key, value in values.items() if value is not None},
                                      allow_unicode=True, sort_keys=False)
        (root / "data.yaml").write_bytes(text.encode(encoding))
        return root

    return make


def found(report: Report) -> str:
    return "\n".join(f"{problem.file}: {problem.what}" for problem in report.problems)


def test_a_sound_set_passes_and_is_counted(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = make()
    (root / "labels" / "train" / "train0.txt").unlink()
    (root / "labels" / "train" / "train1.txt").write_text("")
    before = sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*"))
    assert main(["data", "check", str(root / "data.yaml")]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"Data YAML: {root / 'data.yaml'}", "train:       6 images       8 boxes   (cat 4, dog 4)",
        "val:         4 images       8 boxes   (cat 4, dog 4)",
        "note: train: background images, without an object: 2 (1 without a label file, 1 with an empty one)",
        "No problem was found."]
    assert sorted((path, path.stat().st_mtime_ns) for path in root.rglob("*")) == before
    assert main(["data", "check", str(root)]) == 0


LINES = {  # line -> what is said about it
    "0 0.5 0.5 0.25": "has 4 numbers; expected class, x center, y center, width, height",
    "0 0.5 0.5 0.25 0.5 0.9": "has 6 numbers; is the last one a confidence?",
    "0 0.1 0.1 0.2 0.2 0.3 0.1 0.4": "has 8 numbers; a polygon needs the class and pairs",
    "2 0.5 0.5 0.25 0.5": "the class 2 is not in names, which has 0 to 1",
    "-1 0.5 0.5 0.25 0.5": "the class -1 is no whole number",
    "0.5 0.5 0.5 0.25 0.5": "the class 0.5 is no whole number",
    "cat 0.5 0.5 0.25 0.5": "begins with the class name 'cat'",
    "cow 0.5 0.5 0.25 0.5": "'cow' is no number",
    "0,0.5,0.5,0.25,0.5": "has commas",
    "0 0,5 0,5 0,25 0,5": "has commas",
    "0 0.5 0.5 1_0 0.5": "'1_0' is no number",
    "0 nan 0.5 0.25 0.5": "'nan' is no number",
    "0 1.2 0.5 0.25 0.5": "the value 1.2 is outside 0 to 1",
    "0 -0.2 0.5 0.25 0.5": "the value -0.2 is outside 0 to 1",
    "0 20 15 10 8": "Are these pixels?",
    "0 0.5 0.5 0 0.5": "the box has no area",
    "0 0.1 0.1 0.2 0.1 0.3 0.1": "the polygon has no area",
    "0 0.9 0.5 0.8 0.5": "extends beyond the image of 40 x 30",
    "0 0.5 0.5 0.25 0.5": "is the same as line 1",
    "0 0.1 0.1 0.2 0.2 0.3 0.1": "lines with boxes and lines with polygons",
}


@pytest.mark.parametrize("line", LINES)
def test_a_wrong_line_is_named(make: Make, line: str) -> None:
    root = make()
    (root / "labels" / "train" / "train0.txt").write_text(f"{LABEL}{line}\n")
    report = check(root / "data.yaml")
    assert report.exit_code == 1
    assert len(report.problems) == 1
    assert report.problems[0].file == str(Path("labels/train/train0.txt"))
    assert LINES[line] in report.problems[0].what


@pytest.mark.parametrize("line", [
    "0 0.5 0.5 0.25 0.5", "0.0 5e-1 .5 0.25 0.5", "1\t0.5  0.5 0.25 0.5 ", "0 0.125 0.5 0.26 0.5"])
def test_a_right_line_is_accepted(make: Make, line: str) -> None:
    root = make()
    (root / "labels" / "train" / "train0.txt").write_text(line)
    assert found(check(root / "data.yaml")) == ""


@pytest.mark.parametrize(("line", "content", "task"), [
    ("0 0.1 0.1 0.4 0.1 0.4 0.4", {}, "polygons (task segment)"),
    ("0 0.1 0.1 0.4 0.1 0.4 0.4 0.1 0.4", {}, "shapes of four points (task obb or segment)"),
    ("0 0.5 0.5 0.2 0.2 0.4 0.4 2 0.6 0.6 0", {"kpt_shape": [2, 3]}, "poses (task pose)"),
    ("0 0.5 0.5 0.2 0.2 0.4 0.4 0.6 0.6", {"kpt_shape": [2, 2]}, "poses (task pose)")])
def test_other_kinds_of_labels_are_recognized(make: Make, line: str, content: dict[str, object], task: str) -> None:
    root = make(**content)
    for file in root.rglob("*.txt"):
        file.write_text(line)
    report = check(root / "data.yaml")
    assert found(report) == ""
    assert f"the labels are 10 {task}" in report.notes
    assert report.boxes["train"] == {"cat": 6, "dog": 0}


def test_a_pose_needs_all_its_numbers(make: Make) -> None:
    root = make(kpt_shape=[17, 3])
    assert "a box and 17 keypoints of 3 values need 56" in found(check(root / "data.yaml"))


YAMLS = {  # content of a data YAML that replaces or adds keys -> what is said; "" for a habit that is right
    "list of names": ({"names": ["cat", "dog"]}, ""),
    "text numbers": ({"names": {"0": "cat", "1": "dog"}}, ""),
    "nc agrees": ({"nc": 2}, ""),
    "list of folders": ({"train": ["images/train"]}, ""),
    "Roboflow": ({"train": "../images/train", "val": "../images/val"}, ""),
    "empty path": ({"path": ""}, ""),
    "only nc": ({"names": None, "nc": 2}, ""),
    "nc disagrees": ({"nc": 3}, "nc is 3, but names has 2 classes"),
    "nc is no number": ({"nc": "two"}, "nc is two"),
    "names as text": ({"names": "cat, dog"}, "names must be a list"),
    "names with a gap": ({"names": {0: "cat", 1: "dog", 3: "cow"}}, "names must have the numbers 0 to 2; it has 0, 1, 3"),
    "names in any order": ({"names": {1: "cat", 2: "dog", 0: "x"}}, ""),
    "names by name": ({"names": {"cat": 0, "dog": 1}}, "names: 'cat' is no class number"),
    "a name that is no text": ({"names": [True, "dog"]}, "YAML reads class 0 as True, not as text; write it in quotes"),
    "a name twice": ({"names": ["cat", "cat"]}, "the class 'cat' is there twice"),
    "similar names": ({"names": ["cat", "Cat"]}, "differ only in case"),
    "no names": ({"names": None}, "the key 'names' is missing"),
    "no val": ({"val": None}, "the key 'val' is missing"),
    "no train": ({"train": None}, "the key 'train' is missing"),
    "valid": ({"val": None, "valid": "images/val"}, "the key 'valid' must be 'val'"),
    "validation": ({"val": None, "validation": "images/val"}, "the key 'validation' must be 'val'"),
    "path of Windows": ({"path": "E:\\data\\set"}, "path: 'E:\\data\\set' does not exist on this computer"),
    "path of another computer": ({"path": "/content/set"}, "path: '/content/set' does not exist"),
    "relative path": ({"path": "../set"}, "path: '../set' is relative, and Ultralytics does not look beside the file"),
    "split of another computer": ({"train": "/content/set/images/train"}, "images/train is checked here"),
    "split of Windows": ({"train": "D:\\set\\images\\train"}, "has backslashes, which work on Windows only"),
    "backslashes": ({"train": "images\\train"}, "has backslashes"),
    "no folder": ({"train": "pictures"}, "train: no image was found in pictures"),
    "a number": ({"train": 5}, "train: 5 is no path"),
    "keypoints": ({"kpt_shape": [17, 4]}, "kpt_shape must be"),
}


@pytest.mark.parametrize("case", YAMLS)
@pytest.mark.skipif(os.name == "nt", reason="the paths of Windows are right there")
def test_habits_of_data_yamls(make: Make, case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    content, message = YAMLS[case]
    root = make(**content)
    if case == "relative path":
        monkeypatch.chdir(root.parent.parent)
    report = check(root / "data.yaml")
    assert message in found(report)
    assert message or not report.problems
    if not report.problems:  # what the check passes, Ultralytics reads
        read = check_det_dataset(str(root / "data.yaml"), autodownload=False)
        assert sorted(read["names"]) == list(range(len(read["names"])))
        assert Path(read["val"]) == root / "images" / "val"
    if case not in ("no folder", "a number", "no train", "no val", "keypoints"):
        assert report.images == {"train": 6, "val": 4}


@pytest.mark.parametrize(("text", "encoding", "message"), [
    ("train: images/train\nval: images/val\nnames: [猫, 狗]\n", "utf-8", ""),
    ("train: images/train\nval: images/val\nnames: [猫, 狗]\n", "utf-8-sig", ""),
    ("train: images/train\nval: images/val\nnames: [猫, 狗]\n", "gbk", "is gb18030; Ultralytics reads UTF-8"),
    ("train: images/train\nval: images/val\nnames: [猫, 狗]\n", "utf-16", "is utf-16; Ultralytics reads UTF-8"),
    ("train：images/train\nval: images/val\nnames: [猫, 狗]\n", "utf-8", "line 1 has full-width punctuation (：)"),
    ("train: images/train\nval: images/val\nnames: [猫，狗]\n", "utf-8", "line 3 has full-width punctuation (，)"),
    ("train: images/train\nval: images/val\nnames：【猫，狗】\n", "gbk", "full-width punctuation (：，【】)"),
    ("train: images/train # 训练：图片\nval: images/val\nnames: [猫, 狗]\n", "utf-8", ""),
])
def test_encodings_and_full_width_punctuation(make: Make, text: str, encoding: str, message: str) -> None:
    report = check(make(text, encoding=encoding) / "data.yaml")
    assert message in found(report)
    assert message or not report.problems
    assert report.images == {"train": 6, "val": 4}
    assert list(report.boxes["train"]) == ["猫", "狗"]


@pytest.mark.parametrize(("text", "message"), [
    ("train: images/train\nnames:\n\t0: cat\n", "line 3 is not YAML: 0: cat. It has a tab; write spaces."),
    ('path: "D:\\data"\ntrain: a\n', "line 1 is not YAML: path: \"D:\\data\". A backslash in double quotes"),
    ("names: [cat\ntrain: a\n", "is not YAML"),
    ("train:images/train\nval:images/val\n", "Write a space after each colon"),
    ("nothing: here\n", "it has none of the keys train, val and names"), ("[1, 2]", "no key with a value"), ("", "no key")])
def test_what_is_no_data_yaml_is_an_error(make: Make, text: str, message: str) -> None:
    root = make()
    (root / "data.yaml").write_text(text)
    with pytest.raises(DataError) as error:
        check(root / "data.yaml")
    assert message in str(error.value)


def test_paths_that_are_no_data_yaml(make: Make) -> None:
    root = make()
    with pytest.raises(DataError, match=r"does not exist. Did you mean 'data.yaml'"):
        check(root / "dat.yaml")
    with pytest.raises(DataError, match="Name the YAML file"):
        check(root / "labels" / "train" / "train0.txt")
    (root / "other.yaml").write_text("a: 1")
    with pytest.raises(DataError, match="contains 2 YAML files"):
        check(root)
    with pytest.raises(DataError, match=r"contains no data YAML\. It has no YOLO text labels with a data YAML\. It contains "
                                        "YOLO text labels without a data YAML"):
        check(root / "labels")
    with pytest.raises(DataError, match=r"contains no data YAML\. It has no YAML file"):
        check(root / "images")


def test_the_datasets_folder_of_ultralytics_is_used(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = make(path="set")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert "is relative" in found(check(root / "data.yaml"))
    (tmp_path / "no-settings").mkdir()
    (tmp_path / "no-settings" / "settings.json").write_text(f'{{"datasets_dir": "{tmp_path.as_posix()}"}}')
    assert check(root / "data.yaml").exit_code == 0


@pytest.mark.parametrize(("prefix", "message"), [
    ("./images/train/", ""), ("{root}/images/train/", ""), ("images/train/", "begin each line with ./"),
    ("D:\\set\\images\\train\\", "begin each line with ./"), ("/content/set/images/train/", "begin each line with ./"),
    ("./missing/", "does not exist")])
def test_lists_of_images(make: Make, prefix: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    root = make(train="train.txt")
    lines = [f"{prefix.format(root=root.as_posix())}train{number}.png" for number in range(6)]
    (root / "train.txt").write_text("\n".join(lines))
    report = check(root / "data.yaml")
    assert message in found(report)
    assert report.images["train"] == (0 if "missing" in prefix else 6)


@pytest.mark.parametrize("layout", ["{split}/{kind}", "{kind}/{split}", "data/images/old/{kind}/{split}", "{split}"])
def test_layouts(make: Make, layout: str) -> None:
    folders = {split: layout.format(kind="images", split=split) for split in ("train", "val")}
    assert found(check(make(layout=layout, **folders) / "data.yaml")) == ""


def test_labels_are_found_as_ultralytics_finds_them() -> None:
    for path in ("/a/images/train/1.png", "/images/images/b.c/1.x.jpg", "/a/b/1.png", "/a/Images/1.png",
                 "/a/images.old/1.png"):
        assert [str(label_path(Path(path)))] == img2label_paths([path.replace("/", os.sep)])


def test_labels_and_images_that_do_not_belong_together(make: Make) -> None:
    root = make()
    (root / "labels" / "val" / "lost.txt").write_text(LABEL)
    (root / "labels" / "val" / "classes.txt").write_text("cat\ndog\n")
    (root / "labels" / "train" / "classes.txt").write_text("dog\ncat\n")
    (root / "images" / "train" / "train1.png").write_bytes(b"no image")
    write_picture(root / "images" / "train" / "tiny.png", 5, (9, 30))
    (root / "images" / "train" / "train2.png").write_bytes((root / "images" / "val" / "val2.png").read_bytes())
    text = found(check(root / "data.yaml"))
    for message in ("labels/val/lost.txt: is a label file without an image",
                    "labels/train/classes.txt: lists the classes dog, cat, but names has cat, dog",
                    "images/train/train1.png: cannot be read as an image", "tiny.png: has 9 x 30 pixels",
                    "images/val/val2.png: is the same image as images/train/train2.png; one is in train, the other in val"):
        assert message in text.replace(os.sep, "/")
    assert len(text.splitlines()) == 5


def test_identical_images_of_one_split_are_a_note(make: Make) -> None:
    root = make()
    (root / "images" / "train" / "train2.png").write_bytes((root / "images" / "train" / "train1.png").read_bytes())
    report = check(root / "data.yaml")
    assert report.exit_code == 0
    assert any("in their split more than once: 1" in note for note in report.notes)


def test_one_folder_for_both_splits_is_one_problem(make: Make) -> None:
    report = check(make(val="images/train") / "data.yaml")
    assert [problem.file for problem in report.problems] == ["train + val"]
    assert "6 image files are in both splits" in found(report)


def test_annotations_of_another_format_are_named(make: Make) -> None:
    root = make()
    for file in (root / "labels" / "train").iterdir():
        file.with_suffix(".xml").write_text("<annotation/>")
        file.unlink()
    for file in (root / "images" / "train").iterdir():
        file.with_suffix(".xml").write_text("<annotation/>")
    text = found(check(root / "data.yaml"))
    assert "none of the 6 images has a label file, such as" in text
    assert "It contains Pascal VOC XML" in text


def test_a_broken_label_file_is_no_crash(make: Make) -> None:
    root = make()
    (root / "labels" / "train" / "train0.txt").write_bytes(LABEL.encode("utf-16"))
    (root / "labels" / "train" / "train1.txt").write_bytes(bytes(range(256)))
    text = found(check(root / "data.yaml"))
    assert "train0.txt: is utf-16; Ultralytics reads UTF-8" in text
    assert "train1.txt: line" in text


def test_what_yolograft_writes_passes(tmp_path: Path) -> None:
    assert check(steel.write(tmp_path / "steel", images=30, size=64)).problems == ()


def test_all_problems_are_listed_on_request(make: Make, capsys: pytest.CaptureFixture[str]) -> None:
    root = make()
    (root / "labels" / "train" / "train0.txt").write_text("7 0.5 0.5 0.1 0.1\n" + "8 0.5 0.5 0.1 0.1\n" * 40)
    assert main(["data", "check", str(root / "data.yaml")]) == 1
    printed = capsys.readouterr().out
    assert printed.count("is not in names") == 20
    assert f"... and 21 more: yolograft data check {root / 'data.yaml'} all=True" in printed
    assert main(["data", "check", str(root / "data.yaml"), "all=True"]) == 1
    assert capsys.readouterr().out.count("is not in names") == 41


def test_coco128(tmp_path: Path) -> None:
    root = unpack("coco128.zip", tmp_path) / "coco128"
    names = {number: f"class {number}" for number in range(80)}
    (root / "data.yaml").write_text(yaml.safe_dump({"train": "images/train2017", "val": "images/train2017", "names": names}))
    report = check(root / "data.yaml")
    assert (report.images["train"], sum(report.boxes["train"].values())) == (128, 929)
    lost = [problem.what for problem in report.problems if "labels" in problem.file]
    assert lost == ["is a label file without an image"] * 2
    assert len(report.problems) == 3
